"""A long picture in rows of a few columns each: what was one row is cut between columns, and goes on in the next."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from . import style
from .box import Box
from .layout import Layout
from .marks import Mark, text
from .route import Point, clipped
from .wires import Wire

ROW_SPACE = 40.0  # between two rows
BEYOND = 20.0  # by which a line goes on past the cut: so much of it is drawn in both rows

ASIDE = 84.0  # from a column to the words that say where its row goes on


@dataclass(frozen=True, slots=True)
class Row:
    """What lies between x = left and right of the unwrapped picture, and by how much it is moved."""

    left: float
    right: float
    x: float
    y: float


def wrapped(plan: Layout, lines: list[Wire], columns: int) -> tuple[Layout, list[Wire]]:
    """The layout and its lines in rows of so many steps; the same where they fit into one.

    Columns of different rows stand below each other. A line that passes a cut ends at the end of its row, and begins
    again at the beginning of the next, its number at both; a bar over all steps is drawn once in every row.
    Raises ValueError for rows of less than one column.
    """
    if columns < 1:
        raise ValueError(f"wrap={columns}: a row has 1 column or more")
    steps = [at for at in range(len(plan.columns)) if plan.grid.time(at) is not None]
    starts = steps[::columns]
    if len(starts) < 2:
        return plan, lines
    ends = steps[columns - 1 :: columns][: len(starts) - 1]
    rows = _rows(plan, starts, ends)
    boxes: dict[str, Box] = {}
    again = []
    for name, box in plan.boxes.items():
        spans = name in plan.grid.bars and box.width > plan.faces[name].width + 1
        first, *rest = _pieces(rows, box, least=plan.faces[name].width) if spans else [_moved(rows, box)]
        boxes[name] = first
        again += [(name, piece) for piece in rest]
    marks = []
    for mark in plan.marks:
        pieces = [_moved(rows, mark.box)] if mark.lines else _pieces(rows, mark.box)
        marks += [replace(mark, name=f"{mark.name}_{k}" if k else mark.name, box=b) for k, b in enumerate(pieces)]
    shift = [next(row for row in rows[::-1] if plan.columns[at][1] > row.left) for at in range(len(plan.columns))]
    made = replace(
        plan, boxes=boxes, again=again, marks=marks,
        bands={t: _moved(rows, band) for t, band in plan.bands.items()},
        frames=[(name, _moved(rows, box), _moved(rows, words)) for name, box, words in plan.frames],
        columns=[(a + row.x, b + row.x) for (a, b), row in zip(plan.columns, shift, strict=True)],
        axes=[axis + row.x for axis, row in zip(plan.axes, shift, strict=True)],
    )  # fmt: skip
    made.marks += _hints(plan, rows, starts, ends)
    return made, list(_cut(lines, rows))


def fitting(plan: Layout, page: float) -> int | None:
    """How many steps a row may have so that rows are no wider than a page and about as long as each other.

    None where all steps fit into one row.
    """
    steps = [side for at, side in enumerate(plan.columns) if plan.grid.time(at) is not None]
    whole = Box.around(plan.boxes.values())
    if len(steps) < 2 or whole.width <= page:
        return None
    pitch = (steps[-1][0] - steps[0][0]) / (len(steps) - 1)
    most = max(1, int((page - (steps[0][0] - whole.left)) / pitch))
    return ceil(len(steps) / ceil(len(steps) / most))


def _rows(plan: Layout, starts: list[int], ends: list[int]) -> list[Row]:
    """The rows, from the columns of their first steps to those of their last; the first holds what stands left of all.

    States that a loop begins with stand in its row, left of its steps.
    """
    cuts = [(plan.columns[at][1] + plan.columns[at + 1][0]) / 2 for at in ends]
    sides = [float("-inf"), *cuts, float("inf")]
    inside = [box for name, box in plan.boxes.items() if name not in plan.grid.rail]
    one = Box.around([*inside, *plan.bands.values(), *(mark.box for mark in plan.marks)])
    rail = Box.around([one, *(plan.boxes[name] for name in plan.grid.rail if name in plan.boxes)])
    rows = []
    for number, at in enumerate(starts):
        drop = 0.0 if number == 0 else one.top - rail.bottom + ROW_SPACE + (number - 1) * (one.height + ROW_SPACE)
        shift = plan.columns[starts[0]][0] - plan.columns[at][0]
        rows.append(Row(sides[number], sides[number + 1], shift, -drop))
    return rows


def _row(rows: list[Row], x: float) -> Row:
    return rows[bisect_left(rows, x, key=lambda row: row.right)]


def _moved(rows: list[Row], box: Box) -> Box:
    row = _row(rows, box.x)
    return box.moved(row.x, row.y)


def _pieces(rows: list[Row], box: Box, least: float = 0.0) -> list[Box]:
    """What of a box is in each row, at least so wide."""
    found = []
    for row in rows:
        left, right = max(box.left, row.left), min(box.right, row.right)
        if left < right:
            piece = Box.between(left, max(right, left + least), box.bottom, box.top)
            found.append(piece.moved(row.x, row.y))
    return found


def _cut(lines: list[Wire], rows: list[Row]) -> Iterator[Wire]:
    """The lines, row by row; what several have in common on their way to a later row is drawn once."""
    known = set()
    through: dict[tuple[str, float], int] = {}  # parameter, height → in how many rows that line is there already
    for wire in lines:
        xs = [x for x, _ in wire.path]
        low, high = min(xs), max(xs)
        start = bisect_right(rows, low, key=lambda row: row.right)
        stop = bisect_left(rows, high, key=lambda row: row.left)
        inside = rows[start:stop] or [_row(rows, low)]
        whole = len(inside) == 1
        if wire.kind == "parameter" and not whole:
            longest = max(zip(wire.path[::3], wire.path[3::3]), key=lambda ends: ends[1][0] - ends[0][0])
            line = wire.source, longest[0][1]
            inside = rows[max(start, min(through.get(line, 0), stop - 1)) : stop]
            through[line] = max(through.get(line, 0), stop - 1)
        for row in inside:
            parts = [wire.path] if whole else clipped(wire.path, row.left - BEYOND, row.right + BEYOND)
            for path in parts:
                last = path[-1] == wire.path[-1]
                moved = _shifted(path, row)
                key = wire.kind, wire.source, tuple(moved)
                if not last and wire.kind == "parameter" and key in known:
                    continue
                known.add(key)
                named = whole or row.left - BEYOND <= wire.label_at[0] <= row.right + BEYOND
                at = wire.label_at[0] + row.x, wire.label_at[1] + row.y
                label = wire.label if named else ""
                yield replace(wire, path=moved, label=label, label_at=at, head=wire.head and last)


def _shifted(path: list[Point], row: Row) -> list[Point]:
    return [(x + row.x, y + row.y) for x, y in path]


def _hints(plan: Layout, rows: list[Row], starts: list[int], ends: list[int]) -> Iterator[Mark]:
    """Where a row goes on, and where it comes from."""
    y = next(iter(plan.bands.values())).bottom + 18
    for number, (above, below, end, start) in enumerate(zip(rows, rows[1:], ends, starts[1:], strict=False)):
        right, left = plan.columns[end][1] + above.x + ASIDE, plan.columns[start][0] + below.x - ASIDE
        yield text(f"goes_on_{number}", [f"t = {plan.grid.time(start)} …"], right, y + above.y, ink=style.QUIET)
        yield text(f"comes_from_{number}", [f"… t = {plan.grid.time(end)}"], left, y + below.y, ink=style.QUIET)
