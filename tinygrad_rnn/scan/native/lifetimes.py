"""Which stored values may lie where another one lay: the gates over what they were made of, their cotangents over them.

A series of T·B rows that no one reads after a certain loop of the step can host another that is written in that loop or
later, as long as no entry is written before it was read for the last time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..trace import Value
from .index import Ix

if TYPE_CHECKING:
    from .schedule import Buffer, Direction, Root, Schedule, Unit

__all__ = ["guests"]

LOOP = "loop"


class Access(NamedTuple):
    """One reading of a buffer: when in a step, and where in its row."""

    level: int
    group: int
    linear: Ix
    first: int
    last: int


def guests(schedule: Schedule) -> dict[Value, tuple[Value, int]]:
    """For each value that can lie in another's buffer: that other one, a product's result, and where in its row."""
    found: dict[Value, tuple[Value, int]] = {}
    for host in schedule.forward.products.values():
        buffer = host.place.buffer
        if buffer.kind != "step" or buffer.outside or host.place.offset or host.value in schedule.graph.carry_out:
            continue
        forward = _loop_reads(schedule.forward, {buffer.name})
        if forward is None or (schedule.backward is not None and _uses(schedule.backward, buffer.name)):
            continue
        taken: list[tuple[int, int]] = []
        names = {buffer.name}
        for root in list(schedule.forward.roots.values()):
            at = _free(root, buffer, forward, taken)
            if at is not None and root.value not in found:
                found[root.value] = (host.value, at)
                taken.append((at, at + root.place.buffer.size))
                names.add(root.place.buffer.name)
        if schedule.backward is None:
            continue
        shifts = {r.place.buffer.name: found[v][1] for v, r in schedule.forward.roots.items() if v in found and found[v][0] is host.value}
        backward = _loop_reads(schedule.backward, names, shifts)
        if backward is None:
            continue
        for root in schedule.backward.roots.values():
            if root.value not in found and root.place.buffer.size == buffer.size and _free(root, buffer, backward, [], [0]) == 0:
                found[root.value] = (host.value, 0)
                break
    return found


def _units(direction: Direction, phase: str) -> Iterator[tuple[int, int, Unit]]:
    for level, groups in direction.groups[phase].items():
        for i, group in enumerate(groups):
            for unit in group:
                yield level, i, unit


def _uses(direction: Direction, name: str) -> bool:
    return name in direction.used_buffers() or any(
        how == "outer" and any(place.buffer.name == name for place in what) for how, what in direction.totals.values()
    )


def _loop_reads(direction: Direction, names: set[str], shifts: dict[str, int] | None = None) -> list[Access] | None:
    """All readings of some buffers, when all of them happen in regions of the loop; else None."""
    for p in direction.products.values():
        if any(direction.operand_place(operand).buffer.name in names for operand, *_ in p.terms):
            return None
    for how, what in direction.totals.values():
        if how == "outer" and any(place.buffer.name in names for place in what):
            return None
    found = []
    for phase in ("before", LOOP, "after"):
        for level, group, unit in _units(direction, phase):
            for place, linear in unit.reads:
                if place.buffer.name in names:
                    if phase != LOOP:
                        return None
                    at = linear + (shifts or {}).get(place.buffer.name, 0)
                    found.append(Access(level, group, at, at.offset, at.top(unit.sizes)))
    return found


def _free(
    root: Root, host: Buffer, reads: list[Access], taken: list[tuple[int, int]], places: list[int] | None = None
) -> int | None:
    """Where in the host's row a root may be written, if anywhere."""
    buffer = root.place.buffer
    if buffer.kind != "step" or buffer.outside or root.phase != LOOP or root.place.offset or root.add or buffer is host:
        return None
    if any(unit.reduced for unit in root.units):
        return None
    for at in places or range(0, host.size - buffer.size + 1, max(buffer.size, 1)):
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
