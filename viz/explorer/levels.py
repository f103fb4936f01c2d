"""A trace at both levels, with what each node and each edge of the folded one stands for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from ..fold import folded
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
    cells = folded(trace)
    when: dict[str, int] = {}
    for node in trace.nodes:
        if (name := cells.inside.get(node.id)) is not None:  # dropout between two layers is a kind of line there
            frame = frames.nodes[node.id]
            first_or_last = min if node.role == "input" else max  # an input of two directions is there for the first
            when[name] = first_or_last(when.get(name, frame), frame)
    return Level(cells.trace, Schedule(when, frames.columns), cells.parts)


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
