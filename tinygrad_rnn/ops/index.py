"""Reading entries by index and writing them functionally: ``x[…]``, ``x.at[…]``, take, embedding, one_hot.

An index is split into metadata (ints, slices, None, …) and arrays (integers, booleans), which are arguments of the op.
The gradient of a read is a *scatter*: zeros with the cotangent at the places read, summed where a place was read
twice. Reads of one array are scattered together, into one buffer: x[0], x[1], …, x[T−1] cost O(T), not O(T²).

On the CPU an index out of range raises. On a GPU integer arrays wrap around silently, as CuPy's do: looking would
mean waiting for the device; ``embedding`` and ``one_hot`` look nevertheless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import index as as_int
from typing import Any, NamedTuple

import numpy as np

from ..backend import namespace
from ..declare import constant, linear
from ..op import refusal
from ..tensor import Tensor, array_beside, array_of, zeros_beside

__all__ = ["embedding", "one_hot", "take", "take_along_axis"]

# mypy: disable-error-code="no-untyped-def"

ARRAY = "array"  # stands in an encoded index where an array goes


class Slice(NamedTuple):
    """A slice that can be hashed (those of Python before 3.12 cannot)."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None


def _encode(x: Any, index: Any) -> tuple[tuple, list[Any]]:
    """An index as hashable metadata and the arrays in it."""
    parts, arrays = [], []
    for part in index if type(index) is tuple else (index,):
        if type(part) is slice:
            try:
                part = Slice(*(None if n is None else as_int(n) for n in (part.start, part.stop, part.step)))
            except TypeError:
                raise refusal("getitem", f"{part} needs integers or None", [x], TypeError) from None
        elif isinstance(part, int | np.integer) and not isinstance(part, bool):
            part = int(part)
        elif part is not None and part is not Ellipsis:
            if not hasattr(part, "dtype"):
                array = np.asarray(part)
                part = namespace(array_of(x)).asarray(array if array.size else array.astype(int))
            arrays.append(part)
            part = ARRAY
        parts.append(part)
    return tuple(parts), arrays


@lru_cache(maxsize=1024)
def _slices(index: tuple) -> tuple:
    return tuple(slice(*part) if type(part) is Slice else part for part in index)


def _decode(index: Any, arrays: Sequence[Any] = ()) -> Any:
    """The index that NumPy and CuPy take."""
    if type(index) is int:
        return index
    index = _slices(index)
    if arrays:
        rest = iter(arrays)
        index = tuple(next(rest) if part == ARRAY else part for part in index)
    return index


def _read(x: Any, arrays: Sequence[Any], index: Any) -> Any:
    return gather(x, *arrays, index=index) if arrays else _getitem(x, index=index)


@linear("scatter", lambda g, arrays, index: _read(g, arrays, index))
def scatter(xp, v, *arrays, index, shape):
    """Zeros of ``shape`` with v added at the places of an encoded index: what indexing is the transpose of."""
    buffer = xp.zeros(shape, v.dtype)
    _add(xp, buffer, arrays, index, v)
    return buffer


def _add(xp: Any, buffer: Any, arrays: Sequence[Any], index: Any, v: Any) -> None:
    if _distinct(arrays):
        buffer[_decode(index, arrays)] += v
    else:
        rows, tail = _places(xp, index, arrays, buffer.shape)
        _add_rows(xp, buffer, rows, xp.broadcast_to(v, rows.shape + tail))


def _distinct(arrays: Sequence[Any]) -> bool:
    """Whether an index names every place at most once, by its form: it has no integer arrays."""
    return all(a.dtype.kind == "b" for a in arrays)


