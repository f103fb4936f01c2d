"""Chrono initialisation: how much a unit keeps at first is what the paper says, in every cell that has it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.initial import GATES

H, LONGEST = 300, 50


def only_gates(kind: type[zoo.Cell]) -> zoo.Cell:
    """A cell with no weight but the biases that chrono sets, and gains."""
    cell = kind(1, H, rng=tg.random.Generator(0)).astype("float64")
    for path, p in cell.parameters_by_path().items():
        if path.split("/")[-1] != "gain":
            p.data = np.zeros(p.shape)
    return zoo.chrono(cell, longest=LONGEST, rng=tg.random.Generator(1))


@pytest.mark.parametrize("kind", GATES, ids=lambda kind: kind.__name__)
def test_a_unit_keeps_all_but_one_part_in_tau_and_tau_is_uniform(kind: type[zoo.Cell]) -> None:
    cell = only_gates(kind)
    state = tg.tree.map(lambda s: s + 1, cell.init_state(1, dtype="float64"))
    after = cell(tg.zeros((1, 1), dtype="float64"), state)[1]
    kept = getattr(after, "c", after[0]).numpy()[0]
    tau = np.sort(1 / (1 - kept))
    assert tau[0] >= 2 and tau[-1] <= LONGEST
    uniform = 2 + (LONGEST - 2) * (np.arange(H) + 0.5) / H
    assert abs(tau - uniform).max() < (LONGEST - 2) * 1.63 / np.sqrt(H)  # Kolmogorov–Smirnov, 1 in 100


@pytest.mark.parametrize("name", ["LSTM", "PeepholeLSTM", "LayerNormLSTM"])
def test_the_input_gate_opens_by_as_much_as_the_forget_gate_closes(name: str) -> None:
    cell = zoo.chrono(zoo.get(name)(3, 5), longest=LONGEST)
    i, f, g, o = (cell.norm_x if name == "LayerNormLSTM" else cell.input).bias.numpy().reshape(4, 5)
    np.testing.assert_array_equal(i, -f)
    assert (f > 0).all() and not g.any() and not o.any()


def test_equal_generators_give_equal_biases_and_parameters_stay_the_same_objects() -> None:
    cells = [zoo.LSTM(3, 5, rng=tg.random.Generator(0)) for _ in range(2)]
    held = cells[0].input.bias
    for cell in cells:
        assert zoo.chrono(cell, longest=9, rng=tg.random.Generator(2)) is cell
    assert cells[0].input.bias is held and held.dtype == np.float32
    np.testing.assert_array_equal(held.numpy(), cells[1].input.bias.numpy())


def test_a_cell_without_such_a_gate_and_a_range_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="ElmanRNN has no gate that keeps its state by a bias; those are LSTM, "):
        zoo.chrono(zoo.ElmanRNN(3, 5), longest=9)
    with pytest.raises(ValueError, match=r"longest=1\.5 steps is too short"):
        zoo.chrono(zoo.GRU(3, 5), longest=1.5)
