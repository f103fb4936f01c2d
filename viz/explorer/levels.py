"""A trace at both levels, with what each node and each edge of the folded one stands for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from ..fold import fold_cells, group
from ..trace import Trace, TraceEdge, TraceNode
from .frames import Schedule, schedule


@dataclass(frozen=True)
class Level:
    """A trace as one level shows it: when its nodes appear, and the op-level edges that each of its edges joins."""

    trace: Trace
    frames: Schedule
    parts: list[list[TraceEdge]]

    def message(self, place: int) -> Any:
        """The message of an edge, an array: the sum over its parts; None where a part was not kept."""
        values = [edge.value for edge in self.parts[place] if edge.message is not None]
        return None if not values or any(value is None for value in values) else sum(values[1:], start=values[0])


def levels(trace: Trace) -> dict[str, Level]:
    """The level of the trace and, of one that is op by op, the folded one, both with the same frames."""
    frames = schedule(trace)
    found = {trace.level: Level(trace, frames, [[edge] for edge in trace.edges])}
    if trace.level == "op" and trace.steps:
        found["cell"] = _folded(trace, frames)
    return found


def _folded(trace: Trace, frames: Schedule) -> Level:
    groups = {node.id: group(node) for node in trace.nodes}
    folded = fold_cells(trace)
    names = {key: node.id for key, node in zip(dict.fromkeys(groups.values()), folded.nodes, strict=True)}
    when: dict[str, int] = {}
    for node in trace.nodes:
        name, frame = names[groups[node.id]], frames.nodes[node.id]
        first_or_last = min if node.role == "input" else max  # an input that two directions read is there for the first
        when[name] = first_or_last(when.get(name, frame), frame)
    parts: dict[tuple[str, Hashable, bool], list[TraceEdge]] = defaultdict(list)
    for edge in trace.edges:
        if groups[edge.source] != groups[edge.target]:
            parts[edge.source, groups[edge.target], edge.cut].append(edge)
    assert len(parts) == len(folded.edges)  # both walk the edges in one order
    return Level(folded, Schedule(when, frames.columns), list(parts.values()))


def repeated(trace: Trace) -> tuple[Trace, dict[str, str]]:
    """The same edges with a copy of each parameter beside each of its readers, and the parameter of each copy.

    A copy stands in the lane of its reader, so no line has to come from the rail.
    """
    nodes = {node.id: node for node in trace.nodes}
    copies: dict[tuple[str, Hashable], TraceNode] = {}
    edges = []
    for edge in trace.edges:
        source, target = nodes[edge.source], nodes[edge.target]
        if source.role == "parameter" and target.time is not None:
            key = (source.id, edge.target)
            facts: Any = {name: getattr(target, name) for name in ("time", "cell", "layer", "direction")}
            name = f"{source.id}@{edge.target}"
            copies.setdefault(key, replace(source, id=name, gradient=None, **facts))
            edge = replace(edge, source=name)
        edges.append(edge)
    still = {edge.source for edge in edges}
    kept = [node for node in trace.nodes if node.role != "parameter" or node.id in still]
    return replace(trace, nodes=[*copies.values(), *kept], edges=edges), {
        copy.id: source for (source, _), copy in copies.items()
    }
