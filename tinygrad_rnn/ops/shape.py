"""Ops that move entries and change none: reshaping, transposing, joining, splitting, dtype and device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..backend import device_of, namespace, to_device
from ..op import linear
from ..tensor import Tensor

__all__ = [
    "alias",
    "astype",
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transfer",
    "transpose",
    "unstack",
]

# mypy: disable-error-code="no-untyped-def"


@linear("alias", lambda g: g)
def alias(x):
    """x itself, as a value of its own in the graph."""
    return x


@linear("transfer", lambda g, home: transfer(g, device=home))
def _transfer(x, *, device, home):
    return to_device(x, device)


def transfer(x, *, device):
    """x on another device; the gradient travels back."""
    array = x.data if type(x) is Tensor else x
    return _transfer(x, device=device, home=device_of(array))


@linear("astype", lambda g: g)
def astype(x, dtype):
    """x in another dtype; the gradient comes back in the dtype of x."""
    return x.astype(dtype, copy=False)


@linear("reshape", lambda g, x_shape: g.reshape(x_shape))
def _reshape(x, *, shape):
    return x.reshape(shape)


def reshape(x, *shape):
    """The same entries, in C order, under another shape; one size may be −1."""
    return _reshape(x, shape=sizes(shape))


def sizes(shape: tuple) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape


@linear("transpose", lambda g, axes: transpose(g, tuple(int(i) for i in np.argsort(axes))))
def _transpose(x, *, axes):
    return x.transpose(axes)


def transpose(x, axes=None):
    """The axes in another order; reversed when ``axes`` is None."""
    n = len(x.shape)
    return _transpose(x, axes=tuple(range(n))[::-1] if axes is None else tuple(a % n for a in axes))


@linear("swapaxes", lambda g, axis1, axis2: swapaxes(g, axis1, axis2))
def _swapaxes(x, *, axis1, axis2):
    return x.swapaxes(axis1, axis2)


def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    return _swapaxes(x, axis1=axis1, axis2=axis2)


@linear("broadcast_to", lambda g: g)  # the driver sums over the axes that were stretched
def _broadcast_to(xp, x, *, shape):
    return xp.broadcast_to(x, shape)


def broadcast_to(x, shape):
    """x repeated along axes of size 1, and new leading ones, to ``shape``."""
    return _broadcast_to(x, shape=tuple(shape))


def squeeze(x, axis=None):
    """Without the axes of size 1 (all of them, or those named)."""
    n = len(x.shape)
    gone = range(n) if axis is None else [a % n for a in (axis if isinstance(axis, tuple) else (axis,))]
    if axis is not None and any(x.shape[a] != 1 for a in gone):
        raise ValueError(f"squeeze: axes {tuple(gone)} of shape {x.shape} are not all of size 1")
    return reshape(x, tuple(s for a, s in enumerate(x.shape) if a not in gone or s != 1))


def expand_dims(x, axis):
    """With new axes of size 1 at the places ``axis`` of the result."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    n = len(x.shape) + len(axes)
    places = {a % n for a in axes}
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in places else next(sizes) for i in range(n)))


def _cuts(shapes: tuple, axis: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.cumsum([s[axis] for s in shapes])[:-1])


@linear("concatenate", lambda g, xs_shape, axis: split(g, _cuts(xs_shape, axis), axis=axis))
def _concatenate(xp, *xs, axis):
    return xp.concatenate(xs, axis)


def concatenate(xs, axis=0):
    """Arrays joined along an existing axis."""
    return _concatenate(*xs, axis=axis)


@linear("stack", lambda g, axis: unstack(g, axis=axis))
def _stack(xp, *xs, axis):
    return xp.stack(xs, axis)


def stack(xs, axis=0):
    """Arrays of equal shape joined along a new axis."""
    return _stack(*xs, axis=axis)


def _filled(g: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Cotangents of several outputs, zeros where an output was not used."""
    like = next(c for c in g if c is not None)
    array = like.data if type(like) is Tensor else like
    xp = namespace(array)
    return [xp.zeros(s, array.dtype) if c is None else c for c, s in zip(g, shapes, strict=True)]


@linear("split", lambda g, out_shape, axis: concatenate(_filled(g, out_shape), axis=axis), many=True)
def _split(x, *, cuts, axis):
    before = (slice(None),) * (axis % x.ndim)
    edges = (0, *cuts, x.shape[axis])
    return tuple([x[(*before, slice(a, b))] for a, b in pairwise(edges)])


def split(x, parts, axis=-1):
    """x cut along an axis into ``parts`` equal pieces, or at the places listed.

    One op, whose backward pass is one concatenate: cells take their gates apart with it.
    """
    if isinstance(parts, int):
        size = x.shape[axis]
        if size % parts:
            raise ValueError(f"split: axis {axis} of shape {x.shape} has {size} entries, not a multiple of {parts}")
        parts = range(size // parts, size, size // parts) if size else [0] * (parts - 1)
    return _split(x, cuts=tuple(parts), axis=axis)


@linear("unstack", lambda g, out_shape, axis: stack(_filled(g, out_shape), axis=axis), many=True)
def _unstack(x, *, axis):
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, i)] for i in range(x.shape[axis])])


def unstack(x, axis=0):
    """The slices along an axis, as a tuple; the backward pass is one stack, however many there are."""
    return _unstack(x, axis=axis)
