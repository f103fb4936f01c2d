"""The code of a schedule: the time loop with its products, and the regions between them, as LLVM functions.

Every function takes the same three lists: addresses of buffers and packed weights, integers (sizes, strides, offsets,
how many steps), and real numbers. Sizes are arguments, not constants: code made for one hidden size serves all, and a
change of T or B costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from ..trace import Refused, Value
from . import functions
from .gemm import outer, pack, product
from .index import BATCH, Ix, Place, argument, concatenation, through
from .lanes import INT, PTR, Lanes, least, repeat
from .schedule import AFTER, BEFORE, LOOP, Buffer, Direction, Product, Schedule, Unit
from .vectors import constant

__all__ = ["HEADER", "Module", "Stage"]

HEADER = ("T", "B", "descending", "lengths", "read", "write")  # the first integers of every call
ROWS = 8  # of the batch, whose sums are kept apart: adding them up later does not depend on the threads
LITERAL = (-1, 0, 0.5, 1, 2)
FREE = {"alias", "tap", "real"}


class Stage(NamedTuple):
    """One call of the run: a function over a range, and what it is needed for ("" always, else a gradient's name)."""

    name: str
    over: str  # what the range counts: "once", "rows" (B), "all" (T·B), or columns as a number in text
    wanted: str = ""


class Module:
    """A module with the functions of both directions, in the order of their stages, and what they must be given."""

    def __init__(self, schedule: Schedule, lanes: Lanes) -> None:
        self.schedule, self.lanes = schedule, lanes
        self.ir = ir.Module("scan")
        self.sizes: list[int] = []  # integers beyond the header and the masks
        self.numbers: list[float] = []
        self.extra: list[str] = []  # pointers beyond the buffers, by name
        self.packed: dict[str, tuple[int, int]] = {}  # the shapes of packed weights, by the name of their pointer
        for direction in filter(None, (schedule.forward, schedule.backward)):  # all buffers, before they are numbered
            for p in direction.products.values():
                for v in [*(weight for _, weight, _ in p.terms), *filter(None, [p.bias])]:
                    schedule.place(v)
        self.buffers = tuple(schedule.buffers)
        self.stages: dict[str, list[Stage]] = {}
        for side, direction in (("forward", schedule.forward), ("backward", schedule.backward)):
            if direction is not None:
                self.stages[side] = []
                self._direction(side, direction)

    def _direction(self, side: str, d: Direction) -> None:
        weights = {self.weight_name(w): w for p in d.products.values() for _, w, _ in p.terms}
        self._stage(d, f"{side}_begin", "once").begin(weights)
        self._around(side, d, BEFORE)
        self._stage(d, side, "rows").loop()
        self._around(side, d, AFTER)
        for i, (v, (how, what)) in enumerate(d.totals.items()):
            if how in ("outer", "sum"):
                columns = v.shape[-1] if how == "outer" else what.buffer.size
                stage = self._stage(d, f"{side}_total{i}", str(columns), f"total{i}")
                stage.outer(v, what, f"total{i}") if how == "outer" else stage.fold(what.buffer, f"total{i}")
        self._stage(d, f"{side}_end", "once").end()
        self._whole(side)

    def _whole(self, side: str) -> None:
        """``side_whole``: all stages one after the other on one thread, those whose bit is set in ``first``."""
        f = ir.Function(self.ir, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, INT, INT]), f"{side}_whole")
        b = ir.IRBuilder(f.append_basic_block("entry"))
        pointers, integers, scalars, chosen, _ = f.args

        def header(name: str) -> Any:
            return b.load(b.gep(integers, [INT(HEADER.index(name))], source_etype=INT), typ=INT)

        counts = {"once": INT(1), "rows": header("B"), "all": b.mul(header("T"), header("B"))}
        for i, stage in enumerate(self.stages[side]):
            with b.if_then(b.icmp_signed("!=", b.and_(chosen, INT(1 << i)), INT(0))):
                if stage.over in counts:
                    count = counts[stage.over]
                else:
                    slot = self.size_slot(int(stage.over))
                    count = b.load(b.gep(integers, [INT(slot)], source_etype=INT), typ=INT)
                b.call(self.ir.globals[stage.name], [pointers, integers, scalars, INT(0), count])
        b.ret_void()

    def _around(self, side: str, d: Direction, phase: str) -> None:
        """The products and regions over all T·B rows, in the order of their levels."""
        terms = [(p, n) for p in d.products.values() for n, term in enumerate(p.terms) if term[2] == phase]
        levels = d.groups[phase]
        for level in range(max([0, *levels, *[p.levels[n] for p, n in terms]]) + 1):
            for i, (p, n) in enumerate(terms):
                if p.levels[n] == level:
                    wanted = p.place.buffer.outside if p.place.buffer.outside.startswith("gx") else ""
                    self._stage(d, f"{side}_{phase}{level}_product{i}", "all", wanted).product(p, n)
            if level in levels:
                self._stage(d, f"{side}_{phase}{level}", "all").rows(levels[level])

    def _stage(self, d: Direction, name: str, over: str, wanted: str = "") -> Function:
        self.stages[name.partition("_")[0]].append(Stage(name, over, wanted))
        return Function(self, d, name)

    def size_slot(self, n: int) -> int:
        if n not in self.sizes:
            self.sizes.append(n)
        return len(HEADER) + len(self.buffers) + self.sizes.index(n)

    def number_slot(self, x: float) -> int:
        if x not in self.numbers:
            self.numbers.append(x)
        return self.numbers.index(x)

    def extra_slot(self, name: str) -> int:
        if name not in self.extra:
            self.extra.append(name)
        return len(self.buffers) + self.extra.index(name)

    def weight_name(self, v: Value) -> str:
        place = self.schedule.place(v)
        assert place is not None
        return f"packed {place.buffer.name} {place.offset} {place.strides} {v.shape}"


