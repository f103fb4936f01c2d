"""Numbers beside lines, each where no line, no node and no other number is in its way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from . import style
from .box import Box
from .marks import Mark
from .route import Point, straight
from .wires import Wire

SQUARE = 48.0  # what is near a place is looked up by squares so wide
CAPITALS = 0.9  # height of a line of text that must stay free, in units of the font size
RAISED = 1.0  # by which letters stand above the middle of their line
RULE = 2.0  # a mark that is no wider is a line
STRIDE = 6.0  # between the places along a line where its number may stand
AWAY = (3.0, 11.0, 20.0, 30.0)  # from a line to its number: beside it, beyond the other one of the pair, farther
STEP = 3.0  # between the points by which a curve is known

Stretches = dict[float, list[tuple[float, float]]]  # of lines along an axis: where they are, from where to where
Frame = tuple[str, Box, Box]  # name, box, box of the name


def placed(lines: list[Wire], frames: list[Frame], boxes: Iterable[Box]) -> tuple[list[Wire], list[Frame]]:
    """The lines, with every number that something is in the way of moved along its line to the nearest free place.

    `boxes` are those of nodes and other texts. The names of `frames` go to the corner where the least is in their way,
    before the numbers; numbers that stand free stay, and one without any free place goes to where the least is.
    """
    space = _Space()
    for box in boxes:
        space.add(box)
    for wire in lines:
        space.draw(wire.path)
    for _, frame, _ in frames:
        corners = [(x, y) for x in (frame.left, frame.right) for y in (frame.bottom, frame.top)]
        for one, other in ((0, 1), (2, 3), (0, 2), (1, 3)):
            space.draw(straight([corners[one], corners[other]]), border=True)
    named = []
    for name, frame, words in frames:
        best = min(_corners(frame, words), key=space.costs)
        space.add(best)
        named.append((name, frame, best))
    moved = list(lines)
    crowded = []
    for at, wire in enumerate(lines):
        if wire.label:
            box = _box(wire, wire.label_at)
            if space.costs(box):
                crowded.append(at)
            else:
                space.add(box)
    for at in crowded:
        wire = lines[at]
        best_at = _first_free(space, wire)
        space.add(_box(wire, best_at))
        moved[at] = replace(wire, label_at=best_at)
    return moved, named


def _first_free(space: _Space, wire: Wire) -> Point:
    best, least = wire.label_at, float("inf")
    for place in _places(wire):
        cost = space.costs(_box(wire, place))
        if cost < least:
            best, least = place, cost
        if not cost:
            break
    return best


def interrupted(marks: Iterable[Mark], lines: Iterable[Wire]) -> Iterator[Mark]:
    """The marks, upright lines among them in pieces, so that they strike no number."""
    labels = [_box(wire, wire.label_at) for wire in lines if wire.label]
    for mark in marks:
        if not mark.behind or mark.box.width > RULE:
            yield mark
            continue
        x, floor, piece = mark.box.x, mark.box.bottom, 0
        crossed = sorted((box.bottom - 1, box.top + 1) for box in labels if box.left < x < box.right)
        for bottom, top in [*crossed, (mark.box.top, mark.box.top)]:
            if floor < bottom <= mark.box.top:
                box = Box.between(mark.box.left, mark.box.right, floor, bottom)
                yield replace(mark, name=f"{mark.name}_{piece}" if piece else mark.name, box=box)
                piece += 1
            floor = max(floor, top)


def _corners(frame: Box, words: Box) -> Iterator[Box]:
    """Where the name of a frame may stand: in a corner, or else along its top or bottom."""
    right = frame.right - frame.left - 16 - words.width
    down = frame.bottom - frame.top + 18
    for y in (0.0, down):
        for share in (0.0, 1.0, 0.25, 0.75, 0.5):
            yield words.moved(share * right, y)


def _box(wire: Wire, at: Point) -> Box:
    return Box(at[0], at[1] + RAISED, style.text_width(wire.label, style.SMALL), CAPITALS * style.SMALL)


def _places(wire: Wire) -> Iterator[Point]:
    """Where the number of a line may stand, best first: where it is, then on both sides along the line."""
    yield wire.label_at
    points = list(_curve(wire.path))
    half, high = style.text_width(wire.label, style.SMALL) / 2, style.SMALL / 2
    middle, stride = len(points) // 2, max(1, int(STRIDE / STEP))
    for away in AWAY:
        for step in range(0, middle, stride):
            for at in {max(middle - step - 1, 0), min(middle + step, len(points) - 2)}:
                (x0, y0), (x1, y1) = points[at], points[at + 1]
                if abs(y1 - y0) >= abs(x1 - x0):
                    yield from ((x0 + side * (away + half), y0) for side in (1, -1))
                else:
                    yield from ((x0, y0 + side * (away + high)) for side in (-1, 1))


class _Space:
    """What there is: boxes and curves by squares; lines along an axis, of which many share a stretch, by its place."""

    def __init__(self) -> None:
        self.boxes: dict[tuple[int, int], list[Box]] = defaultdict(list)
        self.points: dict[tuple[int, int], set[Point]] = defaultdict(set)
        self.axes: dict[tuple[bool, int], Stretches] = {(b, axis): {} for b in (False, True) for axis in (0, 1)}
        self.sorted: dict[tuple[bool, int], list[float]] = {}

    def add(self, box: Box) -> None:
        for square in _squares(box):
            self.boxes[square].append(box)

    def draw(self, path: list[Point], *, border: bool = False) -> None:
        """A line, or what is less in the way: the border of a frame."""
        for at in range(0, len(path) - 3, 3):
            piece = path[at : at + 4]
            for axis in (0, 1):
                if max(abs(p[axis] - piece[0][axis]) for p in piece) < 0.01:
                    ends = sorted((piece[0][1 - axis], piece[3][1 - axis]))
                    kept = self.axes[border, axis].setdefault(round(piece[0][axis], 2), [])
                    _join(kept, (ends[0], ends[1]))
                    break
            else:
                for x, y in _curve(piece):
                    self.points[int(x // SQUARE), int(y // SQUARE)].add((x, y))

    def costs(self, box: Box) -> int:
        """How much is in the way of a text: 0 for nothing."""
        if not self.sorted:
            self.sorted = {which: sorted(kept) for which, kept in self.axes.items()}
        cost = 0
        for square in _squares(box):
            cost += 16 * sum(_overlap(box, other) for other in self.boxes.get(square, ()))
            near = self.points.get(square, ())
            cost += 2 * any(box.left < x < box.right and box.bottom < y < box.top for x, y in near)
        sides = ((box.left, box.right, box.bottom, box.top), (box.bottom, box.top, box.left, box.right))
        for (border, axis), places in self.sorted.items():
            low, high, start, stop = sides[axis]
            for place in places[bisect_left(places, low) : bisect_right(places, high)]:
                cost += (2 - border) * any(a < stop and b > start for a, b in self.axes[border, axis][place])
        return cost


def _join(stretches: list[tuple[float, float]], new: tuple[float, float]) -> None:
    """Add a stretch to others on the same line: one that it touches becomes one with it."""
    low, high = new
    for at, (a, b) in enumerate(stretches):
        if low <= b and a <= high:
            stretches[at] = min(a, low), max(b, high)
            return
    stretches.append(new)


def _curve(path: list[Point]) -> Iterator[Point]:
    """Points of a Bézier path, a few points apart."""
    for at in range(0, len(path) - 3, 3):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = path[at : at + 4]
        long = abs(x1 - x0) + abs(x2 - x1) + abs(x3 - x2) + abs(y1 - y0) + abs(y2 - y1) + abs(y3 - y2)
        count = max(2, int(long / STEP))
        for step in range(count + 1):
            u = step / count
            a, b, c, d = (1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3
            yield a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top


def _squares(box: Box) -> Iterator[tuple[int, int]]:
    for x in range(int(box.left // SQUARE), int(box.right // SQUARE) + 1):
        for y in range(int(box.bottom // SQUARE), int(box.top // SQUARE) + 1):
            yield x, y
