"""A vector of this or that processor, and the few shapes of intermediate code every generator needs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from . import machine

__all__ = ["BYTE", "FLAG", "INT", "PTR", "Lanes", "intrinsic", "least", "prefetch", "repeat"]

INT, INT32, FLAG, BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(1), ir.IntType(8)
PTR = ir.PointerType()


@dataclass(frozen=True)
class Lanes:
    """Vectors of ``width`` elements of ``dtype`` ("float32" or "float64"), ``registers`` of them in the processor.

    >>> Lanes("float32", 16, 32).bytes
    64
    """

    dtype: str
    width: int
    registers: int

    @staticmethod
    def host(dtype: str) -> Lanes:
        """The widest vectors of this processor: AVX-512 and NEON have 32 registers, AVX2 and SSE have 16."""
        size = machine.vector_bytes()
        many = size == 64 or platform.machine().lower() in ("aarch64", "arm64")
        return Lanes(dtype, size // (4 if dtype == "float32" else 8), 32 if many else 16)

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"Lanes: dtype {self.dtype!r} is neither 'float32' nor 'float64'")
        if self.width < 1 or self.width & (self.width - 1):
            raise ValueError(f"Lanes: width {self.width} is not a power of two")

    @property
    def itemsize(self) -> int:
        return 4 if self.dtype == "float32" else 8

    @property
    def bytes(self) -> int:
        return self.width * self.itemsize

    @property
    def a_line(self) -> int:
        """Vectors in a cache line of 64 bytes, at least one."""
        return max(1, 64 // self.bytes)

    @property
    def scalar(self) -> Any:
        return ir.FloatType() if self.dtype == "float32" else ir.DoubleType()

    @property
    def vector(self) -> Any:
        return ir.VectorType(self.scalar, self.width)

    @property
    def suffix(self) -> str:
        """How LLVM writes the vector in the name of an intrinsic: v16f32."""
        return f"v{self.width}f{8 * self.itemsize}"

    def zero(self) -> Any:
        return ir.Constant(self.vector, [0.0] * self.width)

    def at(self, b: ir.IRBuilder, base: Any, *offsets: Any) -> Any:
        """The address ``base`` plus the offsets, in elements."""
        for offset in offsets:
            base = b.gep(base, [INT(offset) if isinstance(offset, int) else offset], source_etype=self.scalar)
        return base

    def buffer(self, b: ir.IRBuilder, size: int) -> Any:
        """Room for ``size`` elements on the stack, taken in the function's first block."""
        with b.goto_entry_block():
            room = b.alloca(ir.ArrayType(self.scalar, size))
            room.align, room.type = 64, PTR  # llvmlite still gives it the type of a typed pointer
        return room

    def load(self, b: ir.IRBuilder, address: Any) -> Any:
        """A vector from an address aligned to its elements only."""
        return b.load(address, typ=self.vector, align=self.itemsize)

    def store(self, b: ir.IRBuilder, value: Any, address: Any) -> None:
        b.store(value, address, align=self.itemsize)

    def splat(self, b: ir.IRBuilder, scalar: Any) -> Any:
        """A vector with the scalar, of any type, in every lane."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.width), ir.Undefined)
        one = b.insert_element(undefined, scalar, INT32(0))
        return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT32, self.width), [0] * self.width))

    def fma(self, b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
        """x·y + z, rounded once."""
        return b.call(intrinsic(b.module, f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3), [x, y, z])

    def mask(self, b: ir.IRBuilder, count: Any) -> Any:
        """True in the first ``count`` (an i64, of any sign and size) lanes."""
        lane = ir.Constant(ir.VectorType(INT, self.width), list(range(self.width)))
        return b.icmp_signed("<", lane, self.splat(b, count))

    def masked_load(self, b: ir.IRBuilder, address: Any, mask: Any) -> Any:
        """What lies under the mask, zero elsewhere; nothing else is read."""
        name, kinds = f"llvm.masked.load.{self.suffix}.p0", [PTR, INT32, mask.type, self.vector]
        return b.call(
            intrinsic(b.module, name, self.vector, kinds), [address, INT32(self.itemsize), mask, self.zero()]
        )

    def masked_store(self, b: ir.IRBuilder, value: Any, address: Any, mask: Any) -> None:
        name, kinds = f"llvm.masked.store.{self.suffix}.p0", [self.vector, PTR, INT32, mask.type]
        b.call(
            intrinsic(b.module, name, ir.VoidType(), kinds), [value, address, INT32(self.itemsize), mask]
        )


def intrinsic(module: ir.Module, name: str, result: Any, kinds: Sequence[Any]) -> ir.Function:
    """The declaration of an LLVM intrinsic or a library function, once a module."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, list(kinds)), name)


def prefetch(b: ir.IRBuilder, address: Any, *, write: bool = False, near: bool = True) -> None:
    """Ask for the cache line of an address, which need not exist, into the first-level cache or the second."""
    function = intrinsic(b.module, "llvm.prefetch.p0", ir.VoidType(), [PTR, INT32, INT32, INT32])
    b.call(function, [address, INT32(int(write)), INT32(3 if near else 2), INT32(1)])


@contextmanager
def repeat(b: ir.IRBuilder, start: Any, stop: Any, step: Any = None) -> Iterator[Any]:
    """The body of ``for i in range(start, stop, step)``, built inside the with block."""
    before = b.block
    head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(INT)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", i, stop), body, after)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, step or INT(1)), b.block)
    b.branch(head)
    b.position_at_end(after)


def least(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """The smaller of two integers."""
    return b.select(b.icmp_signed("<", x, y), x, y)
