"""Cotangents on their way down: un-broadcasting, dtype, and contributions that are summed later in one go.

A weight used at T steps gets T contributions a_tᵀ g_t. Kept as pairs until the weight is reached, they are one GEMM
over T·B rows instead of T small ones; a series read as x[0], …, x[T−1] gets one buffer instead of T full-size ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .backend import namespace
from .op import Op

__all__ = ["Deferred", "fit"]

CAP = 64 << 20  # bytes of pending pairs at which they are summed early, unless the sum itself is larger


class Deferred:
    """A sum of contributions not yet computed: ``value()`` computes it. A message may be one (see on_message)."""

    __slots__ = ("cap", "dense", "dtype", "parts", "pending", "shape", "xp")

    def __init__(self, xp: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self.xp, self.shape, self.dtype = xp, shape, dtype
        self.dense: Any = None
        self.parts: dict[tuple[Op, int], list[tuple]] = {}
        self.pending = 0
        self.cap = max(CAP, math.prod(shape) * dtype.itemsize)

    def defer(self, op: Op, argument: int, part: tuple) -> Deferred:
        """Add one contribution of ``op`` to its argument; returns self."""
        self.parts.setdefault((op, argument), []).append(part)
        self.pending += sum(getattr(x, "nbytes", 0) for x in part)
        if self.pending > self.cap:
            self.dense = self.value()
            self.parts, self.pending = {}, 0
        return self

    def add(self, other: Any) -> None:
        """Add a dense contribution, or all of another Deferred."""
        if type(other) is Deferred:
            for (op, argument), parts in other.parts.items():
                for part in parts:
                    self.defer(op, argument, part)
            other = other.dense
        if other is not None:
            self.dense = other if self.dense is None else self.dense + other

    def value(self) -> Any:
        """The sum, as one array of the weight's shape and dtype."""
        total = self.dense
        for (op, argument), parts in self.parts.items():
            combined = op.deferred[argument][1](self.xp, parts, self.shape, self.dtype)
            total = combined if total is None else total + combined
        return total if total.dtype == self.dtype else cast(total, self.dtype)

    def conj(self) -> Deferred:
        """The conjugate sum: complex messages are turned like gradients, which costs their being computed."""
        turned = Deferred(self.xp, self.shape, self.dtype)
        turned.dense = self.value().conj()
        return turned


def fit(g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Sum a contribution over the axes that broadcasting made, and give it the primal's dtype.

    The gradient of a real primal is real. Works on arrays and, recording, on Tensors.
    """
    if g.shape != shape:
        given = g.shape
        if len(given) > len(shape):
            g = g.sum(tuple(range(len(given) - len(shape))))
        stretched = tuple([i for i, (n, m) in enumerate(zip(shape, g.shape, strict=False)) if n == 1 and m != 1])
        if stretched:
            g = g.sum(stretched, keepdims=True)
        if g.shape != shape:
            raise ValueError(f"a rule gave a cotangent of shape {given} for an argument of shape {shape}")
    if g.dtype != dtype:
        g = cast(g, dtype)
    return g


def cast(g: Any, dtype: Any) -> Any:
    """``g`` in another floating dtype; the real part when ``dtype`` is real."""
    if g.dtype.kind == "c" and dtype.kind != "c":
        g = g.real
    return g.astype(dtype)


def handed_out(g: Any, given: set[int]) -> Any:
    """A gradient that its owner may keep and write into: contiguous, writable, shared with nothing else."""
    if type(g) is np.ndarray and g.base is None and id(g) not in given:
        flags = g.flags
        if flags.c_contiguous and flags.writeable:
            given.add(id(g))
            return g
    xp = namespace(g)
    if not hasattr(g, "flags"):
        g = xp.asarray(g)
    if g.base is not None or not g.flags.c_contiguous or not getattr(g.flags, "writeable", True) or id(g) in given:
        g = xp.array(g, order="C")
    given.add(id(g))
    return g
