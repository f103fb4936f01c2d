"""What is stored, what is computed on the fly, and in which order: the loop of a step, forward and backward.

Three kinds of work make up a step: products with a weight (rows times a packed matrix), and, between two of them,
regions of everything else, done row by row. In a region only what is asked for is stored; all else is computed where it
is read. A root is a value that must be stored: a carry, an output, an operand of a product, a sum, or something dear
that the way back would else compute again. Roots over the same indices share one loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..rows import INVARIANT, TOTAL, Label
from ..trace import Refused, StepGraph, Value
from . import functions
from .lifetimes import guests
from .index import BATCH, VIEWS, Ix, NeedSplit, NeedStore, Place, Places, argument, concatenation, row_shape, through

__all__ = ["Buffer", "Direction", "Product", "Root", "Schedule", "Unit"]

PHASES = BEFORE, LOOP, AFTER = "before", "loop", "after"
DEAR = {"tanh", "sigmoid", "exp", "expm1", "log", "log1p", "softplus", "silu", "elu", "sin", "cos", "pow", "erf"}
DEAR_COST = 6  # ops: what storing a value and reading it again is worth
REDUCTIONS = {"sum": "sum", "mean": "sum", "max": "max", "min": "min"}
FREE = {"alias", "tap", "real"}


class KeepForward(Exception):
    """A value of the step that the way back wants stored."""

    def __init__(self, value: Value) -> None:
        self.value = value


@dataclass(eq=False)
class Buffer:
    """Rows of ``size`` entries. ``kind``: step (T·B rows), carry ((T + 1)·B), pong (two of B, in turn), rows (B), groups (one
    for every eight rows, added up), given (an invariant: one for all)."""

    kind: str
    size: int
    name: str
    dtype: Any
    kept: bool = False  # read outside the loop, or on the way back
    outside: str = ""  # what the array is when it comes from outside: x3, g_y0, given2, y0, …


@dataclass(eq=False)
class Unit:
    """One loop nest's worth of a root: ``target[...] = value[index]`` over some variables."""

    value: Value
    root: Root
    index: tuple[Any, ...]
    sizes: dict[str, int]  # of the loop variables, outermost first
    target: Ix
    reads: list[tuple[Place, Ix]] = field(default_factory=list)
    evaluated: set[tuple[Value, tuple]] = field(default_factory=set)
    reduced: tuple[str, ...] = ()
    group: int = 0

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(self.sizes.values())


@dataclass(eq=False)
class Root:
    """A value that is stored, or added up, in a phase."""

    value: Value
    phase: str
    place: Place
    add: bool = False
    units: list[Unit] = field(default_factory=list)
    level: int = -1


@dataclass(eq=False)
class Product:
    """A chain of products that are added up: base + Σ aᵢ @ Bᵢ, stored at ``place``."""

    value: Value
    phase: str
    place: Place
    terms: list[tuple[Value, Value, str]]  # operand, weight, phase
    bias: Value | None
    base: Root | None
    levels: list[int] = field(default_factory=list)


class Schedule:
    """Both directions of a step."""

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        self.graph, self.labels = graph, labels
        self.given = set(graph.invariants())  # what they are made of is not known here
        self.users: dict[Value, int] = {}
        for v in graph.values:
            for a in v.args:
                self.users[a] = self.users.get(a, 0) + 1
        for v in (*graph.carry_out, *graph.ys, *graph.gradients.values()):
            self.users[v] = self.users.get(v, 0) + 1
        self._check()
        self.guests: dict[Value, tuple[Value, int]] = {}
        self.keep: dict[Value, None] = {}
        self._plan()
        if lodgers := guests(self):
            self.guests = lodgers
            self._plan()

    def _plan(self) -> None:
        """Both directions; again whenever the way back turns out to want one more value of the step."""
        while True:
            try:
                self.places = Places(self.labels)
                self.buffers: list[Buffer] = []
                self.forward = Direction(self, backward=False, keep=self.keep)
                self.backward = Direction(self, backward=True, keep={}) if self.graph.gradients else None
                return
            except KeepForward as found:
                self.keep[found.value] = None
                self.guests = {}  # they were found without it

    def _check(self) -> None:
        kinds = {v.dtype for v in self.graph.values if v.dtype is not None and v.dtype.kind != "b"}
        if kinds not in ({np.dtype("f4")}, {np.dtype("f8")}):
            raise Refused(f"machine code is made for float32 or float64 alone, the step has {sorted(map(str, kinds))}")
        self.dtype = kinds.pop()

    def buffer(self, kind: str, v: Value, *, outside: str = "", size: int | None = None) -> Buffer:
        n = int(np.prod(row_shape(v, self.labels[v]), dtype=int)) if size is None else size
        made = Buffer(kind, n, f"{kind}{len(self.buffers)}", self.dtype, outside=outside)
        self.buffers.append(made)
        return made

    def place(self, v: Value) -> Place | None:
        """Where a value is stored; an invariant's buffer is made when it is first asked for."""
        found = self.places.find(v)
        if found is not None or v.kind in ("number", "fill"):
            return found
        if v in self.given and isinstance(self.labels[v], int):  # captured, with a batch axis: a row for every row
            return self.places.put(v, self.buffer("rows", v, outside="given"))
        if self.labels.get(v) != INVARIANT:
            return found
        if v.kind == "op" and v.name in VIEWS and v not in self.given and self.place(v.args[0]) is not None:
            found = self.places.find(v)
        return found or self.places.put(v, self.buffer("given", v))

    def is_product(self, v: Value) -> bool:
        if v.kind != "op" or v.name != "matmul" or not isinstance(self.labels[v], int):
            return False
        a, b = v.args
        return self.labels[a] == 0 and self.labels[b] == INVARIANT and len(a.shape) == 2 and len(b.shape) == 2


