"""Truncated as late as a wanted accuracy asks for: how fast gradients fade is measured, the rest follows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..node import recording
from ..random import Generator
from .problem import Problem, Update, cut
from .segment import Message, Segment, added
from .strategy import Strategy, register
from .window import Window

__all__ = ["Adaptive", "Choice", "truncation_length"]

SAMPLES = 8  # losses sent back to measure the decay


class Choice(NamedTuple):
    """What a measurement led to.

    ``back``: K, the number of lags kept. ``bias``: the bound on the relative bias that goes with it, infinite when
    gradients do not fade. ``decay``: the factor β per step with which they do at large lags. ``norms``: φ_k, the mean
    norm of what a loss gives the parameters k steps before it, k = 0, 1, ….
    """

    back: int
    bias: float
    decay: float
    norms: tuple[float, ...]


def truncation_length(problem: Problem, tolerance: float, longest: int) -> Choice:
    """The smallest number of lags K for which truncation changes the gradient by no more than a part ``tolerance``.

        φ_k = E_t ‖∂ℓ_t/∂z_{t−k} ∂⁺z_{t−k}/∂θ‖,   E(K) = Σ_{K ≤ k < R} φ_k + φ_{R−1} β / (1 − β)
        relative bias ≤ E(K) / max_k (‖ĝ_k‖ − E(k)),   ĝ_k the mean gradient of a loss through k lags

    R = min(longest, T); β from a line through log φ_k for the larger half of the lags, on the assumption that φ goes on
    falling as β^k; where R = T there is nothing more to come. Up to 8 losses, evenly spaced over the last R steps, are
    sent back through steps 2R from the end on; of the parameters' gradients themselves the norms are taken, where the
    paper takes those of the state's and a constant. No K that will do: the largest, R, with its bias.

    Raises ValueError when no step there has a loss.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h
    >>> choice = truncation_length(Problem(w, step, tg.tensor(1.0), tg.ones((60,)) / 2), 0.01, 20)
    >>> choice.back, round(choice.bias, 4), round(choice.decay, 4)
    (7, 0.0078, 0.5)
    """
    total = len(problem)
    reach = min(longest, total)
    begin = max(0, total - 2 * reach)
    carry = problem.carry
    if begin:
        with recording(False):
            carry = cut(problem.run(problem.parameters, carry, 0, begin)[0])
    steps: list[Segment] = []
    for t in range(begin, total):
        steps.append(Segment(problem, carry, t, t + 1))
        carry = steps[-1].carry
    ends = [i for i in range(reach - 1, len(steps)) if steps[i].has_loss]
    if not ends:
        raise ValueError(f"adaptive: none of the last {len(steps) - reach + 1} steps has a loss to measure with")
    ends = [ends[i] for i in sorted({round(i) for i in np.linspace(0, len(ends) - 1, SAMPLES)})]
    norms, means = _by_lag(steps, ends, reach)
    decay = _decay(norms)
    rest = 0.0 if reach == total or norms[-1] == 0 else norms[-1] * decay / (1 - decay) if decay < 1 else math.inf
    errors = np.cumsum(norms[::-1])[::-1][1:].tolist() + [0.0]  # of K = 1 … R, within reach
    errors = [error + rest for error in errors]
    size = max(mean - error for mean, error in zip(means, errors, strict=True))
    biases = [error / size if size > 0 else math.inf if error else 0.0 for error in errors]
    back = next((k for k, bias in enumerate(biases, 1) if bias <= tolerance), reach)
    return Choice(back, biases[back - 1], decay, tuple(norms))


def _by_lag(steps: Sequence[Segment], ends: Sequence[int], reach: int) -> tuple[list[float], list[float]]:
    """``φ_k`` for k = 0 … reach − 1, and the norm of the mean gradient through the lags up to k."""
    messages: list[Message | None] = [None] * len(ends)
    gradient: Message | None = None
    norms, means = [], []
    for lag in range(reach):
        sizes = []
        for i, end in enumerate(ends):
            parts, messages[i] = steps[end - lag].pull(messages[i], loss=float(lag == 0))
            sizes.append(_norm(parts))
            gradient = added(gradient, parts)
        norms.append(sum(sizes) / len(ends))
        means.append(_norm(gradient or ()) / len(ends))
    return norms, means


def _norm(arrays: Message) -> float:
    return math.sqrt(sum(float((abs(a) ** 2).sum()) for a in arrays if a is not None))


def _decay(norms: Sequence[float]) -> float:
    """β of φ_k ~ β^k at the larger half of the lags, by least squares; 1 where there is too little to tell."""
    points = [(k, math.log(norm)) for k, norm in enumerate(norms) if k >= len(norms) // 2 and norm > 0]
    if len(points) < 2:
        return 1.0
    k, log = np.array(points).T
    return math.exp(np.polyfit(k - k.mean(), log, 1)[0])


@register("adaptive", paper="Aicher, Foti & Fox 2019, Adaptively truncating BPTT to control gradient bias, 1905.07473")
@dataclass(frozen=True)
class Adaptive(Strategy):
    """Truncated after as many steps K as a relative bias of ``tolerance`` asks for, at most ``longest``.

    K is that of ``truncation_length``; then ``window:K,2K``, in which each loss reaches at least K steps back. A
    measurement costs about as much as 8 · longest steps back. The memory says what was chosen: ``back``, ``bias`` and
    ``decay`` of the Choice, and the ``runs`` made with it; pass it on, and the choice is kept for ``keep`` runs.

    Raises ValueError for options out of range, and when there is no loss to measure with.
    """

    tolerance: float
    longest: int = 200
    keep: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1 or self.longest < 2 or self.keep < 1:
            raise ValueError(
                f"tolerance={self.tolerance:g} lies between 0 and 1, longest={self.longest} is at least 2, "
                f"keep={self.keep} at least 1"
            )

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        if memory is None or memory["runs"] >= self.keep:
            choice = truncation_length(problem, self.tolerance, self.longest)
            memory = {"back": choice.back, "bias": choice.bias, "decay": choice.decay, "runs": 0}
        memory = {**memory, "runs": memory["runs"] + 1}
        for update in Window(memory["back"], 2 * memory["back"]).updates(problem, rng=rng):
            yield update._replace(memory=memory)