class Function:
    """One function: its arguments, and the blocks being written."""

    def __init__(self, module: Module, direction: Direction, name: str) -> None:
        self.m, self.d, self.lanes = module, direction, module.lanes
        self.labels, self.places = direction.labels, module.schedule
        f = ir.Function(module.ir, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, INT, INT]), name)
        self.pointers, self.integers, self.scalars, self.first, self.last = f.args
        self.entry = ir.IRBuilder(f.append_basic_block("entry"))
        self.b = ir.IRBuilder(f.append_basic_block("start"))
        self.start = self.b.block
        self.known: dict[Any, Any] = {}

    # arguments, loaded once at the entry

    def integer(self, slot: int) -> Any:
        if ("n", slot) not in self.known:
            at = self.entry.gep(self.integers, [INT(slot)], source_etype=INT)
            self.known["n", slot] = self.entry.load(at, typ=INT)
        return self.known["n", slot]

    def header(self, name: str) -> Any:
        return self.integer(HEADER.index(name))

    def size(self, n: int) -> Any:
        return INT(n) if n in (0, 1) else self.integer(self.m.size_slot(n))

    def pointer(self, slot: int) -> Any:
        if ("p", slot) not in self.known:
            at = self.entry.gep(self.pointers, [INT(slot)], source_etype=PTR)
            self.known["p", slot] = self.entry.load(at, typ=PTR)
        return self.known["p", slot]

    def number(self, x: float) -> Any:
        """A number of the step in every lane: an argument too, unless it is one of a few."""
        if x in LITERAL:
            return constant(self.lanes.vector, x)
        key = ("x", x)
        if key not in self.known:
            e = self.entry
            at = e.gep(self.scalars, [INT(self.m.number_slot(x))], source_etype=ir.DoubleType())
            value = e.load(at, typ=ir.DoubleType())
            if self.lanes.dtype == "float32":
                value = e.fptrunc(value, self.lanes.scalar)
            self.known[key] = self.lanes.splat(e, value)
        return self.known[key]

    def finish(self) -> None:
        self.b.ret_void()
        self.entry.position_at_end(self.entry.block)  # stack buffers were put there by other builders
        self.entry.branch(self.start)

    # addresses

    def row(self, b: Any, buffer: Buffer, when: str, t: Any, row: Any) -> Any:
        """The address of a row of a buffer, at step t (None: the row is one of all T·B)."""
        slot = self.m.buffers.index(buffer)
        base = self.pointer(slot)
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
            mask = self.integer(len(HEADER) + slot)
            time = offset if t is None else b.and_(b.add(t, offset), mask)
            at = b.add(b.mul(time, self.header("B")), row)
        return self.lanes.at(b, base, b.mul(at, self.size(buffer.size)))

    # the functions

    def loop(self) -> None:
        """The time loop over the rows [first, last)."""
        b = self.b
        levels = self.d.groups[LOOP]
        products = sorted(
            (
                (level, p, n)
                for p in self.d.products.values()
                for n, (level, term) in enumerate(zip(p.levels, p.terms, strict=True))
                if term[2] == LOOP
            ),
            key=lambda item: item[0],
        )
        last = max([0, *levels, *[level for level, *_ in products]])
        T = self.header("T")
        with repeat(b, INT(0), T) as s:
            t = b.select(b.icmp_signed("!=", self.header("descending"), INT(0)), b.sub(b.sub(T, INT(1)), s), s)
            for level in range(last + 1):
                for its, p, n in products:
                    if its == level:
                        self._product(p, n, t)
                self._region(levels.get(level, []), t, first_level=level == 0)
        self.finish()

    def begin(self, weights: dict[str, Value]) -> None:
        """Pack the weights, put the first carries (or cotangents) where the loop reads them, clear what is added to."""
        b, lanes = self.b, self.lanes
        for name, v in weights.items():
            place = self.places.place(v)
            assert place is not None
            K, N = v.shape
            self.m.packed[name] = (K, N)
            row, column = place.strides
            source = lanes.at(b, self.row(b, place.buffer, "", None, INT(0)), self.size(place.offset))
            target = self.pointer(self.m.extra_slot(name))
            arguments = [source, self.size(row or 0), self.size(column or 0), self.size(K), self.size(N), target]
            b.call(pack(self.m.ir, lanes), arguments)
        first = b.select(self._descends(), b.sub(self.header("T"), INT(1)), INT(0))
        for name, buffer in self.d.carries():
            self._copy(self.row(b, buffer, "read", first, INT(0)), self.pointer(self.m.extra_slot(f"in {name}")), buffer.size, rows=True)
        for buffer in dict.fromkeys(r.place.buffer for r in self.d.all_roots() if r.add):
            rows = b.sdiv(b.add(self.header("B"), INT(ROWS - 1)), INT(ROWS)) if buffer.kind == "groups" else self.header("B")
            self._fill(self.row(b, buffer, "", None, INT(0)), buffer.size, 0.0, rows=rows)
        self.finish()

    def end(self) -> None:
        """Hand out the last carries, or the cotangents of the first."""
        b = self.b
        last = b.select(self._descends(), INT(0), b.sub(self.header("T"), INT(1)))
        for name, buffer in self.d.carries(written=True):
            self._copy(self.pointer(self.m.extra_slot(f"out {name}")), self.row(b, buffer, "write", last, INT(0)), buffer.size, rows=True)
        self.finish()

    def product(self, p: Product, n: int) -> None:
        """A product over the rows [first, last) of all T·B."""
        self._product(p, n, None)
        self.finish()

    def outer(self, v: Value, places: tuple[Place, Place], name: str) -> None:
        """The columns [first, last) of a weight's gradient, aᵀ g over all rows."""
        b, lanes = self.b, self.lanes
        left, right = places
        a, g = (lanes.at(b, self.row(b, x.buffer, x.when, None, INT(0)), self.size(x.offset)) for x in places)
        rows, (M, N) = b.mul(self.header("T"), self.header("B")), v.shape
        target = self.pointer(self.m.extra_slot(name))
        a_row, g_row = self.size(left.buffer.size), self.size(right.buffer.size)
        arguments = [a, a_row, rows, self.size(M), g, g_row, self.first, self.last, target, self.size(N), INT(0)]
        b.call(outer(self.m.ir, lanes), arguments)
        self.finish()

    def fold(self, buffer: Buffer, name: str) -> None:
        """The columns [first, last) of a sum over the batch: the parts of every eight rows, in order."""
        b, lanes = self.b, self.lanes
        target, n = self.pointer(self.m.extra_slot(name)), self.size(buffer.size)
        groups = b.sdiv(b.add(self.header("B"), INT(ROWS - 1)), INT(ROWS))
        source = self.row(b, buffer, "", None, INT(0))
        room = lanes.buffer(b, 1)
        with repeat(b, self.first, self.last) as j:
            b.store(ir.Constant(lanes.scalar, 0.0), room)
            with repeat(b, INT(0), groups) as i:
                part = b.load(lanes.at(b, source, b.mul(i, n), j), typ=lanes.scalar)
                b.store(b.fadd(b.load(room, typ=lanes.scalar), part), room)
            b.store(b.load(room, typ=lanes.scalar), lanes.at(b, target, j))
        self.finish()

    def _descends(self) -> Any:
        return self.b.icmp_signed("!=", self.header("descending"), INT(0))

    def rows(self, groups: list[list[Unit]]) -> None:
        """A region over the rows [first, last) of all T·B."""
        self._region(groups, None, first_level=False)
        self.finish()

    def _product(self, p: Product, n: int, t: Any) -> None:
        b, lanes = self.b, self.lanes
        operand, weight, _ = p.terms[n]
        place = self.d.operand_place(operand)
        order = sorted(range(len(p.terms)), key=lambda i: ((BEFORE, LOOP, AFTER).index(p.terms[i][2]), p.levels[i], i))
        bias: Any = ir.Constant(PTR, None)
        mode: Any = INT(1)
        if order[0] == n and p.base is None:
            mode = INT(0)
            if p.bias is not None:
                mode = INT(2)
                where = self.places.place(p.bias)
                assert where is not None
                bias = lanes.at(b, self.row(b, where.buffer, "", t, INT(0)), self.size(where.offset))
            elif p.place.buffer.kind == "pong":
                mode = b.select(b.icmp_signed("!=", self.header("lengths"), INT(0)), INT(1), INT(0))
        a = lanes.at(b, self.row(b, place.buffer, place.when, t, self.first), self.size(place.offset))
        c = lanes.at(b, self.row(b, p.place.buffer, p.place.when, t, self.first), self.size(p.place.offset))
        K, N = self.size(weight.shape[0]), self.size(weight.shape[1])
        rows = b.sub(self.last, self.first)
        packed = self.pointer(self.m.extra_slot(self.m.weight_name(weight)))
        arguments = [a, self.size(place.buffer.size), rows, K, packed, N, c, self.size(p.place.buffer.size), mode, bias]
        b.call(product(self.m.ir, lanes), arguments)

    # a region, row by row

    def _region(self, groups: list[list[Unit]], t: Any, *, first_level: bool) -> None:
        pongs = self._bare_pongs() if t is not None and first_level else []
        if not groups and not pongs:
            return
        b = self.b
        with repeat(b, self.first, self.last) as row:
            if t is None:
                self._row(groups, None, row)
            else:
                masked = b.icmp_signed("!=", self.header("lengths"), INT(0))
                address = b.gep(self.pointer(self.m.extra_slot("lengths")), [b.select(masked, row, INT(0))], source_etype=INT)
                length = b.load(address, typ=INT)
                valid = b.or_(b.icmp_signed("==", self.header("lengths"), INT(0)), b.icmp_signed("<", t, length))
                with b.if_else(valid) as (then, otherwise):
                    with then:
                        if pongs:
                            with b.if_then(masked):
                                for buffer in pongs:  # what a product will be added to
                                    self._fill(self.row(b, buffer, "write", t, row), buffer.size, 0.0)
                        self._row(groups, t, row)
                    with otherwise:
                        self._idle(groups, pongs, t, row)

    def _bare_pongs(self) -> list[Buffer]:
        """Cotangents of carries that are made by products alone."""
        return [p.place.buffer for p in self.d.products.values() if p.place.buffer.kind == "pong" and p.base is None]

    def _idle(self, groups: list[list[Unit]], pongs: list[Buffer], t: Any, row: Any) -> None:
        """A row past its end: its carry stays, all else is zero."""
        b = self.b
        done: set[tuple[str, str]] = set()
        for place in [u.root.place for g in groups for u in g if not u.root.add] + [
            Place(buffer, 0, (), self.d.own[0], "write") for buffer in pongs
        ]:
            key = (place.buffer.name, place.when)
            if key in done:
                continue
            done.add(key)
            target = self.row(b, place.buffer, place.when, t, row)
            if place.buffer.kind in ("carry", "pong"):
                self._copy(target, self.row(b, place.buffer, "read", t, row), place.buffer.size)
            else:
                self._fill(target, place.buffer.size, 0.0)

    def _fill(self, target: Any, n: int, value: float, *, rows: Any = None) -> None:
        """The same number in all of a row, or of ``rows`` rows."""
        b, lanes = self.b, self.lanes
        count = self.size(n) if rows is None else b.mul(rows, self.size(n))
        with self._vectors(count) as (i, mask):
            lanes.masked_store(b, constant(lanes.vector, value), lanes.at(b, target, i), mask)

    def _copy(self, target: Any, source: Any, n: int, *, rows: bool = False) -> None:
        """A row, or all B rows, from one place to another."""
        b, lanes = self.b, self.lanes
        count = b.mul(self.header("B"), self.size(n)) if rows else self.size(n)
        with self._vectors(count) as (i, mask):
            value = lanes.masked_load(b, lanes.at(b, source, i), mask)
            lanes.masked_store(b, value, lanes.at(b, target, i), mask)

    @contextmanager
    def _vectors(self, count: Any) -> Iterator[tuple[Any, Any]]:
        with repeat(self.b, INT(0), count, INT(self.lanes.width)) as i:
            yield i, self.lanes.mask(self.b, self.b.sub(count, i))

    def _row(self, groups: list[list[Unit]], t: Any, row: Any) -> None:
        for group in groups:
            Nest(self, group, t, row).write()