def _places(xp: Any, index: Any, arrays: Sequence[Any], shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """The rows that an index names in an array seen as (rows, *tail)."""
    if all(part == ARRAY for part in index) and not any(a.dtype.kind == "b" for a in arrays):
        if len(arrays) > len(shape):
            raise IndexError(f"{len(arrays)} indices for the {len(shape)} axes of {shape}")
        rows = 0
        for a, n in zip(arrays, shape, strict=False):
            a = a.astype(np.intp, copy=False)
            if xp is np and a.size and not -n <= (low := a.min()) <= (high := a.max()) < n:
                raise IndexError(f"index {high if high >= n else low} is out of bounds for an axis of size {n}")
            rows = rows * n + xp.where(a < 0, a + n, a)
        return rows, shape[len(arrays) :]
    entries = xp.arange(math.prod(shape)).reshape(shape)
    return entries[_decode(index, arrays)], ()


def _add_rows(xp: Any, buffer: Any, rows: Any, values: Any) -> None:
    """buffer[rows] += values, in place, where a row may be named many times; in an order that is always the same.

    The buffer is contiguous, so that reshaping it is a view.
    """
    if not values.size:
        return
    width = math.prod(values.shape[rows.ndim :])
    rows, values = rows.reshape(-1), values.reshape(-1, width)
    if xp is np:  # entry by entry add.at is 5–10 times as fast as by rows, and never slower than sorting
        entries = (rows[:, None] * width + np.arange(width)).reshape(-1)
        np.add.at(buffer.reshape(-1), entries, values.reshape(-1))
        return
    order = xp.argsort(rows)  # the atomic adds of a GPU come in any order, so sums would differ from run to run
    rows = rows[order]
    starts = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), rows[1:] != rows[:-1]]))
    wide = xp.result_type(values.dtype, np.float64)  # CuPy's reduceat takes differences of running sums
    buffer.reshape(-1, width)[rows[starts]] += xp.add.reduceat(values[order], starts, axis=0, dtype=wide)


def _sum_of_slices(xp: Any, parts: list[tuple], shape: tuple[int, ...], dtype: Any) -> Any:
    """Σ scatter(g) over all reads at basic indices, each added in place."""
    total = xp.zeros(shape, dtype)
    for index, g in parts:
        total[_decode(index)] += g
    return total


def _sum_of_rows(xp: Any, parts: list[tuple], shape: tuple[int, ...], dtype: Any) -> Any:
    """Σ scatter(g) over all reads by arrays; rows of equal width are added in one go."""
    total = xp.zeros(shape, dtype)
    by_width: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}
    for index, arrays, g in parts:
        if _distinct(arrays):
            total[_decode(index, arrays)] += g
        else:
            rows, tail = _places(xp, index, arrays, shape)
            by_width.setdefault(tail, []).append((rows.reshape(-1), g.reshape(rows.size, *tail)))
    for pairs in by_width.values():
        rows, values = pairs[0] if len(pairs) == 1 else map(xp.concatenate, zip(*pairs, strict=True))
        _add_rows(xp, total, rows, values)
    return total


@linear(
    "getitem", lambda g, x_shape, index: scatter(g, index=index, shape=x_shape),
    deferred={0: (lambda g, index: (index, g), _sum_of_slices)},
)  # fmt: skip
def _getitem(x, *, index):
    return x[index if type(index) is int else _decode(index)]


@linear(
    "gather", lambda g, x_shape, arrays, index: scatter(g, *arrays, index=index, shape=x_shape),
    deferred={0: (lambda g, arrays, index: (index, arrays, g), _sum_of_rows)},
)  # fmt: skip
def gather(x, *arrays, index):
    """x read at an encoded index that holds arrays."""
    return x[_decode(index, arrays)]


def getitem(x, index):
    """``x[index]``: ints, slices, None, ``…``, integer or boolean arrays, lists, and mixtures, as in NumPy.

    Raises IndexError for what is out of range (integer arrays on a GPU wrap around instead).

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> x[[0, 0, 1], 1].sum().backward()
    >>> x.grad
    tensor([[0., 2.],
            [0., 1.]])
    """
    if type(index) is int:
        return _getitem(x, index=index)
    encoded, arrays = _encode(x, index)
    return _read(x, arrays, encoded)


def take(x, indices, axis=None):
    """The entries along an axis at integer ``indices`` of any shape; of the flattened x when ``axis`` is None.

    An entry taken twice gets the sum of both gradients. Raises IndexError for what is out of range (on a GPU it wraps).

    >>> import tinygrad_rnn as tg
    >>> tg.take(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 1, 0], axis=1)
    tensor([[2., 2., 1.],
            [4., 4., 3.]])
    """
    if axis is None:
        return getitem(x.reshape(-1), (indices,))
    n = len(x.shape)
    if not -n <= axis < n:
        raise refusal("take", f"axis {axis} is out of bounds for array of dimension {n}", [x, indices])
    return getitem(x, (*[slice(None)] * (axis % n), indices))


