"""One native function: its arguments, the addresses of rows, and filling and copying them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from ..graph import Value
from .direction import Direction
from .lanes import INT, PTR, Lanes, repeat
from .places import Buffer, Place
from .slots import HEADER, Slots, weight_name
from .vectors import constant

__all__ = ["SIGNATURE", "Function"]

SIGNATURE = ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, INT, INT])  # pointers, integers, numbers, first, last
LITERAL = (-1, 0, 0.5, 1, 2)  # numbers written into the code


class Function:
    """A function ``name(pointers, integers, numbers, first, last)`` while it is written.

    ``b`` writes where the body has come to. Arguments are loaded once, by a second builder at the entry.
    """

    def __init__(self, module: ir.Module, name: str, direction: Direction, slots: Slots, lanes: Lanes) -> None:
        self.d, self.slots, self.lanes, self.module = direction, slots, lanes, module
        f = ir.Function(module, SIGNATURE, name)
        self.pointers, self.integers, self.numbers, self.first, self.last = f.args
        self.entry = ir.IRBuilder(f.append_basic_block("entry"))
        self.b = ir.IRBuilder(f.append_basic_block("start"))
        self.start = self.b.block
        self.known: dict[tuple[str, Any], Any] = {}  # what was loaded

    def finish(self) -> None:
        """Return, and go from the entry to the body."""
        self.b.ret_void()
        self.entry.position_at_end(self.entry.block)  # stack buffers were put there by other builders
        self.entry.branch(self.start)

    # arguments

    def _integer(self, slot: int) -> Any:
        if ("n", slot) not in self.known:
            at = self.entry.gep(self.integers, [INT(slot)], source_etype=INT)
            self.known["n", slot] = self.entry.load(at, typ=INT)
        return self.known["n", slot]

    def _pointer(self, slot: int) -> Any:
        if ("p", slot) not in self.known:
            at = self.entry.gep(self.pointers, [INT(slot)], source_etype=PTR)
            self.known["p", slot] = self.entry.load(at, typ=PTR)
        return self.known["p", slot]

    def header(self, name: str) -> Any:
        """One of the integers that every call has: T, B, …"""
        return self._integer(HEADER.index(name))

    def flag(self, name: str) -> Any:
        """Whether one of them is not 0."""
        return self.b.icmp_signed("!=", self.header(name), INT(0))

    def size(self, n: int) -> Any:
        """A size, stride or offset."""
        return INT(n) if n in (0, 1) else self._integer(self.slots.size(n))

    def pointer(self, name: str) -> Any:
        """An address that is not a buffer's."""
        return self._pointer(self.slots.pointer(name))

    def weight(self, v: Value) -> Any:
        """The address of a packed weight."""
        return self.pointer(weight_name(v, self.place(v)))

    def number(self, x: float) -> Any:
        """A number of the step in every lane: an argument too, unless it is one of a few."""
        if x in LITERAL:
            return constant(self.lanes.vector, x)
        if ("x", x) not in self.known:
            e = self.entry
            at = e.gep(self.numbers, [INT(self.slots.number(x))], source_etype=ir.DoubleType())
            value = e.load(at, typ=ir.DoubleType())
            if self.lanes.dtype == "float32":
                value = e.fptrunc(value, self.lanes.scalar)
            self.known["x", x] = self.lanes.splat(e, value)
        return self.known["x", x]

    # addresses

    def place(self, v: Value) -> Place:
        """Where a value is stored that must be."""
        place = self.d.places.find(v)
        assert place is not None
        return place

    def row(self, buffer: Buffer, when: str, t: Any, row: Any) -> Any:
        """The address of a row of a buffer, at step t (None: the row is one of all T·B)."""
        b, base = self.b, self._pointer(self.slots.buffer(buffer))
        if buffer.kind == "given":
            return base
        if buffer.kind == "groups":
            at = b.ashr(row, INT(3))
        elif buffer.kind == "rows":
            at = row
        else:
            offset = INT(0)
            if buffer.kind == "carry":
                offset = self.header(when)
            elif buffer.kind == "pong" and when == "write":
                offset = INT(1)
            mask = self._integer(self.slots.mask(buffer))
            time = offset if t is None else b.and_(b.add(t, offset), mask)
            at = b.add(b.mul(time, self.header("B")), row)
        return self.lanes.at(b, base, b.mul(at, self.size(buffer.size)))

    def matrix(self, place: Place, t: Any, row: Any) -> Any:
        """The address of a place's first entry in a row."""
        return self.lanes.at(self.b, self.row(place.buffer, place.when, t, row), self.size(place.offset))

    # whole rows

    def fill(self, target: Any, n: int, value: float, *, rows: Any = None) -> None:
        """The same number in all of a row, or of ``rows`` rows."""
        b, lanes = self.b, self.lanes
        count = self.size(n) if rows is None else b.mul(rows, self.size(n))
        with self._vectors(count) as (i, mask):
            lanes.masked_store(b, constant(lanes.vector, value), lanes.at(b, target, i), mask)

    def copy(self, target: Any, source: Any, n: int, *, rows: Any = None) -> None:
        """A row, or ``rows`` rows, from one place to another."""
        b, lanes = self.b, self.lanes
        count = self.size(n) if rows is None else b.mul(rows, self.size(n))
        with self._vectors(count) as (i, mask):
            value = lanes.masked_load(b, lanes.at(b, source, i), mask)
            lanes.masked_store(b, value, lanes.at(b, target, i), mask)

    @contextmanager
    def _vectors(self, count: Any) -> Iterator[tuple[Any, Any]]:
        with repeat(self.b, INT(0), count, INT(self.lanes.width)) as i:
            yield i, self.lanes.mask(self.b, self.b.sub(count, i))
