"""The executor in machine code: one function for the whole time loop, and a few matrix products around it.

What is packed, where buffers lie and how the rows are shared among threads is decided here, for each call; the code
itself knows no sizes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from .native import machine
from .rows import INVARIANT, TOTAL, Label, batch_axes
from .run import Call
from .trace import Refused, StepGraph, Value

__all__ = ["LlvmPlan"]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scan")


def spread(task: Callable[[int, int], Any], count: int, threads: int, unit: int) -> None:
    """Share ``count`` rows or columns among threads, in whole multiples of ``unit``."""
    parts = min(threads, -(-count // unit))
    if parts <= 1:
        task(0, count)
        return
    cuts = [min(count, unit * (-(-count * i // (parts * unit)))) for i in range(parts + 1)]
    jobs = [_pool(threads).submit(task, a, b) for a, b in zip(cuts[1:-1], cuts[2:], strict=True) if b > a]
    task(cuts[0], cuts[1])
    for job in jobs:
        job.result()


class LlvmPlan:
    """A step as machine code; ``forward(call)`` and ``backward(call, cotangents)`` run it."""

    name = "llvm"

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        if why := machine.available():
            raise Refused(why)
        from .native.emit import HEADER, Module
        from .native.lanes import Lanes
        from .native.lower import lowered
        from .native.products import products
        from .native.schedule import Schedule

        self.given = graph.invariants()
        self.graph = lowered(graph, labels)
        self.labels = batch_axes(self.graph)
        self.schedule = Schedule(self.graph, self.labels)
        self.dtype = self.schedule.dtype
        self.products = products(str(self.dtype))
        self.module = Module(self.schedule, Lanes.host(str(self.dtype)))
        source = str(self.module.ir)
        self.functions = dict(zip(self.module.names, machine.load(machine.build(source), self.module.names), strict=True))
        self.header = len(HEADER)
        self.slot = {b.name: i for i, b in enumerate(self.schedule.buffers)}
        self.numbers = np.array([*self.module.numbers, 0.0], np.float64)
        self.read_back = {b.name for b in self.schedule.buffers if b.kept}
        self.given_of = {p.buffer.name: v for v, p in self.schedule.places.stored.items() if p.buffer.kind == "given"}
        self._results()

    def _results(self) -> None:
        """Which buffers are the user's, and where results are found."""
        g = self.graph
        self.y_places = self.schedule.forward.y_places
        self.carry_buffers = [self.schedule.places.stored[c].buffer for c in g.carry]
        self.always = {p.buffer.name for p in self.y_places}
        for direction in (self.schedule.forward, self.schedule.backward):
            if direction is not None:
                for p in direction.products.values():
                    if any(phase != "loop" for *_, phase in p.terms):
                        self.always.add(p.place.buffer.name)
                for phase in ("before", "after"):
                    for groups in direction.groups[phase].values():
                        for unit in (u for group in groups for u in group):
                            self.always |= {p.buffer.name for p, _ in unit.reads} | {unit.root.place.buffer.name}
        self.always |= {b.name for b in self.schedule.buffers if b.outside and not b.outside.startswith("carry")}
        if self.schedule.backward is not None:
            used = set()
            for groups in (g for phase in self.schedule.backward.groups.values() for g in phase.values()):
                for unit in (u for group in groups for u in group):
                    used |= {p.buffer.name for p, _ in unit.reads}
            for p in self.schedule.backward.products.values():
                used |= {self.schedule.backward.operand_place(a).buffer.name for a, *_ in p.terms}
            for how, what in self.schedule.backward.totals.values():
                if how == "outer":
                    used |= {place.buffer.name for place in what}
            self.read_back = used

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        run = _Run(self, call)
        call.kept = run
        run.direction(self.schedule.forward, backward=False)
        last, ys = [], []
        end = call.T if call.write else 0
        for i, v in enumerate(self.graph.carry_out):
            last.append(run.last_carry(i, v, end))
        for v, place in zip(self.graph.ys, self.y_places, strict=True):
            ys.append(run.series(place, v.shape))
        if not call.saving:
            call.kept = None
        return last, ys

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        run: _Run = call.kept
        call.kept = None
        return run.backward(g_carry, g_ys)

    def lines(self) -> list[str]:
        """What runs where, in words."""
        return [f"{len(self.module.names)} functions: {', '.join(self.module.names)}"]


