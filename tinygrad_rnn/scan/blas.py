"""The large products around the time loop by NumPy's BLAS, where it is faster on this machine than our own code.

Only products over all T·B rows are asked about, and of those the large ones. A stage and its double in BLAS take the
same list of addresses, so a layout can put one in the place of the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import choices

if TYPE_CHECKING:
    from .run_llvm import LlvmPlan

__all__ = ["Outer", "Product", "by_blas", "in_place_of", "large_products"]

OURS, BLAS = "ours", "blas"
LEAST, MOST = 2e7, 1e8  # flops of a product that is asked about, and of one that is measured in its place


@dataclass(frozen=True)
class Rows:
    """Rows of ``columns`` entries in a buffer whose rows have ``width``: where a product reads or writes."""

    slot: int
    width: int
    offset: int
    columns: int
    when: str  # of a carry: one of T + 1 blocks of rows is skipped, at the beginning ("write") or the end


@dataclass(frozen=True)
class Run:
    """Where the arrays of a run are, and how many rows they have."""

    pointers: int  # the address of the table of their addresses
    dtype: np.dtype
    T: int
    B: int
    skipped: dict[str, int]  # blocks of B rows before the first, by ``when``

    def rows(self, r: Rows) -> np.ndarray:
        start = self.skipped.get(r.when, 0) * self.B * r.width
        return self.matrix(r.slot, r.offset + start, (self.T * self.B, r.columns), (r.width, 1))

    def matrix(self, slot: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
        """An array over the memory behind a pointer; offset and strides in elements."""
        size = self.dtype.itemsize
        entries = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        start = ctypes.c_uint64.from_address(self.pointers + 8 * slot).value + offset * size
        memory = (ctypes.c_char * (entries * size)).from_address(start)
        return np.ndarray(shape, self.dtype, memory, 0, [s * size for s in strides])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Product:
    """C (T·B, N) = base + A (T·B, K) @ B (K, N), the base being nothing, C itself, or a bias (N,)."""

    a: Rows
    c: Rows
    weight: tuple[int, int, tuple[int, int], tuple[int, int]]  # slot, offset, (K, N), strides
    bias: tuple[int, int] | None  # slot, offset
    adds: bool
    packed: tuple[int, int]  # slot and size of the weight as our code reads it

    name = "product"

    @property
    def sizes(self) -> tuple[int, int]:
        return self.weight[2]

    def room(self, rows: int) -> Iterator[tuple[int, int]]:
        """Each slot, and how many entries are needed behind it."""
        for r in (self.a, self.c):
            yield r.slot, (rows + 1) * r.width
        slot, offset, shape, strides = self.weight
        yield slot, offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        yield self.packed
        if self.bias is not None:
            yield self.bias[0], self.bias[1] + self.sizes[1]

    def __call__(self, run: Run) -> None:
        a, weight, c = run.rows(self.a), run.matrix(*self.weight), run.rows(self.c)
        if self.adds:
            c += a @ weight
            return
        np.matmul(a, weight, out=c)
        if self.bias is not None:
            c += run.matrix(*self.bias, (self.sizes[1],), (1,))


@dataclass(frozen=True)
class Outer:
    """C (M, N) = Aᵀ G with A (T·B, M) and G (T·B, N): a weight's gradient."""

    a: Rows
    g: Rows
    target: int

    name = "outer"

    @property
    def sizes(self) -> tuple[int, int]:
        return self.a.columns, self.g.columns

    def room(self, rows: int) -> Iterator[tuple[int, int]]:
        for r in (self.a, self.g):
            yield r.slot, (rows + 1) * r.width
        yield self.target, self.a.columns * self.g.columns

    def __call__(self, run: Run) -> None:
        np.matmul(run.rows(self.a).T, run.rows(self.g), out=run.matrix(self.target, 0, self.sizes, (self.sizes[1], 1)))


