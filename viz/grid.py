"""Which column, lane and row each node of a trace belongs to; counting only, no points yet. Linear in the trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from .trace import Trace, TraceNode

LANE_ORDER = {"sensitivity": -1, "input": 0, "output": 2, "loss": 3}  # cells come between, as they are computed
BEFORE, AFTER = float("-inf"), float("inf")  # the columns of initial states: of forward layers, of reverse layers


@dataclass(frozen=True)
class Grid:
    """Columns from the left, rows from below, `levels` of rows: each a lane of cells, inputs, …, or one bar.

    The rail holds what belongs to no time step and is shared by all; a bar is a value of no time step that the steps
    feed or read (all states stacked): it spans them.
    """

    column: dict[str, int]
    row: dict[str, int]
    level: dict[str, int]
    levels: list[tuple[int, int]]  # first and last row of each level
    times: list[float]
    bars: frozenset[str]
    rail: frozenset[str]
    parts: dict[str, tuple[int, int]]  # run → its first and last row, where several are drawn together

    def time(self, column: int) -> int | None:
        """The time step of a column; None for the columns of initial states."""
        time = self.times[column]
        return None if time in (BEFORE, AFTER) else int(time)


def lane(node: TraceNode) -> Hashable:
    """What the nodes that stand side by side over time have in common."""
    if node.role in LANE_ORDER:
        return node.role, node.part
    return "cell", node.part, node.layer, node.direction, node.cell


def grid(trace: Trace, *, parameters: bool = True) -> Grid:
    """Sort the nodes of a trace into columns, lanes and rows; without `parameters` the shared ones have no place."""
    shown = [node for node in trace.nodes if parameters or node.role != "parameter"]
    rail = frozenset(n.id for n in shown if n.time is None and n.role in ("parameter", "constant"))
    bars = frozenset(n.id for n in shown if n.time is None and n.role not in ("parameter", "constant", "state"))
    inside = [n for n in shown if n.id not in rail and n.id not in bars]

    when = {n.id: n.time if n.time is not None else AFTER if n.direction == "reverse" else BEFORE for n in inside}
    times = sorted(set(when.values()))
    places = {time: place for place, time in enumerate(times)}
    column = {name: places[time] for name, time in when.items()}

    lanes: dict[Any, int] = {}
    for node in inside:
        lanes.setdefault(lane(node), len(lanes))
    parts = {name: -place for place, name in enumerate(dict.fromkeys(node.part for node in shown))}  # first on top
    stacked = sorted(lanes, key=lambda key: (parts[key[1]], LANE_ORDER.get(key[0], 1), lanes[key]))
    below = {name: sum(parts[key[1]] < parts[name] for key in stacked) - 1 for name in parts}
    place_of = {key: place for place, key in enumerate(stacked)}
    lane_of = {node.id: place_of[lane(node)] for node in inside}

    arguments, readers = defaultdict(list), defaultdict(list)
    for edge in trace.edges:
        if not edge.recurrent:
            arguments[edge.target].append(edge.source)
            readers[edge.source].append(edge.target)

    depth = _depths(inside, column, lane_of, arguments, readers)
    height = [0] * len(stacked)
    for node in inside:
        height[lane_of[node.id]] = max(height[lane_of[node.id]], depth[node.id] + 1)

    above: dict[int, list[str]] = defaultdict(list)  # lane -> the bars on top of it, -1 for those below all lanes
    base: dict[str, int] = {}
    for node in trace.nodes:
        if node.id in bars:
            under = (lane_of.get(m, base.get(m, below[node.part])) for m in arguments[node.id])
            base[node.id] = max(under, default=below[node.part])
            above[base[node.id]].append(node.id)

    row: dict[str, int] = {}
    level: dict[str, int] = {}
    levels: list[tuple[int, int]] = []
    first_row: list[int] = []
    first_level: list[int] = []
    count = 0
    for at in range(-1, len(stacked)):
        if at >= 0:
            first_row.append(count)
            first_level.append(len(levels))
            levels.append((count, count + height[at] - 1))
            count += height[at]
        for name in above[at]:
            row[name], level[name] = count, len(levels)
            levels.append((count, count))
            count += 1
    for node in inside:
        row[node.id] = first_row[lane_of[node.id]] + depth[node.id]
        level[node.id] = first_level[lane_of[node.id]]
    rows_of: dict[str, list[int]] = defaultdict(list)
    for node in shown:
        if node.id in row:
            rows_of[node.part].append(row[node.id])
    spans = {name: (min(rows), max(rows)) for name, rows in rows_of.items()}
    return Grid(column, row, level, levels, times, bars, rail, spans)


def _depths(
    nodes: list[TraceNode], column: dict[str, int], lane_of: dict[str, int], arguments: dict, readers: dict
) -> dict[str, int]:
    """Rows within a lane: the longest path of data flow inside the column; what depends on nothing there moves up."""

    def inside(names: list[str], node: TraceNode) -> list[str]:
        here = (column[node.id], lane_of[node.id])
        return [m for m in names if m in column and (column[m], lane_of[m]) == here]

    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.id] = max((depth[m] + 1 for m in inside(arguments[node.id], node)), default=0)
    for node in reversed(nodes):
        later = inside(readers[node.id], node)
        if later and not inside(arguments[node.id], node):
            depth[node.id] = min(depth[m] for m in later) - 1
        if node.time is None and readers[node.id]:
            depth[node.id] = min((depth[m] for m in readers[node.id] if m in depth), default=0)
    return depth
