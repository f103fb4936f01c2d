"""Truncated BPTT equals the derivative with the carried state held constant, and nothing else."""

import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import truncated


class State(NamedTuple):
    h: tg.Tensor


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    w = tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    xs = rng.standard_normal((10, 2, 3))

    def loss(state, xs):
        h = state.h
        for t in tg.steps(len(xs)):
            h = tg.tanh(h @ w + xs[t])
        return (h * h).sum(), State(h)

    return w, xs, loss, State(tg.tensor(np.zeros((2, 3))))


def test_values_are_those_of_one_pass_whatever_the_chunk(problem):
    _, xs, loss, start = problem
    for chunk in (1, 3, 5, 10, 99):
        *_, (_, state) = truncated(loss, start, xs, chunk=chunk)
        np.testing.assert_array_equal(state.h.numpy(), loss(start, xs)[1].h.numpy())


def test_one_chunk_for_everything_is_full_backpropagation_through_time(problem):
    w, xs, loss, start = problem
    ((value, _),) = truncated(loss, start, xs, chunk=10)
    value.backward()
    truth, w.grad = w.grad.numpy(), None
    loss(start, xs)[0].backward()
    np.testing.assert_array_equal(truth, w.grad.numpy())


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_the_gradient_of_a_chunk_holds_the_carry_constant(problem, chunk):
    w, xs, loss, start = problem
    state = start
    for k, (value, carried) in enumerate(truncated(loss, start, xs, chunk=chunk)):
        w.grad = None
        value.backward()
        found, w.grad = w.grad.numpy(), None
        constant = State(tg.tensor(state.h.numpy().copy()))
        loss(constant, xs[k * chunk : (k + 1) * chunk])[0].backward()
        np.testing.assert_allclose(found, w.grad.numpy(), rtol=1e-13)
        state = carried


def test_no_gradient_reaches_what_the_carry_was_made_from(problem):
    _, xs, loss, _ = problem
    begin = tg.tensor(np.zeros((2, 3)), requires_grad=True)
    for value, _ in list(truncated(loss, State(begin), xs, chunk=5))[1:]:
        value.backward()
    assert begin.grad is None


def test_a_parameter_changed_between_chunks_counts_from_the_next_chunk_on(problem):
    w, xs, loss, start = problem
    chunks = truncated(loss, start, xs, chunk=5)
    _, state = next(chunks)
    w.data = np.zeros((3, 3))
    np.testing.assert_allclose(next(chunks)[1].h.numpy(), np.tanh(xs[9]), rtol=1e-13)
    assert not np.allclose(state.h.numpy(), np.tanh(xs[4]))


def test_the_graph_of_a_chunk_is_gone_when_the_next_one_is_there(problem):
    _, xs, loss, start = problem
    gc.disable()
    try:
        nodes = []
        for value, _ in truncated(loss, start, xs, chunk=2):
            nodes.append(weakref.ref(value.node))
            del value
            assert [node() for node in nodes[:-1]] == [None] * (len(nodes) - 1)
    finally:
        gc.enable()


def test_sequences_may_be_containers_of_arrays_and_tensors():
    xs = {"a": np.arange(5.0), "b": (tg.tensor(np.ones(5)),)}
    parts = [value.item() for value, _ in truncated(lambda c, x: ((x["b"][0] * x["a"]).sum(), c), (), xs, chunk=2)]
    assert parts == [1.0, 5.0, 4.0]


@pytest.mark.parametrize(
    ("xs", "chunk", "message"),
    [
        (np.zeros(4), 0, "chunk is 0; it is a number of time steps, at least 1"),
        ((np.zeros(4), np.zeros(5)), 2, r"lengths \[4, 5\]; all need the same"),
        ((), 2, r"lengths \[\]"),
    ],
)
def test_sequences_that_cannot_be_cut_are_refused(xs, chunk, message):
    with pytest.raises(ValueError, match=message):
        next(truncated(lambda c, x: (tg.tensor(0.0), c), (), xs, chunk=chunk))
