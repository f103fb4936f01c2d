"""Segments: messages handed from one to the one before are backpropagation through time, whatever they carry."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, problem
from tinygrad_rnn.bptt import Problem, gradient
from tinygrad_rnn.bptt.segment import Segment, added


def through(problem, edges):
    """The gradients of a run by messages from segment to segment."""
    carry, segments = problem.carry, []
    for start, stop in zip([0, *edges], edges):
        segments.append(Segment(problem, carry, start, stop))
        carry = segments[-1].carry
    gradients = message = None
    for segment in reversed(segments):
        parts, message = segment.pull(message)
        gradients = added(gradients, parts)
    return segments[0].container(gradients)


@pytest.mark.parametrize("cell", zoo.names())
def test_messages_through_segments_of_any_lengths_give_the_whole_gradient(cell):
    p = problem(cell, steps=7, batch=2)
    for edges in ([7], [1, 2, 3, 4, 5, 6, 7], [3, 4, 7]):
        assert difference(through(p, edges), gradient(p).gradients) < 1e-14


def test_complex_carries_are_pulled_through_segments_as_at_once():
    rng = np.random.default_rng(0)
    w = tg.tensor(0.6 * np.exp(1j * rng.uniform(0, 6, 3)), requires_grad=True)
    xs = rng.standard_normal((6, 3)) + 1j * rng.standard_normal((6, 3))

    def step(w, z, x):
        z = w * z + x
        return z, (z.real * z.real + z.imag).sum()

    p = Problem(w, step, tg.tensor(np.zeros(3, complex)), tg.tensor(xs))
    np.testing.assert_allclose(through(p, [2, 3, 6]).numpy(), gradient(p).gradients.numpy(), atol=1e-14)


def test_a_carry_may_change_what_it_is_made_of_and_hold_what_is_no_float(device):
    w = tg.tensor(np.array([0.5, -0.3]), requires_grad=True).to(device)
    v = tg.tensor(np.array(2.0), requires_grad=True).to(device)

    def step(p, z, x):
        if x == 0:
            return (p["w"] * p["w"], {"count": 1}), None
        h, count = z[0], z[1]["count"] + 1
        return (tg.tanh(h * p["w"]), {"count": count}), (h * count).sum() if x == 2 else None

    p = Problem({"w": w, "v": v}, step, (), [0, 1, 2, 1, 2])
    found, expected = through(p, [1, 3, 4, 5]), gradient(p).gradients
    np.testing.assert_allclose(found["w"].numpy(), expected["w"].numpy(), rtol=1e-14)
    assert found["v"].numpy() == 0 and found["v"].device == v.device
    assert np.abs(found["w"].numpy()).min() > 0.1


def test_the_loss_and_the_message_can_be_pulled_apart_and_weighted():
    p = problem("GRU", steps=5)
    first, second = Segment(p, p.carry, 0, 2), None
    second = Segment(p, first.carry, 2, 5)
    message = second.pull()[1]
    both = first.pull(message)[0]
    apart = added(first.pull(message, loss=0.0)[0], first.pull()[0])
    twice = first.pull(message, loss=2.0)[0]
    for a, b, c, l in zip(both, apart, twice, first.pull()[0]):
        np.testing.assert_allclose(a, b, atol=1e-15)
        np.testing.assert_allclose(c, a + l, atol=1e-15)


def test_a_segment_stands_for_the_parameters_it_was_run_with():
    p = problem("LSTM", steps=6)
    first = Segment(p, p.carry, 0, 3)
    second = Segment(p, first.carry, 3, 6)
    expected = [a.copy() for a in first.pull(second.pull()[1])[0]]
    for parameter in p.parameters.parameters():
        parameter.data = parameter.data + 1.0  # as optimisers do: a new array
    for found, then in zip(first.pull(second.pull()[1])[0], expected):
        np.testing.assert_array_equal(found, then)


def test_gradients_are_arrays_of_their_own():
    w = tg.tensor(np.ones(3), requires_grad=True)
    p = Problem(w, lambda w, z, x: (z, (w * x).sum()), tg.tensor(np.zeros(2)), tg.tensor(np.ones((2, 3))))
    segment = Segment(p, p.carry, 0, 1)
    parts, _ = segment.pull()
    a, b = segment.container(parts), segment.container(parts)
    a.data[:] = 7
    np.testing.assert_array_equal(b.numpy(), 1)
