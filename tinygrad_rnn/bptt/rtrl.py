"""Forward mode: the sensitivities of the state travel along, and the gradient is there at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..random import Generator
from .linearised import Linearised, Vectors
from .problem import Problem, Update
from .strategy import Strategy, register

__all__ = ["RTRL", "too_large"]

MOST = 4 << 30  # bytes of sensitivities


def too_large(name: str, numbers: int, itemsize: int, what: str) -> None:
    """Raise ValueError, with the memory that it would take, when a strategy's numbers do not fit."""
    if (size := numbers * itemsize) > MOST:
        raise ValueError(f"{name} would keep {what}: {size / 2**30:,.1f} GiB, more than {MOST / 2**30:.0f}")


@register("rtrl", paper="Williams & Zipser 1989, A learning algorithm for continually running fully recurrent networks")
@dataclass(frozen=True)
class RTRL(Strategy):
    """Real-time recurrent learning: ``Γ_t = ∂⁺z_t/∂θ + J_t Γ_{t−1}``, ``∂L/∂θ = Σ_t ∂⁺ℓ_t/∂θ + ∂ℓ_t/∂z_{t−1} Γ_{t−1}``.

    Exact as long as the parameters stay as they are, and nothing of the past is kept; but Γ (n, P) has as many rows as
    the state has numbers and as many columns as there are parameters, and each step takes n pullbacks. The memory is
    Γ, which belongs to the carry.
    """

    exact = True
    unbiased = True

    def check(self, problem: Problem) -> None:
        state, parameters = Vectors(problem.carry), Vectors(problem.parameters)
        itemsize = parameters.like.dtype.itemsize
        what = f"the sensitivities of {state.n:,} numbers of the state to {parameters.n:,} parameters"
        too_large("rtrl", state.n * parameters.n, itemsize, what)

    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        carry, sensitivity = problem.carry, memory
        for t in range(len(problem)):
            step = Linearised(problem, carry, t)
            if sensitivity is None:
                like = step.parameters.like
                sensitivity = namespace(like).zeros((step.before.n, step.parameters.n), like.dtype)
            direct, back = step.pull_loss()
            gradients = step.parameters.container(direct + back @ sensitivity)
            immediate, through = step.jacobians()
            carry, sensitivity = step.carry, immediate + through @ sensitivity
            yield Update(step.loss, gradients, carry, sensitivity, t + 1)
