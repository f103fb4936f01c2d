"""What the page draws: nodes, lines and backgrounds with their places, as plain lists that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .. import style
from ..layout import Box, Layout, arrange
from ..trace import Trace
from ..wires import Wire, wires
from .levels import Level, repeated

Point = tuple[float, float]
HEAD = {"parameter": 5.0, "forward": 6.0, "dropped": 6.0, "backward": 6.0, "cut": 0.0}  # lengths of the arrowheads
VALUES = ("forward", "dropped", "parameter")  # kinds of lines that go forward
NORM = "#"  # instead of the number, which the page knows


def views(level: Level) -> dict[str, Any]:
    """One level drawn with shared parameters, once each in a rail, and with a copy of them at every use."""
    numbers = {node.id: at for at, node in enumerate(level.trace.nodes)}
    copies, origin = repeated(level.trace)
    return {"shared": view(level.trace, numbers, {}), "repeat": view(copies, numbers, origin)}


def view(trace: Trace, numbers: dict[str, int], origin: dict[str, str]) -> dict[str, Any]:
    """Boxes and lines of one picture; `origin` names the parameter of a copy. y grows downwards, as in SVG.

    A node is [number, x, y, look] and, for a copy, the edge by which it is read. Columns are alike, so the looks of
    nodes and the paths of lines are tables, with a place in them for each.
    """
    plan = arrange(trace)
    looks, paths = Table(), Table()
    uses = {edge.source: place for place, edge in enumerate(trace.edges) if edge.source in origin}
    nodes = []
    for node in trace.nodes:
        if node.id not in plan.boxes:
            continue
        lines = [[text, size, int(bold)] for text, size, bold in plan.faces[node.id].lines]
        if node.role == "parameter":  # its gradient is filled in as it arrives; a copy is used once
            lines = lines[: 1 + bool(node.shape)] if node.id not in origin else [[plan.short[node.id], 12.0, 1]]
        box = plan.boxes[node.id]
        look = looks.place([_round(box.width), _round(box.height), style.card(node, trace.level).name, lines])
        copy = [uses[node.id]] if node.id in origin else []
        nodes.append([numbers[origin.get(node.id, node.id)], _round(box.x), _round(-box.y), look, *copy])
    drawn = [place for place, e in enumerate(trace.edges) if e.source in plan.boxes and e.target in plan.boxes]
    return {
        "nodes": nodes,
        "wires": list(_wires(trace, plan, drawn, paths, origin)),
        "looks": looks.entries,
        "paths": paths.entries,
        "bands": [[f"t = {time}", *_box(box)] for time, box in plan.bands.items()],
        "frames": [[name, *_box(box)] for name, box, _ in plan.frames],
        "bounds": _bounds(plan),
    }


class Table:
    """Entries, each once, and where they stand."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.places: dict[str, int] = {}

    def place(self, entry: Any) -> int:
        found = self.places.setdefault(repr(entry), len(self.entries))
        if found == len(self.entries):
            self.entries.append(entry)
        return found


def _wires(trace: Trace, plan: Layout, drawn: Sequence[int], paths: Table, origin: dict[str, str]) -> Any:
    """[edge, path, x, y]: the lines of an edge follow each other, the value before its message.

    A path is [kind, d, label, x, y], from where it starts.
    """
    crowded = {edge.target for edge in trace.edges if edge.source in origin}
    places = iter(drawn)
    place = -1
    for wire in wires(trace, plan):
        if wire.kind in VALUES:
            place = next(places)
        x0, y0 = wire.path[0]
        edge = trace.edges[place]
        if {wire.source, wire.target} != {edge.source, edge.target}:
            raise RuntimeError(f"explore: a line {wire.source} – {wire.target} where edge {place} was to come")
        label, (x, y) = wire.label, wire.label_at
        if label and wire.kind == "backward":
            label = NORM
            if edge.source in origin:
                label = ""  # the copy bears it
            elif edge.target in crowded and plan.boxes[edge.source].top < y < plan.boxes[edge.target].bottom:
                end = wire.path[-1]  # beside the source, where fewer lines end, and not where the line comes from
                aside = 1 if wire.path[0][0] < end[0] or wire.path[-4][0] < end[0] else -1
                x = end[0] + aside * (16 + style.text_width(wire.label, style.SMALL) / 2)
                y = end[1] + 16
        at = [_round(x - x0), _round(y0 - y)] if label else []
        yield [place, paths.place([wire.kind, _path(wire), label, *at]), _round(x0), _round(-y0)]


def _path(wire: Wire) -> str:
    """The SVG path of a line from its start, relative and in whole tenths; straight pieces as lines."""
    x0, y0 = wire.path[0]
    return _drawn(tuple((round((x - x0) * 10), round((y0 - y) * 10)) for x, y in _without_head(wire)))


@lru_cache(maxsize=4096)  # columns are alike
def _drawn(points: tuple[tuple[int, int], ...]) -> str:
    text = "M0 0"
    last = ""
    for a, b, c, d in _pieces(points):
        if _straight(a, b, c, d):
            text += ("" if last == "l" else "l") + _step(a, d, last == "l")
            last = "l"
        else:
            piece = _step(a, b, last == "c") + _step(a, c, True) + _step(a, d, True)
            text += ("" if last == "c" else "c") + piece
            last = "c"
    return text


def _without_head(wire: Wire) -> list[Point]:
    """The path as far as where its arrowhead begins, so that a wide line does not show beside the tip."""
    end = wire.path[-1]
    back = next((p for p in reversed(wire.path[:-1]) if math.dist(p, end) > 0.01), end)
    length = math.dist(end, back)
    share = min(HEAD[wire.kind], length) / length if length else 0.0
    return [*wire.path[:-1], (end[0] + share * (back[0] - end[0]), end[1] + share * (back[1] - end[1]))]


def _pieces(points: Sequence[Any]) -> Any:
    return (points[at : at + 4] for at in range(0, len(points) - 3, 3))


def _straight(a: Any, b: Any, c: Any, d: Any) -> bool:
    def off(p: Any) -> float:
        return abs((d[0] - a[0]) * (p[1] - a[1]) - (d[1] - a[1]) * (p[0] - a[0]))

    length = abs(d[0] - a[0]) + abs(d[1] - a[1])
    return off(b) <= 2 * length and off(c) <= 2 * length


def _step(a: Any, b: Any, separated: bool) -> str:
    text = _tenths(b[0] - a[0], b[1] - a[1])
    return text if not separated or text[0] == "-" else f" {text}"


def _tenths(x: int, y: int) -> str:
    first, second = (f"{v / 10:.1f}".removesuffix(".0") for v in (x, y))
    return f"{first}{'' if second[0] == '-' else ' '}{second}"


def _box(box: Box) -> list[float]:
    """x and y of the middle, width and height."""
    return [_round(box.x), _round(-box.y), _round(box.width), _round(box.height)]


def _round(value: float) -> float:
    value = round(value, 1)
    return int(value) if value == int(value) else value


def _bounds(plan: Layout) -> list[float]:
    boxes = [*plan.boxes.values(), *plan.bands.values()]
    left, right = min((b.left for b in boxes), default=0.0), max((b.right for b in boxes), default=100.0)
    bottom, top = min((b.bottom for b in boxes), default=0.0), max((b.top for b in boxes), default=100.0)
    margin = 24.0
    x, y = left - margin, -top - margin
    return [_round(x), _round(y), _round(right - left + 2 * margin), _round(top - bottom + 2 * margin)]
