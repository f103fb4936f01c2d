"""Long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["LSTM"]


@register(
    paper="Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000",
    family="gated",
    equations="""
    iₜ, fₜ, oₜ = σ(xₜ W + hₜ₋₁ U + b)      each with its own W, U, b
    gₜ = tanh(xₜ W + hₜ₋₁ U + b)
    cₜ = fₜ ∘ cₜ₋₁ + iₜ ∘ gₜ
    hₜ = oₜ ∘ tanh(cₜ)
    yₜ = hₜ
    """,
)
class LSTM(Cell):
    """Long short-term memory: a cell state c that gates write, keep and show.

    The four blocks of the weights are in the order i, f, g, o. W starts as glorot_uniform, each block of U orthogonal,
    b at 0 but ``forget_bias`` in the forget gate, so that the cell remembers at first (Gers et al. 2000; Jozefowicz
    et al. 2015).

    >>> cell = LSTM(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.c.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor
        c: tg.Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.input = tg.nn.Linear(input_size, 4 * hidden_size, rng=rng.fork("input"))
        self.input.bias = tg.nn.parameter(np.repeat(np.array([0, forget_bias, 0, 0], np.float32), hidden_size))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 4 * hidden_size), blocks=4))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        i, f, g, o = tg.split(self.input(x) + s.h @ self.U, 4)
        c = tg.sigmoid(f) * s.c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        return h, self.State(h, c)
