"""The proof that a step treats every row of the batch alike, and where its batch axis is in every value.

Rows of a batch never talk to each other inside the loop of a step that is a map over them. Only then may all T·B rows
be put into one matrix product, and rows be given to different threads. The batch axis begins as axis 0 of every input
and carry and is followed through each op by the rule for its kind. A captured array joins the batch where it meets a
batched value entry by entry (an encoder's output under attention); a sum over the axis makes a *total*, which must from
there on be used linearly, so that totals of all steps may be added first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .graph import Refused, StepGraph, Value

__all__ = ["INVARIANT", "SHAPED", "TOTAL", "Label", "batch_axes", "batch_axis", "params_at", "shape_at"]

Label = int | str
INVARIANT, TOTAL = "invariant", "total"
BROADCASTING = {
    "where", "abs", "maximum", "minimum", "clip", "real", "imag", "conj", "angle", "alias", "astype", "tap", "transfer",
}  # fmt: skip
LINEAR_IN_ALL = {"add", "sub", "neg", "alias", "astype", "real", "conj", "concatenate", "stack"}
SHAPED = {"reshape", "spread", "broadcast_to", "scatter"}  # ops with a parameter that says the batch size


def batch_axis(labels: Mapping[Value, Label], v: Value) -> int:
    """The batch axis of a value that has one."""
    at = labels[v]
    assert isinstance(at, int)
    return at


def shape_at(shape: tuple[int, ...], label: Label, batch: Any) -> tuple[Any, ...]:
    """A shape of the trace for another batch size."""
    return (*shape[:label], batch, *shape[label + 1 :]) if isinstance(label, int) else shape


def params_at(v: Value, label: Label, batch: Any) -> dict[str, Any]:
    """The parameters of an op for another batch size."""
    if v.op is None or v.op.name not in SHAPED or not isinstance(label, int):
        return v.params
    return {**v.params, "shape": shape_at(v.shape, label, batch)}


class _Mixed(Exception):
    """The rows meet: the reason, as words."""


def batch_axes(graph: StepGraph) -> dict[Value, Label]:
    """For every value its batch axis, INVARIANT, or TOTAL. Raises Refused, naming the line, when the rows mix."""
    batch = graph.batch
    labels: dict[Value, Label] = {}
    for v in (*graph.xs, *graph.carry, *graph.g_carry, *graph.g_ys):
        if not v.shape or v.shape[0] != batch:
            raise Refused(f"scan: {v.kind} of shape {v.shape} does not begin with the batch axis, of size {batch}")
        labels[v] = 0
    for v in (*graph.ys, *graph.carry_out):
        if v.kind == "given" and v.shape[:1] == (batch,):  # a captured array handed out as it is
            labels[v] = 0
    settled: dict[Value, int] = {}  # what joined in an earlier round; ops on captured arrays may, too
    again = True
    while again:  # until no captured array changes its label: one round, and a second where one joined the batch
        joined: dict[Value, int] = {}
        for v in graph.values:
            if v.kind in ("x", "carry", "g_carry", "g_y") or (v in labels and v.kind in ("given", "fill")):
                continue
            if v.kind in ("given", "fill"):
                labels[v] = INVARIANT
            elif v.kind == "pick":
                labels[v] = _picked(v, labels)
            elif v not in joined:
                try:
                    labels[v] = _label(v, labels, batch, joined)
                    if labels[v] == INVARIANT:
                        labels[v] = settled.get(v, INVARIANT)
                except _Mixed as why:
                    shapes = ", ".join(str(a.shape) for a in v.args)
                    raise Refused(
                        f"scan: the rows of the batch mix in `{v.name}` ({v.line or 'backward'}): {shapes}; {why}"
                    ) from None
        again = any(labels[v] != axis for v, axis in joined.items())
        for v, axis in joined.items():
            if again and labels[v] not in (INVARIANT, axis):
                raise Refused(f"scan: a captured array {v.shape} has its batch at axis {labels[v]} and at axis {axis}")
            labels[v] = settled[v] = axis
    _check_results(graph, labels)
    return labels


def _check_results(graph: StepGraph, labels: Mapping[Value, Label]) -> None:
    """Raise Refused unless results begin with the batch axis, and gradients have theirs where their values do."""
    for v in (*graph.carry_out, *graph.ys):
        if v.kind != "number" and labels[v] not in (INVARIANT, 0):
            raise Refused(f"scan: a result of the step of shape {v.shape} does not begin with the batch axis")
    for v, g in graph.gradients.items():
        if labels[v] == INVARIANT and labels[g] not in (TOTAL, INVARIANT):
            raise Refused(f"scan: the gradient of a captured array {v.shape} is not a sum over the batch")
        if isinstance(labels[v], int) and labels[g] != labels[v]:
            raise Refused(f"scan: the gradient of an array {v.shape} has its batch at another axis")


def _picked(v: Value, labels: Mapping[Value, Label]) -> Label:
    """One of several results of an op; of an unstack it lacks the axis."""
    whole = v.args[0]
    at = labels[whole]
    if whole.name != "unstack" or not isinstance(at, int):
        return at
    return at - (whole.params["axis"] % len(whole.args[0].shape) < at)


def _from_right(labels: Mapping[Value, Label], v: Value) -> int | None:
    """The batch axis counted from the right, where values that meet entry by entry are aligned."""
    at = labels[v]
    return at - len(v.shape) if isinstance(at, int) else None


def _label(v: Value, labels: dict[Value, Label], batch: int, joined: dict[Value, int]) -> Label:
    """The label of an op's result, from those of its arguments; what joins the batch is noted in ``joined``."""
    args = [a for a in v.args if a.kind not in ("number", "fill")]
    known = [labels[a] for a in args]
    if all(k == INVARIANT for k in known):
        return INVARIANT
    if TOTAL in known:
        return _total(v, args, known)
    if v.name in RULES:
        return RULES[v.name](v, labels, batch, joined)
    if (v.family in ("elementwise", "constant") and "axis" not in v.params) or v.name in BROADCASTING:
        return _broadcast(v, args, labels, batch, joined)
    if "axis" in v.params and len(args) == 1:
        return _along_axis(v, labels)
    raise _Mixed("the compiler has no rule for what this op does with rows")


