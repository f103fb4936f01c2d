"""Ops that move entries and change none: reshaping, transposing, joining, splitting, dtype and device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..backend import device_of, namespace, to_device
from ..declare import linear
from ..op import refusal
from ..tensor import array_beside, array_of, tensor, zeros_beside
from .elementwise import where
from .flow import detach
from .index import getitem, take

__all__ = [
    "alias",
    "astype",
    "broadcast_to",
    "concat",
    "concatenate",
    "expand_dims",
    "flip",
    "moveaxis",
    "pad",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transfer",
    "transpose",
    "unstack",
]

# mypy: disable-error-code="no-untyped-def"


@linear("alias", lambda g: g)
def alias(x):
    """x itself, as a value of its own in the graph, with its own node and cotangent.

    >>> import tinygrad_rnn as tg
    >>> tg.alias(tg.tensor(3.0))
    tensor(3.)
    """
    return x


@linear("transfer", lambda g, home: transfer(g, device=home))
def _transfer(x, *, device, home):
    return to_device(x, device)


def transfer(x, *, device):
    """x on another device, "cpu" or "cuda:0"; the gradient travels back.

    Raises RuntimeError when there is no such device.

    >>> import tinygrad_rnn as tg
    >>> tg.transfer(tg.tensor([1.0, 2.0]), device="cpu")
    tensor([1., 2.])
    """
    return _transfer(x, device=device, home=device_of(array_of(x)))


def to(x, device):
    """x on another device, as ``transfer``; itself when it is already there."""
    return x if device_of(x.data) == device else transfer(x, device=device)


@linear("astype", lambda g: g)
def _astype(x, *, dtype):
    return x.astype(dtype, copy=False)


def astype(x, dtype):
    """x in another dtype; the gradient comes back in the dtype of x, and none from integers or booleans.

    >>> import tinygrad_rnn as tg
    >>> tg.astype(tg.tensor([1.5, -2.5]), "int64")
    tensor([ 1, -2], dtype=int64)
    """
    dtype = np.dtype(dtype)
    return _astype(x if dtype.kind in "fc" else detach(x), dtype=dtype)


@linear("reshape", lambda g, x_shape: g.reshape(x_shape))
def _reshape(x, *, shape):
    return x.reshape(shape)


def reshape(x, *shape):
    """The same entries, in C order, under another shape; one size may be −1.

    Raises ValueError when the shape holds another number of entries.

    >>> import tinygrad_rnn as tg
    >>> tg.reshape(tg.tensor([1.0, 2.0, 3.0, 4.0]), 2, -1)
    tensor([[1., 2.],
            [3., 4.]])
    """
    return _reshape(x, shape=sizes(shape))


def sizes(shape: tuple) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape


def axes_of(name: str, x: Any, axis: Any, ndim: int | None = None) -> tuple[int, ...]:
    """The axes that a call of ``name`` means by an int, a tuple, or None for all, as numbers ≥ 0."""
    n = len(x.shape) if ndim is None else ndim
    if axis is None:
        return tuple(range(n))
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    for a in axes:
        if not -n <= a < n:
            raise refusal(name, f"axis {a} is out of bounds for array of dimension {n}", [x])
    return tuple(a % n for a in axes)


@linear("transpose", lambda g, axes: transpose(g, tuple(int(i) for i in np.argsort(axes))))
def _transpose(x, *, axes):
    return x.transpose(axes)


def transpose(x, axes=None):
    """The axes in another order; reversed when ``axes`` is None.

    >>> import tinygrad_rnn as tg
    >>> tg.transpose(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 3.],
            [2., 4.]])
    """
    return _transpose(x, axes=axes_of("transpose", x, axes)[:: -1 if axes is None else 1])


@linear("swapaxes", lambda g, axis1, axis2: swapaxes(g, axis1, axis2))
def _swapaxes(x, *, axis1, axis2):
    return x.swapaxes(axis1, axis2)


def swapaxes(x, axis1, axis2):
    """Two axes exchanged.

    >>> import tinygrad_rnn as tg
    >>> tg.swapaxes(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    return _swapaxes(x, axis1=axis1, axis2=axis2)


@linear("broadcast_to", lambda g: g)  # the driver sums over the axes that were stretched
def _broadcast_to(xp, x, *, shape):
    return xp.broadcast_to(x, shape)


def broadcast_to(x, shape):
    """x repeated along axes of size 1, and new leading ones, to ``shape``; the gradient is summed over them.

    Raises ValueError when an axis of another size would have to change.

    >>> import tinygrad_rnn as tg
    >>> tg.broadcast_to(tg.tensor([1.0, 2.0]), (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    return _broadcast_to(x, shape=tuple(shape))


def moveaxis(x, source, destination):
    """Axes moved to other places, the rest in their order; ``source`` and ``destination``: an int or a tuple each.

    >>> import tinygrad_rnn as tg
    >>> tg.moveaxis(tg.tensor([[[1.0, 2.0]]]), 2, 0).shape
    (2, 1, 1)
    """
    sources, places = axes_of("moveaxis", x, source), axes_of("moveaxis", x, destination)
    if len(sources) != len(places):
        raise refusal("moveaxis", f"{source} to {destination}: as many places as axes are needed", [x])
    order = [a for a in range(len(x.shape)) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return _transpose(x, axes=tuple(order))


def squeeze(x, axis=None):
    """Without the axes of size 1 (all of them, or those named, else ValueError).

    >>> import tinygrad_rnn as tg
    >>> tg.squeeze(tg.tensor([[1.0, 2.0]]))
    tensor([1., 2.])
    """
    gone = axes_of("squeeze", x, axis)
    if axis is not None and any(x.shape[a] != 1 for a in gone):
        raise refusal("squeeze", f"axes {gone} are not all of size 1", [x])
    return reshape(x, tuple(s for a, s in enumerate(x.shape) if a not in gone or s != 1))


def expand_dims(x, axis):
    """With new axes of size 1 at the places ``axis`` of the result.

    >>> import tinygrad_rnn as tg
    >>> tg.expand_dims(tg.tensor([1.0, 2.0]), 0)
    tensor([[1., 2.]])
    """
    n = len(x.shape) + (len(axis) if isinstance(axis, tuple) else 1)
    places = axes_of("expand_dims", x, axis, n)
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in places else next(sizes) for i in range(n)))


def _cuts(shapes: tuple, axis: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.cumsum([s[axis] for s in shapes])[:-1])


@linear("concatenate", lambda g, xs_shape, axis: split(g, _cuts(xs_shape, axis), axis=axis))
def _concatenate(xp, *xs, axis):
    return xp.concatenate(xs, axis)


def concatenate(xs, axis=0):
    """Arrays joined along an existing axis; each gets its piece of the gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.concatenate([tg.tensor([1.0, 2.0]), tg.tensor([3.0])])
    tensor([1., 2., 3.])
    """
    return _concatenate(*xs, axis=axis)


concat = concatenate  # the name of the array API standard


@linear("stack", lambda g, axis: unstack(g, axis=axis))
def _stack(xp, *xs, axis):
    return xp.stack(xs, axis)


def stack(xs, axis=0):
    """Arrays of equal shape joined along a new axis; numbers among them take the dtype of the first array.

    >>> import tinygrad_rnn as tg
    >>> tg.stack([tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])])
    tensor([[1., 2.],
            [3., 4.]])
    """
    like = next((x for x in xs if hasattr(x, "dtype")), None)
    return _stack(*[tensor(x) if like is None else array_beside(like, x) for x in xs], axis=axis)


def _filled(g: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Cotangents of several outputs, zeros where an output was not used."""
    like = next(c for c in g if c is not None)
    return [zeros_beside(like, s) if c is None else c for c, s in zip(g, shapes, strict=True)]


