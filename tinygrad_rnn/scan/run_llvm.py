"""The executor in machine code: a run is a list of stages, each a native function over rows or columns.

The code knows no sizes. For each length and batch size a layout says once where everything lies: what is needed during
the run in one block of memory, what is handed out in arrays of its own. A call then only fills in addresses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import threads
from .blas import by_blas, in_place_of, large_products
from .graph import Refused, StepGraph, Value
from .native import machine
from .rows import TOTAL, Label, batch_axes, shape_at
from .run import Call
from .threads import Task, do

__all__ = ["LlvmPlan"]

LINE = 64  # bytes in a cache line, where every buffer begins


def address(array: np.ndarray) -> int:
    """Where an array's data begins; four times as fast as ``array.ctypes.data`` for those that can be written."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = _read_only.get(id(array))
        if found is None:
            found = array, array.ctypes.data
            if array.nbytes < SMALL:
                if len(_read_only) >= 64:
                    _read_only.clear()
                _read_only[id(array)] = found
        return found[1]


SMALL = 1 << 15  # bytes: below this, memory comes from where the process has it already
_read_only: dict[int, tuple[np.ndarray, int]] = {}  # small arrays that come again and again, and where they are


class LlvmPlan:
    """A step as machine code; ``forward(call)`` and ``backward(call, cotangents)`` run it."""

    name = "llvm"

    def __init__(self, graph: StepGraph, labels: dict[Value, Label]) -> None:
        if why := machine.available():
            raise Refused(why)
        from .native.gemm import columns, packed_size
        from .native.lanes import Lanes
        from .native.lower import lowered
        from .native.module import HEADER, Module
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
        names += [f"{side}_whole" for side in self.module.stages]
        functions = dict(zip(names, machine.load(machine.build(str(self.module.ir)), names), strict=True))
        sides = self.module.stages.items()
        self.functions = functions
        self.whole = {side: functions[f"{side}_whole"] for side, _ in sides}
        self.bits = {side: [(1 << i, s.wanted) for i, s in enumerate(stages)] for side, stages in sides}
        self.header = len(HEADER)
        self.numbers = np.array([*self.module.numbers, 0.0], np.float64)
        self.numbers_at = address(self.numbers)
        self.place_of = {name: i for i, name in enumerate([b.name for b in self.schedule.buffers] + self.module.extra)}
        self.layouts: dict[Any, Layout] = {}
        self.large = large_products(self)
        self._facts()

    def _facts(self) -> None:
        """What layouts ask: which buffers last a whole run, who makes them, where invariants come from."""
        schedule = self.schedule
        place_of, stored = self.place_of, schedule.places.stored
        self.once = [(place_of[p.buffer.name], v) for v, p in stored.items() if p.buffer.kind == "given"]
        self.row_wise = [
            (place_of[p.buffer.name], v, self._axis(v)) for v, p in stored.items() if p.buffer.outside == "given"
        ]
        self.lengths_slot = place_of.get("lengths")
        self.x_slots = [place_of[stored[v].buffer.name] for v in self.graph.xs]
        self.carry_slots = [self._ends(f"carry{i}") for i in range(len(self.graph.carry))]
        if schedule.backward is not None:
            self._facts_backward(schedule.backward)
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

    def _axis(self, v: Value) -> int:
        """The batch axis of a value that has one."""
        axis = self.labels[v]
        assert isinstance(axis, int)
        return axis

    def _ends(self, name: str) -> tuple[int | None, int | None]:
        """Where a carry comes in, and where it is handed out."""
        return self.place_of.get(f"in {name}"), self.place_of.get(f"out {name}")

    def _facts_backward(self, d: Any) -> None:
        graph, place_of, labels = self.graph, self.place_of, self.labels
        self.g_y_slots = [place_of[self.schedule.places.stored[v].buffer.name] for v in graph.g_ys]
        self.g_carry_slots = [self._ends(f"g_carry{i}") for i in range(len(graph.carry))]
        names = {b.outside: b.name for b in self.schedule.buffers if b.outside}
        number = {v: i for i, v in enumerate(d.totals)}
        self.g_x_slots: list[tuple[Value, int]] = []
        self.g_row_slots: list[tuple[Value, int, int]] = []
        self.g_given: list[tuple[Value, int, Value, list[tuple[Value, int, str]]]] = []
        for v, gradient in graph.gradients.items():
            if v.kind == "x":
                self.g_x_slots.append((v, place_of[names[f"gx{v.index}"]]))
            elif v.kind != "carry" and labels[gradient] == TOTAL:
                position = len(graph.xs) + len(graph.carry) + self.given.index(v)
                totals = [(leaf, f"total{number[leaf]}") for leaf in self._leaves(d, gradient)]
                leaves = [(leaf, place_of[name], name) for leaf, name in totals]
                self.g_given.append((v, position, gradient, leaves))
            elif v.kind != "carry":
                self.g_row_slots.append((v, place_of[d.totals[gradient][1].buffer.name], self._axis(v)))

    def _leaves(self, d: Any, v: Value) -> Sequence[Value]:
        """The totals that a total is made of."""
        if d.totals[v][0] != "op":
            return [v]
        return [leaf for a in v.args if self.labels.get(a) == TOTAL for leaf in self._leaves(d, a)]

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