class Direction:
    """The phases of one direction: what runs over all rows before the loop, in it, and after it."""

    def __init__(self, schedule: Schedule, *, backward: bool, keep: dict[Value, None]) -> None:
        self.s, self.graph, self.labels, self.back = schedule, schedule.graph, schedule.labels, backward
        g = self.graph
        self.own = g.values[g.backward_from :] if backward else g.values[: g.backward_from]
        self.mine = set(self.own)
        self.waiting = g.depends_on(g.g_carry if backward else g.carry)
        self.carried = [gr for v, gr in g.gradients.items() if v in g.carry] if backward else g.carry_out
        self.needed = g.needed_for(self.carried)
        self.roots: dict[Value, Root] = {}
        self.extra: list[Root] = []  # further roots of values that are roots already, bases, and sums over the batch
        self.products: dict[Value, Product] = {}
        self.totals: dict[Value, tuple[str, Any]] = {}  # how a total is made: ("sum", root) or ("outer", a, g)
        self.y_places: list[Place] = []
        self.copies: dict[Value, Place] = {}
        self._inputs()
        self._chains(keep)
        self._demands(keep)
        self._settle()
        self._levels()
        self.groups = {phase: self._grouped(phase) for phase in (BEFORE, LOOP, AFTER)}

    # what is there from the beginning

    def _inputs(self) -> None:
        put, buffer, g = self.s.places.put, self.s.buffer, self.graph
        if self.back:
            for i, v in enumerate(g.g_ys):
                put(v, buffer("step", v, outside=f"g_y{i}"))
            for v in g.g_carry:
                put(v, buffer("pong", v), "read")
            return
        for i, v in enumerate(g.xs):
            put(v, buffer("step", v, outside=f"x{i}"))
        for i, v in enumerate(g.carry):
            put(v, buffer("carry", v, outside=f"carry{i}"), "read")
        for i, v in enumerate(g.carry_out):
            if v.kind in ("number", "fill") or self.labels[v] == INVARIANT:
                raise Refused("a carry does not depend on the input or the state")
            if v.dtype.kind == "b":
                raise Refused("a carry is boolean, which machine code does not store")
            place = self.s.places.stored[g.carry[i]]
            if self.s.place(v) is not None:  # another carry, an input, or the same value carried twice
                copy = Places(self.labels).put(v, place.buffer, "write")
                self.extra.append(Root(v, LOOP, copy))
            else:
                self.roots[v] = Root(v, LOOP, put(v, place.buffer, "write"))

    def phase(self, v: Value) -> str:
        """Where a value is computed when it is stored."""
        if v not in self.waiting:
            return LOOP
        return AFTER if any(p.phase == AFTER and self._uses(v, p.value) for p in self.products.values()) else LOOP

    def _uses(self, v: Value, source: Value) -> bool:
        return source in self.graph.needed_for([v])

    def product_phase(self, v: Value) -> str:
        if v not in self.waiting:
            return BEFORE
        return LOOP if v in self.needed else AFTER

    # chains of products

    def _chains(self, keep: dict[Value, None]) -> None:
        absorbed: set[Value] = set()
        must = {v for v in self.carried if v not in self.roots} if self.back else set()
        must |= {gr for v, gr in self.graph.gradients.items() if v.kind == "x"} if self.back else set()
        for v in reversed(self.own):
            if v in absorbed or not isinstance(self.labels.get(v), int):
                continue
            if not (self.s.is_product(v) or v.name == "add"):
                continue
            inner: list[Value] = []
            terms = self._terms(v, inner, top=True)
            products = [t for t in terms if self.s.is_product(t)]
            if not products:
                continue
            others = [t for t in terms if t not in products]
            bias = [t for t in others if self._is_bias(t, v)]
            rest = [t for t in others if t not in bias]
            if len(bias) > 1 or (rest and v not in must) or len(rest) > 1 or (rest and bias):
                continue
            absorbed |= {*inner, *products}
            self._chain(v, products, bias[0] if bias else None, rest[0] if rest else None, keep)

    def _is_bias(self, t: Value, v: Value) -> bool:
        """Whether one vector, its entries behind one another, is added to every row of v."""
        if self.labels.get(t) != INVARIANT or t.shape != v.shape[1:]:
            return False
        place = self.s.place(t)
        return place is not None and place.strides == (1,)

    def _terms(self, v: Value, inner: list[Value], *, top: bool = False) -> list[Value]:
        if v.name == "add" and (top or self.s.users[v] == 1) and v in self.mine and v.kind == "op":
            same = [a.kind not in ("number", "fill") for a in v.args]
            if all(same):
                inner.append(v)
                return [t for a in v.args for t in self._terms(a, inner)]
        return [v]

    def _ready(self, v: Value) -> str:
        """The phase in which a value can be computed, as far as products tell."""
        if v not in self.waiting:
            return BEFORE
        below = self.graph.needed_for([v])
        return AFTER if any(self.s.is_product(p) and self.product_phase(p) == AFTER for p in below & self.mine) else LOOP

    def _chain(self, v: Value, products: list[Value], bias: Value | None, rest: Value | None, keep: Any) -> None:
        if any(self.s.users[p] > 1 for p in products if p is not v):
            for p in products:  # a product that others read too is a chain of its own
                self._chain(p, [p], None, None, keep)
            return
        phases = {p: self.product_phase(p) for p in products}
        order = sorted(products, key=lambda p: PHASES.index(phases[p]))
        s, g = self.s, self.graph
        phase = phases[order[-1]]
        target: Place
        gradient_of = next((x for x, gr in g.gradients.items() if gr is v), None) if self.back else None
        late = rest is not None and PHASES.index(self._ready(rest)) > PHASES.index(phases[order[0]])
        passed_on = gradient_of is not None and gradient_of in g.carry and phase == LOOP != phases[order[0]]
        if late or passed_on:  # what they are added to comes later than they do, or there is no room for it before
            for p in products:
                self._chain(p, [p], None, None, keep)
            return
        if gradient_of is not None and gradient_of in g.carry and phase == LOOP:
            target = s.places.put(v, s.places.stored[g.g_carry[gradient_of.index]].buffer, "write")
        elif gradient_of is not None and gradient_of.kind == "x":
            target = s.places.put(v, s.buffer("step", v, outside=f"gx{gradient_of.index}"))
        elif self.roots.get(v) is not None and not self.back:  # a carry that is a bare product: stored apart, then copied
            del s.places.stored[v]
            target = s.places.put(v, s.buffer("step", v))
            root = self.roots.pop(v)
            root.place = root.place._replace(source=v)
            self.extra.append(root)
        else:
            step = phase != LOOP or phases[order[0]] != LOOP or v in keep
            target = s.places.put(v, s.buffer("step" if step else "rows", v))
        base = None
        if rest is not None:
            base = Root(rest, BEFORE if phase == BEFORE else self._ready(rest) if rest in self.waiting else LOOP, target)
            self.extra.append(base)
        terms = [(p.args[0], p.args[1], phases[p]) for p in order]
        self.products[v] = Product(v, phase, target, terms, bias, base)

    # what else must be stored

    def _demands(self, keep: dict[Value, None]) -> None:
        g = self.graph
        for v in keep:
            self.store(v, "step")
        if not self.back:
            for i, v in enumerate(g.ys):
                self.y_places.append(self._result(v, f"y{i}"))
        else:
            for v, gr in g.gradients.items():
                self._gradient(v, gr)
            for i, v in enumerate(g.carry):
                if v not in g.gradients:  # no cotangent goes on to the step before
                    self._root_at(self._zeros(v), Places(self.labels).put(v, self.s.places.stored[g.g_carry[i]].buffer, "write"))
        for p in list(self.products.values()):
            for operand, _, phase in p.terms:
                self.operand(operand, "step" if phase != LOOP else "rows")

    def store(self, v: Value, kind: str) -> Place:
        """Make a value a root, unless it is stored; the kind of its buffer may grow from rows to step."""
        found = self.s.place(v)
        if found is not None:
            if kind == "step" and found.buffer.kind == "rows":
                found.buffer.kind = "step"
                found.buffer.name = found.buffer.name.replace("rows", "step")
            return found
        if v not in self.mine:
            raise KeepForward(v)
        if v in self.s.guests:
            host, offset = self.s.guests[v]
            place = self.s.places.put(v, self.s.places.stored[host].buffer)._replace(offset=offset)
            self.s.places.stored[v] = place
        else:
            place = self.s.places.put(v, self.s.buffer(kind, v))
        phase = self.phase(v)
        if kind == "step" and v not in self.waiting and self._wanted_before(v):
            phase = BEFORE
        self.roots[v] = Root(v, phase, place)
        return place

    def _wanted_before(self, v: Value) -> bool:
        """Whether a product before the loop reads it."""
        before = [t for p in self.products.values() for t in p.terms if t[2] == BEFORE]
        return any(v in self.graph.needed_for([operand]) for operand, *_ in before)

    def operand(self, v: Value, kind: str) -> Place:
        """An operand of a product: stored, one row's entries behind one another."""
        place = self.s.place(v)
        if place is not None and place.strides[-1] == 1:
            if kind == "step" and place.buffer.kind in ("rows", "pong"):
                self.store(v, "step")
                if place.buffer.kind == "pong":
                    return self._copy(v)
            return place
        if place is not None:
            return self._copy(v)
        return self.store(v, kind)

    def carries(self, *, written: bool = False) -> list[tuple[str, Buffer]]:
        """The buffers of the carries, or of their cotangents, by name; only those that the step writes, if so asked."""
        found = []
        used, roots = self.used_buffers(), self.all_roots()
        writers = {r.place.buffer.name for r in roots if r.place.when == "write"}
        writers |= {p.place.buffer.name for p in self.products.values() if p.place.when == "write"}
        for i, v in enumerate(self.graph.g_carry if self.back else self.graph.carry):
            buffer = self.s.places.stored[v].buffer
            if buffer.name in (writers if written else used):
                found.append((f"g_carry{i}" if self.back else f"carry{i}", buffer))
        return found

    def used_buffers(self) -> set[str]:
        """The names of the buffers that this direction reads or writes."""
        found: set[str] = set()
        for root in self.all_roots():
            found.add(root.place.buffer.name)
            found |= {place.buffer.name for unit in root.units for place, _ in unit.reads}
        for p in self.products.values():
            found.add(p.place.buffer.name)
            found |= {self.operand_place(a).buffer.name for a, *_ in p.terms}
            if p.bias in self.s.places.stored:
                found.add(self.s.places.stored[p.bias].buffer.name)
        return found

    def operand_place(self, v: Value) -> Place:
        """Where a product reads an operand."""
        place = self.copies.get(v) or self.s.place(v)
        assert place is not None
        return place

    def _copy(self, v: Value) -> Place:
        """A value that is stored, once more, as a series with contiguous rows."""
        copies = self.copies
        if v not in copies:
            buffer = self.s.buffer("step", v)
            strides = []
            n = 1
            for size, is_batch in reversed([(d, i == self.labels[v]) for i, d in enumerate(v.shape)]):
                strides.append(BATCH if is_batch else n)
                n *= 1 if is_batch else size
            place = Place(buffer, 0, tuple(reversed(strides)), v)
            copies[v] = place
            self.extra.append(Root(v, LOOP, place))
        return copies[v]

    def _result(self, v: Value, name: str) -> Place:
        """An output along time."""
        if v.dtype is not None and v.dtype.kind == "b":
            raise Refused("an output is boolean, which machine code does not store")
        if v.kind in ("number", "fill") or self.labels[v] == INVARIANT:
            raise Refused("an output does not depend on the input or the state")
        place = self.s.place(v)
        if place is not None and place.source is v and place.buffer.kind == "carry":
            place.buffer.kept = True
            return place
        if place is None:
            place = self.store(v, "step")
            place.buffer.outside = place.buffer.outside or name
            return place
        if place.source is v and place.buffer.kind == "step" and not place.buffer.outside:
            place.buffer.outside = name
            return place
        buffer = self.s.buffer("step", v, outside=name)
        copy = Places(self.labels).put(v, buffer)
        self.extra.append(Root(v, self.phase(v), copy))
        return copy

    def _gradient(self, v: Value, gr: Value) -> None:
        s = self.s
        label = self.labels[gr]
        if label == TOTAL:
            self._total(gr)
        elif label == INVARIANT:
            raise Refused("a gradient does not depend on the cotangents")
        elif v.kind == "x":
            if gr in self.products:
                return
            buffer = s.buffer("step", v, outside=f"gx{v.index}")
            place = Places(self.labels).put(gr, buffer)
            self._root_at(gr, place)
        elif v.kind == "carry":
            if gr in self.products and self.products[gr].place.buffer.kind == "pong":
                return
            buffer = s.places.stored[self.graph.g_carry[v.index]].buffer
            place = Places(self.labels).put(gr, buffer)._replace(when="write")
            self._root_at(gr, place)
        else:  # captured, with a batch axis: added up along time, row by row
            if self._reduction(gr) is not None:
                self.store(gr, "rows")
            place = Places(self.labels).put(gr, s.buffer("rows", gr, outside=f"g_given{id(v)}"))
            self.extra.append(Root(gr, LOOP, place, add=True))
            self.totals[gr] = ("rows", place)

    def _zeros(self, like: Value) -> Value:
        made = Value("fill", array=np.zeros(1, like.dtype))
        made.shape, made.dtype = like.shape, like.dtype
        self.labels[made] = 0
        return made

    def _root_at(self, v: Value, place: Place) -> None:
        if self.s.place(v) is None:
            self.s.places.stored[v] = place
            self.roots[v] = Root(v, self.phase(v), place)
        else:
            self.extra.append(Root(v, self.phase(v), place))

    def _total(self, gr: Value) -> None:
        """How a sum over the batch is made; what it is made of is demanded."""
        if gr in self.totals or gr.kind in ("number", "fill"):
            return
        if any(self.labels.get(a) == TOTAL for a in gr.args):
            self.totals[gr] = ("op", None)
            for a in gr.args:
                if self.labels.get(a) == TOTAL:
                    self._total(a)
            return
        if gr.name == "matmul":
            turned, g = gr.args
            if turned.name in ("swapaxes", "transpose") and len(turned.shape) == 2 and len(g.shape) == 2:
                a = turned.args[0]
                self.totals[gr] = ("outer", (self.operand(a, "step"), self.operand(g, "step")))
                return
        if gr.name == "sum" and len(np.atleast_1d(gr.params["axis"])) == 1:
            x = gr.args[0]
            if self._reduction(x) is not None:
                self.store(x, "rows")
            place = Places(self.labels).put(x, self.s.buffer("groups", x))
            phase = self.phase(x)
            self.extra.append(Root(x, phase, place, add=True))
            self.totals[gr] = ("sum", place)
            return
        raise Refused(f"a gradient is summed over the batch by `{gr.name}`, which has no code")

    # loop nests

    def all_roots(self) -> list[Root]:
        return [*self.roots.values(), *self.extra]

    def _settle(self) -> None:
        """Units for all roots; what turns out to need storing becomes a root too."""
        while True:
            pending = [r for r in self.all_roots() if not r.units]
            if not pending:
                return
            for root in pending:
                while True:
                    try:
                        root.units = list(self._units(root))
                        break
                    except NeedStore as found:
                        if found.value is root.value and not self._is_copy(root):
                            raise Refused(f"`{root.value.name}` has no code for rows") from None
                        self._store_for(found.value, root)

    def _store_for(self, v: Value, reader: Root) -> None:
        """Store what a root reads; what another phase or direction reads is a series."""
        if v not in self.mine:
            raise KeepForward(v)
        self.store(v, "step" if reader.phase != self.phase(v) else "rows")

    def _is_copy(self, root: Root) -> bool:
        """Whether the value is computed by another root and this one stores it once more."""
        return self.s.place(root.value) is not None and self.roots.get(root.value) is not root

    def _units(self, root: Root) -> Iterator[Unit]:
        v = root.value
        if not self._is_copy(root) and self._reduction(v) is not None:
            yield self._reduction_unit(root)
            return
        yield from self._pieces(v, root.place, root)

    def _pieces(self, v: Value, place: Place, root: Root) -> Iterator[Unit]:
        """The stores of a value: a joined one piece by piece, each at its own place."""
        computed = v is root.value or self.s.place(v) is None
        if computed and v.kind == "op" and (root.add or not (v is root.value and self._is_copy(root))):
            if v.name == "concatenate":
                axis = v.params["axis"] % len(v.shape)
                start = 0
                for a in v.args:
                    stride = place.strides[axis]
                    assert stride is not None
                    yield from self._pieces(a, place._replace(offset=place.offset + start * stride), root)
                    start += a.shape[axis]
                return
            if v.name == "stack":
                axis = v.params["axis"] % len(v.shape)
                rest = place.strides[:axis] + place.strides[axis + 1 :]
                for i, a in enumerate(v.args):
                    stride = place.strides[axis]
                    assert stride is not None
                    yield from self._pieces(a, place._replace(offset=place.offset + i * stride, strides=rest), root)
                return
            if v.name == "reshape":
                from .index import _reshaped

                back = Value("op", op=v.op, args=(v,))
                back.shape = v.args[0].shape
                moved = _reshaped(back, place, {back: self.labels.get(v.args[0], 0)})
                if moved is not None:
                    yield from self._pieces(v.args[0], moved, root)
                    return
        shape = v.shape
        batch = self.labels[v] if v.kind not in ("number", "fill") else self.labels[root.value]
        ranges = [(0, n) for i, n in enumerate(shape) if i != batch]
        axes = [i for i in range(len(shape)) if i != batch]
        yield from self._ranges(v, place, root, axes, ranges)

    def _ranges(self, v: Value, place: Place, root: Root, axes: list[int], ranges: list[tuple[int, int]]) -> Iterator[Unit]:
        """One unit over the ranges, or several where a concatenation is read across its pieces."""
        index: list[Any] = [BATCH] * len(v.shape)
        sizes: dict[str, int] = {}
        names: dict[str, int] = {}
        for at, (axis, (start, stop)) in enumerate(zip(axes, ranges, strict=True)):
            if stop - start == 1:
                index[axis] = Ix((), start)
            else:
                name = f"i{len(sizes)}"
                sizes[name], names[name] = stop - start, at
                index[axis] = Ix(((name, 1),), start)
        unit = Unit(v, root, tuple(index), sizes, Ix())
        unit.target = place.linear(unit.index)
        try:
            self._walk(unit, copy=self._is_copy(root) or v is not root.value)
        except NeedSplit as split:
            at = names[split.variable]
            start, stop = ranges[at]
            for part in ((start, start + split.at), (start + split.at, stop)):
                yield from self._ranges(v, place, root, axes, [*ranges[:at], part, *ranges[at + 1 :]])
            return
        yield unit

    def _reduction(self, v: Value) -> tuple[str, list[tuple[Value, list[Any]]], list[Any], dict[str, int]] | None:
        """A sum, an extremum or a small product of rows: the combining op, its operands with the letters of their axes, the
        letters of its own, and their sizes."""
        if v.kind != "op" or not isinstance(self.labels[v], int):
            return None
        if v.name in REDUCTIONS and "axis" in v.params:
            x = v.args[0]
            letters: list[Any] = [BATCH if i == self.labels[x] else f"r{i}" for i in range(len(x.shape))]
            axis = v.params["axis"]
            axes = range(len(x.shape)) if axis is None else np.atleast_1d(axis)
            gone = {int(a) % len(x.shape) for a in axes}
            out = [None if i in gone and v.params["keepdims"] else c for i, c in enumerate(letters) if i not in gone or v.params["keepdims"]]
            out = ["1" if c is None and i != self.labels[v] else c for i, c in enumerate(out)]
            return REDUCTIONS[v.name], [(x, letters)], out, {f"r{i}": n for i, n in enumerate(x.shape)}
        if v.name == "matmul" and not self.s.is_product(v):
            a, b = v.args
            if len(a.shape) < 2 or len(b.shape) < 2:
                return None
            n = len(v.shape)
            letters = [f"r{i}" for i in range(n)]
            ends = {"a": [letters[-2], "k"], "b": ["k", letters[-1]]}
            spelt = []
            for x, key in ((a, "a"), (b, "b")):
                lead = letters[n - len(x.shape) : n - 2]
                spelt.append((x, [*("1" if m == 1 and v.shape[n - len(x.shape) + i] != 1 else c for i, (c, m) in enumerate(zip(lead, x.shape))), *ends[key]]))
            at = self.labels[v]
            sizes = {c: m for c, m in zip(letters, v.shape)} | {"k": a.shape[-1]}
            hide = letters[at]  # type: ignore[index]
            spelt = [(x, [BATCH if i == self.labels[x] else "1" if c == hide else c for i, c in enumerate(cs)]) for x, cs in spelt]
            return "sum", spelt, [BATCH if c == hide else c for c in letters], sizes
        if v.name == "einsum":
            terms, out_term = v.params["equation"].split("->")
            at = out_term[self.labels[v]]  # type: ignore[index]
            spelt = [(x, [BATCH if c == at else c for c in t]) for x, t in zip(v.args, terms.split(","), strict=True)]
            sizes = {c: n for x, t in zip(v.args, terms.split(","), strict=True) for c, n in zip(t, x.shape)}
            return "sum", spelt, [BATCH if c == at else c for c in out_term], sizes
        return None

    def _reduction_unit(self, root: Root) -> Unit:
        found = self._reduction(root.value)
        assert found is not None
        _, operands, out, all_sizes = found
        kept = [c for c in out if c is not BATCH and c != "1" and all_sizes[c] != 1]
        used = {c for _, letters in operands for c in letters if c is not BATCH and c != "1" and all_sizes[c] != 1}
        gone = [c for c in all_sizes if c in used and c not in kept]
        last = kept[-1:] if kept and len(operands) == 2 and self._runs_along(operands, kept[-1]) else []
        if len(operands) == 1:  # the order of the operand's axes
            order = [c for c in operands[0][1] if c in kept or c in gone]
        else:
            order = [c for c in kept if c not in last] + gone + last
        names = {c: f"i{i}" for i, c in enumerate(order)}
        sizes = {names[c]: all_sizes[c] for c in order}

        def spelt(letters: list[Any]) -> tuple[Any, ...]:
            return tuple(BATCH if c is BATCH else Ix(((names[c], 1),)) if c in names else Ix() for c in letters)

        unit = Unit(root.value, root, spelt(out), sizes, Ix(), reduced=tuple(names[c] for c in gone))
        unit.target = root.place.linear(unit.index)
        unit.operands = [(x, spelt(letters)) for x, letters in operands]  # type: ignore[attr-defined]
        try:
            for x, index in unit.operands:  # type: ignore[attr-defined]
                self._walk(unit, start=(x, index))
        except NeedSplit as split:  # sums over a concatenation read it whole
            raise NeedStore(operands[0][0]) from split
        return unit

    def _runs_along(self, operands: list[tuple[Value, list[Any]]], letter: str) -> bool:
        """Whether an operand's entries lie behind one another along a letter."""
        for x, letters in operands:
            place = self.s.place(x)
            if letter in letters and place is not None and place.strides[letters.index(letter)] == 1:
                return True
            if letter in letters and place is None and letters[-1] == letter:
                return True
        return False

    def _walk(self, unit: Unit, *, copy: bool = False, start: tuple[Value, tuple] | None = None) -> None:
        """Follow what a unit computes down to what is stored."""
        first = start or (unit.value, unit.index)
        stack = [first]
        variables = list(unit.sizes)
        while stack:
            v, index = stack.pop()
            if v.kind in ("number", "fill") or (v, index) in unit.evaluated:
                continue
            own = (v, index) == first and start is None and not copy
            place = None if own else self.s.place(v)
            if place is not None:
                self._read(unit, place, index)
                continue
            if v not in self.mine and v.kind in ("op", "pick") and self._dear(v):
                raise KeepForward(v)
            if unit.root.phase == AFTER and v in self.waiting and self.phase(v) == LOOP and v in self.mine and not own:
                self.store(v, "step")
                raise NeedStore(v)
            seen = through(v, index, self.labels, unit.sizes)
            if seen is not None:
                stack.append(seen)
                continue
            if v.kind == "op" and v.name in ("concatenate", "stack"):
                stack.append(concatenation(v, index, unit.sizes))
                continue
            if v.kind != "op" or self._reduction(v) is not None or self.s.is_product(v):
                raise NeedStore(v)
            if not self._has_code(v):
                raise Refused(f"`{v.name}` has no code for rows")
            if not own and self._again(v, index, variables):
                raise NeedStore(v)
            unit.evaluated.add((v, index))
            for a in v.args:
                if a.kind not in ("number", "fill"):
                    stack.append((a, argument(a, self.labels[a], index)))

    def _read(self, unit: Unit, place: Place, index: tuple) -> None:
        if place.buffer.outside == "given":
            if unit.root.phase != LOOP:
                raise Refused("a captured array with a batch axis is read outside the loop")
            unit.reads.append((place, place.linear(index)))
            return
        if place.buffer.kind == "rows" and place.source not in self.mine:
            raise KeepForward(place.source)
        if place.buffer.kind in ("step", "carry") and (self.back or unit.root.phase != LOOP) and place.source not in self.roots:
            place.buffer.kept = True
        if place.buffer.kind == "rows" and unit.root.phase != LOOP and unit.root is not self.roots.get(place.source):
            self.store(place.source, "step")
        unit.reads.append((place, place.linear(index)))

    def _dear(self, v: Value) -> bool:
        """Whether computing a value of the step again would cost more than reading it."""
        return v.name in DEAR or self._reduction(v) is not None or self.s.is_product(v)

    def _has_code(self, v: Value) -> bool:
        if v.name in FREE:
            return True
        kinds = [a.dtype for a in v.args if a.dtype is not None and a.kind != "number"]
        masks = bool(kinds) and all(k.kind == "b" for k in kinds)
        return functions.supports(v.name, np.dtype(bool) if masks else self.s.dtype)

    def _again(self, v: Value, index: tuple, variables: list[str]) -> bool:
        """Whether a loop that the value does not depend on would compute it again and again."""
        used = {name for i in index if i is not BATCH for name, _ in i.terms}
        inner = max((variables.index(n) for n in used), default=-1)
        repeated = any(n not in used for n in variables[: inner + 1])
        return repeated and (self._dear(v) or any(a.kind == "op" and self.s.place(a) is None for a in v.args))

    # order

    def _levels(self) -> None:
        """How many products in the loop lie before each root; products come in before the region of their level."""
        level: dict[Any, int] = {}

        def of_root(root: Root) -> int:
            if root in level:
                return level[root]
            level[root] = 0
            found = 0
            for unit in root.units:
                for place, _ in unit.reads:
                    found = max(found, of_source(place, root.phase))
            level[root] = found
            return found

        def of_source(place: Place, phase: str) -> int:
            if place.when == "read":
                return 0
            v = place.source
            if v in self.products and self.products[v].place.buffer is place.buffer:
                return of_product(self.products[v], phase)
            root = self.roots.get(v)
            return of_root(root) if root is not None and root.phase == phase else 0

        def of_product(p: Product, phase: str) -> int:
            if (p, phase) in level:
                return level[p, phase]
            found = 0
            for operand, _, its in p.terms:
                if its == phase:
                    place = self.s.place(operand)
                    copy = self.copies.get(operand)
                    source = of_source(place, phase) if place is not None else 0
                    if copy is not None:
                        source = max([source, *[of_root(r) for r in self.extra if r.place is copy]])
                    base = of_root(p.base) if p.base is not None and p.base.phase == phase else 0
                    found = max(found, max(source, base) + 1)
            level[p, phase] = found
            return found

        for root in self.all_roots():
            root.level = of_root(root)
        for p in self.products.values():
            p.levels = [of_product(p, phase) for _, _, phase in p.terms]

    def _grouped(self, phase: str) -> dict[int, list[list[Unit]]]:
        """For each level of a phase the loops, each with the units that share it."""
        roots = [r for r in self.all_roots() if r.phase == phase]
        found: dict[int, list[list[Unit]]] = {}
        for level in sorted({r.level for r in roots}):
            while True:
                here = [r for r in roots if r.level == level]
                groups = self._group(here)
                again = self._computed_twice(groups)
                if again is None:
                    break
                self.store(again, "rows")
                self._reset()
                roots = [r for r in self.all_roots() if r.phase == phase]
            found[level] = groups
        return found

    def _reset(self) -> None:
        for root in self.all_roots():
            root.units = []
        self._settle()
        self._levels()

    def _group(self, roots: list[Root]) -> list[list[Unit]]:
        order: list[Root] = []
        seen: set[Root] = set()
        by_source = {r.value: r for r in roots if not self._is_copy(r)}

        def visit(root: Root) -> None:
            if root in seen:
                return
            seen.add(root)
            for unit in root.units:
                for place, _ in unit.reads:
                    source = by_source.get(place.source)
                    if source is not None and source is not root and place.when != "read":
                        visit(source)
            order.append(root)

        for root in roots:
            visit(root)
        groups: list[list[Unit]] = []
        for root in order:
            for unit in root.units:
                earliest = 0
                for place, linear in unit.reads:
                    source = by_source.get(place.source)
                    if source is None or source is root or place.when == "read":
                        continue
                    for other in source.units:
                        near = other.space == unit.space and other.target == linear and not other.reduced and not source.add
                        apart = not near and source.units != [other] and not self._overlap(other, unit, linear)
                        if not apart:
                            earliest = max(earliest, other.group + (0 if near else 1))
                at = next((i for i in range(earliest, len(groups)) if groups[i][0].space == unit.space), len(groups))
                if at == len(groups):
                    groups.append([])
                unit.group = at
                groups[at].append(unit)
        return groups

    def _overlap(self, writer: Unit, reader: Unit, linear: Ix) -> bool:
        """Whether what one unit reads may be what another writes: their ranges meet."""
        first, last = writer.target.offset, writer.target.top(writer.sizes)
        return not (linear.top(reader.sizes) < first or linear.offset > last)

    def _computed_twice(self, groups: list[list[Unit]]) -> Value | None:
        """Something dear, or made of many ops, that two loops would compute; the largest such."""
        homes: dict[Value, set[int]] = {}
        for i, group in enumerate(groups):
            for unit in group:
                for v, _ in unit.evaluated:
                    if v in self.mine and self.s.place(v) is None:
                        homes.setdefault(v, set()).add(i)
        shared = {v for v, found in homes.items() if len(found) > 1}
        cost = {v: self._cost(v, shared) for v in shared}
        costly = [v for v in shared if cost[v] >= DEAR_COST and isinstance(self.labels[v], int)]
        return max(costly, key=lambda v: (cost[v], self.graph.values.index(v)), default=None)

    def _cost(self, v: Value, shared: set[Value]) -> int:
        """What computing a value again costs, in ops; something dear counts as many."""
        below = self.graph.needed_for([v]) & shared
        return sum(DEAR_COST if b.name in DEAR else 1 for b in below)
