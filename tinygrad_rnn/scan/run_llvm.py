"""The executor in machine code: a run is a list of stages, each a native function over rows or columns.

The code knows no sizes. For each length and batch size a layout says once where everything lies: what is needed during
the run in one block of memory, what is handed out in arrays of its own. A call then only fills in addresses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from .native import machine
from .rows import TOTAL, Label, batch_axes
from .run import Call
from .trace import Refused, StepGraph, Value

__all__ = ["LlvmPlan"]

LINE = 64  # bytes in a cache line, where every buffer begins


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scan")


def address(array: np.ndarray) -> int:
    """Where an array's data begins; four times as fast as ``array.ctypes.data`` for those that can be written."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):
        return array.ctypes.data


class LlvmPlan:
    """A step as machine code; ``forward(call)`` and ``backward(call, cotangents)`` run it."""

    name = "llvm"

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        if why := machine.available():
            raise Refused(why)
        from .native.emit import HEADER, Module
        from .native.gemm import columns, packed_size
        from .native.lanes import Lanes
        from .native.lower import lowered
        from .native.schedule import Schedule

        self.given = graph.invariants()
        self.graph = lowered(graph, labels)
        self.labels = batch_axes(self.graph)
        self.schedule = Schedule(self.graph, self.labels)
        self.dtype = self.schedule.dtype
        lanes = Lanes.host(str(self.dtype))
        self.module = Module(self.schedule, lanes)
        self.columns = columns(lanes)
        self.packed = {name: packed_size(lanes, *shape) for name, shape in self.module.packed.items()}
        names = [stage.name for stages in self.module.stages.values() for stage in stages]
        functions = dict(zip(names, machine.load(machine.build(str(self.module.ir)), names), strict=True))
        self.stages = {side: [(functions[s.name], s.over, s.wanted) for s in stages] for side, stages in self.module.stages.items()}
        self.header = len(HEADER)
        self.numbers = np.array([*self.module.numbers, 0.0], np.float64)
        self.numbers_at = address(self.numbers)
        self.place_of = {name: i for i, name in enumerate([b.name for b in self.schedule.buffers] + self.module.extra)}
        self.layouts: dict[Any, Layout] = {}
        self._facts()

    def _facts(self) -> None:
        """What layouts ask: which buffers last a whole run, who makes them, where invariants come from."""
        schedule = self.schedule
        self.once = [(p.buffer.name, v) for v, p in schedule.places.stored.items() if p.buffer.kind == "given"]
        self.series: set[str] = set()  # of which every step is needed in any case
        self.read_back: set[str] = set()  # … when there is a way back
        self.used: dict[str, set[str]] = {"forward": schedule.forward.used_buffers(), "backward": set()}
        for direction in (schedule.forward, schedule.backward):
            if direction is None:
                continue
            for p in direction.products.values():
                for operand, _, phase in p.terms:
                    if phase != "loop":
                        self.series |= {p.place.buffer.name, direction.operand_place(operand).buffer.name}
            for phase in ("before", "after"):
                for unit in (u for groups in direction.groups[phase].values() for group in groups for u in group):
                    self.series |= {p.buffer.name for p, _ in unit.reads} | {unit.root.place.buffer.name}
        self.series |= {b.name for b in schedule.buffers if b.outside and not b.outside.startswith("carry")}
        self.series |= {p.buffer.name for p in schedule.forward.y_places}
        if schedule.backward is not None:
            self.used["backward"] = schedule.backward.used_buffers()
            for how, what in schedule.backward.totals.values():
                if how == "outer":
                    self.used["backward"] |= {place.buffer.name for place in what}
            self.read_back = self.used["backward"]
        self.y_buffers = {p.buffer.name for p in schedule.forward.y_places}

    def layout(self, call: Call) -> Layout:
        key = (call.T, call.B, call.reverse, call.saving, call.lengths is None)
        found = self.layouts.get(key)
        if found is None:
            if len(self.layouts) > 64:
                self.layouts.clear()
            found = self.layouts[key] = Layout(self, call)
        return found

    def forward(self, call: Call) -> tuple[list[Any], list[Any]]:
        """The last carry and the ys of a call."""
        run = _Run(self, call)
        results = run.forward()
        if call.saving:
            call.kept = run
        return results

    def backward(self, call: Call, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        """The gradients of carry, xs and invariants."""
        run, call.kept = call.kept, None
        return run.backward(g_carry, g_ys)

    def lines(self) -> list[str]:
        """What runs where, in words."""
        return [f"{side}: {', '.join(stage.name for stage in stages)}" for side, stages in self.module.stages.items()]


class Layout:
    """Where the buffers of a run lie, for one T and B."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan = plan
        T, B = call.T, call.B
        size = plan.dtype.itemsize
        buffers = plan.schedule.buffers
        self.masks = [self._mask(b, call.saving) for b in buffers]
        self.rows = [self._rows(b, mask, T, B) for b, mask in zip(buffers, self.masks, strict=True)]
        self.blocks: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
        seen: set[str] = set()
        for side in plan.module.stages:
            slots, offsets, total = [], [], 0
            for slot, (b, rows) in enumerate(zip(buffers, self.rows, strict=True)):
                outside = b.kind == "given" or (b.outside and not b.outside.startswith("carry")) or b.name in plan.y_buffers
                if outside or b.name in seen or b.name not in plan.used[side]:
                    continue
                seen.add(b.name)
                slots.append(slot)
                offsets.append(total)
                total += -(-rows * b.size * size // LINE) * LINE
            for name, n in plan.packed.items():
                if name in plan.place_of and name not in seen and self._packed_in(side, name):
                    slots.append(plan.place_of[name])
                    offsets.append(total)
                    total += -(-n * size // LINE) * LINE
            self.blocks[side] = (np.array(slots, np.intp), np.array(offsets, np.uint64), total)
        header = {
            "forward": [T, B, int(call.reverse), int(call.lengths is not None), call.read, call.write],
            "backward": [T, B, int(not call.reverse), int(call.lengths is not None), call.read, call.write],
        }
        rest = [*self.masks, *plan.module.sizes]
        self.integers = {side: np.array([*h, *rest], np.int64) for side, h in header.items()}
        self.addresses = {side: integers.ctypes.data for side, integers in self.integers.items()}
        self.stages = {
            side: [(f, self._count(over, T, B), self._unit(over), wanted) for f, over, wanted in stages]
            for side, stages in plan.stages.items()
        }
        self.first = {b.name: (rows, b.size) for b, rows in zip(buffers, self.rows, strict=True)}

    def _packed_in(self, side: str, name: str) -> bool:
        direction = self.plan.schedule.forward if side == "forward" else self.plan.schedule.backward
        return any(self.plan.module.weight_name(w) == name for p in direction.products.values() for _, w, _ in p.terms)

    def _mask(self, b: Any, saving: bool) -> int:
        if b.kind == "pong":
            return 1
        full = b.name in self.plan.series or (saving and b.name in self.plan.read_back)
        return -1 if full else 1 if b.kind == "carry" else 0

    @staticmethod
    def _rows(b: Any, mask: int, T: int, B: int) -> int:
        if b.kind == "groups":
            return -(-B // 8)
        if b.kind in ("rows", "given"):
            return B
        if b.kind == "pong" or (b.kind == "carry" and mask == 1):
            return 2 * B
        return B if mask == 0 else T * B if b.kind == "step" else (T + 1) * B

    @staticmethod
    def _count(over: str, T: int, B: int) -> int:
        return {"once": 1, "rows": B, "all": T * B}.get(over) or int(over)

    def _unit(self, over: str) -> int:
        return {"once": 1, "rows": 8, "all": 8}.get(over, self.plan.columns)


class _Run:
    """The addresses of one call."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan, self.call = plan, call
        self.layout = plan.layout(call)
        self.pointers = np.zeros(len(plan.place_of), np.uint64)
        self.alive: list[Any] = []  # arrays whose addresses are in use
        self.lengths = None if call.lengths is None else np.ascontiguousarray(call.lengths, np.int64)
        self.invariants: dict[Value, Any] = dict(zip(plan.given, call.given, strict=True))

    def _give(self, name: str, array: np.ndarray) -> None:
        """An array to read, or to write, at a pointer's place."""
        slot = self.plan.place_of.get(name)
        if slot is not None:
            if not array.flags.c_contiguous or array.dtype != self.plan.dtype:
                array = np.ascontiguousarray(array, self.plan.dtype)
            self.alive.append(array)
            self.pointers[slot] = address(array)

    def _empty(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, self.plan.dtype)
        self._give(name, array)
        return array

    def _room(self, side: str) -> np.ndarray:
        slots, offsets, total = self.layout.blocks[side]
        room = np.empty(total + LINE, np.uint8)
        start = -(-address(room) // LINE) * LINE
        self.pointers[slots] = offsets + np.uint64(start)
        return room

    def _value(self, v: Value) -> Any:
        """An invariant; ops on captured values that only the way back asks for are done here."""
        if v.kind in ("number", "fill"):
            return v.array
        found = self.invariants.get(v)
        if found is None:
            if v.kind == "pick":
                return self._value(v.args[0])[v.index]
            assert v.op is not None
            xp = [np] if v.op.takes_xp else []
            found = self.invariants[v] = v.op.forward(*xp, *[self._value(a) for a in v.args], **v.params)
        return found

    def _stages(self, side: str) -> None:
        call, layout = self.call, self.layout
        pointers, integers, numbers = address(self.pointers), layout.addresses[side], self.plan.numbers_at
        for function, count, unit, wanted in layout.stages[side]:
            if wanted and wanted not in self.wanted:
                continue
            if call.threads == 1 or count <= unit:
                function(pointers, integers, numbers, 0, count)
            else:
                _shared(function, (pointers, integers, numbers), count, call.threads, unit)

    def forward(self) -> tuple[list[Any], list[Any]]:
        plan, call, layout = self.plan, self.call, self.layout
        graph = plan.graph
        self.wanted: set[str] = set()
        self.room = self._room("forward")
        for i, x in enumerate(call.xs):
            self._give(plan.schedule.places.stored[graph.xs[i]].buffer.name, x)
        for name, v in plan.once:
            self._give(name, self._value(v))
        if self.lengths is not None and "lengths" in plan.place_of:
            self.pointers[plan.place_of["lengths"]] = self.lengths.ctypes.data
        elif "lengths" in plan.place_of:
            self.pointers[plan.place_of["lengths"]] = _NONE.ctypes.data
        outputs = {name: self._empty(name, layout.first[name]) for name in plan.y_buffers}
        last: list[Any] = []
        for i, c in enumerate(call.carry):
            self._give(f"in carry{i}", c)
            last.append(self._empty(f"out carry{i}", c.shape) if f"out carry{i}" in plan.place_of else self._fixed(i))
        self._stages("forward")
        ys = []
        for v, place in zip(graph.ys, plan.schedule.forward.y_places, strict=True):
            array = outputs[place.buffer.name]
            if place.buffer.kind == "carry":
                start = (call.read if place.when == "read" else call.write) * call.B
                array = array[start : start + call.T * call.B]
            ys.append(array.reshape(call.T, *v.shape))
        return last, ys

    def _fixed(self, i: int) -> np.ndarray:
        """A last carry that the step does not compute: a constant, or another carry passed on."""
        v, like = self.plan.graph.carry_out[i], self.call.carry[i]
        if v in self.plan.graph.carry:
            return self.call.carry[v.index]
        return np.broadcast_to(np.asarray(self._value(v), self.plan.dtype), like.shape).copy()

    def backward(self, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        plan, call, graph = self.plan, self.call, self.plan.graph
        schedule, d = plan.schedule, plan.schedule.backward
        assert d is not None
        room = self._room("backward")
        for v, y in zip(graph.g_ys, g_ys, strict=True):
            self._give(schedule.places.stored[v].buffer.name, y)
        self.wanted = set()
        results: dict[Value, Any] = {}
        waiting: list[tuple[Value, Value]] = []
        for i, g in enumerate(g_carry):
            self._give(f"in g_carry{i}", g)
        names = {b.outside: b.name for b in schedule.buffers if b.outside}
        totals = {v: f"total{i}" for i, v in enumerate(d.totals)}
        for v, gradient in graph.gradients.items():
            if v.kind == "carry":
                if f"out g_carry{v.index}" in plan.place_of:
                    results[v] = self._empty(f"out g_carry{v.index}", v.shape)
            elif v.kind == "x":
                results[v] = self._empty(names[f"gx{v.index}"], (call.T, *v.shape))
                if call.needs[v.index]:
                    self.wanted.add(f"gx{v.index}")
            elif plan.labels[gradient] == TOTAL:
                if call.needs[len(graph.xs) + len(graph.carry) + plan.given.index(v)]:
                    waiting.append((v, gradient))
            else:
                results[v] = self._empty(d.totals[gradient][1].buffer.name, v.shape)
        made: dict[Value, np.ndarray] = {}
        for _, gradient in waiting:
            for leaf in self._leaves(d, gradient):
                if leaf not in made:
                    made[leaf] = self._empty(totals[leaf], leaf.shape)
                    self.wanted.add(totals[leaf])
        self._stages("backward")
        for v, gradient in waiting:
            results[v] = self._total(d, gradient, made).reshape(v.shape)
        if call.lengths is not None:
            for i, v in enumerate(graph.carry):  # rows without any step pass their cotangent on
                if v not in results:
                    none = (call.lengths == 0).reshape(-1, *(1,) * (len(v.shape) - 1))
                    results[v] = np.where(none, g_carry[i], v.dtype.type(0))
        del room
        return results

    def _leaves(self, d: Any, v: Value) -> Sequence[Value]:
        """The totals that a total is made of."""
        if d.totals[v][0] != "op":
            return [v]
        return [leaf for a in v.args if self.plan.labels.get(a) == TOTAL for leaf in self._leaves(d, a)]

    def _total(self, d: Any, v: Value, made: dict[Value, np.ndarray]) -> np.ndarray:
        if v in made:
            return made[v]
        args = [self._total(d, a, made) if self.plan.labels.get(a) == TOTAL else self._value(a) for a in v.args]
        assert v.op is not None
        xp = [np] if v.op.takes_xp else []
        return np.asarray(v.op.forward(*xp, *args, **v.params))


def _shared(function: Any, arguments: tuple, count: int, threads: int, unit: int) -> None:
    """Share rows or columns among threads, in whole multiples of ``unit``."""
    parts = min(threads, -(-count // unit))
    blocks = -(-count // unit)
    cuts = [min(count, unit * (blocks * i // parts)) for i in range(parts + 1)]
    jobs = [_pool(threads).submit(function, *arguments, a, b) for a, b in zip(cuts[1:-1], cuts[2:], strict=True)]
    function(*arguments, cuts[0], cuts[1])
    for job in jobs:
        job.result()


_NONE = np.zeros(1, np.int64)
