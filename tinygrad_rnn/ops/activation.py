"""The functions that gates and units are made of, entry by entry; gelu stands beside erf in special.py."""

from __future__ import annotations

from ..declare import constant, elementwise
from .elementwise import abs

__all__ = [
    "elu",
    "hard_sigmoid",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "step",
    "tanh",
]

# mypy: disable-error-code="no-untyped-def"


@elementwise("tanh", lambda out: 1 - out * out)
def tanh(xp, x):
    """Hyperbolic tangent, (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ): between −1 and 1, with derivative 1 − tanh² x.

    >>> import tinygrad_rnn as tg
    >>> tg.tanh(tg.tensor([-1.0, 0.0, 100.0]))
    tensor([-0.7616,  0.    ,  1.    ])
    """
    return xp.tanh(x)


@elementwise("sigmoid", lambda out: out * (1 - out))
def sigmoid(xp, x):
    """σ = 1 / (1 + e⁻ˣ), as ½ tanh(x/2) + ½, which never overflows; σ' = σ (1 − σ), log σ(x) = −softplus(−x).

    >>> import tinygrad_rnn as tg
    >>> tg.sigmoid(tg.tensor([-100.0, 0.0, 1.0]))
    tensor([0.    , 0.5   , 0.7311])
    """
    y = xp.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y


@constant("step")
def step(xp, x):
    """1 where x > 0, else 0, in the dtype of x; no gradient passes.

    >>> import tinygrad_rnn as tg
    >>> tg.step(tg.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 1.])
    """
    return (x > 0).astype(x.dtype)


@elementwise("relu", lambda out: step(out))
def relu(xp, x):
    """max(x, 0); the derivative is step(x), so 0 at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.relu(tg.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return xp.maximum(x, 0)


@elementwise("leaky_relu", lambda x, negative_slope: step(x) * (1 - negative_slope) + negative_slope)
def leaky_relu(xp, x, *, negative_slope=0.01):
    """x where positive, else negative_slope · x; the derivative at 0 is negative_slope (Maas et al. 2013).

    >>> import tinygrad_rnn as tg
    >>> tg.leaky_relu(tg.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.01,  0.  ,  2.  ])
    """
    return xp.where(x > 0, x, negative_slope * x)


@elementwise("elu", lambda x, out, alpha: step(x) + (1 - step(x)) * (out + alpha))
def elu(xp, x, *, alpha=1.0):
    """x where positive, else α (eˣ − 1), with derivative α eˣ there (Clevert et al. 2016).

    >>> import tinygrad_rnn as tg
    >>> tg.elu(tg.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.6321,  0.    ,  2.    ])
    """
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@elementwise("softplus", lambda x: sigmoid(x))
def softplus(xp, x):
    """log(1 + eˣ) without overflow; the derivative is sigmoid(x).

    >>> import tinygrad_rnn as tg
    >>> tg.softplus(tg.tensor([-1.0, 0.0, 100.0]))
    tensor([  0.3133,   0.6931, 100.    ])
    """
    return xp.logaddexp(x, xp.zeros_like(x))


def _silu_partial(x, out):
    s = sigmoid(x)
    return s + out * (1 - s)


@elementwise("silu", _silu_partial)
def silu(xp, x):
    """x σ(x), also called swish; the derivative is σ(x) (1 + x (1 − σ(x))) (Elfwing et al. 2018).

    >>> import tinygrad_rnn as tg
    >>> tg.silu(tg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.    ,  0.7311])
    """
    return x * (0.5 * xp.tanh(0.5 * x) + 0.5)


@elementwise("hard_sigmoid", lambda x: step(3 - abs(x)) / 6)
def hard_sigmoid(xp, x):
    """clip(x / 6 + ½, 0, 1); the derivative is 1/6 where |x| < 3, else 0.

    >>> import tinygrad_rnn as tg
    >>> tg.hard_sigmoid(tg.tensor([-4.0, 0.0, 1.5]))
    tensor([0.  , 0.5 , 0.75])
    """
    return xp.clip(x / 6 + 0.5, 0, 1)
