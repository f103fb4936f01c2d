"""Picture: what a step does to neighbouring states, and what many steps do."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import COLOURS, LOG, PAPER, QUIET, colour_bar, log_scale, time_axis
from .figure import Plot, host


def jacobians(problem: tg.bptt.Problem, *, product: bool = True, text: str = "", title: str = "") -> Plot:
    """The spectra of ``J_t = ∂z_t/∂z_{t−1}`` along a run, and of their products over more and more steps.

        σ_i(J_t)      σ_i(J_{T−1} … J_s) at the lag T − s, beside e^{λ₁ (T − s)}      eigenvalues of J_t, beside |λ| = 1

    z is all of the state as one vector, of all rows: take a batch of one. σ are singular values, λ₁ the largest
    Lyapunov exponent of the run. ``product=False`` leaves the second panel out. Where the size of the state changes,
    there are no eigenvalues there, and no exponent. ``data``: ``steps`` (T, n), ``eigenvalues`` (T', n), and with
    products ``products`` (T, n), from T factors to 1, and ``lyapunov``. From ``tg.bptt.jacobians`` and what goes with
    it. Raises ValueError for a run without steps, and for one whose Jacobians are not finite.

    Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry",
    arXiv:1711.04735; exponents: Vogt et al. 2022, "On Lyapunov exponents for RNNs", arXiv:2006.14123.

    >>> step = lambda w, h, x: (w * h + x, None)
    >>> problem = tg.bptt.Problem(tg.tensor([0.5, 2.0], requires_grad=True), step, tg.zeros(2), tg.ones(3))
    >>> jacobians(problem).data["products"].tolist()
    [[8.0, 0.125], [4.0, 0.25], [2.0, 0.5]]
    """
    matrices = [host(matrix) for matrix in tg.bptt.jacobians(problem)]
    for t, matrix in enumerate(matrices):
        if not np.isfinite(matrix).all():
            raise ValueError(f"jacobians: the Jacobian of step {t} is not finite; take fewer steps")
    square = [matrix for matrix in matrices if matrix.shape[0] == matrix.shape[1] > 0]
    data = {
        "steps": tg.bptt.singular_values(matrices).array,
        "eigenvalues": np.array([np.linalg.eigvals(m) for m in square if m.shape == square[-1].shape]),
    }
    if product:
        data["products"] = tg.bptt.singular_values(tg.bptt.jacobian_products(matrices)).array
        if len(square) == len(matrices):
            data["lyapunov"] = host(tg.bptt.lyapunov_exponents(problem, 1).array)

    def paint(figure: Any) -> None:
        columns = 2 + product
        row = figure.subplots(1, columns, width_ratios=(1.25, 1.25, 1)[-columns:])
        _dots(row[0], np.arange(len(matrices)), data["steps"])
        time_axis(row[0], len(matrices), text, room=36)
        row[0].set_ylabel("singular values of Jₜ")
        if product:
            lags = len(matrices) - np.arange(len(matrices))
            _dots(row[1], lags, data["products"])
            row[1].set(xlabel="lag: number of factors", ylabel="singular values of J … J")
            row[1].locator_params("x", integer=True)
            if "lyapunov" in data and np.isfinite(data["lyapunov"][0]):
                _exponent(row[1], lags, float(data["lyapunov"][0]))
        _circle(figure, row[-1], data["eigenvalues"])

    default = "Jacobians of the steps: how neighbouring states part or meet"
    return Plot("jacobians", title or default, data, paint, (10.4 if product else 7.2, 3.4), text)


def _dots(axes: Any, x: np.ndarray, values: np.ndarray) -> None:
    """All singular values as dots, the largest with a line; a line at 1."""
    axes.axhline(1, color=QUIET, linewidth=0.8)
    positive = np.where(values > 0, values, np.nan)
    small, many = values.shape[1] <= 64, values.size > 20_000
    axes.plot(x, positive[:, 1:], "o", color=COLOURS[0], markersize=2 if small else 0.7, alpha=0.55, rasterized=many)
    axes.plot(x, positive[:, 0], "-o", color=COLOURS[1], markersize=2.6, linewidth=1, label="largest")
    if np.isfinite(positive).any():
        top, least = np.nanmax(positive), np.nanmin(positive)
        rounding = top * float(np.finfo(values.dtype).eps)
        axes.set_ylim(max(least, rounding) / 2, max(top, 1) * 2)
        log_scale(axes.yaxis)
    _legend(axes)


def _exponent(axes: Any, lags: np.ndarray, exponent: float) -> None:
    label = f"e^(λ₁ lag), λ₁ = {exponent:.3g}"
    axes.plot(lags, np.exp(exponent * lags), "--", color="#1a1a1a", linewidth=1.2, label=label)
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(loc="lower left", frameon=True, framealpha=0.9, edgecolor="none")


def _circle(figure: Any, axes: Any, eigenvalues: np.ndarray) -> None:
    """Eigenvalues in the complex plane, the later the darker, and the unit circle."""
    angles = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angles), np.sin(angles), color=QUIET, linewidth=0.8)
    axes.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
    axes.set_title("eigenvalues of Jₜ and |λ| = 1", loc="left")
    if eigenvalues.size:
        times = np.repeat(np.arange(len(eigenvalues)), eigenvalues.shape[1])
        flat = eigenvalues.ravel()
        dots = axes.scatter(flat.real, flat.imag, c=times, cmap=LOG, s=9, edgecolors=PAPER, linewidths=0.2, zorder=2)
        if len(eigenvalues) > 1:
            colour_bar(figure, dots, axes, "step t", shrink=0.8).ax.locator_params(nbins=4)
