"""Scans to compare: a step, what it captures, its first carry and its series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg

T, B, D, H, S = 5, 3, 4, 6, 7
EXECUTORS = ("numpy", "llvm")


def numbers(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def tracked(value: np.ndarray) -> Any:
    return tg.tensor(value.copy(), requires_grad=value.dtype.kind in "fc")


@dataclass(frozen=True)
class Case:
    """A scan: ``step(captured, carry, x)``, what it captures, its first carry and its series, as trees of arrays."""

    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    captured: Any
    init: Any
    xs: Any

    def run(self, compile: Any, **options: Any) -> dict[str, np.ndarray]:
        """Values, and the gradients of all that floats, by name."""
        captured, init, xs = (tg.tree.map(tracked, tree) for tree in (self.captured, self.init, self.xs))
        length = None if tg.tree.leaves(xs) else T
        last, ys = tg.scan(
            lambda c, x: self.step(captured, c, x), init, xs, length=length, compile=compile, **options
        )
        outputs = tg.tree.leaves((last, ys))
        found = {f"output {i}": t.numpy() for i, t in enumerate(outputs)}
        loss: Any = 0.0
        for i, t in enumerate(outputs):
            if t.dtype.kind in "fc":
                loss = loss + tg.real(t * numbers(*t.shape, seed=i + 1, dtype=np.empty(0, t.dtype).real.dtype)).sum()
        if loss.requires_grad:
            loss.backward()
        for i, t in enumerate(tg.tree.leaves((captured, init, xs))):
            if t.requires_grad:
                found[f"gradient {i}"] = np.zeros(t.shape, t.dtype) if t.grad is None else t.grad.numpy()
        return found


def alike(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], tolerance: float = 1e-10) -> None:
    assert found.keys() == wanted.keys()
    for name, w in wanted.items():
        assert (found[name].shape, found[name].dtype) == (w.shape, w.dtype), name
        error = np.linalg.norm((found[name] - w).ravel()) if w.dtype != bool else (found[name] != w).sum()
        assert error <= tolerance * np.linalg.norm(w.ravel()), f"{name}: {error}"