@linear("split", lambda g, out_shape, axis: concatenate(_filled(g, out_shape), axis=axis), many=True)
def _split(x, *, cuts, axis):
    before = (slice(None),) * (axis % x.ndim)
    edges = (0, *cuts, x.shape[axis])
    return tuple([x[(*before, slice(a, b))] for a, b in pairwise(edges)])


def split(x, parts, axis=-1):
    """x cut along an axis into ``parts`` equal pieces, or at the places listed, as a tuple.

    One op, whose backward pass is one concatenate: cells take their gates apart with it. Raises ValueError when
    the pieces would not be equal.

    >>> import tinygrad_rnn as tg
    >>> tg.split(tg.tensor([1.0, 2.0, 3.0, 4.0]), 2)
    (tensor([1., 2.]), tensor([3., 4.]))
    """
    if isinstance(parts, int):
        size = x.shape[axes_of("split", x, axis)[0]]
        if parts < 1 or size % parts:
            raise refusal("split", f"axis {axis} has {size} entries, not a multiple of {parts}", [x])
        parts = range(size // parts, size, size // parts) if size else [0] * (parts - 1)
    return _split(x, cuts=tuple(parts), axis=axis)


@linear("unstack", lambda g, out_shape, axis: stack(_filled(g, out_shape), axis=axis), many=True)
def _unstack(x, *, axis):
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, i)] for i in range(x.shape[axis])])


