"""A sliding window: exactly which losses and which steps enter each update, also while the parameters change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, problem
from tinygrad_rnn.bptt import Problem, Window, gradient, strategy

RATE = 0.01


class Linear:
    """``s_t = W s_{t−1} + b x_t``, ``ℓ_t = c_t · s_t``, trained along the way, and the same by sums over all pairs."""

    def __init__(self, steps, seed=0):
        rng = np.random.default_rng(seed)
        self.W, self.b = rng.standard_normal((3, 3)) / 3, rng.standard_normal(3)
        self.c, self.x = rng.standard_normal((steps, 3)), rng.standard_normal(steps)
        self.steps = steps

    def problem(self):
        def step(p, s, x):
            s = p["W"] @ s + p["b"] * x[0]
            return s, (x[1] * s).sum()

        parameters = {k: tg.tensor(getattr(self, k).copy(), requires_grad=True) for k in ("W", "b")}
        return Problem(parameters, step, tg.tensor(np.ones(3)), (tg.tensor(self.x), tg.tensor(self.c)))

    def trained(self, strategy, memory=None):
        """The updates of a run in which every one is followed by a step of gradient descent."""
        p = self.problem()
        for update in strategy.updates(p, memory=memory):
            yield update
            for key, g in update.gradients.items():
                p.parameters[key].data = p.parameters[key].data - RATE * g.data

    def expected(self, every, back):
        """For each update at u the loss of steps u − every … u − 1 and its gradient through steps u − back … u − 1."""
        W, b, s = self.W.copy(), self.b.copy(), np.ones(3)
        then, states, last = [], [s], 0  # W as it was at each step, s_{t−1}
        for t in range(self.steps):
            then.append(W)
            s = W @ s + b * self.x[t]
            states.append(s)
            u = t + 1
            if u % every == 0 or u == self.steps:
                gW, gb, loss = np.zeros((3, 3)), np.zeros(3), 0.0
                for end in range(last, u):
                    loss += self.c[end] @ states[end + 1]
                    for use in range(max(0, u - back), end + 1):
                        delta = self.c[end]
                        for between in range(end, use, -1):
                            delta = delta @ then[between]
                        gW += np.outer(delta, states[use])
                        gb += delta * self.x[use]
                yield u, loss, gW, gb
                W, b, last = W - RATE * gW, b - RATE * gb, u


@given(st.data())
def test_each_update_holds_the_last_losses_through_the_window_while_parameters_change(data):
    every = data.draw(st.integers(1, 6), label="every")
    back = data.draw(st.integers(every, 15), label="back")
    net = Linear(data.draw(st.integers(1, 20), label="steps"))
    found, expected = list(net.trained(Window(every, back))), list(net.expected(every, back))
    assert [update.t for update in found] == [u for u, *_ in expected]
    for update, (_, loss, W, b) in zip(found, expected):
        np.testing.assert_allclose(update.loss, loss, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(update.gradients["W"].numpy(), W, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(update.gradients["b"].numpy(), b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cell", zoo.names())
@pytest.mark.parametrize(
    ("way", "same"),
    [("window:1,9", "full"), ("window:4,9", "full"), ("window:9,9", "full"), ("window:3,3", "chunks:3")],
)
def test_a_window_as_long_as_the_run_is_exact_and_one_as_long_as_its_moves_is_chunks(cell, way, same):
    p = problem(cell, steps=9, batch=2)
    assert difference(gradient(p, way).gradients, gradient(p, same).gradients) < 1e-13


def test_a_window_differs_from_the_gradient_where_it_cuts():
    p = problem("LSTM", steps=9)
    assert difference(gradient(p, "window:2,5").gradients, gradient(p).gradients) > 1e-4


@pytest.mark.parametrize(("every", "back", "first"), [(2, 5, 6), (3, 3, 9), (1, 4, 5), (4, 10, 8)])
def test_with_its_memory_a_window_reaches_into_the_run_before(every, back, first):
    p = problem("GRU", steps=12)
    a = Problem(p.parameters, p.step, p.carry, p.between(0, first))
    one = gradient(a, Window(every, back))
    b = Problem(p.parameters, p.step, one.carry, p.between(first, 12))
    two = gradient(b, Window(every, back), memory=one.memory)
    whole = gradient(p, Window(every, back))
    total = {k: tg.tensor(one.gradients[k].data + g.data) for k, g in two.gradients.items()}
    assert difference(total, whole.gradients) < 1e-13
    assert sum(segment.steps for segment in two.memory) <= back


def test_a_run_that_ended_between_two_updates_leaves_no_more_than_the_window():
    p = problem("ElmanRNN", steps=7)
    one = gradient(p, "window:3,5")
    again = Problem(p.parameters, p.step, one.carry, p.xs)
    sizes = [sum(s.steps for s in u.memory) for u in strategy("window:3,5").updates(again, memory=one.memory)]
    assert all(3 <= size <= 5 for size in sizes)


def test_no_step_is_run_twice_and_no_more_steps_are_kept_than_the_window_needs():
    runs, alive = [], []

    def step(w, z, x):
        runs.append(int(x))
        return tg.tanh(w * z), (w * z).sum()

    p = Problem(tg.tensor(0.5, requires_grad=True), step, tg.tensor(1.0), list(range(40)))
    for update in Window(2, 7).updates(p):
        alive.append(sum(segment.steps for segment in update.memory))
    assert runs == list(range(40))
    assert max(alive) == 7


def test_a_fast_way_for_several_steps_is_used():
    p = problem("ElmanRNN", steps=12)
    lengths = []

    def segment(model, z, xs):
        lengths.append(len(xs[0]))
        return Problem(model, p.step, z, xs).run(model, z, 0, len(xs[0]))

    fast = Problem(p.parameters, p.step, p.carry, p.xs, segment)
    assert difference(gradient(fast, "window:4,6").gradients, gradient(p, "window:4,6").gradients) == 0
    assert lengths == [2] * 6  # a window begins in the middle of every four steps
    lengths.clear()
    gradient(fast, "window:4,8")
    assert lengths == [4] * 3


@pytest.mark.parametrize("executor", ["numpy", "auto"])
@pytest.mark.parametrize("way", ["window:5,20", "window:5,17"])
def test_compiled_segments_keep_the_parameters_they_were_run_with(executor, way):
    def trained(fast):
        p = problem("LSTM", steps=42, batch=2, hidden=4)
        rnn = zoo.RNN(p.parameters.cell, compile=executor)

        def segment(model, z, xs):
            ys, z = rnn(xs[0], z)
            losses = tg.cross_entropy(model.head(ys).reshape(-1, 2), xs[1].reshape(-1))
            return z, len(xs[0]) * losses

        p = Problem(p.parameters, p.step, p.carry, p.xs, segment if fast else None)
        optimizer = tg.optim.SGD(p.parameters, lr=0.1)
        for update in strategy(way).updates(p):
            optimizer.step(update.gradients)
        return {name: parameter.detach() for name, parameter in p.parameters.parameters_by_path().items()}

    assert difference(trained(fast=True), trained(fast=False)) < 1e-13


def test_where_the_only_loss_is_the_last_truncation_leaves_the_gradient_of_its_own_chunk():
    p = problem("LSTM", steps=10)
    last = len(p) - 1

    def step(model, z, x):
        z, loss = p.step(model, z, x[1:])
        return z, loss if x[0].item() == last else None

    late = Problem(p.parameters, step, p.carry, (tg.tensor(np.arange(10)), *p.xs))
    for way, begin in (("chunks:4", 8), ("window:4,6", 4), ("window:1,3", 7)):
        carry = tg.tree.map(tg.detach, late.run(late.parameters, late.carry, 0, begin)[0])
        rest = Problem(p.parameters, step, carry, late.between(begin, 10))
        found, expected = gradient(late, way), gradient(rest)
        assert found.loss == pytest.approx(expected.loss, rel=1e-14)
        assert difference(found.gradients, expected.gradients) < 1e-14
        assert difference(found.gradients, gradient(late).gradients) > 1e-5


def test_a_window_runs_where_the_arrays_are(device):
    net = Linear(11)
    p = net.problem()
    moved = Problem(
        {k: tg.tensor(v.data, requires_grad=True).to(device) for k, v in p.parameters.items()},
        p.step, p.carry.to(device), tuple(x.to(device) for x in p.xs),
    )  # fmt: skip
    found, expected = gradient(moved, "window:2,5").gradients, gradient(p, "window:2,5").gradients
    assert found["W"].device == moved.parameters["W"].device
    np.testing.assert_allclose(found["W"].numpy(), expected["W"].numpy(), rtol=1e-12)


@pytest.mark.parametrize("way", ["full", "chunks:2", "window:2,3", "artbp:3", "adaptive:0.1"])
def test_a_parameter_of_one_number_gets_a_gradient_that_an_optimiser_takes(way):
    w = tg.tensor(np.array(0.5), requires_grad=True)
    p = Problem(w, lambda w, s, x: (w * s + x, w * s), tg.tensor(np.array(1.0)), tg.tensor(np.ones(7)))
    optimizer = tg.optim.SGD([w], lr=0.01)
    optimizer.step([gradient(p, way).gradients])
    for update in strategy(way).updates(p):
        assert type(update.gradients.data) is np.ndarray
        optimizer.step([update.gradients])
    assert w.item() < 0.5


@pytest.mark.parametrize("text", ["window:5,4", "window:0,4", "window:-1,3"])
def test_a_window_that_would_leave_losses_out_is_refused(text):
    with pytest.raises(ValueError, match="losses would be left out"):
        strategy(text)


def test_a_memory_of_other_states_is_refused():
    memory = gradient(problem("LSTM", batch=2), "window:1,2").memory
    with pytest.raises(ValueError, match=r"\(2, 2\).*pass memory=None"):
        gradient(problem("LSTM", batch=3), "window:1,2", memory=memory)
