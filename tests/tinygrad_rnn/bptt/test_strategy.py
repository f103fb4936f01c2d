"""Strategies are chosen by name; what a Problem is, and what full and chunked backpropagation make of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, problem
from tinygrad_rnn.bptt import Chunks, Full, Linearised, Problem, Vectors, gradient, strategies, strategy
from tinygrad_rnn.bptt.strategy import usage

EVERY_CELL = pytest.mark.parametrize("name", zoo.names())


def scalar(xs: list[float], *, w: float = 0.5) -> Problem:
    """h_t = w h_{t−1} + x_t, loss Σ h_t²."""

    def step(w: Any, h: Any, x: Any) -> tuple[Any, Any]:
        h = w * h + x
        return h, h * h

    return Problem(tg.tensor(np.array(w), requires_grad=True), step, tg.tensor(np.array(0.0)), tg.tensor(np.array(xs)))


# Names


@pytest.mark.parametrize("name", strategies())
def test_every_strategy_is_written_as_it_is_read(name: str) -> None:
    kind = strategies()[name]
    text = re.sub(r"\[.*", "", usage(kind))
    for option in re.findall(r"[A-Z]+", text):
        text = text.replace(option, "0.5" if option == "TOLERANCE" else "3", 1)
    made = strategy(text)
    assert type(made) is kind and strategy(str(made)) == made and kind.paper


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tbptt", r"there is no strategy 'tbptt'; there are .*full.*rtrl"),
        ("chunks", r"chunks is written chunks:LENGTH"),
        ("chunks:3,4", r"chunks is written chunks:LENGTH"),
        ("chunks:three", r"'three' is no int"),
        ("chunks:0", r"at least 1, not 0"),
        ("full:3", r"full is written full"),
    ],
)
def test_what_is_no_strategy_is_refused_with_the_way_out(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        strategy(text)


def test_an_object_is_taken_as_it_is() -> None:
    assert strategy(Chunks(3)) == strategy("chunks:3") and strategy(Full()) == strategy("full")


# Problems


def test_series_of_different_lengths_are_no_problem() -> None:
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        Problem([], lambda *_: (None, None), None, (tg.ones(2), tg.ones(3)))


def test_inputs_are_a_list_with_one_a_step_or_arrays_along_time() -> None:
    arrays, listed = scalar([1.0, 2.0, 3.0]), scalar([1.0, 2.0, 3.0])
    listed = Problem(listed.parameters, listed.step, listed.carry, [arrays.at(t) for t in range(3)])
    assert len(arrays) == len(listed) == 3
    assert gradient(arrays).gradients.item() == gradient(listed).gradients.item()
    assert len(listed.between(1, 3)) == 2 and arrays.between(1, 3).shape == (2,)


@pytest.mark.parametrize("way", ["full", "chunks:2", "rtrl"])
def test_steps_without_any_loss_have_gradients_of_zero(way: str) -> None:
    w = tg.tensor(np.ones(2), requires_grad=True)
    found = gradient(Problem(w, lambda w, h, x: (w * h, None), tg.ones(2), [None] * 3), way)
    assert found.loss == 0.0 and not found.gradients.numpy().any()


def test_a_problem_without_steps_has_no_gradient() -> None:
    with pytest.raises(ValueError, match="no steps"):
        gradient(Problem(tg.tensor(1.0, requires_grad=True), lambda *_: (None, None), None, []), "rtrl")


# Gradients


def test_the_gradient_is_the_one_worked_out_by_hand() -> None:
    found = gradient(scalar([1.0, 1.0, 1.0]))  # h: 1, 1.5, 1.75; dh/dw: 0, 1, 2
    assert found.loss == 1 + 1.5**2 + 1.75**2
    assert found.gradients.item() == 2 * 1.5 * 1 + 2 * 1.75 * 2
    assert found.carry.item() == 1.75


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=9), st.integers(1, 10), st.floats(-1, 1))
def test_chunks_give_the_sum_of_what_each_gives_alone(xs: list[float], length: int, w: float) -> None:
    found, total, carry = gradient(scalar(xs, w=w), Chunks(length)), 0.0, tg.tensor(np.array(0.0))
    for start in range(0, len(xs), length):
        part = scalar(xs[start : start + length], w=w)
        alone = gradient(Problem(part.parameters, part.step, carry, part.xs))
        total, carry = total + alone.gradients.item(), alone.carry
    assert found.gradients.item() == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_parameters_may_change_between_updates() -> None:
    one = scalar([1.0, 1.0, 1.0, 1.0])
    updates = Chunks(2).updates(one)
    first = next(updates)
    one.parameters.data = one.parameters.data * 0
    second = next(updates)
    assert first.t == 2 and second.t == 4 and second.carry.item() == 1.0  # w = 0: the state is the input


@EVERY_CELL
@pytest.mark.parametrize("batch", [1, 3])
def test_real_time_recurrent_learning_is_backpropagation_through_time(name: str, batch: int) -> None:
    run = problem(name, hidden=4, steps=5, batch=batch)
    exact, forward = gradient(run), gradient(run, "rtrl")
    assert difference(forward.gradients, exact.gradients) < 1e-12
    assert forward.loss == pytest.approx(exact.loss, rel=1e-13)
    assert gradient(run, f"chunks:{len(run)}").loss == exact.loss


@EVERY_CELL
def test_both_are_differences_of_the_loss(name: str) -> None:
    run = problem(name, hidden=4, steps=4)
    parameters = run.parameters.parameters()
    direction = [np.random.default_rng(5).normal(size=p.shape) for p in parameters]
    losses = []
    for sign in (1, -2, 1):
        for p, d in zip(parameters, direction, strict=True):
            p.data = p.data + sign * 1e-5 * d
        losses.append(gradient(run).loss)
    slope = sum(float((g.numpy() * d).sum()) for g, d in zip(gradient(run).gradients.values(), direction, strict=True))
    assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_a_state_that_grows_on_the_way_is_refused_before_its_sensitivities_are_made() -> None:
    w = tg.tensor(np.zeros((1000, 1000), "float32"), requires_grad=True)
    grows = Problem(w, lambda w, h, n: (tg.zeros((n, 1000)) @ w, None), tg.zeros((0, 1000)), [1, 2000])
    with pytest.raises(ValueError, match=r"2,000,000 numbers of the state to 1,000,000 parameters: 7,450\.6 GiB"):
        for _ in strategy("rtrl").updates(grows):
            pass


# One step


@EVERY_CELL
def test_jacobians_are_pullbacks_and_pushes_of_a_step(name: str) -> None:
    run, rng = problem(name, hidden=3, steps=1, batch=2), np.random.default_rng(0)
    run = Problem(run.parameters, run.step, tg.tree.map(lambda z: z + rng.normal(size=z.shape), run.carry), run.xs)
    step = Linearised(run, run.carry, 0)
    direct, through = step.jacobians()
    v, dp, dz = (rng.normal(size=n) for n in (step.state.n, step.parameters.n, step.before.n))
    for got, wanted in zip(step.pull_state(v), (v @ direct, v @ through), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12 * np.abs(wanted).max())
    np.testing.assert_allclose(step.pull_before(v), v @ through, atol=1e-12 * np.abs(v @ through).max())
    moved, loss = step.push(dp, dz)
    np.testing.assert_allclose(moved, direct @ dp + through @ dz, atol=1e-12 * np.abs(moved).max())
    assert loss == pytest.approx(sum(g @ d for g, d in zip(step.pull_loss(), (dp, dz), strict=True)), rel=1e-10)


def test_a_container_is_a_vector_and_back_but_for_what_is_no_real_number() -> None:
    given: Any = {"a": tg.tensor([[1.0, 2.0]]), "n": tg.tensor([7]), "b": [tg.tensor(3.0), None]}
    vectors = Vectors(given)
    vector = vectors.vector([given["a"].data, given["b"][0].data])
    np.testing.assert_array_equal(vector, [1.0, 2.0, 3.0])
    back = vectors.container(2 * vector)
    assert back["n"] is None and back["b"][1] is None
    np.testing.assert_array_equal(flat({"a": back["a"], "b": back["b"][0]}), [2.0, 4.0, 6.0])
