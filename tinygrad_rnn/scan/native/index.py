"""Where the entries of a value are: affine indices, and values that are views of stored ones.

Inside the loop a value is one row's; its batch axis has no index. An index names for every axis an affine expression
of loop variables. Views (splits, reshapes, transposes) cost nothing: an index into a view is an index into what it
views, and a view of something stored is stored too, with other strides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..rows import INVARIANT, Label
from ..trace import Refused, Value

__all__ = ["BATCH", "Ix", "NeedSplit", "NeedStore", "Place", "Places", "VIEWS", "concatenation", "row_shape", "through"]

BATCH: Any = None  # stands in an index for the batch axis


class Ix(NamedTuple):
    """An affine index: Σ coefficient · variable + offset."""

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
        if factor == 0:
            return Ix()
        return Ix(tuple((n, c * factor) for n, c in self.terms), self.offset * factor)

    def top(self, sizes: Mapping[str, int]) -> int:
        """The largest value it takes."""
        return self.offset + sum(c * (sizes[n] - 1) for n, c in self.terms)


class NeedStore(Exception):
    """A value that cannot be computed where it is read: it must be stored before."""

    def __init__(self, value: Value) -> None:
        self.value = value


class NeedSplit(Exception):
    """A loop whose variable crosses from one piece of a concatenation to the next."""

    def __init__(self, variable: str, at: int) -> None:
        self.variable, self.at = variable, at


class Place(NamedTuple):
    """Where a value is stored: which buffer, and its entries' strides in a row of it (BATCH for the batch axis)."""

    buffer: Any
    offset: int
    strides: tuple[int | None, ...]
    source: Value  # the value that was stored, of which this one is a view
    when: str = ""  # of a carry: "read" what the step begins with, "write" what it makes

    def linear(self, index: tuple[Ix, ...]) -> Ix:
        total = Ix((), self.offset)
        for i, stride in zip(index, self.strides, strict=True):
            if stride is not BATCH:
                total = total + i.times(stride)
        return total


def row_shape(v: Value, label: Label) -> tuple[int, ...]:
    """The shape of one row."""
    return v.shape if label == INVARIANT else v.shape[:label] + v.shape[label + 1 :]  # type: ignore[index, operator]


def contiguous(v: Value, label: Label) -> tuple[int | None, ...]:
    """Row-major strides of a row, BATCH at the batch axis."""
    row = row_shape(v, label)
    strides: list[int | None] = [math.prod(row[i + 1 :]) for i in range(len(row))]
    if label != INVARIANT:
        strides.insert(label, BATCH)  # type: ignore[arg-type]
    return tuple(strides)


class Places:
    """Where values are stored, views of stored ones included."""

    def __init__(self, labels: Mapping[Value, Label]) -> None:
        self.labels = labels
        self.stored: dict[Value, Place] = {}

    def put(self, v: Value, buffer: Any, when: str = "") -> Place:
        place = self.stored[v] = Place(buffer, 0, contiguous(v, self.labels[v]), v, when)
        return place

    def find(self, v: Value) -> Place | None:
        """The place of a value, or of what it is a view of."""
        if v in self.stored:
            return self.stored[v]
        if v.kind == "pick":
            base = v.args[0].args[0]
            place = self.find(base)
            return None if place is None else _picked(v, place)
        if v.kind != "op" or v.name not in VIEWS:
            return None
        place = self.find(v.args[0])
        return None if place is None else VIEWS[v.name](v, place, self.labels)


def _axis(v: Value, key: str = "axis") -> int:
    ndim = len(v.args[0].shape)
    return v.params[key] % ndim


def _start(v: Value) -> int:
    return (0, *v.args[0].params["cuts"])[v.index]


def _picked(v: Value, place: Place) -> Place:
    whole = v.args[0]
    axis = _axis(whole)
    stride = place.strides[axis]
    assert stride is not None
    if whole.name == "split":
        return place._replace(offset=place.offset + _start(v) * stride)
    rest = place.strides[:axis] + place.strides[axis + 1 :]
    return place._replace(offset=place.offset + v.index * stride, strides=rest)


def _order(v: Value) -> list[int]:
    ndim = len(v.args[0].shape)
    if v.name == "transpose":
        return [a % ndim for a in v.params["axes"]]
    order = list(range(ndim))
    i, j = _axis(v, "axis1"), _axis(v, "axis2")
    order[i], order[j] = order[j], order[i]
    return order


def _turned(v: Value, place: Place, labels: Any) -> Place:
    return place._replace(strides=tuple(place.strides[i] for i in _order(v)))


def _stretched(v: Value, place: Place, labels: Any) -> Place:
    a = v.args[0]
    more = len(v.shape) - len(a.shape)
    strides = [0 if n == 1 and m != 1 and s is not BATCH else s for n, m, s in zip(a.shape, v.shape[more:], place.strides)]
    return place._replace(strides=(*(0,) * more, *strides))


def _reshaped(v: Value, place: Place, labels: Any) -> Place | None:
    """Strides under another shape, when there are any without moving entries."""
    a = v.args[0]
    old = [(n, s) for n, s in zip(a.shape, place.strides) if s is not BATCH and n != 1]
    row = row_shape(v, labels[v])
    strides: list[int] = [0] * len(row)
    i = len(row) - 1
    while old:
        n, s = old.pop()
        while old and old[-1][1] == n * s:  # runs of axes that lie behind one another are one
            n, s = n * old.pop()[0], s
        while n > 1:
            while i >= 0 and row[i] == 1:
                i -= 1
            if i < 0 or n % row[i]:
                return None
            strides[i], n, s = s, n // row[i], s * row[i]
            i -= 1
    full: list[int | None] = list(strides)
    if labels[v] != INVARIANT:
        full.insert(labels[v], BATCH)
    return place._replace(strides=tuple(full))


