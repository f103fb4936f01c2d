"""States that are matrices, written with outer products and read with products: associative memories."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.registry import register

__all__ = ["FastWeights", "MLSTM"]


@register(
    paper="Ba et al. 2016, Using fast weights to attend to the recent past, arXiv:1610.06258",
    family="matrix memory",
    equations="""
    aₜ = xₜ W + hₜ₋₁ U
    h⁰ₜ = relu(LN(aₜ))
    hˢₜ = relu(LN(aₜ + hˢ⁻¹ₜ Aₜ₋₁ᵀ))      s = 1 … S
    hₜ = hˢₜ of s = S
    Aₜ = λ Aₜ₋₁ + η hₜᵀ hₜ
    yₜ = hₜ
    """,
)
class FastWeights(Cell):
    """Fast weights: a matrix A remembers the recent states, and an inner loop draws the new state towards them.

    Reading hˢ Aᵀ is attention: past states, weighted by how much they agree with hˢ, fading by ``decay`` λ a step and
    written with ``rate`` η. ``inner_steps`` is S; all its layer normalisations are one. A holds hₜ when the next step
    reads it, as in the paper. W starts as U(±1/√H), U as 0.05 times the identity, the gain of LN at 1, its bias at 0.

    >>> cell = FastWeights(3, 5)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.A.shape
    ((2, 5), (2, 5, 5))
    """

    class State(NamedTuple):
        h: tg.Tensor
        A: tg.Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        decay: float = 0.95,
        rate: float = 0.5,
        inner_steps: int = 1,
        rng: tg.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rng = rng or tg.random.Generator()
        self.decay, self.rate, self.inner_steps = decay, rate, inner_steps
        bound = 1 / math.sqrt(hidden_size)
        self.input = tg.nn.Linear(input_size, hidden_size, bias=False)
        self.input.weight = tg.nn.parameter(rng.fork("input").uniform((input_size, hidden_size), -bound, bound))
        self.U = tg.nn.parameter(tg.nn.init.identity(None, (hidden_size, hidden_size), gain=0.05))
        self.norm = tg.nn.LayerNorm(hidden_size)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"h": (self.hidden_size,), "A": (self.hidden_size, self.hidden_size)}

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        a = self.input(x) + s.h @ self.U
        h = tg.relu(self.norm(a))
        for _ in range(self.inner_steps):
            h = tg.relu(self.norm(a + tg.squeeze(s.A @ tg.expand_dims(h, -1), -1)))
        A = self.decay * s.A + tg.expand_dims(self.rate * h, -1) * tg.expand_dims(h, -2)
        return h, self.State(h, A)


@register(
    paper="Beck et al. 2024, xLSTM: Extended long short-term memory, arXiv:2405.04517",
    family="matrix memory",
    equations="""
    qₜ, kₜ, vₜ = xₜ W + b      each with its own W, b; kₜ also times 1/√d
    oₜ = σ(xₜ W + b)
    ĩₜ, f̃ₜ = xₜ w + b      numbers
    mₜ = max(log σ(f̃ₜ) + mₜ₋₁, ĩₜ)
    iₜ = exp(ĩₜ − mₜ)
    fₜ = exp(log σ(f̃ₜ) + mₜ₋₁ − mₜ)
    Cₜ = fₜ Cₜ₋₁ + iₜ kₜᵀ vₜ
    nₜ = fₜ nₜ₋₁ + iₜ kₜ
    yₜ = oₜ ∘ qₜ Cₜ / max(|qₜ nₜᵀ|, exp(−mₜ))
    """,
)
class MLSTM(Cell):
    """The xLSTM's matrix memory: values are written under keys with an exponential gate, and read with queries.

    C and n are kept as multiples of exp(−m), the largest gate so far, which overflows nowhere and cancels in y. Each of
    ``heads`` has d = H / heads features and its own ĩ, f̃, m. The blocks of the weights are in the order q, k, v, o, ĩ,
    f̃. As in the authors' code, W starts as glorot_uniform but at 0 for ĩ and f̃, the bias of ĩ as N(0, 0.1), that of f̃
    spread over 3 … 6 along the heads, all others at 0, and the bias of k is scaled with k.

    Raises ValueError for a hidden size that the heads do not divide.

    >>> cell = MLSTM(3, 6, heads=2)
    >>> y, s = cell(tg.ones((2, 3)), cell.init_state(2))
    >>> y.shape, s.C.shape, s.m.shape
    ((2, 6), (2, 2, 3, 3), (2, 2, 1))
    """

    class State(NamedTuple):
        C: tg.Tensor
        n: tg.Tensor
        m: tg.Tensor

    def __init__(
        self, input_size: int, hidden_size: int, *, heads: int = 1, rng: tg.random.Generator | None = None
    ) -> None:
        super().__init__(input_size, hidden_size)
        if heads < 1 or hidden_size % heads:
            raise ValueError(f"MLSTM: heads={heads} does not divide hidden_size={hidden_size} into equal parts")
        rng = rng or tg.random.Generator()
        self.heads, self.width = heads, hidden_size // heads
        self.input = tg.nn.Linear(input_size, 4 * hidden_size + 2 * heads, rng=rng.fork("input"))
        self.input.weight.data[:, 4 * hidden_size :] = 0
        i = rng.fork("i").normal((heads,), std=0.1).numpy()
        f = np.linspace(3, 6, heads, dtype=np.float32)
        self.input.bias = tg.nn.parameter(np.concatenate([np.zeros(4 * hidden_size, np.float32), i, f]))

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"C": (self.heads, self.width, self.width), "n": (self.heads, self.width), "m": (self.heads, 1)}

    def step(self, x: Any, s: State) -> tuple[Any, State]:
        H, d = self.hidden_size, self.width
        qkv, o, gates = tg.split(self.input(x), [3 * H, 4 * H])
        q, k, v = tg.unstack(tg.reshape(qkv, (-1, 3, self.heads, d)), 1)
        i, f = tg.split(tg.reshape(gates, (-1, 2 * self.heads, 1)), 2, 1)
        k = k * (1 / math.sqrt(d))
        log_f = -tg.softplus(-f)
        m = tg.maximum(log_f + s.m, i)
        i, f = tg.exp(i - m), tg.exp(log_f + s.m - m)
        C = tg.expand_dims(f, -1) * s.C + tg.expand_dims(i * k, -1) * tg.expand_dims(v, -2)
        n = f * s.n + i * k
        h = tg.squeeze(tg.expand_dims(q, -2) @ C, -2) / tg.maximum(abs((q * n).sum(-1, keepdims=True)), tg.exp(-m))
        y = tg.sigmoid(o) * tg.reshape(h, (-1, H))
        return y, self.State(C, n, m)