def large_products(plan: LlvmPlan) -> dict[str, Product | Outer]:
    """The stages of a plan that are products over all T·B rows, by name."""
    found: dict[str, Product | Outer] = {}
    for side, stages in plan.module.stages.items():
        for stage in stages:
            if stage.work is None:
                continue
            kind, what, which = stage.work
            if kind == "product":
                found[stage.name] = _product(plan, getattr(plan.schedule, side), what, which)
            else:
                a, g = (_rows(plan, place, n) for place, n in zip(which, what.shape, strict=True))
                found[stage.name] = Outer(a, g, plan.place_of[stage.wanted])
    return found


def _product(plan: LlvmPlan, d: Any, p: Any, n: int) -> Product:
    operand, weight, _ = p.terms[n]
    places, first = plan.schedule.places, p.base is None and p.first() == n
    place, bias = places.find(weight), places.find(p.bias) if first and p.bias is not None else None
    assert place is not None
    row, column = (s or 0 for s in place.strides)
    name = plan.module.weight_name(weight)
    return Product(
        a=_rows(plan, d.operand_place(operand), weight.shape[0]),
        c=_rows(plan, p.place, weight.shape[1]),
        weight=(plan.place_of[place.buffer.name], place.offset, weight.shape, (row, column)),
        bias=bias and (plan.place_of[bias.buffer.name], bias.offset),
        adds=not first,
        packed=(plan.place_of[name], plan.packed[name]),
    )


def _rows(plan: LlvmPlan, place: Any, columns: int) -> Rows:
    return Rows(plan.place_of[place.buffer.name], place.buffer.size, place.offset, columns, place.when)


def by_blas(plan: LlvmPlan, work: Product | Outer, rows: int, ours: Callable[..., None]) -> bool:
    """Whether BLAS does this product over so many rows.

    What is asked, and measured, is a power of two of rows: other lengths and batch sizes do not ask again.
    """
    cost = 2 * work.sizes[0] * work.sizes[1]
    asked = 1 << (min(rows, max(128, int(MOST / cost))).bit_length() - 1)
    if asked * cost < LEAST:
        return False
    question = f"{work.name} {plan.dtype} {asked} {work.sizes[0]} {work.sizes[1]}"
    return choices.choose(question, _ways(plan, work, asked, ours), OURS) == BLAS


def in_place_of(work: Product | Outer, dtype: np.dtype, T: int, B: int, skipped: dict[str, int]) -> Callable[..., None]:
    """BLAS's way in the shape of a native stage."""
    return lambda pointers, *_: work(Run(pointers, dtype, T, B, skipped))


def _ways(plan: LlvmPlan, work: Product | Outer, rows: int, ours: Callable[..., None]) -> dict[str, Callable[[], None]]:
    """The product by our own code and by BLAS, on arrays that are made when the first of them is called."""
    last = rows if isinstance(work, Product) else work.sizes[1]

    @cache
    def scratch() -> tuple[Run, Any, Any]:
        sizes: dict[int, int] = {}
        for slot, entries in work.room(rows):
            sizes[slot] = max(entries, sizes.get(slot, 0))
        arrays = {slot: np.full(entries, 0.5, plan.dtype) for slot, entries in sizes.items()}
        pointers = (ctypes.c_uint64 * len(plan.place_of))()
        for slot, array in arrays.items():
            pointers[slot] = array.ctypes.data
        integers = np.array([rows, 1, 0, 1, 0, 1, *[0] * len(plan.schedule.buffers), *plan.module.sizes], np.int64)
        return Run(ctypes.addressof(pointers), plan.dtype, rows, 1, {"write": 1}), integers, (arrays, pointers)

    def by_ours() -> None:
        run, integers, _ = scratch()
        ours(run.pointers, integers.ctypes.data, plan.numbers_at, 0, last)

    return {OURS: by_ours, BLAS: lambda: work(scratch()[0])}
