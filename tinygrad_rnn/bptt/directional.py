"""Forward mode along random directions: no row of Γ, only its products with a few vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, device_of, namespace
from ..random import Generator
from .linearised import Linearised
from .online import Online
from .strategy import register

__all__ = ["Directional"]


@register("forward", paper="Baydin et al. 2022, Gradients without backpropagation, arXiv:2202.08587")
@dataclass(frozen=True)
class Directional(Online):
    """The forward gradient: slopes along random directions v_k ~ N(0, 1)ᴾ, times them, ``1/K Σ_k (∂L·v_k) v_k``.

    The tangents σ_k = Γ v_k travel along, ``σ' = J σ + ∂⁺z'/∂θ v`` and ``∂L·v = Σ_t ∂⁺ℓ_t/∂θ v + ∂ℓ_t/∂z_{t−1} σ``,
    so nothing is ever pulled back. Unbiased, as E[v vᵀ] = 1; the variance grows with P / K. Directions are drawn once a
    run: they belong to the memory. Keeps K (n + P) numbers; a step costs K pushes.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> problem = tg.bptt.Problem(w, lambda w, h, x: (w * h, w * h), tg.tensor(1.0), tg.zeros((2,)))
    >>> gradient = tg.bptt.gradient(problem, "forward:2000").gradients
    >>> abs(gradient.item() - 2) < 0.2  # of w + w² at ½
    True
    """

    directions: int = 1

    unbiased = True

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise ValueError(f"there is at least 1 direction, not {self.directions}")

    def start(self, step: Linearised, rng: Generator) -> tuple[Array, Array]:
        like = step.parameters.like
        shape = (self.directions, step.parameters.n)
        along = rng.normal(shape, dtype=like.dtype, device=device_of(like)).data
        return along, namespace(like).zeros((self.directions, step.before.n), like.dtype)

    def advance(self, step: Linearised, memory: Any, rng: Generator) -> tuple[Array, Any]:
        along, tangents = memory
        xp = namespace(along)
        pushed = [step.push(v, s) for v, s in zip(along, tangents, strict=True)]
        slopes = xp.asarray([slope for _, slope in pushed], dtype=along.dtype)
        return slopes @ along / len(along), (along, xp.stack([tangent for tangent, _ in pushed]))
