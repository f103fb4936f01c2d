"""Weights of other libraries: in which order each keeps its gates, as data, and the way there and back.

A cell's weights are blocks, one a gate: W (I, H) for the input, U (H, H) for the state, b (H,), and c (H,) where the
recurrent product has a bias of its own. Libraries keep the blocks of a cell side by side, in an order of their own:

    torch    weight_ih (G·H, I), weight_hh (G·H, H), bias_ih (G·H,), bias_hh (G·H,)
    Keras    kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H,), or (2, G·H) where c is kept

Two biases that are only ever added are one here: loading adds them, saving writes 0 for the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from zoo.cell import Cell
from zoo.cells import GRU, LSTM, ElmanRNN, GRUResetAfter
from zoo.topology import RNN, Bidirectional, Stacked

__all__ = ["from_keras", "from_torch", "to_keras", "to_torch"]

# Which parameters of a cell hold its W, U, b and c, and the gates along the last axis of each.
BLOCKS: dict[type[Cell], dict[str, dict[str, str]]] = {
    ElmanRNN: {"W": {"input/weight": "h"}, "U": {"U": "h"}, "b": {"input/bias": "h"}},
    LSTM: {"W": {"input/weight": "ifgo"}, "U": {"U": "ifgo"}, "b": {"input/bias": "ifgo"}},
    GRU: {"W": {"input/weight": "rzn"}, "U": {"U": "rz", "U_n": "n"}, "b": {"input/bias": "rzn"}},
    GRUResetAfter: {"W": {"input/weight": "rzn"}, "U": {"U": "rzn"}, "b": {"input/bias": "rzn"}, "c": {"c_n": "n"}},
}

# The order of the gates in a library, for the cells that it has.
TORCH: dict[type[Cell], str] = {ElmanRNN: "h", LSTM: "ifgo", GRUResetAfter: "rzn"}
KERAS: dict[type[Cell], str] = {ElmanRNN: "h", LSTM: "ifgo", GRU: "zrn", GRUResetAfter: "zrn"}

TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
KERAS_NAMES = ("kernel", "recurrent_kernel", "bias")

GRU_HINT = "a GRU's bias of shape (2, 3·H), reset_after=True, belongs to GRUResetAfter, one of (3·H,) to GRU"

State = dict[str, np.ndarray]


def to_torch(model: Any) -> State:
    """The weights of a cell, RNN, Bidirectional or Stacked as the ``state_dict`` of torch's RNN, LSTM or GRU.

    torch's GRU is GRUResetAfter. Raises TypeError for cells that torch does not have, ValueError for layers that
    differ in their cell, hidden size or number of directions, as torch's do not.

    >>> import zoo
    >>> {key: array.shape for key, array in to_torch(zoo.LSTM(3, 5)).items()}
    {'weight_ih_l0': (20, 3), 'weight_hh_l0': (20, 5), 'bias_ih_l0': (20,), 'bias_hh_l0': (20,)}
    """
    rows = _rows(model)
    kinds = {(type(cell).__name__, cell.hidden_size, len(row)) for row in rows for cell in row}
    if len(kinds) > 1:
        shown = ", ".join(f"{name} of {size} in {n} direction(s)" for name, size, n in sorted(kinds))
        raise ValueError(f"torch has one cell, hidden size and number of directions for all layers, here are: {shown}")
    found: State = {}
    for k, row in enumerate(rows):
        for cell, suffix in zip(row, (f"_l{k}", f"_l{k}_reverse")):
            kernel, recurrent, bias = _side_by_side(cell, _order(cell, TORCH, "torch"))
            arrays = (kernel.T, recurrent.T, bias[0], bias[1])
            found |= {name + suffix: array.copy() for name, array in zip(TORCH_NAMES, arrays)}
    return found


def from_torch(model: Any, state_dict: Mapping[str, Any]) -> None:
    """Load the ``state_dict`` of torch's RNN, LSTM or GRU, any number of layers and directions, into a like model.

    The values are arrays or torch Tensors; a dict without biases counts as one with zeros. Parameters keep their dtype
    and device. Raises one ValueError that lists every key that is missing, unknown or does not fit; then nothing is
    changed.

    >>> import zoo
    >>> source, target = zoo.LSTM(3, 5, rng=tg.random.Generator(1)), zoo.LSTM(3, 5)
    >>> from_torch(target, to_torch(source))
    >>> bool((target.U.numpy() == source.U.numpy()).all())
    True
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"from_torch takes a state_dict, not this {type(state_dict).__name__}: give net.state_dict()")
    own = to_torch(model)
    given = {key: np.asarray(value) for key, value in state_dict.items()}
    if not any(key.startswith("bias") for key in given):
        given |= {key: np.zeros_like(value) for key, value in own.items() if key.startswith("bias")}
    _compare("from_torch", own, given)
    changes = []
    for k, row in enumerate(_rows(model)):
        for cell, suffix in zip(row, (f"_l{k}", f"_l{k}_reverse")):
            W, U, b, c = (given[name + suffix] for name in TORCH_NAMES)
            changes.append((cell, _parameters(cell, TORCH[type(cell)], W.T, U.T, np.stack([b, c]))))
    _change(changes)


