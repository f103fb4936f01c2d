"""Seeded generators: the same numbers on every device, and independent streams by name.

Numbers are drawn on the CPU and moved, so a model starts equal on CPU and GPU. ``fork("name")`` gives a child
whose stream depends on the seed and the path of names alone: adding a layer does not shift the others. The bit
generator is Philox (Salmon et al. 2011), counter-based, so ``fork("mask", step)`` replays the mask of any step.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from .backend import to_device
from .node import local
from .tensor import Tensor

__all__ = ["Generator"]


class Generator:
    """A stream of random Tensors.

    >>> a, b = Generator(0), Generator(0)
    >>> bool((a.fork("w").normal((2,)).numpy() == b.fork("w").normal((2,)).numpy()).all())
    True
    """

    def __init__(self, seed: int = 0, *path: int) -> None:
        if seed < 0:
            raise ValueError(f"a seed is a non-negative integer, not {seed}")
        self.seed, self.path = seed, path
        self._numpy = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=path)))

    def fork(self, *names: str | int) -> Generator:
        """An independent stream for a child, by name or number; it does not depend on what was drawn here."""
        return Generator(self.seed, *self.path, *(zlib.crc32(str(name).encode()) for name in names))

    def normal(self, shape: Any, *, std: float = 1.0, dtype: Any = "float32", device: str = "cpu") -> Tensor:
        """Gaussian numbers of mean 0."""
        return self._tensor(self._numpy.standard_normal(shape) * std, dtype, device)

    def uniform(
        self, shape: Any, low: float = 0.0, high: float = 1.0, *, dtype: Any = "float32", device: str = "cpu"
    ) -> Tensor:
        """Numbers spread evenly over [low, high)."""
        return self._tensor(self._numpy.uniform(low, high, shape), dtype, device)

    def bernoulli(self, shape: Any, p: float, *, dtype: Any = "float32", device: str = "cpu") -> Tensor:
        """1 with probability p, else 0: masks."""
        return self._tensor(self._numpy.random(shape) < p, dtype, device)

    def integers(self, shape: Any, low: int, high: int, *, device: str = "cpu") -> Tensor:
        """Integers in [low, high)."""
        return self._tensor(self._numpy.integers(low, high, shape), np.int64, device)

    def permutation(self, n: int, *, device: str = "cpu") -> Tensor:
        """0 … n − 1 in random order."""
        return self._tensor(self._numpy.permutation(n), np.int64, device)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from exactly here; plain numbers and lists."""
        state = self._numpy.bit_generator.state
        return {
            "seed": self.seed,
            "path": list(self.path),
            "counter": [int(n) for n in state["state"]["counter"]],
            "key": [int(n) for n in state["state"]["key"]],
            "buffer": [int(n) for n in state["buffer"]],
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken."""
        self.seed, self.path = state["seed"], tuple(state["path"])
        self._numpy.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {
                "counter": np.array(state["counter"], np.uint64),
                "key": np.array(state["key"], np.uint64),
            },
            "buffer": np.array(state["buffer"], np.uint64),
            "buffer_pos": state["buffer_pos"],
            "has_uint32": state["has_uint32"],
            "uinteger": state["uinteger"],
        }

    @staticmethod
    def _tensor(values: Any, dtype: Any, device: str) -> Tensor:
        if (watch := local.frame.watch) is not None:
            watch.looked(None)  # a trace stands for every step, and a draw would be the same in all of them
        return Tensor(to_device(np.asarray(values).astype(dtype), device))

    def __repr__(self) -> str:
        return f"Generator({', '.join(map(str, (self.seed, *self.path)))})"
