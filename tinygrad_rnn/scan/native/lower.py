"""Ops over whole rows, written as the few that the loop's code is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...op import REGISTRY
from ..graph import StepGraph, Value
from ..rows import INVARIANT, Label

__all__ = ["lowered"]

Make = Callable[..., Value]


def lowered(graph: StepGraph, labels: Mapping[Value, Label]) -> StepGraph:
    """A graph in which softmax, norms and sums over the batch and more are made of simpler ops."""
    out = StepGraph()
    renamed: dict[Value, Value] = {}

    def now(v: Value) -> Value:
        return renamed.get(v, v)

    def make(name: str, *args: Any, shape: tuple[int, ...] | None = None, **params: Any) -> Value:
        values = tuple(a if isinstance(a, Value) else Value("number", array=a) for a in args)
        if name == "reshape":
            params["shape"] = shape
        made = Value("op", op=REGISTRY[name], args=values, params=params)
        first = next(v for v in values if v.kind != "number")
        made.shape = np.broadcast_shapes(*[v.shape for v in values]) if shape is None else shape
        made.dtype = first.dtype
        out.values.append(made)
        return made

    for i, v in enumerate(graph.values):
        if i == graph.backward_from:
            out.backward_from = len(out.values)
        if v.kind in ("op", "pick") and any(a in renamed for a in v.args):
            changed = Value(v.kind, op=v.op, params=v.params, index=v.index, line=v.line, args=tuple(map(now, v.args)))
            changed.shape, changed.dtype = v.shape, v.dtype
            renamed[v] = changed
        rule = LOWER.get(v.name) if v.kind == "op" and labels[v] != INVARIANT else None
        made = rule(now(v), labels[v.args[0]] if v.args and v.args[0] in labels else None, make) if rule else None
        if made is not None:
            renamed[v] = made
        else:
            out.values.append(now(v))
    if graph.backward_from >= len(graph.values):
        out.backward_from = len(out.values)
    out.carry, out.xs, out.g_carry, out.g_ys = graph.carry, graph.xs, graph.g_carry, graph.g_ys
    out.carry_out, out.ys = [now(v) for v in graph.carry_out], [now(v) for v in graph.ys]
    out.gradients = {now(v): now(g) for v, g in graph.gradients.items()}
    out.structure, out.given = graph.structure, graph.given
    return out


def _kept(v: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The reduced axes, and the shape with them at size 1."""
    shape, axis = v.args[0].shape, v.params["axis"]
    axes = range(len(shape)) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
    gone = tuple(a % len(shape) for a in axes)
    return gone, tuple(1 if i in gone else n for i, n in enumerate(shape))


def _reduce(make: Make, name: str, x: Value, v: Value) -> Value:
    gone, kept = _kept(v)
    return make(name, x, shape=kept, axis=gone, keepdims=True)


def _exponentials(v: Value, make: Make) -> tuple[Value, Value, Value]:
    x = v.args[0]
    below = make("sub", x, _top(v, make))
    e = make("exp", below)
    tiny = float(np.finfo(x.dtype).tiny)  # where all entries are −inf there is nothing to divide by
    return below, e, make("maximum", _reduce(make, "sum", e, v), tiny)


def _top(v: Value, make: Make) -> Value:
    """The largest entry; a finite number where it is infinite, so that −inf − −inf is −inf."""
    x = v.args[0]
    limits = np.finfo(x.dtype)
    return make("clip", _reduce(make, "max", x, v), min=float(limits.min), max=float(limits.max))


def _softmax(v: Value, label: Any, make: Make) -> Value:
    _, e, total = _exponentials(v, make)
    return make("div", e, total)


def _log_softmax(v: Value, label: Any, make: Make) -> Value:
    below, _, total = _exponentials(v, make)
    return make("sub", below, make("log", total))


def _logsumexp(v: Value, label: Any, make: Make) -> Value:
    x = v.args[0]
    top = _top(v, make)
    total = _reduce(make, "sum", make("exp", make("sub", x, top)), v)
    out = make("add", make("log", total), top)
    return out if out.shape == v.shape else make("reshape", out, shape=v.shape)


def _norm(v: Value, label: Any, make: Make) -> Value:
    x = v.args[0]
    gone, _ = _kept(v)
    squares = make("mul", x, x)
    return make("sqrt", make("sum", squares, shape=v.shape, axis=gone, keepdims=v.params["keepdims"]))


def _sum(v: Value, label: Any, make: Make) -> Value | None:
    """A sum over the batch and other axes: first within the row."""
    gone, _ = _kept(v)
    if label not in gone or len(gone) == 1:
        return None
    x = v.args[0]
    within = tuple(a for a in gone if a != label)
    shape = tuple(1 if a in within else n for a, n in enumerate(x.shape))
    row = make("sum", x, shape=shape, axis=within, keepdims=True)
    total = make("sum", row, shape=_kept(v)[1], axis=(label,), keepdims=True)
    return total if total.shape == v.shape else make("reshape", total, shape=v.shape)


def _matmul(v: Value, label: Any, make: Make) -> Value | None:
    """A product over an inner axis of size 1 is an outer product, entry by entry."""
    a, b = v.args
    if len(a.shape) < 3 or len(b.shape) < 3 or a.shape[-1] != 1:
        return None
    return make("mul", a, b)


LOWER: dict[str, Callable[[Value, Any, Make], Value | None]] = {
    "softmax": _softmax, "log_softmax": _log_softmax, "logsumexp": _logsumexp, "norm": _norm, "sum": _sum,
    "matmul": _matmul,
}  # fmt: skip
