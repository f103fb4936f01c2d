"""The plain recurrent net."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["ElmanRNN"]

NONLINEARITIES = {"tanh": tg.tanh, "relu": tg.relu}


@register(
    paper="Elman 1990, Finding structure in time",
    family="plain",
    equations="""
    hₜ = φ(xₜ W + hₜ₋₁ U + b)      φ = tanh or relu
    yₜ = hₜ
    """,
)
class ElmanRNN(Cell):
    """The plain recurrent net: one affine map of input and state, and a squashing.

    ``nonlinearity`` is "tanh" or "relu". W starts as glorot_uniform, U orthogonal, b at 0.

    >>> cell = ElmanRNN(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.h.shape
    ((2, 5), (2, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"ElmanRNN: nonlinearity={nonlinearity!r} is not one of {', '.join(NONLINEARITIES)}")
        rng = rng or tg.random.Generator()
        self.nonlinearity = nonlinearity
        self.input = tg.nn.Linear(input_size, hidden_size, rng=rng.fork("input"))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, hidden_size)))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        h = NONLINEARITIES[self.nonlinearity](self.input(x) + s.h @ self.U)
        return h, self.State(h)
