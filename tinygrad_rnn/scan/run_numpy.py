"""The executor that needs NumPy alone: what waits for no state is done at once for all T·B rows, the rest in a loop.

From the graph of a step two Python functions are written, forward and backward, each in three parts:

- before the loop, over all T·B rows at once: what depends on the inputs alone, such as x W; on the way back, the local
  derivatives, which wait for no cotangent;
- in the loop, with ``out=`` buffers: what the carry depends on, or the cotangent of the carry;
- after it, over all T·B rows again: what only outputs need; the gradients of weights, one product each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .graph import Refused, StepGraph, Value
from .rows import INVARIANT, SHAPED, TOTAL, Label, shape_at
from .run import Call

__all__ = ["NumpyPlan"]

UFUNCS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "tanh": np.tanh,
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "maximum": np.maximum, "minimum": np.minimum, "matmul": np.matmul,
    "sin": np.sin, "cos": np.cos, "log1p": np.log1p, "expm1": np.expm1,
}  # fmt: skip
TURNS = {"swapaxes", "transpose"}
BEFORE, LOOP, AFTER, ONCE = "before", "loop", "after", "once"


class NumpyPlan:
    """A step as two generated functions; ``forward(call)`` and ``backward(call, cotangents)`` run them."""

    name = "numpy"

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        self.graph, self.labels = graph, labels
        self.homes = _homes(graph, labels)
        self._kept: list[Value] = []
        back = _Writer(self, backward=True)
        back_source = back.source()
        self._kept = list(back.wanted)
        writer = _Writer(self, backward=False)
        self.sources = (writer.source(), back_source)
        self._forward = _compiled(*writer.function(self.sources[0]))
        self._backward = _compiled(*back.function(self.sources[1]))

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        """The last carry and the ys of a call; what the way back needs is kept in ``call.kept``."""
        return self._forward(call)

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        """The gradients of carry, xs and invariants from the cotangents of the last carry and of the ys."""
        return self._backward(call, g_carry, g_ys)

    def lines(self) -> list[str]:
        """What runs where, in words."""
        shown = []
        for title, backward in (("forward", False), ("backward", True)):
            for home in (ONCE, BEFORE, LOOP, AFTER):
                ops = [v.name for v in self.graph.values if v.kind == "op" and self.homes.get(v) == (backward, home)]
                if ops:
                    shown.append(f"{title}, {home}: {' '.join(ops)}")
        return shown


def _compiled(source: str, names: dict[str, Any]) -> Any:
    exec(compile(source, "<scan in NumPy>", "exec"), names)
    return names["run"]


def _homes(graph: StepGraph, labels: dict[Value, Label]) -> dict[Value, tuple[bool, str]]:
    """For every value whether the way back makes it, and in which part."""
    homes: dict[Value, tuple[bool, str]] = {}
    once = set(graph.invariants())
    merged: set[Value] = set()  # values that can be made for all T·B rows at once
    for backward in (False, True):
        start, stop = (graph.backward_from, len(graph.values)) if backward else (0, graph.backward_from)
        sources = graph.g_carry if backward else graph.carry
        waiting = graph.depends_on(sources)
        results = [g for v, g in graph.gradients.items() if v in graph.carry] if backward else graph.carry_out
        needed = graph.needed_for(results)
        for v in graph.values[start:stop]:
            label = labels[v]
            rows = [a for a in v.args if a.kind not in ("number", "fill") and labels[a] != INVARIANT]
            if v.kind in ("x", "carry", "g_carry", "g_y"):
                home = LOOP if v.kind in ("carry", "g_carry") else BEFORE
                merged.add(v)
            elif v.kind in ("given", "fill") or label == INVARIANT or v in once:
                home = ONCE
            else:
                fits = all(a in merged for a in rows) and v.kind in ("op", "pick")
                fits = fits and (label in (0, TOTAL) or v.kind == "pick" or v.name in TURNS)
                if fits:
                    merged.add(v)
                home = BEFORE if v not in waiting else LOOP if v in needed else AFTER
                if not fits or (home == BEFORE and any(homes[a] == (backward, LOOP) for a in rows)):
                    home = LOOP
            homes[v] = (backward, home)
        early = [v for v in graph.values[start:stop] if homes[v] == (backward, LOOP)]
        if backward:  # of captured arrays with a batch axis: added up step by step
            early += [g for v, g in graph.gradients.items() if v.kind not in ("x", "carry") and isinstance(labels[g], int)]
        while early:  # what the loop reads is made in it, though nothing carried depends on it
            v = early.pop()
            if homes.get(v) == (backward, AFTER):
                homes[v] = (backward, LOOP)
            early += [a for a in v.args if homes.get(a) == (backward, AFTER)]
    return homes


class _Writer:
    """Writes one of the two functions."""

    def __init__(self, plan: NumpyPlan, *, backward: bool) -> None:
        self.plan, self.graph, self.labels, self.homes = plan, plan.graph, plan.labels, plan.homes
        self.backward = backward
        self.parts: dict[str, list[str]] = {ONCE: [], BEFORE: [], LOOP: [], AFTER: []}
        self.made: dict[tuple[str, Value], str] = {}
        self.names: dict[str, Any] = {"np": np, "merged": _merged, "fill": _fill}
        self.buffers: list[str] = []
        self.series: dict[Value, str] = {}  # loop values stored along time
        self.wanted: dict[Value, None] = {}  # what the way back wants of the forward pass
        self.place = {v: i for i, v in enumerate(self.graph.values)}
        self.given = {v: i for i, v in enumerate(self.graph.invariants())}

    # every value has one home; other parts fetch it from where it is stored

    def get(self, v: Value, part: str) -> str:
        if v.kind == "number":
            name = f"k{len(self.names)}"
            self.names[name] = v.array
            return name
        known = self.made.get((part, v))
        if known is None:
            known = self.made[part, v] = self._find(v, part)
        return known

    def _find(self, v: Value, part: str) -> str:
        backward, home = self.homes[v]
        if v in self.given:
            return f"given[{self.given[v]}]"  # values of the step that nothing moves come from outside
        if home == ONCE and v.kind != "fill":
            return self._make(v, ONCE) if part == ONCE else self.get(v, ONCE)
        if v.kind == "fill":
            return f"fill({v.array.reshape(-1)[0].item()!r}, {v.array.shape}, {self._fill_axis(v)}, {'B' if part == LOOP else 'rows'}, dtype)"
        if backward != self.backward:  # the way back reads what the forward pass kept
            self.wanted[v] = None
            return f"kept[{self.place[v]}][t]" if part == LOOP else f"merged(kept[{self.place[v]}])"
        if home == part:
            return self._make(v, part)
        movable = self.labels[v] != 0 or v.kind == "pick" or (v.op is not None and v.op.many)
        if movable and v.kind in ("op", "pick"):
            return self._make(v, part)  # a turned view: made again where it is used
        if home == LOOP:
            self.get(v, LOOP)
            return f"merged({self.store(v)})"
        name = self.get(v, home)
        return f"{self._stored_merged(v, home)}[t]" if part == LOOP else name

    def _fill_axis(self, v: Value) -> int:
        sizes = [i for i, n in enumerate(v.array.shape) if n == self.graph.batch]
        return sizes[0] if sizes else -1

    def _stored_merged(self, v: Value, home: str) -> str:
        """A value of the before part as (T, B, …)."""
        key = f"s{self.place[v]}"
        if v.kind in ("x", "g_y"):
            return f"{'xs' if v.kind == 'x' else 'g_ys'}[{v.index}]"
        line = f"{key} = {self.made[home, v]}.reshape(T, B, *{v.shape[1:]})"
        if line not in self.parts[home]:
            self.parts[home].append(line)
        return key

    def store(self, v: Value) -> str:
        """The series of a loop value: carries have one entry more than there are steps."""
        if v.kind == "carry":
            return f"C{v.index}[before]"
        if not self.backward and v in self.graph.carry_out:
            return f"C{self.graph.carry_out.index(v)}[after]"
        if v not in self.series:
            self.series[v] = f"S{self.place[v]}"
            sizes = ", ".join(map(str, shape_at(v.shape, self.labels[v], "B")))
            self.buffers.append(f"S{self.place[v]} = np.empty((T, {sizes}), np.{v.dtype})")
        return self.series[v]

    def _make(self, v: Value, part: str) -> str:
        """Write the line that makes a value, and return its name."""
        name = f"{part[0]}{self.place[v]}"
        out = self.parts[part]
        if v.kind in ("x", "g_y"):
            what = "xs" if v.kind == "x" else "g_ys"
            return f"{what}[{v.index}][t]" if part == LOOP else f"merged({what}[{v.index}])"
        if v.kind == "carry":
            return f"C{v.index}[t + read]"
        if v.kind == "g_carry":
            return f"g{v.index}"
        if v.kind == "pick":
            return f"{self.get(v.args[0], part)}[{v.index}]"
        assert v.op is not None
        args = [self.get(a, part) for a in v.args]
        params = self._params(v, part)
        ufunc = UFUNCS.get(v.name)
        exact = all(a.dtype == v.dtype for a in v.args if a.kind not in ("number",))
        if ufunc is not None and part == LOOP and exact and self.labels[v] == 0:
            self.names[f"u_{v.name}"] = ufunc
            buffer = f"b{self.place[v]}"
            if v in self.series or (not self.backward and v in self.graph.carry_out):
                target = f"{self.store(v)}[t]" if v in self.series else f"C{self.graph.carry_out.index(v)}[t + write]"
                out.append(f"{name} = u_{v.name}({', '.join(args)}, out={target})")
            else:
                self.buffers.append(f"{buffer} = np.empty((B, *{v.shape[1:]}), np.{v.dtype})")
                out.append(f"{name} = u_{v.name}({', '.join(args)}, out={buffer})")
            return name
        self.names[f"f_{v.name}"] = v.op.forward
        xp = ["np"] if v.op.takes_xp else []
        out.append(f"{name} = f_{v.name}({', '.join(xp + args + params)})")
        return name

    def _params(self, v: Value, part: str) -> list[str]:
        found = []
        for key, value in v.params.items():
            if v.name in SHAPED and key == "shape" and isinstance(self.labels[v], int):
                at = self.labels[v]
                sizes = [str(n) for n in v.shape]
                sizes[at] = "B" if part == LOOP else "rows"  # type: ignore[index]
                found.append(f"shape=({', '.join(sizes)},)")
                continue
            name = f"p{self.place[v]}_{key}"
            self.names[name] = value
            found.append(f"{key}={name}")
        return found

    # the two functions

    def source(self) -> str:
        return self._backward_source() if self.backward else self._forward_source()

    def function(self, source: str) -> tuple[str, dict[str, Any]]:
        return source, self.names

    def _prologue(self, used: Iterable[str]) -> list[str]:
        return [
            "T, B, given, read, write, valid, rows, kept = call.T, call.B, call.given, call.read, call.write, "
            "call.valid, call.T * call.B, call.kept",
            "before, after = (slice(0, T), slice(1, T + 1)) if write else (slice(1, T + 1), slice(0, T))",
            f"dtype = np.{self.graph.carry[0].dtype}",
            *used,
        ]

    def _forward_source(self) -> str:
        g = self.graph
        carried = {v: i for i, v in reversed(list(enumerate(g.carry_out)))}
        for v in self.plan._kept:  # decided before the loop is written, so that it is written in place
            if self.homes[v] == (False, LOOP) and v.kind == "op" and v not in carried and not v.op.many:  # type: ignore[union-attr]
                self.store(v)
        for v in g.ys:
            if self.homes.get(v) == (False, LOOP) and v not in carried and v.kind == "op":
                self.store(v)
        for v in g.values[: g.backward_from]:  # in the order of the step
            if v.kind in ("op", "pick") and self.homes[v] == (False, LOOP) and not _is_many(v):
                self.get(v, LOOP)
        loop = self.parts[LOOP]
        for i, v in enumerate(g.carry_out):
            written = f"out=C{i}[t + write]"
            if not any(written in line for line in loop) or carried.get(v) != i:
                loop.append(f"C{i}[t + write] = {self.get(v, LOOP)}")
        loop.append("if valid is not None:")
        for i in range(len(g.carry_out)):
            loop.append(f"    np.copyto(C{i}[t + write], C{i}[t + read], where=~valid[t].reshape(B, *{(1,) * (len(g.carry[i].shape) - 1)}))")
        ys = [self._series_of(v, carried) for v in g.ys]
        kept = [f"{self.place[v]}: {self._series_of(v, carried)}" for v in self.plan._kept]
        for v in list(self.series):
            value = self.made[LOOP, v]
            if not any(f"out={self.series[v]}[t]" in line for line in loop):
                at = max((n for n, line in enumerate(loop) if line.startswith(f"{value} =")), default=len(loop) - 1)
                loop.insert(at + 1, f"{self.series[v]}[t] = {value}")
        lines = self._prologue(["xs = call.xs"])
        for i, c in enumerate(g.carry):
            lines.append(f"C{i} = np.empty((T + 1, B, *{c.shape[1:]}), np.{c.dtype})")
            lines.append(f"C{i}[0 if write else T] = call.carry[{i}]")
        lines += self.buffers + self.parts[ONCE] + self.parts[BEFORE]
        lines += ["for t in call.order:", *[f"    {line}" for line in loop]]
        lines += self.parts[AFTER]
        lines.append(f"call.kept = {{{', '.join(kept)}}} if call.saving else None")
        last = [f"C{i}[T if write else 0]" for i in range(len(g.carry))]
        lines.append(f"return [{', '.join(last)}], [{', '.join(ys)}]")
        return "def run(call):\n" + "".join(f"    {line}\n" for line in lines)

    def _series_of(self, v: Value, carried: dict[Value, int]) -> str:
        """A value of the step along time, (T, B, …)."""
        if v.kind == "carry":
            return f"C{v.index}[before]"
        if v in carried:
            return f"C{carried[v]}[after]"
        if v.kind == "x":
            return f"xs[{v.index}]"
        _, home = self.homes[v]
        if home == ONCE or v.kind == "number":
            return f"np.broadcast_to({self.get(v, ONCE)}, (T, *{v.shape}))"
        if home == LOOP:
            return self.store(v)
        return f"{self.get(v, home)}.reshape(T, B, *{v.shape[1:]})"

    def _backward_source(self) -> str:
        g = self.graph
        results: dict[Value, str] = {}
        adding: list[str] = []
        for v in g.values[g.backward_from :]:
            if v.kind == "op" and self.homes[v] == (True, LOOP) and not _is_many(v):
                self.get(v, LOOP)
        for v, gradient in g.gradients.items():
            label = self.labels[gradient]
            if v in g.carry:
                continue
            _, home = self.homes[gradient]
            if label == TOTAL and home != LOOP:
                results[v] = self.get(gradient, AFTER)
            elif v.kind == "x":
                home = AFTER if home != LOOP else LOOP
                series = f"merged({self.store(gradient)})" if home == LOOP else self.get(gradient, AFTER)
                results[v] = f"{series}.reshape(T, B, *{v.shape[1:]})"
            else:  # summed along time, step by step
                name = f"a{self.place[v]}"
                self.buffers.append(f"{name} = np.zeros({'given[%d].shape' % self.given[v]}, np.{v.dtype})")
                adding.append(f"{name} += {self.get(gradient, LOOP)}")
                results[v] = name
        carried = {v.index: gradient for v, gradient in g.gradients.items() if v in g.carry}
        loop = self.parts[LOOP]
        body: list[str] = []
        for i, c in enumerate(g.carry):
            ones = (1,) * (len(c.shape) - 1)
            body.append(f"g{i} = n{i} if valid is None else np.where(valid[t].reshape(B, *{ones}), n{i}, 0)")
        finals = [f"m{i} = {self.get(carried[i], LOOP) if i in carried else '0'}" for i in range(len(g.carry))]
        body += loop + adding + finals
        for i, c in enumerate(g.carry):
            ones = (1,) * (len(c.shape) - 1)
            copied = f"np.add(m{i}, 0, out=h{i}[t & 1])" if i in carried else f"np.zeros((B, *{c.shape[1:]}), np.{c.dtype})"
            self.buffers.append(f"h{i} = np.empty((2, B, *{c.shape[1:]}), np.{c.dtype})")
            body.append(f"n{i} = {copied} if valid is None else np.where(valid[t].reshape(B, *{ones}), m{i}, n{i})")
        for v, series in self.series.items():
            value = self.made[LOOP, v]
            if not any(f"out={series}[t]" in line for line in body):
                body.append(f"{series}[t] = {value}")
        lines = self._prologue(["xs = call.xs", *[f"n{i} = g_carry[{i}]" for i in range(len(g.carry))]])
        lines += self.buffers + self.parts[ONCE] + self.parts[BEFORE]
        lines += ["for t in reversed(call.order):", *[f"    {line}" for line in body]]
        lines += self.parts[AFTER]
        found = [f"vs[{self.place[v]}]: {e}" for v, e in results.items()]
        found += [f"vs[{self.place[c]}]: n{c.index}" for c in g.carry]
        lines.append(f"return {{{', '.join(found)}}}")
        self.names["vs"] = g.values
        return "def run(call, g_carry, g_ys):\n" + "".join(f"    {line}\n" for line in lines)


def _is_many(v: Value) -> bool:
    return v.op is not None and v.op.many


def _merged(series: np.ndarray) -> np.ndarray:
    """(T, B, …) as (T·B, …)."""
    return series.reshape(-1, *series.shape[2:])


def _fill(value: float, shape: tuple[int, ...], axis: int, rows: int, dtype: Any) -> np.ndarray:
    """One number everywhere; it joins pieces of any number of rows."""
    sizes = list(shape)
    if axis >= 0:
        sizes[axis] = rows
    return np.full(sizes, value, dtype)
