"""A cell that hears something beside its input: what a decoder reads its context through."""

from __future__ import annotations

import copy
from typing import Any

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.topology.stack import Stacked
from zoo.topology.unroll import RNN

__all__ = ["Driven", "driven", "lowest", "projection", "recurrent_matrix"]


class Driven(Cell):
    """A cell whose projection of the input has something added at each step: ``x W + b`` becomes ``x W + b + d``.

    The input is the pair (x, d) with x (B, I) and d (B, K), K the columns of W: H for one block, 4 H for an LSTM. All
    else is the cell, which is not changed and whose parameters these are.

    >>> import zoo
    >>> cell = Driven(zoo.LSTM(3, 5))
    >>> y, s = cell((tg.ones((2, 3)), tg.ones((2, 20))), cell.init_state(2))
    >>> y.shape
    (2, 5)
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        projection("Driven", cell)
        self.cell = cell

    @property
    def State(self) -> Any:
        return self.cell.State

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.cell.input_shape

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.cell.state_shapes

    def init_state(self, batch_size: int, *, dtype: Any = "float32", device: str = "cpu") -> Any:
        return self.cell.init_state(batch_size, dtype=dtype, device=device)

    def step(self, x: Any, s: Any) -> tuple[Any, Any]:
        x, drive = x
        cell: Any = copy.copy(self.cell)
        project = cell.input
        vars(cell)["input"] = lambda x: project(x) + drive  # past Module.__setattr__: this is no part of a model
        return cell.forward(x, s)  # under its own name


def driven(layer: Any) -> Any:
    """The layer with its lowest cell driven, ``layer((xs, drives))``; the layer given is not changed."""
    new = copy.copy(layer)
    if isinstance(layer, RNN):
        new.cell = Driven(layer.cell)
    elif isinstance(layer, Stacked):
        new.layers = [driven(layer.layers[0]), *layer.layers[1:]]
    else:
        raise ValueError(f"a decoder is a cell, an RNN, or Stacked upon one, not {type(layer).__name__}")
    return new


def lowest(layer: Any) -> Any:
    """The cell that reads the layer's input."""
    return layer.cell if isinstance(layer, RNN) else lowest(layer.layers[0])


def projection(place: str, cell: Any) -> tg.Tensor:
    """W (I, K) of the cell's projection of its input. Raises ValueError for a cell that has no ``input``, a Linear."""
    found = getattr(cell, "input", None)
    if not isinstance(found, tg.nn.Linear):
        raise ValueError(
            f"{place}: to add something to what {type(cell).__name__} makes of its input, it must project it by a "
            "tg.nn.Linear that is its attribute `input`"
        )
    return found.weight


def recurrent_matrix(place: str, layer: Any, columns: int) -> str:
    """The attribute of the cell that is its one recurrent matrix (H, columns).

    A cell has one when it has exactly one matrix beside that of its ``input``, with a row for each of its outputs.
    Raises ValueError, with the matrices that there are, for others.
    """
    cell = layer.cell if isinstance(layer, RNN) else None
    of_input = None if cell is None else getattr(getattr(cell, "input", None), "weight", None)
    found = {} if cell is None else {k: p for k, p in cell.parameters_by_path().items() if p.ndim == 2}
    matrices = {k: p.shape for k, p in found.items() if p is not of_input}
    if cell is None or list(matrices.values()) != [(cell.output_size, columns)]:
        who = type(layer).__name__ if cell is None else type(cell).__name__
        has = ", ".join(f"{k} {shape}" for k, shape in matrices.items()) or "none"
        raise ValueError(
            f"{place}: the context can go through the encoder's recurrent matrix when the encoder is one cell with "
            f"exactly one, with a row for each output and a column for each of the {columns} that the decoder projects "
            f"its input to; {who} has {has}. Give the context a matrix of its own: context='input'"
        )
    return next(iter(matrices))
