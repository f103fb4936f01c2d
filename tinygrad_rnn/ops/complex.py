"""The parts of complex numbers. Arithmetic on them is that of elementwise.py.

Inside, the cotangent of z = x + iy is ∂L/∂x − i ∂L/∂y (the plain transpose, which holomorphic ops pass on by their
one partial derivative); the gradient that users see is its conjugate, ∂L/∂x + i ∂L/∂y, as in PyTorch.
"""

from __future__ import annotations

from ..declare import linear, primitive
from .elementwise import where

__all__ = ["angle", "conj", "imag", "real"]

# mypy: disable-error-code="no-untyped-def"


@linear("real", lambda g: g)
def real(x):
    """The real part, with gradient 1.

    >>> import tinygrad_rnn as tg
    >>> tg.real(tg.tensor([1 + 2j, 3 - 4j]))
    tensor([1., 3.])
    """
    return x.real


@linear("imag", lambda g: -1j * g)
def imag(x):
    """The imaginary part, with gradient i; 0 for real x.

    >>> import tinygrad_rnn as tg
    >>> tg.imag(tg.tensor([1 + 2j, 3 - 4j]))
    tensor([ 2., -4.])
    """
    return x.imag


@linear("conj", lambda g: g.conj())
def conj(x):
    """The complex conjugate, as is its gradient; real x itself.

    >>> import tinygrad_rnn as tg
    >>> tg.conj(tg.tensor([1 + 2j, 3 - 4j]))
    tensor([1.-2.j, 3.+4.j], dtype=complex64)
    """
    return x.conj()


def _turn(x):
    """1/z, of which dz makes the turn Im(dz/z); 0 for z = 0, where the angle is undefined."""
    zero = x == 0
    return where(zero, 0.0, 1 / where(zero, 1.0, x))


@primitive(
    "angle",
    lambda g, x: -1j * g * _turn(x) if x.dtype.kind == "c" else g * 0,
    jvp=lambda t, x: (t * _turn(x)).imag if x.dtype.kind == "c" else t * 0,
)
def angle(xp, x):
    """The angle of z to the positive real axis, in radians, in (−π, π]; the gradient is i z / |z|², 0 at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.angle(tg.tensor([1 + 1j, -1 + 0j]))
    tensor([0.7854, 3.1416])
    """
    return xp.angle(x)
