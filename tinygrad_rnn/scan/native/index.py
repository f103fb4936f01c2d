"""Which entry of a value is meant: affine indices, and what a view shows at one.

Inside the loop a value is one row's; its batch axis has no index. An index names for every axis an affine expression of
loop variables. Splits, reshapes and transposes cost nothing: an index into a view is an index into what it views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..graph import Refused, Value
from ..rows import INVARIANT, Label, batch_axis

__all__ = [
    "BATCH", "Index", "Ix", "NeedSplit", "NeedStore", "argument", "axis_of", "begins", "concatenation", "order_of",
    "parts_of", "row_shape", "through",
]  # fmt: skip

BATCH: Any = None  # stands in an index for the batch axis
Index = tuple[Any, ...]  # an Ix for every axis, BATCH for the batch's
Labels = Mapping[Value, Label]
Sizes = Mapping[str, int]  # of loop variables


class Ix(NamedTuple):
    """An affine index: Σ coefficient · variable + offset.

    >>> row, column = Ix((("i", 1),)), Ix((("j", 1),), 2)
    >>> row.times(10) + column
    Ix(terms=(('i', 10), ('j', 1)), offset=2)
    """

    terms: tuple[tuple[str, int], ...] = ()
    offset: int = 0

    def __add__(self, other: Any) -> Ix:
        if isinstance(other, int):
            return Ix(self.terms, self.offset + other)
        terms = dict(self.terms)
        for name, c in other.terms:
            terms[name] = terms.get(name, 0) + c
        return Ix(tuple(sorted((n, c) for n, c in terms.items() if c)), self.offset + other.offset)

    def times(self, factor: int) -> Ix:
        """The index in units of a stride."""
        if factor == 0:
            return Ix()
        return Ix(tuple((n, c * factor) for n, c in self.terms), self.offset * factor)

    def top(self, sizes: Sizes) -> int:
        """The largest value it takes."""
        return self.offset + sum(c * (sizes[n] - 1) for n, c in self.terms)

    def along(self, variable: str) -> int:
        """The coefficient of a variable: 0 when the index does not move with it."""
        return dict(self.terms).get(variable, 0)


class NeedStore(Exception):
    """A value that cannot be computed where it is read: it must be stored before."""

    def __init__(self, value: Value) -> None:
        self.value = value


class NeedSplit(Exception):
    """A loop whose variable crosses from one piece of a concatenation to the next, after ``at`` turns."""

    def __init__(self, variable: str, at: int) -> None:
        self.variable, self.at = variable, at


def row_shape(shape: tuple[int, ...], label: Label) -> tuple[int, ...]:
    """The shape of one row: without the batch axis, if there is one."""
    return shape[:label] + shape[label + 1 :] if isinstance(label, int) else shape


# what the parameters of a view mean


def axis_of(v: Value, key: str = "axis") -> int:
    """The axis, counted from the left, that an op's parameter names."""
    axis: int = v.params[key]
    return axis % len(v.args[0].shape)


def begins(v: Value) -> int:
    """Where a piece of a split begins."""
    return (0, *v.args[0].params["cuts"])[v.index]


def order_of(v: Value) -> list[int]:
    """The axes of what a swapaxes or transpose turns, in the order of its result."""
    ndim = len(v.args[0].shape)
    if v.name == "transpose":
        return [a % ndim for a in v.params["axes"]]
    order = list(range(ndim))
    i, j = axis_of(v, "axis1"), axis_of(v, "axis2")
    order[i], order[j] = order[j], order[i]
    return order


def parts_of(v: Value) -> list[Any]:
    """A basic index with its Ellipsis and what is left out spelt: None for a new axis, an int, or a slice."""
    index = v.params["index"]
    index = index if isinstance(index, tuple) and not hasattr(index, "_fields") else (index,)
    ndim = len(v.args[0].shape)
    used = sum(p is not None and p is not Ellipsis for p in index)
    parts: list[Any] = []
    for p in index:
        if p is Ellipsis:
            parts += [slice(None)] * (ndim - used)
        else:
            parts.append(slice(*p) if isinstance(p, tuple) else p)
    return parts + [slice(None)] * (ndim - sum(p is not None for p in parts))


# an index into a view, as one into what it views


def through(v: Value, index: Index, labels: Labels, sizes: Sizes) -> tuple[Value, Index] | None:
    """What a view shows at an index: the value behind it and the index there; None when v is no view.

    Raises NeedStore for a reshape whose entries no affine index finds.
    """
    if v.kind == "pick":
        return v.args[0].args[0], _picked(v, index)
    rule = SHOWN.get(v.name) if v.kind == "op" else None
    return None if rule is None else (v.args[0], rule(v, index, labels, sizes))


