"""What a compiled step does, in words: what runs where, in which order, and what it costs.

The text is made from the plan alone: nothing in it is written for a cell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import prod
from os.path import basename
from textwrap import wrap
from typing import Any

import numpy as np

from .. import tree
from ..tensor import Tensor, tensor
from .eager import time_length
from .graph import Refused, StepGraph, Value
from .names import Names
from .run import Call
from .work import COPIES, FREE, PHASES, SIDES, Piece, pieces

__all__ = ["described", "explain"]

WIDTH = 112
TIED = "\u00a0"  # a space within a name, where no line is broken
VIEWED = FREE - COPIES
ABOUT = {"llvm": "machine code made by LLVM", "numpy": "generated Python, one NumPy call for an op"}
WHERE = {
    "once": "once, on captured values alone",
    "before": "before the loop, on all T·B = {all:,} rows",
    "loop": "in the loop, at each of the {T:,} steps on {B:,} rows, in this order",
    "after": "after the loop, on all T·B = {all:,} rows",
    "sums": "weight gradients and other sums over all rows",
}


def explain(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    *,
    length: int | None = None,
    compile: str | bool = "auto",
) -> str:
    """In words, what ``scan`` with the same arguments runs: once, before, in and after its loop, and at what cost.

    The step is traced and compiled, the sequence is not run. The text says which executor takes the step, and why
    others, or all, do not; for each direction the products (M × K × N), the loop nests with the ops they compute and
    what they store; and how many flops and bytes are left in the loop.

    Raises what ``scan`` raises.

    >>> import tinygrad_rnn as tg
    >>> text = explain(lambda h, x: (tg.tanh(x + h), h), tg.zeros((3, 4)), tg.zeros((7, 3, 4)), compile="numpy")
    >>> print(*text.splitlines()[:5], sep="\\n")
    executor: numpy (generated Python, one NumPy call for an op, float32), T = 7, B = 3
    <BLANKLINE>
    forward
      in the loop, at each of the 7 steps on 3 rows, in this order
        a call each: add tanh                                                                              24 flop
    >>> print(explain(lambda h, x: (x + h, h), tg.zeros((3, 4)), tg.zeros((7, 3, 4)), compile=False))
    runs eagerly, one node for each op and step, as asked: compile=False
    """
    from . import COMPILE
    from .compiled import check, compiled_for

    if compile not in COMPILE:
        raise ValueError(f"explain: compile={compile!r} is not one of {COMPILE}")
    if compile is False:
        return "runs eagerly, one node for each op and step, as asked: compile=False"
    T = time_length(xs, length)
    leaves, structure = tree.flatten(init)
    x_leaves, x_structure = tree.flatten(xs)
    leaves = [t if type(t) is Tensor else tensor(t) for t in leaves]
    x_leaves = [t if type(t) is Tensor else tensor(t) for t in x_leaves]
    try:
        check(leaves, x_leaves)
        compiled, captured = compiled_for(step, leaves, structure, x_leaves, x_structure, str(compile))
    except Refused as why:
        if compile != "auto" or why.final:
            raise
        return "\n".join(["runs eagerly, one node for each op and step, because", *_wrapped(str(why), 2)])
    called = {v: t.name for v, t in zip(compiled.given, captured, strict=True)}  # others may share the plan
    return described(compiled, T=T, B=leaves[0].shape[0], captured=called)


def described(compiled: Any, *, T: int, B: int, captured: Mapping[Value, str | None] | None = None) -> str:
    """A compiled step in words, with the figures for T steps of B rows, and names for what it captures."""
    plan = compiled.plan
    names = Names(plan.graph, captured)
    work = pieces(plan, names, T, B)
    detail = f"{plan.graph.carry[0].dtype}"
    if plan.name == "llvm":
        detail += f", {plan.module.lanes.width} numbers a vector"
    lines = [f"executor: {plan.name} ({ABOUT[plan.name]}, {detail}), T = {T:,}, B = {B:,}"]
    for why in compiled.fallbacks:
        lines += ["not taken:", *_wrapped(located(why, compiled.graph), 2)]
    for side in SIDES:
        if not any(work[side].values()):
            continue
        lines += ["", side]
        for phase in PHASES:
            if work[side][phase]:
                lines.append("  " + WHERE[phase].format(T=T, B=B, all=T * B))
                lines += [line for piece in work[side][phase] for line in _piece(piece)]
        if side == "backward":
            lines += _local_derivatives(plan, names)
    lines += ["", *_memory(plan, names, T, B), "", *_totals(work, T)]
    return "\n".join(lines)


def located(why: str, graph: StepGraph) -> str:
    """A reason with the user's line of the op that it names, if it does not say it."""
    op = re.search(r"`(\w+)`", why)
    if op is None or re.search(r":\d+\)", why):
        return why
    lines = [v.line for v in graph.values if v.name == op.group(1)]
    if not lines:
        return why
    return f"{why} ({next(filter(None, lines), 'in the backward pass')})"


