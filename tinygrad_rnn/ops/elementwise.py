"""Ops that work entry by entry, with NumPy broadcasting: arithmetic, activations, selection, comparison."""

from __future__ import annotations

import math
from typing import Any

from ..declare import constant, elementwise, primitive

__all__ = [
    "abs",
    "add",
    "clip",
    "cos",
    "div",
    "elu",
    "equal",
    "exp",
    "expm1",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "isfinite",
    "leaky_relu",
    "less",
    "less_equal",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "not_equal",
    "pow",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "step",
    "sub",
    "tanh",
    "where",
]

# mypy: disable-error-code="no-untyped-def"


@elementwise("add", 1, 1)
def add(a, b):
    """a + b."""
    return a + b


@elementwise("sub", 1, -1)
def sub(a, b):
    """a − b."""
    return a - b


@elementwise("neg", -1)
def neg(x):
    """−x."""
    return -x


@elementwise("mul", lambda b: b, lambda a: a)
def mul(a, b):
    """a · b, entry by entry."""
    return a * b


@elementwise("div", lambda b: 1 / b, lambda out, b: -out / b)
def div(a, b):
    """a / b, entry by entry."""
    return a / b


def _pow_by_base(a, b):
    if isinstance(b, int | float):
        return b * a ** (b - 1) if b else a * 0
    zero = b == 0  # 0 · a^−1 would be NaN at a = 0
    return where(zero, 0.0, b * a ** where(zero, 1.0, b - 1))


def _pow_by_exponent(out, a):
    if isinstance(a, int | float):
        return out * (math.log(a) if a > 0 else 0.0)
    positive = a > 0
    return out * where(positive, log(where(positive, a, 1.0)), 0.0)


@elementwise("pow", _pow_by_base, _pow_by_exponent)
def pow(a, b):
    """a^b; the derivative by b counts as 0 where a ≤ 0."""
    return a**b


@elementwise("square", lambda x: 2 * x)
def square(x):
    """x²."""
    return x * x


@elementwise("exp", lambda out: out)
def exp(xp, x):
    """eˣ."""
    return xp.exp(x)


@elementwise("expm1", lambda out: out + 1)
def expm1(xp, x):
    """eˣ − 1, accurate near 0."""
    return xp.expm1(x)


@elementwise("log", lambda x: 1 / x)
def log(xp, x):
    """Natural logarithm."""
    return xp.log(x)


@elementwise("log1p", lambda x: 1 / (1 + x))
def log1p(xp, x):
    """log(1 + x), accurate near 0."""
    return xp.log1p(x)


@elementwise("sqrt", lambda out: 0.5 / out)
def sqrt(xp, x):
    """√x."""
    return xp.sqrt(x)


@elementwise("sin", lambda x: cos(x))
def sin(xp, x):
    """Sine, in radians."""
    return xp.sin(x)


@elementwise("cos", lambda x: -sin(x))
def cos(xp, x):
    """Cosine, in radians."""
    return xp.cos(x)


@elementwise("tanh", lambda out: 1 - out * out)
def tanh(xp, x):
    """Hyperbolic tangent, (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ): between −1 and 1, with derivative 1 − tanh² x."""
    return xp.tanh(x)


@elementwise("sigmoid", lambda out: out * (1 - out))
def sigmoid(xp, x):
    """1 / (1 + e⁻ˣ), computed as ½ tanh(x/2) + ½, which never overflows; its logarithm is −softplus(−x)."""
    y = xp.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y


@constant("step")
def step(xp, x):
    """1 where x > 0, else 0, in the dtype of x."""
    return (x > 0).astype(x.dtype)


@elementwise("relu", lambda out: step(out))
def relu(xp, x):
    """max(x, 0)."""
    return xp.maximum(x, 0)


@elementwise("leaky_relu", lambda x, negative_slope: step(x) * (1 - negative_slope) + negative_slope)
def leaky_relu(xp, x, *, negative_slope=0.01):
    """x where positive, else negative_slope · x."""
    return xp.where(x > 0, x, negative_slope * x)


