"""The work of a compiled step, piece by piece: what each product and loop nest computes, its flops and its bytes.

A product of (M, K) and (K, N) counts as 2 M K N flops, any other op, tanh as well as add, as one for each of its
entries. Bytes are those that a piece reads and writes in memory or cache; what stays in registers is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from .graph import Value
from .names import Names
from .rows import INVARIANT, TOTAL

__all__ = ["COPIES", "FREE", "PHASES", "SIDES", "Piece", "pieces"]

SIDES = ("forward", "backward")
PHASES = ("once", "before", "loop", "after", "sums")
COPIES = {"concatenate", "stack", "astype"}
FREE = {
    "alias", "tap", "real", "split", "unstack", "getitem", "reshape", "spread", "broadcast_to", "swapaxes",
    "transpose", *COPIES,
}  # fmt: skip  # views and copies: no flops

Work = dict[str, dict[str, list["Piece"]]]


@dataclass(frozen=True)
class Piece:
    """One product, loop nest or sum, of one turn of its phase."""

    kind: str  # product, nest, sum, pack, value
    text: str
    size: str = ""
    flops: int = 0
    bytes: int = 0
    ops: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()  # what sums along the batch or time are added to
    lines: tuple[str, ...] = ()  # of the user's source


def pieces(plan: Any, names: Names, T: int, B: int) -> Work:
    """By side and phase the pieces of a plan, in order, for T steps of B rows."""
    return (_native if plan.name == "llvm" else _numpy)(plan, names, T, B)


def shape_of(*sizes: int) -> str:
    return " × ".join(f"{n:,}" for n in sizes)


def source_lines(values: Any) -> tuple[str, ...]:
    return tuple(sorted({v.line for v in values if v.line}, key=_place))


def _place(line: str) -> tuple[str, int]:
    file, _, number = line.rpartition(":")
    return file, int(number)


# machine code


def _native(plan: Any, names: Names, T: int, B: int) -> Work:
    found: Work = {side: {phase: [] for phase in PHASES} for side in SIDES}
    schedule, item = plan.schedule, plan.dtype.itemsize
    found["forward"]["once"] += [
        Piece("value", names(v), shape_of(*v.shape)) for v in plan.given if v.kind == "op" and v.name not in FREE
    ]
    for side, d in (("forward", schedule.forward), ("backward", schedule.backward)):
        if d is None:
            continue
        by_phase = found[side]
        weights = {id(w): w for p in d.products.values() for _, w, _ in p.terms}
        by_phase["once"] += [
            Piece("pack", names(w), shape_of(*w.shape), bytes=2 * prod(w.shape) * item) for w in weights.values()
        ]
        for phase in ("before", "loop", "after"):
            rows = B if phase == "loop" else T * B
            leveled = [
                (p.levels[n], 0, _product(names, p, n, rows, item))
                for p in d.products.values()
                for n, term in enumerate(p.terms)
                if term[2] == phase
            ]
            for level, groups in d.groups[phase].items():
                leveled += [(level, 1, _nest(plan.graph, names, units, rows, item)) for units in groups]
            by_phase[phase] += [piece for *_, piece in sorted(leveled, key=lambda each: each[:2])]
        sums = sorted(d.totals.items(), key=lambda total: total[1][0] == "op")  # what is made of others after them
        by_phase["sums"] += [
            _sum(names, v, how, T * B, B, item)
            for v, (how, _) in sums
            if how != "rows" and v.kind != "pick" and v.name not in FREE  # to be cut costs nothing
        ]
    return found


def _product(names: Names, p: Any, n: int, rows: int, item: int) -> Piece:
    operand, weight, _ = p.terms[n]
    (K, N), whole = weight.shape, names.known.get(p.value)
    turn = [(PHASES.index(phase), p.levels[i], i) for i, (_, _, phase) in enumerate(p.terms)]
    first = min(turn) == turn[n] and p.base is None
    text = f"{names(operand)} @ {names(weight)}"
    if first and p.bias is not None:
        text += f" + {names(p.bias)}"
    if whole:
        text = f"{whole} {'=' if first else '+='} {text}"
    flops = 2 * rows * K * N + (rows * N if first and p.bias is not None else 0)
    moved = rows * K + K * N + rows * N * (1 if first else 2)
    return Piece("product", text, shape_of(rows, K, N), flops, moved * item, lines=source_lines([p.value]))


def _nest(graph: Any, names: Names, units: list[Any], rows: int, item: int) -> Piece:
    """The loops that some units share: what is computed there, once each, and what is stored."""
    sizes = units[0].sizes
    inner = next(reversed(sizes), "")
    at = {v: i for i, v in enumerate(graph.values)}
    computed = {each for unit in units for each in unit.evaluated if each[0].name not in FREE}
    ops = [(at[v], v.name) for v, _ in computed]
    whole, outer = prod(sizes.values()), prod([n for name, n in sizes.items() if name != inner])

    def turns(index: tuple) -> int:
        """How often something is computed for a row: at every turn, or only outside the innermost loop."""
        return whole if any(name == inner for i in index if i is not None for name, _ in i.terms) else outer

    flops = sum(turns(index) for _, index in computed)
    reads: dict[Any, int] = {}
    written: set[Any] = set()
    stores: dict[Value, str] = {}  # once each, though there are units for its pieces
    adds: dict[Value, str] = {}
    for unit in units:
        for place, linear in unit.reads:
            key = (place.source, place.when, linear)
            if key not in written:
                reads[key] = prod([sizes[n] for n, _ in linear.terms]) * (1 if place.buffer.kind == "given" else rows)
        if not unit.root.add:  # what is stored here is read from its register
            written.add((unit.root.place.source, unit.root.place.when, unit.target))
        (adds if unit.root.add else stores)[unit.root.value] = names(unit.root.value)
        flops += whole if unit.root.add else 0
        if unit.reduced:
            ops.append((at[unit.value], unit.value.name))
            flops += whole * len(unit.operands)  # a product of two is also multiplied
    stored = sum(
        prod([sizes[n] for n, _ in u.target.terms]) * (2 if u.root.add else 1) for u in units
    )
    return Piece(
        "nest",
        f"each of {shape_of(*sizes.values())}" if sizes else "a row",
        flops=flops * rows,
        bytes=(sum(reads.values()) + stored * rows) * item,
        ops=tuple(name for _, name in sorted(ops)),
        stores=tuple(stores.values()),
        adds=tuple(adds.values()),
        lines=source_lines([v for v, _ in computed]),
    )  # fmt: skip


def _sum(names: Names, v: Value, how: str, rows: int, B: int, item: int) -> Piece:
    """A sum over the batch and time."""
    title = f"{names.known[v]} = " if v in names.known else ""
    if how == "outer":
        turned, g = v.args
        (M, N), a = v.shape, turned.args[0]
        moved = rows * (M + N) + M * N
        text, size = f"{title}{names(a)}ᵀ @ {names(g)}", shape_of(M, rows, N)
        return Piece("product", text, size, 2 * rows * M * N, moved * item)
    if how == "sum":
        n, groups = prod(v.shape), -(-B // 8)
        text = f"{title}Σ {names(v.args[0])}, of what was added up in the loop"
        return Piece("sum", text, "", n * groups, n * (groups + 1) * item)
    return Piece("sum", f"{title}{v.name} of such sums", "", prod(v.shape))


# NumPy


def _numpy(plan: Any, names: Names, T: int, B: int) -> Work:
    found: Work = {side: {phase: [] for phase in PHASES} for side in SIDES}
    graph, labels = plan.graph, plan.labels
    for v in graph.values:
        if v.kind != "op" or v.name in FREE - COPIES:
            continue
        backward, home = plan.homes[v]
        side = "backward" if backward else "forward"
        rows = B if home == "loop" else T * B
        phase = "sums" if labels[v] == TOTAL and home == "after" else home
        piece = _call(names, v, labels, graph.batch, 1 if home == "once" else rows)
        at = found[side][phase]
        if piece.kind == "nest" and at and at[-1].kind == "nest":
            piece = _together(at.pop(), piece)
        at.append(piece)
    return found


def _together(a: Piece, b: Piece) -> Piece:
    return Piece(
        "nest", "a call each", "", a.flops + b.flops, a.bytes + b.bytes, a.ops + b.ops,
        lines=tuple(sorted({*a.lines, *b.lines}, key=_place)),
    )  # fmt: skip


def _call(names: Names, v: Value, labels: dict[Value, Any], batch: int, rows: int) -> Piece:
    """An op of the graph as a NumPy call on ``rows`` rows."""

    def entries(x: Value) -> int:
        if x.kind in ("number", "fill"):
            return 0
        return prod(x.shape) * rows // batch if isinstance(labels[x], int) else prod(x.shape)

    moved = sum(entries(a) for a in v.args) + entries(v)
    moved *= v.dtype.itemsize if v.dtype is not None else 0
    if labels[v] == INVARIANT:
        return Piece("value", names(v), shape_of(*v.shape), prod(v.shape), moved)
    name = names.known.get(v)
    title = f"{name} = " if name else ""
    if v.name == "matmul":
        a, b = v.args
        K = rows if labels[v] == TOTAL else a.shape[-1]
        M, N = v.shape[-2:]
        if len(v.shape) == 2:
            size = shape_of(entries(v) // N, K, N)
        else:
            size = f"{entries(v) // (M * N):,} of {shape_of(M, K, N)}"
        text = f"{title}{names(a)} @ {names(b)}"
        return Piece("product", text, size, 2 * entries(v) * K, moved, lines=source_lines([v]))
    if labels[v] == TOTAL:
        return Piece("sum", f"{title}Σ {names(v.args[0])}", "", max(map(entries, v.args)), moved)
    flops = 0 if v.name in FREE else max([entries(v), *map(entries, v.args)])
    return Piece("nest", "a call each", "", flops, moved, (v.name,), lines=source_lines([v]))
