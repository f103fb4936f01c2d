"""Which column, lane and row each node of a trace belongs to; counting only, no points yet. Linear in the trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from .trace import Trace, TraceNode

LANE_ORDER = {"sensitivity": -1, "input": 0, "output": 2, "loss": 3}  # cells come between, as they are computed
INTO = "into "  # how the layer is called of what is done to values on their way into a cell
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
        return int(time) if math.isfinite(time) and time == int(time) else None


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

    when = _when(trace, inside)
    times = sorted(set(when.values()))
    places = {time: place for place, time in enumerate(times)}
    column = {name: places[time] for name, time in when.items()}

    cells: dict[Any, int] = {}
    for node in inside:
        if node.role not in LANE_ORDER:
            cells.setdefault(lane(node), len(cells))
    lanes = _lanes(trace, inside, cells)
    parts = {name: -place for place, name in enumerate(dict.fromkeys(node.part for node in shown))}  # first on top

    def height_of(key: Any) -> tuple[int, float, float]:
        floor = key[2] if key[0] == "input" else cells.get(key, 0)  # inputs stand right below what reads them
        return parts[key[1]], 1 if key[0] == "input" else LANE_ORDER.get(key[0], 1), floor - 0.5 * (key[0] == "input")

    stacked = sorted(dict.fromkeys(lanes.values()), key=height_of)
    below = {name: sum(parts[key[1]] < parts[name] for key in stacked) - 1 for name in parts}
    place_of = {key: place for place, key in enumerate(stacked)}
    lane_of = {node.id: place_of[lanes[node.id]] for node in inside}

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
    for name in reversed(base):  # what other bars alone read stands right below these
        if readers[name] and bars.issuperset(readers[name]):
            base[name] = max(base[name], min(base[m] for m in readers[name]))
    for name, lane_below in base.items():
        above[lane_below].append(name)

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


def _when(trace: Trace, nodes: list[TraceNode]) -> dict[str, float]:
    """The time of each node; an initial state stands before the first step that reads it, or after the last."""
    steps = {node.id: node.time for node in nodes if node.time is not None}
    read: dict[str, list[int]] = defaultdict(list)
    for edge in trace.edges:
        if edge.source not in steps and edge.target in steps:
            read[edge.source].append(steps[edge.target])
    ends = min(steps.values(), default=0), max(steps.values(), default=0)
    when: dict[str, float] = {}
    for node in nodes:
        at = read[node.id]
        if node.time is not None:
            when[node.id] = node.time
        elif node.direction == "reverse":
            when[node.id] = AFTER if not at or max(at) == ends[1] else max(at) + 0.5
        else:
            when[node.id] = BEFORE if not at or min(at) == ends[0] else min(at) - 0.5
    return when


def _lanes(trace: Trace, nodes: list[TraceNode], cells: dict[Any, int]) -> dict[str, Any]:
    """The lane of each node; inputs share one if the lowest lane of cells that reads them is the same."""
    lanes = {node.id: lane(node) for node in nodes}
    order = list(cells)
    floor: list[int] = []  # of each lane of cells, or of the lane below it, which leads into it
    for place in range(len(order)):
        leads_here = place and str(order[place - 1][2]).startswith(INTO)
        floor.append(floor[-1] if leads_here else place)
    lowest: dict[str, int] = {name: floor[cells[key]] for name, key in lanes.items() if key in cells}
    inputs = {node.id: node.part for node in nodes if node.role == "input"}
    for edge in reversed(trace.edges):
        if edge.source in inputs and edge.target in lowest:
            lowest[edge.source] = min(lowest.get(edge.source, lowest[edge.target]), lowest[edge.target])
    return lanes | {name: ("input", part, lowest.get(name, 0)) for name, part in inputs.items()}


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
