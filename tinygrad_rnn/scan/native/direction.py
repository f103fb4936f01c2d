"""One direction of a step: its products with weights, and the values, the roots, that it stores between them.

A root is a value that must be stored: a carry, an output, an operand of a product, a sum, or something dear that would
else be computed again. All else is computed where it is read. What is stored grows while it is found out how roots are
computed; the other modules of the schedule ask for it by ``store`` and ``operand``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..graph import StepGraph, Value
from ..rows import Label
from .index import Index, Ix
from .places import Buffer, Place, Places, laid_out

__all__ = [
    "AFTER", "BEFORE", "LOOP", "PHASES", "Direction", "KeepForward", "Product", "Root", "Term", "Total", "Unit",
]  # fmt: skip

PHASES = BEFORE, LOOP, AFTER = "before", "loop", "after"


class KeepForward(Exception):
    """A value of the step that the way back wants stored."""

    def __init__(self, value: Value) -> None:
        self.value = value


@dataclass(eq=False)
class Unit:
    """One loop nest's worth of a root: ``target[…] = value[index]`` over some variables.

    A reduction multiplies its one or two ``operands`` and combines the results over the ``reduced`` variables.
    """

    value: Value
    root: Root
    index: Index
    sizes: dict[str, int]  # of the loop variables, outermost first
    target: Ix
    reads: list[tuple[Place, Ix]] = field(default_factory=list)
    evaluated: set[tuple[Value, Index]] = field(default_factory=set)
    operands: list[tuple[Value, Index]] = field(default_factory=list)
    reduced: tuple[str, ...] = ()
    combine: str = "sum"  # or max, min
    group: int = 0  # which of the loops of its level

    @property
    def space(self) -> tuple[int, ...]:
        """The sizes of its loops; units with the same ones can share them."""
        return tuple(self.sizes.values())


@dataclass(eq=False)
class Root:
    """A value that is stored, or added up, in a phase; ``level``: how many products of the phase come before it."""

    value: Value
    phase: str
    place: Place
    add: bool = False
    units: list[Unit] = field(default_factory=list)
    level: int = -1


class Term(NamedTuple):
    """A product of (M, K) rows with a (K, N) weight, and when it is done."""

    operand: Value
    weight: Value
    phase: str


@dataclass(eq=False)
class Product:
    """A chain of products that are added up: base + Σ aᵢ @ Bᵢ, or bias + Σ aᵢ @ Bᵢ, stored at ``place``."""

    value: Value
    phase: str  # of its last term
    place: Place
    terms: list[Term]
    bias: Value | None
    base: Root | None
    levels: list[int] = field(default_factory=list)  # of its terms: before the region of which level each comes

    def first(self) -> int:
        """The term that is done before all others."""
        return min(range(len(self.terms)), key=lambda i: (PHASES.index(self.terms[i].phase), self.levels[i], i))


class Total(NamedTuple):
    """How a sum over the batch and time is made.

    ``how`` is "outer" (aᵀ g; ``what`` the places of a and g), "sum" (row by row into groups of rows at the place
    ``what``), "rows" (kept apart for every row, at ``what``), or "op" (of other totals).
    """

    how: str
    what: Any


class Direction:
    """What one direction computes and stores: over all rows before the loop, in it, and after it."""

    def __init__(self, graph: StepGraph, labels: dict[Value, Label], places: Places, *, backward: bool) -> None:
        self.graph, self.labels, self.places, self.back = graph, labels, places, backward
        start, stop = (graph.backward_from, len(graph.values)) if backward else (0, graph.backward_from)
        self.own = graph.values[start:stop]
        self.mine = set(self.own)
        self.waiting = graph.depends_on(graph.g_carry if backward else graph.carry)
        self.carried = [g for v, g in graph.gradients.items() if v in graph.carry] if backward else graph.carry_out
        self.needed = graph.needed_for(self.carried)
        self.roots: dict[Value, Root] = {}
        self.extra: list[Root] = []  # further roots of values that are roots already, bases, and sums over the batch
        self.products: dict[Value, Product] = {}
        self.totals: dict[Value, Total] = {}
        self.y_places: list[Place] = []
        self.copies: dict[Value, Place] = {}
        self.groups: dict[str, dict[int, list[list[Unit]]]] = {}  # by phase and level the loops, and who shares them

    def all_roots(self) -> list[Root]:
        """The roots, in the order in which they were asked for."""
        return [*self.roots.values(), *self.extra]

    def is_copy(self, root: Root) -> bool:
        """Whether the value is computed by another root and this one stores it once more."""
        return self.places.find(root.value) is not None and self.roots.get(root.value) is not root

    # when

    def phase(self, v: Value) -> str:
        """Where a value is computed when it is stored."""
        if v not in self.waiting:
            return LOOP
        below = self.graph.needed_for([v])
        return AFTER if any(p.phase == AFTER and p.value in below for p in self.products.values()) else LOOP

    def product_phase(self, v: Value) -> str:
        """Where a product is done: before the loop when it waits for no carry, in it when a carry waits for it."""
        if v not in self.waiting:
            return BEFORE
        return LOOP if v in self.needed else AFTER

    # what is stored

    def store(self, v: Value, kind: str) -> Place:
        """Make a value a root, unless it is stored; the kind of its buffer may grow from rows to step.

        Raises KeepForward for a value of the other direction.
        """
        found = self.places.find(v)
        if found is not None:
            if kind == "step" and found.buffer.kind == "rows":
                found.buffer.kind = "step"
                found.buffer.name = found.buffer.name.replace("rows", "step")
            return found
        if v not in self.mine:
            raise KeepForward(v)
        place = self.places.make(v, kind)
        early = kind == "step" and v not in self.waiting and self._wanted_before(v)
        self.roots[v] = Root(v, BEFORE if early else self.phase(v), place)
        return place

    def _wanted_before(self, v: Value) -> bool:
        """Whether a product before the loop reads it."""
        before = [t.operand for p in self.products.values() for t in p.terms if t.phase == BEFORE]
        return any(v in self.graph.needed_for([operand]) for operand in before)

    def store_at(self, v: Value, place: Place) -> None:
        """Make a value a root at a place that is given, or copy it there if it is stored elsewhere."""
        root = Root(v, self.phase(v), place)
        if self.places.find(v) is None:
            self.places.stored[v] = place
            self.roots[v] = root
        else:
            self.extra.append(root)

    def operand(self, v: Value, kind: str) -> Place:
        """Store an operand of a product: one row's entries behind one another."""
        place = self.places.find(v)
        if place is not None and place.strides[-1] == 1:
            if kind == "step" and place.buffer.kind in ("rows", "pong"):
                self.store(v, "step")
                if place.buffer.kind == "pong":
                    return self._copy(v)
            return place
        if place is not None:
            return self._copy(v)
        return self.store(v, kind)

    def _copy(self, v: Value) -> Place:
        """A value that is stored, once more, as a series with contiguous rows."""
        if v not in self.copies:
            self.copies[v] = laid_out(v, self.labels[v], self.places.buffer("step", v))
            self.extra.append(Root(v, LOOP, self.copies[v]))
        return self.copies[v]

    def operand_place(self, v: Value) -> Place:
        """Where a product reads an operand."""
        place = self.copies.get(v) or self.places.find(v)
        assert place is not None
        return place

    # the buffers

    def used_buffers(self) -> set[str]:
        """The names of the buffers that this direction's loops and products read or write."""
        found: set[str] = set()
        for root in self.all_roots():
            found.add(root.place.buffer.name)
            found |= {place.buffer.name for unit in root.units for place, _ in unit.reads}
        for p in self.products.values():
            found.add(p.place.buffer.name)
            found |= {self.operand_place(term.operand).buffer.name for term in p.terms}
            if p.bias in self.places.stored:
                found.add(self.places.stored[p.bias].buffer.name)
        return found

    def carries(self, *, written: bool = False) -> list[tuple[str, Buffer]]:
        """The buffers of the carries, or of their cotangents, by name; only those that the step writes, if so asked."""
        made = [*[r.place for r in self.all_roots()], *[p.place for p in self.products.values()]]
        names = {place.buffer.name for place in made if place.when == "write"} if written else self.used_buffers()
        found = []
        for i, v in enumerate(self.graph.g_carry if self.back else self.graph.carry):
            buffer = self.places.stored[v].buffer
            if buffer.name in names:
                found.append((f"g_carry{i}" if self.back else f"carry{i}", buffer))
        return found
