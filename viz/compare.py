"""Two runs in one picture: the same columns, one scale for the messages of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from . import marks, style
from .fold import fold_cells
from .layout import Layout
from .picture import Picture
from .trace import Trace, TraceEdge, TraceNode


def compare(
    a: Trace,
    b: Trace,
    *,
    names: tuple[str, str] | None = None,
    params: Literal["shared", "hide"] = "hide",
    captions: Sequence[str] = (),
    title: str = "",
) -> Picture:
    """Two runs over the same steps, `a` over `b`, with one scale of widths: which of them carries its messages further.

    The line over each says by what the norm of the message between two steps, ‖∂L/∂zₜ‖ in all parts of the state, is
    multiplied on its way from the last step to the first: by 10⁻⁵ it has vanished. `names` are those of the cells,
    unless given; the rest is as in `viz.unroll`. Raises TypeError for what is no trace, ValueError for runs without a
    step in common. Bengio, Simard & Frasconi 1994, Learning long-term dependencies with gradient descent is difficult.

    >>> from viz.example import Example
    >>> from viz.record import trace
    >>> runs = [trace(Example(cell, steps=3, loss="last").build()) for cell in ("ElmanRNN", "LSTM")]
    >>> compare(*runs).trace.title
    'ElmanRNN over LSTM, unrolled over 3 steps'
    """
    for run in (a, b):
        if not isinstance(run, Trace):
            kind = type(run).__name__
            raise TypeError(f"compare draws two traces, not {kind}: viz.compare(viz.trace(a), viz.trace(b))")
    if not set(a.steps) & set(b.steps):
        raise ValueError(f"compare: the runs share no step; one has {a.steps or 'none'}, the other {b.steps or 'none'}")
    if params not in ("shared", "hide"):
        raise ValueError(f"compare: params={params!r} is none of 'shared', 'hide'")
    drawn = [fold_cells(run) for run in (a, b)]
    called = names or (_name(drawn[0]), _name(drawn[1]))
    nodes: list[TraceNode] = []
    edges: list[TraceEdge] = []
    for part, run in zip("ab", drawn):
        nodes += [replace(node, id=f"{part}_{node.id}", part=part) for node in run.nodes]
        edges += [replace(e, source=f"{part}_{e.source}", target=f"{part}_{e.target}") for e in run.edges]
    steps = len(set(a.steps) | set(b.steps))
    heading = title or f"{called[0]} over {called[1]}, unrolled over {steps} step{'s' * (steps != 1)}"
    note = " ".join(dict.fromkeys(run.note for run in drawn if run.note))
    both = Trace(nodes, edges, "cell", heading, note)
    lines = [f"{name}: {_fate(run)}" for name, run in zip(called, drawn)]
    return Picture(both, params == "shared", tuple(captions), along=lambda plan: _headings(plan, lines))


def crossing(trace: Trace) -> dict[int, float]:
    """For each step the norm of all messages that come back to its state from other steps: √Σ m²."""
    nodes = {node.id: node for node in trace.nodes}
    norms: dict[int, list[float]] = defaultdict(list)
    for edge in trace.edges:
        source, target = nodes[edge.source], nodes[edge.target]
        between = source.role == target.role == "state" and None is not source.time != target.time is not None
        if between and edge.message is not None and source.time is not None:
            norms[source.time].append(edge.message)
    return {time: math.hypot(*found) for time, found in sorted(norms.items())}


def _name(trace: Trace) -> str:
    cells = list(dict.fromkeys(node.cell for node in trace.nodes if node.cell))
    return " + ".join(cells) or "loop"


def _fate(trace: Trace) -> str:
    """How the messages between the steps change from the last to the first."""
    norms = crossing(trace)
    if len(norms) < 2:
        return "too few steps to see messages grow or fade"
    (first, low), (last, high) = min(norms.items()), max(norms.items())
    factor = f", × {style.number(low / high)}" if high else ""
    return (
        f"the message that comes back to the state has norm {style.number(high)} at t = {last}, "
        f"{style.number(low)} at t = {first}{factor}"
    )


def _headings(plan: Layout, lines: Sequence[str]) -> Iterator[marks.Mark]:
    """The name and the fate of each run, over its rows."""
    left = min(box.left for box in plan.bands.values())
    for name, line in zip("ab", lines):
        _, top = plan.grid.parts[name]
        yield marks.text(f"part_{name}", [line], left + 8, plan.rows[top][1] + 38, size=12, align="left", bold=True)