class Nest:
    """The loops that some units share, for one row."""

    def __init__(self, f: Function, units: list[Unit], t: Any, row: Any) -> None:
        self.f, self.units, self.t, self.row, self.lanes = f, units, t, row, f.lanes
        self.sizes = units[0].sizes
        self.names = list(self.sizes)
        self.inner = self.names[-1] if self.names else ""
        self.variables: dict[str, Any] = {}
        self.rows: dict[Any, Any] = {}
        self.outside: dict[Any, Any] = {}  # values that do not depend on the inner variable
        self.inside: dict[Any, Any] = {}
        self.mask: Any = None
        self.count: Any = None

    def write(self) -> None:
        b = self.f.b
        for unit in self.units:
            for place in [unit.root.place, *[p for p, _ in unit.reads]]:
                key = (place.buffer.name, place.when)
                if key not in self.rows:
                    self.rows[key] = self.f.row(b, place.buffer, place.when, self.t, self.row)
            if self._kind(unit) in ("outer", "both"):
                start = {"sum": 0.0, "max": -np.inf, "min": np.inf}[self._how(unit)[0]]
                self.f._fill(self.rows[unit.root.place.buffer.name, unit.root.place.when], unit.root.place.buffer.size, start)
        self._outer(0)

    def _how(self, unit: Unit) -> tuple[str, float]:
        """How a reduction combines its terms, and what divides a mean."""
        v = unit.value
        combine = {"max": "max", "min": "min"}.get(v.name, "sum")
        count = 1.0
        if v.name == "mean":
            count = float(np.prod([self.sizes[n] for n in unit.reduced], dtype=float))
        return combine, count

    def _kind(self, unit: Unit) -> str:
        """Which loops a unit reduces: none, the inner, outer ones, or both."""
        if not unit.reduced:
            return "none"
        if self.inner in unit.reduced:
            return "inner" if len(unit.reduced) == 1 else "both"
        return "outer"

    def _outer(self, depth: int) -> None:
        if depth < len(self.names) - 1:
            name = self.names[depth]
            with repeat(self.f.b, INT(0), self.f.size(self.sizes[name])) as i:
                self.variables[name] = i
                self._outer(depth + 1)
            return
        self._inner()

    def _inner(self) -> None:
        f, lanes = self.f, self.lanes
        main = f.b
        self.outside = {}
        pre = main.append_basic_block("pre")
        main.branch(pre)
        self.pre = ir.IRBuilder(pre)
        sums: dict[Unit, Any] = {}
        for unit in self.units:
            if self._kind(unit) in ("inner", "both"):
                sums[unit] = room = lanes.buffer(self.pre, lanes.width)
                start = {"sum": 0.0, "max": -np.inf, "min": np.inf}[self._how(unit)[0]]
                lanes.store(self.pre, constant(lanes.vector, start), room)
        after = main.append_basic_block("after_inner")
        if not self.inner:
            self.b, self.mask, self.inside = self.pre, None, {}
            self._body(sums)
            self.pre.branch(after)
        else:
            body = main.append_basic_block("inner")
            self.b = ir.IRBuilder(body)
            n = f.size(self.sizes[self.inner])
            whole = self.pre.and_(n, INT(-lanes.width))
            # whole vectors, then the rest under a mask
            head = ir.IRBuilder(main.append_basic_block("head"))
            tail_test = ir.IRBuilder(main.append_basic_block("tail_test"))
            tail = ir.IRBuilder(main.append_basic_block("tail"))
            i = head.phi(INT)
            i.add_incoming(INT(0), pre)
            head.cbranch(head.icmp_signed("<", i, whole), body, tail_test.block)
            self.variables[self.inner], self.mask, self.inside = i, None, {}
            self._body(sums)
            i.add_incoming(self.b.add(i, INT(lanes.width)), self.b.block)
            self.b.branch(head.block)
            tail_test.cbranch(tail_test.icmp_signed("<", whole, n), tail.block, after)
            self.b = tail
            self.count = tail.sub(n, whole)
            self.variables[self.inner], self.mask, self.inside = whole, lanes.mask(tail, self.count), {}
            self._body(sums)
            self.b.branch(after)
            self.pre.branch(head.block)
        main.position_at_end(after)
        for unit, room in sums.items():
            self._finish_sum(unit, room)

    def _body(self, sums: dict[Unit, Any]) -> None:
        """One vector's worth of all units: everything is read and computed before anything is written."""
        results = []
        self.written = {}  # what this turn of the loop is about to store, for those that read it there
        for unit in self.units:
            if unit.reduced or hasattr(unit, "operands"):
                factors = [self.value(x, index, unit) for x, index in unit.operands]  # type: ignore[attr-defined]
                value = factors[0]
                for factor in factors[1:]:
                    value = self.b.fmul(value, factor)
            else:
                value = self.value(unit.value, unit.index, unit, own=unit)
                self._memo(unit.value, unit.index)[unit.value, unit.index] = value
            if not unit.root.add and not unit.reduced:
                place = unit.root.place
                self.written[place.source, place.when, unit.target] = value
            results.append((unit, value))
        for unit, value in results:
            if unit in sums:
                self._add_to_sum(unit, value, sums[unit])
            else:
                self._store(unit, value)

    def _add_to_sum(self, unit: Unit, value: Any, room: Any) -> None:
        lanes, b = self.lanes, self.b
        before = lanes.load(b, room)
        combined = self._combine(unit, before, value)
        if self.mask is not None:
            combined = b.select(self.mask, combined, before)
        lanes.store(b, combined, room)

    def _combine(self, unit: Unit, a: Any, c: Any) -> Any:
        how, _ = self._how(unit)
        if how == "sum":
            return self.b.fadd(a, c)
        return functions.emit("maximum" if how == "max" else "minimum", self.b, [a, c], {})

    def _finish_sum(self, unit: Unit, room: Any) -> None:
        """The lanes of an accumulator as one number, and where it goes."""
        f, lanes = self.f, self.lanes
        self.b = b = f.b
        total = lanes.load(b, room)
        width = lanes.width
        kind = ir.VectorType(ir.IntType(32), lanes.width)
        while width > 1:
            width //= 2
            order = ir.Constant(kind, [(i + width) % lanes.width for i in range(lanes.width)])
            total = self._combine(unit, total, b.shuffle_vector(total, total, order))
        how, count = self._how(unit)
        if count != 1:
            size = self._count(b, unit)
            total = b.fdiv(total, lanes.splat(b, b.sitofp(size, lanes.scalar)))
        address = self._address(b, unit.root.place, unit.target)
        if self._kind(unit) == "both":
            total = self._combine(unit, total, lanes.splat(b, b.load(address, typ=lanes.scalar)))
        b.store(b.extract_element(total, ir.IntType(32)(0)), address)

    def _count(self, b: Any, unit: Unit) -> Any:
        """How many entries a mean is made of."""
        total: Any = INT(1)
        for name in unit.reduced:
            total = b.mul(total, self.f.size(self.sizes[name]))
        return total

    def _linear(self, b: Any, linear: Ix, *, skip: str = "") -> Any:
        """An affine index as an integer."""
        total = self.f.size(linear.offset) if linear.offset >= 0 else b.neg(self.f.size(-linear.offset))
        for name, c in linear.terms:
            if name != skip:
                i = self.variables[name]
                total = b.add(total, i if c == 1 else b.mul(i, self.f.size(c)))
        return total

    def _address(self, b: Any, place: Place, linear: Ix, *, skip: str = "") -> Any:
        return self.lanes.at(b, self.rows[place.buffer.name, place.when], self._linear(b, linear, skip=skip))

    def _store(self, unit: Unit, value: Any) -> None:
        lanes, b, place = self.lanes, self.b, unit.root.place
        how, count = self._how(unit)
        if count != 1:
            value = b.fdiv(value, lanes.splat(b, b.sitofp(self._count(b, unit), lanes.scalar)))
        c = dict(unit.target.terms).get(self.inner, 0)
        adding = unit.root.add or self._kind(unit) == "outer"
        if value.type != lanes.vector:
            value = b.uitofp(value, lanes.vector)
        if not c:
            address = self._address(b, place, unit.target)
            if adding:
                value = self._combine(unit, lanes.splat(b, b.load(address, typ=lanes.scalar)), value)
            b.store(b.extract_element(value, ir.IntType(32)(0)), address)
        elif c == 1:
            address = self._address(b, place, unit.target)
            if adding:
                before = lanes.load(b, address) if self.mask is None else lanes.masked_load(b, address, self.mask)
                value = self._combine(unit, before, value)
            if self.mask is None:
                lanes.store(b, value, address)
            else:
                lanes.masked_store(b, value, address, self.mask)
        else:
            for lane in range(lanes.width):
                at = self._lane(lane)
                address = lanes.at(b, self._address(b, place, unit.target), b.mul(at, self.f.size(c)))
                one = b.extract_element(value, at)
                if adding:
                    raise Refused("a sum over the batch of turned rows")
                b.store(one, address)

    def _lane(self, lane: int) -> Any:
        """A lane's number; under a mask, the last valid one for those beyond it."""
        return INT(lane) if self.mask is None else least(self.b, INT(lane), self.b.sub(self.count, INT(1)))

    # values

    def _memo(self, v: Value, index: tuple) -> dict[Any, Any]:
        return self.inside if self._moves(index) else self.outside

    def _moves(self, index: tuple) -> bool:
        return any(name == self.inner for i in index if i is not BATCH for name, _ in i.terms)

    def value(self, v: Value, index: tuple, unit: Unit, own: Unit | None = None) -> Any:
        """A value at an index, as a vector along the inner variable."""
        if v.kind == "number":
            return self.f.number(v.array)
        if v.kind == "fill":
            return self.f.number(v.array.reshape(-1)[0].item())
        memo = self._memo(v, index)
        if (v, index) in memo:
            return memo[v, index]
        place = None
        if own is None or self.f.d._is_copy(own.root) or v is not own.root.value:
            place = self.f.places.place(v)
        result = self._load(place, index) if place is not None else self._computed(v, index, unit)
        memo[v, index] = result
        return result

    def _computed(self, v: Value, index: tuple, unit: Unit) -> Any:
        f = self.f
        seen = through(v, index, f.labels, self.sizes)
        if seen is not None:
            return self.value(*seen, unit)
        if v.name in ("concatenate", "stack"):
            return self.value(*concatenation(v, index, self.sizes), unit)
        args = [self.value(a, self._index(a, index), unit) for a in v.args]
        if v.name in FREE:
            return args[0]
        if v.name == "div" and self._moves(index) and not self._moves(self._index(v.args[1], index)):
            return self.b.fmul(args[0], self._reciprocal(v.args[1], args[1], index))
        if v.name == "pow" and v.args[1].kind == "number":
            args[1] = constant(self.lanes.vector, v.args[1].array)
        b = self.b if self._moves(index) else self.pre
        return functions.emit(v.name, b, args, v.params)

    def _index(self, a: Value, index: tuple) -> tuple:
        """The index of an argument that is read entry by entry."""
        return () if a.kind in ("number", "fill") else argument(a, self.f.labels[a], index)

    def _reciprocal(self, a: Value, divisor: Any, index: tuple) -> Any:
        """1 / a, once for the whole loop: a division costs ten multiplications."""
        key = ("reciprocal", a, self._index(a, index))
        if key not in self.outside:
            self.outside[key] = self.pre.fdiv(constant(self.lanes.vector, 1), divisor)
        return self.outside[key]

    def _load(self, place: Place, index: tuple) -> Any:
        lanes = self.lanes
        linear = place.linear(index)
        if (found := self.written.get((place.source, place.when, linear))) is not None:
            return found
        c = dict(linear.terms).get(self.inner, 0)
        if not c:
            b = self.b if self._moves(index) else self.pre
            address = self._address(b, place, linear)
            return lanes.splat(b, b.load(address, typ=lanes.scalar))
        b = self.b
        if c == 1:
            address = self._address(b, place, linear)
            return lanes.load(b, address) if self.mask is None else lanes.masked_load(b, address, self.mask)
        base = self._address(b, place, linear)
        total: Any = ir.Constant(lanes.vector, ir.Undefined)
        for lane in range(lanes.width):
            address = lanes.at(b, base, b.mul(self._lane(lane), self.f.size(c)))
            total = b.insert_element(total, b.load(address, typ=lanes.scalar), ir.IntType(32)(lane))
        return total
