"""From a step to its compiled run: found again, or traced, proved, planned; then one node in the outer graph.

Nothing is compiled twice. A step that is a method of a Module is looked at once and known again as long as no attribute
of the module, or of a module in it, is another object. Any other function is traced at every call (half a millisecond)
and its plan found by what it computes: two steps with the same ops share one plan, whatever T, and a changed one never
meets an old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import tree
from ..autodiff import pull
from ..declare import primitive
from ..nn.module import Module
from ..node import Scope, local, recording, scope
from ..op import CUT
from ..ops.elementwise import where
from ..ops.shape import stack, unstack
from ..tensor import Tensor, tensor
from ..transforms import jvp
from . import choices
from .apply import applied
from .checkpointed import Checkpointed, segment_length
from .eager import masked
from .explain import described
from .graph import Refused, StepGraph, Value, simplified
from .memory import memory_of, signature
from .merge import merged
from .plan import plan_for
from .rows import Label, batch_axes, shape_at
from .run import Call, Masked, mask
from .trace import trace

__all__ = ["Compiled", "compiled_for", "run_compiled"]


class Compiled:
    """A step as a graph, where its batch axis is, and the executor's plan for it with its gates merged.

    ``invariants`` are what the step captures, ``given`` the same in the plan's graph, and ``inputs`` all that gradients
    of a run belong to there.
    """

    def __init__(self, graph: StepGraph, labels: dict[Value, Label], executor: str) -> None:
        self.graph, self.labels = graph, labels
        self.invariants = graph.invariants()
        run = merged(graph, labels)
        self.plan, self.fallbacks = plan_for(run, labels if run is graph else batch_axes(run), executor)
        self.given = run.invariants()
        self.inputs = (*run.xs, *run.carry, *self.given)

    def explain(self, *, T: int = 100, B: int = 32) -> str:
        """What runs once, before, in and after a loop of T steps, what is left in it, and why anything fell back."""
        return described(self, T=T, B=B)


class Captured:
    """Where the invariants of a trace come from: captured Tensors, and ops on them, which run outside the loop."""

    def __init__(self, graph: StepGraph, invariants: Sequence[Value], known: dict[int, Tensor]) -> None:
        self.sources: dict[Value, Any] = {}
        self.invariants = invariants
        needed = graph.needed_for(invariants)
        self.order = [v for v in graph.values if v in needed]
        for v in self.order:
            if v.kind == "given":
                node = v.node
                found = node.saved[0]() if node is not None and node.op.kind == "leaf" and node.saved else None
                if found is None:
                    found = known.get(id(v.array))
                if found is None:
                    found = Tensor.of(v.array, node)
                self.sources[v] = found
        self.plain = all(v.kind == "given" for v in invariants)
        self.tensors = [self.sources[v] for v in invariants] if self.plain else []
        self.tracked = [t.node is None for t in self.sources.values()]

    def same(self) -> bool:
        """Whether the same Tensors require gradients as when they were traced."""
        return self.tracked == [t.node is None for t in self.sources.values()]

    def values(self) -> list[Tensor]:
        """The invariants as Tensors of the outer graph."""
        if self.plain:
            return self.tensors
        env: dict[Value, Any] = dict(self.sources)
        for v in self.order:
            if v not in env:
                env[v] = applied(v, env)
        return [env[v] for v in self.invariants]


class Run:
    """One call of a compiled step, with its two derivatives; what ``scan`` records as one node."""

    def __init__(
        self, compiled: Compiled, call_options: dict[str, Any], needs: list[bool], checkpoint: str | int | None = None
    ) -> None:
        self.compiled, self.options, self.needs, self.checkpoint = compiled, call_options, needs, checkpoint
        self.call: Call | None = None
        graph = compiled.graph
        self.plan: Any = compiled.plan
        if call_options["lengths"] is not None:
            self.plan = Masked(self.plan)
        if checkpoint is not None:
            self.plan = Checkpointed(self.plan, compiled.plan.graph, segment_length(checkpoint, call_options["total"]))
        self.cuts = (len(graph.xs), len(graph.xs) + len(graph.carry))

    def _new_call(self, arrays: Sequence[Any]) -> Call:
        a, b = self.cuts
        call = Call(list(arrays[:a]), list(arrays[a:b]), list(arrays[b:]), needs=self.needs, **self.options)
        return call

    def forward(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        call = self._new_call(arrays)
        carry, ys = self.plan.forward(call)
        if call.saving:
            self.call = call
        return (*carry, *ys)

    def backward(self, g: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
        """The cotangents of xs, carry and invariants; the second time the forward pass runs again first."""
        if self.call is None:
            self.call = self._new_call(arrays)
            self.plan.forward(self.call)
        call, self.call = self.call, None  # its buffers are written over on the way back
        graph = self.compiled.graph
        n = len(graph.carry)
        full = [
            zeros(like.shape, like.dtype) if c is None and like is not None else c
            for c, like in zip(g, (*call.carry, *[None] * len(graph.ys)), strict=True)
        ]
        for i, v in enumerate(graph.ys, n):
            if g[i] is None:
                full[i] = np.zeros((call.T, *shape_at(v.shape, self.compiled.labels[v], call.B)), v.dtype)
        found = self.plan.backward(call, full[:n], full[n:])
        return [found.get(v) for v in self.compiled.inputs]

    def one_step(self, x: list[Any], carry: list[Any], given: list[Any]) -> tuple[Any, ...]:
        """One step of the graph on Tensors: the new carry and the outputs."""
        graph, labels = self.compiled.graph, self.compiled.labels
        env: dict[Value, Any] = dict(zip(self.compiled.invariants, given, strict=True))
        env.update(zip(graph.carry, carry, strict=True))
        env.update(zip(graph.xs, x, strict=True))
        frame = local.frame
        before: Scope | None = frame.scope
        moved: dict[Scope, Scope] = {}
        try:
            for v in graph.values[: graph.backward_from]:
                if v not in env and v.kind in ("op", "pick"):
                    frame.scope = _moved(v.scope, before, moved)
                    env[v] = applied(v, env, labels[v], carry[0].shape[0])
        finally:
            frame.scope = before
        return tuple(_value(env, v) for v in (*graph.carry_out, *graph.ys))

    def eager(self, *inputs: Tensor, after_step: Callable[[list[Tensor]], None] | None = None) -> tuple[Tensor, ...]:
        """The same run as plain ops, tagged as the loop's would be: for derivatives of derivatives, and pictures.

        ``after_step`` is handed the carry after every step.
        """
        graph, (a, b) = self.compiled.graph, self.cuts
        call = self._new_call([t.data for t in inputs])
        series, carry = [unstack(x) for x in inputs[:a]], list(inputs[a:b])
        ys: list[Any] = [None] * call.T
        for t in call.order:
            with scope("time", index=t):
                out = self.one_step([x[t] for x in series], carry, list(inputs[b:]))
                new, y = list(out[: b - a]), list(out[b - a :])
                if call.valid is not None:
                    row = call.valid[t]
                    new = [where(mask(row, n), n, c) for n, c in zip(new, carry, strict=True)]
                    y = [where(mask(row, each), each, 0) for each in y]
                carry, ys[t] = new, y
            if after_step is not None:
                after_step(carry)
        return (*carry, *[stack([y[i] for y in ys]) for i in range(len(graph.ys))])


@lru_cache(maxsize=64)
def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The cotangent of what was not used; made once, since it is only read."""
    found = np.zeros(shape, dtype)
    found.flags.writeable = False
    return found


