"""Limits on gradients, and their norm: what keeps backpropagation through time from blowing up.

Each function takes a container (a Module, a dict, a list) of parameters, whose ``.grad`` is meant, or of gradients, as
``tg.grad`` gives them. Clipped gradients are new arrays: a message or a graph that holds the old ones keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import tree
from ..backend import namespace
from ..tensor import Tensor

__all__ = ["clip_by_global_norm", "clip_by_value", "global_norm"]


def global_norm(gradients: Any) -> float:
    """``√Σ |g|²`` over all entries of all gradients, also where the squares alone would over- or underflow.

    >>> import tinygrad_rnn as tg
    >>> global_norm({"U": tg.tensor([3.0, 0.0]), "b": tg.tensor([4.0])})
    5.0
    """
    return norm_of([g.data for g in gradients_in(gradients)])


def clip_by_global_norm(gradients: Any, max_norm: float) -> float:
    """Scale all gradients by ``min(1, max_norm / norm)``; returns the norm before (Pascanu et al. 2013).

    Raises FloatingPointError when the norm is NaN or infinite.

    >>> import tinygrad_rnn as tg
    >>> gradients = {"U": tg.tensor([30.0]), "b": tg.tensor([40.0])}
    >>> clip_by_global_norm(gradients, 5.0), gradients
    (50.0, {'U': tensor([3.]), 'b': tensor([4.])})
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm} is not a positive number")
    found = gradients_in(gradients)
    norm = norm_of([g.data for g in found])
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient's norm is {norm}: there is no direction to keep")
    if norm > max_norm:
        rebind(found, lambda g: g * (max_norm / norm))
    return norm


def clip_by_value(gradients: Any, limit: float) -> None:
    """Hold every entry of every gradient in [−limit, limit].

    >>> import tinygrad_rnn as tg
    >>> gradients = [tg.tensor([30.0, -0.5])]
    >>> clip_by_value(gradients, 1.0)
    >>> gradients
    [tensor([ 1. , -0.5])]
    """
    if not limit > 0:
        raise ValueError(f"limit={limit} is not a positive number")
    found = gradients_in(gradients)
    if any(g.dtype.kind == "c" for g in found):
        raise TypeError("complex entries have no order to clip by; use clip_by_global_norm")
    rebind(found, lambda g: g.clip(-limit, limit))


def norm_of(arrays: Iterable[Any]) -> float:
    """The norm over all entries of arrays; one pass and one transfer from the device where the squares allow it."""
    arrays = list(arrays)
    squares = sum_of_squares(arrays)
    tiny = min((float(namespace(a).finfo(a.dtype).tiny) for a in arrays), default=0.0)
    if tiny * 1e12 < squares < math.inf:
        return math.sqrt(squares)
    return math.hypot(*map(_careful_norm, arrays))


def sum_of_squares(arrays: Iterable[Any]) -> float:
    """``Σ |a|²``, NaN or infinite when an entry is, or when the squares overflow; one transfer from the device."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(sum(namespace(a).vdot(a, a).real.astype(np.float64) for a in arrays))


def _careful_norm(a: Any) -> float:
    """Scaled by the largest entry first, so that no square leaves the range of the dtype."""
    largest = float(abs(a).max()) if a.size else 0.0
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = a / largest
    return largest * math.sqrt(float(namespace(a).vdot(scaled, scaled).real))


def gradients_in(container: Any) -> list[Tensor]:
    """The gradients in a container, or those of the parameters in it, each once."""
    found: dict[int, Tensor] = {}
    for t in tree.leaves(container):
        g = t.grad if type(t) is Tensor and t.requires_grad and t.is_leaf else t
        if g is not None:
            if type(g) is not Tensor:
                raise TypeError(f"expected parameters or gradients, got {type(g).__name__}")
            found[id(g)] = g
    if not found:
        raise ValueError("there are no gradients here; call loss.backward() first, or pass what tg.grad(f) returned")
    return list(found.values())


def rebind(gradients: list[Tensor], change: Callable[[Any], Any]) -> None:
    if any(g.node is not None for g in gradients):
        raise TypeError("these gradients are recorded (create_graph); scale them with ops, g * factor, instead")
    for g in gradients:
        g.data = namespace(g.data).asarray(change(g.data))  # NumPy makes a number of what has no axes
