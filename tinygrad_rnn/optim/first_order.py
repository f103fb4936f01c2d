"""Optimisers that follow the gradient: each is one update rule on arrays.

A rule sees parameter p, gradient g and the arrays kept for p as flat real vectors, and equals that of ``torch.optim``.
It changes what is kept in place and returns the new values of p in an array of their own: arrays that a live graph
saved stay what they were.
"""

from __future__ import annotations

import math
from typing import Any

from .optimizer import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]

Array = Any


class SGD(Optimizer):
    """``v ← momentum · v + g; p ← p − lr · v``, or ``p − lr (g + momentum · v)`` with Nesterov (Sutskever et al. 2013).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(1.0, requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> w
    tensor(0.8, requires_grad=True)
    """

    def __init__(
        self, parameters: Any, *, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True looks ahead along the momentum, which is 0; set momentum=0.9, say")
        keeps = ("velocity",) if momentum else ()
        super().__init__(
            parameters, keeps=keeps, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    @staticmethod
    def update(xp, p, g, kept, *, lr, momentum, nesterov, weight_decay):
        g = _decayed(p, g, weight_decay)
        if momentum:
            v = kept["velocity"]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        new = lr * g
        return xp.subtract(p, new, out=new)


class RMSprop(Optimizer):
    """``s ← α s + (1 − α) g²; p ← p − lr · g / (√s + eps)`` (Tieleman & Hinton 2012).

    ``centered`` subtracts the squared mean of g from s (Graves 2013); ``momentum`` is applied to the quotient.

    >>> import tinygrad_rnn as tg
    >>> RMSprop({"w": tg.tensor(1.0, requires_grad=True)}, lr=0.001)
    RMSprop(1 parameters, lr=0.001, alpha=0.99, eps=1e-08, momentum=0.0, centered=False, weight_decay=0.0)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            keeps=("square", *["mean"] * centered, *["velocity"] * (momentum > 0)),
            lr=lr,
            alpha=alpha,
            eps=eps,
            momentum=momentum,
            centered=centered,
            weight_decay=weight_decay,
        )

    @staticmethod
    def update(xp, p, g, kept, *, lr, alpha, eps, momentum, centered, weight_decay):
        g = _decayed(p, g, weight_decay)
        s = kept["square"]
        new = _average(xp, s, g * g, alpha)
        if centered:
            m = kept["mean"]
            _average(xp, m, g.copy(), alpha)
            xp.multiply(m, m, out=new)
            xp.subtract(s, new, out=new)
            xp.maximum(new, 0, out=new)  # the variance, which rounding can make negative
            xp.sqrt(new, out=new)
        else:
            xp.sqrt(s, out=new)
        new += eps
        xp.divide(g, new, out=new)
        if momentum:
            v = kept["velocity"]
            v *= momentum
            v += new
            xp.multiply(v, lr, out=new)
        else:
            new *= lr
        return xp.subtract(p, new, out=new)


class Adagrad(Optimizer):
    """``s ← s + g²; p ← p − lr / (1 + (n − 1) lr_decay) · g / (√s + eps)`` at update n (Duchi et al. 2011).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> Adagrad([w], lr=0.1).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.9, -0.9], requires_grad=True)
    """

    def __init__(
        self, parameters: Any, *, lr: float = 1e-2, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, keeps=("square",), lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, lr_decay, eps, weight_decay):
        g = _decayed(p, g, weight_decay)
        s = kept["square"]
        new = g * g
        s += new
        xp.sqrt(s, out=new)
        new += eps
        xp.divide(g, new, out=new)
        new *= lr / (1 + (kept["step"] - 1) * lr_decay)
        return xp.subtract(p, new, out=new)


class Adam(Optimizer):
    """``m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr · m̂ / (√v̂ + eps)`` (Kingma & Ba 2015).

    ``m̂ = m / (1 − β₁ⁿ)`` and ``v̂ = v / (1 − β₂ⁿ)`` at update n; weight decay is added to g.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> Adam([w], lr=0.1).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.9, -0.9], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, keeps=("m", "v"), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, betas, eps, weight_decay):
        new = _adam_direction(xp, _decayed(p, g, weight_decay), kept, betas, eps)
        new *= -lr
        new += p
        return new


class AdamW(Optimizer):
    """Adam with the decay apart from the gradient: ``p ← p − lr (m̂ / (√v̂ + eps) + weight_decay · p)``
    (Loshchilov & Hutter 2019).

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0, -1.0], requires_grad=True)
    >>> AdamW([w], lr=0.1, weight_decay=0.5).step([tg.tensor([3.0, -0.2])])
    >>> w
    tensor([ 0.85, -0.85], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, keeps=("m", "v"), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def update(xp, p, g, kept, *, lr, betas, eps, weight_decay):
        new = _decayed(p, _adam_direction(xp, g, kept, betas, eps), weight_decay)
        new *= -lr
        new += p
        return new


def _adam_direction(xp: Any, g: Array, kept: dict[str, Any], betas: tuple[float, float], eps: float) -> Array:
    """m̂ / (√v̂ + eps), in an array of its own; it is the only one made."""
    m, v = kept["m"], kept["v"]
    new = _average(xp, m, g.copy(), betas[0])
    xp.multiply(g, g, out=new)
    _average(xp, v, new, betas[1])
    xp.sqrt(v, out=new)
    correction = math.sqrt(1 - betas[1] ** kept["step"])
    new += eps * correction
    xp.divide(m, new, out=new)
    new *= correction / (1 - betas[0] ** kept["step"])
    return new


def _average(xp: Any, average: Array, new: Array, decay: float) -> Array:
    """``average ← decay · average + (1 − decay) · new``, in place; ``new`` is used up and returned as free memory."""
    new *= 1 - decay
    average *= decay
    average += new
    return new


def _decayed(p: Array, g: Array, weight_decay: float) -> Array:
    return g + weight_decay * p if weight_decay else g
