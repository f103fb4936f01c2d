"""Noise on gradients, less of it the longer training goes on."""

from __future__ import annotations

import math
from typing import Any

from ..backend import device_of
from ..random import Generator
from .clip import gradients_in, rebind

__all__ = ["add_noise"]


def add_noise(gradients: Any, rng: Generator, *, step: int, eta: float = 0.3, gamma: float = 0.55) -> float:
    """Add ``N(0, σ²)``, ``σ² = η / (1 + t)^γ``, to every entry of every gradient at step t = 0, 1, …; returns σ.

    ``gradients`` is a container of parameters or gradients, as ``clip_by_global_norm`` takes it. The numbers depend on
    the generator's seed and on t, not on what was drawn before: a run that goes on from step t sees what it would have
    seen. Raises ValueError for t, η or γ below 0, TypeError for complex gradients.

    Neelakantan et al. 2015, Adding gradient noise improves learning for very deep networks, arXiv:1511.06807; they
    take η from {0.01, 0.3, 1} and γ = 0.55, and clip first.

    >>> import tinygrad_rnn as tg
    >>> gradients = {"U": tg.tensor([1.0, 2.0])}
    >>> add_noise(gradients, Generator(0), step=99, eta=0.01) == (0.01 / 100**0.55) ** 0.5
    True
    """
    if not (step >= 0 and 0 <= eta < math.inf and gamma >= 0):
        raise ValueError(f"add_noise: step={step}, eta={eta} and gamma={gamma} are to be finite and at least 0")
    std = math.sqrt(eta / (1 + step) ** gamma)
    found = gradients_in(gradients)
    if any(g.dtype.kind == "c" for g in found):
        raise TypeError("add_noise: complex gradients; the noise is for real ones")
    stream = rng.fork("noise", step)
    rebind(found, lambda g: g + stream.normal(g.shape, std=std, dtype=g.dtype, device=device_of(g)).data)
    return std
