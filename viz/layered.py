"""Where the values of one time step stand, left to right: a layered drawing of a small graph whose rows are given.

Long edges get a place in every row that they pass (Sugiyama, Tagawa & Toda 1981), so no line runs through a node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Any

SEPARATION = 32.0  # free space between two neighbours of a row, in points: room for two lines and a number
SWEEPS = 8
NOTHING = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Columnar:
    """Positions around the column's axis x = 0, the bends (row, x) of long edges, and how far it all reaches."""

    x: dict[Hashable, float]
    bends: list[list[tuple[int, float]]]
    left: float
    right: float


def layered(
    rows: Mapping[Any, float],
    extents: Mapping[Any, tuple[float, float]],
    edges: Sequence[tuple[Any, Any]],
    *,
    leftmost: frozenset[Any] = frozenset(),
    rightmost: frozenset[Any] = frozenset(),
) -> Columnar:
    """Order each row to cross few edges and place it near its neighbours; a node alone in its row stands on the axis.

    A row may be a fraction (2.5 does not compete with 2 for space); a node of extent (0, 0) is a mere point of a line.

    `rows` gives the row of each node, `extents` how far it reaches to the left and right of its middle, `edges` pairs
    (lower, upper); a node in `leftmost` or `rightmost` goes to that end of its row, where the state comes in or leaves.

    >>> place = layered({"a": 0, "b": 1, "c": 2}, dict.fromkeys("abc", (10, 10)), [("a", "b"), ("b", "c"), ("a", "c")])
    >>> place.x["a"], place.x["b"], place.x["c"], place.bends[2]
    (0.0, 0.0, 0.0, [(1, 42.0)])
    """
    order: dict[float, list[Hashable]] = defaultdict(list)
    for node, row in rows.items():
        order[row].append(node)
    below, above = defaultdict(list), defaultdict(list)
    reach = dict(extents)
    chains: list[list[Hashable]] = []
    for place, (low, high) in enumerate(edges):
        chain: list[Hashable] = []
        for row in range(int(rows[low]) + 1, ceil(rows[high])):
            bend = ("bend", place, row)
            chain.append(bend)
            order[row].append(bend)
            reach[bend] = NOTHING
        chains.append(chain)
        for one, other in zip([low, *chain], [*chain, high]):
            above[one].append(other)
            below[other].append(one)

    def ends(node: Hashable) -> int:
        return -1 if node in leftmost else 1 if node in rightmost else 0

    sequence = sorted(order)
    for sweep in range(SWEEPS):
        neighbours, walk = (below, sequence) if sweep % 2 == 0 else (above, sequence[::-1])
        rank = {node: place - len(order[row]) / 2 for row in sequence for place, node in enumerate(order[row])}
        for row in walk:
            wish = {n: fmean(rank[m] for m in neighbours[n]) if neighbours[n] else rank[n] for n in order[row]}
            order[row].sort(key=lambda n: (ends(n), wish[n]))
            rank.update({node: place - len(order[row]) / 2 for place, node in enumerate(order[row])})

    x: dict[Hashable, float] = {}
    for row in sequence:
        x.update(_pack(order[row], dict.fromkeys(order[row], 0.0), reach))
    for sweep in range(2 * SWEEPS):
        neighbours, walk = (below, sequence) if sweep % 2 == 0 else (above, sequence[::-1])
        for row in walk:
            wish = {n: fmean(x[m] for m in neighbours[n]) if neighbours[n] else x[n] for n in order[row]}
            x.update(_pack(order[row], wish, reach))
    x = {node: round(at, 2) for node, at in x.items()}
    return Columnar(
        x={node: x[node] for node in rows},
        bends=[[(bend[2], x[bend]) for bend in chain] for chain in chains],  # type: ignore[index]
        left=max((reach[node][0] - at for node, at in x.items()), default=0.0),
        right=max((reach[node][1] + at for node, at in x.items()), default=0.0),
    )


def _pack(
    row: list[Hashable], wish: dict[Hashable, float], reach: Mapping[Hashable, tuple[float, float]]
) -> dict[Hashable, float]:
    """The wished positions, pushed apart just as far as the order and the separation demand."""

    def apart(one: Hashable, other: Hashable) -> float:
        return reach[one][1] + reach[other][0] + SEPARATION

    def rightwards(start: int) -> list[float]:
        at: list[float] = []
        for place, node in enumerate(row[start:], start):
            at.append(max(wish[node], at[-1] + apart(row[place - 1], node)) if at else wish[node])
        return at

    def leftwards(stop: int) -> list[float]:
        at: list[float] = []
        for place in range(stop - 1, -1, -1):
            node = row[place]
            at.append(min(wish[node], at[-1] - apart(node, row[place + 1])) if at else wish[node])
        return at[::-1]

    solid = [place for place, node in enumerate(row) if reach[node] != NOTHING]
    if len(solid) == 1:
        wish = {**wish, row[solid[0]]: 0.0}
        return dict(zip(row, leftwards(solid[0] + 1)[:-1] + rightwards(solid[0])))
    return {n: (a + b) / 2 for n, a, b in zip(row, leftwards(len(row)), rightwards(0))}
