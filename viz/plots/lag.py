"""Picture: which step's loss gets how much of its gradient from which earlier use of a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import COLOURS, DECADES, LOG, PALE, QUIET, colour_bar, grid, log_ticks, shown
from .figure import Plot, host


def lag(problem: tg.bptt.Problem, wrt: str | None = None, *, text: str = "", title: str = "") -> Plot:
    """The lag map: the norm of ``C[t, τ]``, the part of dℓ_t/dθ that goes through the use of θ at step τ ≤ t.

        right:  ‖Σ_τ C[t, τ]‖ = ‖dℓ_t/dθ‖        below:  ‖Σ_t C[t, τ]‖, what the use of θ at τ adds to ∂L/∂θ

    Rows are losses, columns are uses of the parameter ``wrt``, one of ``tg.bptt.parameter_names``, or of all of them.
    Colours are logarithmic over at most 12 powers of ten; parts that are exactly 0 are grey with a dot, and above the
    diagonal, where a use comes after the loss, there is nothing. ``data``: ``norms`` (T, T), ``losses`` and ``uses``
    (T,), from ``tg.bptt.lag_matrix``. Raises ValueError for another name, where no loss depends on the parameters, and,
    with what it would take, for a run too long to keep T² gradients of.

    After Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, equation 4: the terms of the sum, each as a cell.

    >>> step = lambda w, h, x: (w * h + x, w * h + x)
    >>> problem = tg.bptt.Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(1.0), tg.ones(3))
    >>> lag(problem).data["norms"].tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.25, 0.75, 1.75]]
    """
    arrays = host(tg.bptt.lag_matrix(problem, wrt, arrays=True).array)
    norms, losses, uses = _norm(arrays, 2), _norm(arrays.sum(1), 1), _norm(arrays.sum(0), 1)
    if not norms.any():
        raise ValueError(f"lag: no loss of this run depends on {wrt or 'its parameters'}; there is nothing to draw")
    T = len(norms)
    where = f" {wrt}" if wrt else ""

    def paint(figure: Any) -> dict[str, Any]:
        parts = figure.subplots(2, 2, width_ratios=(5, 1), height_ratios=(5, 1), sharex="col", sharey="row")
        (main, right), (below, corner) = parts
        corner.set_visible(False)
        past = np.tril(np.ones((T, T), bool))
        top = norms.max()
        scale = {"vmin": max(norms[norms > 0].min(), top * 10.0**-DECADES), "vmax": top}
        from matplotlib.colors import ListedColormap, LogNorm

        if scale["vmin"] == top:
            scale = {"vmin": top / 10, "vmax": top}
        zero = past & (norms == 0)
        if zero.any():
            main.annotate("grey: exactly 0", (0.98, 0.96), xycoords="axes fraction", ha="right", color=QUIET)
            grid(main, np.ma.masked_where(~zero, norms), gid="zeros", cmap=ListedColormap([PALE]))
            if T <= 60:
                rows, columns = np.nonzero(zero)
                main.plot(columns, rows, ".", color=QUIET, markersize=2)
        words = [f"loss {t}, use {tau}: {norms[t, tau]:.6g}" for t in range(T) for tau in range(T)]
        mesh, notes = grid(
            main, np.ma.masked_where(norms == 0, norms), words, gid="lag", cmap=LOG, norm=LogNorm(**scale)
        )
        main.set(ylabel="loss at step t")
        main.xaxis.set_visible(False)
        if text and T <= 40:
            main.set_yticks(range(T), [shown(c) for c in text[:T]])
        if text and T <= 60:
            below.set_xticks(range(T), [shown(c) for c in text[:T]], fontsize=8 if T <= 40 else 6)
        steps = np.arange(T)
        right.barh(steps, losses, color=COLOURS[0], height=0.8)
        below.bar(steps, uses, color=COLOURS[0], width=0.8)
        right.set_xlabel("‖dℓₜ/dθ‖")
        below.set(ylabel="‖Σₜ C‖", xlabel=f"use of θ ={where} at step τ" if where else "use of θ, all parameters, at step τ")
        for axis, each in ((right.xaxis, losses), (below.yaxis, uses)):
            axis.set_ticks([0, each.max()], ["0", f"{each.max():.2g}"])
        right.tick_params(axis="x", labelbottom=True)
        right.tick_params(axis="y", length=0)
        bar = colour_bar(figure, mesh, parts.ravel().tolist(), "‖C[t, τ]‖", log=True, shrink=0.8)
        if norms[norms > 0].min() < scale["vmin"]:
            bar.ax.set_xlabel(f"≤ 10⁻{DECADES}", fontsize=7)
        log_ticks(bar.ax.yaxis)
        return notes

    default = f"Lag map of{where or ' all parameters'}: where the gradient of each loss comes from"
    return Plot("lag", title or default, {"norms": norms, "losses": losses, "uses": uses}, paint, (6.4, 5.4), text)


def _norm(arrays: np.ndarray, first: int) -> np.ndarray:
    """Over all axes from ``first`` on."""
    return np.sqrt((arrays**2).sum(axis=tuple(range(first, arrays.ndim))))
