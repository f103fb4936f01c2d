"""Gated recurrent units: the reset gate before the recurrent product (the paper), and after it (cuDNN, torch)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["GRU", "GRUResetAfter"]


@register(
    paper="Cho et al. 2014, arXiv:1406.1078",
    family="gated",
    equations="""
    rₜ, zₜ = σ(xₜ W + hₜ₋₁ U + b)      each with its own W, U, b
    nₜ = tanh(xₜ Wₙ + (rₜ ∘ hₜ₋₁) Uₙ + bₙ)
    hₜ = zₜ ∘ hₜ₋₁ + (1 − zₜ) ∘ nₜ
    yₜ = hₜ
    """,
)
class GRU(Cell):
    """Gated recurrent unit: the reset gate r acts on the state before its product with Uₙ.

    The blocks of the weights are in the order r, z, n. z keeps the state, as in Cho et al.; Chung et al. 2014 write
    1 − z for it. W starts as glorot_uniform, each block of U orthogonal, b at 0.

    >>> cell = GRU(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.h.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor

    def __init__(self, input_size: int, hidden_size: int, *, rng: tg.random.Generator | None = None) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.input = tg.nn.Linear(input_size, 3 * hidden_size, rng=rng.fork("input"))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 2 * hidden_size), blocks=2))
        self.U_n = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U_n"), (hidden_size, hidden_size)))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        gates, n = tg.split(self.input(x), [2 * self.hidden_size])
        r, z = tg.split(tg.sigmoid(gates + s.h @ self.U), 2)
        n = tg.tanh(n + (r * s.h) @ self.U_n)
        h = n + z * (s.h - n)
        return h, self.State(h)


@register(
    paper="Cho et al. 2014, arXiv:1406.1078v1; the form of cuDNN and torch",
    family="gated",
    equations="""
    rₜ, zₜ = σ(xₜ W + hₜ₋₁ U + b)      each with its own W, U, b
    nₜ = tanh(xₜ Wₙ + bₙ + rₜ ∘ (hₜ₋₁ Uₙ + cₙ))
    hₜ = zₜ ∘ hₜ₋₁ + (1 − zₜ) ∘ nₜ
    yₜ = hₜ
    """,
)
class GRUResetAfter(Cell):
    """Gated recurrent unit with the reset gate after the recurrent product, so that one product serves all gates.

    The blocks of the weights are in the order r, z, n. The product that r gates has a bias of its own, cₙ; elsewhere
    two biases would only be added. W starts as glorot_uniform, each block of U orthogonal, b and cₙ at 0.

    >>> cell = GRUResetAfter(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.h.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor

    def __init__(self, input_size: int, hidden_size: int, *, rng: tg.random.Generator | None = None) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.input = tg.nn.Linear(input_size, 3 * hidden_size, rng=rng.fork("input"))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 3 * hidden_size), blocks=3))
        self.c_n = tg.nn.parameter(tg.nn.init.zeros(None, (hidden_size,)))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        gates_x, n_x = tg.split(self.input(x), [2 * self.hidden_size])
        gates_h, n_h = tg.split(s.h @ self.U, [2 * self.hidden_size])
        r, z = tg.split(tg.sigmoid(gates_x + gates_h), 2)
        n = tg.tanh(n_x + r * (n_h + self.c_n))
        h = n + z * (s.h - n)
        return h, self.State(h)
