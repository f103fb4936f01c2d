"""Long sequences: steps that follow each other become one column, which stands for them all and sums their messages."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal

from .fold import norm_of_sum, sum_of
from .trace import Trace, TraceEdge, TraceNode

ENDS = 3  # columns that are kept at either end
INSIDE = "norm of the messages between the folded steps"
UNSUMMED = "What the folded steps add to shared parameters is known to viz.trace(…, values=True) alone."

Fold = Literal["auto", "always", "never"]
FOLDS = ("auto", "always", "never")


def shorten(
    trace: Trace, *, window: tuple[int, int] | None = None, fold: Fold = "auto", max_nodes: int = 400
) -> Trace:
    """The trace with at most so many nodes: columns in the middle are folded into one, and the picture says so.

    `window` (a, b) keeps the steps a ≤ t < b and folds those before and those after into a column each. What is still
    larger than `max_nodes` is folded but for its first and last three columns; with `fold` "always" this is done to any
    graph, with "never" to none. Raises ValueError for a window without steps and a `max_nodes` below 1.

    >>> nodes = [TraceNode(f"h{t}", "tanh", "h", time=t, role="state") for t in range(100)]
    >>> edges = [TraceEdge(f"h{t}", f"h{t + 1}", message=1.0) for t in range(99)]
    >>> short = shorten(Trace(nodes, edges, "cell"), max_nodes=20)
    >>> [node.steps for node in short.nodes], short.length
    ([1, 1, 1, 94, 1, 1, 1], 100)
    """
    if fold not in FOLDS:
        raise ValueError(f"fold={fold!r} is none of {', '.join(map(repr, FOLDS))}")
    if max_nodes < 1:
        raise ValueError(f"max_nodes is {max_nodes}; it must be 1 or more")
    steps = trace.steps
    ranges: list[list[int]] = []
    if window is not None:
        start, stop = window
        if not (0 <= start < stop and any(start <= t < stop for t in steps)):
            last = f"0 … {steps[-1]}" if steps else "none"
            raise ValueError(f"window=({start}, {stop}) holds no step: from the first to before the last, of {last}")
        ranges = [[t for t in steps if t < start], [t for t in steps if t >= stop]]
        steps = [t for t in steps if start <= t < stop]
    many = Counter(node.time for node in trace.nodes)
    kept = len(trace.nodes) - sum(many[t] for part in ranges for t in part)
    large = kept > max_nodes
    if fold != "never" and (large or fold == "always"):
        ranges.append(steps[ENDS:-ENDS])
    ranges = [part for part in ranges if len(part) > 1]
    if not ranges:
        return trace
    short = fold_steps(trace, ranges)
    notes = [trace.note] if trace.note else []
    said = " and ".join(f"t = {part[0]} … {part[-1]}" for part in sorted(ranges))
    notes.append(f"{said} folded" + (f": {kept:,} nodes are more than max_nodes={max_nodes}" if large else "") + ".")
    if any(e.message is not None for e in trace.edges) and _unsummed(short):
        notes.append(UNSUMMED)
    return replace(short, note=" ".join(notes))


def fold_steps(trace: Trace, ranges: Sequence[Sequence[int]]) -> Trace:
    """One column for the steps of each range: nodes at the same place of their steps become one, and so do edges.

    The message on an edge that stands for several: contributions to one source are summed, ‖Σ m‖, and those to
    different sources stand side by side, √Σ ‖m‖². What passes between two folded steps has no edge left; its √Σ ‖m‖²
    is told of the node that it leaves, so no message is lost: the squares over all sources add up to what they were.
    """
    column = {t: (part[0], len(part)) for part in ranges for t in part}
    alias = _aliases(trace, column)
    nodes: dict[str, TraceNode] = {}
    ops: Counter[str] = Counter()
    for node in trace.nodes:
        name = alias[node.id]
        if name not in nodes:
            start, steps = column.get(node.time, (node.time, 1))  # type: ignore[arg-type]
            nodes[name] = replace(node, time=start, steps=steps, stats={}) if steps > 1 else node
        ops[name] += node.ops
    nodes = {name: replace(node, ops=ops[name]) if node.steps > 1 else node for name, node in nodes.items()}

    time = {node.id: node.time for node in trace.nodes}
    joined: dict[Hashable, list[TraceEdge]] = defaultdict(list)
    inside: dict[str, list[float]] = defaultdict(list)
    for place, edge in enumerate(trace.edges):
        source, target = alias[edge.source], alias[edge.target]
        one, other = column.get(time[edge.source]), column.get(time[edge.target])  # type: ignore[arg-type]
        if one and one == other and time[edge.source] != time[edge.target]:
            inside[source] += [edge.message] if edge.message is not None else []
        elif one or other:
            argument = edge.argument if nodes[target].time is not None else 0  # a bar takes each step as another one
            joined[source, target, edge.label, edge.cut, edge.dropped, argument].append(edge)
        else:
            joined[place].append(edge)
    edges = [_joined(parts, alias) for parts in joined.values()]
    for name, norms in inside.items():
        nodes[name] = replace(nodes[name], stats=nodes[name].stats | {INSIDE: math.hypot(*norms)})
    return replace(trace, nodes=list(nodes.values()), edges=edges)


def _aliases(trace: Trace, column: dict[int, tuple[int, int]]) -> dict[str, str]:
    """For each node the one that stands for it: of the first folded step that has something at the same place."""
    alias: dict[str, str] = {}
    first: dict[Hashable, str] = {}
    seen: Counter[Hashable] = Counter()
    for node in trace.nodes:
        if node.time not in column:
            alias[node.id] = node.id
            continue
        kind = (node.role, node.op, node.label, node.layer, node.direction, node.cell)
        number = seen[node.time, kind]
        seen[node.time, kind] += 1
        alias[node.id] = first.setdefault((column[node.time], kind, number), node.id)
    return alias


def _joined(parts: list[TraceEdge], alias: dict[str, str]) -> TraceEdge:
    one = replace(parts[0], source=alias[parts[0].source], target=alias[parts[0].target])
    if len(parts) == 1:
        return one
    by_source = [list(group) for _, group in groupby(sorted(parts, key=_source), key=_source)]
    norms = [norm_of_sum(group) for group in by_source if any(edge.message is not None for edge in group)]
    message = None if any(norm is None for norm in norms) or not norms else math.hypot(*norms)  # type: ignore[arg-type]
    return replace(one, message=message, value=sum_of(parts) if len(by_source) == 1 else None)


def _source(edge: TraceEdge) -> str:
    return edge.source


def _unsummed(trace: Trace) -> bool:
    folded = {node.id for node in trace.nodes if node.steps > 1}
    parameters = {node.id for node in trace.parameters}
    return any(e.source in parameters and e.target in folded and e.message is None for e in trace.edges)
