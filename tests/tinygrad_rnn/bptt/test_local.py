"""Traces within a unit: the papers' recursions written down unit by unit, and who is refused."""

from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, parts, problem
from tinygrad_rnn.bptt import Problem, gradient, strategy


class RateNet(zoo.Cell):
    """h' = (1 − α) h + α tanh(x W + h U + b)."""

    class State(NamedTuple):
        h: tg.Tensor

    def __init__(self, input_size, hidden_size, *, alpha):
        super().__init__(input_size, hidden_size)
        self.alpha = alpha
        self.input = tg.nn.Linear(input_size, hidden_size)
        self.U = tg.nn.parameter(tg.nn.init.orthogonal(tg.random.Generator(1), (hidden_size, hidden_size)))

    def step(self, x, s):
        h = (1 - self.alpha) * s.h + self.alpha * tg.tanh(self.input(x) + s.h @ self.U)
        return h, self.State(h)


def by_hand(p, alpha, feedback=None):
    """RFLO as Murray 2019 has it: p_ab ← (1 − α) p_ab + α φ'(u_b) r_a, Δw_ab = Σ_t [error · feedback]_b p_ab."""
    cell, head = p.parameters.cell, p.parameters.head
    W, U, b = cell.input.weight.numpy(), cell.U.numpy(), cell.input.bias.numpy()
    V, c = head.weight.numpy(), head.bias.numpy()
    feedback = V if feedback is None else feedback
    h = p.carry.h.numpy()
    batch, n = h.shape
    trace = np.zeros((batch, W.shape[0] + n + 1, n))
    learned, read, bias = 0.0, np.zeros_like(V), np.zeros_like(c)
    for x, label in zip(p.xs[0].numpy(), p.xs[1].numpy(), strict=True):
        r = np.concatenate([x, h, np.ones((batch, 1))], 1)
        phi = np.tanh(x @ W + h @ U + b)
        h = (1 - alpha) * h + alpha * phi
        trace = (1 - alpha) * trace + alpha * r[:, :, None] * (1 - phi**2)[:, None, :]
        e = np.exp(h @ V + c)
        error = (e / e.sum(1, keepdims=True) - np.eye(2)[label]) / batch
        learned = learned + ((error @ feedback.T)[:, None, :] * trace).sum(0)
        read, bias = read + h.T @ error, bias + error.sum(0)
    inputs = W.shape[0]
    return {
        "cell/input/weight": learned[:inputs], "cell/U": learned[inputs:-1], "cell/input/bias": learned[-1],
        "head/weight": read, "head/bias": bias,
    }  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("way", ["rflo:exact", "rflo", "rflo:random,7", "eprop"])
def test_of_rate_units_the_traces_are_those_of_the_paper(way, alpha, batch):
    p = problem(RateNet(3, 4, alpha=alpha), batch=batch, steps=6)
    chosen = strategy(way)
    feedback = None
    if chosen.feedback == "random":
        feedback = tg.random.Generator(chosen.seed).fork("feedback", 0).normal((4, 2), std=0.5, dtype="float64").numpy()
    expected = by_hand(p, alpha, feedback)
    found = gradient(p, way).gradients
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=0, atol=1e-14 * max(1, np.abs(value).max()))


def test_of_an_lstm_the_traces_are_those_of_the_cell_state():
    """Bellec et al. 2020: ε ← f ε + ∂c/∂a ⊗ (x, h), e = ∂h/∂c ε, and the output gate has no past."""
    p = problem("LSTM", hidden=3, inputs=2, steps=6)
    cell, head = p.parameters.cell, p.parameters.head
    A = np.concatenate([cell.input.weight.numpy(), cell.U.numpy(), cell.input.bias.numpy()[None]])
    V, bias = head.weight.numpy(), head.bias.numpy()
    h, c = np.zeros(3), np.zeros(3)
    trace, learned = np.zeros((6, 3, 3)), np.zeros((6, 4, 3))

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for x, label in zip(p.xs[0].numpy(), p.xs[1].numpy(), strict=True):
        r = np.concatenate([x[0], h, [1.0]])
        a = (r @ A).reshape(4, 3)
        i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
        slopes = np.stack([i * (1 - i) * g, f * (1 - f) * c, (1 - g**2) * i])
        trace = f * trace + r[:, None, None] * slopes
        c = f * c + i * g
        h = o * np.tanh(c)
        e = np.exp(h @ V + bias)
        signal = (e / e.sum() - np.eye(2)[label[0]]) @ V.T
        learned[:, :3] += signal * o * (1 - np.tanh(c) ** 2) * trace
        learned[:, 3] += r[:, None] * signal * o * (1 - o) * np.tanh(c)
    found = gradient(p, "eprop").gradients
    both = [found[k].numpy().reshape(-1, 12) for k in ("cell/input/weight", "cell/U", "cell/input/bias")]
    np.testing.assert_allclose(np.concatenate(both), learned.reshape(6, 12), rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", ["IndRNN", "MinGRU", "SRU", "MLSTM"])
def test_where_units_do_not_meet_eprop_is_the_gradient(cell):
    p = problem(cell, hidden=3, batch=2, steps=6)
    assert difference(gradient(p, "eprop").gradients, gradient(p).gradients) < 1e-12


@pytest.mark.parametrize("cell", ["ElmanRNN", "GRUResetAfter", "LSTM", "PeepholeLSTM", "CoRNN"])
def test_without_a_past_eprop_is_the_gradient_and_with_one_it_is_not(cell):
    assert difference(*(gradient(problem(cell, steps=1), way).gradients for way in ("eprop", "full"))) < 1e-12
    longer = problem(cell, hidden=3, steps=6)
    assert difference(gradient(longer, "eprop").gradients, gradient(longer).gradients) > 1e-4


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("GRU", r"cell/input/weight \(2, 12\) acts on the state through recurrent weights within the step.*use snap:1"),
        ("MGU", r"cell/input/weight \(2, 8\) acts on the state through recurrent weights"),
        ("LayerNormLSTM", "all 8 numbers of the state still meet"),
        ("FastWeights", "all 20 numbers of the state still meet"),
    ],
)
def test_a_cell_whose_units_meet_elsewhere_is_refused_before_starting(cell, message):
    p = problem(cell, hidden=4, batch=2)
    with pytest.raises(ValueError, match=f"eprop: .*{message}"):
        strategy("eprop").check(p)


