"""From grid to points: x is time, y is the lane (inputs below, layers up, outputs, losses on top), parameters in a rail at the left.

Positions are pinned here and every column of a loop looks the same; nothing is left to a layout program, which would route
recurrent edges around the columns and take minutes for long sequences. The work is linear in the trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from . import style
from .fold import CELL_ROLES
from .grid import Grid, grid, lane
from .layered import Columnar, layered
from .trace import Trace, TraceNode

ROW_GAP, LANE_GAP, COLUMN_GAP, CHANNEL, PADDING = 46.0, 68.0, 88.0, 50.0, 14.0
STATE_LANE = 40.0  # height that one state needs between two cells: its name, the value, the message and its norm
BUS_DROP = 34.0  # how far below its lane the line runs that brings the parameters
OVERHANG = 30.0  # how far a bar reaches beyond the steps
STUB, STUB_PITCH = 22.0, 20.0  # length of the line by which a parameter enters an op, and the distance of two of them


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its centre and size, in points; y grows upwards."""

    x: float
    y: float
    width: float
    height: float

    left = property(lambda self: self.x - self.width / 2)
    right = property(lambda self: self.x + self.width / 2)
    bottom = property(lambda self: self.y - self.height / 2)
    top = property(lambda self: self.y + self.height / 2)

    @classmethod
    def between(cls, left: float, right: float, bottom: float, top: float) -> Box:
        return cls((left + right) / 2, (bottom + top) / 2, right - left, top - bottom)


@dataclass
class Layout:
    """Boxes of the nodes, and what the edges need to know about the space between them."""

    grid: Grid
    faces: dict[str, style.Face]
    short: dict[str, str]  # parameter -> its name, as short as tells it from the others of its lane
    boxes: dict[str, Box] = field(default_factory=dict)
    bends: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # place of an edge in the trace -> its bends
    channels: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # ... -> (gap between columns, place in it)
    bands: dict[int, Box] = field(default_factory=dict)  # time step -> what lies behind its column
    frames: list[tuple[str, Box]] = field(default_factory=list)  # name and box of every cell that is drawn op by op
    columns: list[tuple[float, float]] = field(default_factory=list)  # left and right of each column
    axes: list[float] = field(default_factory=list)  # the middle of its nodes
    rows: list[tuple[float, float]] = field(default_factory=list)  # bottom and top of each row
    stub_side: dict[str, int] = field(default_factory=dict)  # node -> where its parameters enter: 1 right, -1 left

    def bus(self, node: str) -> float:
        """Height of the line that brings the parameters to the lane of this node."""
        return self.rows[self.grid.levels[self.grid.level[node]][0]][0] - BUS_DROP

    def channel(self, gap: int, place: int) -> float:
        """x of a vertical line in the gap to the right of column `gap` (-1: left of the first)."""
        start = self.columns[gap][1] if gap >= 0 else self.columns[0][0] - COLUMN_GAP
        return start + 26 + place * CHANNEL


