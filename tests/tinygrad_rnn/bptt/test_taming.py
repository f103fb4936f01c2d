"""Messages are derivatives of the states; the penalty is its paper's formula, for plain nets and for any cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.bptt import Linearised, Problem, state_messages, vanishing_penalty

T, B, I, H = 5, 3, 2, 4
EVERY_CELL = pytest.mark.parametrize("name", zoo.names())


def problem_of(name: str, batch: int = B) -> Problem:
    cell = zoo.get(name)(I, H, rng=tg.random.Generator(0)).astype("float64")
    rng = np.random.default_rng(1)
    zeros = cell.init_state(batch, dtype="float64")
    carry = tg.tree.map(lambda s: tg.tensor(0.3 * rng.standard_normal(s.shape)), zeros)
    return Problem(cell, lambda cell, s, x: (cell(x, s)[1], None), carry, tg.tensor(rng.standard_normal((T, batch, I))))


def weights_like(states: Any) -> Any:
    rng = np.random.default_rng(2)
    return tg.tree.map(lambda s: tg.tensor(rng.standard_normal(s.shape)), states)


def weighted(_: Any, states: Any) -> tg.Tensor:
    """A loss that sees every state at every step, and not linearly."""
    weights = tg.tree.leaves(weights_like(states))
    return sum((w * (s + s**2)).sum() for w, s in zip(weights, tg.tree.leaves(states), strict=True))


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([leaf.numpy().ravel() for leaf in tg.tree.leaves(tree)])


@EVERY_CELL
def test_messages_are_the_backward_recursion_over_jacobians_of_one_step(name: str) -> None:
    problem = problem_of(name, batch=1)
    found = state_messages(problem, weighted, compile=False)
    states = [tg.tree.map(lambda s, t=t: s[t], found.states) for t in range(T)]
    direct = tg.grad(lambda states: weighted(None, states))(found.states)
    arriving = np.zeros(0)
    for t in reversed(range(T)):
        own = np.concatenate([g.numpy()[t].ravel() for g in tg.tree.leaves(direct)])
        if t < T - 1:
            own = own + arriving @ Linearised(problem, states[t], t + 1).jacobians()[1]
        delta = np.concatenate([d.numpy()[t].ravel() for d in tg.tree.leaves(found.deltas)])
        np.testing.assert_allclose(delta, own, rtol=0, atol=1e-12 * abs(own).max())
        arriving = own


@EVERY_CELL
def test_the_compiled_run_has_the_loss_states_and_gradients_of_the_plain_loop(name: str) -> None:
    problem = problem_of(name)

    def plain(cell: zoo.Cell) -> Any:
        carry, states = problem.carry, []
        for t in range(T):
            carry = problem.step(cell, carry, problem.at(t))[0]
            states.append(carry)
        return weighted(None, tg.tree.map(lambda *parts: tg.stack(parts), *states)), states

    (loss, states), gradients = tg.value_and_grad(plain, has_aux=True)(problem.parameters)
    found = state_messages(problem, weighted, compile="auto" if name == "LSTM" else "numpy")
    assert found.loss == pytest.approx(loss.item(), rel=1e-13)
    np.testing.assert_allclose(flat(found.gradients), flat(gradients), rtol=0, atol=1e-12 * abs(flat(gradients)).max())
    for t, each in enumerate(states):
        np.testing.assert_allclose(flat(tg.tree.map(lambda s, t=t: s[t], found.states)), flat(each), atol=1e-13)


def slow_penalty(problem: Problem, found: Any) -> float:
    """Row by row, step by step, through whole Jacobian matrices."""
    total = 0.0
    for b in range(B):
        row = lambda tree, b=b: tg.tree.map(lambda v: v[b : b + 1], tree)  # noqa: E731
        for t in range(T):
            before = problem.carry if t == 0 else tg.tree.map(lambda s, t=t: s[t - 1], found.states)
            one = Problem(problem.parameters, problem.step, row(before), problem.xs[t : t + 1, b : b + 1])
            delta = np.concatenate([d.numpy()[t, b].ravel() for d in tg.tree.leaves(found.deltas)])
            arriving = delta @ Linearised(one, one.carry, 0).jacobians()[1]
            total += (np.linalg.norm(arriving) / np.linalg.norm(delta) - 1) ** 2
    return total / B


@EVERY_CELL
def test_the_penalty_is_the_sum_over_rows_and_steps_of_its_definition(name: str) -> None:
    problem = problem_of(name)
    found = state_messages(problem, weighted, compile=False)
    penalty = vanishing_penalty(problem, problem.parameters, found).item()
    assert penalty == pytest.approx(slow_penalty(problem, found), rel=1e-12)


@EVERY_CELL
def test_the_gradient_of_the_penalty_is_that_of_differences_with_states_and_messages_frozen(name: str) -> None:
    problem = problem_of(name)
    found = state_messages(problem, weighted, compile=False)
    gradients = tg.grad(lambda cell: vanishing_penalty(problem, cell, found))(problem.parameters)
    rng = np.random.default_rng(3)
    for path, p in problem.parameters.parameters_by_path().items():
        values, along, eps = p.data.copy(), rng.standard_normal(p.shape), 1e-5

        def at(by: float, p: Any = p, values: Any = values, along: Any = along) -> float:
            p.data = values + by * along
            return slow_penalty(problem, found)

        differences = (at(eps) - at(-eps)) / (2 * eps)
        p.data = values
        exact = float((gradients[path].numpy() * along).sum())
        assert exact == pytest.approx(differences, rel=1e-6, abs=1e-8), path


def plain_net(step: Any) -> tuple[Problem, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = {"W": (I, H), "U": (H, H), "b": (H,)}
    values = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    parameters = {name: tg.tensor(value, requires_grad=True) for name, value in values.items()}
    xs, carry = tg.tensor(rng.standard_normal((T, B, I))), tg.tensor(rng.standard_normal((B, H)))
    return Problem(parameters, step, carry, xs), values


def test_a_net_of_the_papers_form_has_the_papers_gradient() -> None:
    """s_t = tanh(s_{t−1}) U + x W + b: only U is there in ∂s_t/∂s_{t−1}, equation 10 of the paper."""
    problem, p = plain_net(lambda p, s, x: (tg.tanh(s) @ p["U"] + x @ p["W"] + p["b"], None))
    found = state_messages(problem, weighted, compile=False)
    gradients = tg.grad(lambda p: vanishing_penalty(problem, p, found))(problem.parameters)
    expected = np.zeros((H, H))
    for b in range(B):
        for t in range(T):
            before = (problem.carry if t == 0 else found.states[t - 1]).numpy()[b]
            delta, slope = found.deltas.numpy()[t, b], 1 - np.tanh(before) ** 2
            v = (p["U"] @ delta) * slope
            n, d = np.linalg.norm(v), np.linalg.norm(delta)
            expected += 2 * (n / d - 1) / (n * d) * np.outer(v * slope, delta) / B
    np.testing.assert_allclose(gradients["U"].numpy(), expected, rtol=0, atol=1e-13 * abs(expected).max())
    assert not gradients["W"].numpy().any() and not gradients["b"].numpy().any()


def test_a_net_whose_state_is_squashed_has_the_gradient_worked_out_by_hand() -> None:
    """s_t = tanh(s_{t−1} U + x W + b): the slope of the squashing depends on all parameters, too."""
    problem, p = plain_net(lambda p, s, x: (tg.tanh(s @ p["U"] + x @ p["W"] + p["b"]), None))
    found = state_messages(problem, weighted, compile=False)
    gradients = tg.grad(lambda p: vanishing_penalty(problem, p, found))(problem.parameters)
    expected = {name: np.zeros_like(value) for name, value in p.items()}
    for b in range(B):
        for t in range(T):
            before = (problem.carry if t == 0 else found.states[t - 1]).numpy()[b]
            x, after, delta = problem.xs.numpy()[t, b], found.states.numpy()[t, b], found.deltas.numpy()[t, b]
            slope = 1 - after**2
            v = p["U"] @ (slope * delta)
            n, d = np.linalg.norm(v), np.linalg.norm(delta)
            factor = 2 * (n / d - 1) / (n * d) / B
            through = factor * (v @ p["U"]) * delta * (-2 * after * slope)  # by the slope, to what tanh is taken of
            expected["U"] += factor * np.outer(v, slope * delta) + np.outer(before, through)
            expected["W"] += np.outer(x, through)
            expected["b"] += through
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name].numpy(), value, rtol=0, atol=1e-13 * abs(value).max())


def test_steps_that_keep_the_norm_of_every_message_are_not_penalised() -> None:
    problem, p = plain_net(lambda p, s, x: (s @ p["U"] + x @ p["W"], None))
    problem.parameters["U"].data = np.linalg.qr(p["U"])[0]
    found = state_messages(problem, weighted, compile=False)
    assert vanishing_penalty(problem, problem.parameters, found).item() < 1e-28


def test_a_message_that_has_all_but_vanished_counts_and_one_that_has_does_not() -> None:
    problem, _ = plain_net(lambda p, s, x: (s @ p["U"] + x @ p["W"], None))
    problem.parameters["U"].data = 1e-50 * np.eye(H)  # back through 5 steps: 1, 1e-50, … 1e-200, whose square is 0
    found = state_messages(problem, lambda p, s: s[-1].sum(), compile=False)
    assert vanishing_penalty(problem, problem.parameters, found).item() == pytest.approx(T)
    found = state_messages(problem, lambda p, s: s[1].sum(), compile=False)  # nothing comes from the three steps after
    penalty, gradients = tg.value_and_grad(lambda p: vanishing_penalty(problem, p, found))(problem.parameters)
    assert penalty.item() == pytest.approx(2)
    assert all(np.isfinite(g.numpy()).all() for g in gradients.values())


def test_a_step_that_forgets_everything_costs_one_and_has_a_gradient() -> None:
    problem, _ = plain_net(lambda p, s, x: (s @ p["U"] + x @ p["W"], None))
    problem.parameters["U"].data = np.zeros((H, H))
    found = state_messages(problem, lambda p, s: s.sum(), compile=False)
    penalty, gradients = tg.value_and_grad(lambda p: vanishing_penalty(problem, p, found))(problem.parameters)
    assert penalty.item() == T and np.isfinite(gradients["U"].numpy()).all()


def test_the_penalty_is_computed_where_the_states_are(device: str) -> None:
    cell = zoo.LSTM(I, H, rng=tg.random.Generator(0))
    values = []
    for where in ("cpu", device):
        xs = tg.random.Generator(1).normal((T, B, I)).to(where)
        problem = Problem(
            cell.to(where), lambda cell, s, x: (cell(x, s)[1], None), cell.init_state(B, device=where), xs
        )
        found = state_messages(problem, lambda cell, s: (s.h[-1] ** 2).sum(), compile=False)
        penalty, gradients = tg.value_and_grad(lambda c: vanishing_penalty(problem, c, found))(cell)  # noqa: B023
        assert penalty.device == where and found.deltas.c.device == where
        values.append((penalty.item(), flat(gradients)))
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-4, atol=1e-6)


def _no_batch() -> Any:
    problem = Problem(tg.ones(()), lambda w, s, x: (w * s + x, None), tg.zeros((1, 1)), tg.ones((3,)))
    found = state_messages(problem, lambda w, s: s.sum(), compile=False)
    return vanishing_penalty(problem, problem.parameters, found)


def _complex() -> Any:
    zero = tg.tensor(np.zeros((1, 1), np.complex128))
    problem = Problem(tg.ones(()), lambda w, s, x: (w * s + x, None), zero, tg.ones((3, 1, 1)))
    found = state_messages(problem, lambda w, s: abs(s[-1]).sum(), compile=False)
    return vanishing_penalty(problem, problem.parameters, found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: state_messages(Problem(None, None, None, [1, 2]), weighted), r"not a list with one entry a step"),
        (_no_batch, r"states \[\(3, 1, 1\)\] and inputs \[\(3,\)\] do not share axes"),
        (_complex, r"\['complex128'\], not all real"),
    ],
)
def test_what_has_no_messages_or_penalty_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
