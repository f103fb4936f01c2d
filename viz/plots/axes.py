"""Parts of which pictures are put together: lines and grids, logarithmic scales, axes that carry a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .figure import INK, PALE, PAPER, QUIET

COLOURS = ("#1f5fa8", "#c1440e", "#1b7f5c", "#7a3e9d", "#8a6d00", "#1a1a1a")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (7, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = "os^Dv"
LINEAR, LOG, SIGNED = "Blues", "cividis_r", "RdBu_r"  # white is 0; yellow is little; white is 0, red positive
DECADES = 12  # of a logarithmic colour scale
TITLES = 2500  # cells of a grid that have their value under the pointer; larger grids are images
BLANKS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Look(NamedTuple):
    """How one line differs from the others: by colour, by dash, and by marker."""

    color: str
    linestyle: Any
    marker: str


def look(i: int) -> Look:
    """The look of line i; 30 different ones."""
    return Look(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])


def shown(character: str) -> str:
    """A character as it can be seen: blanks as symbols, what has no form as a dot.

    >>> shown(" "), shown("a"), shown(chr(7))
    ('␣', 'a', '·')
    """
    return BLANKS.get(character) or (character if character.isprintable() else "·")


def power(value: float, _: Any = None) -> str:
    """A power of ten in Unicode, other numbers as nothing.

    >>> power(1e-12), power(1.0), power(2.0)
    ('10⁻¹²', '1', '')
    """
    exponent = round(math.log10(value)) if value > 0 else 0
    if not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return ""
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {0: "1", 1: "10"}.get(exponent) or f"10{raised}"


def log_scale(axis: Any) -> None:
    """Make the x or y axis of axes that have their data logarithmic."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    log_ticks(axis)


def log_ticks(axis: Any) -> None:
    """Powers of ten as the numbers of a logarithmic axis; within one power, some numbers between."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

    low, high = sorted(axis.get_view_interval())
    if high / low < 30:
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_major_formatter(ScalarFormatter())
    else:
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_major_formatter(FuncFormatter(power))
    axis.set_minor_formatter(NullFormatter())


def log_line(axes: Any, values: np.ndarray, look: Look, label: str) -> Any:
    """A line through the positive values, on a logarithmic axis.

    A mark at the lower edge where a value is 0, at the upper one where it is infinite or not a number.
    """
    times, positive = np.arange(len(values)), np.isfinite(values) & (values > 0)
    shape = {"color": look.color, "marker": look.marker, "markersize": 3.2}
    (line,) = axes.plot(
        times, np.where(positive, values, np.nan), linestyle=look.linestyle, label=label,
        markevery=max(1, len(values) // 12), **shape,
    )  # fmt: skip
    edge = axes.get_xaxis_transform()
    for height, there in ((0, values == 0), (1, ~np.isfinite(values))):
        if there.any():
            where = times[there]
            axes.plot(where, np.full(len(where), height), ls="", transform=edge, clip_on=False, mfc=PAPER, **shape)
    return line


def time_axis(axes: Any, steps: int, text: str = "", *, room: int = 100) -> None:
    """Steps along x; each with its character, where there is room for as many."""
    from matplotlib.ticker import MaxNLocator

    if text and steps <= room:
        axes.set_xticks(range(steps), [shown(c) for c in text[:steps]], rotation=0, fontsize=8 if steps <= 60 else 6)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("what is read, step by step")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step t")


def grid(
    axes: Any, values: np.ma.MaskedArray, notes: Sequence[str] = (), *, gid: str, **options: Any
) -> tuple[Any, dict[str, Sequence[str]]]:
    """A cell for each value, row 0 at the top; and the notes for the cells, for `Plot.paint`, unless they are many."""
    rows, columns = values.shape
    many = values.size > TITLES
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    mesh = axes.pcolormesh(*edges, values, rasterized=many, linewidth=0, gid=gid, **options)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    return mesh, {} if many else {gid: notes}


def colour_bar(figure: Any, mesh: Any, axes: Any, label: str, *, log: bool = False, **options: Any) -> Any:
    """The scale of a grid's colours."""
    bar = figure.colorbar(mesh, ax=axes, label=label, **options)
    bar.outline.set_visible(False)
    if log:
        log_ticks(bar.ax.xaxis if options.get("orientation") == "horizontal" else bar.ax.yaxis)
    return bar


def legend(figure: Any, axes: Any, **options: Any) -> Any:
    """Which line is which, below the axes and never over the lines."""
    return figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", handlelength=3.2, **options)


__all__ = [
    "COLOURS", "DASHES", "DECADES", "INK", "LINEAR", "LOG", "PALE", "PAPER", "QUIET", "SIGNED", "Look", "colour_bar",
    "grid", "legend", "log_line", "log_scale", "log_ticks", "look", "power", "shown", "time_axis",
]  # fmt: skip
