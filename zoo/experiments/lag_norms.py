"""How the error signal fades on its way back: norms of ∂L_T/∂s_t by lag, for a plain net and for gated ones.

The loss is at the end of a long sequence (the temporal order problem), so what reaches the state t = T − 1 − lag went
through ``lag`` steps and nothing else. Measured in float64 before training and after a little of it; ``factor`` is what
a step does to the norm on average, e to the slope of the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.experiments import Claim, Result
from zoo.tasks.temporal_order import CLASSES, SYMBOLS, draw

CONTRACTION = 0.95  # the largest singular value of the recurrent weights of the net that cannot stretch a message
ALWAYS_OPEN = 40.0  # the bias of a gate that might as well not be there: 1 − σ is 4e-18


@dataclass(frozen=True)
class Sizes:
    """The length of sequences, units, and how long nets are trained on how many rows."""

    T: int = 100
    hidden: int = 32
    updates: int = 1000
    batch: int = 32
    rows: int = 64  # that norms are measured on


def contractive(hidden: int, rng: tg.random.Generator, T: int) -> zoo.Cell:
    """A plain net none of whose steps can stretch a message."""
    cell = zoo.ElmanRNN(len(SYMBOLS), hidden, rng=rng)
    U = rng.fork("gaussian").normal((hidden, hidden), dtype="float64").numpy()
    cell.U.data = (CONTRACTION * U / np.linalg.norm(U, 2)).astype(np.float32)
    return cell


def without_forget_gate(hidden: int, rng: tg.random.Generator, T: int) -> zoo.Cell:
    return zoo.LSTM(len(SYMBOLS), hidden, forget_bias=ALWAYS_OPEN, rng=rng)


def plain(kind: Any) -> Callable[[int, tg.random.Generator, int], zoo.Cell]:
    return lambda hidden, rng, T: kind(len(SYMBOLS), hidden, rng=rng)


def chrono(kind: Any) -> Callable[[int, tg.random.Generator, int], zoo.Cell]:
    return lambda hidden, rng, T: zoo.chrono(plain(kind)(hidden, rng, T), longest=T, rng=rng.fork("chrono"))


CELLS: dict[str, Callable[[int, tg.random.Generator, int], zoo.Cell]] = {
    "ElmanRNN, contractive": contractive,
    "ElmanRNN, orthogonal": plain(zoo.ElmanRNN),
    "GRU": plain(zoo.GRU),
    "GRU, chrono": chrono(zoo.GRU),
    "LSTM, forget bias 1": plain(zoo.LSTM),
    "LSTM, chrono": chrono(zoo.LSTM),
    "LSTM of 1997, no forget gate": without_forget_gate,
}


@dataclass(frozen=True)
class Curve:
    """Norms at lags 0 … T − 1 relative to lag 0 (geometric means over rows), and the straight line through their logs.

    ``factor``: e to its slope, what one step does; ``fit``: the part of the variance of the logarithm that it explains.
    """

    cell: str
    updates: int
    error: float
    norms: tuple[float, ...]
    factor: float
    fit: float


class Net(tg.nn.Module):
    """A cell along time, its last output read by a softmax."""

    def __init__(self, cell: zoo.Cell, rng: tg.random.Generator) -> None:
        self.rnn = zoo.RNN(cell)
        self.head = tg.nn.Linear(cell.output_size, len(CLASSES), rng=rng.fork("head"))

    def forward(self, xs: Any) -> tg.Tensor:
        """Logits (B, 4) of sequences (T, B, 6)."""
        return self.head(self.rnn(xs)[0][-1])


def run(*, full: bool, seed: int, progress: Callable[[str], None]) -> Result:
    """Measure all cells before and after training."""
    sizes = Sizes(T=200, hidden=64, updates=5000, rows=256) if full else Sizes()
    rng, curves = tg.random.Generator(seed), []
    for name, make in CELLS.items():
        net = Net(make(sizes.hidden, rng.fork(name), sizes.T), rng.fork(name))
        for updates in (0, sizes.updates):
            train(net, rng.fork("data"), sizes, updates)
            curves.append(measured(name, updates, net, rng.fork("unseen"), sizes))
        progress(f"{name}: a step scales messages by {curves[-2].factor:.3f}, after training {curves[-1].factor:.3f}")
    lags = (10, sizes.T // 2, sizes.T - 1)
    return Result(
        header=("cell", "updates", "factor", *(f"lag {lag}" for lag in lags), "error"),
        rows=[_row(curve, lags) for curve in curves],
        claims=claims({(c.cell, c.updates): c for c in curves}, sizes),
        numbers=6,
        data={"sizes": asdict(sizes), "lags": list(range(sizes.T)), "curves": [asdict(c) for c in curves]},
    )


def train(net: Net, rng: tg.random.Generator, sizes: Sizes, updates: int) -> None:
    """Adam, gradients clipped by their norm."""
    optimizer = tg.optim.Adam(net, lr=1e-3)
    for _ in range(updates):
        xs, labels = sequences(rng, sizes.T, sizes.batch)
        gradients = tg.grad(lambda net, xs=xs, labels=labels: tg.cross_entropy(net(xs), labels))(net)
        tg.optim.clip_by_global_norm(gradients, 1.0)
        optimizer.step(gradients)


def sequences(rng: tg.random.Generator, T: int, rows: int, dtype: Any = np.float32) -> tuple[tg.Tensor, tg.Tensor]:
    symbols, labels = draw(rng, T, rows)
    return tg.tensor(np.eye(len(SYMBOLS), dtype=dtype)[symbols.numpy()]), labels


def measured(name: str, updates: int, net: Net, rng: tg.random.Generator, sizes: Sizes) -> Curve:
    """The norms by lag, in float64, and how often the net is wrong."""
    net.astype("float64")
    xs, labels = sequences(rng, sizes.T, sizes.rows, np.float64)
    norms = lag_norms(net, xs, labels)
    factor, fit = straight_line(norms)
    net.astype("float32")
    xs, labels = sequences(rng, sizes.T, 1000)
    with tg.no_grad():
        error = float((net(xs).numpy().argmax(axis=1) != labels.numpy()).mean())
    return Curve(name, updates, error, tuple(norms.tolist()), factor, fit)


def lag_norms(net: Net, xs: tg.Tensor, labels: tg.Tensor) -> np.ndarray:
    """``‖∂L/∂s_{T−1−lag}‖ / ‖∂L/∂s_{T−1}‖`` for lag 0 … T − 1, over all parts of the state; geometric mean of rows."""
    cell = net.rnn.cell
    start = cell.init_state(xs.shape[1], dtype=xs.dtype)
    problem = tg.bptt.Problem(net, lambda net, s, x: (net.rnn.cell.step(x, s)[1], None), start, xs)
    found = tg.bptt.state_messages(problem, lambda net, s: tg.cross_entropy(net.head(s.h[-1]), labels), compile=False)
    squares = sum((d.numpy() ** 2).sum(axis=-1) for d in tg.tree.leaves(found.deltas))
    logs = 0.5 * np.log(squares).mean(axis=1)[::-1]
    return np.exp(logs - logs[0])


def straight_line(norms: np.ndarray) -> tuple[float, float]:
    """e to the slope of log norms over lags 1 …, and how much of the variance of the logarithm the line explains.

    >>> factor, fit = straight_line(0.5 ** np.arange(20))
    >>> round(factor, 6), round(fit, 6)
    (0.5, 1.0)
    """
    lags, logs = np.arange(1, len(norms)), np.log(norms[1:])
    slope, offset = np.polyfit(lags, logs, 1)
    return math.exp(slope), float(1 - (logs - slope * lags - offset).var() / logs.var())


def _row(curve: Curve, lags: tuple[int, ...]) -> tuple[str, ...]:
    at = [f"{curve.norms[lag]:.2g}" for lag in lags]
    return curve.cell, str(curve.updates), f"{curve.factor:.3f}", *at, f"{curve.error:.0%}"


def claims(curves: dict[tuple[str, int], Curve], sizes: Sizes) -> list[Claim]:
    """The papers' conclusions beside ours."""
    last = sizes.T - 1

    def before(name: str) -> Curve:
        return curves[name, 0]

    def after(name: str) -> Curve:
        return curves[name, sizes.updates]

    shrinking, carousel = before("ElmanRNN, contractive"), before("LSTM of 1997, no forget gate")
    plain_nets = [after(name) for name in CELLS if name.startswith("ElmanRNN")]
    gated, chrono_gated = ("LSTM, forget bias 1", "GRU"), ("LSTM, chrono", "GRU, chrono")
    return [
        Claim(
            "where a step of a plain net is a contraction, the error signal vanishes exponentially with the lag "
            "(Hochreiter 1991; Bengio, Simard & Frasconi 1994)",
            f"by {shrinking.factor:.3f} a step to {shrinking.norms[last]:.1g} at lag {last}; a straight line explains "
            f"{shrinking.fit:.2%} of the variance of its logarithm",
            shrinking.factor < CONTRACTION and shrinking.fit > 0.99,
        ),
        Claim(
            "through the cell state of an LSTM without a forget gate the error flows back unchanged "
            "(Hochreiter & Schmidhuber 1997)",
            f"by {carousel.factor:.3f} a step, after training {after(carousel.cell).factor:.3f}; this counts as "
            "unchanged within 5 %, since signals through the gates are in it",
            all(abs(c.factor - 1) < 0.05 for c in (carousel, after(carousel.cell))),
        ),
        Claim(
            "LSTM learns lags that plain nets do not (Hochreiter & Schmidhuber 1997, experiment 6a)",
            f"after {sizes.updates} updates wrong on {_errors([after('LSTM, forget bias 1')])}; "
            f"{_errors([after(carousel.cell)])}; {_errors(plain_nets)}",
            after("LSTM, forget bias 1").error < 0.01 and all(c.error > 0.25 for c in plain_nets),
        ),
        Claim(
            "with chrono initialisation gated nets begin with memories as long as the task's (Tallec & Ollivier 2018)",
            f"norm at lag {last} at the start: " + ", ".join(
                f"{name} {before(name).norms[last]:.2g}" for name in (*chrono_gated, *gated)
            ),
            all(before(c).norms[last] > max(0.01, before(g).norms[last]) for c, g in zip(chrono_gated, gated)),
        ),
    ]  # fmt: skip


def _errors(found: list[Curve]) -> str:
    return ", ".join(f"{c.error:.0%} ({c.cell})" for c in found)
