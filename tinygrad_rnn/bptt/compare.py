"""Estimators of one gradient beside the exact one: what they cost, how far off they are, and how much they scatter."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import tree
from ..backend import to_host
from ..random import Generator
from .linearised import Vectors
from .problem import Problem
from .rtrl import too_large
from .strategy import Strategy, gradient, strategy

__all__ = ["Comparison", "Interval", "Measured", "compare"]

RESAMPLES = 1000
TURNS, SECONDS = 5, 1.0  # of those that need one run only, so that their times are medians too; not when that is long


@dataclass(frozen=True)
class Interval:
    """A number, and between what it is with the confidence asked for (nothing but itself where nothing is random)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """What was measured of a strategy that finds ê for the gradient g.

    ``runs``: how many estimates there are, 1 for one that draws no random numbers. ``seconds``: their median time;
    ``ratio``: that beside full backpropagation through time, which took turns with it. ``memory``: the most bytes that
    Python and NumPy held at once for it. ``bias``: ‖mean ê − g‖ / ‖g‖. ``variance``: mean ‖ê − mean ê‖² / ‖g‖².
    ``cosine``: the mean of ê·g / ‖ê‖‖g‖.
    """

    runs: int
    seconds: float
    ratio: float
    memory: int
    bias: Interval
    variance: float
    cosine: Interval


@dataclass(frozen=True)
class Comparison:
    """A strategy, and either why it cannot do the problem or what was measured."""

    strategy: str
    refused: str | None = None
    measured: Measured | None = None


def compare(
    problem: Problem,
    ways: Iterable[str | Strategy],
    *,
    seeds: int = 50,
    confidence: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> list[Comparison]:
    """Measure each strategy against full backpropagation through time, on one problem with parameters that stay.

    Random ones run once for each of the seeds 0, 1, …, the others need a single estimate; all take turns, so that times
    compare. ``progress`` is called with how many estimates there are of how many.

    The interval of a bias is what was found, give or take how far the means of a share ``confidence`` of 1000 resamples
    of the estimates lie from their own mean (Efron 1979, "Bootstrap methods: another look at the jackknife"). It begins
    at 0 where the seeds show no bias, for all but one in twenty unbiased strategies at 0.95. It is too narrow where
    hardly any seed drew what is rare and large, such as the weight of a message that gets past many possible cuts.

    Raises ValueError for a strategy that there is not, fewer than 2 seeds, a confidence not between 0 and 1, a gradient
    of 0, and estimates that do not fit into memory.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h
    >>> problem = Problem(w, step, tg.tensor(0.0), tg.ones(3))
    >>> found = {c.strategy: c.measured for c in compare(problem, ["chunks:1", "rtrl"])}
    >>> found["chunks:1"].bias.value, found["rtrl"].bias.value
    (0.1666..., 0.0)
    """
    if seeds < 2:
        raise ValueError(f"compare: {seeds} seeds show no variance; take at least 2")
    if not 0 < confidence < 1:
        raise ValueError(f"compare: a confidence is between 0 and 1, not {confidence}")
    vectors = Vectors(problem.parameters)
    too_large("compare", seeds * vectors.n, 8, f"{seeds} estimates of {vectors.n:,} numbers")
    exact = _flat(gradient(problem).gradients)
    if not exact.any():
        raise ValueError("compare: the exact gradient is 0, and nothing can be relative to it")
    refused: dict[Strategy, str] = {}
    memory: dict[Strategy, int] = {}
    repeats: dict[Strategy, int] = {}
    full, named = strategy("full"), [strategy(way) for way in ways]
    for way in dict.fromkeys([full, *named]):
        try:
            noticed: Any = _Noticed(Generator(0))
            gradient(problem, way, rng=noticed)  # also compiles what is compiled: neither time nor memory of a run
        except ValueError as error:
            refused[way] = str(error)
            continue
        repeats[way] = seeds if noticed.asked else 1
        memory[way] = _peak(partial(gradient, problem, way, rng=Generator(0)))
    seconds: dict[Strategy, list[float]] = {way: [] for way in repeats}
    estimates: dict[Strategy, list[np.ndarray]] = {way: [] for way in repeats}
    done, total = 0, sum(max(n, TURNS) for n in repeats.values())
    for turn in range(max(seeds, TURNS)):
        for way, n in repeats.items():
            if turn >= max(n, TURNS):
                continue
            if turn < n or sum(seconds[way]) < SECONDS:
                rng, begun = Generator(turn), time.perf_counter()
                found = gradient(problem, way, rng=rng).gradients
                seconds[way].append(time.perf_counter() - begun)
            if turn < n:
                estimates[way].append(_flat(found))
            done += 1
            if progress is not None:
                progress(done, total)
    medians = {way: float(np.median(each)) for way, each in seconds.items()}
    measured = {
        way: Measured(
            n, medians[way], medians[way] / medians[full], memory[way], *_statistics(estimates[way], exact, confidence)
        )
        for way, n in repeats.items()
    }
    return [Comparison(str(way), refused.get(way), measured.get(way)) for way in named]


class _Noticed:
    """A Generator that remembers whether it was asked for anything."""

    def __init__(self, rng: Generator) -> None:
        self._rng, self.asked = rng, False

    def __getattr__(self, name: str) -> Any:
        self.asked = True
        return getattr(self._rng, name)


def _peak(run: Callable[[], Any]) -> int:
    """The most bytes that were held at once while it ran, beyond those that were before."""
    running = tracemalloc.is_tracing()
    gc.collect()
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def _statistics(estimates: list[np.ndarray], exact: np.ndarray, confidence: float) -> tuple[Interval, float, Interval]:
    """Bias, variance and cosine of estimates (N, P), relative to the exact gradient."""
    found, size = np.stack(estimates), np.linalg.norm(exact)
    lengths = np.linalg.norm(found, axis=1)
    cosines = found @ exact / np.where(lengths > 0, lengths, 1) / size
    bias, cosine = float(np.linalg.norm(found.mean(0) - exact) / size), float(cosines.mean())
    if (n := len(found)) == 1:
        return Interval(bias, bias, bias), 0.0, Interval(cosine, cosine, cosine)
    apart = (found - found.mean(0)) / size
    products = apart @ apart.T  # all that resampling needs to know of P numbers
    shares = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    squares = (shares @ products * shares).sum(1) * n / (n - 1)  # resamples scatter a little less
    reach = float(np.sqrt(max(np.quantile(squares, confidence), 0)))
    low, high = np.quantile(shares @ cosines, [(1 - confidence) / 2, (1 + confidence) / 2])
    variance = float(np.trace(products) / (n - 1))
    return Interval(bias, max(bias - reach, 0.0), bias + reach), variance, Interval(cosine, float(low), float(high))


def _flat(gradients: Any) -> np.ndarray:
    """All numbers of a gradient, in double precision."""
    flat = np.concatenate([to_host(g.data).reshape(-1) for g in tree.leaves(gradients)])
    return flat.astype(complex).view(float) if flat.dtype.kind == "c" else flat.astype(float)