def _moved(tag: Scope | None, base: Scope | None, known: dict[Scope, Scope]) -> Scope | None:
    """A scope inside the step that was traced, inside the one that runs."""
    if tag is None or tag.kind == "time":
        return base
    if tag not in known:
        known[tag] = Scope(tag.kind, tag.name, tag.index, tag.attributes, _moved(tag.parent, base, known))
    return known[tag]


def _value(env: dict[Value, Any], v: Value) -> Any:
    found = env.get(v, v.array)
    return found if type(found) is Tensor else tensor(found)


def _pullback(g: Sequence[Any], arrays: Sequence[Any], run: Run) -> list[Any]:
    if not any(type(t) is Tensor for t in (*g, *arrays)):
        return run.backward(g, arrays)
    inputs = [t if type(t) is Tensor else Tensor.of(t, None) for t in arrays]
    outputs = run.eager(*inputs)
    pairs = [(o, c) for o, c in zip(outputs, g, strict=True) if c is not None]
    wrt = {t.node for t in inputs if t.node is not None}
    cotangents = [c if type(c) is Tensor else Tensor.of(c, None) for _, c in pairs]
    found = pull([o.node for o, _ in pairs], cotangents, wrt=wrt, record=True, ends=True)
    seen: set[Any] = set()
    gradients = []
    for t in inputs:  # an input that is there twice has one node, whose cotangent is the sum of both
        gradients.append(found.get(t.node) if t.node is not None and t.node not in seen else None)
        seen.add(t.node)
    return gradients