def arrange(trace: Trace, *, parameters: bool = True) -> Layout:
    """Place every node of a trace; without `parameters` the shared ones are left out."""
    cells = grid(trace, parameters=parameters)
    uses = trace.uses
    placed = cells.column.keys() | cells.bars | cells.rail
    nodes = [node for node in trace.nodes if node.id in placed]
    short = _short_names(trace)
    layers = len({node.layer for node in nodes if node.cell}) > 1
    faces = {
        n.id: style.face(n, trace.level, name=short.get(n.id, ""), uses=uses.get(n.id, 0), layers=layers) for n in nodes
    }
    plan = Layout(cells, faces, short)
    _assign_channels(plan, trace)
    sizes = _sizes(plan, trace)
    extents = _extents(plan, trace, sizes)
    x, turns, reach = _place_in_columns(plan, trace, extents)

    rail_width = max((plan.faces[name].width for name in cells.rail), default=0.0)
    gaps = Counter(gap for gap, _ in {turn for turn_list in plan.channels.values() for turn in turn_list})
    gap_width = max(COLUMN_GAP, 26 + CHANNEL * max(gaps.values(), default=0) + 6)
    near = rail_width + (48 + 7 * len(cells.levels) if rail_width else 0)
    axis = plan.axes
    for left, right in reach:
        plan.columns.append((near, near + left + right))
        axis.append(near + left)
        near += left + right + gap_width
    _set_rows(plan, trace, sizes)

    steps = [side for at, side in enumerate(plan.columns) if cells.times and cells.time(at) is not None] or plan.columns
    span = steps[-1][1] - steps[0][0] + 2 * OVERHANG
    centre = (steps[0][0] + steps[-1][1]) / 2
    middle = [(bottom + top) / 2 for bottom, top in plan.rows]
    spanning = {end for e in trace.edges for end, far in ((e.source, e.target), (e.target, e.source)) if far in cells.column}
    for node in nodes:
        width, height = sizes.get(node.id, (0.0, 0.0))
        if node.id in cells.column:
            box = Box(axis[cells.column[node.id]] + x[node.id], middle[cells.row[node.id]], width, height)
        elif node.id in cells.bars:
            wide = span if node.id in spanning else 0
            box = Box(centre + (0 if wide else x[node.id]), middle[cells.row[node.id]], max(wide, width), height)
        else:
            continue
        plan.boxes[node.id] = box
    for place, bends in turns.items():
        edge = trace.edges[place]
        column = cells.column.get(edge.source, cells.column.get(edge.target, -1))
        origin = axis[column] if column >= 0 else centre
        plan.bends[place] = [(origin + at, middle[row]) for row, at in bends]
    _set_rail(plan, trace, rail_width)
    _set_backgrounds(plan, trace)
    return plan


def _short_names(trace: Trace) -> dict[str, str]:
    """What the parameters of one lane are called, told from each other; the lane stands beside them."""
    nodes = {node.id: node for node in trace.nodes}
    lanes: dict[Hashable, dict[str, TraceNode]] = defaultdict(dict)
    placed: set[str] = set()
    for edge in trace.edges:
        if nodes[edge.source].role == "parameter" and edge.source not in placed:
            placed.add(edge.source)
            lanes[lane(nodes[edge.target])][edge.source] = nodes[edge.source]
    short: dict[str, str] = {}
    for members in lanes.values():
        names = style.short_names(dict.fromkeys(node.label for node in members.values()))
        short |= {name: names[node.label] for name, node in members.items()}
    return short


def _assign_channels(plan: Layout, trace: Trace) -> None:
    """A place in the gaps between the columns for every edge that leaves its column and is no straight line to the next."""
    column, row = plan.grid.column, plan.grid.row
    crowd = Counter((column[name], row[name]) for name in column)
    taken: Counter[int] = Counter()
    for place, edge in enumerate(trace.edges):
        source, target = column.get(edge.source), column.get(edge.target)
        if source is None or target is None or (source == target and row[edge.source] < row[edge.target]):
            continue
        alone = crowd[source, row[edge.source]] == crowd[target, row[edge.target]] == 1
        if abs(source - target) == 1 and row[edge.source] == row[edge.target] and alone:
            continue
        first, last = (source, target - 1) if source < target else (source - 1, target) if target < source else (source, source)
        plan.channels[place] = [(gap, taken[gap]) for gap in dict.fromkeys((first, last))]
        taken.update({first, last})


def _sizes(plan: Layout, trace: Trace) -> dict[str, tuple[float, float]]:
    """Width and height of the nodes; at cell level all of a lane are alike, and high enough for the states that they pass on."""
    sizes = {name: (face.width, face.height) for name, face in plan.faces.items() if name not in plan.grid.rail}
    if trace.level != "cell":
        return sizes
    joined = Counter((e.source, e.target) for place, e in enumerate(trace.edges) if place not in plan.channels)
    high: dict[int, float] = defaultdict(float)
    wide: dict[int, float] = defaultdict(float)
    for (source, target), states in joined.items():
        if source in plan.grid.column and target in plan.grid.column and plan.grid.row[source] == plan.grid.row[target]:
            level = plan.grid.level[source]
            high[level] = max(high[level], states * STATE_LANE + 6)
    for name in plan.grid.column:
        level = plan.grid.level[name]
        wide[level], high[level] = max(wide[level], sizes[name][0]), max(high[level], sizes[name][1])
    alike = {name: (wide[plan.grid.level[name]], high[plan.grid.level[name]]) for name in plan.grid.column}
    return sizes | alike


