"""Truncated at random places, with what gets through made larger in return: right on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .. import tree
from ..ops.flow import tap
from ..random import Generator
from ..tensor import Tensor
from .full import pulled
from .problem import Problem, Update
from .strategy import Strategy, register

__all__ = ["ARTBP", "weighted"]

Law = Callable[["ARTBP", int], float]

LAWS: dict[str, Law] = {
    "fixed": lambda way, i: way.stride / way.length,
    "power": lambda way, i: way.alpha / ((way.alpha - 1) * way.length / way.stride + i),
}


@register("artbp", paper="Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time, arXiv:1705.08209")
@dataclass(frozen=True)
class ARTBP(Strategy):
    """Anticipated reweighted truncated backpropagation: cuts X_t at random, compensated, so without bias.

        δ_t = ∂ℓ_t/∂z_t + (1 − X_t) / (1 − c_t) · δ_{t+1} J_{t+1},   c_t = P(X_t = 1 | the cuts before)

    The states are carried over a cut; ``length`` is the mean number of steps between two. The ``law`` of the cuts:

        fixed   c = 1 / length                                  lengths are geometric; weights grow as (1 − c)^−lag
        power   c = α / ((α − 1) length + i),  i = 1, 2, …       steps since the last cut; P(longer than l) ~ l^−α

    A message that goes back k steps passes with probability Π (1 − c), the inverse of its weight: so its variance grows
    exponentially with k under ``fixed``, as k^α under ``power``, where in return some chunks are long (their mean is
    finite for ``alpha`` > 1, their variance for α > 2). With ``stride`` cuts are possible only after every so many
    steps, and what lies between is one ``segment``, which may be compiled.

    ``rng``: where the cuts come from; a run ends with a cut. Raises ValueError for a law that there is not, and for a
    length at which some step would be cut for certain, so that no weight could make up for it.
    """

    length: float
    law: str = "power"
    alpha: float = 4.0
    stride: int = 1

    unbiased = True

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise ValueError(f"{self.law!r} is no law of truncation; there are {', '.join(LAWS)}")
        if self.stride < 1 or not self.length > self.stride:
            raise ValueError(
                f"cuts {self.length:g} steps apart on average, possible after every {self.stride}: the mean must be "
                "larger, or messages would never pass"
            )
        if not self.alpha > 1:
            raise ValueError(f"alpha={self.alpha:g}: chunks have a finite mean length for alpha > 1 only")

    def probability(self, i: int) -> float:
        """c_t at the i-th place, counted from 1, where a cut is possible since the last one.

        >>> [round(ARTBP(5, law).probability(1), 2) for law in ("fixed", "power")]
        [0.2, 0.25]
        """
        return LAWS[self.law](self, i)

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        drawn = rng or Generator(0)
        carry, start = problem.carry, 0

        def run(parameters: Any, carry: Any, start: int, stop: int) -> tuple[Any, Any]:
            return self._run(problem, parameters, carry, start, stop)

        while start < len(problem):
            stop = self._draw(start, len(problem), drawn)
            loss, gradients, carry = pulled(problem, carry, start, stop, run=run)
            yield Update(loss, gradients, carry, memory, stop)
            start = stop

    def _draw(self, start: int, total: int, rng: Generator) -> int:
        """Where the chunk that begins at ``start`` ends."""
        stop, i = start + self.stride, 1
        while stop < total and not rng.bernoulli((), self.probability(i)).item():
            stop, i = stop + self.stride, i + 1
        return min(stop, total)

    def _run(self, problem: Problem, parameters: Any, carry: Any, start: int, stop: int) -> tuple[Any, Any]:
        """A chunk, in which messages are weighted at every place where there might have been a cut."""
        total = None
        for i, at in enumerate(range(start, stop, self.stride)):
            if i:
                carry = weighted(carry, 1 / (1 - self.probability(i)))
            carry, loss = problem.run(parameters, carry, at, min(at + self.stride, stop))
            if loss is not None:
                total = loss if total is None else total + loss
        return carry, total


def weighted(carry: Any, weight: float) -> Any:
    """The carry itself; messages to it are multiplied by a weight."""

    def heavier(z: Any) -> Any:
        return tap(z, lambda g: g * g.dtype.type(weight)) if type(z) is Tensor and z.dtype.kind in "fc" else z

    return tree.map(heavier, carry)