def _total(v: Value, args: list[Value], known: list[Label]) -> Label:
    """A value made of totals: only what is linear in them jointly may be done before they are added up."""
    name, kind = v.name, v.family
    others = [k for k in known if k != TOTAL]
    linear = name in LINEAR_IN_ALL and not others and not any(a.kind == "number" for a in v.args)
    linear |= kind == "linear" and len(args) == 1
    linear |= (kind == "bilinear" or name == "mul") and known.count(TOTAL) == 1 and set(others) <= {INVARIANT}
    linear |= name == "div" and v.args[0] in args and known[0] == TOTAL and set(known[1:]) <= {INVARIANT}
    if not linear:
        raise _Mixed("a sum over the batch is used in a way that is not linear")
    return TOTAL


def _broadcast(
    v: Value, args: list[Value], labels: dict[Value, Label], batch: int, joined: dict[Value, int]
) -> Label:
    """Entry by entry: batch axes meet at the same place, counted from the right."""
    places = {at for a in args if (at := _from_right(labels, a)) is not None}
    if len(places) != 1:
        raise _Mixed("the batch axes of its arguments are at different places")
    (place,) = places
    for a in args:
        if labels[a] == INVARIANT and len(a.shape) >= -place and a.shape[place] == batch:
            joined[a] = place + len(a.shape)
    return place + len(v.shape)


def _axes(v: Value, ndim: int) -> tuple[int, ...]:
    axis = v.params["axis"]
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _along_axis(v: Value, labels: dict[Value, Label]) -> Label:
    """Something done along other axes than the batch's, whose number may shrink."""
    (a,) = [a for a in v.args if a.kind not in ("number", "fill")]
    at, axes = batch_axis(labels, a), _axes(v, len(a.shape))
    if at in axes:
        raise _Mixed(f"it works along axis {at}, the batch's")
    if v.many or len(v.shape) == len(a.shape):
        return at
    return at - sum(i < at for i in axes)