def _pushforward(t: Sequence[Any], arrays: Sequence[Any], run: Run) -> tuple[Any, ...]:
    raw = not any(type(x) is Tensor for x in (*t, *arrays))
    inputs = [x if type(x) is Tensor else Tensor.of(x, None) for x in arrays]
    moving = [i for i, x in enumerate(t) if x is not None]

    try:
        with recording(not raw):
            found = _tangents([x if x is None or type(x) is Tensor else Tensor.of(x, None) for x in t], inputs, run)
        return tuple(x.data if raw else x for x in found)
    except Refused:
        pass  # a step may have code where its forward mode has none: the plain loop below does it

    def along(*chosen: Any) -> tuple[Any, ...]:
        values = list(inputs)
        for i, x in zip(moving, chosen, strict=True):
            values[i] = x
        return run.eager(*values)

    with recording(True):
        _, tangents = jvp(along, [inputs[i] for i in moving], [t[i] for i in moving])
    return tuple(x.data if raw else x for x in tangents)


def _tangents(t: Sequence[Any], inputs: list[Tensor], run: Run) -> tuple[Any, ...]:
    """Forward mode of a run: the run of the step's forward mode, compiled as any step. Raises Refused."""
    graph, (a, b), options = run.compiled.graph, run.cuts, run.options
    pairs = zip(inputs[a:b], t[a:b], strict=True)
    carry = [Tensor.of(np.zeros_like(v.data), None) if d is None else d for v, d in pairs]
    moving_x = [i for i in range(a) if t[i] is not None]
    moving_given = [i for i in range(b, len(inputs)) if t[i] is not None]
    along_given = [t[i] for i in moving_given]

    def step(state: Any, series: Any) -> Any:
        primals, tangents = [*state[0], *series[0]], [*state[1], *series[1]]
        order = [*range(a, b), *range(a)]
        moving = [*range(a, b), *moving_x, *moving_given]
        values = {**dict(enumerate(inputs)), **dict(zip(order, primals, strict=True))}

        def one(*chosen: Any) -> tuple[Any, ...]:
            now = {**values, **dict(zip(moving, chosen, strict=True))}
            ordered = [now[i] for i in range(len(inputs))]
            return run.one_step(ordered[:a], ordered[a:b], ordered[b:])

        out, d_out = jvp(one, [values[i] for i in moving], [*tangents, *along_given])
        n = len(graph.carry)
        return (list(out[:n]), list(d_out[:n])), list(d_out[n:])

    d_series = [t[i] for i in moving_x]
    if d_series and options["lengths"] is not None:
        d_series = masked(d_series, options["total"], options["lengths"])[0]
    last, ys = run_compiled(
        step, (inputs[a:b], carry), (inputs[:a], d_series), options["total"], options["lengths"], options["reverse"],
        "auto" if run.compiled.plan.name == "llvm" else run.compiled.plan.name, options["threads"],
        run.checkpoint,
    )  # fmt: skip
    return (*last[1], *ys)


@primitive("scan", _pullback, jvp=_pushforward, many=True)
def _scan(*arrays, run):
    return run.forward(arrays)


