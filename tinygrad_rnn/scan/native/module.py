"""All native functions of a step, and the stages, calls of them one after the other, that make a run."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from llvmlite import ir

from ..graph import Value
from . import ends, steps
from .direction import AFTER, BEFORE, LOOP, Direction, Unit
from .function import SIGNATURE, Function
from .lanes import INT, Lanes
from .schedule import Schedule
from .slots import HEADER, Slots, weight_name

__all__ = ["HEADER", "Module", "Stage"]


class Stage(NamedTuple):
    """One call of the run: a function over a range, and what it is needed for ("" always, else a gradient's name)."""

    name: str
    over: str  # what the range counts: "once", "rows" (B), "all" (T·B), or columns as a number in text
    wanted: str = ""
    flops: float = 0.0  # about, of each of the T·B rows
    work: tuple[str, Any, Any] | None = None  # ("product", it, which term), ("outer", the sum, its factors)


class Module:
    """A module with the functions of both directions, in the order of their stages, and what they must be given.

    Each direction has ``begin``, what is done for all T·B rows before the loop, the loop, what is done after it, the
    sums over the batch, and ``end``; ``forward_whole`` and ``backward_whole`` run all of it on one thread.
    """

    def __init__(self, schedule: Schedule, lanes: Lanes) -> None:
        self.schedule, self.lanes = schedule, lanes
        self.ir = ir.Module("scan")
        self.stages: dict[str, list[Stage]] = {}
        directions = {"forward": schedule.forward, "backward": schedule.backward}
        sides = {side: d for side, d in directions.items() if d is not None}
        for d in sides.values():  # all buffers, before they are numbered
            for p in d.products.values():
                for v in [*[term.weight for term in p.terms], *filter(None, [p.bias])]:
                    schedule.places.find(v)
        self.slots = Slots(schedule.buffers)
        for side, d in sides.items():
            self.stages[side] = []
            self._direction(side, d)
            self._whole(side)

    @property
    def sizes(self) -> list[int]:
        """The integers beyond the header and the masks."""
        return self.slots.sizes

    @property
    def numbers(self) -> list[float]:
        """The real numbers of the step."""
        return self.slots.numbers

    @property
    def extra(self) -> list[str]:
        """The pointers beyond the buffers, by name."""
        return self.slots.extra

    @property
    def packed(self) -> dict[str, tuple[int, int]]:
        """The shapes of packed weights, by the name of their pointer."""
        return self.slots.packed

    def weight_name(self, v: Value) -> str:
        """The name of the pointer to a packed weight."""
        place = self.schedule.places.find(v)
        assert place is not None
        return weight_name(v, place)

    def _direction(self, side: str, d: Direction) -> None:
        weights = {self.weight_name(term.weight): term.weight for p in d.products.values() for term in p.terms}
        ends.write_begin(self._function(d, f"{side}_begin", "once"), weights)
        self._around(side, d, BEFORE)
        in_loop = [_of_product(term.weight) for p in d.products.values() for term in p.terms if term.phase == LOOP]
        in_loop += map(_of_regions, d.groups[LOOP].values())
        steps.write_loop(self._function(d, side, "rows", sum(in_loop)))
        self._around(side, d, AFTER)
        for i, (v, (how, what)) in enumerate(d.totals.items()):
            name = f"total{i}"
            if how == "outer":
                work = ("outer", v, what)
                outer = self._function(d, f"{side}_{name}", str(v.shape[-1]), _of_product(v), name, work)
                ends.write_outer(outer, v, what, name)
            elif how == "sum":
                buffer = what.buffer
                ends.write_fold(self._function(d, f"{side}_{name}", str(buffer.size), 0.0, name), buffer, name)
        ends.write_end(self._function(d, f"{side}_end", "once"))

    def _around(self, side: str, d: Direction, phase: str) -> None:
        """The products and regions over all T·B rows, in the order of their levels."""
        terms = [(p, n) for p in d.products.values() for n, term in enumerate(p.terms) if term.phase == phase]
        levels = d.groups[phase]
        for level in range(max([0, *levels, *[p.levels[n] for p, n in terms]]) + 1):
            for i, (p, n) in enumerate(terms):
                if p.levels[n] == level:
                    outside = p.place.buffer.outside
                    wanted = outside if outside.startswith("gx") else ""
                    name = f"{side}_{phase}{level}_product{i}"
                    function = self._function(d, name, "all", _of_product(p.terms[n].weight), wanted, ("product", p, n))
                    steps.write_product(function, p, n)
            if level in levels:
                region = self._function(d, f"{side}_{phase}{level}", "all", _of_regions(levels[level]))
                steps.write_rows(region, levels[level])

    def _function(
        self, d: Direction, name: str, over: str, flops: float = 0.0, wanted: str = "", work: Any = None
    ) -> Function:
        self.stages[name.partition("_")[0]].append(Stage(name, over, wanted, flops, work))
        return Function(self.ir, name, d, self.slots, self.lanes)

    def _whole(self, side: str) -> None:
        """``side_whole``: all stages one after the other on one thread, those whose bit is set in ``first``."""
        f = ir.Function(self.ir, SIGNATURE, f"{side}_whole")
        b = ir.IRBuilder(f.append_basic_block("entry"))
        pointers, integers, numbers, chosen, _ = f.args

        def integer(slot: int) -> Any:
            return b.load(b.gep(integers, [INT(slot)], source_etype=INT), typ=INT)

        T, B = HEADER.index("T"), HEADER.index("B")
        counts = {"once": INT(1), "rows": integer(B), "all": b.mul(integer(T), integer(B))}
        for i, stage in enumerate(self.stages[side]):
            with b.if_then(b.icmp_signed("!=", b.and_(chosen, INT(1 << i)), INT(0))):
                known = stage.over in counts
                count = counts[stage.over] if known else integer(self.slots.size(int(stage.over)))
                b.call(self.ir.globals[stage.name], [pointers, integers, numbers, INT(0), count])
        b.ret_void()


def _of_product(weight: Value) -> float:
    """The flops of a product with a weight, for each row."""
    return 2.0 * prod(weight.shape)


def _of_regions(groups: list[list[Unit]]) -> float:
    """The flops of loop nests for each row: an op takes its entries as long as a product takes some eight flops."""
    units = [unit for group in groups for unit in group]
    return 8.0 * sum(prod(unit.sizes.values()) * len(unit.evaluated) for unit in units)
