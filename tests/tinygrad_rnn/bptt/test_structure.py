"""What reaches what, read from a step's graph: never less than the Jacobians show, and no more than can be."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import problem
from tinygrad_rnn.bptt import Linearised, Problem
from tinygrad_rnn.bptt.structure import ancestors, dependents, patterns, products, rewired, signature, units

SMOOTH = ["ElmanRNN", "GRU", "GRUResetAfter", "MinGRU", "SRU", "LSTM", "PeepholeLSTM", "LayerNormLSTM", "MGU", "CoRNN"]


def matrix(rows, columns):
    found = np.zeros((len(rows), columns), bool)
    for i, row in enumerate(rows):
        found[i, row] = True
    return found


def steps_of(p, count=2):
    carry = p.carry
    for t in range(count):
        step = Linearised(p, carry, t)
        carry = step.carry
        yield step


@pytest.mark.parametrize("cell", zoo.names())
def test_a_pattern_covers_both_jacobians(cell):
    for step in steps_of(problem(cell, hidden=3, batch=2)):
        direct, through = step.jacobians()
        found = patterns(step)
        assert not (np.abs(direct) > 0)[~matrix(found.parameters, step.parameters.n)].any()
        assert not (np.abs(through) > 0)[~matrix(found.before, step.before.n)].any()


@pytest.mark.parametrize("cell", SMOOTH)
def test_where_nothing_is_dead_a_pattern_is_what_the_jacobians_show(cell):
    *_, step = steps_of(problem(cell, hidden=3, batch=2))
    direct, through = step.jacobians()
    found = patterns(step)
    np.testing.assert_array_equal(matrix(found.parameters, step.parameters.n), direct != 0)
    np.testing.assert_array_equal(matrix(found.before, step.before.n), through != 0)


@pytest.mark.parametrize("cell", zoo.names())
def test_a_pattern_does_not_depend_on_the_numbers(cell):
    p = problem(cell, hidden=3, batch=2, steps=3)
    first, *_, last = steps_of(p, 3)
    assert signature(first) == signature(last)
    for a, b in zip(patterns(first), patterns(last), strict=True):
        assert [r.tolist() for r in a] == [r.tolist() for r in b]


def hand_written(step, *, parameters, n=3):
    x = tg.tensor(np.ones((1, 1, n)))
    carry = tg.zeros((1, n), dtype="float64")
    return Linearised(Problem(parameters, step, carry, x), carry, 0)


def weight(*shape):
    return tg.tensor(np.ones(shape), requires_grad=True)


def test_dead_units_zero_states_and_one_hot_inputs_are_connections_nevertheless():
    step = hand_written(lambda w, h, x: (tg.relu((h * 0) @ w - 1), None), parameters=weight(3, 3))
    assert not step.jacobians()[0].any()
    assert [len(r) for r in patterns(step).parameters] == [3, 3, 3]
    assert [len(r) for r in patterns(step).before] == [3, 3, 3]


def test_weights_times_a_constant_mask_are_as_sparse_as_the_mask():
    mask = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    step = hand_written(lambda w, h, x: (tg.tanh(h @ (w * mask) + x), None), parameters=weight(3, 3))
    found = patterns(step)
    assert [r.tolist() for r in found.before] == [[0, 1], [1], [2]]
    assert [r.tolist() for r in found.parameters] == [[0, 3], [4], [8]]
    other = hand_written(lambda w, h, x: (tg.tanh(h @ (w * mask.T) + x), None), parameters=weight(3, 3))
    assert signature(step) != signature(other)


def test_a_table_read_by_index_counts_as_read_everywhere():
    def step(w, h, x):
        return tg.tanh(h + tg.embedding(w, tg.tensor([2]))), None

    found = patterns(hand_written(step, parameters=weight(4, 3)))
    assert [r.tolist() for r in found.parameters] == [[i, 3 + i, 6 + i, 9 + i] for i in range(3)]


@pytest.mark.parametrize(
    "mix", [lambda h: tg.softmax(h), lambda h: tg.max(h, -1, keepdims=True) + 0 * h, lambda h: h * tg.logsumexp(h)]
)
def test_an_op_along_an_axis_mixes_all_of_it(mix):
    found = patterns(hand_written(lambda w, h, x: (mix(h) * w, None), parameters=weight(3)))
    assert [r.tolist() for r in found.before] == [[0, 1, 2]] * 3
    assert [r.tolist() for r in found.parameters] == [[0], [1], [2]]


def test_the_products_with_weights_are_found_whatever_the_side():
    def step(p, h, x):
        h = tg.tanh((p["left"] @ h.T).T + h @ p["right"] + x @ p["input"] + (h @ h.T) @ h)
        return h, (h @ p["readout"]).sum()

    found = hand_written(step, parameters={k: weight(3, 3) for k in ("left", "right", "input", "readout")})
    inside = ancestors(found._roots)
    uses = products(found, dependents(found, found._wrt[found._split :]))
    assert [(argument, node in inside) for node, argument in uses] == [(1, True), (0, True), (0, False)]


def test_units_are_the_numbers_that_meet():
    assert units(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]], bool)).tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("cell", ["LSTM", "FastWeights"])
def test_a_step_rewired_without_a_change_has_the_same_derivatives(cell):
    *_, step = steps_of(problem(cell, hidden=3))
    same = rewired(step, lambda node, inputs: (node.op, inputs, node.saved))
    for a, b in zip((*step.jacobians(), *step.pull_loss()), (*same.jacobians(), *same.pull_loss()), strict=True):
        np.testing.assert_array_equal(a, b)
