"""What all forward methods share: along time, one step's derivatives at a time, with something in place of Γ."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from ..backend import Array, device_of, namespace
from ..random import Generator
from .linearised import Linearised, Vectors
from .problem import Problem, Update
from .strategy import Strategy

__all__ = ["Online", "norm", "signs"]


class Online(Strategy):
    """Γ_t = ∂z_t/∂θ, or what stands for it, travels forward: ``∂L/∂θ = Σ_t ∂⁺ℓ_t/∂θ + ∂ℓ_t/∂z_{t−1} Γ_{t−1}``.

    The memory is what stands for Γ. A subclass says what it is to begin with, and what a step makes of it.
    """

    @abstractmethod
    def start(self, step: Linearised, rng: Generator) -> Any:
        """What stands for Γ = 0 (n, P) before the first step."""

    @abstractmethod
    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Any]:
        """The gradient of the step's loss (P,), and what stands for Γ' = ∂⁺z'/∂θ + J Γ."""

    def opened(self, memory: Any) -> Any:
        """What is advanced, from the memory of an Update; ``kept`` the other way: arrays, numbers and containers."""
        return memory

    def kept(self, memory: Any) -> Any:
        return memory

    def check(self, problem: Problem) -> None:
        Vectors(problem.parameters), Vectors(problem.carry)

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        carry, rng = problem.carry, rng or Generator(0)
        inner = None if memory is None else self.opened(memory)
        for t in range(len(problem)):
            step = Linearised(problem, carry, t)
            if inner is None:
                inner = self.start(step, rng)
            gradient, inner = self.advance(step, inner, rng)
            carry = step.carry
            yield Update(step.loss, step.parameters.container(gradient), carry, self.kept(inner), t + 1)


def norm(x: Array) -> float:
    """‖x‖₂."""
    return float(namespace(x).sqrt((x * x).sum()))


def signs(rng: Generator, n: int, like: Array) -> Array:
    """n independent signs, −1 or 1 with probability ½ each, beside ``like``."""
    return 2 * rng.bernoulli((n,), 0.5, dtype=like.dtype, device=device_of(like)).data - 1
