"""Picture: what a decoder looked at for each symbol that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from .axes import COLOURS, LINEAR, QUIET, colour_bar, grid, shown, whole_numbers
from .figure import Plot, host
from .textgrid import readable

Drawn = tuple[Callable[[Any], dict[str, Any]], tuple[float, float]]  # what paints a figure, and its size
NAMED = 80  # tokens, up to which each is written beside the table
ROUNDING = 1e-3  # how far the weights of a row may be from 1, in the floats of any model


def attention(
    weights: Any, source: Sequence[str], target: Sequence[str], *, view: str = "table", title: str = ""
) -> Plot:
    """The weights of attention as a table: a row for each symbol written, a column for each symbol read.

        c_t = Σ_j α_tj h_j,   α_tj ≥ 0,   Σ_j α_tj = 1

    ``weights``: (T', T), or (T', 1, T) as ``EncoderDecoder.alignment`` gives them for a batch of one. ``source`` and
    ``target``: their tokens, words or characters in any script; in SVG they are text. ``view``: "table", or "lines"
    from what is read to what is written, as wide as the weights. ``data``: ``weights``. Raises ValueError where sizes
    do not fit, where rows are no weights, and for another view.

    Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, figure 3.

    >>> attention([[0.25, 0.75], [1.0, 0.0]], ["das", "Haus"], ["house", "the"]).data["weights"].shape
    (2, 2)
    """
    if view not in VIEWS:
        raise ValueError(f"attention: view={view!r} is none of {', '.join(VIEWS)}")
    values = host(weights)
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (len(target), len(source)):
        raise ValueError(
            f"attention: weights {values.shape} for {len(target)} target and {len(source)} source tokens; they are "
            "(target, source) of one sequence: of a batch, weights[:, row, : length]"
        )
    if values.size == 0 or not ((values >= 0).all() and np.allclose(values.sum(1), 1, atol=ROUNDING)):
        sums = ", ".join(f"{each:.4g}" for each in values.sum(1)[:5])
        raise ValueError(f"attention: weights are at least 0 and rows add up to 1; these add up to {sums or 0}")
    rows, columns = ([_legible(token) for token in tokens] for tokens in (target, source))
    notes = [f"{t} ← {s}: {value:.6g}" for t, row in zip(rows, values) for s, value in zip(columns, row)]
    paint, size = VIEWS[view](values, rows, columns, notes)
    default = "Attention: what each symbol was written from"
    return Plot("attention", title or default, {"weights": values}, paint, size, "".join([*rows, *columns]))


def _table(values: np.ndarray, rows: list[str], columns: list[str], notes: list[str]) -> Drawn:
    longest = max(map(len, columns)) if values.shape[1] <= NAMED else 4
    cell = 0.34 if max(values.shape) <= 24 else 0.2 if max(values.shape) <= NAMED else 12 / max(values.shape)

    def paint(figure: Any) -> dict[str, Any]:
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        axes = figure.add_subplot()
        colours = {"cmap": LINEAR, "vmin": 0, "vmax": 1, "edgecolors": "#e4e7eb"}
        mesh, found = grid(axes, np.ma.asarray(values), notes, gid="weights", **colours)
        mesh.set_linewidth(0.5)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        turned = {"rotation": 60, "ha": "left", "rotation_mode": "anchor"} if longest > 2 else {}
        for axis, tokens, how in ((axes.xaxis, columns, turned), (axes.yaxis, rows, {})):
            if len(tokens) <= NAMED:
                axis.set_ticks(range(len(tokens)), tokens, **how)
                axis.set_tick_params(length=0)
            else:
                whole_numbers(axis)  # by their places
        axes.set(aspect="equal", xlabel="read →", ylabel="← written" if len(rows) > 1 else "written")
        axes.spines[:].set_visible(False)
        if cell > 0.3:
            inks = readable([to_hex(colour) for colour in colormaps[LINEAR](np.linspace(0, 1, 101))])
            for (t, j), value in np.ndenumerate(values):
                if value >= 0.005:
                    text = f"{value:.2f}".lstrip("0") if value < 0.995 else "1"
                    ink = inks[round(100 * value)]
                    axes.text(j, t, text, ha="center", va="center", fontsize=6.5, color=ink)
        colour_bar(figure, mesh, axes, "weight α", shrink=0.7, aspect=18, ticks=(0, 0.5, 1))
        return found

    widest = max(map(len, rows)) if len(rows) <= NAMED else 4
    size = (2.0 + cell * len(columns) + 0.09 * widest, 1.4 + cell * len(rows) + 0.08 * longest)
    return paint, (max(size[0], 4.2), max(size[1], 2.6))


def _lines(values: np.ndarray, rows: list[str], columns: list[str], notes: list[str]) -> Drawn:
    """What was read above, what was written below, between them a line for each weight, as wide as it is large."""
    most = max(values.shape)
    below, above = (np.linspace(0, most - 1, n) if n > 1 else np.array([(most - 1) / 2]) for n in values.shape)

    def paint(figure: Any) -> dict[str, Any]:
        from matplotlib.collections import LineCollection

        axes = figure.add_subplot()
        pairs = [[(above[j], 1), (below[t], 0)] for t in range(len(rows)) for j in range(len(columns))]
        axes.add_collection(
            LineCollection(pairs, linewidths=4 * values.ravel(), colors=COLOURS[0], alpha=0.7, gid="weights")
        )
        for tokens, x, y, side in ((columns, above, 1.04, "bottom"), (rows, below, -0.04, "top")):
            for token, at in zip(tokens, x):
                turned = {"rotation": 60, "rotation_mode": "anchor"} if len(token) > 8 else {}
                axes.text(at, y, token, ha="center", va=side, **turned)
        axes.text(-0.8, 1.04, "read", ha="right", va="bottom", color=QUIET)
        axes.text(-0.8, -0.04, "written", ha="right", va="top", color=QUIET)
        axes.set(xlim=(-2.2, most - 0.4), ylim=(-0.2, 1.2))
        axes.axis("off")
        return {"weights": notes}

    letters = sum(1.5 + max(1, *map(len, pair)) for pair in zip_longest(rows, columns, fillvalue=""))
    return paint, (min(max(4.2, 1.2 + 0.085 * letters), 40.0), 2.8)


VIEWS = {"table": _table, "lines": _lines}


def _legible(token: str) -> str:
    """A token as it is; what is blank alone, or has no form, as a symbol."""
    return "∅" if not token else "".join(c if c == " " and token.strip() else shown(c) for c in token)
