"""Fewer gates: the minimal gated unit, one gate for what a GRU uses two for."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["MGU"]


@register(
    paper="Zhou et al. 2016, Minimal gated unit for recurrent neural networks, arXiv:1603.09420",
    family="gated",
    equations="""
    fₜ = σ(xₜ W + hₜ₋₁ U + b)
    nₜ = tanh(xₜ Wₙ + (fₜ ∘ hₜ₋₁) Uₙ + bₙ)
    hₜ = (1 − fₜ) ∘ hₜ₋₁ + fₜ ∘ nₜ
    yₜ = hₜ
    """,
)
class MGU(Cell):
    """Minimal gated unit: a GRU whose reset and update gate are one, the forget gate f.

    The blocks of the weights are in the order f, n. W starts as glorot_uniform, U and Uₙ orthogonal, b at 0.

    >>> cell = MGU(3, 5)
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
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, hidden_size)))
        self.U_n = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U_n"), (hidden_size, hidden_size)))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        f, n = tg.split(self.input(x), 2)
        f = tg.sigmoid(f + s.h @ self.U)
        n = tg.tanh(n + (f * s.h) @ self.U_n)
        h = s.h + f * (n - s.h)
        return h, self.State(h)
