"""The register tile all matrix products are made of: a few rows by a few panels of C, held in registers over k."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .lanes import BYTE, INT, INT32, PTR, Lanes, intrinsic

__all__ = ["HEIGHTS", "VECTORS", "columns", "tile"]

VECTORS = 2  # a panel is this many vectors wide
# (rows, panels) of the tiles by the number of registers: at least eight sums in flight, to hide the latency of an FMA.
HEIGHTS = {32: ((8, 1), (4, 1), (2, 2), (1, 4)), 16: ((4, 1), (2, 2), (1, 4))}


def columns(lanes: Lanes) -> int:
    """The columns of one panel."""
    return VECTORS * lanes.width


def tile(module: ir.Module, lanes: Lanes, rows: int, panels: int, *, interleaved: int = 0) -> ir.Function:
    """Add ``void(a, a_row, b, b_panel, K, c, c_row, base, base_row, N)``: C[rows, :N] = base + A[rows, K] @ B.

    B is ``panels`` panels [K][columns], ``b_panel`` elements apart; N, above columns·(panels − 1), may cut the last
    one. Row r of A is at a + r·a_row, or, ``interleaved`` by s, element (r, k) is at a + k·s + r. Every element
    is one chain of FMAs over k = 0 … K−1, whatever the tile's shape, so bits do not depend on it.
    """
    name = f"tile.{lanes.suffix}.{rows}x{panels}" + (f".{interleaved}" if interleaved else "")
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, INT, PTR, INT, INT, PTR, INT, PTR, INT, INT]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    a, a_row, panel, b_panel, depth, c, c_row, base, base_row, width = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    wide = columns(lanes)
    vectors = range(panels * VECTORS)

    def places(origin: Any, stride: Any) -> list[list[Any]]:
        lines = [lanes.at(b, origin, b.mul(stride, INT(r))) for r in range(rows)]
        return [[lanes.at(b, line, v * lanes.width) for v in vectors] for line in lines]

    prefetch = intrinsic(module, "llvm.prefetch.p0", ir.VoidType(), [PTR, INT32, INT32, INT32])
    for line in places(c, c_row):
        for address in line[:: max(1, 64 // lanes.bytes)]:
            b.call(prefetch, [address, INT32(1), INT32(3), INT32(1)])

    step = interleaved or 1
    lines = [lanes.at(b, a, r if interleaved else b.mul(a_row, INT(r))) for r in range(rows)]
    sheets = [lanes.at(b, panel, b.mul(b_panel, INT(p))) for p in range(panels)]
    entry, loop, done = b.block, b.append_basic_block("k"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed(">", depth, INT(0)), loop, done)

    b.position_at_end(loop)
    k = b.phi(INT)
    sums = [[b.phi(lanes.vector) for _ in vectors] for _ in range(rows)]
    there = b.mul(k, INT(wide))
    right = [lanes.load(b, lanes.at(b, sheets[v // VECTORS], there, v % VECTORS * lanes.width)) for v in vectors]
    here = b.mul(k, INT(step))
    news = []
    for r in range(rows):
        left = lanes.splat(b, b.load(lanes.at(b, lines[r], here), typ=lanes.scalar, align=lanes.itemsize))
        news.append([lanes.fma(b, left, right[v], sums[r][v]) for v in vectors])
    following = b.add(k, INT(1))
    k.add_incoming(INT(0), entry)
    k.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, depth), loop, done)

    b.position_at_end(done)
    totals = [[b.phi(lanes.vector) for _ in vectors] for _ in range(rows)]
    for r in range(rows):
        for v in vectors:
            sums[r][v].add_incoming(lanes.zero(), entry)
            sums[r][v].add_incoming(news[r][v], loop)
            totals[r][v].add_incoming(lanes.zero(), entry)
            totals[r][v].add_incoming(news[r][v], loop)

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
