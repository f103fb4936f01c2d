"""The geometry of edges: Bézier paths as Graphviz reads them, so that no layout program has to route anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]


def straight(points: Sequence[Point], radius: float = 9.0) -> list[Point]:
    """Bézier control points of a polyline with rounded corners.

    >>> straight([(0, 0), (30, 0)])
    [(0, 0), (10.0, 0.0), (20.0, 0.0), (30, 0)]
    """
    points = [p for at, p in enumerate(points) if at == 0 or math.dist(p, points[at - 1]) > 0.01]
    path = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:]):
        cut = min(radius, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        enter, leave = _towards(corner, before, cut), _towards(corner, after, cut)
        path += [*_line(path[-1], enter), _between(enter, corner, 0.6), _between(leave, corner, 0.6), leave]
    return path + _line(path[-1], points[-1])


def upright(points: Sequence[Point], aside: float = 0.0) -> list[Point]:
    """Bézier control points of a curve that passes every point vertically, moved to its left by `aside`."""
    path = [(points[0][0] - aside, points[0][1])]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2 + (aside if x1 > x0 + 1 else -aside if x1 < x0 - 1 else 0.0)
        path += [(x0 - aside, middle), (x1 - aside, middle), (x1 - aside, y1)]
    return path


def pos(path: Sequence[Point], arrow: float = 8.0, pen: float = 1.0) -> str:
    """A path as Graphviz's `pos` of an edge whose arrowhead, `arrow` points long (0: none), ends where the path does.

    The corner of a thick outline reaches beyond its point (mitre), so a wide pen stops that much earlier.
    """
    if not arrow:
        return " ".join(_text(p) for p in path)
    end = path[-1]
    back = next((p for p in reversed(path[:-1]) if math.dist(p, end) > 0.01), path[0])
    room = math.dist(end, back)
    tip = _towards(end, back, min(1.5 * (pen - 1), room / 2) if pen > 1 else 0.0)
    body = [*path[:-1], _towards(tip, back, min(arrow, math.dist(tip, back)))]
    return f"e,{_text(tip)} " + " ".join(_text(p) for p in body)


def _text(point: Point) -> str:
    return ",".join(f"{value:.2f}".rstrip("0").rstrip(".") for value in point)


def _between(one: Point, other: Point, share: float) -> Point:
    return one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share


def _towards(start: Point, goal: Point, distance: float) -> Point:
    length = math.dist(start, goal)
    return _between(start, goal, distance / length) if length else start


def _line(start: Point, end: Point) -> list[Point]:
    return [_between(start, end, 1 / 3), _between(start, end, 2 / 3), end]


def parallel(points: Sequence[Point], distance: float) -> list[Point]:
    """An orthogonal polyline moved sideways: to its left, seen in its direction, for a positive distance.

    >>> parallel([(0, 0), (10, 0), (10, 20)], 1)
    [(0, 1), (9, 1), (9, 20)]
    """
    points = [p for at, p in enumerate(points) if at == 0 or math.dist(p, points[at - 1]) > 0.01]
    moved = list(points)
    for at, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        if abs(x1 - x0) >= abs(y1 - y0):
            shift = distance if x1 > x0 else -distance
            moved[at], moved[at + 1] = (moved[at][0], y0 + shift), (moved[at + 1][0], y1 + shift)
        else:
            shift = -distance if y1 > y0 else distance
            moved[at], moved[at + 1] = (x0 + shift, moved[at][1]), (x1 + shift, moved[at + 1][1])
    return moved


def half(path: Sequence[Point]) -> list[Point]:
    """The first half of a Bézier path.

    >>> half([(0, 0), (10, 0), (20, 0), (30, 0)])
    [(0, 0), (5.0, 0.0), (10.0, 0.0), (15.0, 0.0)]
    """
    pieces = [list(path[at : at + 4]) for at in range(0, len(path) - 3, 3)]
    whole, rest = divmod(len(pieces), 2)
    kept = [path[0]] + [p for piece in pieces[:whole] for p in piece[1:]]
    if not rest:
        return kept
    a, b, c, d = pieces[whole]
    ab, bc, cd = _between(a, b, 0.5), _between(b, c, 0.5), _between(c, d, 0.5)
    return [*kept, ab, _between(ab, bc, 0.5), _between(_between(ab, bc, 0.5), _between(bc, cd, 0.5), 0.5)]


def clipped(path: Sequence[Point], left: float, right: float) -> list[list[Point]]:
    """The parts of a Bézier path between two verticals, in their order; its pieces must each be monotone in x.

    >>> (part,) = clipped([(0, 0), (10, 0), (20, 0), (30, 0)], 15, 40)
    >>> [(round(x, 6), y) for x, y in part]
    [(15.0, 0.0), (20.0, 0.0), (25.0, 0.0), (30, 0)]
    """
    parts: list[list[Point]] = []
    for at in range(0, len(path) - 3, 3):
        for piece in _split(path[at : at + 4], (left, right)):
            if left <= (piece[0][0] + piece[3][0]) / 2 <= right:
                if parts and math.dist(parts[-1][-1], piece[0]) < 0.01:
                    parts[-1] += piece[1:]
                else:
                    parts.append(list(piece))
    return parts


def outside(path: Sequence[Point], bottom: float, top: float) -> list[list[Point]]:
    """The parts of a Bézier path below or above a horizontal strip, in their order; its pieces must be monotone in y.

    >>> below, above = outside([(0, 0), (0, 10), (0, 20), (0, 30)], 15, 20)
    >>> [round(y, 6) for x, y in below], [round(y, 6) for x, y in above]
    ([0, 5.0, 10.0, 15.0], [20.0, 23.333333, 26.666667, 30])
    """
    turned = [(y, x) for x, y in path]
    parts = clipped(turned, float("-inf"), bottom) + clipped(turned, top, float("inf"))
    return [[(x, y) for y, x in part] for part in (parts if path[0][1] < path[-1][1] else parts[::-1])]


def _split(piece: Sequence[Point], verticals: Sequence[float]) -> list[Sequence[Point]]:
    """A cubic Bézier curve, monotone in x, cut where it crosses one of the verticals."""
    pieces = [piece]
    for x in verticals:
        last = pieces[-1] if piece[0][0] < piece[3][0] else pieces[0]
        if min(last[0][0], last[3][0]) < x < max(last[0][0], last[3][0]):
            low, high = 0.0, 1.0
            for _ in range(40):
                middle = (low + high) / 2
                before = (_halves(last, middle)[0][3][0] < x) == (last[0][0] < last[3][0])
                low, high = (middle, high) if before else (low, middle)
            place = pieces.index(last)
            pieces[place : place + 1] = _halves(last, low)
    return pieces


def _halves(piece: Sequence[Point], share: float) -> list[Sequence[Point]]:
    """A cubic Bézier curve cut at a parameter (de Casteljau)."""
    a, b, c, d = piece
    ab, bc, cd = _between(a, b, share), _between(b, c, share), _between(c, d, share)
    abc, bcd = _between(ab, bc, share), _between(bc, cd, share)
    middle = _between(abc, bcd, share)
    return [[a, ab, abc, middle], [middle, bcd, cd, d]]