class Layout:
    """Where the buffers of a run lie, for one T and B."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan = plan
        T, B = call.T, call.B
        size = plan.dtype.itemsize
        buffers = plan.schedule.buffers
        self.masks = [self._mask(b, call.saving) for b in buffers]
        self.rows = [self._rows(b, mask, T, B) for b, mask in zip(buffers, self.masks, strict=True)]
        self.blocks: dict[str, tuple[list[tuple[int, int]], int]] = {}
        seen: set[str] = set()
        for side in plan.module.stages:
            slots, offsets, total = [], [], 0
            for slot, (b, rows) in enumerate(zip(buffers, self.rows, strict=True)):
                outside = b.kind == "given" or b.name in plan.y_buffers
                outside |= bool(b.outside) and not b.outside.startswith("carry")
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
            self.blocks[side] = (list(zip(slots, offsets, strict=True)), total)
        header = {
            "forward": [T, B, int(call.reverse), int(call.lengths is not None), call.read, call.write],
            "backward": [T, B, int(not call.reverse), int(call.lengths is not None), call.read, call.write],
        }
        rest = [*self.masks, *plan.module.sizes]
        self.integers = {side: np.array([*h, *rest], np.int64) for side, h in header.items()}
        self.addresses = {side: integers.ctypes.data for side, integers in self.integers.items()}
        skipped = {"read": call.read, "write": call.write}
        self.mixed: set[str] = set()  # sides with stages that are not our own code
        self.most: dict[str, float] = {}  # flops of a turn
        self.turns: dict[str, list[list[tuple[str, Task]]]] = {}  # what each task is wanted for, and it
        for side, stages in plan.module.stages.items():
            turns: list[list[tuple[str, Task]]] = []
            together = False  # sums over the batch do not wait for each other
            for stage in stages:
                function, work = plan.functions[stage.name], plan.large.get(stage.name)
                if work is not None and by_blas(plan, work, T * B, function):
                    task, sums = Task(in_place_of(work, plan.dtype, T, B, skipped), 1, 1, 0.0), False
                    self.mixed.add(side)
                else:
                    task, sums = self._task(stage, function, T, B), stage.over.isdecimal()
                if not (sums and together):
                    turns.append([])
                turns[-1].append((stage.wanted, task))
                together = sums
            self.turns[side] = turns
            self.most[side] = max(sum(task.flops for _, task in turn) for turn in turns)
        self.pointers = ctypes.c_uint64 * len(plan.place_of)
        shapes = {b.name: (rows, b.size) for b, rows in zip(buffers, self.rows, strict=True)}
        self.outputs = [(plan.place_of[name], shapes[name]) for name in sorted(plan.y_buffers)]
        self.ys: list[tuple[int, int, int]] = []
        for place in plan.schedule.forward.y_places:
            start = 0
            if place.buffer.kind == "carry":
                start = (call.read if place.when == "read" else call.write) * B
            self.ys.append((plan.place_of[place.buffer.name], start, start + T * B))

    def _packed_in(self, side: str, name: str) -> bool:
        direction = getattr(self.plan.schedule, side)
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

    def _task(self, stage: Any, function: Any, T: int, B: int) -> Task:
        match stage.over:
            case "once":
                return Task(function, 1, 1, 0.0)
            case "rows":
                return Task(function, B, 8, stage.flops * T * B)
            case "all":
                return Task(function, T * B, 8, stage.flops * T * B)
            case columns:
                return Task(function, int(columns), self.plan.columns, stage.flops * T * B)


class _Run:
    """The addresses of one call, and the arrays behind them."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan, self.call = plan, call
        self.layout = plan.layout(call)
        self.pointers = [0] * len(plan.place_of)
        self.alive: list[Any] = []  # arrays whose addresses are in use
        self.invariants: dict[Value, Any] = dict(zip(plan.given, call.given, strict=True))
        self.wanted: set[str] = set()

    def _shape(self, v: Value) -> tuple[int, ...]:
        return shape_at(v.shape, self.plan.labels[v], self.call.B)

    def _give(self, slot: int, array: np.ndarray) -> None:
        """An array to read, or to write, at a pointer's place."""
        if array.dtype is not self.plan.dtype or not array.flags.c_contiguous:
            array = np.ascontiguousarray(array, self.plan.dtype)
        self.alive.append(array)
        self.pointers[slot] = address(array)

    def _empty(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, self.plan.dtype)
        self.pointers[slot] = address(array)
        return array

    def _room(self, side: str) -> np.ndarray:
        """The block of memory that a side works in."""
        internal, total = self.layout.blocks[side]
        room = _take(total + LINE)
        start = -(-address(room) // LINE) * LINE
        pointers = self.pointers
        for slot, offset in internal:
            pointers[slot] = start + offset
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
        pointers = layout.pointers(*self.pointers)
        integers, numbers = layout.addresses[side], self.plan.numbers_at
        if side not in layout.mixed and (call.threads == 1 or layout.most[side] < 2 * threads.WORTH):
            chosen = 0
            for bit, wanted in self.plan.bits[side]:
                if not wanted or wanted in self.wanted:
                    chosen |= bit
            self.plan.whole[side](pointers, integers, numbers, chosen, 0)
            return
        for turn in layout.turns[side]:
            tasks = [task for wanted, task in turn if not wanted or wanted in self.wanted]
            do(tasks, (pointers, integers, numbers), call.threads)

    def forward(self) -> tuple[list[Any], list[Any]]:
        plan, call, layout = self.plan, self.call, self.layout
        self.room = self._room("forward")
        for slot, x in zip(plan.x_slots, call.xs, strict=True):
            self._give(slot, x)
        for slot, v in plan.once:
            self._give(slot, self._value(v))
        for slot, v, axis in plan.row_wise:
            self._give(slot, np.moveaxis(self._value(v), axis, 0))
        if plan.lengths_slot is not None:
            lengths = _NONE if call.lengths is None else np.ascontiguousarray(call.lengths, np.int64)
            self.alive.append(lengths)
            self.pointers[plan.lengths_slot] = address(lengths)
        outputs = {slot: self._empty(slot, shape) for slot, shape in layout.outputs}
        self.alive += outputs.values()
        last: list[Any] = []
        for i, (c, (enter, leave)) in enumerate(zip(call.carry, plan.carry_slots, strict=True)):
            if enter is not None:
                self._give(enter, c)
            last.append(self._fixed(i) if leave is None else self._empty(leave, c.shape))
        self._stages("forward")
        ys = []
        for (slot, start, stop), v in zip(layout.ys, plan.graph.ys, strict=True):
            ys.append(outputs[slot][start:stop].reshape(call.T, *self._shape(v)))
        if not call.saving:
            _give_back(self.room)
        return last, ys

    def _fixed(self, i: int) -> np.ndarray:
        """A last carry that the step does not compute: a constant, or another carry passed on."""
        v, like = self.plan.graph.carry_out[i], self.call.carry[i]
        if v in self.plan.graph.carry:
            return self.call.carry[v.index]
        return np.broadcast_to(np.asarray(self._value(v), self.plan.dtype), like.shape).copy()

    def backward(self, g_carry: list[Any], g_ys: list[Any]) -> dict[Value, Any]:
        plan, call = self.plan, self.call
        room = self._room("backward")
        self.wanted = set()
        for slot, y in zip(plan.g_y_slots, g_ys, strict=True):
            self._give(slot, y)
        results: dict[Value, Any] = {}
        for v, g, (enter, leave) in zip(plan.graph.carry, g_carry, plan.g_carry_slots, strict=True):
            if enter is not None:
                self._give(enter, g)
            if leave is not None:
                results[v] = self._empty(leave, g.shape)
        for v, slot in plan.g_x_slots:
            results[v] = self._empty(slot, call.xs[v.index].shape)
            if call.needs[v.index]:
                self.wanted.add(f"gx{v.index}")
        for v, slot, axis in plan.g_row_slots:
            shape = self._shape(v)
            rows = self._empty(slot, (call.B, *shape[:axis], *shape[axis + 1 :]))
            results[v] = np.moveaxis(rows, 0, axis)
        made: dict[Value, np.ndarray] = {}
        for _, position, _, leaves in plan.g_given:
            if call.needs[position]:
                for leaf, slot, wanted in leaves:
                    if leaf not in made:
                        made[leaf] = self._empty(slot, leaf.shape)
                        self.wanted.add(wanted)
        self._stages("backward")
        for v, position, gradient, _ in plan.g_given:
            if call.needs[position]:
                total = made[gradient] if gradient in made else self._total(gradient, made)
                results[v] = total if total.shape == v.shape else total.reshape(v.shape)
        if call.lengths is not None:
            for i, v in enumerate(plan.graph.carry):  # rows without any step pass their cotangent on
                if v not in results:
                    none = (call.lengths == 0).reshape(-1, *(1,) * (len(v.shape) - 1))
                    results[v] = np.where(none, g_carry[i], g_carry[i].dtype.type(0))
        _give_back(room)
        _give_back(self.room)
        return results

    def _total(self, v: Value, made: dict[Value, np.ndarray]) -> np.ndarray:
        """A sum over the batch and time, made of others."""
        if v in made:
            return made[v]
        args = [self._total(a, made) if self.plan.labels.get(a) == TOTAL else self._value(a) for a in v.args]
        assert v.op is not None
        xp = [np] if v.op.takes_xp else []
        return np.asarray(v.op.forward(*xp, *args, **v.params))


KEPT = 1 << 29  # bytes of blocks that wait for the next run, beyond the two latest
_idle: list[np.ndarray] = []


def _take(size: int) -> np.ndarray:
    """A block of memory, of a run that is over if there is one of that size.

    New memory is handed out page by page as it is first touched: for a short loop that takes longer than the loop.
    """
    for i, room in enumerate(_idle):
        if room.size == size:
            try:
                return _idle.pop(i)
            except IndexError:  # another thread was faster
                break
    return np.empty(size, np.uint8)


def _give_back(room: np.ndarray) -> None:
    """Keep a block for the next run."""
    if room.size >= SMALL:
        _idle.append(room)
        while len(_idle) > 2 and (len(_idle) > 16 or sum(r.size for r in _idle) > KEPT):
            del _idle[0]


_NONE = np.zeros(1, np.int64)
