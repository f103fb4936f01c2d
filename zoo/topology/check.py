"""What the topologies ask of their arguments, and the errors that say what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell

__all__ = ["checked_input", "checked_state"]


def checked_input(
    place: Callable[[], str], name: str, x: Any, axes: tuple[str, ...], cell: Cell
) -> tuple[Any, dict[str, Any]]:
    """The input (*axes, *cell.input_shape) as Tensors, and what ``init_state`` must know to make the state it needs.

    Raises ValueError for another shape, TypeError for another dtype than that of the parameters.
    """
    alone = type(x) is tg.Tensor  # a container holds the parts that a cell asks for; their features are its own affair
    if not alone:
        x = tg.tree.map(lambda leaf: leaf if type(leaf) is tg.Tensor else tg.tensor(leaf), x)
        alone = type(x) is tg.Tensor
    n = len(axes)
    leaves = [x] if alone else tg.tree.leaves(x)
    first = leaves[0]
    if first.ndim < n or (alone and first.shape[n:] != cell.input_shape):
        shape = "({})".format(", ".join(map(str, (*axes, *cell.input_shape))))
        if first.ndim < n or first.ndim != n + len(cell.input_shape):
            way = "; one sequence is a batch of one: tg.expand_dims(xs, 1)" if n == 2 and first.ndim == 2 else ""
            raise ValueError(f"{place()}: {name} has shape {first.shape}, not {shape}{way}")
        raise ValueError(
            f"{place()}: {name} has shape {first.shape}, not {shape}; "
            f"the last axis holds the features, of which the cell takes {cell.input_size}"
        )
    dtype = cell.dtype
    dtype = first.dtype if dtype is None else real(dtype)
    for leaf in leaves:
        if leaf.dtype != dtype and leaf.dtype.kind in "fc" and real(leaf.dtype) != dtype:
            raise TypeError(
                f"{place()}: {name} is {leaf.dtype} and the parameters are {dtype}; "
                f"convert one: {name}.astype({dtype.name!r}) or model.astype({leaf.dtype.name!r})"
            )
    if alone and first.dtype.kind not in "fc":
        raise TypeError(
            f"{place()}: {name} is {first.dtype}, the cell takes {dtype} features; "
            "turn indices into vectors: tg.one_hot or tg.nn.Embedding"
        )
    return x, {"batch_size": first.shape[n - 1], "dtype": dtype, "device": first.device}


def real(dtype: np.dtype) -> np.dtype:
    """The dtype of the real part."""
    return np.finfo(dtype).dtype if dtype.kind == "c" else dtype


def checked_state(place: Callable[[], str], state: Any, expected: Any) -> Any:
    """``state``, when it is built and shaped as ``expected`` is; raises ValueError or TypeError when it is not."""
    given, structure = tg.tree.flatten(state)
    wanted, its = tg.tree.flatten(expected)
    if not tg.tree.alike(structure, its):
        raise ValueError(
            f"{place()}: the state is built as {structure}, not as {its}; begin with init_state(batch_size)"
        )
    for s, e in zip(given, wanted, strict=True):
        if s.shape != e.shape:
            raise ValueError(
                f"{place()}: the state holds {[tuple(x.shape) for x in given]}, not {[x.shape for x in wanted]}; "
                "the batch size is that of the input"
            )
        if s.dtype != e.dtype:
            raise TypeError(f"{place()}: the state is {s.dtype}, the input {e.dtype}; convert one with .astype")
    return state