def _piece(piece: Piece) -> list[str]:
    if piece.kind in ("pack", "value"):
        text = f"pack {piece.text} for the products" if piece.kind == "pack" else f"compute {piece.text}"
        return _row(text, piece.size, "")
    if piece.kind != "nest":
        return _row(piece.text, piece.size, f"{_si(piece.flops)}flop")
    first, *rest = _wrapped(f"{piece.text}: {' '.join(piece.ops) or 'copy'}", 4, 84)
    lines = [*_row(first.strip(), "", f"{_si(piece.flops)}flop"), *[f"    {line}" for line in rest]]
    for title, what in (("stores", piece.stores), ("adds up over the batch and time", piece.adds)):
        if what:
            lines += _wrapped(f"{title} {counted(what)}", 8)
    if piece.lines:
        lines += _wrapped(f"from {_source(piece.lines)}", 8)
    return lines


def _row(text: str, size: str, flops: str) -> list[str]:
    line = f"    {text:<60} {size:>20}" if size else f"    {text:<81}"
    return [f"{line} {flops:>14}".rstrip()]


def _wrapped(text: str, indent: int, width: int = WIDTH) -> list[str]:
    space = " " * indent
    lines = wrap(text, width, initial_indent=space, subsequent_indent=space + "  ", break_long_words=False)
    return [line.replace(TIED, " ") for line in lines]


def _source(lines: tuple[str, ...]) -> str:
    files: dict[str, list[str]] = {}
    for line in lines:
        file, _, number = line.rpartition(":")
        files.setdefault(basename(file), []).append(number)
    return "; ".join(f"{file}:{', '.join(numbers)}" for file, numbers in files.items())


def _si(n: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n:,.0f} "


def local_derivatives(plan: Any) -> tuple[list[Value], list[Value]]:
    """The ops of the way back that wait for no cotangent: all, and those whose results are stored for the loop."""
    graph = plan.graph
    moved = graph.depends_on([*graph.g_carry, *graph.g_ys])
    local = [
        v
        for v in graph.values[graph.backward_from :]
        if v.kind == "op" and v not in moved and isinstance(plan.labels[v], int) and v.name not in FREE
    ]
    if plan.name == "llvm":
        d = plan.schedule.backward
        return local, [v for v in local if d is not None and v in d.roots]
    return local, [v for v in local if plan.homes[v] == (True, "before")]


def _local_derivatives(plan: Any, names: Names) -> list[str]:
    local, stored = local_derivatives(plan)
    if not local:
        return []
    text = f"local derivatives: {len(local)} ops wait for no cotangent; "
    if not stored:
        text += "all are fused into the loop" if plan.name == "llvm" else "all are done in the loop"
    elif plan.name == "numpy":
        text += f"{len(stored)} of them are done before the loop, for all rows at once"
    else:
        text += f"{len(local) - len(stored)} are fused into the loop, stored are {counted(map(names, stored))}"
    return _wrapped(text, 2)


def _memory(plan: Any, names: Names, T: int, B: int) -> list[str]:
    """What the way back finds kept, and the memory of a run."""
    kept = (_kept_in_buffers if plan.name == "llvm" else _kept_in_arrays)(plan, names, T, B)
    by_size: dict[int, list[str]] = {}
    for name, n in kept:
        by_size.setdefault(n, []).append(name)
    shown = [f"{counted(which)} ({_bytes(n)}{' each' if len(which) > 1 else ''})" for n, which in by_size.items()]
    text = f"kept for the way back, {_bytes(sum(n for _, n in kept))}: {'; '.join(shown)}"
    lines = ["memory", *_wrapped(text if kept else "nothing is kept for the way back", 2)]
    if plan.name == "llvm":
        layout = _layout(plan, T, B)
        outputs = sum(rows * size for _, (rows, size) in layout.outputs) * plan.dtype.itemsize
        forward, back = (_bytes(layout.blocks[side].size if side in layout.blocks else 0) for side in SIDES)
        lines.append(f"  forward works in {forward} and hands out {_bytes(outputs)}; backward adds {back} of its own")
    return lines


