"""The error function, which NumPy lacks, and the activation made of it."""

from __future__ import annotations

import math

import numpy as np

from ..declare import elementwise
from .elementwise import exp

__all__ = ["erf", "gelu"]

# mypy: disable-error-code="no-untyped-def"

# −log(1 − erf x) / x on [0, 6] as a quotient of polynomials, highest power first: a weighted minimax fit, made by
# iterated linear least squares (Sanathanan & Koerner 1963; Lawson 1961) in 50 digits. All coefficients are positive,
# so nothing cancels; the error it leaves in erf is below 2e-18 of the value.
_ABOVE = (
    0.00011826893247782205, 0.0033669708346143047, 0.03496005542299969, 0.19982550267623017, 0.720234216793203,
    1.7140829763583327, 2.6696640387354105, 2.523028834697058, 1.1283791670955126,
)  # fmt: skip
_BELOW = (
    0.00011828996797792148, 0.003364530141408112, 0.034401202267777695, 0.18870739542021353, 0.6324530237782687,
    1.331643773630521, 1.6717865034544717, 1.0,
)  # fmt: skip


def _polynomial(coefficients, x):
    total = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        total *= x
        total += c
    return total


@elementwise("erf", lambda x: 2 / math.sqrt(math.pi) * exp(-x * x))
def erf(xp, x):
    """2/√π ∫₀ˣ e^(−t²) dt, to a few units in the last place; the derivative is 2/√π e^(−x²).

    Computed as ±(1 − e^(−|x| q(|x|))) with a rational q: one formula for all x, with full relative accuracy near 0.

    >>> import tinygrad_rnn as tg
    >>> tg.erf(tg.tensor([0.0, 0.5, -3.0]))
    tensor([ 0.    ,  0.5205, -1.    ])
    """
    size = xp.minimum(xp.abs(x), 6.0)  # erf 6 rounds to 1
    half = size.dtype == np.float16
    if half:
        size = size.astype(np.float32)
    exponent = size * _polynomial(_ABOVE, size) / _polynomial(_BELOW, size)
    out = xp.copysign(xp.expm1(-exponent), x)
    return out.astype(np.float16) if half else out


def gelu(x):
    """x Φ(x), with the normal distribution Φ(x) = ½ (1 + erf(x/√2)) (Hendrycks & Gimpel 2016); exact, no tanh.

    The derivative is Φ(x) + x e^(−x²/2) / √(2π).

    >>> import tinygrad_rnn as tg
    >>> tg.gelu(tg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.    ,  0.8413])
    """
    return x * (0.5 * erf(x * math.sqrt(0.5)) + 0.5)
