"""The executor in machine code: a run is a list of stages, each a native function over rows or columns.

The code knows no sizes. For each length and batch size a layout says once where everything lies: what is needed during
the run in one block of memory, what is handed out in arrays of its own. A call then only fills in addresses.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import threads
from .arrays import MARK, resolver
from .blas import large_products
from .graph import Refused, StepGraph, Value
from .layout import LINE, Layout
from .native import machine
from .rows import TOTAL, Label, batch_axes, shape_at
from .run import Call
from .threads import do

__all__ = ["LlvmPlan"]


SMALL = 1 << 15  # bytes: below this, memory comes from where the process has it already


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
        self.numbers_at = self.numbers.ctypes.data
        self.resolve = resolver()
        self.place_of = {name: i for i, name in enumerate([b.name for b in self.schedule.buffers] + self.module.extra)}
        self.layouts: dict[Any, Layout] = {}
        self.large = large_products(self)
        self._facts()

    def _facts(self) -> None:
        """What layouts ask: which buffers last a whole run, who makes them, where invariants come from."""
        schedule = self.schedule
        place_of, stored = self.place_of, schedule.places.stored
        given = [(place_of[p.buffer.name], v) for v, p in stored.items() if p.buffer.kind == "given"]
        self.joined = [(slot, v, at) for slot, v in given if (at := self._parts(v))]
        made = {v for _, v, _ in self.joined}
        self.once = [(slot, v) for slot, v in given if v not in made]
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

    def _parts(self, v: Value) -> list[int]:
        """Which captured arrays one is that is nothing but some of them side by side."""
        given = [self.given.index(a) for a in v.args if a in self.given]
        return given if v.name == "concatenate" and len(given) == len(v.args) else []

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
        self.g_given: list[tuple[Value, int, Value, list[tuple[Value, int, str]], Any]] = []
        for v, gradient in graph.gradients.items():
            if v.kind == "x":
                self.g_x_slots.append((v, place_of[names[f"gx{v.index}"]]))
            elif v.kind != "carry" and labels[gradient] == TOTAL:
                position = len(graph.xs) + len(graph.carry) + self.given.index(v)
                totals = [(leaf, f"total{number[leaf]}") for leaf in self._leaves(d, gradient)]
                leaves = [(leaf, place_of[name], name) for leaf, name in totals]
                self.g_given.append((v, position, gradient, leaves, _piece(gradient, leaves[0][0])))
            elif v.kind != "carry":
                self.g_row_slots.append((v, place_of[d.totals[gradient][1].buffer.name], self._axis(v)))
        whole = {gradient for *_, gradient, _, piece in self.g_given if piece is None}
        cut = [leaves[0][0] for *_, leaves, piece in self.g_given if piece is not None]
        self.in_pieces = {leaf: leaf.shape for leaf in cut if leaf not in whole}

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

    def _give(self, slot: int, values: np.ndarray) -> None:
        """An array to read, or to write, at a pointer's place."""
        if values.dtype is not self.plan.dtype or not values.flags.c_contiguous:
            values = np.ascontiguousarray(values, self.plan.dtype)
        self._place(slot, values)

    def _place(self, slot: int, values: np.ndarray) -> None:
        """Have an array's address at a pointer's place when stages run; the array lives as long as this run."""
        self.alive.append(values)
        self.pointers[slot] = id(values) | MARK

    def _empty(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        made = np.empty(shape, self.plan.dtype)
        self._place(slot, made)
        return made

    def _room(self, side: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """The block of memory that a side works in, and the arrays in it that are filled or read from here."""
        internal, arrays, total = self.layout.blocks[side]
        room = _take(total + LINE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(room))  # type: ignore[arg-type]
        start = -(-at // LINE) * LINE
        pointers = self.pointers
        for slot, offset in internal:
            pointers[slot] = start + offset
        return room, [np.ndarray(shape, self.plan.dtype, room, start - at + offset) for offset, shape in arrays]

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
        table = array("Q", self.pointers)
        pointers = self.plan.resolve(table)
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
        self.room, joined = self._room("forward")
        for slot, x in zip(plan.x_slots, call.xs, strict=True):
            self._give(slot, x)
        for slot, v in plan.once:
            self._give(slot, self._value(v))
        for (slot, v, parts), whole in zip(plan.joined, joined, strict=True):
            np.concatenate([call.given[i] for i in parts], v.params["axis"], whole)
            self._place(slot, whole)
        for slot, v, axis in plan.row_wise:
            self._give(slot, np.moveaxis(self._value(v), axis, 0))
        if plan.lengths_slot is not None:
            lengths = _NONE if call.lengths is None else np.ascontiguousarray(call.lengths, np.int64)
            self._place(plan.lengths_slot, lengths)
        outputs = {slot: self._empty(slot, shape) for slot, shape in layout.outputs}
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
        room, pieced = self._room("backward")
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
        ours = dict(zip(plan.in_pieces, pieced, strict=True))
        for _, position, _, leaves, _ in plan.g_given:
            if call.needs[position]:
                for leaf, slot, wanted in leaves:
                    if leaf in made:
                        continue
                    if leaf in ours:
                        made[leaf] = ours[leaf]
                        self._place(slot, made[leaf])
                    else:
                        made[leaf] = self._empty(slot, leaf.shape)
                    self.wanted.add(wanted)
        self._stages("backward")
        for v, position, gradient, leaves, piece in plan.g_given:
            if call.needs[position]:
                if piece is not None:
                    total = made[leaves[0][0]][piece].copy()
                else:
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
        if v.kind == "pick":
            return args[0][v.index]
        assert v.op is not None
        xp = [np] if v.op.takes_xp else []
        made[v] = v.op.forward(*xp, *args, **v.params)
        return made[v]


def _piece(v: Value, whole: Value) -> tuple[slice, ...] | None:
    """Where in a sum over the batch and time a gradient lies that is one piece of it; None for any other."""
    if v.kind != "pick" or v.args[0].name != "split" or v.args[0].args[0] is not whole:
        return None
    params = v.args[0].params
    before = (slice(None),) * (params["axis"] % len(whole.shape))
    return (*before, slice((0, *params["cuts"])[v.index], (*params["cuts"], None)[v.index]))


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
