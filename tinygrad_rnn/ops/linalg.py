"""Matrix products, triangles and diagonals; see also einsum.py."""

from __future__ import annotations

import math

import numpy as np

from ..declare import bilinear, linear
from .index import getitem
from .reduce import sum
from .shape import moveaxis, reshape, swapaxes

__all__ = [
    "diagonal",
    "matmul",
    "outer",
    "trace",
    "tril",
    "triu",
]

# mypy: disable-error-code="no-untyped-def"


def _as_matrices(g, a_shape, b_shape):
    """The cotangent of a product as it would be if 1-D arguments were the matrices (1, K) and (K, 1)."""
    if len(b_shape) == 1:
        g = reshape(g, (*g.shape, 1))
    if len(a_shape) == 1:
        g = reshape(g, (*g.shape[:-1], 1, g.shape[-1]))
    return g


def _left(g, b, a_shape, b_shape):
    if len(a_shape) > 1 and len(b_shape) > 1:
        if type(g) is np.ndarray and g.ndim == b.ndim == 2 and g.shape[0] < g.shape[1]:
            return np.ascontiguousarray((b @ g.T).T)  # OpenBLAS: up to twice as fast as g @ b.T when g has few rows
        return g @ swapaxes(b, -1, -2)
    g = _as_matrices(g, a_shape, b_shape)
    b = reshape(b, (*b_shape, 1)) if len(b_shape) == 1 else b
    ga = g @ swapaxes(b, -1, -2)
    return ga if len(a_shape) > 1 else reshape(ga, (*ga.shape[:-2], ga.shape[-1]))


def _right(g, a, a_shape, b_shape):
    g = _as_matrices(g, a_shape, b_shape)
    a = reshape(a, (1, *a_shape)) if len(a_shape) == 1 else a
    gb = swapaxes(a, -1, -2) @ g
    return gb if len(b_shape) > 1 else reshape(gb, gb.shape[:-1])


def _rows(g, a, a_shape, b_shape):
    """What a weight's gradient needs of one use: the rows of a and of g, when b is one matrix."""
    if len(b_shape) != 2 or len(a_shape) < 2:
        return None
    if len(a_shape) == 2:
        return a, g
    rows = math.prod(a_shape[:-1])  # −1 cannot be told where another size is 0
    return a.reshape(rows, a_shape[-1]), g.reshape(rows, b_shape[-1])


def _sum_of_outer_products(xp, parts, shape, dtype):
    """Σ aᵀ g over all uses as one product over all rows."""
    if len(parts) == 1:
        a, g = parts[0]
    else:
        a, g = (xp.concatenate(rows) for rows in zip(*parts, strict=True))
    return a.T @ g


def _inner_sizes(a, b):
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        return "a matrix product takes arrays of one axis or more; multiply by a number with *"
    if a.shape[-1] != b.shape[max(-2, -b.ndim)]:
        return f"inner sizes {a.shape[-1]} and {b.shape[max(-2, -b.ndim)]} differ"
    return None


@bilinear("matmul", _left, _right, deferred={1: (_rows, _sum_of_outer_products)}, hint=_inner_sizes)
def matmul(a, b):
    """The matrix product (…, n, k) @ (…, k, m) → (…, n, m), batched over the others; 1-D arguments as in NumPy.

    ∂/∂a is g bᵀ and ∂/∂b is aᵀ g. Raises ValueError, with the place and both sizes, when the inner sizes differ.

    >>> import tinygrad_rnn as tg
    >>> tg.matmul(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 10.0]))
    tensor([21., 43.])
    """
    return a @ b


def outer(a, b):
    """aᵢ · bⱼ of the flattened a and b: shape (a.size, b.size).

    >>> import tinygrad_rnn as tg
    >>> tg.outer(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


@linear("triu", lambda g, k: triu(g, k))
def _triu(xp, x, *, k):
    return xp.triu(x, k)


def triu(x, k=0):
    """The last two axes' upper triangle, from the k-th diagonal on; 0 below.

    >>> import tinygrad_rnn as tg
    >>> tg.triu(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 2.],
            [0., 4.]])
    """
    return _triu(x, k=k)


@linear("tril", lambda g, k: tril(g, k))
def _tril(xp, x, *, k):
    return xp.tril(x, k)


def tril(x, k=0):
    """The last two axes' lower triangle, up to the k-th diagonal; 0 above.

    >>> import tinygrad_rnn as tg
    >>> tg.tril(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 0.],
            [3., 4.]])
    """
    return _tril(x, k=k)


def diagonal(x, offset=0, axis1=0, axis2=1):
    """The entries (i, i + offset) of two axes, as the last axis.

    >>> import tinygrad_rnn as tg
    >>> tg.diagonal(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    n = max(min(x.shape[-2] + min(offset, 0), x.shape[-1] - max(offset, 0)), 0)
    rows = np.arange(n) - min(offset, 0)
    return getitem(x, (..., rows.tolist(), (rows + offset).tolist()))


def trace(x, offset=0, axis1=0, axis2=1):
    """The sum of a diagonal, Σ x[i, i + offset].

    >>> import tinygrad_rnn as tg
    >>> tg.trace(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    return sum(diagonal(x, offset, axis1, axis2), -1)
