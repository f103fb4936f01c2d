"""Parts of which pictures are put together: lines and grids, logarithmic scales, axes that carry a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .figure import INK, PALE, PAPER, QUIET, legible

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
    return BLANKS.get(character) or legible(character)


def power(value: float, _: Any = None) -> str:
    """A power of ten in Unicode, other numbers as nothing.

    >>> power(1e-12), power(1.0), power(2.0)
    ('10⁻¹²', '1', '')
    """
    exponent = round(math.log10(value)) if 0 < value < math.inf else 0
    if not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return ""
    return {0: "1", 1: "10"}.get(exponent) or f"10{_raised(exponent)}"


def number(value: float, _: Any = None) -> str:
    """A number of three digits as it is set in print.

    >>> number(-0.1384), number(1.1755e-38), number(2e6)
    ('−0.138', '1.18·10⁻³⁸', '2·10⁶')
    """
    digits, _, exponent = f"{value:.3g}".partition("e")
    return digits.replace("-", "−") + (f"·10{_raised(int(exponent))}" if exponent else "")


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def log_scale(axis: Any, values: np.ndarray) -> None:
    """A logarithmic x or y axis, with room for the values, of any size that floats can have."""
    exponents = np.log10(values[np.isfinite(values) & (values > 0)])
    room = max(0.05 * float(np.ptp(exponents)), 0.15)
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    limits = 10 ** max(exponents.min() - room, -323.0), 10 ** min(exponents.max() + room, 308.0)
    getattr(axis.axes, f"set_{axis.axis_name}lim")(*limits)
    log_ticks(axis)


def log_ticks(axis: Any) -> None:
    """Powers of ten as the numbers of a logarithmic axis; within few of them, some numbers between."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if high < 300 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1, 3)))
        axis.set_major_formatter(FuncFormatter(number))
    else:
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_major_formatter(FuncFormatter(power))
    axis.set_minor_formatter(NullFormatter())


def log_line(axes: Any, values: np.ndarray, look: Look, label: str) -> Any:
    """A line through the positive values, on a logarithmic axis.

    A mark at the lower edge where a value is 0, at the upper one where it is infinite or not a number.
    """
    times, positive = np.arange(len(values)), np.isfinite(values) & (values > 0)
    width = 1.5 if len(values) <= 200 else 0.8
    shape = {"color": look.color, "marker": look.marker, "markersize": 3.2, "linewidth": width}
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


def time_axis(axes: Any, steps: int, text: str = "", *, room: int = 80) -> None:
    """Steps along x; each with its character, where there is room for as many."""
    if text and steps <= room:
        axes.set_xticks(range(steps), [shown(c) for c in text[:steps]], fontsize=8 if steps <= 0.6 * room else 7)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("what is read, step by step")
    else:
        whole_numbers(axes.xaxis)
        axes.set_xlabel("step t")


def whole_numbers(axis: Any) -> None:
    """Whole numbers alone along an axis, however short it is."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


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


def legend(figure: Any, handles: Sequence[Any], **options: Any) -> Any:
    """Which line is which, below the axes and never over the lines."""
    labels = [str(handle.get_label()) for handle in handles]
    return figure.legend(handles, labels, loc="outside lower left", handlelength=3.2, **options)


__all__ = [
    "COLOURS", "DASHES", "DECADES", "INK", "LINEAR", "LOG", "PALE", "PAPER", "QUIET", "SIGNED", "Look", "colour_bar",
    "grid", "legend", "log_line", "log_scale", "log_ticks", "look", "number", "power", "shown", "time_axis",
    "whole_numbers",
]  # fmt: skip