def take_along_axis(x, indices, axis=-1):
    """One entry per index along an axis: ``out[i, j] = x[i, indices[i, j]]`` for the last of two.

    ``indices`` has as many axes as x (else ValueError), and its sizes along the others (or 1).

    >>> import tinygrad_rnn as tg
    >>> tg.take_along_axis(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    n = len(x.shape)
    if not -n <= axis < n:
        raise refusal("take_along_axis", f"axis {axis} is out of bounds for array of dimension {n}", [x, indices])
    if len(indices.shape) != n:
        raise refusal("take_along_axis", f"the indices need {n} axes, as many as x has", [x, indices])
    xp = namespace(array_of(x))
    grid = [xp.arange(size).reshape(-1, *[1] * (n - 1 - a)) for a, size in enumerate(x.shape)]
    grid[axis] = indices
    return gather(x, *grid, index=(ARRAY,) * n)


def _to_the_rest(g, arrays, index):
    return _index_set(g, zeros_beside(g, ()), *arrays, index=index)


@linear("index_set", _to_the_rest, lambda g, arrays, index: _read(g, arrays, index))
def _index_set(xp, x, v, *arrays, index):
    if not _distinct(arrays):
        rows, _ = _places(xp, index, arrays, x.shape)
        if xp.unique(rows).size < rows.size:
            raise ValueError("the index names a place twice, so which value stays is open; drop one, or use .add(v)")
    out = x.astype(xp.result_type(x, v))
    out[_decode(index, arrays)] = v
    return out


@linear("index_add", lambda g: g, lambda g, arrays, index: _read(g, arrays, index))
def index_add(xp, x, v, *arrays, index):
    """x with v added at the places of an encoded index, as often as they are named."""
    out = x.astype(xp.result_type(x, v), order="C")
    _add(xp, out, arrays, index, v)
    return out


class At:
    """``x.at[index]``: the places of x at an index; ``set`` and ``add`` return x with other values there."""

    __slots__ = ("arrays", "index", "x")

    def __init__(self, x: Any, index: Any = Ellipsis) -> None:
        self.x = x
        self.index, self.arrays = _encode(x, index)

    def __getitem__(self, index: Any) -> At:
        return At(self.x, index)

    def set(self, v: Any) -> Tensor:
        """x with v, broadcast, at these places. Raises ValueError when integer arrays name a place twice.

        >>> import tinygrad_rnn as tg
        >>> tg.tensor([1.0, 2.0, 3.0]).at[1:].set(0.0)
        tensor([1., 0., 0.])
        """
        return _index_set(self.x, array_beside(self.x, v), *self.arrays, index=self.index)

    def add(self, v: Any) -> Tensor:
        """x with v, broadcast, added at these places, as often as they are named.

        >>> import tinygrad_rnn as tg
        >>> tg.tensor([1.0, 2.0]).at[[0, 0]].add(1.0)
        tensor([3., 2.])
        """
        return index_add(self.x, array_beside(self.x, v), *self.arrays, index=self.index)


def check_ids(ids: Any, size: int, what: str, way_out: str = "") -> None:
    """Raise for ids that are no integers in [0, size). On a GPU this waits for the device."""
    if not hasattr(ids, "dtype") or ids.dtype.kind not in "iu":
        raise TypeError("the ids must be an integer array or Tensor: tg.tensor(ids, dtype='int64')")
    if ids.size and not ((low := int(ids.min())) >= 0 and (high := int(ids.max())) < size):
        wrong = low if low < 0 else high
        raise IndexError(f"id {wrong} is out of range: there are {size} {what}, 0 to {size - 1}{way_out}")


def _embedded(xp: Any, parts: list[tuple], shape: tuple[int, ...], dtype: Any) -> Any:
    return _sum_of_rows(xp, [((ARRAY,), (ids,), g) for ids, g in parts], shape, dtype)


@linear(
    "embedding", lambda g, weight_shape, ids: scatter(g, ids, index=(ARRAY,), shape=weight_shape), None,
    deferred={0: (lambda g, ids: (ids, g), _embedded)},
)  # fmt: skip
def embedding(weight, ids):
    """The rows of a table: weight (V, D), ids (…) in [0, V) → (…, D). All uses are scattered in one go.

    Raises IndexError, with the id and V, for ids out of range, negative ones included.

    >>> import tinygrad_rnn as tg
    >>> tg.embedding(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1, 1, 0]))
    tensor([[3., 4.],
            [3., 4.],
            [1., 2.]])
    """
    check_ids(ids, weight.shape[0], "rows")
    return weight.take(ids, axis=0)


@constant("one_hot")
def one_hot(xp, ids, *, classes, dtype="float32"):
    """1 at the id and 0 elsewhere along a new last axis: ids (…) in [0, classes) → (…, classes).

    Raises IndexError, with the id, for ids out of range.

    >>> import tinygrad_rnn as tg
    >>> tg.one_hot(tg.tensor([2, 0]), classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    check_ids(ids, classes, "classes")
    return (ids[..., None] == xp.arange(classes)).astype(dtype)
