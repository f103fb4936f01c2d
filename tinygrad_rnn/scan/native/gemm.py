"""Matrix products of a scan: the packed weight's, in the time loop and around it, and the weight gradient's."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .lanes import INT, PTR, Lanes, least, repeat
from .tile import HEIGHTS, VECTORS, columns, tile, zeros

__all__ = ["outer", "pack", "packed_size", "product"]

ROW_BYTES = 1 << 18  # of A, kept in the second-level cache while the panels of B pass
DEPTH = 256  # rows of A and B that ``outer`` sums at a time: a panel of B then fits the first-level cache,
HEIGHT_BYTES = 1024  # of each row of A, the second-level cache


def packed_size(lanes: Lanes, K: int, N: int) -> int:
    """The elements of a packed (K, N) matrix: whole panels."""
    wide = columns(lanes)
    return -(-N // wide) * wide * K


def _begin(module: ir.Module, name: str, kinds: list[Any]) -> tuple[ir.Function, ir.IRBuilder]:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _multiple(b: ir.IRBuilder, x: Any, of: int) -> Any:
    """The largest multiple up to x."""
    return b.mul(b.sdiv(x, INT(of)), INT(of))


def product(module: ir.Module, lanes: Lanes) -> ir.Function:
    """Add ``void(a, a_row, M, K, packed, N, c, c_row, mode, bias)``: C (M, N) = base + A (M, K) @ B (K, N).

    B is packed by ``pack``; strides are in elements, rows contiguous. The base is 0 for mode 0, C itself for mode 1,
    the vector bias (N,) for mode 2. Bits of a row do not depend on the other rows.
    """
    name = f"product.{lanes.suffix}"
    if name in module.globals:
        return module.globals[name]
    function, b = _begin(module, name, [PTR, INT, INT, INT, PTR, INT, PTR, INT, INT, PTR])
    a, a_row, M, K, packed, N, c, c_row, mode, bias = function.args
    wide, heights = columns(lanes), HEIGHTS[lanes.registers]
    tallest = heights[0][0]
    fresh, onto = (b.icmp_signed("==", mode, INT(m)) for m in (0, 1))
    base = b.select(fresh, zeros(b), b.select(onto, c, bias))
    base_row = b.select(onto, c_row, INT(0))
    base_column = b.select(fresh, INT(0), INT(1))
    b_panel = b.mul(K, INT(wide))
    panels = b.sdiv(b.add(N, INT(wide - 1)), INT(wide))

    fit = b.sdiv(INT(ROW_BYTES // lanes.itemsize), b.add(K, INT(1)))
    block = b.select(b.icmp_signed("<", fit, INT(tallest)), INT(tallest), _multiple(b, fit, tallest))
    ahead_row = b.select(b.icmp_signed(">", M, block), a_row, INT(0))  # a single block of A is in the cache already

    def apply(rows: int, group: int, i: Any, j: Any, ahead: Any) -> None:
        """The tile at row i, panel j, before the rows from ``ahead`` on."""
        column = b.mul(j, INT(wide))
        operands = [lanes.at(b, a, b.mul(i, a_row)), a_row, lanes.at(b, packed, b.mul(j, b_panel)), b_panel, K]
        result = [lanes.at(b, c, b.mul(i, c_row), column), c_row]
        origin = [lanes.at(b, base, b.mul(i, base_row), b.mul(column, base_column)), base_row]
        coming = [lanes.at(b, a, b.mul(ahead, ahead_row)), ahead_row]
        b.call(tile(module, lanes, rows, group), [*operands, *result, *origin, b.sub(N, column), *coming])

    with repeat(b, INT(0), M, block) as start:
        stop = least(b, b.add(start, block), M)
        whole = _multiple(b, stop, tallest)  # start is one
        rest = b.sub(stop, whole)
        with repeat(b, INT(0), panels) as j:
            with repeat(b, start, whole, INT(tallest)) as i:
                following = b.add(i, INT(tallest))
                again = b.and_(b.icmp_signed(">=", following, whole), b.icmp_signed("<", j, b.sub(panels, INT(1))))
                apply(tallest, 1, i, j, b.select(again, start, following))
            for rows, group in heights[1:]:
                if group == 1:
                    with b.if_then(b.icmp_signed("!=", b.and_(rest, INT(rows)), INT(0))):
                        apply(rows, 1, b.add(whole, b.and_(rest, INT(-2 * rows))), j, start)
        for rows, group in heights[1:]:
            if group > 1:
                with b.if_then(b.icmp_signed("!=", b.and_(rest, INT(rows)), INT(0))):
                    i, j = b.add(whole, b.and_(rest, INT(-2 * rows))), INT(0)
                    while group:  # as many panels at once as there are, then half as many
                        stop_at = b.sub(panels, INT(group - 1))
                        with repeat(b, j, stop_at, INT(group)) as j:
                            apply(rows, group, i, j, i)
                        group //= 2
    b.ret_void()
    return function


def pack(module: ir.Module, lanes: Lanes) -> ir.Function:
    """Add ``void(b, b_row, b_col, K, N, out)``: B (K, N), of any strides, into panels [ceil(N/columns)][K][columns].

    The last panel is filled up with zeros. Rows that are contiguous, or columns that are, go by vectors.
    """
    name = f"pack.{lanes.suffix}"
    if name in module.globals:
        return module.globals[name]
    function, b = _begin(module, name, [PTR, INT, INT, INT, INT, PTR])
    source, s_row, s_col, K, N, out = function.args
    wide, width = columns(lanes), lanes.width

    def element(k: Any, n: Any) -> Any:
        return lanes.at(b, source, b.mul(k, s_row), b.mul(n, s_col))

    blocks = b.and_(K, INT(-width))
    with repeat(b, INT(0), N, INT(wide)) as column:
        panel = lanes.at(b, out, b.mul(column, K))
        present = least(b, b.sub(N, column), INT(wide))
        whole = b.icmp_signed("==", present, INT(wide))
        with b.if_else(b.icmp_signed("==", s_col, INT(1))) as (contiguous, strided):
            with contiguous:
                masks = [lanes.mask(b, b.sub(present, INT(v * width))) for v in range(VECTORS)]
                with repeat(b, INT(0), K) as k:
                    row = lanes.at(b, panel, b.mul(k, INT(wide)))
                    for v, mask in enumerate(masks):
                        value = lanes.masked_load(b, lanes.at(b, element(k, column), v * width), mask)
                        lanes.store(b, value, lanes.at(b, row, v * width))
            with strided:
                turned = b.select(b.and_(whole, b.icmp_signed("==", s_row, INT(1))), blocks, INT(0))
                with repeat(b, INT(0), turned, INT(width)) as k, repeat(b, INT(0), INT(wide), INT(width)) as n:
                    lines = [element(k, b.add(column, b.add(n, INT(i)))) for i in range(width)]
                    for i, value in enumerate(transpose(b, lanes, [lanes.load(b, line) for line in lines])):
                        lanes.store(b, value, lanes.at(b, panel, b.mul(b.add(k, INT(i)), INT(wide)), n))
                with repeat(b, turned, K) as k:
                    row = lanes.at(b, panel, b.mul(k, INT(wide)))
                    with repeat(b, INT(0), present) as n:
                        value = b.load(element(k, b.add(column, n)), typ=lanes.scalar)
                        b.store(value, lanes.at(b, row, n))
                    with repeat(b, present, INT(wide)) as n:
                        b.store(lanes.scalar(0.0), lanes.at(b, row, n))
    b.ret_void()
    return function


def transpose(b: ir.IRBuilder, lanes: Lanes, rows: list[Any]) -> list[Any]:
    """The columns of a square of vectors: log2(width) rounds that exchange halves."""
    size, index = lanes.width, ir.VectorType(ir.IntType(32), lanes.width)
    half = size // 2
    while half:
        low = [i if not i & half else size + i - half for i in range(size)]
        high = [i + half if not i & half else size + i for i in range(size)]
        turned = list(rows)
        for i in range(size):
            if not i & half:
                pair = rows[i], rows[i + half]
                turned[i] = b.shuffle_vector(*pair, ir.Constant(index, low))
                turned[i + half] = b.shuffle_vector(*pair, ir.Constant(index, high))
        rows, half = turned, half // 2
    return rows


def outer(module: ir.Module, lanes: Lanes) -> ir.Function:
    """Add ``void(a, a_row, R, M, b, b_row, first, last, c, c_row, mode)``: C[:, n] = base + Σ_r A[r, :]ᵀ B[r, n].

    A is (R, M), B (R, N), C (M, N), rows contiguous; n runs over first … last − 1, first and every cut being a
    multiple of ``columns``. The base is 0 for mode 0, C itself for mode 1. The sum goes over blocks of DEPTH rows.
    """
    name = f"outer.{lanes.suffix}"
    if name in module.globals:
        return module.globals[name]
    function, b = _begin(module, name, [PTR, INT, INT, INT, PTR, INT, INT, INT, PTR, INT, INT])
    a, a_row, R, M, right, b_row, first, last, c, c_row, mode = function.args
    wide, heights = columns(lanes), HEIGHTS[lanes.registers]
    tallest = heights[0][0]
    span = DEPTH + max(1, 64 // (tallest * lanes.itemsize))  # a line more: tiles start in different cache sets
    most = HEIGHT_BYTES // lanes.itemsize // tallest * tallest
    left_block, right_block = (lanes.buffer(b, size) for size in (span * most, DEPTH * 2 * wide))
    piece = ir.VectorType(lanes.scalar, tallest)
    fresh = b.icmp_signed("==", mode, INT(0))
    blocks = b.select(b.icmp_signed(">", R, INT(0)), R, INT(1))  # no rows: one empty block writes the base

    with repeat(b, INT(0), blocks, INT(DEPTH)) as r0, repeat(b, INT(0), M, INT(most)) as m0:
        depth, height = least(b, b.sub(R, r0), INT(DEPTH)), least(b, b.sub(M, m0), INT(most))
        whole = _multiple(b, height, tallest)
        rest = b.sub(height, whole)
        with repeat(b, INT(0), depth) as r:
            line = lanes.at(b, a, b.mul(b.add(r0, r), a_row), m0)
            place = lanes.at(b, left_block, b.mul(r, INT(tallest)))
            with repeat(b, INT(0), whole, INT(tallest)) as m:
                value = b.load(lanes.at(b, line, m), typ=piece, align=lanes.itemsize)
                b.store(value, lanes.at(b, place, b.mul(m, INT(span))), align=lanes.itemsize)
            with repeat(b, whole, height) as m:
                value = b.load(lanes.at(b, line, m), typ=lanes.scalar)
                b.store(value, lanes.at(b, place, INT(0), b.mul(whole, INT(span)), b.sub(m, whole)))
        empty = b.and_(fresh, b.icmp_signed("==", r0, INT(0)))
        base_row = b.select(empty, INT(0), c_row)
        # While the tiles of one panel are summed, the block of the next one is asked for and copied, a share at each
        # tile: on its own the copy would wait for memory, row after row on another page.
        tiles = b.sdiv(whole, INT(tallest))
        share = b.sdiv(b.add(depth, tiles), b.select(b.icmp_signed("==", tiles, INT(0)), INT(1), tiles))

        def half(n: Any) -> Any:
            """Where the block of the panel at column n lies."""
            odd = b.and_(b.sdiv(b.sub(n, first), INT(wide)), INT(1))
            return lanes.at(b, right_block, b.mul(odd, INT(DEPTH * wide)))

        def bring(n: Any, start: Any, stop: Any) -> None:
            """Copy rows start … stop − 1 of the panel at column n."""
            masks = [lanes.mask(b, b.sub(b.sub(last, n), INT(v * lanes.width))) for v in range(VECTORS)]
            with repeat(b, start, stop) as r:
                line = lanes.at(b, right, b.mul(b.add(r0, r), b_row), n)
                place = lanes.at(b, half(n), b.mul(r, INT(wide)))
                for v, mask in enumerate(masks):
                    value = lanes.masked_load(b, lanes.at(b, line, v * lanes.width), mask)
                    lanes.store(b, value, lanes.at(b, place, v * lanes.width))

        bring(first, INT(0), depth)
        with repeat(b, first, last, INT(wide)) as n:
            following = b.add(n, INT(wide))
            due = b.select(b.icmp_signed("<", following, last), depth, INT(0))

            def apply(rows: int, m: Any, inside: Any, ahead: Any) -> None:
                target = lanes.at(b, c, b.mul(b.add(m0, b.add(m, inside)), c_row), n)
                origin = b.select(empty, zeros(b), target)
                operands = [lanes.at(b, left_block, b.mul(m, INT(span)), inside), INT(0), half(n), INT(0), depth]
                result = [target, c_row, origin, base_row, b.sub(last, n), ahead, b_row]
                b.call(tile(module, lanes, rows, 1, interleaved=tallest), [*operands, *result])

            with repeat(b, INT(0), whole, INT(tallest)) as m:
                done = b.mul(b.sdiv(m, INT(tallest)), share)
                bring(following, done, least(b, b.add(done, share), due))
                soon = b.add(done, share)
                wraps = b.icmp_signed(">=", soon, depth)
                row = b.add(r0, b.select(wraps, INT(0), soon))
                column = b.select(wraps, b.add(following, INT(wide)), following)
                apply(tallest, m, INT(0), lanes.at(b, right, b.mul(row, b_row), column))
            bring(following, b.mul(tiles, share), due)
            for rows, _ in heights[1:]:
                with b.if_then(b.icmp_signed("!=", b.and_(rest, INT(rows)), INT(0))):
                    apply(rows, whole, b.and_(rest, INT(-2 * rows)), right)
    b.ret_void()
    return function