def _parts(v: Value) -> list[Any]:
    """A basic index with its Ellipsis spelt out."""
    index = v.params["index"]
    index = index if isinstance(index, tuple) and not hasattr(index, "_fields") else (index,)
    used = sum(p is not None and p is not Ellipsis for p in index)
    parts: list[Any] = []
    for p in index:
        parts += [slice(None)] * (len(v.args[0].shape) - used) if p is Ellipsis else [p]
    return parts + [slice(None)] * (len(v.args[0].shape) - sum(p is not None for p in parts))


def _read_at(v: Value, place: Place, labels: Any) -> Place:
    strides: list[int | None] = []
    offset, axis = place.offset, 0
    for part in _parts(v):
        if part is None:
            strides.append(0)
            continue
        n, s = v.args[0].shape[axis], place.strides[axis]
        if isinstance(part, int):
            assert s is not None
            offset += part % n * s
        else:
            start, _, step = slice(*part).indices(n) if isinstance(part, tuple) else part.indices(n)
            if s is not BATCH:
                offset, s = offset + start * s, s * step
            strides.append(s)
        axis += 1
    return place._replace(offset=offset, strides=tuple(strides))


VIEWS: dict[str, Any] = {
    "swapaxes": _turned, "transpose": _turned, "spread": _stretched, "broadcast_to": _stretched,
    "reshape": _reshaped, "getitem": _read_at, "alias": lambda v, place, labels: place,
}  # fmt: skip


# an index into a view that is not stored, as one into what it views


def through(
    v: Value, index: tuple[Any, ...], labels: Mapping[Value, Label], sizes: Mapping[str, int]
) -> tuple[Value, tuple[Any, ...]] | None:
    """What a view shows at an index: the value behind it and the index there; None when v is no view."""
    if v.kind == "pick":
        whole = v.args[0]
        axis = _axis(whole)
        if whole.name == "split":
            moved = (*index[:axis], index[axis] + _start(v), *index[axis + 1 :])
        else:
            moved = (*index[:axis], Ix((), v.index), *index[axis:])
        return whole.args[0], moved
    if v.kind != "op":
        return None
    a = v.args[0] if v.args else v
    if v.name in ("alias", "tap", "real"):
        return a, index
    if v.name in ("swapaxes", "transpose"):
        moved_to: list[Any] = [Ix()] * len(a.shape)
        for i, j in zip(index, _order(v), strict=True):
            moved_to[j] = i
        return a, tuple(moved_to)
    if v.name in ("spread", "broadcast_to"):
        return a, broadcast(a, index)
    if v.name == "reshape":
        return a, _unshaped(v, index, labels, sizes)
    if v.name == "getitem":
        places: list[Any] = []
        at = iter(index)
        axis = 0
        for part in _parts(v):
            if part is None:
                next(at)
                continue
            if isinstance(part, int):
                places.append(Ix((), part % a.shape[axis]))
            else:
                start, _, step = (slice(*part) if isinstance(part, tuple) else part).indices(a.shape[axis])
                i = next(at)
                places.append(i if i is BATCH else i.times(step) + start)
            axis += 1
        return a, tuple(places)
    return None


def broadcast(a: Value, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index of an argument that was broadcast: aligned at the right, 0 where it has size 1."""
    tail = index[len(index) - len(a.shape) :]
    return tuple(Ix() if n == 1 and i is not BATCH else i for i, n in zip(tail, a.shape, strict=True))


def argument(a: Value, label: Label, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """``broadcast``, where an invariant argument has size 1 at the batch axis."""
    tail = broadcast(a, index)
    if label == INVARIANT:
        return tuple(Ix() if i is BATCH else i for i in tail)
    at = label
    return tuple(BATCH if i == at else x for i, x in enumerate(tail))


def _unshaped(
    v: Value, index: tuple[Any, ...], labels: Mapping[Value, Label], sizes: Mapping[str, int]
) -> tuple[Any, ...]:
    a = v.args[0]
    row, old = row_shape(v, labels[v]), row_shape(a, labels[a])
    here = [i for i in index if i is not BATCH]
    linear = Ix()
    for i, n in zip(here, range(len(row)), strict=True):
        linear = linear + i.times(math.prod(row[n + 1 :]))
    digits: list[Ix] = []
    for n in range(len(old)):
        stride = math.prod(old[n + 1 :])
        high = Ix(tuple((name, c // stride) for name, c in linear.terms if c % stride == 0), linear.offset // stride)
        rest = Ix(tuple((name, c) for name, c in linear.terms if c % stride), linear.offset % stride)
        if rest.top(sizes) >= stride and stride > 1:
            raise NeedStore(a)
        digits.append(high)
        linear = rest
    full: list[Any] = list(digits)
    if labels[a] != INVARIANT:
        full.insert(labels[a], BATCH)  # type: ignore[arg-type]
    return tuple(full)


def concatenation(
    v: Value, index: tuple[Any, ...], sizes: Mapping[str, int]
) -> tuple[Value, tuple[Any, ...]]:
    """The piece that a concatenate or stack shows at an index. Raises NeedSplit when it is not one."""
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
