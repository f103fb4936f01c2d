"""Checkpointed backpropagation through time is the full one, from fewer carries."""

from __future__ import annotations

import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import problem as small
from tinygrad_rnn.bptt import Problem, gradient, strategies
from tinygrad_rnn.bptt.checkpointed import Checkpointed, split

WAYS = ("sqrt", "segments:1", "segments:3", "segments:99", "budget:1", "budget:2", "budget:3,2")
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


def alike(problem: Problem, way: str) -> None:
    """Loss, gradients and last carry are those of the full way, to rounding."""
    found, wanted = gradient(problem, way), gradient(problem, "full")
    assert found.loss == pytest.approx(wanted.loss, rel=1e-13)
    for a, b in ((found.gradients, wanted.gradients), (found.carry, wanted.carry)):
        assert tg.tree.alike(tg.tree.flatten(a)[1], tg.tree.flatten(b)[1])
        for x, y in zip(tg.tree.leaves(a), tg.tree.leaves(b), strict=True):
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=0, atol=1e-13 * np.abs(y.numpy()).max(initial=0))


def tracked(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.tensor(np.random.default_rng([seed, *shape]).normal(size=shape), requires_grad=True)


def test_every_checkpointed_strategy_is_tried() -> None:
    names = {name for name, kind in strategies().items() if issubclass(kind, Checkpointed)}
    assert names == {way.partition(":")[0] for way in WAYS}


@EVERY_WAY
@pytest.mark.parametrize("cell", zoo.names())
def test_every_cell_gets_the_gradient_of_full_backpropagation(cell: str, way: str) -> None:
    alike(small(cell, steps=7, batch=2), way)


@given(T=st.integers(1, 30), length=st.integers(1, 31), slots=st.integers(1, 31))
def test_any_length_and_number_of_slots_will_do(T: int, length: int, slots: int) -> None:
    w, h = tracked(3, 3), tg.tensor(np.ones((2, 3)))
    xs = tg.tensor(np.random.default_rng(T).normal(size=(T, 2, 3)))
    problem = Problem(w, lambda w, h, x: ((h := tg.tanh(h @ w + x)), (h * h).sum()), h, xs)
    for way in (f"segments:{length}", f"budget:{slots}", f"budget:{slots},{length}", "sqrt"):
        alike(problem, way)


def encoder_decoder(p: Any, z: Any, x: Any) -> Any:
    """A state made from the first input; symbols counted in integers; from step 4 on a context beside the state."""
    kind, value = x
    if kind == "start":
        return {"h": tg.tanh(value @ p["W"]), "count": tg.tensor(np.array(0))}, None
    if kind == "read":
        return {"h": tg.tanh(z["h"] @ p["W"] + value), "count": z["count"] + 1}, None
    if kind == "hand over":
        return (z["h"] * p["v"], z["h"], z["count"]), None
    h, context, count = z
    h = tg.tanh(h @ p["W"] + context)
    return (h, context, count + 1), (h * h).sum() * count if value is None else None


@EVERY_WAY
def test_carries_may_change_their_structure_hold_integers_and_losses_may_be_absent(way: str) -> None:
    x = tracked(2, 3, seed=1).numpy()
    xs = [("start", x), ("read", x), ("read", x / 2), ("hand over", None), *[("write", v) for v in (None, 0, None)]]
    parameters = {"W": tracked(3, 3), "v": tracked(3, seed=2), "unused": tracked(2, seed=3), "n": tg.tensor([1, 2])}
    alike(Problem(parameters, encoder_decoder, tg.tensor(0.0), xs), way)


@EVERY_WAY
def test_masks_are_carried(way: str) -> None:
    def step(w: Any, z: Any, x: Any) -> Any:
        h, seen = z
        h = tg.where(seen, w * h, h) + x
        return (h, h > 0), (h * h).sum()

    start = (tg.tensor(np.ones(3)), tg.tensor(np.array([True, False, True])))
    alike(Problem(tracked(3), step, start, tracked(7, 3, seed=1).detach()), way)


@EVERY_WAY
def test_steps_none_of_which_has_a_loss_have_gradients_of_zero(way: str) -> None:
    problem = Problem([tracked(3)], lambda p, h, x: (h * p[0] + x, None), tg.tensor(np.ones(3)), tracked(5, 3).detach())
    assert (gradient(problem, way).gradients[0].numpy() == 0).all()
    alike(problem, way)


@EVERY_WAY
def test_complex_states_and_parameters_get_the_gradient_of_full_backpropagation(way: str) -> None:
    a = tg.tensor(np.exp(1j * np.arange(3.0)), requires_grad=True)

    def step(a: Any, z: Any, x: Any) -> Any:
        z = a * z + x * tg.conj(a)
        return z, tg.real(z * tg.conj(z)).sum()

    alike(Problem(a, step, tg.tensor(np.ones((2, 3), complex)), tracked(7, 2, 3, seed=1).detach()), way)


@EVERY_WAY
def test_numbers_are_parameters_and_carries_too(way: str) -> None:
    w = tg.tensor(np.array(0.5), requires_grad=True)
    problem = Problem(w, lambda w, h, x: ((h := w * h + x + w), h * h), tg.tensor(np.array(0.0)), tracked(6).detach())
    alike(problem, way)


@EVERY_WAY
@pytest.mark.parametrize("compile", ["numpy", False])
def test_a_compiled_segment_serves_too(way: str, compile: Any) -> None:
    rnn = zoo.RNN(zoo.LSTM(3, 4, rng=tg.random.Generator(0)), compile=compile).astype("float64")

    def segment(rnn: Any, state: Any, xs: Any) -> Any:
        ys, state = rnn(xs, state)
        return state, (ys * ys).sum()

    def step(rnn: Any, state: Any, x: Any) -> Any:
        raise AssertionError("there is a faster way")

    xs = tracked(9, 2, 3).detach()
    alike(Problem(rnn, step, rnn.cell.init_state(2, dtype="float64"), xs, segment=segment), way)


class Counting:
    """A problem that counts the steps it runs: those recorded, and those to get ahead."""

    def __init__(self, T: int) -> None:
        self.ahead = self.pulled = 0

        def step(w: Any, h: Any, x: Any) -> Any:
            h = w * h + x
            if h.requires_grad:
                self.pulled += 1
            else:
                self.ahead += 1
            return h, h

        w = tg.tensor(np.array(0.5), requires_grad=True)
        self.problem = Problem(w, step, tg.tensor(np.array(0.0)), tg.tensor(np.ones(T)))


@pytest.mark.parametrize("way", ["sqrt", "segments:7"])
def test_with_all_carries_kept_no_step_runs_more_than_twice(way: str) -> None:
    counting = Counting(50)
    gradient(counting.problem, way)
    assert counting.pulled == 50 and counting.ahead <= 49


@cache
def least(T: int, slots: int) -> int:
    """The fewest steps to get ahead, by trying every place for the next carry (Griewank & Walther 2000)."""
    if T == 1:
        return 0
    if slots == 1:
        return T * (T - 1) // 2
    return min(ahead + least(T - ahead, slots - 1) + least(ahead, slots) for ahead in range(1, T))


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("T", [1, 2, 3, 10, 33])
def test_a_budget_is_spent_on_the_fewest_steps_there_can_be(T: int, slots: int) -> None:
    counting = Counting(T)
    gradient(counting.problem, f"budget:{slots}")
    assert (counting.pulled, counting.ahead) == (T, least(T, slots))


@given(st.integers(2, 10_000), st.integers(1, 50))
def test_a_next_carry_lies_within_what_is_left(segments: int, slots: int) -> None:
    assert 1 <= split(segments, slots) < segments


@pytest.mark.parametrize(("way", "share"), [("sqrt", 0.2), ("segments:10", 0.3), ("budget:6,5", 0.1)])
def test_the_memory_is_that_of_the_kept_carries_and_of_one_segment(way: str, share: float) -> None:
    W, h = tracked(16, 16), tg.tensor(np.zeros((16, 16)))
    problem = Problem(
        W, lambda W, h, x: ((h := tg.tanh(x + h @ W)), (h * h).sum()), h, tracked(300, 16, 16, seed=1).detach()
    )
    peaks = {}
    for each in ("full", way):
        tracemalloc.start()
        gradient(problem, each)
        peaks[each] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[way] < share * peaks["full"]


def test_parameters_that_changed_between_two_runs_count_as_they_are() -> None:
    problem = small("GRU", steps=5)
    first = gradient(problem, "sqrt").loss
    for p in problem.parameters.parameters():
        p.data = p.data * 1.5
    assert gradient(problem, "sqrt").loss != first
    alike(problem, "sqrt")


@EVERY_WAY
def test_a_step_that_draws_random_numbers_is_found_out(way: str) -> None:
    rng = tg.random.Generator(0)

    def step(w: Any, h: Any, x: Any) -> Any:
        h = h * w * rng.bernoulli(h.shape, 0.5, dtype="float64") + x
        return h, h.sum()

    problem = Problem(tracked(3), step, tg.tensor(np.ones((4, 3))), tracked(8, 4, 3).detach())
    if way == "segments:99":  # one segment is run once
        gradient(problem, way)
        return
    with pytest.raises(RuntimeError, match=r"checkpointing: steps \d … \d, run again, came to another carry"):
        gradient(problem, way)


def test_a_step_that_changes_the_structure_the_second_time_is_found_out() -> None:
    calls: list[None] = []

    def step(w: Any, h: Any, x: Any) -> Any:
        calls.append(None)
        h = (h[0] * w,) * (2 if len(calls) > 6 else 1)
        return h, h[0].sum()

    with pytest.raises(RuntimeError, match="came to another carry than before"):
        gradient(Problem(tracked(3), step, (tg.tensor(np.ones(3)),), tracked(6, 3).detach()), "segments:2")


def test_a_problem_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="no steps"):
        gradient(Problem(tracked(3), lambda w, h, x: (h, None), tg.tensor(np.ones(3)), []), "sqrt")


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("segments:0", "segments have a length of at least 1, not 0"),
        ("segments", "segments is written segments:LENGTH"),
        ("budget:0", "at least 1 slot and segments of at least 1 step, not 0 and 1"),
        ("budget:3,0", "not 3 and 0"),
        ("sqrt:3", "sqrt is written sqrt"),
    ],
)
def test_options_that_make_no_sense_are_refused(way: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient(small("GRU"), way)
