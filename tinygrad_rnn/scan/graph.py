"""One step and its backward pass as a graph of values: what the trace makes, and all the compiler reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..node import Node
from ..op import Op

__all__ = ["Refused", "StepGraph", "Value", "simplified"]


class Refused(ValueError):
    """A step that cannot be traced, or an executor that cannot run it, and why.

    ``final``: the plain loop is no way out either, unless it is asked for, since the step is not what it seems.
    """

    final = False


class Value:
    """One value of the step: an input, something captured, a number, or an op applied to values."""

    __slots__ = ("args", "array", "dtype", "index", "kind", "line", "node", "op", "params", "scope", "shape")

    def __init__(
        self,
        kind: str,
        *,
        op: Op | None = None,
        args: tuple[Value, ...] = (),
        params: dict[str, Any] | None = None,
        array: Any = None,
        index: int = 0,
        node: Node | None = None,
        line: str = "",
        scope: Any = None,
    ) -> None:
        # kind: x, carry, given (captured), number, fill (one number everywhere), op, pick, g_carry, g_y (cotangents)
        self.kind, self.op, self.args, self.params, self.index = kind, op, args, params or {}, index
        self.array, self.node, self.line = array, node, line
        self.scope = scope  # where in the step it was made, for pictures
        many = isinstance(array, tuple)
        self.shape: Any = tuple(a.shape for a in array) if many else getattr(array, "shape", ())
        self.dtype: Any = None if many else getattr(array, "dtype", None)

    @property
    def name(self) -> str:
        return self.op.name if self.op is not None else self.kind

    @property
    def family(self) -> str:
        """The kind of its op: elementwise, linear, bilinear, …"""
        return self.op.kind if self.op is not None else ""

    @property
    def many(self) -> bool:
        """Whether it is a tuple, of which only picks are used."""
        return self.op is not None and self.op.many

    def __repr__(self) -> str:
        return f"<{self.name} {self.shape} {self.dtype}>"


class StepGraph:
    """The values of a step in the order in which they were made, its results, and the gradients it passes on."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.carry: list[Value] = []  # what comes in, and what goes out
        self.carry_out: list[Value] = []
        self.ys: list[Value] = []
        self.xs: list[Value] = []
        self.g_carry: list[Value] = []
        self.g_ys: list[Value] = []
        self.given: list[Value] | None = None  # the invariants, where they are not to be found
        self.gradients: dict[Value, Value] = {}  # of carry, xs and invariants, where there is one
        self.backward_from = 0  # values before it belong to the step, those after it to its backward pass
        self.structure: tuple[Any, Any] = (None, None)  # of the carry and of y

    @property
    def batch(self) -> int:
        return self.carry[0].shape[0]

    def depends_on(self, sources: Iterable[Value]) -> set[Value]:
        """The values that depend on one of ``sources``, these included."""
        found = set(sources)
        for v in self.values:
            if any(a in found for a in v.args):
                found.add(v)
        return found

    def needed_for(self, results: Iterable[Value]) -> set[Value]:
        """The values that ``results`` are made of, these included."""
        found: set[Value] = set()
        stack = list(results)
        while stack:
            v = stack.pop()
            if v not in found:
                found.add(v)
                stack.extend(v.args)
        return found

    def invariants(self) -> list[Value]:
        """What does not change along time and is used by what does: captured arrays, and ops on them alone.

        Where it is said what is given, that: ops on it alone are then a part of the step, done once in a run.
        """
        if self.given is not None:
            return self.given
        moving = self.depends_on([*self.xs, *self.carry, *self.g_carry, *self.g_ys])
        own, way_back = self.values[: self.backward_from], self.values[self.backward_from :]
        made_later = {v for v in way_back if v.kind != "given"}
        used = {a: None for v in own if v in moving for a in v.args}
        used.update(dict.fromkeys((*self.carry_out, *self.ys)))
        used.update((a, None) for v in way_back for a in v.args if a not in made_later)
        return [v for v in used if v not in moving and v.kind not in ("number", "fill")]

    def __str__(self) -> str:
        place = {v: f"%{i}" for i, v in enumerate(self.values)}
        lines = []
        for v in self.values:
            if v is (self.values[self.backward_from] if self.backward_from < len(self.values) else None):
                lines.append("backward:")
            shown = [repr(a.array) if a.kind == "number" else place.get(a, a.kind) for a in v.args]
            params = [f"{k}={p!r}" for k, p in v.params.items()]
            lines.append(f"{place[v]} {v.name} {v.shape} {v.dtype} ← {' '.join(shown + params)}".rstrip(" ←"))
        for name, results in (("carry", self.carry_out), ("y", self.ys), ("gradients", self.gradients.values())):
            if results:
                lines.append(f"{name}: {' '.join(place.get(v, v.kind) for v in results)}")
        return "\n".join(lines)


def simplified(graph: StepGraph) -> StepGraph:
    """Without values that nothing needs, and each value once."""
    results = [*graph.carry_out, *graph.ys, *graph.gradients.values()]
    needed = graph.needed_for(results)
    same: dict[Any, Value] = {}
    renamed: dict[Value, Value] = {}
    values: list[Value] = []
    backward_from = 0
    for i, v in enumerate(graph.values):
        if i == graph.backward_from:
            backward_from = len(values)
        if v not in needed and v.kind not in ("x", "carry", "g_carry", "g_y"):
            continue
        v.args = tuple(renamed.get(a, a) for a in v.args)
        if v.kind in ("op", "pick"):
            key = (v.op, v.index, tuple(sorted(v.params.items())), *[_identity(a) for a in v.args])
            known = same.setdefault(key, v)
            if known is not v:
                renamed[v] = known
                continue
        values.append(v)
    graph.values, graph.backward_from = values, backward_from if backward_from else len(values)
    graph.carry_out = [renamed.get(v, v) for v in graph.carry_out]
    graph.ys = [renamed.get(v, v) for v in graph.ys]
    graph.gradients = {k: renamed.get(v, v) for k, v in graph.gradients.items()}
    return graph


def _identity(v: Value) -> Any:
    return (type(v.array), v.array) if v.kind == "number" else id(v)
