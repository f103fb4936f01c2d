"""Where values are stored: which buffer, and at which strides; a view of something stored is stored too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from ..graph import Value
from ..rows import INVARIANT, Label
from .index import BATCH, Index, Ix, axis_of, begins, order_of, parts_of, row_shape

__all__ = ["Buffer", "Place", "Places", "laid_out", "reshaped"]

Strides = tuple[int | None, ...]  # in entries of a row, BATCH for the batch axis
Labels = Mapping[Value, Label]


@dataclass(eq=False)
class Buffer:
    """Rows of ``size`` entries.

    ``kind``: step (T·B rows), carry ((T + 1)·B), pong (two of B, in turn), rows (B), groups (one for every eight rows,
    added up), given (an invariant: one for all).
    """

    kind: str
    size: int
    name: str
    outside: str = ""  # what the array is when it comes from outside, or is handed out: x3, g_y0, carry2, y0, gx1, …


class Place(NamedTuple):
    """Where a value is stored: entry i of row r is ``buffer[r, offset + Σ iₐ · strideₐ]``."""

    buffer: Buffer
    offset: int
    strides: Strides
    source: Value  # the value that was stored, of which this one is a view
    when: str = ""  # of a carry: "read" what the step begins with, "write" what it makes

    def linear(self, index: Index) -> Ix:
        """An index of the value as one into its buffer's row."""
        total = Ix((), self.offset)
        for i, stride in zip(index, self.strides, strict=True):
            if stride is not None:
                total = total + i.times(stride)
        return total


def laid_out(v: Value, label: Label, buffer: Buffer, when: str = "") -> Place:
    """A value in a buffer, row-major."""
    row = row_shape(v.shape, label)
    strides: list[int | None] = [math.prod(row[i + 1 :]) for i in range(len(row))]
    if isinstance(label, int):
        strides.insert(label, BATCH)
    return Place(buffer, 0, tuple(strides), v, when)


class Places:
    """The buffers of both directions, and what is stored in them.

    ``given``: the invariants, of which no more is known here than that they are handed over. ``guests``: what lies in
    another value's buffer, and where in its row.
    """

    def __init__(self, labels: Labels, given: Set[Value], guests: Mapping[Value, tuple[Value, int]]) -> None:
        self.labels, self.given, self.guests = labels, given, guests
        self.stored: dict[Value, Place] = {}
        self.buffers: list[Buffer] = []

    def buffer(self, kind: str, v: Value, *, outside: str = "") -> Buffer:
        """A new buffer whose rows have room for those of a value."""
        size = math.prod(row_shape(v.shape, self.labels[v]))
        made = Buffer(kind, size, f"{kind}{len(self.buffers)}", outside)
        self.buffers.append(made)
        return made

    def put(self, v: Value, buffer: Buffer, when: str = "") -> Place:
        """Store a value in a buffer, row-major."""
        place = self.stored[v] = laid_out(v, self.labels[v], buffer, when)
        return place

    def make(self, v: Value, kind: str) -> Place:
        """Store a value in its host's buffer, if it has one, else in a new one."""
        if v not in self.guests:
            return self.put(v, self.buffer(kind, v))
        host, offset = self.guests[v]
        place = self.stored[v] = self.put(v, self.stored[host].buffer)._replace(offset=offset)
        return place

    def find(self, v: Value) -> Place | None:
        """The place of a value that is stored, or a view of one; what is captured gets one when it is asked for."""
        found = self._seen(v)
        if found is not None or v.kind in ("number", "fill"):
            return found
        label = self.labels.get(v)
        if v in self.given and isinstance(label, int):  # captured, with a batch axis: a row for every row
            return self.put(v, self.buffer("rows", v, outside="given"))
        if label != INVARIANT:
            return None
        if v.kind == "op" and v.name in VIEWS and v not in self.given and self.find(v.args[0]) is not None:
            found = self._seen(v)
        return found or self.put(v, self.buffer("given", v))

    def _seen(self, v: Value) -> Place | None:
        """The place of a value that is stored by now, or of a view of one."""
        if v in self.stored:
            return self.stored[v]
        if v.kind == "pick":
            place = self._seen(v.args[0].args[0])
            return None if place is None else _picked(v, place)
        if v.kind != "op" or v.name not in VIEWS:
            return None
        place = self._seen(v.args[0])
        return None if place is None else VIEWS[v.name](v, place, self.labels)


# the place of a view, from that of what it views


def _picked(v: Value, place: Place) -> Place:
    whole = v.args[0]
    axis = axis_of(whole)
    stride = place.strides[axis]
    assert stride is not None
    if whole.name == "split":
        return place._replace(offset=place.offset + begins(v) * stride)
    rest = place.strides[:axis] + place.strides[axis + 1 :]
    return place._replace(offset=place.offset + v.index * stride, strides=rest)


def _same(v: Value, place: Place, labels: Labels) -> Place:
    return place


def _turned(v: Value, place: Place, labels: Labels) -> Place:
    return place._replace(strides=tuple(place.strides[i] for i in order_of(v)))


def _stretched(v: Value, place: Place, labels: Labels) -> Place:
    a = v.args[0]
    more = len(v.shape) - len(a.shape)
    sizes = zip(a.shape, v.shape[more:], place.strides, strict=True)
    strides = [0 if n == 1 and m != 1 and s is not None else s for n, m, s in sizes]
    return place._replace(strides=(*(0,) * more, *strides))


def _reshaped(v: Value, place: Place, labels: Labels) -> Place | None:
    return reshaped(place, v.args[0].shape, v.shape, labels[v])


def reshaped(place: Place, old: tuple[int, ...], new: tuple[int, ...], label: Label) -> Place | None:
    """A place of another shape, when there are strides for it without moving entries."""
    axes = [(n, s) for n, s in zip(old, place.strides, strict=True) if s is not None and n != 1]
    row = row_shape(new, label)
    strides: list[int | None] = [0] * len(row)
    i = len(row) - 1
    while axes:
        n, s = axes.pop()
        while axes and axes[-1][1] == n * s:  # runs of axes that lie behind one another are one
            n *= axes.pop()[0]
        while n > 1:
            while i >= 0 and row[i] == 1:
                i -= 1
            if i < 0 or n % row[i]:
                return None
            strides[i], n, s = s, n // row[i], s * row[i]
            i -= 1
    if isinstance(label, int):
        strides.insert(label, BATCH)
    return place._replace(strides=tuple(strides))


def _read_at(v: Value, place: Place, labels: Labels) -> Place:
    """What a basic index reads: an int moves the offset, a slice the offset and the stride, a new axis has none."""
    strides: list[int | None] = []
    offset = place.offset
    axes = iter(zip(v.args[0].shape, place.strides, strict=True))
    for part in parts_of(v):
        if part is None:
            strides.append(0)
            continue
        n, stride = next(axes)
        if isinstance(part, int):
            assert stride is not None
            offset += part % n * stride
            continue
        start, _, step = part.indices(n)
        if stride is not None:
            offset, stride = offset + start * stride, stride * step
        strides.append(stride)
    return place._replace(offset=offset, strides=tuple(strides))


VIEWS: dict[str, Callable[[Value, Place, Labels], Place | None]] = {
    "swapaxes": _turned, "transpose": _turned, "spread": _stretched, "broadcast_to": _stretched,
    "reshape": _reshaped, "getitem": _read_at, "alias": _same,
}  # fmt: skip
