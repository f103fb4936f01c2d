"""Long short-term memory, with gates that see the cell state (peepholes), and with layer normalisation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["LSTM", "LayerNormLSTM", "PeepholeLSTM"]


def _open_forget_gate(hidden_size: int, forget_bias: float) -> tg.Tensor:
    """The bias of the gates i, f, g, o (4 H,): ``forget_bias`` in f, else 0."""
    return tg.nn.parameter(np.repeat(np.array([0, forget_bias, 0, 0], np.float32), hidden_size))


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
        self.input.bias = _open_forget_gate(hidden_size, forget_bias)
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 4 * hidden_size), blocks=4))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        i, f, g, o = tg.split(self.input(x) + s.h @ self.U, 4)
        c = tg.sigmoid(f) * s.c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        return h, self.State(h, c)


@register(
    paper="Gers, Schraudolph & Schmidhuber 2002, Learning precise timing with LSTM recurrent networks",
    family="gated",
    equations="""
    iₜ = σ(xₜ W + hₜ₋₁ U + pᵢ ∘ cₜ₋₁ + b)      each gate with its own W, U, b
    fₜ = σ(xₜ W + hₜ₋₁ U + p_f ∘ cₜ₋₁ + b)
    gₜ = tanh(xₜ W + hₜ₋₁ U + b)
    cₜ = fₜ ∘ cₜ₋₁ + iₜ ∘ gₜ
    oₜ = σ(xₜ W + hₜ₋₁ U + pₒ ∘ cₜ + b)
    hₜ = oₜ ∘ tanh(cₜ)
    yₜ = hₜ
    """,
)
class PeepholeLSTM(Cell):
    """Long short-term memory whose gates look at the cell state: i and f at the old one, o at the new one.

    The four blocks of the weights are in the order i, f, g, o. The peepholes pᵢ, p_f, pₒ (H,) start at 0, so that the
    cell begins as an ``LSTM``, and all else as there.

    >>> cell = PeepholeLSTM(3, 5)
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
        self.input.bias = _open_forget_gate(hidden_size, forget_bias)
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 4 * hidden_size), blocks=4))
        self.p_i, self.p_f, self.p_o = (tg.nn.parameter(tg.nn.init.zeros(None, (hidden_size,))) for _ in range(3))

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        i, f, g, o = tg.split(self.input(x) + s.h @ self.U, 4)
        c = tg.sigmoid(f + self.p_f * s.c) * s.c + tg.sigmoid(i + self.p_i * s.c) * tg.tanh(g)
        h = tg.sigmoid(o + self.p_o * c) * tg.tanh(c)
        return h, self.State(h, c)


@register(
    paper="Ba, Kiros & Hinton 2016, Layer normalization, arXiv:1607.06450",
    family="gated",
    equations="""
    aₜ = LN(xₜ W; α₁) + LN(hₜ₋₁ U; α₂) + b      LN over all four gates, α its gain
    iₜ, fₜ, oₜ = σ(aₜ)      each its own part of aₜ
    gₜ = tanh(aₜ)
    cₜ = fₜ ∘ cₜ₋₁ + iₜ ∘ gₜ
    hₜ = oₜ ∘ tanh(LN(cₜ; α₃, β₃))
    yₜ = hₜ
    """,
)
class LayerNormLSTM(Cell):
    """Long short-term memory with layer normalisation of what comes from the input, the state, and the cell state.

    LN(v; α, β) = α ∘ (v − mean v) / √(var v + 10⁻⁵) + β. The cell state is carried as it is and normalised where it is
    shown. The paper's β₁ and β₂ would only be added to b, so b stands for all three; it is the bias of the first LN.
    The four blocks are in the order i, f, g, o. Gains start at 1, β₃ at 0, all else as in ``LSTM``.

    >>> cell = LayerNormLSTM(3, 5)
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
        self.input = tg.nn.Linear(input_size, 4 * hidden_size, bias=False, rng=rng.fork("input"))
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(rng.fork("U"), (hidden_size, 4 * hidden_size), blocks=4))
        self.norm_x = tg.nn.LayerNorm(4 * hidden_size)
        self.norm_x.bias = _open_forget_gate(hidden_size, forget_bias)
        self.norm_h = tg.nn.LayerNorm(4 * hidden_size, bias=False)
        self.norm_c = tg.nn.LayerNorm(hidden_size)

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        i, f, g, o = tg.split(self.norm_x(self.input(x)) + self.norm_h(s.h @ self.U), 4)
        c = tg.sigmoid(f) * s.c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(self.norm_c(c))
        return h, self.State(h, c)
