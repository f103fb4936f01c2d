"""The lines of the picture: for every edge its value going forward and, beside it, the message that comes back."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from . import style
from .box import Box
from .layout import NEXT_DROP, SENSITIVITY_LANE, STATE_LANE, STUB, STUB_PITCH, Layout
from .route import Point, half, parallel, straight, upright
from .trace import Trace, TraceEdge

APART = 4.0  # half the distance between a value and its message
TALL = 40.0  # a line that runs up as far has room for its number in the gap between the columns
OVER = 18.0  # between two lines that run along above a lane
ASIDE = 8.0  # from the corner of a node, where lines leave it sideways that lead to another lane
PORT = 15.0  # distance between two ends on the same side of a node
VALUES = 3  # entries of a message that are written where values are wanted


@dataclass(frozen=True, slots=True)
class Wire:
    """One line: its kind (a key of `dot.LINES`), where it runs and what is written beside it."""

    kind: str
    source: str
    target: str
    path: list[Point]
    tooltip: str
    label: str = ""
    label_at: Point = (0.0, 0.0)
    width: float = 1.0
    head: bool = True  # it ends in an arrowhead


def wires(trace: Trace, plan: Layout, show: str = "norm") -> Iterator[Wire]:
    """Every line of the picture, in the order of the edges of the trace; `show` is one of `SHOWN`."""
    forward = {node.id for node in trace.nodes if node.role == "sensitivity"}
    drawer = _Drawer(trace, plan, show, _largest(e for e in trace.edges if e.source not in forward))
    loudest = _largest(e for e in trace.edges if e.source in forward)
    lanes = Counter((e.source, e.target) for e in trace.edges if e.source in forward)
    drawn: Counter[tuple[str, str]] = Counter()
    for place, edge in enumerate(trace.edges):
        if edge.source in forward:
            ends = edge.source, edge.target
            yield _sensitivity(edge, plan, (lanes[ends] - 1) / 2 - drawn[ends], loudest)
            drawn[ends] += 1
        elif edge.source in plan.boxes and edge.target in plan.boxes:
            yield from drawer.edge(place, edge)


def room(trace: Trace, show: str = "norm") -> float:
    """Width of the widest text beside a message."""
    return max((style.text_width(SHOWN[show](e), style.SMALL) for e in trace.edges if e.message is not None), default=0)


def _largest(edges: Iterable[TraceEdge]) -> float:
    return max((e.message for e in edges if e.message is not None and math.isfinite(e.message)), default=0.0)


def _sensitivity(edge: TraceEdge, plan: Layout, lane: float, largest: float) -> Wire:
    """A forward message: its name and norm above it."""
    a, b = plan.boxes[edge.source], plan.boxes[edge.target]
    y, norm = a.y + lane * SENSITIVITY_LANE, edge.message or 0.0
    label = f"{edge.label} {style.number(norm)}"
    path = straight([(a.right, y), (b.left, y)])
    at = (a.right + b.left) / 2, y + 8
    width = style.pen_width(norm, largest)
    return Wire("sensitivity", edge.source, edge.target, path, edge.story, label, at, width)


def _value(edge: TraceEdge) -> str:
    """The first entries of a message."""
    if edge.value is None:
        return ""
    entries = [style.number(v) for v in edge.value.reshape(-1)[:VALUES].tolist()]
    return f"({', '.join(entries)}{', …' * (edge.value.size > VALUES)})"


SHOWN: dict[str, Callable[[TraceEdge], str]] = {  # what is written beside a message
    "norm": lambda edge: style.number(edge.message or 0.0),
    "shape": lambda edge: style.shape_text(edge.shape) or "1",
    "value": _value,
}


class _Drawer:
    def __init__(self, trace: Trace, plan: Layout, show: str, largest: float) -> None:
        self.trace, self.plan, self.show, self.largest = trace, plan, show, largest
        self.labels = {node.id: node.label or node.op for node in trace.nodes}
        self.nodes = {node.id: node for node in trace.nodes}
        self.between = Counter((e.source, e.target) for e in trace.edges)
        self.drawn: Counter[tuple[str, str]] = Counter()
        self.entered: Counter[str] = Counter()
        self.outer: dict[tuple[int, int], tuple[float, float]] = {}
        for name, column in plan.grid.column.items():
            key, x = (column, plan.grid.row[name]), plan.boxes[name].x
            low, high = self.outer.get(key, (x, x))
            self.outer[key] = min(low, x), max(high, x)
        self.ports, self.fans = _ports(trace, plan)
        self.buses = {plan.bus(e.target) for e in trace.edges if e.source in plan.grid.rail and e.target in plan.boxes}
        self.taps = Counter(edge.target for edge in trace.edges if edge.source in plan.grid.rail)
        self.shared: dict[str, list[float]] = defaultdict(list)
        for edge in trace.edges:
            if edge.source in plan.grid.rail and edge.message is not None:
                self.shared[edge.target].append(edge.message)

    def edge(self, place: int, edge: TraceEdge) -> Iterator[Wire]:
        if edge.source in self.plan.grid.rail:
            yield from self._parameter(edge)
        elif edge.recurrent:
            yield self._to_the_next(place, edge)
        elif place in self.plan.channels:
            yield from self._around(place, edge)
        elif edge.source in self.plan.grid.column and self._level(edge):
            yield from self._along(edge)
        else:
            yield from self._up(place, edge)

    def _level(self, edge: TraceEdge) -> bool:
        column = self.plan.grid.column
        return edge.target in column and column[edge.source] != column[edge.target]

    def _along(self, edge: TraceEdge) -> Iterator[Wire]:
        """A state that passes to the next step: one lane for each, the value above, its message below."""
        a, b = self.plan.boxes[edge.source], self.plan.boxes[edge.target]
        pair = (edge.source, edge.target)
        y = a.y + STATE_LANE * ((self.between[pair] - 1) / 2 - self.drawn[pair])
        self.drawn[pair] += 1
        x0, x1 = (a.right, b.left) if a.x < b.x else (a.left, b.right)
        up, down, x = y + APART + 1, y - APART - 1, (x0 + x1) / 2
        yield self._forward(edge, straight([(x0, up), (x1, up)]), edge.label, (x, up + 8))
        yield from self._back(edge, straight([(x0, down), (x1, down)]), (x, down - 9 - 2 * edge.cut))

    def _up(self, place: int, edge: TraceEdge) -> Iterator[Wire]:
        """Data flow inside a column, or from and to a bar."""
        a, b = self.plan.boxes[edge.source], self.plan.boxes[edge.target]
        bends = list(self.plan.bends.get(place, []))
        bars = self.plan.grid.bars
        start = self.ports[place, "source"]
        stop = self.ports[place, "target"]
        if self.plan.grid.row[edge.source] >= self.plan.grid.row[edge.target]:  # a bar that an earlier lane reads again
            start, stop = (b.x, a.bottom), (b.x, b.top)
        elif edge.source in bars and edge.target not in bars:
            start = bends.pop(0)[0], a.top
        elif edge.target in bars and edge.source not in bars:
            stop = bends.pop()[0], b.bottom
        rows = self.plan.rows
        points = [start]
        for x, y in bends:
            bottom, top = next((low, high) for low, high in rows if low <= y <= high)
            points += [(x, bottom), (x, top)]
        points.append(stop)
        yield from self._pair(edge, upright(points, APART), upright(points, -APART), self._free_place(edge, points))

    def _free_place(self, edge: TraceEdge, points: list[Point]) -> Point:
        """Where the number of a message can stand that no other line of its two nodes comes close to."""
        start, stop = points[0], points[-1]
        near, far = self.fans[edge.source, "source"], self.fans[edge.target, "target"]
        turns = abs(points[-2][0] - stop[0]) > 2, abs(points[1][0] - start[0]) > 2
        folded = self.trace.level == "cell"
        if (folded and not (turns[0] and not turns[1])) or (not folded and far == 1 and near > 1):
            return self._beside(edge, stop[0], stop[1] - 14, free=-1 if points[-2][0] > stop[0] + 12 else 1)
        if folded or (near == 1 and (far > 1 or abs(stop[0] - start[0]) > 2)):
            return self._beside(edge, start[0], start[1] + 14, free=-1 if points[1][0] > start[0] + 12 else 1)
        if len(points) > 2:  # beside the straight part
            x, y = points[len(points) // 2]
            return self._beside(edge, x, y)
        left = near > 1 and far > 1 and stop[0] < self.plan.boxes[edge.target].x - 1
        x = min(start[0], stop[0]) if left else max(start[0], stop[0])
        return self._beside(edge, x, (start[1] + stop[1]) / 2, free=-1 if left else 1)

    def _around(self, place: int, edge: TraceEdge) -> Iterator[Wire]:
        """Through the gaps between the columns; of several readers of a value in one lane, the farthest has the line.

        The messages of the others join it, each where the way of its own begins.
        """
        common, own = self._way(place, edge)
        points = common + own
        back = parallel(points, -APART)
        if self.plan.channels[place][0] in self.plan.shared:
            at = (own[-2][0] + own[-1][0]) / 2, own[-1][1] - APART - 9
            back = back[len(common) :] if place in self.plan.joins else back
        else:
            rising = [piece for piece in pairwise(points) if piece[0][0] == piece[1][0] and math.dist(*piece) > TALL]
            (x0, y0), (x1, y1) = max(rising or pairwise(points), key=lambda piece: math.dist(*piece))
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            at = self._beside(edge, x, self._clear(y)) if x0 == x1 else (x, y - APART - 9)
        yield from self._pair(edge, straight(parallel(points, APART)), straight(back), at)

    def _way(self, place: int, edge: TraceEdge) -> tuple[list[Point], list[Point]]:
        """From the side of one node as far as other edges may come along; from there to the side of another."""
        plan, grid = self.plan, self.plan.grid
        a, b = plan.boxes[edge.source], plan.boxes[edge.target]
        ahead = grid.column[edge.source] <= grid.column[edge.target]
        same = grid.column[edge.source] == grid.column[edge.target]
        first, *last = [plan.channel(*turn) for turn in plan.channels[place]]
        start = self._side(edge.source, a, right=ahead)
        if len(start) == 1 and self.trace.level == "cell":  # apart from a state that goes straight on
            rises = grid.row[edge.target] > grid.row[edge.source]
            start = [(start[0][0], a.top - ASIDE if rises else a.bottom + ASIDE)]
        stop = self._side(edge.target, b, right=same or not ahead)
        common = [*start, (first, start[-1][1])]
        if not last:
            return common, [(first, stop[-1][1]), *stop[::-1]]
        over = max(plan.rows[grid.levels[grid.level[n]][1]][1] for n in (edge.source, edge.target)) + 10
        over += OVER * (plan.channels[place][0][1] % 3)  # lines beside each other are apart up there too
        return [*common, (first, over)], [(last[0], over), (last[0], stop[-1][1]), *stop[::-1]]

    def _clear(self, y: float) -> float:
        """The nearest height at which a number is not struck through by a line that brings parameters."""
        near = [bus for bus in self.buses if abs(bus - y) < style.SMALL]
        return near[0] + style.SMALL if near else y

    def _to_the_next(self, place: int, edge: TraceEdge) -> Wire:
        """From the new state down beside the column and up into the old one, from below."""
        plan = self.plan
        (turn,) = plan.channels[place]
        x, stop = plan.channel(*turn), plan.boxes[edge.target]
        under = stop.bottom - NEXT_DROP * (turn[1] + 1)
        start = self._side(edge.source, plan.boxes[edge.source], right=True)
        points = [*start, (x, start[-1][1]), (x, under), (stop.x, under), (stop.x, stop.bottom)]
        at = self._beside(edge, x, (start[-1][1] + under) / 2)
        path, told = straight(points), self._tooltip(edge, back=False)
        return Wire("recurrent", edge.source, edge.target, path, told, edge.label, at, 1.8)

    def _side(self, name: str, box: Box, *, right: bool) -> list[Point]:
        """Where a line leaves a node sideways: directly when the node stands at the end of its row, else from above."""
        low, high = self.outer[self.plan.grid.column[name], self.plan.grid.row[name]]
        if box.x == (high if right else low):
            return [(box.right if right else box.left, box.y)]
        top = self.plan.rows[self.plan.grid.row[name]][1]
        return [(box.x, box.top), (box.x, top + 9)]

    def _pair(self, edge: TraceEdge, forward: list[Point], backward: list[Point], at: Point) -> Iterator[Wire]:
        yield self._forward(edge, forward, "", (0, 0))
        yield from self._back(edge, backward, at)

    def _beside(self, edge: TraceEdge, x: float, y: float, free: int = 1) -> Point:
        """Where the number stands beside two lines that pass (x, y) vertically: to their right, or left for −1."""
        return x + free * (APART + 4 + style.text_width(self._text(edge), style.SMALL) / 2), y

    def _parameter(self, edge: TraceEdge) -> Iterator[Wire]:
        """From the rail along the bus of the lane into the step; at op level a stub that names the parameter."""
        plan = self.plan
        a, b = plan.boxes[edge.source], plan.boxes[edge.target]
        use = self.entered[edge.target]
        self.entered[edge.target] += 1
        if self.trace.level != "cell":
            yield from self._stub(edge, b, use)
            return
        x = b.left + 9
        trunk, bus = a.right + 14 + 7 * plan.grid.level[edge.target], plan.bus(edge.target)
        y = a.y if abs(a.y - bus) > 10 else bus
        foot, back = (b.bottom + self._rise(edge.target, b, x0 - b.x) for x0 in (x, x + 2 * APART))
        points = [(a.right, y), (trunk, y), (trunk, bus), (x, bus), (x, foot)]
        yield self._forward(edge, straight(points), "", (0, 0), kind="parameter")
        norms = self.shared[edge.target] if use == 0 and self.show == "norm" else []
        text = style.number(math.hypot(*norms)) if norms else ""
        at = x - style.text_width(text, style.SMALL) / 2 - 3, b.bottom - 13
        yield from self._back(edge, straight([(x + 2 * APART, bus), (x + 2 * APART, back)]), at, text)

    def _rise(self, name: str, box: Box, shift: float) -> float:
        """How far the outline of a node is from the side of its box, so far from its middle."""
        return _rise(box, shift) if style.card(self.nodes[name], self.trace.level).shape == "ellipse" else 0.0

    def _stub(self, edge: TraceEdge, box: Box, use: int) -> Iterator[Wire]:
        side = self.plan.stub_side[edge.target]
        uses = self.taps[edge.target]
        y = box.y + STUB_PITCH * ((uses - 1) / 2 - use)
        x = box.right if side > 0 else box.left
        far = x + side * STUB
        name, text = self.plan.short[edge.source], self._text(edge)
        at = far + side * (style.text_width(name, style.SMALL) / 2 + 3), y + APART + 1
        yield self._forward(edge, straight([(far, y + APART), (x, y + APART)]), name, at, kind="parameter")
        at = far + side * (style.text_width(text, style.SMALL) / 2 + 3), y - APART - 2
        yield from self._back(edge, straight([(far, y - APART), (x, y - APART)]), at)

    def _forward(self, edge: TraceEdge, path: list[Point], label: str, at: Point, kind: str = "forward") -> Wire:
        kind = "dropped" if edge.dropped and kind == "forward" else kind
        return Wire(kind, edge.source, edge.target, path, self._tooltip(edge, back=False), label, at)

    def _back(self, edge: TraceEdge, path: list[Point], at: Point, text: str | None = None) -> Iterator[Wire]:
        """The message, drawn from the target to the source; a cut edge ends half-way."""
        back = path[::-1]
        if edge.cut:
            yield Wire("cut", edge.target, edge.source, half(back), self._tooltip(edge, back=True), "cut", at, 1.4)
        elif edge.message is not None:
            width = style.pen_width(edge.message, self.largest)
            label = self._text(edge) if text is None else text
            yield Wire("backward", edge.target, edge.source, back, self._tooltip(edge, back=True), label, at, width)

    def _text(self, edge: TraceEdge) -> str:
        if edge.cut or edge.recurrent:
            return edge.label if edge.recurrent else "cut"
        return "" if edge.message is None else SHOWN[self.show](edge)

    def _tooltip(self, edge: TraceEdge, *, back: bool) -> str:
        ends = [self._name(edge.source), self._name(edge.target)]
        value = f" carries {edge.label}" if edge.label else ""
        if not back:
            return f"{ends[0]} → {ends[1]}{value}"
        if edge.cut:
            return f"{ends[1]} ⊣ {ends[0]}: detached, no gradient passes"
        story = f"; {edge.story}" if edge.story else ""
        return f"{ends[1]} → {ends[0]}: message of norm {edge.message:.6g}{story}"

    def _name(self, name: str) -> str:
        node = self.nodes[name]
        return self.labels[name] + (f" (t={node.time})" if node.time is not None else "")


def _ports(trace: Trace, plan: Layout) -> tuple[dict[tuple[int, str], Point], dict[tuple[str, str], int]]:
    """Where the lines inside a column touch their nodes, side by side in the order of where they lead; and how many."""
    fans: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for place, edge in enumerate(trace.edges):
        if edge.source in plan.grid.rail or place in plan.channels:
            continue
        if edge.source not in plan.boxes or edge.target not in plan.boxes:
            continue
        bends = plan.bends.get(place)
        fans[edge.source, "source"].append((bends[0][0] if bends else plan.boxes[edge.target].x, place))
        fans[edge.target, "target"].append((bends[-1][0] if bends else plan.boxes[edge.source].x, place))
    shapes = {node.id: style.card(node, trace.level).shape for node in trace.nodes}
    column = plan.grid.column
    ports: dict[tuple[int, str], Point] = {}
    for (name, end), fan in fans.items():
        box = plan.boxes[name]
        upright_only = [
            (x, place)
            for x, place in sorted(fan)
            if column.get(trace.edges[place].source, -1) == column.get(trace.edges[place].target, -1)
        ]
        step = min(PORT, (box.width - 2 * APART - 8) / max(1, len(upright_only) - 1))
        for at, (_, place) in enumerate(upright_only):
            shift = (at - (len(upright_only) - 1) / 2) * step
            drop = 0.0
            if shapes[name] == "ellipse":
                drop = _rise(box, abs(shift) + APART)
            ports[place, end] = (box.x + shift, box.top - drop if end == "source" else box.bottom + drop)
        for _, place in fan:
            ports.setdefault((place, end), (box.x, box.top if end == "source" else box.bottom))
    return ports, {end: len(fan) for end, fan in fans.items()}


def _rise(box: Box, shift: float) -> float:
    """How far the outline of an ellipse is from the side of its box, so far from its middle."""
    return box.height / 2 * (1 - math.sqrt(max(0.0, 1 - (shift / (box.width / 2)) ** 2)))