def _picked(v: Value, index: Index) -> Index:
    whole = v.args[0]
    axis = axis_of(whole)
    if whole.name == "split":
        return (*index[:axis], index[axis] + begins(v), *index[axis + 1 :])
    return (*index[:axis], Ix((), v.index), *index[axis:])


def _same(v: Value, index: Index, labels: Labels, sizes: Sizes) -> Index:
    return index


def _turned(v: Value, index: Index, labels: Labels, sizes: Sizes) -> Index:
    found: list[Any] = [Ix()] * len(index)
    for i, j in zip(index, order_of(v), strict=True):
        found[j] = i
    return tuple(found)


def _stretched(v: Value, index: Index, labels: Labels, sizes: Sizes) -> Index:
    return _broadcast(v.args[0], index)


def _reshaped(v: Value, index: Index, labels: Labels, sizes: Sizes) -> Index:
    """The entry's number in the row, then that number's digits in the other shape."""
    a = v.args[0]
    row, old = row_shape(v.shape, labels[v]), row_shape(a.shape, labels[a])
    linear = Ix()
    for i, n in zip([i for i in index if i is not BATCH], range(len(row)), strict=True):
        linear = linear + i.times(math.prod(row[n + 1 :]))
    found: list[Any] = []
    for n in range(len(old)):
        stride = math.prod(old[n + 1 :])
        high = Ix(tuple((name, c // stride) for name, c in linear.terms if c % stride == 0), linear.offset // stride)
        rest = Ix(tuple((name, c) for name, c in linear.terms if c % stride), linear.offset % stride)
        if rest.top(sizes) >= stride > 1:
            raise NeedStore(a)
        found.append(high)
        linear = rest
    if labels[a] != INVARIANT:
        found.insert(batch_axis(labels, a), BATCH)
    return tuple(found)


def _read_at(v: Value, index: Index, labels: Labels, sizes: Sizes) -> Index:
    """Axes that a basic index reads at one place have no index in its result, new ones none in what it reads."""
    shape = v.args[0].shape
    found: list[Any] = []
    at = iter(index)
    for part in parts_of(v):
        n = shape[len(found)] if part is not None else 0
        if part is None:
            next(at)
        elif isinstance(part, int):
            found.append(Ix((), part % n))
        else:
            start, _, step = part.indices(n)
            i = next(at)
            found.append(i if i is BATCH else i.times(step) + start)
    return tuple(found)


SHOWN: dict[str, Callable[[Value, Index, Labels, Sizes], Index]] = {
    "alias": _same, "tap": _same, "real": _same, "swapaxes": _turned, "transpose": _turned, "spread": _stretched,
    "broadcast_to": _stretched, "reshape": _reshaped, "getitem": _read_at,
}  # fmt: skip


def _broadcast(a: Value, index: Index) -> Index:
    """The index of an argument that was broadcast: aligned at the right, 0 where it has size 1."""
    tail = index[len(index) - len(a.shape) :]
    return tuple(Ix() if n == 1 and i is not BATCH else i for i, n in zip(tail, a.shape, strict=True))


def argument(a: Value, label: Label, index: Index) -> Index:
    """The index of an argument that is read entry by entry; an invariant one has size 1, or none, at the batch axis."""
    tail = _broadcast(a, index)
    if label == INVARIANT:
        return tuple(Ix() if i is BATCH else i for i in tail)
    return tuple(BATCH if i == label else x for i, x in enumerate(tail))


def concatenation(v: Value, index: Index, sizes: Sizes) -> tuple[Value, Index]:
    """The piece that a concatenate or stack shows at an index. Raises NeedSplit when it is not one alone."""
    axis = v.params["axis"] % len(v.shape)
    at = index[axis]
    if v.name == "stack":
        if at.terms:
            raise NeedSplit(at.terms[0][0], 1)
        return v.args[at.offset], index[:axis] + index[axis + 1 :]
    start = 0
    for a in v.args:
        stop = start + a.shape[axis]
        if start <= at.offset < stop:
            if at.top(sizes) < stop:
                return a, (*index[:axis], at + -start, *index[axis + 1 :])
            (name, c), *others = at.terms
            if others or c != 1:
                raise NeedStore(v)
            raise NeedSplit(name, stop - at.offset)
        start = stop
    raise Refused(f"scan: index {at} lies outside a concatenation of {v.shape}")
