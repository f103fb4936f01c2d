"""Adaptive truncation: the length that known decays ask for, bounds that hold, and a choice that can be read."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, problem
from tinygrad_rnn.bptt import Adaptive, Problem, gradient, lag_matrix, strategy, truncation_length


def leaky(w, steps=80):
    """``s_t = w s_{t−1} + 1 − w`` at rest at 1, loss s_t: what a loss gives w over a lag of k is wᵏ."""
    def step(p, s, x):
        s = p * s + x
        return s, s

    return Problem(tg.tensor(np.array(w), requires_grad=True), step, tg.tensor(np.array(1.0)),
                   tg.tensor(np.full(steps, 1 - w)))  # fmt: skip


@pytest.mark.parametrize("w", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("tolerance", [0.3, 0.05, 0.01])
def test_for_a_geometric_decay_the_length_follows_from_it(w, tolerance):
    """Σ_{k<K} wᵏ of 1 / (1 − w) is kept: wᴷ is missing, less what the bound on the size gives away, 2 wᴿ."""
    R = 35
    choice = truncation_length(leaky(w), tolerance, R)
    expected = math.ceil(math.log(tolerance * (1 - 2 * w**R)) / math.log(w))
    assert choice.back == expected
    assert choice.bias == pytest.approx(w**expected / (1 - 2 * w**R), rel=1e-6)
    assert choice.decay == pytest.approx(w, rel=1e-9)
    np.testing.assert_allclose(choice.norms, w ** np.arange(R), rtol=1e-9)


@pytest.mark.parametrize("cell", zoo.names())
def test_norms_by_lag_are_those_of_the_lag_matrix(cell):
    p = problem(cell, steps=12)
    C = lag_matrix(p).array
    choice = truncation_length(p, 0.1, 5)  # losses of steps 6 … 11, through 5 lags
    expected = [np.mean([C[t, t - k] for t in range(6, 12)]) for k in range(5)]
    np.testing.assert_allclose(choice.norms, expected, rtol=1e-10)


@pytest.mark.parametrize("cell", ["ElmanRNN", "GRU", "LSTM"])
def test_the_bias_of_the_gradient_is_within_the_bound(cell):
    p = problem(cell, steps=16)
    last = lag_matrix(p, arrays=True).array[15]  # the one loss that has all lags
    whole = last.sum(axis=0)
    for tolerance in (0.5, 0.1, 0.02):
        choice = truncation_length(p, tolerance, 16)
        assert choice.bias <= tolerance
        lost = last[: 16 - choice.back].sum(axis=0)
        assert np.linalg.norm(lost) <= choice.bias * np.linalg.norm(whole) + 1e-12


def test_a_lower_tolerance_reaches_further_back():
    p = problem("GRU", steps=40, hidden=4)
    lengths = [truncation_length(p, tolerance, 20).back for tolerance in (0.5, 0.1, 0.01, 0.001)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_where_gradients_do_not_fade_the_longest_is_taken_and_the_bias_has_no_bound():
    choice = truncation_length(leaky(1.0), 0.1, 30)
    assert choice.back == 30 and choice.bias == math.inf and choice.decay == pytest.approx(1)


def test_in_a_run_no_longer_than_the_reach_nothing_lies_beyond_it():
    choice = truncation_length(leaky(1.0, steps=10), 0.01, 30)
    assert choice.back == 10 and choice.bias == 0


def test_a_gradient_of_one_step_alone_needs_one_step():
    p = Problem(tg.tensor(2.0, requires_grad=True), lambda w, s, x: (s, w * x), tg.tensor(0.0), tg.ones(9))
    choice = truncation_length(p, 0.1, 4)
    assert choice.back == 1 and choice.bias == 0


def test_a_loss_at_the_end_alone_is_enough_and_none_is_an_error():
    def step(w, s, x):
        s = w * s + 0.1
        return s, s if x == wanted else None

    p = Problem(tg.tensor(np.array(0.5), requires_grad=True), step, tg.tensor(np.array(0.2)), list(range(50)))
    wanted = 49
    assert truncation_length(p, 0.01, 20).decay == pytest.approx(0.5)
    wanted = 3
    with pytest.raises(ValueError, match="none of the last 21 steps has a loss"):
        truncation_length(p, 0.01, 20)


def test_it_is_a_window_of_the_length_chosen_which_the_memory_tells():
    p = problem("GRU", steps=40, hidden=4)
    choice = truncation_length(p, 0.05, 16)
    assert 1 < choice.back < 16
    found = gradient(p, "adaptive:0.05,16")
    assert found.memory == {"back": choice.back, "bias": choice.bias, "decay": choice.decay, "runs": 1}
    expected = gradient(p, f"window:{choice.back},{2 * choice.back}")
    assert difference(found.gradients, expected.gradients) == 0
    error = flat(found.gradients) - flat(gradient(p).gradients)
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(flat(gradient(p).gradients))


def test_with_its_memory_a_choice_is_kept_for_some_runs():
    p = problem("GRU", steps=40, hidden=4)
    runs, memory, way = [], None, Adaptive(0.05, 16, keep=2)

    def step(model, z, x):
        runs.append(1)
        return p.step(model, z, x)

    counted = Problem(p.parameters, step, p.carry, p.xs)
    for count, number in ((1, 80), (2, 40), (1, 80), (2, 40)):  # to measure, all of it is run once more
        memory = gradient(counted, way, memory=memory).memory
        assert memory["runs"] == count and len(runs) == number
        runs.clear()


def test_it_measures_where_the_arrays_are(device):
    p = leaky(0.5)
    w = tg.tensor(p.parameters.data, requires_grad=True).to(device)
    moved = Problem(w, p.step, p.carry.to(device), p.xs.to(device))
    assert truncation_length(moved, 0.05, 20) == truncation_length(p, 0.05, 20)


@pytest.mark.parametrize("text", ["adaptive:0", "adaptive:1", "adaptive:nan", "adaptive:0.1,1", "adaptive:0.1,9,0"])
def test_options_out_of_range_are_refused(text):
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        strategy(text)


def test_an_adaptive_strategy_is_written_with_its_tolerance():
    assert strategy("adaptive:0.1") == Adaptive(0.1, 200, 50) and str(Adaptive(0.1)) == "adaptive:0.1,200,50"