def _layout(plan: Any, T: int, B: int) -> Any:
    empty = np.empty((B, 0), plan.dtype)
    return plan.layout(Call([], [empty] * len(plan.graph.carry), [], total=T))


def _kept_in_buffers(plan: Any, names: Names, T: int, B: int) -> list[tuple[str, int]]:
    """The series that the way back reads, by what lies in them at the end, and their bytes."""
    schedule = plan.schedule
    d = schedule.forward
    content: dict[str, list[Value]] = {}
    hosts = [(v, p.place) for v, p in d.products.items()]
    for v, place in [*hosts, *[(v, root.place) for v, root in d.roots.items()]]:
        content.setdefault(place.buffer.name, []).append(v)
    for v, state in zip(plan.graph.carry, names.states, strict=True):
        names.known.setdefault(v, state)
        content[schedule.places.stored[v].buffer.name] = [v]
    found = []
    for b, rows in zip(schedule.buffers, _layout(plan, T, B).rows, strict=True):
        if b.name in plan.read_back & plan.used["forward"] and b.kind in ("step", "carry") and b.name in content:
            first, *later = content[b.name]  # what lies where something else lay that is needed no more
            name = f"{counted(map(names, later))} in place of {counted([names(first)])}" if later else names(first)
            found.append((name.removesuffix("ₜ₋₁"), rows * b.size * plan.dtype.itemsize))
    return found


def _kept_in_arrays(plan: Any, names: Names, T: int, B: int) -> list[tuple[str, int]]:
    """The arrays that the way back reads and their bytes; a view is kept by what it is a view of."""
    graph = plan.graph
    carried = dict(zip(graph.carry_out, graph.carry, strict=True))
    arrays: dict[Value, None] = {}
    for v in plan.kept:
        while (v.kind == "pick" or v.name in VIEWED) and plan.homes[v] != (False, "loop"):
            v = v.args[0]
        arrays[carried.get(v, v)] = None
    return [
        (names(v).removesuffix("ₜ₋₁"), (T + (v.kind == "carry")) * prod(v.shape) * B // graph.batch * v.dtype.itemsize)
        for v in arrays
        if v.kind != "x"
    ]


def counted(names: Iterable[str]) -> str:
    """Names, each once, with how often they are there."""
    number = Counter(name.replace(" ", TIED) for name in names)
    return ", ".join(name if n == 1 else f"{name} ×{n}" for name, n in number.items())


def _bytes(n: float) -> str:
    return f"{_si(n)}B"


def _totals(work: Any, T: int) -> list[str]:
    """What is left in the loop."""
    loop, moved, rest = (
        [sum(count(p) for phase in PHASES if (phase == "loop") is inside for p in work[side][phase]) for side in SIDES]
        for count, inside in ((_flops, True), (_moved, True), (_flops, False))
    )
    shares = [T * inside / max(1, T * inside + outside) for inside, outside in zip(loop, rest, strict=True)]
    rows = [
        ("work", list(SIDES)),
        ("  in the loop, a step", [f"{_si(n)}flop" for n in loop]),
        ("  read and written in the loop, a step", [_bytes(n) for n in moved]),
        ("  in the loop, all steps", [f"{_si(T * n)}flop" for n in loop]),
        ("  outside the loop", [f"{_si(n)}flop" for n in rest]),
        ("  share of flops left in the loop", [f"{share:.0%}" for share in shares]),
    ]
    table = [f"{name:<42}{forward:>14}{backward:>14}" for name, (forward, backward) in rows]
    return [*table, "  (a product is 2 M K N flop, any other op one for each of its entries)"]


def _flops(piece: Piece) -> int:
    return piece.flops


def _moved(piece: Piece) -> int:
    return piece.bytes
