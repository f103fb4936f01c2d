"""Op level to cell level: one node per cell and time step, its messages summed over the edges that the fold joins."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from .trace import Trace, TraceEdge, TraceNode

NAMES = {"input": "x", "output": "output", "loss": "loss", "other": "all steps"}  # for what has no name of its own
CELL_ROLES = ("state", "gate", "other")  # what a cell computes; what is outside is an input, an output or a loss


def group(node: TraceNode) -> Hashable:
    """What a node is folded into: its cell at its time step, the inputs, outputs or losses of a step, or itself."""
    if node.role in ("parameter", "constant") or (node.role == "other" and node.time is None and node.layer is None):
        return node.id
    if node.role == "other" and node.cell is None and (node.time is None or node.op == "pick"):
        return ("between", node.layer)  # a bar, and what the steps pick from it
    if node.role in CELL_ROLES:
        kind = "initial" if node.time is None and node.role == "state" else "cell"
        return (kind, node.time, node.layer, node.direction, node.cell)
    return (node.role, node.time, node.layer if node.time is None else None)


@dataclass(frozen=True)
class Folded:
    """A folded trace, the node of it that each folded one is in, and the edges that each of its edges stands for."""

    trace: Trace
    inside: dict[str, str]
    parts: list[list[TraceEdge]]


def fold_cells(trace: Trace) -> Trace:
    """The same trace with one node per cell, time step and layer, and one edge per value that passes between two.

    The message on a folded edge is the norm of the sum of the contributions that its source gets from the target cell:
    ‖Σ_e m_e‖ over the op-level edges e that it stands for. Messages of different sources (h and c of an LSTM) stay
    apart; `message_between` combines them.
    """
    return trace if trace.level == "cell" else folded(trace).trace


def folded(trace: Trace) -> Folded:
    """What `fold_cells` returns, of a trace that is op by op, and where everything went."""
    trace = _one_sum(_through_dropout(trace))
    places: dict[Hashable, int] = {}  # a number for each group: quicker to look up than what it is known by
    groups = {node.id: places.setdefault(group(node), len(places)) for node in trace.nodes}
    members: dict[int, list[TraceNode]] = defaultdict(list)
    for node in trace.nodes:
        members[groups[node.id]].append(node)

    thinned = {groups[node.id] for node in trace.nodes if node.op == "dropout" and node.time is None}
    crossing: dict[tuple[str, int, bool, bool], list[TraceEdge]] = defaultdict(list)
    for edge in trace.edges:
        reader = groups[edge.target]
        if groups[edge.source] != reader:
            dropped = edge.dropped or reader in thinned  # a bar between two layers, with dropout inside
            crossing[edge.source, reader, edge.cut, dropped].append(edge)
    sources = {source for source, *_ in crossing}

    names = [f"g{place}" for place in members]
    nodes = [_fold_nodes(names[key], nodes, sources) for key, nodes in members.items()]
    by_id = {node.id: node for node in trace.nodes}
    arguments: dict[int, int] = defaultdict(int)
    edges = []
    for (source, target, cut, dropped), parts in crossing.items():
        n, one = by_id[source], parts[0]
        message, value = (one.message, one.value) if len(parts) == 1 else (norm_of_sum(parts), sum_of(parts))
        message, value = (None, None) if cut else (message, value)
        edges.append(
            TraceEdge(
                names[groups[source]], names[target], arguments[target], message, cut, n.label, value, n.shape,
                dropped=dropped,
            )
        )  # fmt: skip
        arguments[target] += 1
    inside = {name: names[place] for name, place in groups.items()}
    return Folded(replace(trace, nodes=nodes, edges=edges, level="cell"), inside, list(crossing.values()))


def _through_dropout(trace: Trace) -> Trace:
    """Dropout between two cells as a kind of edge: what it hands back has passed its mask."""
    enters: dict[str, list[TraceEdge]] = defaultdict(list)
    leaves: dict[str, list[TraceEdge]] = defaultdict(list)
    for edge in trace.edges:
        if edge.dropped:
            enters[edge.target].append(edge)
            leaves[edge.source].append(edge)
    drops = {n.id for n in trace.nodes if n.op == "dropout" and n.time is not None and not n.cell}
    drops = {name for name in drops if len(enters[name]) == len(leaves[name]) == 1}
    if not drops:
        return trace
    edges = []
    for edge in trace.edges:
        if edge.source in drops:
            before = enters[edge.source][0]
            edge = replace(before, target=edge.target, argument=edge.argument)
        if edge.target not in drops:
            edges.append(edge)
    return replace(trace, nodes=[n for n in trace.nodes if n.id not in drops], edges=edges)


def _one_sum(trace: Trace) -> Trace:
    """The losses that pass from step to step called as what they add up to, the first one too, which is its own sum."""
    nodes = {n.id: n for n in trace.nodes if n.role == "loss" and n.time is not None}
    passed = {e.source: e.target for e in trace.edges if e.source in nodes and e.target in nodes}
    passed = {one: next_ for one, next_ in passed.items() if nodes[one].time != nodes[next_].time}
    sums = {nodes[name].label for name in passed.values() if name not in passed}
    if len(sums) != 1 or not (name := sums.pop()):
        return trace
    wrong = {one for one in passed if nodes[one].label != name}
    return replace(trace, nodes=[replace(n, label=name) if n.id in wrong else n for n in trace.nodes])


def message_between(trace: Trace, source: str, target: str) -> float | None:
    """Norm of everything that flows back from `target` to `source`: √Σ m² over the values that join them.

    >>> two = [TraceNode("a", "lstm", "LSTM"), TraceNode("b", "lstm", "LSTM")]
    >>> message_between(Trace(two, [TraceEdge("a", "b", 0, 3.0), TraceEdge("a", "b", 1, 4.0)]), "a", "b")
    5.0
    """
    norms = [e.message for e in trace.edges if (e.source, e.target) == (source, target) and e.message is not None]
    return math.hypot(*norms) if norms else None


def _fold_nodes(name: str, nodes: list[TraceNode], sources: set[str]) -> TraceNode:
    """One node for those of a group, named and sized by what leaves it."""
    if len(nodes) == 1 and nodes[0].role in ("parameter", "constant"):
        return replace(nodes[0], id=name)
    leaving = [node for node in nodes if node.id in sources] or nodes[-1:]
    last = leaving[-1]
    named = next((node for node in reversed(nodes) if node.label), None)
    if last.role == "state" and last.time is None:
        label, role = ", ".join(dict.fromkeys(node.label for node in leaving)), "state"
    elif last.role in CELL_ROLES and last.time is not None and (last.cell or any(n.role == "state" for n in nodes)):
        label, role = last.cell or "step", "state"
    else:
        last = named or (max(reversed(nodes), key=lambda n: math.prod(n.shape)) if last.role == "output" else last)
        label, role = last.label or NAMES.get(last.role, last.op), last.role
    ops = sum(node.ops for node in nodes if node.op != "leaf")
    if role == "other":
        last = next((node for node in reversed(nodes) if node.time is None), last)
        if last.time is not None:
            modules = Counter(module for node in nodes if (module := _module(node)))
            label = max(modules, key=modules.__getitem__, default=last.op if label == NAMES["other"] else label)
    n = last  # written out: dataclasses.replace takes most of the time of a long sequence
    return TraceNode(
        name, n.cell or n.op, label, n.shape, n.dtype, n.time, n.layer, n.direction, role, n.cell, n.scope, n.stats,
        n.gradient, ops, n.steps,
    )  # fmt: skip


def _module(node: TraceNode) -> str:
    """The outermost module in which a value of a time step was computed: attention of t=4/attention/query."""
    return next((part for part in node.scope.split("/") if part and not part.startswith("t=")), "")


def norm_of_sum(parts: list[TraceEdge]) -> float | None:
    """‖Σ m_e‖: needs the messages themselves when there are several, and is unknown (None) without them."""
    parts = [edge for edge in parts if edge.message is not None]
    if len(parts) <= 1:
        return parts[0].message if parts else None
    total = sum_of(parts)
    return None if total is None else float((abs(total) ** 2).sum()) ** 0.5


def sum_of(parts: list[TraceEdge]) -> Any:
    """Σ m_e, an array, where all of them were kept; None where one is missing."""
    parts = [edge for edge in parts if edge.message is not None]
    if not parts or any(edge.value is None for edge in parts):
        return None
    return sum((edge.value for edge in parts[1:]), start=parts[0].value)