@elementwise("elu", lambda x, out, alpha: step(x) + (1 - step(x)) * (out + alpha))
def elu(xp, x, *, alpha=1.0):
    """x where positive, else α (eˣ − 1) (Clevert et al. 2016)."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@elementwise("softplus", lambda x: sigmoid(x))
def softplus(xp, x):
    """log(1 + eˣ) without overflow."""
    return xp.logaddexp(x, xp.zeros_like(x))


def _silu_partial(x, out):
    s = sigmoid(x)
    return s + out * (1 - s)


@elementwise("silu", _silu_partial)
def silu(xp, x):
    """x · sigmoid(x), also called swish."""
    return x * (0.5 * xp.tanh(0.5 * x) + 0.5)


@elementwise("hard_sigmoid", lambda x: step(3 - abs(x)) / 6)
def hard_sigmoid(xp, x):
    """clip(x / 6 + ½, 0, 1)."""
    return xp.clip(x / 6 + 0.5, 0, 1)


def _phase(x, out):
    """∂|x|/∂x: the sign of a real x, conj(x)/|x| of a complex one, 0 at 0."""
    return x.conj() / where(out == 0, 1.0, out) if x.dtype.kind == "c" else sign(x)


def _real_part(z):
    return z.real if z.dtype.kind == "c" else z


@primitive("abs", lambda g, x, out: g * _phase(x, out), jvp=lambda t, x, out: _real_part(t * _phase(x, out)))
def abs(xp, x):
    """|x|; the derivative at 0 counts as 0."""
    return xp.abs(x)


@constant("sign")
def sign(xp, x):
    """−1, 0 or 1."""
    return xp.sign(x)


def _to_larger(g, a, b):
    return where(a > b, g, where(a == b, 0.5 * g, 0.0))


@primitive(
    "maximum", lambda g, a, b: _to_larger(g, a, b), lambda g, a, b: _to_larger(g, b, a),
    jvp=[lambda t, a, b: _to_larger(t, a, b), lambda t, a, b: _to_larger(t, b, a)],
)  # fmt: skip
def maximum(xp, a, b):
    """The larger of two, entry by entry; at a tie each gets half of the gradient."""
    return xp.maximum(a, b)


@primitive(
    "minimum", lambda g, a, b: _to_larger(g, b, a), lambda g, a, b: _to_larger(g, a, b),
    jvp=[lambda t, a, b: _to_larger(t, b, a), lambda t, a, b: _to_larger(t, a, b)],
)  # fmt: skip
def minimum(xp, a, b):
    """The smaller of two, entry by entry; at a tie each gets half of the gradient."""
    return xp.minimum(a, b)


def _inside(g, x, min, max):
    if min is not None:
        g = where(x >= min, g, 0.0)
    if max is not None:
        g = where(x <= max, g, 0.0)
    return g


@primitive("clip", _inside, jvp=lambda t, x, min, max: _inside(t, x, min, max))
def _clip(xp, x, *, min, max):
    return xp.clip(x, min, max)


def clip(x, min=None, max=None):
    """x held between two numbers; either may be None."""
    return _clip(x, min=min, max=max)


@primitive(
    "where", None, lambda g, condition: where(condition, g, 0.0), lambda g, condition: where(condition, 0.0, g),
    jvp=[None, lambda t, condition: where(condition, t, 0.0), lambda t, condition: where(condition, 0.0, t)],
)  # fmt: skip
def where(xp, condition, a, b):
    """a where the condition holds, else b, entry by entry; the gradient goes to the one that was taken."""
    return xp.where(condition, a, b)


def _comparison(name: str, sign: str, compare: Any) -> Any:
    def forward(a, b):
        return compare(a, b)

    forward.__doc__ = f"a {sign} b, entry by entry, as booleans; no gradient passes."
    return constant(name)(forward)


equal = _comparison("equal", "==", lambda a, b: a == b)
not_equal = _comparison("not_equal", "!=", lambda a, b: a != b)
less = _comparison("less", "<", lambda a, b: a < b)
less_equal = _comparison("less_equal", "<=", lambda a, b: a <= b)
greater = _comparison("greater", ">", lambda a, b: a > b)
greater_equal = _comparison("greater_equal", ">=", lambda a, b: a >= b)


@constant("logical_and")
def logical_and(xp, a, b):
    """Both hold, entry by entry."""
    return xp.logical_and(a, b)


@constant("logical_or")
def logical_or(xp, a, b):
    """One holds, entry by entry."""
    return xp.logical_or(a, b)


@constant("logical_not")
def logical_not(xp, x):
    """It does not hold, entry by entry."""
    return xp.logical_not(x)


@constant("isfinite")
def isfinite(xp, x):
    """Neither infinite nor NaN, entry by entry."""
    return xp.isfinite(x)
