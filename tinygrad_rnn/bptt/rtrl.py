"""Forward mode: the sensitivities of the state travel along, and the gradient is there at every step."""

from __future__ import annotations

from dataclasses import dataclass

from ..backend import Array, namespace
from ..random import Generator
from .linearised import Linearised, Vectors
from .online import Online
from .problem import Problem
from .strategy import register

__all__ = ["RTRL", "too_large"]

MOST = 4 << 30  # bytes of sensitivities


def too_large(name: str, numbers: int, itemsize: int, what: str) -> None:
    """Raise ValueError, with the memory that it would take, when a strategy's numbers do not fit."""
    if (size := numbers * itemsize) > MOST:
        raise ValueError(f"{name} would keep {what}: {size / 2**30:,.1f} GiB, more than {MOST / 2**30:.0f}")


@register("rtrl", paper="Williams & Zipser 1989, A learning algorithm for continually running fully recurrent networks")
@dataclass(frozen=True)
class RTRL(Online):
    """Real-time recurrent learning: ``Γ_t = ∂⁺z_t/∂θ + J_t Γ_{t−1}``, ``∂L/∂θ = Σ_t ∂⁺ℓ_t/∂θ + ∂ℓ_t/∂z_{t−1} Γ_{t−1}``.

    Exact as long as the parameters stay as they are, and nothing of the past is kept; but Γ (n, P) has as many rows as
    the state has numbers and as many columns as there are parameters, and each step takes n pullbacks. The memory is
    Γ, which belongs to the carry.
    """

    exact = True
    unbiased = True

    def check(self, problem: Problem) -> None:
        super().check(problem)
        first = Linearised(problem, problem.carry, 0)
        _checked(max(first.before.n, first.state.n), first.parameters)

    def start(self, step: Linearised, rng: Generator) -> Array:
        like = step.parameters.like
        return namespace(like).zeros((step.before.n, step.parameters.n), like.dtype)

    def advance(self, step: Linearised, memory: Array, rng: Generator) -> tuple[Array, Array]:
        _checked(step.state.n, step.parameters)  # a carry may grow on the way
        direct, back = step.pull_loss()
        immediate, through = step.jacobians()
        return direct + back @ memory, immediate + through @ memory


def _checked(n: int, parameters: Vectors) -> None:
    what = f"the sensitivities of {n:,} numbers of the state to {parameters.n:,} parameters"
    too_large("rtrl", n * parameters.n, parameters.like.dtype.itemsize, what)
