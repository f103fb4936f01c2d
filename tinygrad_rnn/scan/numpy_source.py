"""The Python source of a step's two directions: a line for an op, in the part of the function where it is made.

In the source T and B are the numbers of steps and rows, ``rows`` is T·B, ``C0`` the series of T + 1 carries, ``S12`` a
series of T values, ``b12`` a buffer of the loop; values are called by their part and number: ``b7``, ``l7``, ``a7``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .graph import StepGraph, Value
from .homes import AFTER, BEFORE, LOOP, ONCE
from .rows import SHAPED, TOTAL, Label, shape_at

__all__ = ["Source", "write_backward", "write_forward"]

UFUNCS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "tanh": np.tanh,
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "maximum": np.maximum, "minimum": np.minimum, "matmul": np.matmul,
    "sin": np.sin, "cos": np.cos, "log1p": np.log1p, "expm1": np.expm1,
}  # fmt: skip


class Source:
    """The lines of one direction while they are written.

    Every value has one home, the part in which it is made; other parts fetch it from where it is stored. ``names`` are
    those that the source uses, ``wanted`` what the way back reads of the forward pass.
    """

    def __init__(
        self, graph: StepGraph, labels: dict[Value, Label], homes: dict[Value, tuple[bool, str]], *, backward: bool
    ) -> None:
        self.graph, self.labels, self.homes, self.backward = graph, labels, homes, backward
        self.parts: dict[str, list[str]] = {ONCE: [], BEFORE: [], LOOP: [], AFTER: []}
        self.made: dict[tuple[str, Value], str] = {}
        self.names: dict[str, Any] = {"np": np, "merged": _merged, "fill": _fill}
        self.buffers: list[str] = []
        self.series: dict[Value, str] = {}  # loop values stored along time
        self.wanted: dict[Value, None] = {}
        self.place = {v: i for i, v in enumerate(graph.values)}
        self.given = {v: i for i, v in enumerate(graph.invariants())}

    def get(self, v: Value, part: str) -> str:
        """An expression for a value in a part; what is not made yet is written first."""
        if v.kind == "number":
            name = f"k{len(self.names)}"
            self.names[name] = v.array
            return name
        known = self.made.get((part, v))
        if known is None:
            known = self.made[part, v] = self._find(v, part)
        return known

    def _find(self, v: Value, part: str) -> str:
        """Where a value is found in a part: made there, handed over, kept, or stored by the part that makes it."""
        backward, home = self.homes[v]
        if v in self.given:
            return f"given[{self.given[v]}]"  # values of the step that nothing moves come from outside
        if v.kind == "fill":
            number, rows = v.array.reshape(-1)[0].item(), "B" if part == LOOP else "rows"
            return f"fill({number!r}, {v.array.shape}, {self._fill_axis(v)}, {rows}, dtype)"
        if home == ONCE:
            return self._make(v, ONCE) if part == ONCE else self.get(v, ONCE)
        if backward != self.backward:  # the way back reads what the forward pass kept
            self.wanted[v] = None
            return f"kept[{self.place[v]}][t]" if part == LOOP else f"merged(kept[{self.place[v]}])"
        if home == part:
            return self._make(v, part)
        movable = self.labels[v] != 0 or v.kind == "pick" or v.many
        if movable and v.kind in ("op", "pick"):
            return self._make(v, part)  # a turned view: made again where it is used
        if home == LOOP:
            self.get(v, LOOP)
            return f"merged({self.store(v)})"
        name = self.get(v, home)
        return f"{self._unmerged(v, home)}[t]" if part == LOOP else name

    def _fill_axis(self, v: Value) -> int:
        sizes = [i for i, n in enumerate(v.array.shape) if n == self.graph.batch]
        return sizes[0] if sizes else -1

    def _unmerged(self, v: Value, home: str) -> str:
        """A value that was made for all rows at once as (T, B, …)."""
        if v.kind in ("x", "g_y"):
            return f"{'xs' if v.kind == 'x' else 'g_ys'}[{v.index}]"
        name = f"s{self.place[v]}"
        line = f"{name} = {self.made[home, v]}.reshape(T, B, *{v.shape[1:]})"
        if line not in self.parts[home]:
            self.parts[home].append(line)
        return name

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
        name = f"{part[0]}{self.place[v]}"
        args = [self.get(a, part) for a in v.args]
        params = self._params(v, part)
        exact = all(a.dtype == v.dtype for a in v.args if a.kind != "number")
        if v.name in UFUNCS and part == LOOP and exact and self.labels[v] == 0:
            self.names[f"u_{v.name}"] = UFUNCS[v.name]
            call = f"u_{v.name}({', '.join(args)}, out={self._room(v)})"
        else:
            self.names[f"f_{v.name}"] = v.op.forward
            xp = ["np"] if v.op.takes_xp else []
            call = f"f_{v.name}({', '.join(xp + args + params)})"
        self.parts[part].append(f"{name} = {call}")
        return name

    def _room(self, v: Value) -> str:
        """What an op of the loop writes into: its step of a series, or a buffer."""
        if v in self.series:
            return f"{self.series[v]}[t]"
        if not self.backward and v in self.graph.carry_out:
            return f"C{self.graph.carry_out.index(v)}[t + write]"
        self.buffers.append(f"b{self.place[v]} = np.empty((B, *{v.shape[1:]}), np.{v.dtype})")
        return f"b{self.place[v]}"

    def _params(self, v: Value, part: str) -> list[str]:
        """The keyword arguments of an op; a shape is spelt with the batch size of the part."""
        found = []
        for key, value in v.params.items():
            if v.name in SHAPED and key == "shape" and isinstance(self.labels[v], int):
                sizes = shape_at(v.shape, self.labels[v], "B" if part == LOOP else "rows")
                found.append(f"shape=({', '.join(map(str, sizes))},)")
                continue
            name = f"p{self.place[v]}_{key}"
            self.names[name] = value
            found.append(f"{key}={name}")
        return found

    def series_of(self, v: Value, carried: dict[Value, int]) -> str:
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

    def function(self, arguments: str, first: Iterable[str], order: str, loop: Iterable[str], last: list[str]) -> str:
        """The whole function: ``first``, the parts before the loop, the loop, the part after it, ``last``."""
        lines = [
            "T, B, given, read, write, valid, rows, kept = call.T, call.B, call.given, call.read, call.write, "
            "call.valid, call.T * call.B, call.kept",
            "before, after = (slice(0, T), slice(1, T + 1)) if write else (slice(1, T + 1), slice(0, T))",
            f"dtype = np.{self.graph.carry[0].dtype}",
            "xs = call.xs",
            *first,
            *self.buffers,
            *self.parts[ONCE],
            *self.parts[BEFORE],
            f"for t in {order}:",
            *[f"    {line}" for line in loop],
            *self.parts[AFTER],
            *last,
        ]
        return f"def run({arguments}):\n" + "".join(f"    {line}\n" for line in lines)


def write_forward(s: Source, kept: Iterable[Value]) -> str:
    """``run(call)`` returns the last carry and the ys, and keeps what the way back reads in ``call.kept``."""
    g, homes = s.graph, s.homes
    carried = {v: i for i, v in reversed(list(enumerate(g.carry_out)))}
    stored = [*[v for v in kept if not v.many], *g.ys]
    for v in stored:  # decided before the loop is written, so that it is written in place
        if homes.get(v) == (False, LOOP) and v.kind == "op" and v not in carried:
            s.store(v)
    for v in g.values[: g.backward_from]:  # in the order of the step
        if v.kind in ("op", "pick") and homes[v] == (False, LOOP) and not v.many:
            s.get(v, LOOP)
    loop = s.parts[LOOP]
    for i, v in enumerate(g.carry_out):
        written = f"out=C{i}[t + write]"
        if not any(written in line for line in loop) or carried.get(v) != i:
            loop.append(f"C{i}[t + write] = {s.get(v, LOOP)}")
    loop.append("if valid is not None:")
    for i, c in enumerate(g.carry):
        loop.append(f"    np.copyto(C{i}[t + write], C{i}[t + read], where=~{_valid(c)})")
    ys = [s.series_of(v, carried) for v in g.ys]
    keeping = [f"{s.place[v]}: {s.series_of(v, carried)}" for v in kept]
    for v, series in s.series.items():
        value = s.made[LOOP, v]
        if not any(f"out={series}[t]" in line for line in loop):
            at = max((n for n, line in enumerate(loop) if line.startswith(f"{value} =")), default=len(loop) - 1)
            loop.insert(at + 1, f"{series}[t] = {value}")
    first = []
    for i, c in enumerate(g.carry):
        first.append(f"C{i} = np.empty((T + 1, B, *{c.shape[1:]}), np.{c.dtype})")
        first.append(f"C{i}[0 if write else T] = call.carry[{i}]")
    last = [f"C{i}[T if write else 0]" for i in range(len(g.carry))]
    keep = f"call.kept = {{{', '.join(keeping)}}} if call.saving else None"
    return s.function("call", first, "call.order", loop, [keep, f"return [{', '.join(last)}], [{', '.join(ys)}]"])


def write_backward(s: Source) -> str:
    """``run(call, g_carry, g_ys)`` returns the gradients of carry, xs and invariants.

    In the loop gᵢ is the cotangent of carry i after a step, mᵢ the one before it, nᵢ that which the next step begins
    with: mᵢ, or for rows past their end what they were given.
    """
    g, homes = s.graph, s.homes
    results: dict[Value, str] = {}
    adding: list[str] = []
    for v in g.values[g.backward_from :]:
        if v.kind == "op" and homes[v] == (True, LOOP) and not v.many:
            s.get(v, LOOP)
    for v, gradient in g.gradients.items():
        _, home = homes[gradient]
        if v.kind == "carry":
            continue
        if s.labels[gradient] == TOTAL and home != LOOP:
            results[v] = s.get(gradient, AFTER)
        elif v.kind == "x":
            series = f"merged({s.store(gradient)})" if home == LOOP else s.get(gradient, AFTER)
            results[v] = f"{series}.reshape(T, B, *{v.shape[1:]})"
        else:  # summed along time, step by step
            results[v] = f"a{s.place[v]}"
            s.buffers.append(f"{results[v]} = np.zeros(given[{s.given[v]}].shape, np.{v.dtype})")
            adding.append(f"{results[v]} += {s.get(gradient, LOOP)}")
    carried = {v.index: gradient for v, gradient in g.gradients.items() if v.kind == "carry"}
    body = [f"g{i} = n{i} if valid is None else np.where({_valid(c)}, n{i}, 0)" for i, c in enumerate(g.carry)]
    finals = [f"m{i} = {s.get(carried[i], LOOP) if i in carried else '0'}" for i in range(len(g.carry))]
    body += s.parts[LOOP] + adding + finals
    for i, c in enumerate(g.carry):
        room = f"(B, *{c.shape[1:]}), np.{c.dtype}"
        copied = f"np.add(m{i}, 0, out=h{i}[t & 1])" if i in carried else f"np.zeros({room})"
        s.buffers.append(f"h{i} = np.empty((2, {room[1:]})")
        body.append(f"n{i} = {copied} if valid is None else np.where({_valid(c)}, m{i}, n{i})")
    for v, series in s.series.items():
        if not any(f"out={series}[t]" in line for line in body):
            body.append(f"{series}[t] = {s.made[LOOP, v]}")
    found = [f"vs[{s.place[v]}]: {e}" for v, e in results.items()]
    found += [f"vs[{s.place[c]}]: n{c.index}" for c in g.carry]
    s.names["vs"] = g.values
    first = [f"n{i} = g_carry[{i}]" for i in range(len(g.carry))]
    return s.function("call, g_carry, g_ys", first, "reversed(call.order)", body, [f"return {{{', '.join(found)}}}"])


def _valid(c: Value) -> str:
    """Which rows of a carry have a step at t, in the carry's shape."""
    return f"valid[t].reshape(B, *{(1,) * (len(c.shape) - 1)})"


def _merged(series: np.ndarray) -> np.ndarray:
    """(T, B, …) as (T·B, …)."""
    return series.reshape(-1, *series.shape[2:])


def _fill(value: float, shape: tuple[int, ...], axis: int, rows: int, dtype: Any) -> np.ndarray:
    """One number everywhere; it joins pieces of any number of rows."""
    sizes = list(shape)
    if axis >= 0:
        sizes[axis] = rows
    return np.full(sizes, value, dtype)
