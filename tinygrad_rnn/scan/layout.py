"""Where everything that a run of machine code needs lies, for one length and batch size."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .blas import by_blas, in_place_of
from .run import Call
from .threads import Task

if TYPE_CHECKING:
    from .run_llvm import LlvmPlan

__all__ = ["LINE", "Layout"]

LINE = 64  # bytes in a cache line, where every buffer begins


class Block(NamedTuple):
    """The memory that a side works in: its buffers by slot, and arrays that Python fills or reads, by their shapes."""

    buffers: list[tuple[int, int]]  # slot, offset in bytes
    arrays: list[tuple[int, tuple[int, ...]]]  # offset, shape
    size: int


class Layout:
    """Where the buffers of a run lie, for one T and B."""

    def __init__(self, plan: LlvmPlan, call: Call) -> None:
        self.plan = plan
        T, B = call.T, call.B
        size = plan.dtype.itemsize
        buffers = plan.schedule.buffers
        self.masks = [self._mask(b, call.saving) for b in buffers]
        self.rows = [self._rows(b, mask, T, B) for b, mask in zip(buffers, self.masks, strict=True)]
        self.blocks: dict[str, Block] = {}
        arrays = {"forward": [v.shape for _, v, _ in plan.joined], "backward": list(plan.in_pieces.values())}
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
            places = []
            for shape in arrays[side]:
                places.append((total, shape))
                total += -(-prod(shape) * size // LINE) * LINE
            self.blocks[side] = Block(list(zip(slots, offsets, strict=True)), places, total)
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
