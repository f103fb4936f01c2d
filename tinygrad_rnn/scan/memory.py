"""What is remembered from call to call: what a module held when its step was traced, and what a plan depends on.

A module is looked at once and known again as long as no attribute of it, or of a module in it, is another object: to
see that costs a microsecond, to trace again a thousand.
"""

from __future__ import annotations

import operator
import weakref
from typing import Any

import numpy as np

from ..nn.module import Module
from ..random import Generator
from ..tensor import Tensor
from .graph import StepGraph, Value
from .rows import INVARIANT, Label, params_at, shape_at

__all__ = ["Memory", "memory_of", "signature"]

ATOMS = (str, bytes, int, float, complex, type(None), type, np.dtype, np.generic, np.ndarray, Generator)
FUNCTIONS = (type(len), type(lambda: 0), np.ufunc)
ENTRIES = 64


class Memory:
    """What was compiled for the steps of one module, and what it held then."""

    def __init__(self, owner: Module) -> None:
        self.owner = weakref.ref(owner)
        self.entries: dict[Any, tuple[Any, ...]] = {}
        self.held: list[tuple[Any, tuple]] | None = None  # every container in the module, and what was in it
        self.steps: list[tuple[type, Any]] = []

    def get(self, key: Any) -> tuple[Any, ...] | None:
        """What was kept under a key, if the module is still what it was."""
        found = self.entries.get(key)
        if found is not None and not self._unchanged():
            self.entries.clear()
            return None
        return found

    def _unchanged(self) -> bool:
        if self.held is None:
            return False
        for now, then in self.held:
            if len(now) != len(then) or not all(map(operator.is_, now, then)):
                return False
        return all(getattr(kind, "step", None) is step for kind, step in self.steps)

    def look(self) -> dict[int, Tensor]:
        """Look at all that the module holds; its Tensors by their arrays."""
        if not self._unchanged():
            self.entries.clear()
        held: list[tuple[Any, tuple]] = []
        tensors: dict[int, Tensor] = {}
        steps: dict[type, Any] = {}
        whole = True
        waiting: list[Any] = [self.owner()]
        seen: set[int] = set()
        while waiting:
            at = waiting.pop()
            if id(at) in seen:
                continue
            seen.add(id(at))
            inside: Any = ()
            if type(at) is Tensor:
                tensors[id(at.data)] = at
            elif isinstance(at, Module):
                inside = vars(at).values()
                if (step := getattr(type(at), "step", None)) is not None:
                    steps[type(at)] = step
            elif isinstance(at, dict):
                inside = at.values()
            elif isinstance(at, list | tuple):
                inside = at
            elif not isinstance(at, (*ATOMS, *FUNCTIONS)):
                whole = False  # who knows what it holds: the step is traced at every call
            if inside:
                held.append((inside, tuple(inside)))
                waiting.extend(inside)
        self.held, self.steps = (held, list(steps.items())) if whole else (None, [])
        return tensors

    def keep(self, key: Any, *made: Any) -> None:
        if self.held is not None:
            if len(self.entries) >= ENTRIES:
                self.entries.clear()
            self.entries[key] = made


_memories: dict[int, Memory] = {}


def memory_of(owner: Module) -> Memory:
    """The memory of a module, which dies with it."""
    found = _memories.get(id(owner))
    if found is None or found.owner() is not owner:
        found = _memories[id(owner)] = Memory(owner)
        weakref.finalize(owner, _memories.pop, id(owner), None)
    return found


def signature(graph: StepGraph, labels: dict[Value, Label]) -> tuple[Any, ...]:
    """All that a plan depends on: the ops, how they are linked, shapes of rows, dtypes and numbers.

    Not the batch size, nor where values live.
    """
    place = {v: i for i, v in enumerate(graph.values)}

    def of(a: Value) -> Any:
        return (type(a.array), a.array) if a.kind == "number" else place[a]

    def shape(v: Value) -> Any:
        if v.kind == "fill":
            return len(v.shape), v.array.reshape(-1)[0].item()
        return None if v.many else shape_at(v.shape, labels.get(v, INVARIANT), -1)

    rows = []
    for v in graph.values:
        params = tuple(params_at(v, labels.get(v, INVARIANT), -1).items())
        rows.append((v.kind, v.op, v.index, tuple(map(of, v.args)), params, shape(v), v.dtype, labels.get(v)))
    results = [*map(of, graph.carry_out), *map(of, graph.ys)]
    gradients = [(of(v), of(g)) for v, g in graph.gradients.items()]
    return (*rows, *results, *gradients, len(graph.carry), len(graph.ys), graph.backward_from)
