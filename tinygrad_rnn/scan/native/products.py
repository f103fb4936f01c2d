"""The matrix products on NumPy arrays: each native function of gemm.py behind one Python method."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from . import machine
from .gemm import columns, outer, pack, packed_size, product
from .lanes import INT, PTR, Lanes

__all__ = ["OVERWRITE", "ACCUMULATE", "BIAS", "Products", "products"]

OVERWRITE, ACCUMULATE, BIAS = 0, 1, 2


@cache
def products(dtype: str) -> Products:
    """The products of this processor's widest vectors, compiled once.

    >>> p = products("float32")
    >>> a, b = np.ones((2, 3), np.float32), np.arange(12, dtype=np.float32).reshape(3, 4)
    >>> p.product(a, p.pack(b), 4)
    array([[12., 15., 18., 21.],
           [12., 15., 18., 21.]], dtype=float32)
    """
    return Products(Lanes.host(dtype))


class Products:
    """C = A @ B with B packed, its packing, and Aᵀ @ B, on matrices whose rows are contiguous."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes, self.dtype, self.columns = lanes, np.dtype(lanes.dtype), columns(lanes)
        code = machine.build(str(assembly(lanes)))
        self._product, self._pack, self._outer = machine.load(code, ["run_product", "run_pack", "run_outer"])

    def pack(self, b: np.ndarray) -> np.ndarray:
        """B (K, N), of any strides, as the panels ``product`` reads."""
        self._matrix("pack", "b", b)
        K, N = b.shape
        out = aligned(packed_size(self.lanes, K, N), self.dtype)
        row, column = (stride // b.itemsize for stride in b.strides)
        self._pack(_words(_at(b), _at(out)), _words(row, column, K, N), None, 0, 0)
        return out

    def product(
        self,
        a: np.ndarray,
        packed: np.ndarray,
        N: int,
        out: np.ndarray | None = None,
        mode: int = OVERWRITE,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        """A (M, K) @ B (K, N); ``mode`` ACCUMULATE adds it to ``out``, BIAS adds ``bias`` (N,) to each row."""
        self._matrix("product", "a", a, rows=True)
        M, K = a.shape
        if packed.dtype != self.dtype or packed.shape != (packed_size(self.lanes, K, N),):
            raise ValueError(f"product: {packed.dtype} {packed.shape} is no packed {self.dtype} ({K}, {N})")
        out = self._target("product", out, (M, N), mode)
        fits = bias is not None and bias.dtype == self.dtype and bias.shape == (N,) and bias.flags.c_contiguous
        if mode == BIAS and not fits:
            raise ValueError(f"product: the bias must be a contiguous {self.dtype} ({N},)")
        vector = 0 if bias is None else _at(bias)
        integers = _words(_step(a), K, N, _step(out), mode)
        self._product(_words(_at(a), _at(packed), _at(out), vector), integers, None, 0, M)
        return out

    def outer(
        self,
        a: np.ndarray,
        b: np.ndarray,
        out: np.ndarray | None = None,
        mode: int = OVERWRITE,
        first: int = 0,
        last: int | None = None,
    ) -> np.ndarray:
        """A (R, M)ᵀ @ B (R, N), columns ``first`` … ``last`` − 1 only; ``mode`` ACCUMULATE adds it to ``out``."""
        self._matrix("outer", "a", a, rows=True)
        self._matrix("outer", "b", b, rows=True)
        (R, M), N = a.shape, b.shape[1]
        last = N if last is None else last
        if b.shape[0] != R or not 0 <= first <= last <= N:
            raise ValueError(f"outer: {a.shape}ᵀ @ {b.shape}, columns {first}:{last}; rows or columns do not fit")
        out = self._target("outer", out, (M, N), mode)
        integers = _words(_step(a), R, M, _step(b), _step(out), mode)
        self._outer(_words(_at(a), _at(b), _at(out)), integers, None, first, last)
        return out

    def _matrix(self, place: str, name: str, x: np.ndarray, *, rows: bool = False) -> None:
        if x.ndim != 2 or x.dtype != self.dtype or (rows and x.strides[1] != x.itemsize and x.size and x.shape[1] > 1):
            kind = "matrix with contiguous rows" if rows else "matrix"
            raise ValueError(f"{place}: {name} is {x.dtype} {x.shape}, strides {x.strides}; give a {self.dtype} {kind}")

    def _target(self, place: str, out: np.ndarray | None, shape: tuple[int, int], mode: int) -> np.ndarray:
        if out is None and mode != ACCUMULATE:
            return np.empty(shape, self.dtype)
        if out is None or out.shape != shape:
            raise ValueError(f"{place}: out is {None if out is None else out.shape}; mode {mode} needs {shape}")
        self._matrix(place, "out", out, rows=True)
        return out


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An empty vector at the start of a cache line: a vector read across two lines takes twice as long."""
    room = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * dtype.itemsize].view(dtype)


def _at(x: np.ndarray) -> int:
    return x.ctypes.data


def _step(x: np.ndarray) -> int:
    return x.strides[0] // x.itemsize


def _words(*values: int) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def assembly(lanes: Lanes) -> ir.Module:
    """A module with ``run_product`` (first and last a range of rows), ``run_pack``, ``run_outer`` (of columns)."""
    module = ir.Module(f"products.{lanes.suffix}")

    def begin(name: str, pointers: int, integers: int) -> tuple[ir.IRBuilder, list[Any], list[Any], Any, Any]:
        wrapper = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, INT, INT]), name)
        b = ir.IRBuilder(wrapper.append_basic_block("entry"))
        addresses, values, _, first, last = wrapper.args
        ps = [b.load(b.gep(addresses, [INT(i)], source_etype=PTR), typ=PTR) for i in range(pointers)]
        ns = [b.load(b.gep(values, [INT(i)], source_etype=INT), typ=INT) for i in range(integers)]
        return b, ps, ns, first, last

    b, (a, packed, c, bias), (a_row, K, N, c_row, mode), first, last = begin("run_product", 4, 5)
    a, c = lanes.at(b, a, b.mul(first, a_row)), lanes.at(b, c, b.mul(first, c_row))
    b.call(product(module, lanes), [a, a_row, b.sub(last, first), K, packed, N, c, c_row, mode, bias])
    b.ret_void()
    b, pointers, integers, *_ = begin("run_pack", 2, 4)
    b.call(pack(module, lanes), [pointers[0], *integers, pointers[1]])
    b.ret_void()
    b, (a, right, c), (a_row, R, M, b_row, c_row, mode), first, last = begin("run_outer", 3, 6)
    b.call(outer(module, lanes), [a, a_row, R, M, right, b_row, first, last, c, c_row, mode])
    b.ret_void()
    return module
