"""Plain recurrent nets: every unit hears all others (Elman), or only itself (IndRNN)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["ElmanRNN", "IndRNN"]

NONLINEARITIES = {"tanh": tg.tanh, "relu": tg.relu}


def _checked(cell: Cell, nonlinearity: str) -> str:
    if nonlinearity not in NONLINEARITIES:
        known = ", ".join(NONLINEARITIES)
        raise ValueError(f"{type(cell).__name__}: nonlinearity={nonlinearity!r} is not one of {known}")
    return nonlinearity


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
        rng = rng or tg.random.Generator()
        self.nonlinearity = _checked(self, nonlinearity)
        self.input = tg.nn.Linear(input_size, hidden_size, rng=rng.fork("input"))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, hidden_size)))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        h = NONLINEARITIES[self.nonlinearity](self.input(x) + s.h @ self.U)
        return h, self.State(h)


@register(
    paper="Li et al. 2018, Independently recurrent neural network, arXiv:1803.04831",
    family="plain",
    equations="""
    hₜ = φ(xₜ W + u ∘ hₜ₋₁ + b)      φ = relu or tanh
    yₜ = hₜ
    """,
)
class IndRNN(Cell):
    """The independently recurrent net: each unit has one recurrent weight, and sees no other unit's past.

    An ``ElmanRNN`` with a diagonal U, in which |u|ᵀ is all that can grow or fade over T steps; for memories of T steps
    the paper keeps |u| ≤ 2^(1/T). ``nonlinearity`` is "relu", as in the paper (torchrecurrent's default is tanh, and
    its u N(0, 1)), or "tanh". W starts as glorot_uniform, u from U(0, 1) as in the authors' code, b at 0.

    >>> cell = IndRNN(3, 5)
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
        nonlinearity: str = "relu",
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.nonlinearity = _checked(self, nonlinearity)
        self.input = tg.nn.Linear(input_size, hidden_size, rng=rng.fork("input"))
        self.u = tg.nn.parameter(rng.fork("u").uniform((hidden_size,), 0.0, 1.0))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        h = NONLINEARITIES[self.nonlinearity](self.input(x) + self.u * s.h)
        return h, self.State(h)
