"""Learning rates over time: a schedule is a function of the step number, ``optimizer.lr = schedule(optimizer.steps)``.

It remembers nothing, so a resumed run goes on exactly. Steps count from 0 and may be updates, epochs or anything else.
``Plateau`` alone follows what it is told, and has a ``state_dict``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["Plateau", "constant", "cosine", "exponential", "step_decay", "warmup"]

Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """The same rate at every step."""
    return lambda n: lr


def step_decay(lr: float, *, every: int, factor: float = 0.1) -> Schedule:
    """``lr · factor^⌊n / every⌋``: a stairway down.

    >>> [step_decay(1.0, every=2, factor=0.5)(n) for n in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _positive("step_decay", every=every)
    return lambda n: lr * factor ** (n // every)


def exponential(lr: float, *, factor: float) -> Schedule:
    """``lr · factorⁿ``.

    >>> [exponential(1.0, factor=0.5)(n) for n in range(3)]
    [1.0, 0.5, 0.25]
    """
    return lambda n: lr * factor**n


def cosine(lr: float, *, steps: int, final: float = 0.0) -> Schedule:
    """``final + (lr − final) (1 + cos(π n / steps)) / 2``, then ``final`` (Loshchilov & Hutter 2017).

    >>> [round(cosine(1.0, steps=4)(n), 3) for n in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    _positive("cosine", steps=steps)
    return lambda n: final + (lr - final) * (1 + math.cos(math.pi * min(n, steps) / steps)) / 2


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """A linear rise over ``steps`` steps to where the schedule begins, then the schedule from its step 0.

    >>> [warmup(constant(1.0), 4)(n) for n in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    _positive("warmup", steps=steps)
    return lambda n: schedule(0) * (n + 1) / steps if n < steps else schedule(n - steps)


class Plateau:
    """The rate times ``factor`` whenever a measure has not improved for more than ``patience`` calls.

    An improvement is relative: below ``best (1 − threshold)``, or above ``best (1 + threshold)`` when more is better.
    After a reduction ``cooldown`` calls pass before waiting begins again. As torch's ``ReduceLROnPlateau``. With a
    warm-up: ``warmup(lambda n: plateau.lr, steps)``.

    >>> plateau = Plateau(1.0, factor=0.5, patience=1)
    >>> [plateau(loss) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    def __init__(
        self,
        lr: float,
        *,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        lowest: float = 0.0,
        larger_is_better: bool = False,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"Plateau: factor={factor} is not between 0 and 1")
        self.factor, self.patience, self.threshold, self.cooldown = factor, patience, threshold, cooldown
        self.lowest, self.sign = lowest, -1.0 if larger_is_better else 1.0
        self.lr, self.best, self.bad, self.resting = lr, math.inf * self.sign, 0, 0

    def __call__(self, measure: float) -> float:
        """Note one measurement, a validation loss say; returns the rate to go on with. NaN is no improvement."""
        improved = self.sign * measure < self.sign * self.best * (1 - self.sign * self.threshold)
        if improved:
            self.best = float(measure)
        self.bad = 0 if improved else self.bad + 1
        if self.resting:
            self.resting, self.bad = self.resting - 1, 0
        if self.bad > self.patience:
            self.lr = max(self.lr * self.factor, self.lowest)
            self.bad, self.resting = 0, self.cooldown
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from exactly here."""
        return {"lr": self.lr, "best": self.best, "bad": self.bad, "resting": self.resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken."""
        self.lr, self.best, self.bad, self.resting = (state[key] for key in ("lr", "best", "bad", "resting"))


def _positive(schedule: str, **counts: int) -> None:
    for name, value in counts.items():
        if not value > 0:
            raise ValueError(f"{schedule}: {name}={value} is not a positive number of steps")
