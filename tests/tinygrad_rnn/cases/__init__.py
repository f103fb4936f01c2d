"""One table of calls for every op: what test_ops.py runs all its checks over.

A module of this folder holds ``CASES``, one family of ops a file. An op ships with at least one case for every
branch of its rules.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import torch  # the reference of most cases
except ImportError:
    torch = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Case:
    """One call of one op, on small random arrays away from kinks (central differences step by 1e-6).

    ``inputs`` draws the arrays: float64 and complex128 ones are differentiated, ints and bools are held fixed.
    ``f`` takes them as Tensors, in that order, and returns a Tensor or a tuple of them; ``torch`` does the same
    with torch tensors (None where torch has nothing equal). Write ``elementwise`` where the inputs are arrays of any
    shapes that broadcast: then the op is also called with other shapes, filled with the values of ``inputs``.
    """

    op: str  # its name in tg, or as a method of Tensor
    f: Callable[..., Any]
    inputs: Callable[[np.random.Generator], tuple[np.ndarray, ...]]
    torch: Callable[..., Any] | None
    label: str = ""
    elementwise: bool = False

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op


def normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple[np.ndarray, ...]]:
    """Gaussian float64 arrays of these shapes."""
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def uniform(
    low: float, high: float, *shapes: tuple[int, ...]
) -> Callable[[np.random.Generator], tuple[np.ndarray, ...]]:
    """float64 arrays of these shapes, spread evenly over [low, high): for ops with a domain."""
    return lambda rng: tuple(rng.uniform(low, high, shape) for shape in shapes)


def complex_normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple[np.ndarray, ...]]:
    """Gaussian complex128 arrays of these shapes."""
    return lambda rng: tuple(rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in shapes)


def distinct(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple[np.ndarray, ...]]:
    """float64 arrays whose entries are all different by at least 0.1 and not 0, in random order: for max, sort, …"""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        sizes = [int(np.prod(shape)) for shape in shapes]
        values = (rng.permutation(sum(sizes)) - sum(sizes) // 2 + 0.5) * 0.3 + rng.uniform(-0.1, 0.1, sum(sizes))
        return tuple(v.reshape(s) for v, s in zip(np.split(values, np.cumsum(sizes)[:-1]), shapes, strict=True))

    return draw


def all_cases() -> list[Case]:
    """The cases of every module in this folder."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [case for module in modules for case in module.CASES]
