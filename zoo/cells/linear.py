"""Recurrences without a product of the state and a matrix: all large products wait for the input alone."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["MinGRU", "SRU"]


@register(
    paper="Feng et al. 2024, Were RNNs all we needed?, arXiv:2410.01201",
    family="linear",
    equations="""
    zₜ = σ(xₜ W + b)
    nₜ = xₜ Wₙ + bₙ
    hₜ = (1 − zₜ) ∘ hₜ₋₁ + zₜ ∘ nₜ
    yₜ = hₜ
    """,
)
class MinGRU(Cell):
    """Minimal GRU: a GRU whose gate and candidate do not look at the state, so that the recurrence is linear in it.

    The blocks of the weights are in the order z, n. This is the paper's equation; its variant for scans of logarithms
    makes nₜ positive first. W starts as glorot_uniform, b at 0.

    >>> cell = MinGRU(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.h.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor

    def __init__(self, input_size: int, hidden_size: int, *, rng: tg.random.Generator | None = None) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.input = tg.nn.Linear(input_size, 2 * hidden_size, rng=rng.fork("input"))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        z, n = tg.split(self.input(x), 2)
        z = tg.sigmoid(z)
        h = (1 - z) * s.h + z * n
        return h, self.State(h)


@register(
    paper="Lei et al. 2018, Simple recurrent units for highly parallelizable recurrence, arXiv:1709.02755",
    family="linear",
    equations="""
    fₜ = σ(xₜ W_f + v_f ∘ cₜ₋₁ + b_f)
    rₜ = σ(xₜ Wᵣ + vᵣ ∘ cₜ₋₁ + bᵣ)
    cₜ = fₜ ∘ cₜ₋₁ + (1 − fₜ) ∘ xₜ W
    yₜ = rₜ ∘ cₜ + (1 − rₜ) ∘ kₜ      kₜ = α xₜ where I = H, else xₜ Wₖ
    """,
)
class SRU(Cell):
    """Simple recurrent unit: a gated average of the input, shown through a highway gate r.

    The state is c alone; what is shown is not carried. The blocks of the weights are in the order n (the W of cₜ), f,
    r and, where I ≠ H, k. As in the paper and its code all W start as U(±√(3/I)), v as U(±√3), those of f and r both
    times √½, b_f at 0, bᵣ at ``highway_bias``; α = √(1 + 2 exp(highway_bias)) is fixed and keeps the variance of the
    highway, and Wₖ starts with that factor instead.

    >>> cell = SRU(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.c.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        c: tg.Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        highway_bias: float = 0.0,
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.alpha = math.sqrt(1 + 2 * math.exp(highway_bias))
        factors = [1, math.sqrt(0.5), math.sqrt(0.5)]
        if input_size != hidden_size:
            factors.append(self.alpha)
        self.blocks = len(factors)
        self.input = tg.nn.Linear(input_size, self.blocks * hidden_size, bias=False)
        bound = math.sqrt(3 / input_size)
        W = rng.fork("input").uniform(self.input.weight.shape, -bound, bound)
        self.input.weight = tg.nn.parameter(W.numpy() * np.repeat(np.array(factors, np.float32), hidden_size))
        bound = math.sqrt(3 * 0.5)
        self.v_f = tg.nn.parameter(rng.fork("v_f").uniform((hidden_size,), -bound, bound))
        self.v_r = tg.nn.parameter(rng.fork("v_r").uniform((hidden_size,), -bound, bound))
        self.b_f = tg.nn.parameter(tg.nn.init.zeros(None, (hidden_size,)))
        self.b_r = tg.nn.parameter(tg.nn.init.constant(None, (hidden_size,), value=highway_bias))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        n, f, r, *projected = tg.split(self.input(x), self.blocks)
        (k,) = projected or [self.alpha * x]
        f = tg.sigmoid(f + self.b_f + self.v_f * s.c)
        r = tg.sigmoid(r + self.b_r + self.v_r * s.c)
        c = f * s.c + (1 - f) * n
        y = r * c + (1 - r) * k
        return y, self.State(c)
