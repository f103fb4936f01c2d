"""Which stored values may lie where another one lay: the gates over what they were made of, their cotangents over them.

A series of T·B rows that no one reads after a certain loop of the step can host another that is written in that loop or
later, as long as no entry is written before it was read for the last time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..graph import StepGraph, Value
from .direction import LOOP, PHASES, Direction, Root, Unit
from .index import Ix
from .places import Buffer

__all__ = ["guests"]

Range = tuple[int, int]  # of entries in a row: from, to before


class Access(NamedTuple):
    """One reading of a buffer: when in a step, and where in its row."""

    level: int
    group: int
    linear: Ix
    first: int
    last: int


def guests(graph: StepGraph, forward: Direction, backward: Direction | None) -> dict[Value, tuple[Value, int]]:
    """For each value that can lie in another's buffer: that other one, a product's result, and where in its row."""
    found: dict[Value, tuple[Value, int]] = {}
    for host in forward.products.values():
        buffer = host.place.buffer
        if buffer.kind != "step" or buffer.outside or host.place.offset or host.value in graph.carry_out:
            continue
        reads = _loop_reads(forward, {buffer.name: 0})
        if reads is None or (backward is not None and _uses(backward, buffer.name)):
            continue
        taken: list[Range] = []
        shifts = {buffer.name: 0}  # where in the host's row each of its guests begins
        for root in forward.roots.values():
            size = root.place.buffer.size
            at = _free(root, buffer, reads, taken, range(0, buffer.size - size + 1, max(size, 1)))
            if at is not None and root.value not in found:
                found[root.value] = (host.value, at)
                taken.append((at, at + size))
                shifts[root.place.buffer.name] = at
        if backward is None:
            continue
        reads = _loop_reads(backward, shifts)
        if reads is None:
            continue
        for root in backward.roots.values():
            fits = root.value not in found and root.place.buffer.size == buffer.size
            if fits and _free(root, buffer, reads, [], [0]) == 0:
                found[root.value] = (host.value, 0)
                break
    return found


def _units(d: Direction, phase: str) -> Iterator[tuple[int, int, Unit]]:
    """The units of a phase, with the level and the loop that each is in."""
    for level, groups in d.groups[phase].items():
        for i, group in enumerate(groups):
            for unit in group:
                yield level, i, unit


def _uses(d: Direction, name: str) -> bool:
    return name in d.used_buffers() or name in _in_totals(d)


def _in_totals(d: Direction) -> set[str]:
    """The buffers that gradients of weights are made from."""
    return {place.buffer.name for how, what in d.totals.values() if how == "outer" for place in what}


def _loop_reads(d: Direction, shifts: Mapping[str, int]) -> list[Access] | None:
    """All readings of some buffers, when all of them happen in regions of the loop; else None."""
    operands = {d.operand_place(term.operand).buffer.name for p in d.products.values() for term in p.terms}
    if not shifts.keys().isdisjoint(operands | _in_totals(d)):
        return None
    found = []
    for phase in PHASES:
        for level, group, unit in _units(d, phase):
            for place, linear in unit.reads:
                if place.buffer.name in shifts:
                    if phase != LOOP:
                        return None
                    at = linear + shifts[place.buffer.name]
                    found.append(Access(level, group, at, at.offset, at.top(unit.sizes)))
    return found


def _free(root: Root, host: Buffer, reads: list[Access], taken: list[Range], starts: Iterable[int]) -> int | None:
    """Where in the host's row a root may be written, if anywhere: the first of some places."""
    buffer = root.place.buffer
    if buffer.kind != "step" or buffer.outside or root.phase != LOOP or root.place.offset or root.add or buffer is host:
        return None
    if any(unit.reduced for unit in root.units):
        return None
    for at in starts:
        if any(at < stop and start < at + buffer.size for start, stop in taken):
            continue
        if all(_safe(root, unit, at, reads) for unit in root.units):
            return at
    return None


def _safe(root: Root, unit: Unit, at: int, reads: list[Access]) -> bool:
    """Whether a unit may write into the host: no entry of its range is read later, or in the same loop elsewhere."""
    target = unit.target + at
    first, last = target.offset, target.top(unit.sizes)
    for read in reads:
        if read.last < first or read.first > last:
            continue
        earlier = (read.level, read.group) < (root.level, unit.group)
        together = (read.level, read.group) == (root.level, unit.group) and read.linear == target
        if not earlier and not together:
            return False
    return True
