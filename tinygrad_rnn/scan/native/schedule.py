"""What is stored, what is computed on the fly, and in which order: the loop of a step, forward and backward.

Three kinds of work make up a step: products with a weight (rows times a packed matrix), and, between two of them,
regions of everything else, done row by row, and sums over the batch and time. In a region only what is asked for is
stored; all else is computed where it is read. The way from a graph to the loops:

    enter        places for inputs, carries and cotangents
    find_chains  the products, those that are added up as one chain
    demand       what else must be stored: outputs, gradients, operands of products
    settle       how each stored value is computed, which may ask for more to be stored
    arrange      levels between the products, and loops that are shared
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..graph import Refused, StepGraph, Value
from ..rows import Label
from ..sums import is_product
from .chains import find_chains
from .demands import demand, enter
from .direction import Direction, KeepForward
from .lifetimes import guests
from .nests import settle
from .order import arrange
from .places import Place, Places
from .reductions import is_dear

__all__ = ["Schedule"]


class Schedule:
    """Both directions of a step, and the buffers that they share. Raises Refused for a step that has no machine code.

    ``backward`` is None for a step without gradients.
    """

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        self.graph, self.labels, self.dtype = graph, labels, _dtype(graph)
        self.given = set(graph.invariants())
        self.keep = dict.fromkeys(_surely_read(graph, labels))  # values of the step that the way back reads
        self._plan({})
        if found := guests(graph, self.forward, self.backward):
            self._plan(found)

    def _plan(self, lodgers: dict[Value, tuple[Value, int]]) -> None:
        """Both directions; again whenever the way back turns out to want one more value of the step."""
        while True:
            self.places = Places(self.labels, self.given, lodgers)
            self.buffers = self.places.buffers
            try:
                self.forward = self._direction(backward=False, keep=self.keep)
                self.backward = self._direction(backward=True, keep=()) if self.graph.gradients else None
                return
            except KeepForward as found:
                self.keep[found.value] = None
                lodgers = {}  # they were found without it

    def _direction(self, *, backward: bool, keep: Collection[Value]) -> Direction:
        d = Direction(self.graph, self.labels, self.places, backward=backward)
        enter(d)
        find_chains(d, keep)
        demand(d, keep)
        settle(d)
        arrange(d)
        return d

    def place(self, v: Value) -> Place | None:
        """Where a value is stored."""
        return self.places.find(v)


def _surely_read(graph: StepGraph, labels: dict[Value, Label]) -> list[Value]:
    """Values of the step that the way back reads, as far as that shows without a plan: each found later costs one."""
    own = {v for v in graph.values[: graph.backward_from] if v.kind in ("op", "pick") and isinstance(labels[v], int)}
    own -= {*graph.carry_out, *graph.ys, *graph.invariants()}  # stored in any case
    stack = [a for v in graph.values[graph.backward_from :] for a in v.args if a in own]
    seen: set[Value] = set()
    found = []
    while stack:
        v = stack.pop()
        if v in seen or v.name == "add" or is_product(v, labels):  # a sum of products is stored as one
            continue
        seen.add(v)
        if v.kind == "op" and not v.many and is_dear(v, labels):
            found.append(v)
        else:
            stack += [a for a in v.args if a in own]
    return found


def _dtype(graph: StepGraph) -> np.dtype:
    """The one dtype of a step's numbers, masks aside."""
    kinds = {v.dtype for v in graph.values if v.dtype is not None and v.dtype.kind != "b"}
    if kinds not in ({np.dtype("f4")}, {np.dtype("f8")}):
        raise Refused(f"machine code is made for float32 or float64 alone, the step has {sorted(map(str, kinds))}")
    return kinds.pop()