def unstack(x, axis=0):
    """The slices along an axis, as a tuple; the backward pass is one stack, however many there are.

    >>> import tinygrad_rnn as tg
    >>> tg.unstack(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    (tensor([1., 2.]), tensor([3., 4.]))
    """
    return _unstack(x, axis=axes_of("unstack", x, axis)[0])


def _inside(x_shape, widths):
    """The index of x in the padded array."""
    return tuple(slice(before, before + size) for size, (before, _) in zip(x_shape, widths, strict=True))


@linear("pad", lambda g, x_shape, widths: getitem(g, _inside(x_shape, widths)))
def _pad(xp, x, *, widths):
    if any(before < 0 or after < 0 for before, after in widths):
        raise ValueError(f"the widths {widths} are not all ≥ 0; cut with x[...]")
    out = xp.zeros(tuple(before + size + after for size, (before, after) in zip(x.shape, widths, strict=True)), x.dtype)
    out[_inside(x.shape, widths)] = x
    return out


def pad(x, pad_width, *, constant_values=0.0):
    """x with ``constant_values`` around it: ``pad_width`` is a number, (before, after), or one such pair per axis.

    >>> import tinygrad_rnn as tg
    >>> tg.pad(tg.tensor([1.0, 2.0]), (1, 2))
    tensor([0., 1., 2., 0., 0.])
    """
    try:
        pairs = np.broadcast_to(np.asarray(pad_width, int), (len(x.shape), 2)).tolist()
    except (TypeError, ValueError):
        cause = f"pad_width {pad_width} is no integer, no pair (before, after), and not one pair for each axis"
        raise refusal("pad", cause, [x]) from None
    widths = tuple((before, after) for before, after in pairs)
    out = _pad(x, widths=widths)
    if constant_values:
        out = where(_pad(namespace(array_of(x)).ones(x.shape, bool), widths=widths), out, constant_values)
    return out


@linear("flip", lambda g, axis: flip(g, axis))
def _flip(xp, x, *, axis):
    return xp.flip(x, axis)


def flip(x, axis=None):
    """The order of entries reversed along an axis, a tuple of axes, or all; the gradient is flipped back.

    >>> import tinygrad_rnn as tg
    >>> tg.flip(tg.tensor([1.0, 2.0, 3.0]))
    tensor([3., 2., 1.])
    """
    return _flip(x, axis=axis)


def _rolled_back(g, shift, axis):
    return roll(g, tuple(-n for n in shift) if isinstance(shift, tuple) else -shift, axis)


@linear("roll", _rolled_back)
def _roll(xp, x, *, shift, axis):
    return xp.roll(x, shift, axis)


def roll(x, shift, axis=None):
    """Entries moved on by ``shift`` places, those at the end to the beginning; of the flattened x without an axis.

    >>> import tinygrad_rnn as tg
    >>> tg.roll(tg.tensor([1.0, 2.0, 3.0]), 1)
    tensor([3., 1., 2.])
    """
    return _roll(x, shift=shift, axis=axis)


def repeat(x, repeats, axis=None):
    """Each entry ``repeats`` times in a row along an axis (a list: its own count each); of the flattened x without one.

    >>> import tinygrad_rnn as tg
    >>> tg.repeat(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 1., 2., 2.])
    """
    if axis is None:
        return repeat(reshape(x, -1), repeats, 0)
    (axis,) = axes_of("repeat", x, axis)
    if isinstance(repeats, int):
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        stretched = broadcast_to(reshape(x, (*before, size, 1, *after)), (*before, size, repeats, *after))
        return reshape(stretched, (*before, size * repeats, *after))
    return take(x, np.repeat(np.arange(x.shape[axis]), repeats).tolist(), axis)


def tile(x, reps):
    """The whole of x again and again: ``reps`` times along each axis, aligned at the last.

    >>> import tinygrad_rnn as tg
    >>> tg.tile(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 2., 1., 2.])
    """
    reps = tuple(reps) if isinstance(reps, tuple | list) else (reps,)
    n = max(len(reps), len(x.shape))
    reps, shape = (1,) * (n - len(reps)) + reps, (1,) * (n - len(x.shape)) + tuple(x.shape)
    stretched = broadcast_to(
        reshape(x, tuple(k for size in shape for k in (1, size))),
        tuple(k for pair in zip(reps, shape, strict=True) for k in pair),
    )
    return reshape(stretched, tuple(r * size for r, size in zip(reps, shape, strict=True)))
