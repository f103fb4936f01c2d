"""SnAp: RTRL with all entries set to 0 that a parameter does not reach in time, and none of them stored."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, parts, problem
from tinygrad_rnn.bptt import Linearised, Problem, gradient, sparse, strategy

CELLS = ["ElmanRNN", "GRU", "GRUResetAfter", "LSTM", "PeepholeLSTM", "MGU", "CoRNN", "SRU"]


def leaves(rng, **shapes):
    return {name: tg.tensor(rng.standard_normal(shape), requires_grad=True) for name, shape in shapes.items()}


def kept(found):
    """How many numbers are stored."""
    return sum(block.size for block in found.memory["values"])


def masked(p, n):
    """SnAp written down with dense matrices, the pattern being where products of the Jacobians are not 0."""
    carry, total = p.carry, 0.0
    sensitivity, reached = None, None
    for t in range(len(p)):
        step = Linearised(p, carry, t)
        direct, back = step.pull_loss()
        immediate, through = step.jacobians()
        if sensitivity is None:
            sensitivity, reached = np.zeros((step.before.n, step.parameters.n)), []
        total = total + direct + back @ sensitivity
        own = immediate != 0
        reached = [own, *(own | ((through != 0).astype(int) @ r > 0) for r in reached)][:n]
        sensitivity = (immediate + through @ sensitivity) * reached[-1]
        carry = step.carry
    return total


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_masked_real_time_recurrent_learning(cell, n):
    p = problem(cell, hidden=3, batch=2, steps=6)
    found = flat(gradient(p, f"snap:{n}").gradients)
    np.testing.assert_allclose(found, masked(p, n), rtol=0, atol=1e-13 * np.abs(found).max())


@pytest.mark.parametrize("cell", zoo.names())
def test_with_many_steps_it_is_the_gradient(cell):
    p = problem(cell, hidden=3, batch=2, steps=4)
    assert difference(gradient(p, "snap:5").gradients, gradient(p).gradients) < 1e-12


@pytest.mark.parametrize("cell", ["IndRNN", "MinGRU", "SRU", "MLSTM"])
def test_where_units_hear_only_themselves_one_step_is_the_gradient(cell):
    p = problem(cell, hidden=3, batch=2, steps=6)
    assert difference(gradient(p, "snap:1").gradients, gradient(p).gradients) < 1e-12


@pytest.mark.parametrize("cell", ["ElmanRNN", "GRUResetAfter", "LSTM"])
def test_where_units_hear_all_others_one_step_is_not_the_gradient(cell):
    p = problem(cell, hidden=3, steps=6)
    assert difference(gradient(p, "snap:1").gradients, gradient(p).gradients) > 1e-2


@pytest.mark.parametrize(("cell", "each"), [("ElmanRNN", 1), ("GRUResetAfter", 1), ("LSTM", 2)])
def test_one_step_keeps_the_numbers_of_a_parameters_own_unit(cell, each):
    p = problem(cell, hidden=4, inputs=3, batch=2)
    own = sum(q.size for q in p.parameters.cell.parameters())
    shown = 8 * 8 if cell == "LSTM" else 0  # the output gate's parameters do not reach c
    assert kept(gradient(p, "snap:1")) == 2 * each * own - (2 * own // 4 if shown else 0)


def test_of_a_net_of_few_connections_more_steps_keep_more_and_err_less():
    rng = np.random.default_rng(0)
    n = 12
    mask = (rng.random((n, n)) < 0.15).astype(float)
    parameters = leaves(rng, U=(n, n), b=(n,))

    def step(p, h, x):
        h = tg.tanh(h @ (p["U"] * mask) + x + p["b"])
        return h, (h * h).sum()

    p = Problem(parameters, step, tg.zeros((1, n), dtype="float64"), tg.tensor(rng.standard_normal((8, 1, n))))
    exact, errors, stored = gradient(p), [], []
    for reached in (1, 2, 3, 12):
        found = gradient(p, f"snap:{reached}")
        errors.append(difference(found.gradients, exact.gradients))
        stored.append(kept(found))
    assert sorted(stored) == stored and stored[0] == mask.sum() + n and stored[-1] < n * (mask.sum() + n)
    assert errors[0] > errors[1] > errors[2] > errors[3] and errors[3] < 1e-13


@settings(max_examples=20)
@given(
    n=st.integers(1, 6), batch=st.integers(1, 3), steps=st.integers(1, 5), reach=st.integers(1, 4),
    density=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_masked_real_time_recurrent_learning_for_any_connections(n, batch, steps, reach, density, seed):
    rng = np.random.default_rng(seed)
    mask, gate = (rng.random((2, n, n)) < density).astype(float)
    parameters = leaves(rng, U=(n, n), V=(n, n), b=(n,), w=(n, 2))

    def step(p, h, x):
        g = tg.sigmoid(h @ (p["V"] * gate) + 1)
        h = g * h + (1 - g) * tg.tanh(h @ (p["U"] * mask) + x + p["b"])
        return h, tg.logsumexp(h @ p["w"])

    xs = tg.tensor(rng.standard_normal((steps, batch, n)))
    p = Problem(parameters, step, tg.tensor(rng.standard_normal((batch, n))), xs)
    expected = masked(p, reach)
    found = flat(gradient(p, f"snap:{reach}").gradients)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("way", ["snap:1", "snap:2"])
def test_the_carry_may_change_what_it_is_made_of(way):
    rng = np.random.default_rng(0)
    p = leaves(rng, U=(3, 3), C=(3, 2), V=(2, 2))

    def encode(p, z, x):
        h = x if z is None else z["h"]
        return {"h": tg.tanh(h @ p["U"] + x)}, None

    def hand_over(p, z, x):
        return (tg.tanh(z["h"] @ p["C"]),), None

    def decode(p, z, x):
        s = tg.tanh(z[0] @ p["V"])
        return (s,), (s * s).sum()

    x = tg.tensor(rng.standard_normal((1, 3)))
    xs = [(encode, x), (encode, x), (hand_over, x), (decode, x), (decode, x)]
    whole = Problem(p, lambda p, z, x: x[0](p, z, x[1]), None, xs)
    expected = gradient(whole, "rtrl").gradients
    error = difference(gradient(whole, way).gradients, expected)
    assert difference(gradient(whole, "snap:9").gradients, expected) < 1e-13
    assert error > 1e-3 if way == "snap:1" else error < 1e-13


@pytest.mark.parametrize("way", ["snap:1", "snap:2"])
def test_two_runs_after_another_are_one_long_run(way):
    p = problem("LSTM", hidden=3, steps=7, batch=2)
    first, second = parts(p, 3)
    a = gradient(first(p.carry), way)
    b = gradient(second(a.carry), way, memory=a.memory)
    whole = flat(gradient(p, way).gradients)
    np.testing.assert_allclose(flat(a.gradients) + flat(b.gradients), whole, rtol=0, atol=1e-13 * np.abs(whole).max())


def test_steps_that_look_alike_share_one_plan(monkeypatch):
    made = Counter()
    for name in ("patterns", "planned"):
        function = getattr(sparse, name)
        monkeypatch.setattr(sparse, name, lambda *args, f=function, n=name: (made.update([n]), f(*args))[1])
    list(strategy("snap:2").updates(problem("GRU", hidden=3, steps=8)))
    assert made == {"patterns": 1, "planned": 3}  # the layout grows for two steps


def test_a_token_at_a_time_through_a_table_is_exact_when_all_is_kept():
    rng = np.random.default_rng(0)
    p = leaves(rng, E=(5, 2), U=(2, 2))

    def step(p, h, x):
        h = tg.tanh(h @ p["U"] + tg.embedding(p["E"], x))
        return h, (h * h).sum()

    whole = Problem(p, step, tg.zeros((1, 2), dtype="float64"), tg.tensor([[0], [3], [3], [1]]))
    assert difference(gradient(whole, "snap:2").gradients, gradient(whole).gradients) < 1e-13


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="at least 1 step"):
        strategy("snap:0")


def test_a_state_whose_jacobian_does_not_fit_is_refused_before_starting():
    w = tg.tensor(np.ones(1, np.float32), requires_grad=True)
    p = Problem(w, lambda w, h, x: (w * h, None), tg.zeros((1, 200_000)), tg.ones((1,)))
    with pytest.raises(ValueError, match=r"200,000 numbers of the state: 149\.0 GiB"):
        gradient(p, "snap:1")
