"""Layers that act on the last axis, whatever comes before it: ``(…, D)``, such as a time series ``(T, B, D)``.

``rng`` is where initial values come from; a model hands each part its own, ``rng.fork("encoder")``. Left out it is
``Generator(0)``: reproducible, but two equal layers made so start equal.
"""

from __future__ import annotations

import numpy as np

from ..ops.elementwise import sqrt
from ..ops.index import embedding
from ..ops.reduce import mean
from ..random import Generator
from ..tensor import Tensor
from . import init
from .module import Module, parameter

__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear", "RMSNorm"]


class Linear(Module):
    """``y = x W + b`` with x ``(…, in_features)``, W ``(in_features, out_features)``, y ``(…, out_features)``.

    W starts as ``init.glorot_uniform``, b at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Linear(3, 2)(tg.ones((5, 7, 3))).shape
    (5, 7, 2)
    """

    bias: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, rng: Generator | None = None
    ) -> None:
        rng = rng or Generator()
        self.weight = parameter(init.glorot_uniform(rng.fork("weight"), (in_features, out_features)))
        self.bias = parameter(init.zeros(None, (out_features,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """Row ``indices`` of a table: integers ``(…)`` below ``count`` to vectors ``(…, features)``.

    The table starts as N(0, 1). Raises IndexError for an index that is out of range.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Embedding(65, 16)(tg.tensor([[1, 2, 3]])).shape
    (1, 3, 16)
    """

    def __init__(self, count: int, features: int, *, rng: Generator | None = None) -> None:
        self.weight = parameter(init.normal((rng or Generator()).fork("weight"), (count, features)))

    def forward(self, indices: Tensor) -> Tensor:
        return embedding(self.weight, indices)


class LayerNorm(Module):
    """``(x − mean) / √(variance + eps) · weight + bias`` over the last axis (Ba et al. 2016).

    ``bias=False`` leaves the last term out, where another bias is added anyway.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2)(tg.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]], requires_grad=True)
    """

    bias: Tensor | None

    def __init__(self, features: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        self.eps = eps
        self.weight = parameter(init.constant(None, (features,), value=1.0))
        self.bias = parameter(init.zeros(None, (features,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        centred = x - mean(x, -1, keepdims=True)
        y = centred / sqrt(mean(centred * centred, -1, keepdims=True) + self.eps) * self.weight
        return y if self.bias is None else y + self.bias


class RMSNorm(Module):
    """``x / √(mean(x²) + eps) · weight`` over the last axis (Zhang & Sennrich 2019).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.RMSNorm(2)(tg.tensor([[3.0, 3.0]]))
    tensor([[1., 1.]], requires_grad=True)
    """

    def __init__(self, features: int, *, eps: float = 1e-6) -> None:
        self.eps = eps
        self.weight = parameter(init.constant(None, (features,), value=1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x / sqrt(mean(x * x, -1, keepdims=True) + self.eps) * self.weight


class Dropout(Module):
    """In training an entry is 0 with probability p, else divided by 1 − p; in use x itself (Srivastava et al. 2014).

    The mask of call n is a function of ``rng`` and n alone, and n is the buffer ``calls``: a model restored from its
    ``state_dict`` goes on with the masks that it would have drawn. To draw one mask again (under ``tg.checkpoint``,
    in finite differences) give ``rng`` to the call itself: equal generators give equal masks, and ``calls`` stays.

    >>> import tinygrad_rnn as tg
    >>> dropout = tg.nn.Dropout(0.5)
    >>> sorted(set(dropout(tg.ones(100)).tolist()))
    [0.0, 2.0]
    >>> dropout.eval()(tg.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float, *, rng: Generator | None = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p={p} is not the probability to drop an entry; it lies in [0, 1)")
        self.p = p
        self.rng = rng or Generator()
        self.calls = Tensor(np.zeros((), np.int64))

    def forward(self, x: Tensor, *, rng: Generator | None = None) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if rng is None:
            rng = self.rng.fork(int(self.calls))
            self.calls.data += 1
        keep = 1 - self.p
        return x * (rng.fork("mask").bernoulli(x.shape, keep, dtype=x.dtype, device=x.device) * (1 / keep))
