"""Initial values that a cell gets from outside, where they depend on the task and not on the cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinygrad_rnn as tg
from tinygrad_rnn.backend import to_device
from zoo import cells
from zoo.cell import Cell

__all__ = ["chrono"]


class Gate(NamedTuple):
    """Where the bias of a gate is: the path of a parameter, which of its equal blocks; −1 if open it forgets."""

    path: str
    block: int
    blocks: int
    sign: int


_LSTM = (Gate("input/bias", 1, 4, +1), Gate("input/bias", 0, 4, -1))
GATES: dict[type[Cell], tuple[Gate, ...]] = {
    cells.LSTM: _LSTM,
    cells.PeepholeLSTM: _LSTM,
    cells.LayerNormLSTM: (Gate("norm_x/bias", 1, 4, +1), Gate("norm_x/bias", 0, 4, -1)),
    cells.GRU: (Gate("input/bias", 1, 3, +1),),
    cells.GRUResetAfter: (Gate("input/bias", 1, 3, +1),),
    cells.MGU: (Gate("input/bias", 0, 2, -1),),
    cells.MinGRU: (Gate("input/bias", 0, 2, -1),),
    cells.SRU: (Gate("b_f", 0, 1, +1),),
}


def chrono(cell: Cell, *, longest: float, rng: tg.random.Generator | None = None) -> Cell:
    """Let the units of a gated cell begin with memories of 2 to ``longest`` steps, evenly spread; returns the cell.

        b_f ~ log U(1, longest − 1),  b_i = −b_f        (of a gate that forgets when it is open: −b_f)

    so that a unit keeps f = σ(b_f) = 1 − 1/τ of its state each step, τ ~ U(2, longest). In place; the other biases
    stay. Raises ValueError for a cell without such a gate.

    Tallec & Ollivier 2018, Can recurrent neural networks warp time?, arXiv:1804.11188.

    >>> import zoo
    >>> cell = zoo.chrono(zoo.GRU(3, 5), longest=100)
    >>> bool((cell.input.bias.numpy()[5:10] >= 0).all())
    True
    """
    gates = GATES.get(type(cell))
    if gates is None:
        known = ", ".join(kind.__name__ for kind in GATES)
        raise ValueError(f"chrono: {type(cell).__name__} has no gate that keeps its state by a bias; those are {known}")
    parameters = cell.parameters_by_path()
    keep: Any = tg.nn.init.chrono(rng or tg.random.Generator(), (cell.hidden_size,), longest=longest).numpy()
    for gate in gates:
        bias = parameters[gate.path]
        values = bias.numpy().copy().reshape(gate.blocks, -1)
        values[gate.block] = gate.sign * keep
        bias.data = to_device(values.reshape(bias.shape).astype(bias.dtype), bias.device)
    return cell
