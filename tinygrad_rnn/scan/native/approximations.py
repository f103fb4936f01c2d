"""Transcendental functions of float32 vectors as polynomials and quotients: no call, no table, no branch.

All coefficients are minimax fits made for this file (Remez 1934, exchange in 40 digits), rounded to float32, lowest
power first, the others fitted again each time. The errors given are relative and those of the rounded fit, before the
rounding of the arithmetic, which brings the functions to 1 to 3 units in the last place. NaN passes through all.
"""

from __future__ import annotations

import math

from .vectors import Vector

__all__ = ["erf", "exp", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh"]

LN2 = math.log(2)
LN2_HIGH = 0.693145751953125  # ln 2 to 16 bits: its product with an exponent is exact
LN2_LOW = LN2 - LN2_HIGH
BIAS = 127  # of the exponent in a float32, which starts at bit 23
ROUND = 1.5 * 2**23  # added to a small number, it leaves the nearest integer in the low bits
SQRT_HALF_BITS = 0x3F3504F3

# (r coth r − 1) / r² in powers of r², |r| ≤ ln 2 / 4; error 2.2e-9 in r coth r.
COTH = (0.33333250880241394, -0.022133680060505867)
# (eʳ − 1 − r) / r² in powers of r, |r| ≤ ln 2 / 2; error 3.3e-9 in eʳ.
EXP = (0.4999999403953552, 0.16666515171527863, 0.041668083518743515, 0.00836934894323349, 0.0013840398751199245)
# The same, one power more; error 5.3e-10 in eʳ − 1.
EXPM1 = (
    0.5, 0.1666666716337204, 0.04166644811630249, 0.008333077654242516, 0.0013937067706137896, 0.0002007964940275997,
)  # fmt: skip
# (log(1 + f) − f + f²/2) / f³ in powers of f, √½ ≤ 1 + f ≤ √2; error 3.7e-9 in log(1 + f).
LOG = (
    0.3333331346511841, -0.2500016689300537, 0.20002222061157227, -0.1665937304496765, 0.1420963853597641,
    -0.12549078464508057, 0.12110598385334015, -0.10918939858675003, 0.05323180556297302,
)  # fmt: skip
# (log(1 + t) − t) / t² in powers of t, 0 ≤ t ≤ 1; error 5.3e-9 in log(1 + t).
LOG1P = (
    -0.4999993145465851, 0.33330464363098145, -0.24958018958568573, 0.19692102074623108, -0.15344880521297455,
    0.10661126673221588, -0.057457175105810165, 0.020086172968149185, -0.0032904406543821096,
)  # fmt: skip
# −log(1 − erf x) / x in powers of x, 0 ≤ x ≤ 4; error 5.2e-8 in erf x, nearly all of it from rounding 2/√π to float32.
ERF = (
    1.128379225730896, 0.6366151571273804, 0.10282903909683228, -0.019378067925572395, 0.00030359660740941763,
    0.0011686827056109905, -0.0003476046840660274, 3.5655848478199914e-05,
)  # fmt: skip


def _polynomial(x: Vector, coefficients: tuple[float, ...]) -> Vector:
    """Horner's scheme, lowest power first in the table."""
    total = x.fill(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total.fma(x, c)
    return total


def _power_of_two(x: Vector, scale: float, shift: int = 0) -> tuple[Vector, Vector]:
    """The integer n nearest to scale · x, and 2^(n + shift), for −127 ≤ n + shift ≤ 127; the power is 0 at −127."""
    offset = ROUND + BIAS + shift
    total = x.fma(scale, offset)
    return total - offset, (total.as_bits() << 23).as_float()  # the shift drops all but n + shift + BIAS


def exp(x: Vector) -> Vector:
    """eˣ = 2ⁿ eʳ with x = n ln 2 + r; results below 1.7e-38 are 0, from 88.72 on they are infinite."""
    x = x.at_most(89).at_least(-87.3)
    n, half_power = _power_of_two(x, 1 / LN2, -1)  # halved: 2¹²⁸ is no float
    r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x))
    return half_power * _polynomial(r, (2.0, 2.0) + tuple(2 * c for c in EXP))


