"""The loops that some units share, for one row: vectors along the innermost one, the last of them under a mask.

Values are computed where they are first needed: those that do not move along the innermost loop before it, all others
in its body, once for each vector.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from ..graph import Refused, Value
from . import functions
from .direction import Unit
from .function import Function
from .index import BATCH, Index, Ix, argument, concatenation, through
from .lanes import INT, INT32, least, repeat
from .places import Place
from .vectors import constant

__all__ = ["Nest"]

NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf}


class Nest:
    """One nest of loops in the code of a function, at step ``t`` (None: before or after the loop) and a row."""

    def __init__(self, f: Function, units: list[Unit], t: Any, row: Any) -> None:
        self.f, self.lanes, self.units, self.t, self.row = f, f.lanes, units, t, row
        self.sizes = units[0].sizes
        self.names = list(self.sizes)
        self.inner = self.names[-1] if self.names else ""
        self.variables: dict[str, Any] = {}  # the loop variables, as integers
        self.rows: dict[tuple[str, str], Any] = {}  # addresses of rows, by buffer and when
        self.b = self.pre = f.b  # builders: of the body, and before the innermost loop
        self.outside: dict[Any, Any] = {}  # values made before the innermost loop
        self.inside: dict[Any, Any] = {}  # values made in its body
        self.written: dict[Any, Any] = {}  # what this turn is about to store, for those that read it there
        self.mask: Any = None  # of the last vector, and how many of its lanes count
        self.count: Any = None

    def write(self) -> None:
        """Write all of it where the function has come to."""
        f = self.f
        for unit in self.units:
            for place in [unit.root.place, *[p for p, _ in unit.reads]]:
                key = (place.buffer.name, place.when)
                if key not in self.rows:
                    self.rows[key] = f.row(place.buffer, place.when, self.t, self.row)
            if unit.reduced and unit.reduced != (self.inner,):  # added to at its place
                place = unit.root.place
                f.fill(self.rows[place.buffer.name, place.when], place.buffer.size, NEUTRAL[unit.combine])
        self._outer(0)

    # loops

    def _outer(self, depth: int) -> None:
        if depth >= len(self.names) - 1:
            self._inner()
            return
        name = self.names[depth]
        with repeat(self.f.b, INT(0), self.f.size(self.sizes[name])) as i:
            self.variables[name] = i
            self._outer(depth + 1)

    def _inner(self) -> None:
        """The innermost loop: whole vectors, then the rest under a mask."""
        f, lanes, main = self.f, self.lanes, self.f.b
        self.outside = {}
        pre = main.append_basic_block("pre")
        main.branch(pre)
        self.pre = ir.IRBuilder(pre)
        sums: dict[Unit, Any] = {}
        for unit in self.units:
            if self.inner in unit.reduced:
                sums[unit] = room = lanes.buffer(self.pre, lanes.width)
                lanes.store(self.pre, constant(lanes.vector, NEUTRAL[unit.combine]), room)
        after = main.append_basic_block("after_inner")
        if not self.inner:
            self._body(self.pre, sums)
            self.pre.branch(after)
        else:
            body = main.append_basic_block("inner")
            n = f.size(self.sizes[self.inner])
            whole = self.pre.and_(n, INT(-lanes.width))
            head = ir.IRBuilder(main.append_basic_block("head"))
            tail_test = ir.IRBuilder(main.append_basic_block("tail_test"))
            tail = ir.IRBuilder(main.append_basic_block("tail"))
            i = head.phi(INT)
            i.add_incoming(INT(0), pre)
            head.cbranch(head.icmp_signed("<", i, whole), body, tail_test.block)
            self.variables[self.inner] = i
            self._body(ir.IRBuilder(body), sums)
            i.add_incoming(self.b.add(i, INT(lanes.width)), self.b.block)
            self.b.branch(head.block)
            tail_test.cbranch(tail_test.icmp_signed("<", whole, n), tail.block, after)
            self.count = tail.sub(n, whole)
            self.variables[self.inner] = whole
            self._body(tail, sums, lanes.mask(tail, self.count))
            self.b.branch(after)
            self.pre.branch(head.block)
        main.position_at_end(after)
        for unit, room in sums.items():
            self._finish_sum(unit, room)

    def _body(self, b: Any, sums: dict[Unit, Any], mask: Any = None) -> None:
        """One vector's worth of all units: everything is read and computed before anything is written."""
        self.b, self.mask, self.inside, self.written = b, mask, {}, {}
        results = []
        for unit in self.units:
            if unit.operands:
                value, *factors = [self.value(x, index) for x, index in unit.operands]
                for factor in factors:
                    value = b.fmul(value, factor)
            else:
                value = self.value(unit.value, unit.index, own=unit)
            if not unit.root.add and not unit.reduced:
                self.written[unit.root.place.source, unit.root.place.when, unit.target] = value
            results.append((unit, value))
        for unit, value in results:
            if unit in sums:
                self._add_to_sum(unit, value, sums[unit])
            else:
                self._store(unit, value)

    # sums

    def _combine(self, b: Any, unit: Unit, x: Any, y: Any) -> Any:
        if unit.combine == "sum":
            return b.fadd(x, y)
        return functions.emit("maximum" if unit.combine == "max" else "minimum", b, [x, y], {})

    def _add_to_sum(self, unit: Unit, value: Any, room: Any) -> None:
        """Lane by lane into an accumulator on the stack."""
        lanes, b = self.lanes, self.b
        before = lanes.load(b, room)
        combined = self._combine(b, unit, before, value)
        if self.mask is not None:
            combined = b.select(self.mask, combined, before)
        lanes.store(b, combined, room)

    def _finish_sum(self, unit: Unit, room: Any) -> None:
        """The lanes of an accumulator as one number, and where it goes."""
        lanes, b = self.lanes, self.f.b
        total = lanes.load(b, room)
        width = lanes.width
        while width > 1:
            width //= 2
            order = [(i + width) % lanes.width for i in range(lanes.width)]
            turned = b.shuffle_vector(total, total, ir.Constant(ir.VectorType(INT32, lanes.width), order))
            total = self._combine(b, unit, total, turned)
        total = self._mean(b, unit, total)
        address = self._address(b, unit.root.place, unit.target)
        if len(unit.reduced) > 1:
            total = self._combine(b, unit, total, lanes.splat(b, b.load(address, typ=lanes.scalar)))
        b.store(b.extract_element(total, INT32(0)), address)

    def _mean(self, b: Any, unit: Unit, total: Any) -> Any:
        """A sum divided by how many entries it is made of, for a mean."""
        if unit.value.name != "mean" or not unit.reduced:
            return total
        count: Any = INT(1)
        for name in unit.reduced:
            count = b.mul(count, self.f.size(self.sizes[name]))
        return b.fdiv(total, self.lanes.splat(b, b.sitofp(count, self.lanes.scalar)))

    # memory

    def _address(self, b: Any, place: Place, linear: Ix) -> Any:
        """The address of an entry of the row: an affine index as an integer."""
        f = self.f
        total = f.size(linear.offset) if linear.offset >= 0 else b.neg(f.size(-linear.offset))
        for name, c in linear.terms:
            i = self.variables[name]
            total = b.add(total, i if c == 1 else b.mul(i, f.size(c)))
        return self.lanes.at(b, self.rows[place.buffer.name, place.when], total)

    def _lane(self, lane: int) -> Any:
        """A lane's number; under a mask, the last valid one for those beyond it."""
        return INT(lane) if self.mask is None else least(self.b, INT(lane), self.b.sub(self.count, INT(1)))

    def _store(self, unit: Unit, value: Any) -> None:
        """A vector to where the unit writes: one entry, entries behind one another, or apart."""
        lanes, b, place = self.lanes, self.b, unit.root.place
        value = self._mean(b, unit, value)
        stride = unit.target.along(self.inner)
        adding = unit.root.add or bool(unit.reduced)
        if value.type != lanes.vector:
            value = b.uitofp(value, lanes.vector)
        if stride not in (0, 1):
            if adding:
                raise Refused("a sum over the batch of turned rows")
            for at in map(self._lane, range(lanes.width)):
                entry = lanes.at(b, self._address(b, place, unit.target), b.mul(at, self.f.size(stride)))
                b.store(b.extract_element(value, at), entry)
            return
        address = self._address(b, place, unit.target)
        if stride == 0:
            if adding:
                value = self._combine(b, unit, lanes.splat(b, b.load(address, typ=lanes.scalar)), value)
            b.store(b.extract_element(value, INT32(0)), address)
            return
        if adding:
            before = lanes.load(b, address) if self.mask is None else lanes.masked_load(b, address, self.mask)
            value = self._combine(b, unit, before, value)
        if self.mask is None:
            lanes.store(b, value, address)
        else:
            lanes.masked_store(b, value, address, self.mask)

    def _load(self, place: Place, index: Index) -> Any:
        """A vector from where a value is stored, or the one that this turn of the loop is about to store there."""
        lanes = self.lanes
        linear = place.linear(index)
        if (found := self.written.get((place.source, place.when, linear))) is not None:
            return found
        stride = linear.along(self.inner)
        b = self.b if self._moves(index) else self.pre
        address = self._address(b, place, linear)
        if stride == 0:
            return lanes.splat(b, b.load(address, typ=lanes.scalar))
        if stride == 1:
            return lanes.load(b, address) if self.mask is None else lanes.masked_load(b, address, self.mask)
        total: Any = ir.Constant(lanes.vector, ir.Undefined)
        for lane in range(lanes.width):
            entry = lanes.at(b, address, b.mul(self._lane(lane), self.f.size(stride)))
            total = b.insert_element(total, b.load(entry, typ=lanes.scalar), INT32(lane))
        return total

    # values

    def _moves(self, index: Index) -> bool:
        """Whether an index changes along the innermost loop."""
        return any(name == self.inner for i in index if i is not BATCH for name, _ in i.terms)

    def _memo(self, index: Index) -> dict[Any, Any]:
        return self.inside if self._moves(index) else self.outside

    def value(self, v: Value, index: Index, own: Unit | None = None) -> Any:
        """A value at an index, as a vector along the innermost loop. ``own``: the unit that stores it computes it."""
        if v.kind == "number":
            return self.f.number(v.array)
        if v.kind == "fill":
            return self.f.number(v.array.reshape(-1)[0].item())
        memo = self._memo(index)
        if (v, index) not in memo:
            computes = own is not None and v is own.root.value and not self.f.d.is_copy(own.root)
            place = None if computes else self.f.d.places.find(v)
            memo[v, index] = self._computed(v, index) if place is None else self._load(place, index)
        return memo[v, index]

    def _computed(self, v: Value, index: Index) -> Any:
        """A value that is not stored: what a view shows, or an op on its arguments."""
        seen = through(v, index, self.f.d.labels, self.sizes)
        if seen is None and v.name in ("concatenate", "stack"):
            seen = concatenation(v, index, self.sizes)
        if seen is not None:
            return self.value(*seen)
        args = [self.value(a, self._index(a, index)) for a in v.args]
        if v.name == "div" and self._moves(index) and not self._moves(self._index(v.args[1], index)):
            return self.b.fmul(args[0], self._reciprocal(v.args[1], args[1], index))
        if v.name == "pow" and v.args[1].kind == "number":
            args[1] = constant(self.lanes.vector, v.args[1].array)
        return functions.emit(v.name, self.b if self._moves(index) else self.pre, args, v.params)

    def _index(self, a: Value, index: Index) -> Index:
        """The index of an argument that is read entry by entry."""
        return () if a.kind in ("number", "fill") else argument(a, self.f.d.labels[a], index)

    def _reciprocal(self, a: Value, divisor: Any, index: Index) -> Any:
        """1 / a, once for the whole loop: a division costs ten multiplications."""
        key = ("reciprocal", a, self._index(a, index))
        if key not in self.outside:
            self.outside[key] = self.pre.fdiv(constant(self.lanes.vector, 1), divisor)
        return self.outside[key]
