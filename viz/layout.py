"""From grid to points: x is time, y is the lane (inputs below, layers up, outputs, losses); parameters in a rail, left.

Positions are pinned here, and nothing is left to a layout program, which would route recurrent edges around the columns
and take minutes for long sequences. The work is linear in the trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from . import style
from .box import Box
from .columns import place
from .fold import CELL_ROLES
from .grid import Grid, grid, lane
from .marks import Mark
from .trace import Trace, TraceNode

ROW_GAP, LANE_GAP, COLUMN_GAP = 46.0, 68.0, 88.0
CHANNEL = 50.0  # width that a line takes that runs up or down between two columns, with its number
STATE_LANE = 40.0  # height that one state needs between two cells: its name, the value, the message and its norm
SENSITIVITY_LANE = 22.0  # and one forward message
BUS_DROP = 34.0  # how far below its lane the line runs that brings the parameters
STUB, STUB_PITCH = 22.0, 20.0  # length of the line by which a parameter enters an op, and the distance of two of them
PART_GAP = 30.0  # more between two runs that are drawn together
NEXT_DROP = 12.0  # below the first row, the distance of the lines that lead to the next step
OVERHANG, PADDING = 30.0, 14.0  # of a bar beyond the steps, of a band around its column
RAIL_GAP, TRUNK = 48.0, 7.0  # right of the rail; between the vertical lines that lead from it to the lanes


@dataclass
class Layout:
    """Boxes of the nodes, and what the edges need to know about the space between them.

    `bends` and `channels` are by the place of an edge in the trace: where an edge inside a column turns; the gaps
    between columns that an edge across them runs through, each with its place there.
    """

    grid: Grid
    faces: dict[str, style.Face]
    short: dict[str, str]  # parameter → its name, as short as tells it from the others of its lane
    boxes: dict[str, Box] = field(default_factory=dict)
    bends: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    channels: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    joins: set[int] = field(default_factory=set)  # edges whose message joins that of a later reader of the same value
    shared: set[tuple[int, int]] = field(default_factory=set)  # places in gaps of which several edges have one
    stub_side: dict[str, int] = field(default_factory=dict)  # node → where its parameters enter: 1 right, −1 left
    columns: list[tuple[float, float]] = field(default_factory=list)  # left and right of each column
    axes: list[float] = field(default_factory=list)  # the middle of its nodes
    rows: list[tuple[float, float]] = field(default_factory=list)  # bottom and top of each row
    bands: dict[int, Box] = field(default_factory=dict)  # time step → what lies behind its column
    frames: list[tuple[str, Box, Box]] = field(default_factory=list)  # name, box, name's box of each cell drawn by op
    marks: list[Mark] = field(default_factory=list)  # what moves with the columns: cuts, chunks, sums
    again: list[tuple[str, Box]] = field(default_factory=list)  # node → what else is drawn of it, in other rows

    def bus(self, node: str) -> float:
        """Height of the line that brings the parameters to the lane of this node."""
        return self.rows[self.grid.levels[self.grid.level[node]][0]][0] - BUS_DROP

    def channel(self, gap: int, number: int) -> float:
        """x of a vertical line in the gap to the right of column `gap`."""
        return self.columns[gap][1] + 26 + number * CHANNEL


def arrange(trace: Trace, *, parameters: bool = True, room: float = 0.0) -> Layout:
    """Place every node of a trace; without `parameters` the shared ones are left out; `room` is that of a number."""
    cells = grid(trace, parameters=parameters)
    nodes = [n for n in trace.nodes if n.id in cells.row or n.id in cells.rail]
    short, uses = _short_names(trace), trace.uses
    homes = _homes(trace, short)
    layers = len({node.layer for node in nodes if node.cell}) > 1
    faces = {
        n.id: style.face(
            n, trace.level, name=short.get(n.id, ""), home=homes.get(n.id, ""), uses=uses.get(n.id, 0), layers=layers
        )
        for n in nodes
    }
    plan = Layout(cells, faces, short)
    _assign_channels(plan, trace)
    sizes = _sizes(plan, trace)
    placed = place(trace, cells, _extents(plan, trace, sizes))
    rail = max((faces[name].width for name in cells.rail), default=0.0)
    start = rail + RAIL_GAP + TRUNK * len(cells.levels) if rail else 0.0
    _set_columns(plan, placed.reach, start, max(COLUMN_GAP, room + 16))
    _set_rows(plan, sizes)

    steps = [side for at, side in enumerate(plan.columns) if cells.time(at) is not None]
    steps = steps or [(start, start + sum(placed.bars))]
    centre = (steps[0][0] + steps[-1][1]) / 2
    spanning = {e.source for e in trace.edges if e.target in cells.column}
    spanning |= {e.target for e in trace.edges if e.source in cells.column}
    middle = [(bottom + top) / 2 for bottom, top in plan.rows]
    for name, (width, height) in sizes.items():
        y = middle[cells.row[name]]
        if name in cells.column:
            plan.boxes[name] = Box(plan.axes[cells.column[name]] + placed.x[name], y, width, height)
        elif name in spanning:
            plan.boxes[name] = Box(centre, y, max(width, steps[-1][1] - steps[0][0] + 2 * OVERHANG), height)
        else:
            plan.boxes[name] = Box(centre + placed.x[name], y, width, height)
    for number, bends in placed.bends.items():
        edge = trace.edges[number]
        column = cells.column.get(edge.source, cells.column.get(edge.target))
        axis = centre if column is None else plan.axes[column]
        plan.bends[number] = [(axis + x, middle[row]) for row, x in bends]
    _set_rail(plan, trace, rail)
    _set_backgrounds(plan, trace)
    return plan


def _short_names(trace: Trace) -> dict[str, str]:
    """What the parameters of one lane are called, told from each other; the lane stands beside them."""
    nodes = {node.id: node for node in trace.nodes}
    lanes: dict[Hashable, dict[str, str]] = defaultdict(dict)
    seen: set[str] = set()
    for edge in trace.edges:
        if nodes[edge.source].role == "parameter" and edge.source not in seen:
            seen.add(edge.source)
            lanes[lane(nodes[edge.target])][edge.source] = nodes[edge.source].label
    short: dict[str, str] = {}
    for labels in lanes.values():
        others = {node.label for node in trace.parameters if node.id not in labels}
        names = style.short_names(dict.fromkeys(labels.values()), others)
        short |= {name: names[label] for name, label in labels.items()}
    return short


def _homes(trace: Trace, short: dict[str, str]) -> dict[str, str]:
    """The layer and direction of parameters that are called alike."""
    nodes = {node.id: node for node in trace.nodes}
    count = Counter(short.values())
    homes: dict[str, str] = {}
    for edge in trace.edges:
        if edge.source in short and count[short[edge.source]] > 1:
            reader = nodes[edge.target]
            parts = style.arrow_text(reader), style.layer_text(reader)
            homes.setdefault(edge.source, " ".join(part for part in parts if part))
    return homes


def _assign_channels(plan: Layout, trace: Trace) -> None:
    """A place in the gaps between columns for every edge that leaves its column and is no straight line to the next."""
    column, row = plan.grid.column, plan.grid.row
    crowd = Counter((column[name], row[name]) for name in column)
    taken: Counter[int] = Counter()
    around: dict[int, tuple[int, ...]] = {}
    readers: dict[Hashable, list[int]] = defaultdict(list)  # in other columns, of one value, in one lane
    for number, edge in enumerate(trace.edges):
        source, target = column.get(edge.source), column.get(edge.target)
        if source is None or target is None or (source == target and row[edge.source] < row[edge.target]):
            continue
        alone = crowd[source, row[edge.source]] == crowd[target, row[edge.target]] == 1
        if abs(source - target) == 1 and row[edge.source] == row[edge.target] and alone:
            continue
        gaps = (source, target - 1) if source < target else (source - 1, target) if target < source else (source,)
        around[number] = tuple(dict.fromkeys(gaps))
        readers[edge.source, plan.grid.level[edge.target], source < target].append(number)
    shared: dict[int, tuple[int, int]] = {}  # edge → the place in a gap that it has in common with others
    for numbers in readers.values():
        columns = {column[trace.edges[number].target] for number in numbers}
        if len(columns) > 1 and len(columns) == len(numbers):
            gap = around[numbers[0]][0]
            shared |= dict.fromkeys(numbers, (gap, taken[gap]))
            taken[gap] += 1
            source = column[trace.edges[numbers[0]].source]
            far = max(numbers, key=lambda number: abs(column[trace.edges[number].target] - source))
            plan.joins |= set(numbers) - {far}
            plan.shared.add(shared[far])
    for number, turns in around.items():
        first = shared.get(number)
        plan.channels[number] = [first] if first else []
        for gap in turns[bool(first) :]:
            plan.channels[number].append((gap, taken[gap]))
            taken[gap] += 1


def _sizes(plan: Layout, trace: Trace) -> dict[str, tuple[float, float]]:
    """Width and height; at cell level all of a lane are alike, and high enough for the states that they pass on."""
    column, row, level = plan.grid.column, plan.grid.row, plan.grid.level
    sizes = {name: (face.width, face.height) for name, face in plan.faces.items() if name not in plan.grid.rail}
    if trace.level != "cell":
        return sizes
    quiet = {node.id for node in trace.nodes if node.role == "sensitivity"}
    joined = Counter((e.source, e.target) for number, e in enumerate(trace.edges) if number not in plan.channels)
    wide: dict[int, float] = defaultdict(float)
    high: dict[int, float] = defaultdict(float)
    for (source, target), states in joined.items():
        if source in column and target in column and row[source] == row[target]:
            one = SENSITIVITY_LANE if source in quiet else STATE_LANE
            high[level[source]] = max(high[level[source]], states * one + 6)
    for name in column:
        wide[level[name]] = max(wide[level[name]], sizes[name][0])
        high[level[name]] = max(high[level[name]], sizes[name][1])
    return sizes | {name: (wide[level[name]], high[level[name]]) for name in column}


def _extents(plan: Layout, trace: Trace, sizes: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """How far a node reaches to either side of its middle, with what is written on the parameters that enter it."""
    cells = plan.grid
    extents = {name: (width / 2, width / 2) for name, (width, _) in sizes.items()}
    fed = [edge for edge in trace.edges if edge.source in cells.rail and edge.target in extents]
    if trace.level == "cell":
        inside = [e for e in trace.edges if e.source in cells.level and e.target in cells.level]
        if any(abs(cells.level[e.source] - cells.level[e.target]) > 1 for e in inside):  # a line passes a cell
            extents |= {e.target: (sizes[e.target][0] / 2 + 18, sizes[e.target][0] / 2) for e in fed}
        return extents
    taken: set[tuple[str, int]] = set()  # nodes and sides on which lines come and go between the columns
    for number in plan.channels:
        edge = trace.edges[number]
        step = cells.column[edge.target] - cells.column[edge.source]
        taken |= {(edge.source, 1 if step >= 0 else -1), (edge.target, -1 if step > 0 else 1)}
    for edge in fed:
        free = (side for side in (1, -1) if (edge.target, side) not in taken)
        plan.stub_side[edge.target] = side = next(free, -1)
        text = max(style.text_width(plan.short[edge.source], style.SMALL), 34.0)
        reach = sizes[edge.target][0] / 2 + STUB + text + 4
        left, right = extents[edge.target]
        extents[edge.target] = (max(left, reach), right) if side < 0 else (left, max(right, reach))
    return extents


def _set_columns(plan: Layout, reach: list[tuple[float, float]], x: float, gap: float) -> None:
    crowd = Counter(gap for turns in plan.channels.values() for gap, _ in turns)
    for at, (left, right) in enumerate(reach):
        plan.columns.append((x, x + left + right))
        plan.axes.append(x + left)
        x += left + right + max(gap, 32 + CHANNEL * crowd[at])


def _set_rows(plan: Layout, sizes: dict[str, tuple[float, float]]) -> None:
    heights: dict[int, float] = defaultdict(float)
    for name, (_, height) in sizes.items():
        heights[plan.grid.row[name]] = max(heights[plan.grid.row[name]], height)
    first_rows = {first for first, _ in plan.grid.levels}
    parts = {first for first, _ in plan.grid.parts.values()}
    y = 0.0
    for row in range(len(heights)):
        y += 0.0 if row == 0 else LANE_GAP + PART_GAP * (row in parts) if row in first_rows else ROW_GAP
        plan.rows.append((y, y + heights[row]))
        y += heights[row]


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
        y = max(height - sum(plan.faces[name].height + 10 for name in groups[height]) / 2, floor)
        for name in reversed(groups[height]):
            face = plan.faces[name]
            plan.boxes[name] = Box(width / 2, y + 5 + face.height / 2, width, face.height)
            y += face.height + 10
        floor = y


def _set_backgrounds(plan: Layout, trace: Trace) -> None:
    """The band behind each time step and, at op level, the frame around each cell."""
    fed = {plan.grid.level.get(e.target) for e in trace.edges if e.source in plan.grid.rail}
    bus = BUS_DROP if 0 in fed and trace.level == "cell" else NEXT_DROP * sum(e.recurrent for e in trace.edges)
    for at, (left, right) in enumerate(plan.columns):
        if (time := plan.grid.time(at)) is not None:
            bottom, top = plan.rows[0][0] - PADDING - 20 - bus, plan.rows[-1][1] + PADDING
            plan.bands[time] = Box.between(left - PADDING, right + PADDING, bottom, top)
    if trace.level == "cell":
        return
    several = len({(node.layer, node.direction) for node in trace.nodes if node.cell}) > 1
    framed: dict[tuple[int, int], TraceNode] = {}
    for node in trace.nodes:
        if node.role in CELL_ROLES and node.cell and node.time is not None:
            framed.setdefault((plan.grid.column[node.id], plan.grid.level[node.id]), node)
    for (at, level), node in framed.items():
        first, last = plan.grid.levels[level]
        left, right = plan.columns[at]
        box = Box.between(left - 8, right + 8, plan.rows[first][0] - 20, plan.rows[last][1] + 20)
        name = style.cell_name(node, layers=several)
        width = style.text_width(name, style.SMALL)
        plan.frames.append((name, box, Box(box.left + 8 + width / 2, box.top - 9, width, 1.3 * style.SMALL)))