class _Run:
    """The buffers of one call."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan, self.call = plan, call
        self.arrays: dict[str, np.ndarray] = {}
        self.outside: dict[str, np.ndarray] = {}
        self.packed: dict[Value, np.ndarray] = {}
        self.once: dict[Value, np.ndarray] = dict(zip(plan.given, call.given, strict=True))
        for i, x in enumerate(call.xs):
            self.outside[f"x{i}"] = np.ascontiguousarray(x)
        self.lengths = None if call.lengths is None else np.ascontiguousarray(call.lengths, np.int64)

    # buffers

    def mask(self, buffer: Any) -> int:
        if buffer.kind == "pong":
            return 1
        full = buffer.name in self.plan.always or (self.call.saving and buffer.name in self.plan.read_back)
        if buffer.kind == "carry":
            return -1 if full else 1
        return -1 if full else 0

    def array(self, buffer: Any) -> np.ndarray:
        found = self.arrays.get(buffer.name)
        if found is None:
            found = self.arrays[buffer.name] = self._make(buffer)
        return found

    def _make(self, buffer: Any) -> np.ndarray:
        T, B, n = self.call.T, self.call.B, buffer.size
        if buffer.outside in self.outside:
            return self.outside[buffer.outside]
        rows = {
            "rows": B, "pong": 2 * B, "groups": -(-B // 8),
            "carry": (T + 1 if self.mask(buffer) else 2) * B if self.mask(buffer) != 1 else 2 * B,
            "step": T * B if self.mask(buffer) else B,
        }[buffer.kind]  # fmt: skip
        if buffer.kind == "groups" or (buffer.kind == "rows" and buffer.outside):
            return np.zeros((rows, n), self.plan.dtype)
        return empty(rows * n, self.plan.dtype).reshape(rows, n)

    def value(self, v: Value) -> np.ndarray:
        """An invariant."""
        found = self.once.get(v)
        if found is None:
            if v.kind in ("number", "fill"):
                return v.array
            if v.kind == "pick":
                return self.value(v.args[0])[v.index]
            assert v.op is not None
            xp = [np] if v.op.takes_xp else []
            found = self.once[v] = v.op.forward(*xp, *[self.value(a) for a in v.args], **v.params)
        return found

    def series(self, place: Any, shape: tuple[int, ...]) -> np.ndarray:
        """A stored value along time, (T, B, …)."""
        T, B = self.call.T, self.call.B
        array = self.array(place.buffer)
        if place.buffer.kind == "carry":
            start = (self.call.read if place.when == "read" else self.call.write) * B
            array = array[start : start + T * B]
        return array.reshape(T, *shape)

    def matrix(self, place: Any, columns: int) -> np.ndarray:
        """A stored value as (T·B, columns)."""
        T, B = self.call.T, self.call.B
        array = self.array(place.buffer)
        if place.buffer.kind == "carry":
            start = (self.call.read if place.when == "read" else self.call.write) * B
            array = array[start : start + T * B]
        array = array.reshape(T * B, place.buffer.size)
        return array[:, place.offset : place.offset + columns] if columns != place.buffer.size else array

    def last_carry(self, i: int, v: Value, end: int) -> np.ndarray:
        call = self.call
        if v.kind in ("number", "fill") or v not in self.plan.schedule.forward.roots and not self._written(i):
            if v in self.plan.graph.carry:
                return call.carry[v.index]
            return np.broadcast_to(np.asarray(self.value(v), self.plan.dtype), v.shape or call.carry[i].shape)
        buffer = self.plan.carry_buffers[i]
        array = self.array(buffer)
        at = end & self.mask(buffer)
        rows = array[at * call.B : (at + 1) * call.B]
        return rows.reshape(call.carry[i].shape).copy()

    def _written(self, i: int) -> bool:
        buffer = self.plan.carry_buffers[i]
        d = self.plan.schedule.forward
        return any(r.place.buffer is buffer for r in d.all_roots())

    # running

    def direction(self, d: Any, *, backward: bool) -> None:
        call, plan = self.call, self.plan
        B = call.B
        buffers = plan.schedule.buffers
        if not backward:
            for i, c in enumerate(call.carry):
                buffer = plan.carry_buffers[i]
                start = (call.order[0] + call.read) & self.mask(buffer)
                self.array(buffer)[start * B : (start + 1) * B] = c.reshape(B, -1)
        self._phase(d, backward, "before")
        for p in d.products.values():
            for _, weight, phase in p.terms:
                if phase == "loop":
                    self._pack(weight)
        descending = (call.order[0] > call.order[-1]) != backward
        integers = self._integers(descending)
        pointers = self._pointers(d)
        name = "backward" if backward else "forward"
        function = plan.functions[name]
        numbers = plan.numbers.ctypes.data

        def run(first: int, last: int) -> None:
            function(pointers.ctypes.data, integers.ctypes.data, numbers, first, last)

        if any(b.kind == "groups" for b in buffers) or B >= 16:
            spread(run, B, call.threads, 8)
        else:
            spread(run, B, call.threads, 8)
        self._phase(d, backward, "after")

    def _integers(self, descending: bool) -> np.ndarray:
        call, module = self.call, self.plan.module
        header = [call.T, call.B, int(descending), int(self.lengths is not None), call.read, call.write]
        masks = [self.mask(b) for b in self.plan.schedule.buffers]
        return np.array([*header, *masks, *module.sizes], np.int64)

    def _pointers(self, d: Any) -> np.ndarray:
        module, buffers = self.plan.module, self.plan.schedule.buffers
        mine = d.used_buffers()
        found = []
        for b in buffers:
            if b.name not in mine:
                found.append(0)
            elif b.kind == "given":
                found.append(self._given(b))
            else:
                found.append(self.array(b).ctypes.data)
        found.append(0 if self.lengths is None else self.lengths.ctypes.data)
        found += [self.packed[v].ctypes.data if v in self.packed else 0 for v in module.packed]
        if self.lengths is None:
            found[len(buffers)] = self._integers_dummy()
        return np.array(found, np.uintp)

    def _integers_dummy(self) -> int:
        return _DUMMY.ctypes.data

    def _given(self, buffer: Any) -> int:
        v = self.plan.given_of[buffer.name]
        array = self.arrays.get(buffer.name)
        if array is None:
            array = self.arrays[buffer.name] = np.ascontiguousarray(self.value(v))
        return array.ctypes.data

    def _pack(self, weight: Value) -> np.ndarray:
        if weight not in self.packed:
            self.packed[weight] = self.plan.products.pack(self.value(weight))
        return self.packed[weight]

    def _phase(self, d: Any, backward: bool, phase: str) -> None:
        """The products and regions over all T·B rows, in the order of their levels."""
        plan, call = self.plan, self.call
        groups = d.groups[phase]
        products = [(p, n) for p in d.products.values() for n, term in enumerate(p.terms) if term[2] == phase]
        last = max([0, *groups, *[p.levels[n] for p, n in products]])
        for level in range(last + 1):
            for p, n in products:
                if p.levels[n] == level:
                    self._product(d, p, n, phase)
            if level in groups:
                function = plan.functions[plan.module.regions[backward, phase, level]]
                integers, pointers = self._integers(False), self._pointers(d)
                numbers = plan.numbers.ctypes.data
                spread(
                    lambda a, b, f=function, p=pointers, i=integers: f(p.ctypes.data, i.ctypes.data, numbers, a, b),
                    call.T * call.B, call.threads, 8,
                )  # fmt: skip

    def _product(self, d: Any, p: Any, n: int, phase: str) -> None:
        operand, weight, _ = p.terms[n]
        if p.place.buffer.outside.startswith("gx") and not self.needs_x(int(p.place.buffer.outside[2:])):
            return
        a = self.matrix(d.operand_place(operand), operand.shape[-1])
        N = weight.shape[1]
        out = self.matrix(p.place, N)
        packed = self._pack(weight)
        first = n == 0 and p.base is None
        mode = 1 if not first else 0
        bias = None
        if first and p.bias is not None:
            mode, bias = 2, np.ascontiguousarray(self.value(p.bias))

        def run(i: int, j: int) -> None:
            self.plan.products.product(a[i:j], packed, N, out[i:j], mode, bias)

        spread(run, len(a), self.call.threads, 8)

    def needs_x(self, i: int) -> bool:
        return self.call.needs[i]

    def backward(self, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        call, plan, g = self.call, self.plan, self.plan.graph
        d = plan.schedule.backward
        B = call.B
        for i, y in enumerate(g_ys):
            self.outside[f"g_y{i}"] = np.ascontiguousarray(y, plan.dtype)
        start = call.order[-1] & 1
        for i, v in enumerate(g.g_carry):
            buffer = plan.schedule.places.stored[v].buffer
            if buffer.name in d.used_buffers():
                self.array(buffer)[start * B : (start + 1) * B] = g_carry[i].reshape(B, -1)
        self.direction(d, backward=True)
        end = (call.order[0] + 1) & 1
        results: dict[Value, Any] = {}
        for v, gradient in g.gradients.items():
            if v.kind == "carry":
                buffer = plan.schedule.places.stored[g.g_carry[v.index]].buffer
                results[v] = self.array(buffer)[end * B : (end + 1) * B].reshape(v.shape)
            elif v.kind == "x":
                if self.needs_x(v.index):
                    name = f"gx{v.index}"
                    buffer = next(b for b in plan.schedule.buffers if b.outside == name)
                    results[v] = self.array(buffer).reshape(call.T, *v.shape)
            elif plan.labels[gradient] == TOTAL:
                if call.needs[len(g.xs) + len(g.carry) + plan.given.index(v)]:
                    results[v] = self._total(d, gradient).reshape(v.shape)
            else:
                _, place = d.totals[gradient]
                results[v] = self.array(place.buffer).reshape(v.shape)
        if call.lengths is not None:
            for i, v in enumerate(g.carry):  # rows without any step pass their cotangent on
                if v not in results:
                    none = (call.lengths == 0).reshape(-1, *(1,) * (len(v.shape) - 1))
                    results[v] = np.where(none, g_carry[i], v.dtype.type(0))
        return results

    def _total(self, d: Any, v: Value) -> np.ndarray:
        """A sum over the batch and time."""
        how, what = d.totals[v]
        if how == "sum":
            return self.array(what.buffer).sum(0).reshape(v.shape)
        if how == "outer":
            a, g = (self.matrix(place, x.shape[-1]) for place, x in zip(what, (v.args[0].args[0], v.args[1]), strict=True))
            out = np.empty(v.shape, self.plan.dtype)
            products = self.plan.products
            spread(lambda i, j: products.outer(a, g, out, 0, i, j), v.shape[1], self.call.threads, products.columns)
            return out
        args = [self._total(d, a) if self.plan.labels.get(a) == TOTAL else self.value(a) for a in v.args]
        assert v.op is not None
        xp = [np] if v.op.takes_xp else []
        return np.asarray(v.op.forward(*xp, *args, **v.params))


_DUMMY = np.zeros(1, np.int64)


def empty(size: int, dtype: np.dtype) -> np.ndarray:
    """An empty vector that starts at a cache line."""
    room = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * dtype.itemsize].view(dtype)


_ = (Sequence, ctypes, INVARIANT)
