"""Picture: what a step does to neighbouring states, and what many steps do."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .axes import COLOURS, INK, LOG, PAPER, QUIET, colour_bar, legend, log_scale, number, time_axis, whole_numbers
from .figure import Plot, host

WORK = 2e9  # n³ of all the steps whose eigenvalues are drawn: for wide nets not every step's


def jacobians(problem: tg.bptt.Problem, *, product: bool = True, text: str = "", title: str = "") -> Plot:
    """The spectra of ``J_t = ∂z_t/∂z_{t−1}`` along a run, and of their products over more and more steps.

        σ_i(J_t)      σ_i(J_{T−1} … J_s) at the lag T − s, beside e^{λ₁ (T − s)}      eigenvalues of J_t, beside |λ| = 1

    z is all of the state as one vector, of all rows: take a batch of one. σ are singular values, λ₁ the largest
    Lyapunov exponent of the run. ``product=False`` leaves the second panel out. Where the size of the state changes,
    there are no eigenvalues there, and no exponent; of a wide net, eigenvalues of some steps, evenly spaced. Not drawn:
    what of a product is within the rounding of its largest singular value, and products beyond floats. ``data``:
    ``steps`` (T, n), ``eigenvalues`` (T', n) and ``at`` (T',), their steps; with products ``products`` (T, n), from T
    factors to 1, NaN for those beyond floats, and ``lyapunov``. From ``tg.bptt.jacobians`` and what goes with it.
    Raises ValueError for a run without steps, and for one whose Jacobians are not finite.

    Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry",
    arXiv:1711.04735; exponents: Vogt et al. 2022, "On Lyapunov exponents for RNNs", arXiv:2006.14123.

    >>> step = lambda w, h, x: (w * h + x, None)
    >>> problem = tg.bptt.Problem(tg.tensor([0.5, 2.0], requires_grad=True), step, tg.zeros(2), tg.ones(3))
    >>> jacobians(problem).data["products"].tolist()
    [[8.0, 0.125], [4.0, 0.25], [2.0, 0.5]]
    """
    with np.errstate(over="ignore", invalid="ignore"):  # said below, with its place
        matrices = [host(matrix) for matrix in tg.bptt.jacobians(problem)]
    for t, matrix in enumerate(matrices):
        if not np.isfinite(matrix).all():
            raise ValueError(f"jacobians: the Jacobian of step {t} is not finite; draw the steps before it")
    square = [t for t, matrix in enumerate(matrices) if matrix.shape[0] == matrix.shape[1] > 0]
    at = _spread([t for t in square if matrices[t].shape == matrices[square[-1]].shape], matrices)
    data = {
        "steps": tg.bptt.singular_values(matrices).array,
        "eigenvalues": np.array([np.linalg.eigvals(matrices[t]) for t in at]),
        "at": np.array(at, int),
    }
    if product:
        with np.errstate(over="ignore", invalid="ignore"):
            products = tg.bptt.jacobian_products(matrices)
        finite = np.array([np.isfinite(each).all() for each in products])
        found = tg.bptt.singular_values([each if ok else 0 * matrices[0] for each, ok in zip(products, finite)]).array
        data["products"] = np.where(finite[:, None], found, np.nan)
        if len(square) == len(matrices):
            with np.errstate(over="ignore"):
                data["lyapunov"] = host(tg.bptt.lyapunov_exponents(problem, 1).array)

    def paint(figure: Any) -> None:
        columns = 2 + product
        row = figure.subplots(1, columns, width_ratios=(1.2, 1.2, 1)[-columns:])
        drawn = _dots(row[0], np.arange(len(matrices)), data["steps"])
        time_axis(row[0], len(matrices), text, room=16)
        row[0].set_ylabel("singular values of Jₜ")
        if product:
            lags = len(matrices) - np.arange(len(matrices))
            _dots(row[1], lags, data["products"])
            row[1].set(xlabel="lag: number of factors", ylabel="singular values of J … J")
            whole_numbers(row[1].xaxis)
            if "lyapunov" in data and np.isfinite(data["lyapunov"][0]):
                drawn.append(_exponent(row[1], lags, float(data["lyapunov"][0])))
        _circle(figure, row[-1], data["eigenvalues"], data["at"])
        legend(figure, drawn, ncols=4)

    default = "Jacobians of the steps: how neighbouring states part or meet"
    return Plot("jacobians", title or default, data, paint, (7.2 if product else 5.4, 2.9), text)


def _spread(steps: list[int], matrices: list[np.ndarray]) -> list[int]:
    """The steps, or some of them with the same distance, such that their eigenvalues are found in seconds."""
    if not steps:
        return []
    most = max(2, int(WORK / len(matrices[steps[0]]) ** 3))
    return steps if len(steps) <= most else [steps[i] for i in np.linspace(0, len(steps) - 1, most).round().astype(int)]


def _dots(axes: Any, x: np.ndarray, values: np.ndarray) -> list[Any]:
    """All singular values as dots, the largest with a line; a line at 1."""
    rounding = values[:, :1] * values.shape[1] * float(np.finfo(values.dtype).eps)
    known = np.where(values > rounding, values, np.nan)
    small, many = values.shape[1] <= 64, values.size > 20_000
    one = axes.axhline(1, color=QUIET, linewidth=0.8, label="1: neither part nor meet")
    others = axes.plot(x, known[:, 1:], "o", color=COLOURS[0], markersize=2 if small else 0.7, alpha=0.55,
                       rasterized=many, label="the others")  # fmt: skip
    (largest,) = axes.plot(x, known[:, 0], "-^", color=COLOURS[1], markersize=2.6, linewidth=1, label="the largest")
    if np.isfinite(known).any():
        log_scale(axes.yaxis, np.append(known, 1.0))
    return [largest, *others[:1], one]


def _exponent(axes: Any, lags: np.ndarray, exponent: float) -> Any:
    """The straight line of an exponent, as far as the singular values reach."""
    label = f"e^(λ₁ lag), λ₁ = {number(exponent)}"
    with np.errstate(over="ignore"):
        (line,) = axes.plot(lags, np.exp(exponent * lags), "--", color=INK, linewidth=1.2, label=label, scaley=False)
    return line


def _circle(figure: Any, axes: Any, eigenvalues: np.ndarray, at: np.ndarray) -> None:
    """Eigenvalues in the complex plane, the later the darker, and the unit circle."""
    angles = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angles), np.sin(angles), color=QUIET, linewidth=0.8)
    radius = 1.1 * max(1.0, float(abs(eigenvalues).max(initial=0)))
    axes.set(aspect="equal", xlabel="real part", ylabel="imaginary part", xlim=(-radius, radius),
             ylim=(-radius, radius))  # fmt: skip
    axes.set_title("eigenvalues of Jₜ, |λ| = 1")
    if eigenvalues.size:
        times = np.repeat(at, eigenvalues.shape[1])
        flat = eigenvalues.ravel()
        dots = axes.scatter(flat.real, flat.imag, c=times, cmap=LOG, s=9, edgecolors=PAPER, linewidths=0.2, zorder=2)
        if len(eigenvalues) > 1:
            whole_numbers(colour_bar(figure, dots, axes, "step t", shrink=0.7).ax.yaxis)
