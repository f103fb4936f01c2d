"""The register tile all matrix products are made of: a few rows by a few panels of C, held in registers over k."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .lanes import BYTE, INT, PTR, Lanes, least, prefetch

__all__ = ["HEIGHTS", "VECTORS", "columns", "tile"]

VECTORS = 2  # a panel is this many vectors wide
CHUNK = 16  # steps of k between two requests for what the next tile will read
# (rows, panels) of the tiles by the number of registers; at least eight sums at once hide the latency of an FMA. The
# first is repeated, the others take what it leaves, by the bits of its number of rows.
HEIGHTS = {32: ((8, 1), (4, 1), (2, 2), (1, 4)), 16: ((6, 1), (4, 1), (2, 2), (1, 4))}


def columns(lanes: Lanes) -> int:
    """The columns of one panel."""
    return VECTORS * lanes.width


def tile(module: ir.Module, lanes: Lanes, rows: int, panels: int, *, interleaved: int = 0) -> ir.Function:
    """Add ``void(a, a_row, b, b_panel, K, c, c_row, base, base_row, N, ahead, ahead_row)``: C = base + A @ B.

    C is (rows, N), A (rows, K), B ``panels`` panels [K][columns], ``b_panel`` elements apart; N, more than
    columns·(panels − 1), may cut the last one. Row r of A is at a + r·a_row, or, ``interleaved`` by s, element (r, k)
    is at a + k·s + r. Every element is one chain of FMAs over k = 0 … K−1, whatever the tile's shape, so bits do not
    depend on it. Meanwhile the caches are asked for what the next tile will read: A's rows from ``ahead``,
    ``ahead_row`` apart, or, interleaved, one row of a panel each CHUNK steps.
    """
    name = f"tile.{lanes.suffix}.{rows}x{panels}" + (f".{interleaved}" if interleaved else "")
    if name in module.globals:
        return module.globals[name]
    kinds = [PTR, INT, PTR, INT, INT, PTR, INT, PTR, INT, INT, PTR, INT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    a, a_row, panel, b_panel, depth, c, c_row, base, base_row, width, ahead, ahead_row = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    wide = columns(lanes)
    vectors = range(panels * VECTORS)

    def places(origin: Any, stride: Any) -> list[list[Any]]:
        lines = [lanes.at(b, origin, b.mul(stride, INT(r))) for r in range(rows)]
        return [[lanes.at(b, line, v * lanes.width) for v in vectors] for line in lines]

    for line in places(c, c_row):
        for address in line[:: lanes.a_line]:
            prefetch(b, address, write=True)
    lines = [lanes.at(b, a, r if interleaved else b.mul(a_row, INT(r))) for r in range(rows)]
    sheets = [lanes.at(b, panel, b.mul(b_panel, INT(p))) for p in range(panels)]
    # A little at a time: many requests at once fill the processor's miss buffers, and the tile's own loads wait.
    steps = CHUNK if interleaved else 2 * CHUNK

    def asked(k: Any) -> list[Any]:
        """The lines to ask for at step k: one row of a panel ahead, or the same steps of the rows ahead."""
        if interleaved:
            row = lanes.at(b, ahead, b.mul(b.sdiv(k, INT(steps)), ahead_row))
            return [lanes.at(b, row, v * lanes.width) for v in range(0, VECTORS, lanes.a_line)]
        heads = [lanes.at(b, ahead, b.mul(ahead_row, INT(r)), k) for r in range(rows)]
        return [lanes.at(b, head, part) for head in heads for part in range(0, steps, 64 // lanes.itemsize)]

    entry = b.block
    chunk, loop, latch, done = (b.append_basic_block(name) for name in ("chunk", "k", "latch", "done"))
    b.cbranch(b.icmp_signed(">", depth, INT(0)), chunk, done)

    b.position_at_end(chunk)
    start, olds = b.phi(INT), [[b.phi(lanes.vector) for _ in vectors] for _ in range(rows)]
    stop = least(b, b.add(start, INT(steps)), depth)
    for address in asked(start):
        prefetch(b, address, near=bool(interleaved))
    before = b.block
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(INT)
    sums = [[b.phi(lanes.vector) for _ in vectors] for _ in range(rows)]
    there = b.mul(k, INT(wide))
    right = [lanes.load(b, lanes.at(b, sheets[v // VECTORS], there, v % VECTORS * lanes.width)) for v in vectors]
    here = b.mul(k, INT(interleaved or 1))
    news = []
    for r in range(rows):
        left = lanes.splat(b, b.load(lanes.at(b, lines[r], here), typ=lanes.scalar, align=lanes.itemsize))
        news.append([lanes.fma(b, left, right[v], sums[r][v]) for v in vectors])
    following = b.add(k, INT(1))
    k.add_incoming(start, before)
    k.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, stop), loop, latch)
    b.position_at_end(latch)
    start.add_incoming(INT(0), entry)
    start.add_incoming(following, latch)
    b.cbranch(b.icmp_signed("<", following, depth), chunk, done)

    b.position_at_end(done)
    totals = [[b.phi(lanes.vector) for _ in vectors] for _ in range(rows)]
    for r in range(rows):
        for v in vectors:
            for phi, origin, value in (
                (olds[r][v], entry, lanes.zero()),
                (olds[r][v], latch, news[r][v]),
                (sums[r][v], before, olds[r][v]),
                (sums[r][v], loop, news[r][v]),
                (totals[r][v], entry, lanes.zero()),
                (totals[r][v], latch, news[r][v]),
            ):
                phi.add_incoming(value, origin)

    whole, cut = b.append_basic_block("whole"), b.append_basic_block("cut")
    b.cbranch(b.icmp_signed(">=", width, INT(panels * wide)), whole, cut)
    for block, first in ((whole, len(vectors)), (cut, len(vectors) - VECTORS)):
        b.position_at_end(block)
        masks = {v: lanes.mask(b, b.sub(width, INT(v * lanes.width))) for v in vectors if v >= first}
        for total, old, new in zip(totals, places(base, base_row), places(c, c_row), strict=True):
            for v in vectors:
                if v in masks:
                    value = b.fadd(lanes.masked_load(b, old[v], masks[v]), total[v])
                    lanes.masked_store(b, value, new[v], masks[v])
                else:
                    lanes.store(b, b.fadd(lanes.load(b, old[v]), total[v]), new[v])
        b.ret_void()
    return function


def zeros(b: ir.IRBuilder) -> Any:
    """Zeros for the widest tile, to serve as its base."""
    kind = ir.ArrayType(BYTE, 512)
    if "tile.zeros" not in b.module.globals:
        constant = ir.GlobalVariable(b.module, kind, "tile.zeros")
        constant.linkage, constant.global_constant, constant.align = "internal", True, 64
        constant.initializer = ir.Constant(kind, bytearray(512))
        constant.type = PTR  # llvmlite still gives it the type of a typed pointer
    return b.module.globals["tile.zeros"]
