"""What a picture shows beside values and lines: chunk boxes, scissors, sums below a gap, bars; rectangles with text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import style
from .box import Box

if TYPE_CHECKING:
    from .layout import Layout

Along = Callable[["Layout"], Iterable["Mark"]]
Below = Callable[[float, float], Iterable["Mark"]]  # left end and top of the free space below the drawing
Line = tuple[str, float, bool]  # text, size, bold


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle with lines of text: `fill` and `line` are its colours (none: not drawn), `behind` all else or not.

    Lines begin at the same x with `align` "left".
    """

    name: str
    box: Box
    lines: tuple[Line, ...] = ()
    fill: str = ""
    line: str = ""
    dash: str = "solid"
    ink: str = style.INK
    tooltip: str = " "
    behind: bool = False
    align: str = "middle"


def text(
    name: str, words: Iterable[str], x: float, top: float, *, size: float = style.SMALL, ink: str = style.INK,
    align: str = "middle", bold: bool = False, tooltip: str = " ",
) -> Mark:  # fmt: skip
    """Lines of text below `top`; x is their middle, or with `align="left"` where the longest begins."""
    lines = tuple((line, size, bold) for line in words)
    width = max(style.text_width(line, size) for line, _, _ in lines) * (1.1 if bold else 1.0) + size / 2
    height = 1.3 * size * len(lines) + 4
    return Mark(name, Box(x + (width / 2 if align == "left" else 0.0), top - height / 2, width, height), lines,
                ink=ink, tooltip=tooltip, align=align)  # fmt: skip
