"""Unbiased online recurrent optimisation: the sensitivities as a random matrix of rank one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, namespace
from ..random import Generator
from .linearised import Linearised
from .online import Online, norm, signs
from .strategy import register

__all__ = ["UORO"]


@register("uoro", paper="Tallec & Ollivier 2017, Unbiased online recurrent optimization, arXiv:1702.05043")
@dataclass(frozen=True)
class UORO(Online):
    """Γ_t ≈ s̃_t θ̃_t, a column (n,) times a row (P,), whose expectation over random signs ν_t ∈ {±1}ⁿ is Γ_t.

        s̃' = ρ₀ J s̃ + ρ₁ ν        θ̃' = θ̃ / ρ₀ + ν ∂⁺z'/∂θ / ρ₁
        ρ₀² = ‖θ̃‖ / ‖J s̃‖         ρ₁² = ‖ν ∂⁺z'/∂θ‖ / ‖ν‖

    Unbiased for any ρ₀, ρ₁ > 0 that are even in ν, while the parameters stay as they are; these give the least
    variance. A product of which one factor is 0 is left out with its other factor, where the paper adds a small number
    to the norms. Keeps n + P numbers; a step costs two pullbacks and a push of one tangent.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> problem = tg.bptt.Problem(w, step, tg.tensor(0.0), tg.tensor([1.0, 1.0]))
    >>> tg.bptt.gradient(problem, "uoro").gradients  # no luck needed: one number, one step of past
    tensor(3.)
    """

    unbiased = True

    def start(self, step: Linearised, rng: Generator) -> tuple[Array, Array]:
        like = step.parameters.like
        xp = namespace(like)
        return xp.zeros(step.before.n, like.dtype), xp.zeros(step.parameters.n, like.dtype)

    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Any]:
        state, parameters = memory
        direct, back = step.pull_loss()
        gradient = direct + (back @ state) * parameters
        sign = signs(rng, step.state.n, step.parameters.like)
        old = _balanced(step.push(None, state)[0], parameters)
        new = _balanced(sign, step.pull_state(sign)[0])
        return gradient, (old[0] + new[0], old[1] + new[1])


def _balanced(column: Array, row: Array) -> tuple[Array, Array]:
    """The same product of factors of equal norm; both 0 where one is."""
    height, width = norm(column), norm(row)
    rho = (width / height) ** 0.5 if height and width else 0.0
    return rho * column, row / rho if rho else 0 * row
