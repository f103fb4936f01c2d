"""UORO: exact on average over all signs, of rank one, and indifferent to how a run is cut in two."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import flat, mean_over_all_signs, parts, problem
from tinygrad_rnn.bptt import Problem, gradient


@pytest.mark.parametrize(
    ("cell", "hidden", "batch", "steps"),
    [("ElmanRNN", 2, 1, 3), ("ElmanRNN", 1, 2, 3), ("GRU", 2, 1, 3), ("LSTM", 1, 1, 3), ("IndRNN", 2, 2, 2)],
)
def test_the_mean_over_all_signs_is_the_gradient(cell, hidden, batch, steps):
    p = problem(cell, hidden=hidden, batch=batch, steps=steps)
    n = sum(part.size for part in p.carry)
    mean = mean_over_all_signs(p, "uoro", n * (steps - 1), n)
    expected = flat(gradient(p).gradients)
    single = flat(gradient(p, "uoro").gradients)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert np.abs(single - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("cell", zoo.names())
def test_one_step_has_no_past_and_needs_no_luck(cell):
    p = problem(cell, hidden=4, steps=1, batch=2)
    np.testing.assert_allclose(
        flat(gradient(p, "uoro").gradients), flat(gradient(p).gradients), rtol=0, atol=1e-13
    )


def test_the_two_factors_are_balanced_and_as_small_as_state_and_parameters():
    p = problem("LSTM", hidden=3, steps=6)
    state, parameters = gradient(p, "uoro").memory
    assert state.shape == (6,) and parameters.shape == (sum(q.size for q in p.parameters.parameters()),)
    assert 0.2 < np.linalg.norm(state) / np.linalg.norm(parameters) < 5


def test_where_no_parameter_reaches_the_state_nothing_is_kept():
    w = tg.tensor(np.array([2.0]), requires_grad=True)

    def step(w, h, x):
        return 0.5 * h + x, (w * h).sum()

    p = Problem(w, step, tg.tensor(np.array([1.0])), tg.tensor(np.ones((4, 1))))
    found = gradient(p, "uoro")
    np.testing.assert_allclose(found.gradients.numpy(), gradient(p).gradients.numpy(), rtol=1e-15)
    assert not found.memory[0].any() and not found.memory[1].any()


@pytest.mark.parametrize("way", ["uoro", "forward:3"])
def test_two_runs_after_another_are_one_long_run(way):
    p = problem("LSTM", hidden=3, steps=7, batch=2)
    first, second = parts(p, 3)
    rng = tg.random.Generator(4)
    a = gradient(first(p.carry), way, rng=rng)
    b = gradient(second(a.carry), way, memory=a.memory, rng=rng)
    whole = flat(gradient(p, way, rng=tg.random.Generator(4)).gradients)
    np.testing.assert_allclose(flat(a.gradients) + flat(b.gradients), whole, rtol=0, atol=1e-12 * np.abs(whole).max())
