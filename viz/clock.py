"""When each value was computed, as a column of the picture: sequences that follow each other do not share columns.

Every loop counts its steps from 0. Layers, directions and heads of one sequence belong into the same columns; the
chunks of truncated BPTT, or a decoder after its encoder, continue to the right. The data flow tells which is which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .read import Value

Run = tuple[str, int]  # the tags of a loop without its time, and how often it has begun anew


def set_clock(values: list[Value]) -> None:
    """Shift the times of sequences that come after others.

    Two loops run side by side when most of what passes between them stays within a step; else the later one, if it
    reads from the earlier one at all, begins after its end.
    """
    run = _runs(values)
    same: Counter[tuple[Run, Run]] = Counter()
    other: Counter[tuple[Run, Run]] = Counter()
    for v in run:
        for use in v.used_by:
            if use.target in run and run[use.target] != run[v]:
                pair = run[v], run[use.target]
                (same if use.target.time == v.time else other)[pair if pair[0] < pair[1] else pair[::-1]] += 1

    sequence = _join(dict.fromkeys(run.values()), [pair for pair in same if same[pair] >= other[pair]])
    length: dict[Run, int] = defaultdict(int)
    first: dict[Run, int] = {}
    before: dict[Run, set[Run]] = defaultdict(set)
    for v in run:
        here = sequence[run[v]]
        length[here] = max(length[here], (v.time or 0) + 1)
        first[here] = min(first.get(here, v.time or 0), v.time or 0)
        before[here] |= {sequence[run[use.source]] for use in v.uses if use.source in run} - {here}
    start: dict[Run, int] = {}
    for here in length:  # in the order in which they began
        end = max((start[past] + length[past] for past in before[here] if past in start), default=0)
        start[here] = max(end - first[here], 0)
    for v in run:
        v.time = (v.time or 0) + start[sequence[run[v]]]
    for v in values:
        if v.node is None:
            v.time = v.used_by[0].target.time


def _runs(values: list[Value]) -> dict[Value, Run]:
    """The run of every value that has a time: a loop with the same tags that comes back to a step begins anew."""
    run: dict[Value, Run] = {}
    seen: dict[str, set[int]] = defaultdict(set)
    last: dict[str, int] = {}
    number: Counter[str] = Counter()
    for v in values:
        if v.time is not None and v.node is not None:
            if v.time != last.get(v.strand) and v.time in seen[v.strand]:
                number[v.strand] += 1
                seen[v.strand].clear()
            seen[v.strand].add(v.time)
            last[v.strand] = v.time
            run[v] = v.strand, number[v.strand]
    return run


def _join(runs: dict[Run, None], pairs: list[tuple[Run, Run]]) -> dict[Run, Run]:
    """For each run one that stands for all that are joined to it, directly or not."""
    leader = {one: one for one in runs}

    def find(one: Run) -> Run:
        while leader[one] != one:
            one = leader[one]
        return one

    for one, other in pairs:
        leader[find(other)] = find(one)
    return {one: find(one) for one in runs}
