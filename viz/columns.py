"""Where the nodes of each column stand, left to right; steps that compute the same are laid out once, and alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .grid import Grid
from .layered import layered
from .trace import Trace

BARS = -1  # stands for a column of its own: the bars above and below all steps


@dataclass(frozen=True)
class Columns:
    """Relative to the axis of each column: x of the nodes, (row, x) where edges bend or touch a bar, and the reach."""

    x: dict[str, float]
    bends: dict[int, list[tuple[int, float]]]  # by place of the edge in the trace
    reach: list[tuple[float, float]]  # of each column to the left and to the right; all steps have the same
    bars: tuple[float, float]  # reach of the bars that do not span the steps


@dataclass(frozen=True)
class _Drawing:
    x: dict[Any, float]
    paths: dict[Any, list[tuple[int, float]]]
    reach: tuple[float, float]


def place(trace: Trace, grid: Grid, extents: Mapping[str, tuple[float, float]]) -> Columns:
    """Lay out every column; `extents` says how far each node reaches to its left and right.

    A node is known by its row, op, role and number among those, an edge by its two ends: a step that has the nodes and
    edges of another, or some of them, is drawn like it. An edge to a bar ends at a point of its own in the bar's row.
    """
    alias, members = _aliases(trace, grid)
    inner, enters, leaves = _edges_inside(trace, grid, alias)
    reach: dict[Any, tuple[float, float]] = {}
    for name, (left, right) in extents.items():
        near, far = reach.get(alias[name], (0.0, 0.0))
        reach[alias[name]] = max(near, left), max(far, right)

    drawings: list[_Drawing] = []
    reaches: dict[int, tuple[float, float]] = {}
    x: dict[str, float] = {}
    bends: dict[int, list[tuple[int, float]]] = {}
    for at in sorted(members, key=lambda at: -len(members[at]) - len(inner[at])):  # others reuse the fullest
        nodes = [alias[name] for name in members[at]]
        known = (d for d in drawings if all(n in d.x for n in nodes) and inner[at].keys() <= d.paths.keys())
        drawing = next(known, None)
        if drawing is None:
            drawing = _draw(nodes, list(inner[at]), reach, enters - leaves, leaves - enters)
            drawings.append(drawing)
        reaches[at] = drawing.reach
        x.update((name, drawing.x[alias[name]]) for name in members[at])
        bends.update((edge, drawing.paths[key]) for key, edge in inner[at].items())

    steps = {at for at in range(len(grid.times)) if grid.time(at) is not None}
    left, right = (max((reaches[at][side] for at in steps), default=0.0) for side in (0, 1))
    reach_of = [(left, right) if at in steps else reaches[at] for at in range(len(grid.times))]
    return Columns(x, bends, reach_of, reaches.get(BARS, (0.0, 0.0)))


def _aliases(trace: Trace, grid: Grid) -> tuple[dict[str, Any], dict[int, list[str]]]:
    """What each node is known by, and the nodes of each column."""
    alias: dict[str, Any] = {}
    members: dict[int, list[str]] = defaultdict(list)
    seen: Counter[Any] = Counter()
    for node in trace.nodes:
        if node.id in grid.row:
            at = grid.column.get(node.id, BARS)
            kind = (grid.row[node.id], node.op, node.role)
            alias[node.id] = (*kind, seen[at, kind])
            seen[at, kind] += 1
            members[at].append(node.id)
    return alias, members


def _edges_inside(
    trace: Trace, grid: Grid, alias: dict[str, Any]
) -> tuple[dict[int, dict[Any, int]], set[Any], set[Any]]:
    """The edges within each column, (low end, high end, argument) → place in the trace; what others enter, leave."""
    inner: dict[int, dict[Any, int]] = defaultdict(dict)
    enters: set[Any] = set()
    leaves: set[Any] = set()
    for number, edge in enumerate(trace.edges):
        a, b = edge.source, edge.target
        if a not in grid.row or b not in grid.row:
            continue
        at, to = grid.column.get(a, BARS), grid.column.get(b, BARS)
        if BARS not in (at, to) and at != to:
            (leaves if at < to else enters).add(alias[a])
            (enters if at < to else leaves).add(alias[b])
        elif grid.row[a] < grid.row[b]:
            low = ("from bar", alias[a], alias[b]) if at == BARS != to else alias[a]
            high = ("to bar", alias[b], alias[a]) if to == BARS != at else alias[b]
            inner[max(at, to)][low, high, edge.argument] = number
    return inner, enters, leaves


def _draw(
    nodes: list[Any], edges: list[Any], reach: dict[Any, tuple[float, float]], enters: set[Any], leaves: set[Any]
) -> _Drawing:
    def row(alias: Any) -> int:
        return alias[1][0] if _at_bar(alias) else alias[0]

    rows: dict[Any, float] = {node: row(node) for node in nodes}
    for low, high, _ in edges:
        rows[low] = row(low) + 0.5 * _at_bar(low)  # from a bar upwards: does not compete with what comes from below
        rows[high] = row(high)
    made = layered(
        rows,
        {end: reach.get(end, (0.0, 0.0)) for end in rows},
        [(low, high) for low, high, _ in edges],
        leftmost=frozenset(enters),
        rightmost=frozenset(leaves),
    )
    paths = {}
    for key, turns in zip(edges, made.bends):
        first, last = ([(row(end), made.x[end])] if _at_bar(end) else [] for end in key[:2])
        paths[key] = first + turns + last
    return _Drawing(made.x, paths, (made.left, made.right))


def _at_bar(alias: Any) -> bool:
    return alias[0] in ("from bar", "to bar")