def _extents(plan: Layout, trace: Trace, sizes: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """How far a node reaches to either side of its middle: at op level the parameters enter it from one side, by name."""
    extents = {name: (width / 2, width / 2) for name, (width, _) in sizes.items()}
    if trace.level == "cell":
        grid = plan.grid
        inside = [e for e in trace.edges if e.source in grid.level and e.target in grid.level]
        skips = any(abs(grid.level[e.source] - grid.level[e.target]) > 1 for e in inside)
        fed = {e.target for e in trace.edges if e.source in grid.rail and skips}  # room for the number at its tap
        return {name: (left + 18 * (name in fed), right) for name, (left, right) in extents.items()}
    column = plan.grid.column
    onwards = {e.source for e in trace.edges if column.get(e.source, 0) < column.get(e.target, 0)}
    for edge in trace.edges:
        if edge.source in plan.short and edge.source in plan.grid.rail and edge.target in extents:
            plan.stub_side[edge.target] = side = -1 if edge.target in onwards else 1
            text = max(style.text_width(plan.short[edge.source], style.SMALL), 34.0)
            reach = sizes[edge.target][0] / 2 + STUB + text + 4
            left, right = extents[edge.target]
            extents[edge.target] = (max(left, reach), right) if side < 0 else (left, max(right, reach))
    return extents


def _place_in_columns(
    plan: Layout, trace: Trace, extents: dict[str, tuple[float, float]]
) -> tuple[dict[str, float], dict[int, list[tuple[int, float]]], list[tuple[float, float]]]:
    """x of every node and of the bends of every edge relative to the axis of its column, and how far each column reaches.

    Steps that compute the same thing get the same drawing, which is made once.
    """
    column, row, bars = plan.grid.column, plan.grid.row, plan.grid.bars
    facts = {node.id: (node.op, node.role) for node in trace.nodes}
    seen: Counter = Counter()
    alias: dict[str, Hashable] = {}  # the same for the nodes of two columns that do the same: row, op, role, which of those
    members: dict[int, list[str]] = defaultdict(list)
    for node in trace.nodes:
        if node.id in row:
            at = column.get(node.id, -1)
            kind = (row[node.id], *facts[node.id])
            alias[node.id] = (*kind, seen[at, kind])
            seen[at, kind] += 1
            members[at].append(node.id)

    inner: dict[int, dict[Hashable, int]] = defaultdict(dict)  # column -> (alias of source, alias of target, which) -> edge
    enters, leaves = set(), set()
    for place, edge in enumerate(trace.edges):
        a, b = edge.source, edge.target
        if a not in row or b not in row:
            continue
        at, to = column.get(a, -1), column.get(b, -1)
        if at >= 0 and to >= 0 and at != to:
            (leaves if at < to else enters).add(alias[a])
            (enters if at < to else leaves).add(alias[b])
        elif row[a] < row[b]:
            low = alias[a] if at >= 0 or to < 0 else ("end", alias[a], alias[b])
            high = alias[b] if to >= 0 or at < 0 else ("end", alias[b], alias[a])
            inner[max(at, to)][low, high, edge.argument] = place

    reach: dict[Hashable, tuple[float, float]] = {}
    for name, (left, right) in extents.items():
        near, far = reach.get(alias[name], (0.0, 0.0))
        reach[alias[name]] = max(near, left), max(far, right)

    x: dict[str, float] = {}
    bends: dict[int, list[tuple[int, float]]] = {}
    drawings: list[tuple[set[Hashable], dict[Hashable, list[tuple[int, float]]], Columnar]] = []
    reaches: dict[int, tuple[float, float]] = {}
    for at in sorted(members, key=lambda at: -len(members[at]) - len(inner[at])):
        nodes = {alias[name] for name in members[at]}
        known = (d for d in drawings if nodes <= d[0] and inner[at].keys() <= d[1].keys())
        drawing = next(known, None)
        if drawing is None:
            lows, highs = ([pair[side] for pair in inner[at]] for side in (0, 1))
            ends = {end: _row_of(end) for end in highs} | {e: _row_of(e) + 0.5 * (e[0] == "end") for e in lows}
            made = layered(
                {node: _row_of(node) for node in map(alias.__getitem__, members[at])} | ends,
                {end: reach.get(end, (0.0, 0.0)) for end in [*nodes, *ends]},
                [pair[:2] for pair in inner[at]],  # type: ignore[index]
                leftmost=frozenset(enters - leaves),
                rightmost=frozenset(leaves - enters),
            )
            paths = {}
            for key, turns in zip(inner[at], made.bends):
                first, last = ([(_row_of(end), made.x[end])] if end[0] == "end" else [] for end in key[:2])  # type: ignore[index]
                paths[key] = first + turns + last
            drawing = (nodes, paths, made)
            drawings.append(drawing)
        reaches[at] = drawing[2].left, drawing[2].right
        x.update({name: drawing[2].x[alias[name]] for name in members[at]})
        bends.update({place: drawing[1][key] for key, place in inner[at].items()})

    count = max(1, len(plan.grid.times))
    steps = [at for at in range(count) if plan.grid.times and plan.grid.time(at) is not None]
    widest = tuple(max((reaches[at][side] for at in steps), default=0.0) for side in (0, 1))
    return x, bends, [widest if at in steps else reaches.get(at, (0.0, 0.0)) for at in range(count)]


def _row_of(alias: Any) -> int:
    return alias[1][0] if alias[0] == "end" else alias[0]


def _set_rows(plan: Layout, trace: Trace, sizes: dict[str, tuple[float, float]]) -> None:
    heights = [0.0] * len(plan.grid.levels and range(plan.grid.levels[-1][1] + 1))
    for name, at in plan.grid.row.items():
        heights[at] = max(heights[at], sizes[name][1])
    starts = {first for first, _ in plan.grid.levels}
    y = 0.0
    for at, height in enumerate(heights):
        y += 0.0 if at == 0 else LANE_GAP if at in starts else ROW_GAP
        plan.rows.append((y, y + height))
        y += height


def _set_rail(plan: Layout, trace: Trace, width: float) -> None:
    """Parameters beside the lane that uses them first, from below, none on top of another."""
    wanted: dict[str, float] = {}
    for edge in trace.edges:
        if edge.source in plan.grid.rail and edge.target in plan.grid.level:
            first, last = plan.grid.levels[plan.grid.level[edge.target]]
            wanted.setdefault(edge.source, (plan.rows[first][0] + plan.rows[last][1]) / 2)
    groups: dict[float, list[str]] = defaultdict(list)
    for node in trace.nodes:
        if node.id in plan.grid.rail:
            groups[wanted.get(node.id, 0.0)].append(node.id)
    floor = float("-inf")
    for height in sorted(groups):
        total = sum(plan.faces[name].height + 10 for name in groups[height])
        y = max(height - total / 2, floor)
        for name in reversed(groups[height]):
            face = plan.faces[name]
            plan.boxes[name] = Box(width / 2, y + 5 + face.height / 2, width, face.height)
            y += face.height + 10
        floor = y


def _set_backgrounds(plan: Layout, trace: Trace) -> None:
    """The band behind each time step and, at op level, the frame around each cell."""
    if not plan.rows:
        return
    bottom, top = plan.rows[0][0] - PADDING, plan.rows[-1][1] + PADDING
    for at, (left, right) in enumerate(plan.columns):
        if plan.grid.times and (time := plan.grid.time(at)) is not None:
            plan.bands[time] = Box.between(left - PADDING, right + PADDING, bottom - 20, top)
    if trace.level == "cell":
        return
    several = len({(n.layer, n.direction) for n in trace.nodes if n.cell}) > 1
    framed: dict[tuple[int, int], list[TraceNode]] = defaultdict(list)
    for node in trace.nodes:
        if node.id in plan.grid.column and node.role in CELL_ROLES and node.cell and node.time is not None:
            framed[plan.grid.column[node.id], plan.grid.level[node.id]].append(node)
    for (at, level), nodes in framed.items():
        first, last = plan.grid.levels[level]
        left, right = plan.columns[at]
        box = Box.between(left - 8, right + 8, plan.rows[first][0] - 20, plan.rows[last][1] + 20)
        plan.frames.append((style.cell_name(nodes[0], layers=several), box))
