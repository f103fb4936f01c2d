"""Oscillators: what they do undriven, and how they begin."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.zoo.cells.samples import H, I


def test_an_undriven_undamped_oscillator_swings_at_the_square_root_of_gamma() -> None:
    """Semi-implicit Euler of y″ = −γ y conserves y² γ + z² − γ dt y z exactly; y(t) = cos(√γ t) up to O(dt)."""
    dt, gamma = 0.001, 4.0
    cell = zoo.CoRNN(1, 1, dt=dt, gamma=gamma, epsilon=0.0).astype("float64")
    for p in cell.parameters():
        p.data = p.data * 0
    state = cell.State(tg.tensor([[1.0]]), tg.tensor([[0.0]]))
    state = tg.tree.map(lambda part: part.astype("float64"), state)
    ys, last = zoo.RNN(cell)(tg.zeros((1000, 1, 1), dtype="float64"), state)
    t = dt * np.arange(1, 1001)
    np.testing.assert_allclose(ys.numpy()[:, 0, 0], np.cos(2 * t), atol=2 * dt)
    y, z = (part.item() for part in last)
    assert gamma * y * y + z * z - gamma * dt * y * z == pytest.approx(gamma, rel=1e-12)


def test_a_damped_undriven_oscillator_comes_to_rest() -> None:
    cell = zoo.CoRNN(I, H)
    for p in cell.parameters():
        p.data = p.data * 0
    state = cell.State(tg.ones((1, H)), tg.ones((1, H)))
    _, last = zoo.RNN(cell)(tg.zeros((500, 1, I)), state)
    assert max(float(abs(part).max()) for part in last) < 1e-4


def test_all_weights_begin_within_one_over_the_root_of_what_a_unit_hears() -> None:
    cell = zoo.CoRNN(20, 40)
    for p in cell.parameters():
        assert 0.09 < np.abs(p.numpy()).max() <= 0.1
