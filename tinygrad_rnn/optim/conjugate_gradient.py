"""Conjugate gradients: a linear system solved by products with its matrix alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backend import namespace

__all__ = ["Iterate", "conjugate_gradient"]

Array = Any


@dataclass(frozen=True)
class Iterate:
    """Where conjugate gradients were after ``step`` products: ``x``, and ``value`` = ½ xᵀ A x − bᵀ x, below zero."""

    step: int
    x: Array
    value: float


def conjugate_gradient(
    product: Callable[[Array], Array],
    b: Array,
    *,
    start: Array | None = None,
    preconditioner: Array | None = None,
    steps: int = 250,
    tolerance: float = 5e-4,
    spacing: float = 1.3,
) -> list[Iterate]:
    """Minimise ``φ(x) = ½ xᵀ A x − bᵀ x``, that is, solve ``A x = b``, for a positive definite A (n, n).

    ``product(v)`` is A v; b, ``start`` and ``preconditioner``, a positive diagonal near A's, are vectors (n,). It ends
    after ``steps`` products, or once the last k = max(10, i / 10) of i made φ smaller by less than k · ``tolerance`` of
    itself, or where no direction is left (Martens 2010, section 4.4). A ``start`` that is worse than zeros is not used.

    Returns the iterates after ⌈spacingʲ⌉ products, j = 0, 1, …, and the last (section 4.6); none when b is zeros.
    Raises ValueError when A is not positive definite, FloatingPointError when a product is not finite.

    >>> import numpy as np
    >>> A, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    >>> conjugate_gradient(lambda v: A @ v, b)[-1].x
    array([0.09090909, 0.63636364])
    """
    xp = namespace(b)
    rounding = math.sqrt(float(xp.finfo(b.dtype).eps))
    x, r, value = xp.zeros_like(b), b, 0.0
    if start is not None:
        residual = b - product(start)
        begun = -0.5 * _dot(start, b + residual)
        if begun < 0:
            x, r, value = start, residual, begun
    y = r if preconditioner is None else r / preconditioner
    p, slope = y, _dot(r, y)
    values, kept, mark = [value], list[Iterate](), 0
    for i in range(1, steps + 1):
        if slope <= 0:  # r is zero: solved
            break
        q = product(p)
        curvature = _dot(p, q)
        if not math.isfinite(curvature):
            raise FloatingPointError(f"conjugate gradients, step {i}: pᵀ A p is {curvature}")
        if curvature <= 0:
            if curvature < -rounding * math.sqrt(_dot(p, p) * _dot(q, q)):
                raise ValueError(f"conjugate gradients, step {i}: A is not positive definite, pᵀ A p is {curvature:g}")
            break
        along = slope / curvature
        x, r = x + along * p, r - along * q
        y = r if preconditioner is None else r / preconditioner
        slope, before = _dot(r, y), slope
        p = y + (slope / before) * p
        values.append(-0.5 * _dot(x, b + r))
        k = max(10, i // 10)
        ended = i > k and values[i] < 0 and values[i] - values[i - k] > k * tolerance * values[i]
        if i >= math.ceil(spacing**mark) or ended or i == steps:
            kept.append(Iterate(i, x, values[i]))
            while math.ceil(spacing**mark) <= i:
                mark += 1
        if ended:
            break
    last = len(values) - 1
    if last and kept[-1].step < last:
        kept.append(Iterate(last, x, values[-1]))
    return kept or ([Iterate(0, x, value)] if value < 0 else [])


def _dot(a: Array, b: Array) -> float:
    return float(namespace(a).vdot(a, b))
