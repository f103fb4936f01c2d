"""Cells, inputs and states to test with, and how to look at what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo

B, I, H = 3, 4, 5


def numbers(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def filled(name: str, input_size: int = I, hidden_size: int = H, **options: Any) -> zoo.Cell:
    """A float64 cell whose parameters, biases too, are far from their neat initial values."""
    cell = zoo.get(name)(input_size, hidden_size, **options).astype("float64")
    random = numbers(7)
    for p in cell.parameters():
        p.data = random.normal(size=p.shape) * 0.6
    return cell


def example(cell: zoo.Cell, seed: int = 1) -> tuple[tg.Tensor, Any]:
    """An input and a state of this cell."""
    random = numbers(seed)
    state = tg.tree.map(lambda s: tg.tensor(random.normal(size=s.shape)), cell.init_state(B))
    return tg.tensor(random.normal(size=(B, *cell.input_shape))), state


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([leaf.numpy().ravel() for leaf in tg.tree.leaves(tree)])


def close(found: Any, wanted: Any, atol: float = 1e-13) -> None:
    np.testing.assert_allclose(flat(found), flat(wanted), rtol=0, atol=atol)


def wave(shape: tuple[int, ...]) -> np.ndarray:
    """A different weight for every entry."""
    return np.cos(np.arange(np.prod(shape)).reshape(shape) + 1)


def weighted(tree: Any) -> tg.Tensor:
    """A scalar in which every entry of every Tensor has a weight of its own."""
    return sum((leaf * wave(leaf.shape)).sum() for leaf in tg.tree.leaves(tree))
