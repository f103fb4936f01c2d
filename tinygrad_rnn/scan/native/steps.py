"""The time loop, step by step over some rows, and what is like a step of it but over all T·B rows at once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .direction import LOOP, Product, Unit
from .function import Function
from .gemm import product
from .lanes import INT, PTR, repeat
from .nest import Nest
from .places import Buffer
from .products import ACCUMULATE, BIAS, OVERWRITE

__all__ = ["write_loop", "write_product", "write_rows"]


def write_loop(f: Function) -> None:
    """The time loop over the rows [first, last): at each level products, then the region they lead to."""
    b = f.b
    groups = f.d.groups[LOOP]
    products = sorted(
        (
            (p.levels[n], p, n)
            for p in f.d.products.values()
            for n, term in enumerate(p.terms)
            if term.phase == LOOP
        ),
        key=lambda item: item[0],
    )
    last = max([0, *groups, *[level for level, *_ in products]])
    T = f.header("T")
    with repeat(b, INT(0), T) as s:
        t = b.select(f.flag("descending"), b.sub(b.sub(T, INT(1)), s), s)
        for level in range(last + 1):
            for its, p, n in products:
                if its == level:
                    _product(f, p, n, t)
            _step(f, groups.get(level, []), _bare_pongs(f) if level == 0 else [], t)
    f.finish()


def write_product(f: Function, p: Product, n: int) -> None:
    """A product over the rows [first, last) of all T·B."""
    _product(f, p, n, None)
    f.finish()


def write_rows(f: Function, groups: list[list[Unit]]) -> None:
    """A region over the rows [first, last) of all T·B."""
    with repeat(f.b, f.first, f.last) as row:
        _row(f, groups, None, row)
    f.finish()


def _product(f: Function, p: Product, n: int, t: Any) -> None:
    """One term of a chain: the first overwrites what is there, or begins with the bias, the others are added."""
    b = f.b
    operand, weight, _ = p.terms[n]
    place = f.d.operand_place(operand)
    bias: Any = ir.Constant(PTR, None)
    mode: Any = INT(ACCUMULATE)
    if p.first() == n and p.base is None:
        mode = INT(OVERWRITE)
        if p.bias is not None:
            mode = INT(BIAS)
            bias = f.matrix(f.place(p.bias), t, INT(0))
        elif p.place.buffer.kind == "pong":  # rows past their end have put there what stays
            mode = b.select(f.flag("lengths"), INT(ACCUMULATE), INT(OVERWRITE))
    a, c = f.matrix(place, t, f.first), f.matrix(p.place, t, f.first)
    K, N = map(f.size, weight.shape)
    rows = b.sub(f.last, f.first)
    packed = f.weight(weight)
    a_row, c_row = f.size(place.buffer.size), f.size(p.place.buffer.size)
    b.call(product(f.module, f.lanes), [a, a_row, rows, K, packed, N, c, c_row, mode, bias])


def _bare_pongs(f: Function) -> list[Buffer]:
    """Cotangents of carries that are made by products alone."""
    return [p.place.buffer for p in f.d.products.values() if p.place.buffer.kind == "pong" and p.base is None]


def _step(f: Function, groups: list[list[Unit]], pongs: list[Buffer], t: Any) -> None:
    """A region of step t over the rows [first, last); under lengths, rows past their end are left as they were."""
    if not groups and not pongs:
        return
    b = f.b
    with repeat(b, f.first, f.last) as row:
        masked = f.flag("lengths")
        address = b.gep(f.pointer("lengths"), [b.select(masked, row, INT(0))], source_etype=INT)
        length = b.load(address, typ=INT)
        valid = b.or_(b.icmp_signed("==", f.header("lengths"), INT(0)), b.icmp_signed("<", t, length))
        with b.if_else(valid) as (then, otherwise):
            with then:
                if pongs:
                    with b.if_then(masked):
                        for buffer in pongs:  # what a product will be added to
                            f.fill(f.row(buffer, "write", t, row), buffer.size, 0.0)
                _row(f, groups, t, row)
            with otherwise:
                _idle(f, groups, pongs, t, row)


def _idle(f: Function, groups: list[list[Unit]], pongs: list[Buffer], t: Any, row: Any) -> None:
    """A row past its end: its carry stays, all else is zero."""
    places = [unit.root.place for group in groups for unit in group if not unit.root.add]
    written = [*[(place.buffer, place.when) for place in places], *[(buffer, "write") for buffer in pongs]]
    for buffer, when in dict.fromkeys(written):
        target = f.row(buffer, when, t, row)
        if buffer.kind in ("carry", "pong"):
            f.copy(target, f.row(buffer, "read", t, row), buffer.size)
        else:
            f.fill(target, buffer.size, 0.0)


def _row(f: Function, groups: list[list[Unit]], t: Any, row: Any) -> None:
    for group in groups:
        Nest(f, group, t, row).write()
