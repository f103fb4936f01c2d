"""The elementwise ops as LLVM instructions on vectors: one table from the name of an op to its formula.

float64 follows NumPy through libm; the functions of float32 that gates are made of are polynomials, see approximations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.special import _ABOVE, _BELOW
from . import approximations
from .vectors import Number, Vector, known

__all__ = ["EMITTERS", "MASK_EMITTERS", "emit", "supports"]


def _function(name: str) -> Callable[[Vector], Vector]:
    """A function of one vector: libm's, lane by lane; for float32 our own approximation where there is one."""
    approximate = getattr(approximations, name, None)
    return lambda x: approximate(x) if approximate and x.single else x.library(name)


exp, expm1, log, log1p, tanh = (_function(name) for name in ("exp", "expm1", "log", "log1p", "tanh"))


def _sqrt(x: Vector) -> Vector:
    return x.intrinsic("sqrt")


def _abs(x: Vector) -> Vector:
    return x.intrinsic("fabs")


POWERS: dict[float, Callable[[Vector], Vector]] = {
    -1.0: lambda a: 1 / a,
    -0.5: lambda a: 1 / _sqrt(a),
    0.0: lambda a: a.fill(1),
    0.5: _sqrt,
    1.0: lambda a: a,
    2.0: lambda a: a * a,
    3.0: lambda a: a * a * a,
}


def _pow(a: Vector, b: Vector) -> Vector:
    exponent = known(b.value)
    return POWERS[exponent](a) if exponent in POWERS else a.library("pow", b)


def _sign(x: Vector) -> Vector:
    one = x.fill(1)
    return (x > 0).select(one, (x < 0).select(-one, x + 0))  # −0 + 0 = 0; NaN stays


def _extremum(bound: Callable[[Vector, Number | Vector], Vector]) -> Callable[[Vector, Number | Vector], Vector]:
    """maximum or minimum with NumPy's NaN: of either argument; ``bound`` passes that of its first."""

    def emit(a: Vector, b: Number | Vector) -> Vector:
        b = a.fill(b)
        a = b.fill(a)
        number = known(b.value)
        result = bound(a, b)
        if number is not None and number == number:
            return result
        return b.compare("==", b).select(result, b)

    return emit


maximum, minimum = _extremum(Vector.at_least), _extremum(Vector.at_most)


def _clip(x: Vector, min: Number | Vector | None = None, max: Number | Vector | None = None) -> Vector:
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


def _sigmoid(x: Vector) -> Vector:
    return approximations.sigmoid(x) if x.single else 0.5 * tanh(0.5 * x) + 0.5


def _leaky_relu(x: Vector, negative_slope: Number | Vector = 0.01) -> Vector:
    return (x > 0).select(x, x * negative_slope)


def _elu(x: Vector, alpha: Number | Vector = 1.0) -> Vector:
    return (x > 0).select(x, expm1(x.at_most(0)) * alpha)


def _softplus(x: Vector) -> Vector:
    return approximations.softplus(x) if x.single else x.at_least(0) + log1p(exp(-_abs(x)))


def _erf(x: Vector) -> Vector:
    if x.single:
        return approximations.erf(x)
    size = _abs(x).at_most(6)
    above, below = size.fill(_ABOVE[0]), size.fill(_BELOW[0])
    for c in _ABOVE[1:]:
        above = above * size + c
    for c in _BELOW[1:]:
        below = below * size + c
    return (-expm1(-(size * above / below))).intrinsic("copysign", x)


def _compare(sign: str) -> Callable[[Vector, Vector], Vector]:
    return lambda a, b: a.compare(sign, b)


EMITTERS: dict[str, Callable[..., Vector]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "neg": lambda x: -x,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": _pow,
    "square": lambda x: x * x,
    "sqrt": _sqrt,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "sin": _function("sin"),
    "cos": _function("cos"),
    "abs": _abs,
    "sign": _sign,
    "maximum": maximum,
    "minimum": minimum,
    "clip": _clip,
    "where": lambda condition, a, b: condition.truth().select(a, b),
    "equal": _compare("=="),
    "not_equal": _compare("!="),
    "less": _compare("<"),
    "less_equal": _compare("<="),
    "greater": _compare(">"),
    "greater_equal": _compare(">="),
    "logical_and": lambda a, b: a.truth() & b.truth(),
    "logical_or": lambda a, b: a.truth() | b.truth(),
    "logical_not": lambda x: ~x.truth(),
    "isfinite": lambda x: _abs(x) < math.inf,
    "tanh": tanh,
    "sigmoid": _sigmoid,
    "step": lambda x: (x > 0).select(x.fill(1), 0),
    "relu": lambda x: x.at_least(0),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "silu": lambda x: x * _sigmoid(x),
    "hard_sigmoid": lambda x: _clip(x.fma(1 / 6, 0.5), 0, 1),
    "erf": _erf,
}

MASK_EMITTERS: dict[str, Callable[..., Vector]] = {
    "add": lambda a, b: a | b,
    "mul": lambda a, b: a & b,
    "square": lambda x: x,
    "abs": lambda x: x,
    "maximum": lambda a, b: a | b,
    "minimum": lambda a, b: a & b,
    "equal": lambda a, b: ~(a ^ b),
    "not_equal": lambda a, b: a ^ b,
    "less": lambda a, b: ~a & b,
    "less_equal": lambda a, b: ~a | b,
    "greater": lambda a, b: a & ~b,
    "greater_equal": lambda a, b: a | ~b,
    "isfinite": lambda x: x | ~x,
    "step": lambda x: x,
    **{name: EMITTERS[name] for name in ("where", "logical_and", "logical_or", "logical_not")},
}


def supports(name: str, dtype: Any) -> bool:
    """Whether the op has a formula for arguments of this dtype: float32, float64 or bool."""
    return name in {"f4": EMITTERS, "f8": EMITTERS, "b1": MASK_EMITTERS}.get(np.dtype(dtype).str[1:], {})


def emit(name: str, builder: Any, args: list[Any], params: dict[str, Any]) -> Any:
    """The vector ``name(*args, **params)``; args are values of LLVM, <W x float>, <W x double> or <W x i1>.

    A mask beside a real vector counts as 0 and 1. Params are numbers, None, or values already filled to a vector.
    Raises KeyError for an op that ``supports`` denies.
    """
    vectors = [Vector(builder, a) for a in args]
    table = MASK_EMITTERS if all(v.is_mask for v in vectors) else EMITTERS
    metadata = {k: p if p is None or isinstance(p, int | float) else Vector(builder, p) for k, p in params.items()}
    return table[name](*vectors, **metadata).value
