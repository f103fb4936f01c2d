"""Convolution over time that sees no future: y[t] depends on x[t], x[t−1], … only."""

from __future__ import annotations

import functools
import math
import operator

from ..op import refusal
from .index import getitem
from .shape import concatenate, pad, reshape, unstack

__all__ = ["causal_conv1d"]

# mypy: disable-error-code="no-untyped-def"


def causal_conv1d(x, w, b=None, *, dilation=1):
    """``y[t] = Σₖ x[t − (K−1−k)·dilation] · w[k] + b``, with zeros before the first step.

    x (T, …, D); w (K, D): a filter for each feature (depthwise), y (T, …, D); or w (K, D, E): y (T, …, E), by one
    matrix product over K·D features. ``w[K−1]`` meets the present, as in torch's conv1d after padding on the left.
    Raises ValueError for shapes that do not fit.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[1.0], [2.0], [3.0]])  # T = 3, D = 1
    >>> tg.causal_conv1d(x, tg.tensor([[10.0], [1.0]])).reshape(-1)
    tensor([ 1., 12., 23.])
    """
    if len(w.shape) not in (2, 3) or len(x.shape) < 2 or w.shape[1] != x.shape[-1] or not w.shape[0]:
        cause = "x is (T, ..., D) and w (K, D) or (K, D, E) with the same D and K ≥ 1"
        raise refusal("causal_conv1d", cause, [x, w])
    if dilation < 1:
        raise refusal("causal_conv1d", f"dilation {dilation} is not a number of steps ≥ 1", [x, w])
    steps, taps = x.shape[0], w.shape[0]
    past = pad(x, (((taps - 1) * dilation, 0), *[(0, 0)] * (len(x.shape) - 1)))
    lagged = [getitem(past, slice(k * dilation, k * dilation + steps)) for k in range(taps)]
    if len(w.shape) == 2:
        y = functools.reduce(operator.add, [tap * row for tap, row in zip(lagged, unstack(w), strict=True)])
    else:
        rows, features = math.prod(x.shape[:-1]), taps * x.shape[-1]
        y = reshape(concatenate(lagged, -1), (rows, features)) @ reshape(w, (features, w.shape[-1]))
        y = reshape(y, (*x.shape[:-1], w.shape[-1]))
    return y if b is None else y + b