def compiled_for(
    step: Callable,
    leaves: list[Tensor],
    structure: Any,
    x_leaves: list[Tensor],
    x_structure: Any,
    executor: str,
    at: int = 0,
) -> tuple[Compiled, list[Tensor]]:
    """The compiled step and its invariants, found again or made now; ``at`` is the first step. Raises Refused."""
    owner = getattr(step, "__self__", None)
    known: dict[int, Tensor] = {}
    memory = None
    if isinstance(owner, Module):
        memory = memory_of(owner)
        key = (
            getattr(step, "__func__", None),
            executor,
            choices.epoch(),
            *[(a := t.data).shape + (a.dtype.num, type(a)) for t in leaves],
            *[(a := t.data).shape[1:] + (a.dtype.num, type(a)) for t in x_leaves],
        )
        found = memory.get(key)
        if found is not None:
            compiled, captured, x_before = found
            if isinstance(compiled, Refused):
                raise compiled
            same = tree.alike(compiled.graph.structure[0], structure) and tree.alike(x_before, x_structure)
            if same and captured.same():
                return compiled, captured.values()
        known = memory.look()
    check(leaves, x_leaves)
    x = tree.unflatten(x_structure, [Tensor.of(t.data[at], None) for t in x_leaves])
    carry = tree.unflatten(structure, leaves)
    try:
        graph = simplified(trace(step, carry, x, at=at))
        _check_carry(graph, leaves)
        compiled = plan_of(graph, executor)
    except Refused as why:
        if memory is not None and not why.final:
            memory.keep(key, why, None, x_structure)
        raise
    captured = Captured(graph, graph.invariants(), known)
    values = captured.values()
    if memory is not None and not any(t.node is not None and not t.is_leaf for t in captured.sources.values()):
        memory.keep(key, compiled, captured, x_structure)
    return compiled, values


def _check_carry(graph: StepGraph, leaves: list[Tensor]) -> None:
    for new, old in zip(graph.carry_out, leaves, strict=True):
        if new.kind != "number" and (new.shape, new.dtype) != (old.shape, old.dtype):
            raise Refused(
                f"scan: the step makes a carry of {new.shape} {new.dtype} from one of {old.shape} {old.dtype}; "
                "a loop carries what it was given"
            )


_plans: dict[Any, Compiled | Refused] = {}


def plan_of(graph: StepGraph, executor: str) -> Compiled:
    """The plan of a traced step, made now or for another step that computes the same. Raises Refused."""
    labels = batch_axes(graph)
    key = (executor, choices.epoch(), *signature(graph, labels))
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= 512:
            _plans.clear()
        try:
            found = Compiled(graph, labels, executor)
        except Refused as why:
            found = why
        _plans[key] = found
    if isinstance(found, Refused):
        raise found
    return found


def threads_for(threads: int | None) -> int:
    """How many threads a run may use: what is asked for, else NUMBA_NUM_THREADS, else one."""
    if threads is not None:
        return threads
    return int(os.environ.get("NUMBA_NUM_THREADS", "1") or 1)


def run_compiled(
    step: Callable,
    init: Any,
    xs: Any,
    total: int,
    lengths: np.ndarray | None,
    reverse: bool,
    executor: str,
    threads: int | None,
    checkpoint: str | int | None = None,
) -> tuple[Any, Any]:
    """The last carry and the outputs as one node. Raises Refused where the step cannot be compiled."""
    leaves, structure = tree.flatten(init)
    x_leaves, x_structure = tree.flatten(xs)
    leaves = [t if type(t) is Tensor else tensor(t) for t in leaves]
    x_leaves = [t if type(t) is Tensor else tensor(t) for t in x_leaves]
    frame = local.frame
    first = total - 1 if reverse else 0
    compiled, invariants = compiled_for(step, leaves, structure, x_leaves, x_structure, executor, first)
    inputs = [*x_leaves, *leaves, *invariants]
    needs = [t.node is not None and t.node.op is not CUT for t in inputs]
    options = {
        "total": total, "lengths": lengths, "reverse": reverse, "saving": frame.recording and any(needs),
        "threads": threads_for(threads),
    }  # fmt: skip
    outputs = _scan(*inputs, run=Run(compiled, options, needs, checkpoint))
    n = len(leaves)
    carry_structure, y_structure = compiled.graph.structure
    return tree.unflatten(carry_structure, outputs[:n]), tree.unflatten(y_structure, outputs[n:])


def check(leaves: list[Tensor], x_leaves: list[Tensor]) -> None:
    """Raises Refused for what no executor runs."""
    if not leaves:
        raise Refused("scan: there is no carry")
    if any(type(t.data) is not np.ndarray for t in (*leaves, *x_leaves)):
        raise Refused("scan: compiled loops run on the CPU, on NumPy's arrays")
    sizes = {t.shape[:1] for t in leaves} | {t.shape[1:2] for t in x_leaves}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise Refused(
            f"scan: carries {[t.shape for t in leaves]} and inputs {[t.shape for t in x_leaves]} share no batch axis"
        )

