"""What gates do: their values are those of the equations, under the names of the cell's own variables."""

import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import problem
from tinygrad_rnn.bptt import Problem, activations, saturation

T, B, H = 5, 2, 4

NAMES = {
    "ElmanRNN": ["tanh h"],
    "GRU": ["sigmoid r", "sigmoid z", "tanh n"],
    "LSTM": ["sigmoid f", "sigmoid i", "tanh g", "sigmoid o", "tanh c"],
    "PeepholeLSTM": ["sigmoid f", "sigmoid i", "tanh g", "sigmoid o", "tanh c"],
    "MinGRU": ["sigmoid z"],
    "SRU": ["sigmoid f", "sigmoid r"],
}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("cell", NAMES)
def test_gates_are_called_what_the_cell_calls_them(cell):
    found = activations(problem(cell, steps=T, hidden=H, batch=B))
    assert list(found) == [f"cell/{cell}/{name}" for name in NAMES[cell]]


@pytest.mark.parametrize("cell", zoo.names())
def test_gates_have_a_value_for_each_step_row_and_unit_within_their_range(cell):
    for name, (values, axes) in activations(problem(cell, steps=T, hidden=H, batch=B)).items():
        assert axes == ("t", "batch", "unit") and values.shape == (T, B, H)
        assert ((values > 0) | ("tanh" in name)).all() and (abs(values) < 1).all()


def test_the_gates_of_an_lstm_are_those_of_its_equations():
    whole = problem("LSTM", steps=T, hidden=H, batch=B)
    cell, (xs, _) = whole.parameters.cell, whole.xs
    found = activations(whole)
    h = c = np.zeros((B, H))
    for t in range(T):
        i, f, g, o = np.split(cell.input(xs[t]).numpy() + h @ cell.U.numpy(), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        for name, expected in {"sigmoid f": sigmoid(f), "tanh g": np.tanh(g), "tanh c": np.tanh(c)}.items():
            assert np.allclose(found[f"cell/LSTM/{name}"].array[t], expected, rtol=1e-12)


def test_saturation_is_the_share_of_values_on_either_side_of_the_bounds():
    whole = problem("LSTM", steps=40, hidden=H, batch=B)
    weight = whole.parameters.cell.input.weight
    weight.data = weight.data * 8
    found, values = saturation(whole), activations(whole)
    for name, bounds in {"cell/LSTM/sigmoid i": (0.1, 0.9), "cell/LSTM/tanh g": (-0.8, 0.8)}.items():
        left, right = found[name]
        assert left.axes == right.axes == ("unit",)
        assert np.array_equal(left.array, (values[name].array < bounds[0]).mean((0, 1)))
        assert np.array_equal(right.array, (values[name].array > bounds[1]).mean((0, 1)))
        assert left.array.any() and right.array.any()


def test_a_gate_that_only_some_steps_have_is_judged_by_those():
    def step(w, h, x):
        if x > 0:
            gate = tg.sigmoid(w * x)
            h = h * gate
        return h, h.sum()

    whole = Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), [9.0, -1.0, 0.0, 9.0])
    (name,) = found = activations(whole)
    assert name == "sigmoid gate" and np.isnan(found[name].array).all(1).tolist() == [False, True, True, False]
    assert saturation(whole)[name].right.array.tolist() == [1, 1]


def test_gates_of_the_same_name_are_told_apart_by_a_number():
    def step(w, h, x):
        def once(h):
            gate = tg.sigmoid(w * h)
            return gate

        return once(once(h)), None

    found = activations(Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), [0, 1]))
    assert list(found) == ["sigmoid gate", "sigmoid gate #2"]
    assert np.allclose(found["sigmoid gate #2"].array, sigmoid(found["sigmoid gate"].array))


@pytest.mark.parametrize("fails", [False, True])
def test_a_profiler_that_was_running_goes_on(fails):
    heard = []

    def step(w, h, x):
        if fails:
            raise KeyError("no")
        return tg.sigmoid(w * h), None

    def hook(frame, event, result):
        heard.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        if fails:
            with pytest.raises(KeyError):
                activations(Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), [0]))
        else:
            activations(Problem(tg.ones(2, requires_grad=True), step, tg.ones(2), [0]))
        assert sys.getprofile() is hook
    finally:
        sys.setprofile(before)
    assert "step" in heard
