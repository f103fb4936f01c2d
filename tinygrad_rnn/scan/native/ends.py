"""What is done once, or column by column: packing weights, first and last carries, sums over the batch and time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..graph import Value
from .function import Function
from .gemm import outer, pack
from .lanes import INT, repeat
from .places import Buffer, Place

__all__ = ["write_begin", "write_end", "write_fold", "write_outer"]

ROWS = 8  # of the batch, whose sums are kept apart: adding them up later does not depend on the threads


def write_begin(f: Function, weights: dict[str, Value]) -> None:
    """Pack the weights, put the first carries (or cotangents) where the loop reads them, clear what is added to."""
    b = f.b
    for name, v in weights.items():
        place = f.place(v)
        rows, columns = v.shape
        f.slots.packed[name] = (rows, columns)
        source, target = f.matrix(place, None, INT(0)), f.pointer(name)
        strides = [f.size(stride or 0) for stride in place.strides]
        b.call(pack(f.module, f.lanes), [source, *strides, f.size(rows), f.size(columns), target])
    first = b.select(f.flag("descending"), b.sub(f.header("T"), INT(1)), INT(0))
    for name, buffer in f.d.carries():
        target, source = f.row(buffer, "read", first, INT(0)), f.pointer(f"in {name}")
        f.copy(target, source, buffer.size, rows=f.header("B"))
    for buffer in dict.fromkeys(r.place.buffer for r in f.d.all_roots() if r.add):
        count = _groups(f) if buffer.kind == "groups" else f.header("B")
        f.fill(f.row(buffer, "", None, INT(0)), buffer.size, 0.0, rows=count)
    f.finish()


def write_end(f: Function) -> None:
    """Hand out the last carries, or the cotangents of the first."""
    b = f.b
    last = b.select(f.flag("descending"), INT(0), b.sub(f.header("T"), INT(1)))
    for name, buffer in f.d.carries(written=True):
        target, source = f.pointer(f"out {name}"), f.row(buffer, "write", last, INT(0))
        f.copy(target, source, buffer.size, rows=f.header("B"))
    f.finish()


def write_outer(f: Function, v: Value, places: tuple[Place, Place], name: str) -> None:
    """The columns [first, last) of a weight's gradient, aᵀ g over all rows."""
    b = f.b
    (left, right), (M, N) = places, v.shape
    a, g = f.matrix(left, None, INT(0)), f.matrix(right, None, INT(0))
    rows = b.mul(f.header("T"), f.header("B"))
    target = f.pointer(name)
    a_row, g_row = f.size(left.buffer.size), f.size(right.buffer.size)
    b.call(
        outer(f.module, f.lanes),
        [a, a_row, rows, f.size(M), g, g_row, f.first, f.last, target, f.size(N), INT(0)],
    )
    f.finish()


def write_fold(f: Function, buffer: Buffer, name: str) -> None:
    """The columns [first, last) of a sum over the batch: the parts of every eight rows, in order."""
    b, lanes = f.b, f.lanes
    target, n = f.pointer(name), f.size(buffer.size)
    groups = _groups(f)
    source = f.row(buffer, "", None, INT(0))
    room = lanes.buffer(b, 1)
    with repeat(b, f.first, f.last) as j:
        b.store(ir.Constant(lanes.scalar, 0.0), room)
        with repeat(b, INT(0), groups) as i:
            part = b.load(lanes.at(b, source, b.mul(i, n), j), typ=lanes.scalar)
            b.store(b.fadd(b.load(room, typ=lanes.scalar), part), room)
        b.store(b.load(room, typ=lanes.scalar), lanes.at(b, target, j))
    f.finish()


def _groups(f: Function) -> Any:
    """How many groups of rows there are."""
    return f.b.sdiv(f.b.add(f.header("B"), INT(ROWS - 1)), INT(ROWS))
