"""Picture: which step's loss gets how much of its gradient from which earlier use of a parameter."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

from .axes import COLOURS, DECADES, LOG, PALE, QUIET, colour_bar, grid, number, shown, whole_numbers
from .figure import Plot, host
from .nudge import NUDGED, nudged


class Labels(NamedTuple):
    """What is written on the map of something: a cell, the margins, the columns, how gradients reach it, the title."""

    cell: str
    losses: str
    uses: str
    column: str
    way: str
    title: str


LABELS = {
    "θ": Labels("‖C[t, τ]‖", "‖dℓₜ/dθ‖", "‖Σₜ C‖", "use of θ = {} at step τ", "the use of θ at step τ",
                "Lag map of {}: where the gradient of each loss comes from"),
    "x": Labels("‖∂ℓₜ/∂xτ‖", "‖∂ℓₜ/∂x‖", "‖∂L/∂xτ‖", "input of step τ", "the input of step τ",
                "Lag map of the inputs: how each loss depends on what was read"),
    "state": Labels("‖∂ℓₜ/∂zτ₋₁‖", "over all τ", "‖∂L/∂zτ₋₁‖", "state that step τ receives",
                    "the state that step τ receives", "Lag map of the states: how far each loss reaches back"),
}  # fmt: skip
MOST = 20_000_000  # numbers of all parts together, up to which they are kept to be added up


def lag(problem: tg.bptt.Problem, wrt: str | None = None, *, text: str = "", title: str = "") -> Plot:
    """The lag map: the norm of ``C[t, τ]``, the part of dℓ_t/dθ that goes through the use of θ at step τ ≤ t.

        right:  ‖Σ_τ C[t, τ]‖ = ‖dℓ_t/dθ‖        below:  ‖Σ_t C[t, τ]‖, what the use of θ at τ adds to ∂L/∂θ

    Rows are losses, columns are uses of the parameter ``wrt``, one of ``tg.bptt.parameter_names``, or of all of them.
    With "x" or "state" a cell is ‖∂ℓ_t/∂x_τ‖, or ‖∂ℓ_t/∂z_{τ−1}‖, right is its row's norm, below ‖∂L/∂x_τ‖. Colours
    are logarithmic over at most 12 powers of ten; parts that are exactly 0 are grey with a dot, and above the diagonal,
    where a use comes after the loss, there is nothing. ``data``: ``norms`` (T, T), ``losses`` and ``uses`` (T,), from
    ``tg.bptt.lag_matrix``; the sums, and the margins, are left out where T² gradients have more than 20 million
    numbers. Raises ValueError for another name, where no loss depends on the parameters, where gradients are not
    finite, and where inputs or states are no real numbers of one shape.

    After Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, equation 4: the terms of the sum, each as a cell.

    >>> step = lambda w, h, x: (w * h + x, w * h + x)
    >>> problem = tg.bptt.Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(1.0), tg.ones(3))
    >>> lag(problem).data["norms"].tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.25, 0.75, 1.75]]
    """
    what = wrt if wrt in NUDGED and wrt not in tg.bptt.parameter_names(problem.parameters) else "θ"
    label, name = LABELS[what], wrt or "all parameters"
    if what != "θ":
        problem, wrt = nudged(problem, what), None
    names, leaves = tg.bptt.parameter_names(problem.parameters), tg.tree.leaves(problem.parameters)
    sizes = [leaf.size for name, leaf in zip(names, leaves, strict=True) if wrt in (None, name)]
    whole = len(problem) ** 2 * sum(sizes) <= MOST  # then kept, so that parts can be added up
    with np.errstate(over="ignore", invalid="ignore"):  # said below, with its place
        found = host(tg.bptt.lag_matrix(problem, wrt, arrays=whole).array)
        norms = _norm(found, 2) if whole else found
    if not np.isfinite(norms).all():
        t, tau = np.argwhere(~np.isfinite(norms))[0]
        raise ValueError(f"lag: C[{t}, {tau}] is {norms[t, tau]}, no finite number; draw the steps before it")
    if not norms.any():
        raise ValueError(
            f"lag: all parts are 0: no loss of this run depends on {name}, or by less than {norms.dtype} holds; "
            "there is nothing to draw"
        )
    data = {"norms": norms}
    if whole:
        data |= {"losses": _norm(found.sum(1) if what == "θ" else found, 1), "uses": _norm(found.sum(0), 1)}
    T = len(norms)
    past = np.tril(np.ones((T, T), bool))
    zero = past & (norms == 0)
    top, least = norms.max(), norms[norms > 0].min()
    lowest = max(least if least < top else top / 10, top * 10.0**-DECADES)
    words = [f"loss {t}, use {tau}: {norms[t, tau]:.6g}" for t in range(T) for tau in range(T)]
    letters = [shown(c) for c in text[:T]]

    def paint(figure: Any) -> Any:
        from matplotlib.colors import ListedColormap, LogNorm

        if whole:
            parts = figure.subplots(2, 2, width_ratios=(5, 1), height_ratios=(5, 1), sharex="col", sharey="row")
            main, bottom = parts[0, 0], parts[1, 0]
            parts[1, 1].set_visible(False)
            main.xaxis.set_visible(False)
            _margins(parts[0, 1], bottom, data["losses"], data["uses"], label)
        else:
            parts = np.array([figure.add_subplot()])
            main = bottom = parts[0]
        if zero.any():
            grid(main, np.ma.masked_where(~zero, norms), gid="zeros", cmap=ListedColormap([PALE]))
            if T <= 60:
                rows, columns = np.nonzero(zero)
                main.plot(columns, rows, ".", color=QUIET, markersize=2)
        colours = {"cmap": LOG, "norm": LogNorm(lowest, top)}
        mesh, notes = grid(main, np.ma.masked_where(norms == 0, norms), words, gid="lag", **colours)
        if T > 4:
            about = f"row t: the gradient of the loss of step t\ncolumn τ: by way of {label.way}"
            main.text(0.98, 0.97, about, ha="right", va="top", color=QUIET, fontsize=8, transform=main.transAxes,
                      linespacing=1.5)  # fmt: skip
        main.set_ylabel("loss at step t")
        whole_numbers(main.yaxis)
        whole_numbers(bottom.xaxis)
        if letters and T <= 40:
            main.set_yticks(range(len(letters)), letters, fontsize=8 if T <= 24 else 7)
        if letters and T <= 50:
            bottom.set_xticks(range(len(letters)), letters, fontsize=8 if T <= 40 else 7)
        bottom.set_xlabel(label.column.format(name) + ("\ngrey, dotted: exactly 0" if zero.any() else ""))
        bar = colour_bar(figure, mesh, parts.ravel().tolist(), label.cell, log=True, shrink=0.7, aspect=28)
        if least < lowest:
            bar.ax.set_xlabel("or less", fontsize=7)
        return notes

    return Plot("lag", title or label.title.format(name), data, paint, (6.4, 5.4), text)


def _margins(right: Any, below: Any, losses: np.ndarray, uses: np.ndarray, label: Labels) -> None:
    """What the rows of the map add up to, and its columns."""
    steps = np.arange(len(uses))
    right.barh(steps, losses, color=COLOURS[0], height=0.8)
    below.bar(steps, uses, color=COLOURS[0], width=0.8)
    right.xaxis.tick_top()
    right.xaxis.set_label_position("top")
    right.spines[["top", "bottom"]].set_visible([True, False])
    right.set_xlabel(label.losses)
    below.set_ylabel(label.uses)
    for axis, each in ((right.xaxis, losses), (below.yaxis, uses)):
        axis.set_ticks([0, each.max()], ["0", number(each.max())])
    right.tick_params(axis="x", labeltop=True, labelbottom=False)
    right.tick_params(axis="y", length=0)


def _norm(arrays: np.ndarray, first: int) -> np.ndarray:
    """Over all axes from ``first`` on; scaled by the largest entry, whose square may be 0 where it is not."""
    axes = tuple(range(first, arrays.ndim))
    largest = abs(arrays).max(axis=axes, initial=0)
    scale = np.where(largest > 0, largest, 1).astype(arrays.dtype)
    return scale * np.sqrt(((arrays / np.expand_dims(scale, axes)) ** 2).sum(axis=axes))
