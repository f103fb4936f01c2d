"""A text whose characters have values: laid out in lines, coloured, with a bar for each value, for ink and screen."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from viz.style import contrast

from .axes import LINEAR, SIGNED, shown
from .figure import INK, PALE, PAPER

WIDTH, HEIGHT = 0.088, 0.13  # of a letter, in inches

BLACK = "#000000"  # one of white and black can be read on any colour, at a contrast of 4.5
ROW, BAR = 2.1, 0.75  # height of a line, and of the bars in it, in heights of a letter
TITLE = 56  # columns that a title takes


class Place(NamedTuple):
    """Where a character stands: its line, its column, and how many columns it takes."""

    line: int
    column: int
    width: int


def places(text: str, columns: int) -> list[Place]:
    """Where each character of a text stands, in lines of so many columns; a line ends after its newline.

    >>> places("ab\\nc漢d", 3)
    [Place(line=0, column=0, width=1), Place(line=0, column=1, width=1), Place(line=0, column=2, width=1), \
Place(line=1, column=0, width=1), Place(line=1, column=1, width=2), Place(line=2, column=0, width=1)]
    """
    found, line, column = [], 0, 0
    for c in text:
        width = 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if column + width > columns:
            line, column = line + 1, 0
        found.append(Place(line, column, width))
        line, column = (line + 1, 0) if c == "\n" else (line, column + width)
    return found


def scale(values: np.ndarray, *, signed: bool, top: float) -> tuple[np.ndarray, list[str]]:
    """The colours of values between −top (or 0) and top, as #rrggbb, and for each the ink that can be read on it."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    part = np.clip(values / (top or 1.0), -1, 1)
    colours = colormaps[SIGNED if signed else LINEAR]((part + 1) / 2 if signed else part * 0.85)
    names = [to_hex(c) for c in colours]
    return np.array(names), readable(names)


def readable(colours: Sequence[str]) -> list[str]:
    """Of white and black the one that can be read on each of some colours, #rrggbb."""
    return [max((PAPER, BLACK), key=partial(contrast, each)) for each in colours]


def paint_text(
    axes: Any, text: str, values: np.ndarray, *, signed: bool, top: float, columns: int, gid: str, above: float = 0.0,
    mark: int | None = None,
) -> tuple[float, list[str]]:  # fmt: skip
    """Draw a text from the line ``above`` on; the line after it, and for each character a note for `Plot.paint`.

    Below each letter a bar: its height is |value| / top, from the middle up where the value is positive and down where
    it is negative, so that what colours say can be seen without them. ``mark``: a character in a frame.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    where = places(text, columns)
    colours, inks = scale(values, signed=signed, top=top)
    part = np.clip(values / (top or 1.0), -1, 1)
    base = [above + ROW * each.line for each in where]  # y grows downwards
    boxes = [_box(each.column, y, each.width, 1.2) for each, y in zip(where, base)]
    axes.add_collection(PolyCollection(boxes, facecolors=list(colours), edgecolors="none", gid=gid))
    middle = 1.2 + BAR / 2 if signed else 1.2 + BAR
    length = part * (BAR / 2 if signed else BAR)
    bars = [_box(e.column + 0.15, y + middle, e.width - 0.3, -h) for e, y, h in zip(where, base, length)]
    axes.add_collection(PolyCollection(bars, facecolors=INK, edgecolors="none"))
    for line in sorted({each.line for each in where}):
        inside = [each for each in where if each.line == line]
        y = above + ROW * line + middle
        axes.plot([inside[0].column, inside[-1].column + inside[-1].width], [y, y], color=PALE, linewidth=0.6, zorder=0)
    for c, each, y, ink in zip(text, where, base, inks):
        axes.text(each.column + each.width / 2, y + 0.62, _letter(c), color=ink, ha="center", va="center", fontsize=8,
                  family="monospace" if ord(c) < 0x80 else None)  # fmt: skip
    if mark is not None:
        at = where[mark]
        axes.add_patch(Rectangle((at.column, base[mark]), at.width, 1.2, fill=False, edgecolor=INK, linewidth=1.4))
    notes = [f"{shown(c)}: {value:.6g}" for c, value in zip(text, values)]
    return above + ROW * (where[-1].line + 1), notes


def _letter(c: str) -> str:
    """A character of running text: a space is one, other blanks are symbols."""
    return c if c == " " else shown(c)


def _box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def page_axes(axes: Any, columns: int, lines: float) -> None:
    """Axes that are a page: columns from the left, lines from the top, nothing else."""
    axes.set(xlim=(-0.3, columns + 0.3), ylim=(lines, -0.2))
    axes.axis("off")


def page_size(columns: int, lines: float) -> tuple[float, float]:
    """The size of a figure that holds such a page and a title, in inches."""
    return WIDTH * (columns + 0.6) + 0.1, HEIGHT * (lines + 0.2) + 0.35


def used(text: str, most: int) -> tuple[int, int]:
    """How many columns, at least enough for a title, and how many lines a text takes."""
    where = places(text, most)
    return max(TITLE, *(each.column + each.width for each in where)), where[-1].line + 1


def spans(text: str, values: np.ndarray, colour: Callable[[np.ndarray], tuple[np.ndarray, list[str]]]) -> str:
    """The text as HTML, a span for each character; its value under the pointer, its sign also as a line below it."""
    parts = []
    for c, value, background, ink in zip(text, values, *colour(values)):
        kind = "p" if value > 0 else "n" if value < 0 else "z"
        letter = html.escape(_letter(c)) + ("\n" if c == "\n" else "")
        style = f"background:{background};color:{ink}"
        parts.append(f'<span class="{kind}" style="{style}" title="{value:.4g}">{letter}</span>')
    return "".join(parts)