@pytest.mark.parametrize(
    ("cell", "message"),
    [("LSTM", "`mul` at t=0/cell/LSTM acts on the carried"), ("IndRNN", "`mul` at"), ("CoRNN", r"numbers \[0, 8\]")],
)
def test_rflo_refuses_what_is_no_rate_unit(cell, message):
    with pytest.raises(ValueError, match=f"rflo: .*{message}.*use eprop or snap:1"):
        gradient(problem(cell, hidden=4, batch=2), "rflo")


@pytest.mark.parametrize("way", ["eprop", "eprop:random", "rflo"])
def test_two_runs_after_another_are_one_long_run(way):
    p = problem(RateNet(2, 3, alpha=0.3), steps=7, batch=2)
    first, second = parts(p, 3)
    a = gradient(first(p.carry), way)
    b = gradient(second(a.carry), way, memory=a.memory)
    np.testing.assert_allclose(
        flat(a.gradients) + flat(b.gradients), flat(gradient(p, way).gradients), rtol=0, atol=1e-13
    )


def test_random_feedback_passes_every_layer_of_a_readout_and_the_readout_learns_from_the_true_error():
    rng = np.random.default_rng(0)
    shapes = {"U": (3, 3), "A": (3, 4), "B": (4, 2)}
    p = {name: tg.tensor(rng.standard_normal(shape), requires_grad=True) for name, shape in shapes.items()}

    def step(p, h, x):
        h = tg.tanh(h @ p["U"] + x)
        return h, (tg.tanh(h @ p["A"]) @ p["B"]).sum()

    run = Problem(p, step, tg.zeros((1, 3), dtype="float64"), tg.tensor(rng.standard_normal((3, 1, 3))))
    exact, seeds = gradient(run, "eprop").gradients, [gradient(run, f"eprop:random,{s}").gradients for s in (0, 0, 1)]
    for found in seeds:
        np.testing.assert_allclose(found["B"].numpy(), exact["B"].numpy(), rtol=1e-13)
        assert difference(found["A"], exact["A"]) > 1e-2 and difference(found["U"], exact["U"]) > 1e-2
    np.testing.assert_array_equal(seeds[0]["U"].numpy(), seeds[1]["U"].numpy())
    assert difference(seeds[0]["U"], seeds[2]["U"]) > 1e-2


def test_a_table_before_the_cell_has_traces_in_all_units_that_it_leads_to():
    """ε ← (1 − α) ε + α diag(φ') (E W)-rows: checked as real-time recurrent learning with J = 1 − α."""
    rng = np.random.default_rng(0)
    shapes = {"E": (5, 2), "W": (2, 3), "U": (3, 3)}
    p = {name: tg.tensor(rng.standard_normal(shape), requires_grad=True) for name, shape in shapes.items()}

    def step(p, h, x, cut=lambda h: h):
        h = 0.7 * h + 0.3 * tg.tanh(tg.embedding(p["E"], x) @ p["W"] + cut(h) @ p["U"])
        return h, (h * h).sum()

    xs = tg.tensor([[0], [3], [3], [1]])
    run = Problem(p, step, tg.zeros((1, 3), dtype="float64"), xs)
    cut = Problem(p, lambda p, h, x: step(p, h, x, tg.detach), run.carry, xs)
    assert difference(gradient(run, "eprop").gradients, gradient(cut).gradients) < 1e-13


def test_layers_on_top_of_each_other_are_refused():
    p = {"U": tg.tensor(np.ones((2, 2)), requires_grad=True), "V": tg.tensor(np.ones((2, 2)), requires_grad=True)}

    def step(p, z, x):
        low = tg.tanh(z[0] @ p["U"] + x)
        high = 0.5 * z[1] + low @ p["V"]
        return (low, high), high.sum()

    zeros = tg.zeros((1, 2), dtype="float64")
    with pytest.raises(ValueError, match=r"eprop: parameter 0 .* acts on the state through recurrent weights"):
        gradient(Problem(p, step, (zeros, zeros), tg.ones((3, 1, 2), dtype="float64")), "eprop")


def test_feedback_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="strategy 'eprop:symmetric': feedback is exact or random, not 'symmetric'"):
        strategy("eprop:symmetric")
