"""The folded cell: the ops of one time step, each once, and what leads from the step back to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import tinygrad_rnn as tg

from . import marks, style
from .fold import CELL_ROLES
from .picture import Picture
from .record import trace as record
from .trace import Trace, TraceEdge, TraceNode

STEPS = 4  # that a cell is run for: one in the middle reads a step and is read by one
NONLINEAR = {
    "sigmoid", "hard_sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "silu", "softmax", "log_softmax", "exp",
    "erf",
}  # fmt: skip
POINTWISE = {
    "add", "sub", "neg", "mul", "div", "pow", "square", "expm1", "log", "log1p", "sqrt", "sin", "cos", "abs", "maximum",
    "minimum", "clip", "where", "sign",
}  # fmt: skip
VOCABULARY = (
    "yellow, rounded: a nonlinear layer · pink ellipse: entry by entry · white: products, sums, parts · "
    "double border: the new state"
)


def cell(what: Any, *, layer: int | str | None = None, title: str = "") -> Picture:
    """One step of a cell, an op a node, with an edge back to its beginning, t−1 → t, for every part of the state.

    `what` is the name of a cell of the zoo, a `zoo.Cell`, or a trace of a run of two or more steps (`layer` tells which
    of several). Below it stand the equations ``sₜ = F(xₜ, sₜ₋₁)`` from the zoo's registry, where the cell is in it. The
    look of the nodes follows Olah 2015, Understanding LSTM networks: layers yellow, pointwise ops pink.
    Raises ValueError for a trace without a cell, without that layer, or with one step only, TypeError for what is
    neither, and UserError for a name that there is not.

    >>> drawn = cell("ElmanRNN").trace
    >>> [e.label for e in drawn.edges if e.recurrent], [n.op for n in drawn.nodes if n.role == "state"]
    (['t−1 → t'], ['tanh'])
    """
    found = what if isinstance(what, Trace) else _run(what)
    if found.level == "cell":
        raise ValueError("cell: this trace is folded to cells; the ops of a step need the one from viz.trace")
    body, now, before = _step(found, layer)
    name = next(node.cell for node in body) or "step"
    folded = Trace(*_folded(found, body, now, before), "step", title or f"{name}, one step: folded over time")
    return Picture(folded, below=lambda left, top: _below(name, left, top))


def _run(what: Any) -> Trace:
    """A run of a cell, of a name or as it is, over random inputs: all that it learns from are its outputs."""
    import zoo

    made = zoo.get(what)(3, 4) if isinstance(what, str) else what
    if not isinstance(made, zoo.Cell):
        raise TypeError(f"cell: draws a trace, a zoo.Cell or the name of one, not {type(what).__name__}")
    rnn = zoo.RNN(made, compile=False)
    x = tg.random.Generator(0).normal((STEPS, 1, *made.input_shape))

    def run() -> tg.Tensor:
        ys = rnn(x)[0]
        return (ys * ys).sum()

    return record(run)


def _key(node: TraceNode) -> Hashable:
    return node.layer, node.direction, node.cell


def _step(trace: Trace, layer: int | str | None) -> tuple[list[TraceNode], int, int]:
    """The ops of a cell at a step in the middle, and that step and the one before it, in the order of the run."""
    inside = [n for n in trace.nodes if n.role in CELL_ROLES and n.time is not None]
    cells = {_key(n): n for n in inside if n.role == "state"}
    if len({n.time for n in inside}) < 2:
        steps = len({n.time for n in inside})
        raise ValueError(f"cell: the trace has {steps} step; what leads to the next is seen in two or more")
    chosen = [key for key, n in cells.items() if layer is None or n.layer == layer]
    if not chosen:
        there = ", ".join(repr(n.layer) for n in cells.values()) or "none at all"
        raise ValueError(f"cell: no cell of this trace has the layer {layer!r}; the layers with a cell: {there}")
    times = list(dict.fromkeys(n.time for n in inside if _key(n) == chosen[0]))
    at = len(times) - 2 if len(times) > 2 else 1
    now, before = times[at], times[at - 1]
    assert now is not None and before is not None
    return [n for n in inside if _key(n) == chosen[0] and n.time == now], now, before


def _folded(
    trace: Trace, body: list[TraceNode], now: int, before: int
) -> tuple[list[TraceNode], list[TraceEdge]]:
    nodes = {node.id: node for node in trace.nodes}
    ops = {node.id for node in body}
    past = [n for n in trace.nodes if n.role in CELL_ROLES and n.time == before and _key(n) == _key(body[0])]
    same = _alike(past, body)
    entering: dict[str, TraceNode] = {}
    edges: list[TraceEdge] = []
    for edge in trace.edges:
        if edge.target not in ops:
            continue
        source = nodes[edge.source]
        if edge.source not in ops and edge.source not in entering:
            entering[source.id] = _entering(source, now, same)
        edges.append(TraceEdge(edge.source, edge.target, edge.argument))
    carried = {same[name]: name for name in entering if name in same}
    leaving: dict[str, TraceNode] = {}
    for edge in trace.edges:
        outside = edge.source in ops and edge.target not in ops and nodes[edge.target].time in (None, now)
        if outside and edge.source not in leaving:
            name = f"y{len(leaving) + 1 if leaving else ''}"
            shape = nodes[edge.source].shape
            leaving[edge.source] = TraceNode(f"{name}_out", "output", f"{name}ₜ", shape, time=0, role="output")
            edges.append(TraceEdge(edge.source, f"{name}_out"))
    for new, old in carried.items():
        edges.append(TraceEdge(new, old, label="t−1 → t", recurrent=True))
    inner = [replace(n, time=0, role=_role(n, carried), label=_now(n, carried)) for n in body]
    return [*entering.values(), *inner, *leaving.values()], edges


def _alike(past: Iterable[TraceNode], body: Iterable[TraceNode]) -> dict[str, str]:
    """For the ops of the step before, those of this one: the same op, as many of its kind before it."""

    def numbered(nodes: Iterable[TraceNode]) -> Iterator[tuple[Hashable, str]]:
        seen: Counter[Hashable] = Counter()
        for node in nodes:
            seen[node.op, node.shape] += 1
            yield (node.op, node.shape, seen[node.op, node.shape]), node.id

    here = dict(numbered(body))
    return {name: here[kind] for kind, name in numbered(past) if kind in here}


def _entering(source: TraceNode, now: int, same: dict[str, str]) -> TraceNode:
    """What a step reads: a parameter, the state before it, or an input."""
    if source.role == "parameter":
        return replace(source, gradient=None)
    outside = replace(source, time=0, role="input", cell=None, layer=None, direction=None)
    if source.id in same:
        label = f"{source.label or 's'}ₜ₋₁"
        return replace(outside, op="previous", label=label, stats={})
    label = f"{source.label if source.role == 'input' else 'x'}ₜ"
    return replace(outside, op="given", label=label)


def _role(node: TraceNode, carried: dict[str, str]) -> str:
    if node.id in carried:
        return "state"
    return "gate" if node.op in NONLINEAR else "other" if node.op in POINTWISE else "linear"


def _now(node: TraceNode, carried: dict[str, str]) -> str:
    return f"{node.label or 's'}ₜ" if node.id in carried else node.label


def _below(name: str, left: float, top: float) -> Iterator[marks.Mark]:
    """The equations of the cell, where they are from, and what the shapes mean."""
    from zoo.registry import CELLS

    quiet = [VOCABULARY]
    if known := CELLS.get(name):
        lines = known.equations.splitlines()
        yield marks.text("equations", lines, left, top, size=12, align="left")
        top -= 15.6 * len(lines) + 10
        quiet.insert(0, f"Source: {known.paper}")
    yield marks.text("source", quiet, left, top, ink=style.QUIET, align="left")
