"""Picture: what a decoder looked at for each symbol that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .axes import LINEAR, PAPER, colour_bar, grid, shown
from .figure import INK, Plot, host

ROUNDING = 1e-3  # how far the weights of a row may be from 1, in the floats of any model


def attention(weights: Any, source: Sequence[str], target: Sequence[str], *, title: str = "") -> Plot:
    """The weights of attention as a table: a row for each symbol written, a column for each symbol read.

        c_t = Σ_j α_tj h_j,   α_tj ≥ 0,   Σ_j α_tj = 1

    ``weights``: (T', T), or (T', 1, T) as ``EncoderDecoder.alignment`` gives them for a batch of one. ``source`` and
    ``target``: their tokens, words or characters in any script; in SVG they are text. ``data``: ``weights``. Raises
    ValueError where sizes do not fit and where rows are no weights.

    Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, figure 3.

    >>> attention([[0.25, 0.75], [1.0, 0.0]], ["das", "Haus"], ["house", "the"]).data["weights"].shape
    (2, 2)
    """
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
    longest = max(map(len, columns))
    cell = 0.34 if max(values.shape) <= 24 else 0.2

    def paint(figure: Any) -> dict[str, Any]:
        axes = figure.add_subplot()
        words = [f"{t} ← {s}: {value:.6g}" for t, row in zip(rows, values) for s, value in zip(columns, row)]
        mesh, notes = grid(
            axes, np.ma.asarray(values), words, gid="weights", cmap=LINEAR, vmin=0, vmax=1, edgecolors="#e4e7eb"
        )
        mesh.set_linewidth(0.5)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        turned = {"rotation": 60, "ha": "left", "rotation_mode": "anchor"} if longest > 2 else {}
        axes.set_xticks(range(len(columns)), columns, **turned)
        axes.set_yticks(range(len(rows)), rows)
        axes.set(aspect="equal", xlabel="read", ylabel="written ↓")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if cell > 0.3:
            for (t, j), value in np.ndenumerate(values):
                if value >= 0.005:
                    text = f"{value:.2f}".lstrip("0") if value < 0.995 else "1"
                    axes.text(j, t, text, ha="center", va="center", fontsize=6.5, color=PAPER if value > 0.55 else INK)
        colour_bar(figure, mesh, axes, "weight α", shrink=0.7, aspect=18, ticks=(0, 0.5, 1))
        return notes

    size = (2.0 + cell * len(columns) + 0.09 * max(map(len, rows)), 1.4 + cell * len(rows) + 0.08 * longest)
    size = (max(size[0], 4.2), max(size[1], 2.6))
    default = "Attention: what each symbol was written from"
    return Plot("attention", title or default, {"weights": values}, paint, size, "".join([*rows, *columns]))


def _legible(token: str) -> str:
    """A token as it is; what is blank alone, or has no form, as a symbol."""
    return "".join(c if c == " " and token.strip() else shown(c) for c in token)
