"""Ops that work entry by entry, with NumPy broadcasting: arithmetic, selection, comparison."""

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
    "equal",
    "exp",
    "expm1",
    "greater",
    "greater_equal",
    "isfinite",
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
    "sign",
    "sin",
    "sqrt",
    "square",
    "sub",
    "where",
]

# mypy: disable-error-code="no-untyped-def"


@elementwise("add", 1, 1)
def add(a, b):
    """a + b; each gets the gradient, summed over the axes along which it was broadcast.

    >>> import tinygrad_rnn as tg
    >>> tg.add(tg.tensor([1.0, 2.0]), 10.0)
    tensor([11., 12.])
    """
    return a + b


@elementwise("sub", 1, -1)
def sub(a, b):
    """a − b; the gradient goes to a, its negative to b.

    >>> import tinygrad_rnn as tg
    >>> tg.sub(tg.tensor([1.0, 2.0]), 10.0)
    tensor([-9., -8.])
    """
    return a - b


@elementwise("neg", -1)
def neg(x):
    """−x.

    >>> import tinygrad_rnn as tg
    >>> tg.neg(tg.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    return -x


@elementwise("mul", lambda b: b, lambda a: a)
def mul(a, b):
    """a · b, entry by entry; ∂/∂a = b, ∂/∂b = a.

    >>> import tinygrad_rnn as tg
    >>> tg.mul(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor([3., 8.])
    """
    return a * b


@elementwise("div", lambda b: 1 / b, lambda out, b: -out / b)
def div(a, b):
    """a / b, entry by entry; ∂/∂a = 1/b, ∂/∂b = −a/b².

    >>> import tinygrad_rnn as tg
    >>> tg.div(tg.tensor([1.0, 2.0]), tg.tensor([4.0, 2.0]))
    tensor([0.25, 1.  ])
    """
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
    """a^b; ∂/∂a = b a^(b−1), ∂/∂b = a^b log a, which counts as 0 where a ≤ 0.

    >>> import tinygrad_rnn as tg
    >>> tg.pow(tg.tensor([2.0, 3.0]), 3)
    tensor([ 8., 27.])
    """
    return a**b


@elementwise("square", lambda x: 2 * x)
def square(x):
    """x²; the derivative is 2x.

    >>> import tinygrad_rnn as tg
    >>> tg.square(tg.tensor([2.0, -3.0]))
    tensor([4., 9.])
    """
    return x * x


@elementwise("exp", lambda out: out)
def exp(xp, x):
    """eˣ, which is its own derivative.

    >>> import tinygrad_rnn as tg
    >>> tg.exp(tg.tensor([0.0, 1.0]))
    tensor([1.    , 2.7183])
    """
    return xp.exp(x)


@elementwise("expm1", lambda out: out + 1)
def expm1(xp, x):
    """eˣ − 1, accurate near 0; the derivative is eˣ.

    >>> import tinygrad_rnn as tg
    >>> tg.expm1(tg.tensor([1e-9, 1.0]))
    tensor([1.0000e-09, 1.7183e+00])
    """
    return xp.expm1(x)


@elementwise("log", lambda x: 1 / x)
def log(xp, x):
    """Natural logarithm; the derivative is 1/x.

    >>> import tinygrad_rnn as tg
    >>> tg.log(tg.tensor([1.0, 10.0]))
    tensor([0.    , 2.3026])
    """
    return xp.log(x)


@elementwise("log1p", lambda x: 1 / (1 + x))
def log1p(xp, x):
    """log(1 + x), accurate near 0; the derivative is 1 / (1 + x).

    >>> import tinygrad_rnn as tg
    >>> tg.log1p(tg.tensor([0.0, 1.0]))
    tensor([0.    , 0.6931])
    """
    return xp.log1p(x)


@elementwise("sqrt", lambda out: 0.5 / out)
def sqrt(xp, x):
    """√x; the derivative is 1 / (2√x), infinite at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.sqrt(tg.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    return xp.sqrt(x)


@elementwise("sin", lambda x: cos(x))
def sin(xp, x):
    """Sine, in radians; the derivative is cos x.

    >>> import tinygrad_rnn as tg
    >>> tg.sin(tg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8415])
    """
    return xp.sin(x)


@elementwise("cos", lambda x: -sin(x))
def cos(xp, x):
    """Cosine, in radians; the derivative is −sin x.

    >>> import tinygrad_rnn as tg
    >>> tg.cos(tg.tensor([0.0, 1.0]))
    tensor([1.    , 0.5403])
    """
    return xp.cos(x)


def _phase(x, out):
    """∂|x|/∂x: the sign of a real x, conj(x)/|x| of a complex one, 0 at 0."""
    return x.conj() / where(out == 0, 1.0, out) if x.dtype.kind == "c" else sign(x)


def _real_part(z):
    return z.real if z.dtype.kind == "c" else z


@primitive("abs", lambda g, x, out: g * _phase(x, out), jvp=lambda t, x, out: _real_part(t * _phase(x, out)))
def abs(xp, x):
    """|x|; the gradient is x / |x|, which counts as 0 at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.abs(tg.tensor([-1.0, 0.0, 2.0]))
    tensor([1., 0., 2.])
    """
    return xp.abs(x)


@constant("sign")
def sign(xp, x):
    """−1, 0 or 1; no gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.sign(tg.tensor([-3.0, 0.0, 2.0]))
    tensor([-1.,  0.,  1.])
    """
    return xp.sign(x)


def _to_larger(g, a, b):
    return where(a > b, g, where(a == b, 0.5 * g, 0.0))


@primitive(
    "maximum", lambda g, a, b: _to_larger(g, a, b), lambda g, a, b: _to_larger(g, b, a),
    jvp=[lambda t, a, b: _to_larger(t, a, b), lambda t, a, b: _to_larger(t, b, a)],
)  # fmt: skip
def maximum(xp, a, b):
    """The larger of two, entry by entry; at a tie each gets half of the gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.maximum(tg.tensor([1.0, 5.0]), 3.0)
    tensor([3., 5.])
    """
    return xp.maximum(a, b)


@primitive(
    "minimum", lambda g, a, b: _to_larger(g, b, a), lambda g, a, b: _to_larger(g, a, b),
    jvp=[lambda t, a, b: _to_larger(t, b, a), lambda t, a, b: _to_larger(t, a, b)],
)  # fmt: skip
def minimum(xp, a, b):
    """The smaller of two, entry by entry; at a tie each gets half of the gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.minimum(tg.tensor([1.0, 5.0]), 3.0)
    tensor([1., 3.])
    """
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
    """x held between two numbers, either of them None for no bound; the gradient passes where min ≤ x ≤ max.

    >>> import tinygrad_rnn as tg
    >>> tg.clip(tg.tensor([-2.0, 0.5, 3.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    return _clip(x, min=min, max=max)


@primitive(
    "where", None, lambda g, condition: where(condition, g, 0.0), lambda g, condition: where(condition, 0.0, g),
    jvp=[None, lambda t, condition: where(condition, t, 0.0), lambda t, condition: where(condition, 0.0, t)],
)  # fmt: skip
def where(xp, condition, a, b):
    """a where the condition holds, else b, entry by entry; the gradient goes to the one that was taken.

    >>> import tinygrad_rnn as tg
    >>> tg.where(tg.tensor([True, False]), tg.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    return xp.where(condition, a, b)


def _comparison(name: str, sign: str, compare: Any) -> Any:
    def forward(a, b):
        return compare(a, b)

    forward.__doc__ = f"""a {sign} b, entry by entry, as booleans; no gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.{name}(tg.tensor(1.0), 2.0)
    tensor({compare(1.0, 2.0)}, dtype=bool)
    """
    return constant(name)(forward)


equal = _comparison("equal", "==", lambda a, b: a == b)
not_equal = _comparison("not_equal", "!=", lambda a, b: a != b)
less = _comparison("less", "<", lambda a, b: a < b)
less_equal = _comparison("less_equal", "<=", lambda a, b: a <= b)
greater = _comparison("greater", ">", lambda a, b: a > b)
greater_equal = _comparison("greater_equal", ">=", lambda a, b: a >= b)


@constant("logical_and")
def logical_and(xp, a, b):
    """Whether both hold, entry by entry.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_and(tg.tensor([True, True]), tg.tensor([True, False]))
    tensor([ True, False], dtype=bool)
    """
    return xp.logical_and(a, b)


@constant("logical_or")
def logical_or(xp, a, b):
    """Whether one holds at least, entry by entry.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_or(tg.tensor([True, False]), tg.tensor([False, False]))
    tensor([ True, False], dtype=bool)
    """
    return xp.logical_or(a, b)


@constant("logical_not")
def logical_not(xp, x):
    """Whether x does not hold, entry by entry.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_not(tg.tensor([True, False]))
    tensor([False,  True], dtype=bool)
    """
    return xp.logical_not(x)


@constant("isfinite")
def isfinite(xp, x):
    """Whether x is neither infinite nor NaN, entry by entry.

    >>> import tinygrad_rnn as tg
    >>> tg.isfinite(tg.tensor([1.0, float('inf')]))
    tensor([ True, False], dtype=bool)
    """
    return xp.isfinite(x)