def to_keras(model: Any) -> list[np.ndarray]:
    """The weights of a cell, RNN, Bidirectional or Stacked in the order of Keras 3's ``get_weights()``.

    Keras's GRU is GRUResetAfter, with ``reset_after=False`` GRU. Raises TypeError for cells that Keras does not have.

    >>> import zoo
    >>> [array.shape for array in to_keras(zoo.GRUResetAfter(3, 5))]
    [(3, 15), (5, 15), (2, 15)]
    """
    found: list[np.ndarray] = []
    for cell in _cells(model):
        kernel, recurrent, bias = _side_by_side(cell, _order(cell, KERAS, "Keras"))
        found += [kernel, recurrent, bias if "c" in BLOCKS[type(cell)] else bias[0]]
    return found


def from_keras(model: Any, weights: Sequence[Any] | Mapping[str, Any]) -> None:
    """Load Keras 3 weights: the list of ``get_weights()``, or ``{w.path: w.numpy() for w in layer.weights}``.

    Several layers follow each other, in a Bidirectional the forward cell comes first; weights without biases count as
    some with zeros. Parameters keep their dtype and device. Raises one ValueError that lists every array that is
    missing, unknown or does not fit; then nothing is changed.

    >>> import zoo
    >>> source, target = zoo.GRU(3, 5, rng=tg.random.Generator(1)), zoo.GRU(3, 5)
    >>> from_keras(target, to_keras(source))
    >>> bool((target.U_n.numpy() == source.U_n.numpy()).all())
    True
    """
    cells = _cells(model)
    arrays = [np.asarray(w) for w in (weights.values() if isinstance(weights, Mapping) else weights)]
    names = [path.rpartition("/")[2] for path in weights] if isinstance(weights, Mapping) else None
    own = to_keras(model)
    if len(arrays) == 2 * len(cells):
        arrays = [a for pair, b in zip(zip(arrays[::2], arrays[1::2]), own[2::3]) for a in (*pair, np.zeros_like(b))]
        names = None if names is None else [n for pair in zip(names[::2], names[1::2]) for n in (*pair, "bias")]
    keys = [f"{i} {name}" for i, name in enumerate(KERAS_NAMES * len(cells))]
    labels = [f"{i} {KERAS_NAMES[i % 3] if names is None else names[i]}" for i in range(len(arrays))]
    _compare("from_keras", dict(zip(keys, own)), dict(zip(labels, arrays)), GRU_HINT)
    changes = []
    for i, cell in enumerate(cells):
        kernel, recurrent, bias = arrays[3 * i : 3 * i + 3]
        bias = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        changes.append((cell, _parameters(cell, KERAS[type(cell)], kernel, recurrent, bias)))
    _change(changes)


def _rows(model: Any) -> list[list[Cell]]:
    """The cells of a model: one row a layer, with one cell a direction."""
    if isinstance(model, Cell):
        return [[model]]
    if isinstance(model, RNN):
        return [[model.cell]]
    if isinstance(model, Bidirectional):
        return [[rnn.cell for rnn in model.directions.values()]]
    if isinstance(model, Stacked):
        return [row for layer in model.layers for row in _rows(layer)]
    raise TypeError(f"layouts are for cells, RNN, Bidirectional and Stacked, not {type(model).__name__}")


def _cells(model: Any) -> list[Cell]:
    return [cell for row in _rows(model) for cell in row]


def _order(cell: Cell, orders: dict[type[Cell], str], library: str) -> str:
    if type(cell) not in orders:
        known = ", ".join(kind.__name__ for kind in orders)
        raise TypeError(f"{library} has no cell like {type(cell).__name__}; those that can be exchanged are {known}")
    return orders[type(cell)]


def _side_by_side(cell: Cell, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (I, G·H), U (H, G·H) and the biases b and c as the rows of (2, G·H), with the gates in this order."""
    own = cell.parameters_by_path()
    blocks = {
        (part, gate): block
        for part, places in BLOCKS[type(cell)].items()
        for path, gates in places.items()
        for gate, block in zip(gates, np.split(own[path].numpy(), len(gates), axis=-1))
    }
    none = np.zeros_like(blocks["b", order[0]])
    W, U, b, c = (np.concatenate([blocks.get((part, gate), none) for gate in order], -1) for part in "WUbc")
    return W, U, np.stack([b, c])


def _parameters(cell: Cell, order: str, W: np.ndarray, U: np.ndarray, biases: np.ndarray) -> State:
    """The inverse: the cell's own parameters by path."""
    blocks = {
        (part, gate): block
        for part, whole in zip("WUbc", (W, U, *biases))
        for gate, block in zip(order, np.split(whole, len(order), axis=-1))
    }
    layout = BLOCKS[type(cell)]
    apart = "".join(layout.get("c", {}).values())
    for gate in set(order) - set(apart):
        blocks["b", gate] = blocks["b", gate] + blocks["c", gate]
    return {
        path: np.concatenate([blocks[part, gate] for gate in gates], -1)
        for part, places in layout.items()
        for path, gates in places.items()
    }


def _compare(function: str, own: State, given: State, bias_hint: str = "") -> None:
    problems = [f"missing: {key} {own[key].shape}" for key in own if key not in given]
    problems += [f"unexpected: {key} {value.shape}" for key, value in given.items() if key not in own]
    problems += [
        f"shapes differ: {key} is {own[key].shape} here, given {value.shape}"
        + f"; {bias_hint}" * (value.ndim != own[key].ndim and key.endswith("bias"))
        for key, value in given.items()
        if key in own and value.shape != own[key].shape
    ]
    if problems:
        raise ValueError("\n  ".join([f"{function} changed nothing:", *problems]))


def _change(changes: list[tuple[Cell, State]]) -> None:
    for cell, values in changes:
        own = cell.parameters_by_path()
        for path, value in values.items():
            p = own[path]
            p.data = tg.tensor(value, dtype=p.dtype, device=p.device).data