def _sum(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    return TOTAL if labels[v.args[0]] in _axes(v, len(v.args[0].shape)) else _along_axis(v, labels)


def _joined(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    """Pieces joined along another axis than the batch's, which all have at the same place."""
    first, *others = [a for a in v.args if a.kind != "fill"]
    if any(labels[a] != labels[first] for a in others):
        raise _Mixed("it joins values with and without a batch axis")
    at = batch_axis(labels, first)
    axis = v.params["axis"] % len(v.shape)
    if v.name == "stack":
        return at + (axis <= at)
    if axis == at:
        raise _Mixed("it joins along the batch axis")
    return at


def _reshape(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    (a,) = v.args
    at = batch_axis(labels, a)
    before, size = math.prod(a.shape[:at]), a.shape[at]
    for i, n in enumerate(v.shape):
        if n == size and math.prod(v.shape[:i]) == before:
            return i
    raise _Mixed(f"the batch axis is not one axis of {v.shape}")


def _transposed(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    (a,) = v.args
    order = list(range(len(a.shape)))
    if v.name == "swapaxes":
        i, j = v.params["axis1"], v.params["axis2"]
        order[i], order[j] = order[j], order[i]
    else:
        order = [i % len(a.shape) for i in v.params["axes"]]
    return order.index(batch_axis(labels, a))


def _spread(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    (a,) = v.args
    return batch_axis(labels, a) - len(a.shape) + len(v.shape)


def _matmul(v: Value, labels: dict[Value, Label], batch: int, joined: dict[Value, int]) -> Label:
    """Rows times a matrix, a matrix times columns, stacks of either, or a sum over the rows."""
    a, b = v.args
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise _Mixed("a product with a vector; give it an axis of size 1")
    place = [_from_right(labels, x) for x in (a, b)]
    if place == [-1, -2]:
        if len(a.shape) > 2 or len(b.shape) > 2:
            raise _Mixed("a sum over rows of stacked matrices")
        return TOTAL
    if place[0] == -2 and place[1] is None and len(b.shape) == 2:
        return len(v.shape) - 2
    if place[1] == -1 and place[0] is None and len(a.shape) == 2:
        return len(v.shape) - 1
    stacked = {p for p in place if p is not None}
    if len(stacked) != 1 or max(stacked) > -3:
        raise _Mixed("the batch axis is multiplied over")
    (at,) = stacked
    for x, p in zip((a, b), place, strict=True):
        if p is None and len(x.shape) >= -at and x.shape[at] == batch:
            joined[x] = at + len(x.shape)
    return at + len(v.shape)


def _contract(v: Value, labels: dict[Value, Label], batch: int, joined: dict[Value, int]) -> Label:
    """An einsum in which the batch is one letter everywhere; where the result lacks it, a sum over the rows."""
    terms, out = v.params["equation"].split("->")
    pairs = list(zip(v.args, terms.split(","), strict=True))
    letters = {term[at] for x, term in pairs if isinstance(at := labels[x], int)}
    if len(letters) != 1:
        raise _Mixed("the batch axes of its arguments have different letters")
    (letter,) = letters
    for x, term in pairs:
        if labels[x] == INVARIANT and letter in term:
            joined[x] = term.index(letter)
    if letter not in out:
        return TOTAL
    return out.index(letter)


def _getitem(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    """A basic index that takes all of the batch axis, which moves as axes before it come or go."""
    (a,) = v.args
    at = batch_axis(labels, a)
    index = v.params["index"]
    index = index if isinstance(index, tuple) else (index,)
    full = (None, None, None)
    parts: list[Any] = []
    for part in index:
        if part is Ellipsis:
            used = sum(p is not None and p is not Ellipsis for p in index)
            parts += [full] * (len(a.shape) - used)
        else:
            parts.append(part)
    axis = out = 0
    for part in parts:
        if part is None:
            out += 1
            continue
        if axis == at:
            if tuple(part) != full if isinstance(part, tuple) else True:
                raise _Mixed("it picks rows of the batch")
            return out
        out += isinstance(part, tuple)
        axis += 1
    return out + at - axis


def _padded(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    at = labels[v.args[0]]
    if v.params["widths"][at] != (0, 0):
        raise _Mixed("it pads the batch axis")
    return at


def _scatter(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    """The way back of getitem: the batch is the axis of the result that getitem would find in what is written."""
    if len(v.args) != 1:
        raise _Mixed("it writes at places given by an array")
    a = v.args[0]
    for at, n in enumerate(v.params["shape"]):  # the place of the batch in the array written into
        if n != a.shape[batch_axis(labels, a)]:
            continue
        probe = Value("op", op=v.op, args=(Value("given"),), params={"index": v.params["index"]})
        probe.args[0].shape = v.params["shape"]
        try:
            if _getitem(probe, {probe.args[0]: at}) == labels[a]:
                return at
        except _Mixed:
            continue
    raise _Mixed("the batch axis of what is written is not one of the array written into")


def _ties(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    at = labels[v.args[0]]
    if at in _axes(v, len(v.args[0].shape)):
        raise _Mixed(f"it works along axis {at}, the batch's")
    return at


def _with_new_last_axis(v: Value, labels: dict[Value, Label], *_: Any) -> Label:
    return labels[v.args[0]]


RULES: dict[str, Callable[..., Label]] = {
    "sum": _sum, "concatenate": _joined, "stack": _joined, "reshape": _reshape, "transpose": _transposed,
    "swapaxes": _transposed, "spread": _spread, "broadcast_to": _spread, "matmul": _matmul, "einsum": _contract,
    "getitem": _getitem, "pad": _padded, "scatter": _scatter, "ties": _ties, "one_hot": _with_new_last_axis,
}  # fmt: skip
