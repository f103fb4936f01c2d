"""Ops over whole axes: sums, extrema, products, softmax, norms, running sums, and order.

``axis`` is None (all), an int or a tuple, ``keepdims`` leaves the reduced axes at size 1, as in NumPy.
"""

from __future__ import annotations

import math

import numpy as np

from ..declare import constant, linear, primitive
from ..op import refusal
from .elementwise import abs, exp, maximum, where
from .index import take_along_axis
from .shape import axes_of, concatenate, reshape, split, transpose

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "softmax",
    "sort",
    "std",
    "sum",
    "topk",
    "var",
]

# mypy: disable-error-code="no-untyped-def"


def _axes(axis, ndim):
    """The axes that NumPy took ``axis`` for, as numbers ≥ 0; it lets 0 and −1 pass for a 0-d array."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))) if ndim else ()


def _count(x_shape, axis):
    """How many entries each entry of the result is made of."""
    return math.prod(x_shape[a] for a in _axes(axis, len(x_shape)))


def _kept(g, x_shape, axis, keepdims):
    """A reduced array with the axes that it lost back, at size 1: it broadcasts against x."""
    if keepdims or axis is None:
        return g
    gone = _axes(axis, len(x_shape))
    return g.reshape(tuple(1 if i in gone else n for i, n in enumerate(x_shape)))


@linear("spread", lambda g: g)  # the driver sums over what was stretched
def _spread(xp, x, *, shape):
    """broadcast_to, but an array of its own: matrix products of stretched views are slow."""
    out = xp.empty(shape, x.dtype)
    out[...] = x
    return out


def _over(g, x_shape, axis, keepdims):
    """A reduced array over all of x again."""
    return _spread(_kept(g, x_shape, axis, keepdims), shape=x_shape)


@linear("sum", _over)
def _sum(x, *, axis, keepdims):
    return x.sum(axis, keepdims=keepdims)


def sum(x, axis=None, keepdims=False):
    """Σ x over an axis, a tuple of axes or all of them; with ``keepdims`` they stay, with size 1.

    >>> import tinygrad_rnn as tg
    >>> tg.sum(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([4., 6.])
    """
    return _sum(x, axis=axis, keepdims=keepdims)


@linear("mean", lambda g, x_shape, axis, keepdims: _over(g / _count(x_shape, axis), x_shape, axis, keepdims))
def _mean(x, *, axis, keepdims):
    return x.mean(axis, keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """Σ x / n over an axis, a tuple of axes or all of them; with ``keepdims`` they stay, with size 1.

    >>> import tinygrad_rnn as tg
    >>> tg.mean(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([2., 3.])
    """
    return _mean(x, axis=axis, keepdims=keepdims)


def _degrees(x, axis, ddof):
    left = _count(x.shape, axes_of("var", x, axis)) - ddof
    if left <= 0:
        raise refusal("var", f"{left + ddof} entries less ddof = {ddof} leave nothing to divide by", [x])
    return left


def var(x, axis=None, *, ddof=0, keepdims=False):
    """Σ |x − mean|² / (n − ddof), over an axis, a tuple of axes or all; the gradient is 2 (x − mean) / (n − ddof).

    Raises ValueError unless n > ddof.

    >>> import tinygrad_rnn as tg
    >>> tg.var(tg.tensor([1.0, 3.0]))
    tensor(1.)
    """
    degrees = _degrees(x, axis, ddof)
    d = x - mean(x, axis, keepdims=True)
    squares = (d * d.conj()).real if x.dtype.kind == "c" else d * d
    return sum(squares, axis, keepdims) / degrees


def std(x, axis=None, *, ddof=0, keepdims=False):
    """√var, over an axis, a tuple of axes or all; where all entries are equal the gradient counts as 0.

    Raises ValueError unless n > ddof.

    >>> import tinygrad_rnn as tg
    >>> tg.std(tg.tensor([1.0, 3.0]), ddof=1)
    tensor(1.4142)
    """
    degrees = _degrees(x, axis, ddof)
    return norm(x - mean(x, axis, keepdims=True), axis=axis, keepdims=keepdims) / math.sqrt(degrees)


@constant("ties")
def _ties(x, extremum, *, axis):
    """1 / (how many entries equal the extremum) at those entries, else 0."""
    at = (x == extremum).astype(x.dtype)
    return at / at.sum(axis, keepdims=True)


def _from_extremum(g, x, out, axis, keepdims):
    g, out = _kept(g, x.shape, axis, keepdims), _kept(out, x.shape, axis, keepdims)
    return g * _ties(x, out, axis=axis)


def _to_extremum(t, x, out, axis, keepdims):
    return sum(t * _ties(x, _kept(out, x.shape, axis, keepdims), axis=axis), axis, keepdims)


@primitive("max", _from_extremum, jvp=_to_extremum)
def _max(x, *, axis, keepdims):
    return x.max(axis, keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """The largest entry, along an axis, a tuple of axes or of all; entries that tie share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> tg.max(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    tensor([2., 4.])
    """
    return _max(x, axis=axis, keepdims=keepdims)


@primitive("min", _from_extremum, jvp=_to_extremum)
def _min(x, *, axis, keepdims):
    return x.min(axis, keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """The smallest entry, along an axis, a tuple of axes or of all; entries that tie share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> tg.min(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    tensor([1., 3.])
    """
    return _min(x, axis=axis, keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Π x, over an axis, a tuple of axes or all; the gradient is the product of the other entries.

    The axis is halved until one entry is left: nothing is divided, so zeros are as good as any number.

    >>> import tinygrad_rnn as tg
    >>> tg.prod(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([3., 8.])
    """
    gone = axes_of("prod", x, axis)
    n = _count(x.shape, gone)
    if n == 0:
        return sum(x, axis, keepdims) + 1
    stay = tuple(a for a in range(len(x.shape)) if a not in gone)
    kept = tuple(1 if a in gone else size for a, size in enumerate(x.shape))
    p = reshape(transpose(x, stay + gone), (*(x.shape[a] for a in stay), n))
    while n > 1:
        left, right, odd = split(p, (n // 2, n // 2 * 2), axis=-1)
        p = left * right if n % 2 == 0 else concatenate([left * right, odd], axis=-1)
        n = n // 2 + n % 2
    return reshape(p, kept if keepdims else tuple(x.shape[a] for a in stay))


def _below_maximum(x, axis):
    """x − max x, and the maximum; a finite number stands in for an infinite one, so that −inf − −inf is −inf."""
    limits = np.finfo(x.dtype)
    top = x.max(axis, keepdims=True).clip(limits.min, limits.max)
    return x - top, top


def _positive(xp, total):
    """A sum of exponentials, at least 1 unless all of them are e^−∞: then a tiny number, to divide by."""
    return xp.maximum(total, np.finfo(total.dtype).tiny)


def _finite(x, out, axis, keepdims):
    """A logsumexp to subtract from x: the lowest finite number where it is −inf."""
    return maximum(_kept(out, x.shape, axis, keepdims), float(np.finfo(x.dtype).min))


@primitive(
    "logsumexp",
    lambda g, x, out, axis, keepdims: _kept(g, x.shape, axis, keepdims) * exp(x - _finite(x, out, axis, keepdims)),
    jvp=lambda t, x, out, axis, keepdims: sum(t * exp(x - _finite(x, out, axis, keepdims)), axis, keepdims),
)
def _logsumexp(xp, x, *, axis, keepdims):
    below, top = _below_maximum(x, axis)
    with np.errstate(divide="ignore"):  # log 0 = −inf is meant
        out = xp.log(xp.exp(below).sum(axis, keepdims=True)) + top
    return out if keepdims else out.reshape([n for a, n in enumerate(x.shape) if a not in _axes(axis, x.ndim)])


def logsumexp(x, axis=None, keepdims=False):
    """log Σ eˣ without overflow, with gradient softmax(x); −inf, with gradient 0, where all entries are −inf.

    >>> import tinygrad_rnn as tg
    >>> tg.logsumexp(tg.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    return _logsumexp(x, axis=axis, keepdims=keepdims)


def _along_softmax(g, out, axis):
    """The Jacobian of softmax, diag(p) − p pᵀ, times g; it is symmetric."""
    weighted = g * out
    return weighted - out * sum(weighted, axis, keepdims=True)


@primitive("softmax", _along_softmax, jvp=_along_softmax)
def _softmax(xp, x, *, axis):
    p = xp.exp(_below_maximum(x, axis)[0])
    p /= _positive(xp, p.sum(axis, keepdims=True))
    return p


def softmax(x, axis=-1):
    """p = eˣ / Σ eˣ along an axis; 0 for entries −inf, also when there are no others.

    The cotangent g becomes p (g − Σ g p): the Jacobian is diag(p) − p pᵀ.

    >>> import tinygrad_rnn as tg
    >>> tg.softmax(tg.tensor([0.0, 0.0, 1.0]))
    tensor([0.2119, 0.2119, 0.5761])
    """
    return _softmax(x, axis=axis)


@primitive(
    "log_softmax",
    lambda g, out, axis: g - exp(out) * sum(g, axis, keepdims=True),
    jvp=lambda t, out, axis: t - sum(exp(out) * t, axis, keepdims=True),
)
def _log_softmax(xp, x, *, axis):
    below, _ = _below_maximum(x, axis)
    return below - xp.log(_positive(xp, xp.exp(below).sum(axis, keepdims=True)))


def log_softmax(x, axis=-1):
    """x − log Σ eˣ along an axis; −inf for entries −inf, also when there are no others.

    The cotangent g becomes g − softmax(x) Σ g.

    >>> import tinygrad_rnn as tg
    >>> tg.log_softmax(tg.tensor([0.0, 0.0, 1.0]))
    tensor([-1.5514, -1.5514, -0.5514])
    """
    return _log_softmax(x, axis=axis)


def _direction(x, out, axis, keepdims):
    """x̄ / ‖x‖, the derivative of the norm; 0 where the norm is 0."""
    out = _kept(out, x.shape, axis, keepdims)
    zero = out == 0
    return where(zero, 0.0, (x.conj() if x.dtype.kind == "c" else x) / where(zero, 1.0, out))


def _along_direction(t, x, out, axis, keepdims):
    t = t * _direction(x, out, axis, keepdims)
    return sum(t.real if t.dtype.kind == "c" else t, axis, keepdims)


@primitive(
    "norm",
    lambda g, x, out, axis, keepdims: _kept(g, x.shape, axis, keepdims) * _direction(x, out, axis, keepdims),
    jvp=_along_direction,
)
def _norm(xp, x, *, axis, keepdims):
    return xp.sqrt((x * x.conj()).real.sum(axis, keepdims=keepdims))


def norm(x, ord=2, axis=None, keepdims=False):
    """(Σ |x|^ord)^(1/ord) over all the axes given, for ord 1, 2 or inf (else ValueError).

    The gradient of the 2-norm is x / ‖x‖, which counts as 0 at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.norm(tg.tensor([[3.0, 4.0], [5.0, 12.0]]), axis=-1)
    tensor([ 5., 13.])
    """
    if ord == 2:
        return _norm(x, axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    if ord == math.inf:
        return max(abs(x), axis, keepdims)
    raise refusal("norm", f"ord = {ord!r} is not 1, 2 or inf", [x])


@linear("cumsum", lambda g, axis, reverse: _cumsum(g, axis=axis, reverse=not reverse))
def _cumsum(xp, x, *, axis, reverse):
    return xp.flip(xp.flip(x, axis).cumsum(axis), axis) if reverse else x.cumsum(axis)


def cumsum(x, axis=None):
    """Running sums x₀, x₀ + x₁, … along an axis (of the flattened array when None); the gradient's run backwards.

    >>> import tinygrad_rnn as tg
    >>> tg.cumsum(tg.tensor([1.0, 2.0, 3.0]))
    tensor([1., 3., 6.])
    """
    return _cumsum(reshape(x, -1), axis=0, reverse=False) if axis is None else _cumsum(x, axis=axis, reverse=False)


@constant("argmax")
def _argmax(x, *, axis, keepdims):
    return x.argmax(axis, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """Where the largest entry is (the first of them); of the flattened array without an axis. No gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.argmax(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    tensor([1, 1], dtype=int64)
    """
    return _argmax(x, axis=axis, keepdims=keepdims)


@constant("argmin")
def _argmin(x, *, axis, keepdims):
    return x.argmin(axis, keepdims=keepdims)


def argmin(x, axis=None, keepdims=False):
    """Where the smallest entry is (the first of them); of the flattened array without an axis. No gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.argmin(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    tensor([0, 0], dtype=int64)
    """
    return _argmin(x, axis=axis, keepdims=keepdims)


@constant("argsort")
def _argsort(xp, x, *, axis, descending):
    if not descending:
        return xp.argsort(x, axis, kind="stable")
    mirrored = xp.flip(xp.argsort(xp.flip(x, axis), axis, kind="stable"), axis)
    return x.shape[axis] - 1 - mirrored  # of equal entries the first stays first


def argsort(x, axis=-1, *, descending=False):
    """The indices that sort x along an axis, stably; no gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.argsort(tg.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0], dtype=int64)
    """
    return _argsort(x, axis=axis, descending=descending)


def sort(x, axis=-1, *, descending=False):
    """The entries along an axis in order; each gets the gradient of the place it went to.

    >>> import tinygrad_rnn as tg
    >>> tg.sort(tg.tensor([3.0, 1.0, 2.0]), descending=True)
    tensor([3., 2., 1.])
    """
    return take_along_axis(x, argsort(x, axis, descending=descending), axis)


def topk(x, k, axis=-1):
    """The k largest entries along an axis, largest first, and their indices.

    Raises ValueError when there are fewer than k.

    >>> import tinygrad_rnn as tg
    >>> tg.topk(tg.tensor([1.0, 3.0, 2.0]), 2)
    (tensor([3., 2.]), tensor([1, 2], dtype=int64))
    """
    size = x.shape[axes_of("topk", x, axis)[0]]
    if not 0 <= k <= size:
        raise refusal("topk", f"k = {k}, but axis {axis} has {size} entries", [x])
    indices, _ = split(argsort(x, axis, descending=True), (k,), axis=axis)
    return take_along_axis(x, indices, axis), indices