def expm1(x: Vector) -> Vector:
    """eˣ − 1 = 2ⁿ (eʳ − 1) + (2ⁿ − 1)."""
    inside = x.at_most(89).at_least(-30)
    n, half_power = _power_of_two(inside, 1 / LN2, -1)
    r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, inside))
    below = (r * r).fma(_polynomial(r, EXPM1), r)
    return (half_power.fma(below, half_power - 0.5) * 2).intrinsic("copysign", x)


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + e⁻ˣ) as a / (a + b), where eˣ = a / b = 2ⁿ (c + r) / (c − r) with c = r coth(r/2)."""
    x = x.at_most(88).at_least(-88)
    n, power = _power_of_two(x, 1 / LN2)
    r = n.fma(-LN2, x)
    c = _polynomial(r * r, (2.0, COTH[0] / 2, COTH[1] / 8))
    a = power * (c + r)
    return a / (a + (c - r))


def tanh(x: Vector) -> Vector:
    """(a − b) / (a + b), where e^(2|x|) = a / b = 2ⁿ (c + r) / (c − r) with c = r coth r; 1 from |x| = 8.5 on."""
    size = x.intrinsic("fabs").at_most(10)
    n, power = _power_of_two(size, 2 / LN2)
    r = n.fma(-LN2 / 2, size)
    c = _polynomial(r * r, (1.0, *COTH))
    difference = (power + 1).fma(r, (power - 1) * c)  # a − b without its cancellation
    return (difference / (c - r).fma(2, difference)).intrinsic("copysign", x)


def _log(x: Vector, f: Vector, e: Vector) -> Vector:
    """log x = e ln 2 + log(1 + f), with what log makes of x ≤ 0 and ∞."""
    square = f * f
    small = e.fma(LN2_LOW, f * square * _polynomial(f, LOG))
    result = e.fma(LN2_HIGH, f + square.fma(-0.5, small))
    beyond = x.compare("==", 0).select(x.fill(-math.inf), (x < 0).select(x.fill(math.nan), x))
    return ((x > 0) & (x < math.inf)).select(result, beyond)


def log(x: Vector) -> Vector:
    """Natural logarithm, by x = 2ᵉ (1 + f) with √½ ≤ 1 + f < √2."""
    subnormal = x < 2.0**-126
    bits = subnormal.select(x * 2.0**23, x).as_bits()
    e = (bits - SQRT_HALF_BITS) >> 23
    f = (bits - (e << 23)).as_float() - 1
    e = e.rounded()
    return _log(x, f, subnormal.select(e - 23, e))


def log1p(x: Vector) -> Vector:
    """log(1 + x), by 2⁻ᵉ (1 + x) − 1 = 2⁻ᵉ x + (2⁻ᵉ − 1), which is rounded once."""
    above = x + 1
    e = (above.as_bits() - SQRT_HALF_BITS) >> 23
    power = ((e.fill(BIAS + 2) - e) << 23).as_float()  # 4 · 2⁻ᵉ: at e = 128 this is still a float
    f = (x * 0.25).fma(power, power.fma(0.25, -1))
    return above.compare("==", 1).select(x, _log(above, f, e.rounded()))


def erf(x: Vector) -> Vector:
    """±(1 − e^(−|x| q)), with a polynomial q = −log(1 − erf |x|) / |x|: accurate near 0, and 1 from |x| = 4 on."""
    size = x.intrinsic("fabs").at_most(4)
    return (-expm1(-(size * _polynomial(size, ERF)))).intrinsic("copysign", x)


def softplus(x: Vector) -> Vector:
    """log(1 + eˣ) as max(x, 0) + log(1 + t), t = e^(−|x|)."""
    t = exp(-x.intrinsic("fabs"))
    return x.at_least(0) + (t * _polynomial(t, LOG1P)).fma(t, t)
