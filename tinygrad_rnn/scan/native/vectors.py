"""A vector of LLVM with the operators of Python, so that a formula is written once and reads as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .lanes import intrinsic

__all__ = ["Vector", "constant", "known"]

Number = int | float | bool


def constant(type: Any, number: Number) -> Any:
    """The vector of this type whose lanes all hold one number."""
    value = int(number) if isinstance(type.element, ir.IntType) else float(number)
    return ir.Constant(type, [ir.Constant(type.element, value)] * type.count)


def known(value: Any) -> float | None:
    """The number that all lanes hold when that is known while compiling, else None."""
    lanes = getattr(value, "constant", None)
    numbers = {getattr(lane, "constant", lane) for lane in lanes} if isinstance(lanes, list | tuple) else {lanes}
    number = numbers.pop() if len(numbers) == 1 else None
    return float(number) if isinstance(number, int | float) else None


class Vector:
    """Lanes of float, double, i1 (a mask) or i32 (bits), with the builder that adds instructions.

    Numbers mix in as constants; a mask beside real lanes counts as 0 and 1, as in NumPy; comparisons give masks.
    """

    __slots__ = ("builder", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def type(self) -> Any:
        return self.value.type

    @property
    def single(self) -> bool:
        return isinstance(self.type.element, ir.FloatType)

    @property
    def is_mask(self) -> bool:
        return isinstance(self.type.element, ir.IntType) and self.type.element.width == 1

    @property
    def is_bits(self) -> bool:
        return isinstance(self.type.element, ir.IntType) and self.type.element.width == 32

    def new(self, value: Any) -> Vector:
        return Vector(self.builder, value)

    def fill(self, x: Number | Vector) -> Vector:
        """x in the type of self: a number in every lane, a mask as 0 and 1."""
        if not isinstance(x, Vector):
            return self.new(constant(self.type, x))
        return self.new(self.builder.uitofp(x.value, self.type)) if x.is_mask and not self.is_mask else x

    def _with(self, other: Number | Vector, make: Callable[[Any, Any], Any]) -> Vector:
        b = self.fill(other)
        return self.new(make(b.fill(self).value, b.value))

    def __add__(self, other: Number | Vector) -> Vector:
        return self._with(other, self.builder.fadd)

    def __sub__(self, other: Number | Vector) -> Vector:
        return self._with(other, self.builder.sub if self.is_bits else self.builder.fsub)

    def __rsub__(self, other: Number) -> Vector:
        return self.fill(other) - self

    def __mul__(self, other: Number | Vector) -> Vector:
        return self._with(other, self.builder.fmul)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Number | Vector) -> Vector:
        return self._with(other, self.builder.fdiv)

    def __rtruediv__(self, other: Number) -> Vector:
        return self.fill(other) / self

    def __neg__(self) -> Vector:
        return self.new(self.builder.fneg(self.value))

    def __and__(self, other: Vector) -> Vector:
        return self._with(other, self.builder.and_)

    def __or__(self, other: Vector) -> Vector:
        return self._with(other, self.builder.or_)

    def __xor__(self, other: Vector) -> Vector:
        return self._with(other, self.builder.xor)

    def __invert__(self) -> Vector:
        return self.new(self.builder.not_(self.value))

    def __lshift__(self, bits: int) -> Vector:
        return self._with(bits, self.builder.shl)

    def __rshift__(self, bits: int) -> Vector:
        return self._with(bits, self.builder.ashr)

    def compare(self, sign: str, other: Number | Vector) -> Vector:
        """The mask of <, <=, ==, !=, >= or >; with a NaN only != holds."""
        ordered = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return self._with(other, lambda a, b: ordered(sign, a, b))

    def __lt__(self, other: Number | Vector) -> Vector:
        return self.compare("<", other)

    def __gt__(self, other: Number | Vector) -> Vector:
        return self.compare(">", other)

    def truth(self) -> Vector:
        """The mask of what is not zero; NaN is not."""
        return self if self.is_mask else self.compare("!=", 0)

    def select(self, a: Vector, b: Number | Vector) -> Vector:
        """a where this mask holds, else b."""
        return a._with(b, lambda a, b: self.builder.select(self.value, a, b))

    def at_most(self, bound: Number | Vector) -> Vector:
        """The smaller of two; a NaN in self passes, the bound is none: one instruction on most machines."""
        bound = self.fill(bound)
        return (bound < self).select(bound, self)

    def at_least(self, bound: Number | Vector) -> Vector:
        """The larger of two; a NaN in self passes, the bound is none."""
        bound = self.fill(bound)
        return (bound > self).select(bound, self)

    def intrinsic(self, name: str, *others: Vector) -> Vector:
        """An operation of LLVM on vectors of one type, such as fma, sqrt, fabs, copysign."""
        arguments = [self.value] + [v.value for v in others]
        suffix = f"v{self.type.count}{'f32' if self.single else 'f64'}"
        function = intrinsic(self.builder.module, f"llvm.{name}.{suffix}", self.type, [a.type for a in arguments])
        return self.new(self.builder.call(function, arguments))

    def fma(self, factor: Number | Vector, term: Number | Vector) -> Vector:
        """self · factor + term, rounded once."""
        return self.intrinsic("fma", self.fill(factor), self.fill(term))

    def library(self, name: str, *others: Vector) -> Vector:
        """A function of libm, lane by lane, in a function that is added to the module once."""
        arguments, element, count = [self.value] + [v.value for v in others], self.type.element, self.type.count
        module, name = self.builder.module, f"{name}f" if self.single else name
        scalar = intrinsic(module, name, element, [element] * len(arguments))
        whole = intrinsic(module, f"{name}.v{count}", self.type, [self.type] * len(arguments))
        if whole.is_declaration:
            whole.linkage = "internal"
            whole.attributes.add("noinline")
            inside = ir.IRBuilder(whole.append_basic_block())
            out = ir.Constant(self.type, ir.Undefined)
            for i in range(count):
                lane = ir.Constant(ir.IntType(32), i)
                result = inside.call(scalar, [inside.extract_element(v, lane) for v in whole.args])
                out = inside.insert_element(out, result, lane)
            inside.ret(out)
        return self.new(self.builder.call(whole, arguments))

    def as_bits(self) -> Vector:
        """The 32-bit pattern of each float, as an integer."""
        return self.new(self.builder.bitcast(self.value, ir.VectorType(ir.IntType(32), self.type.count)))

    def as_float(self) -> Vector:
        """The float that each 32-bit pattern stands for."""
        return self.new(self.builder.bitcast(self.value, ir.VectorType(ir.FloatType(), self.type.count)))

    def rounded(self) -> Vector:
        """Each 32-bit integer as a float."""
        return self.new(self.builder.sitofp(self.value, ir.VectorType(ir.FloatType(), self.type.count)))
