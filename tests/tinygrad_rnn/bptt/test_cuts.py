"""What cuts take away adds up to what truncation lacks, and is message times sensitivity at every single cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import flat, problem
from tinygrad_rnn.bptt import Linearised, Problem, cuts, gradient, messages, parameter_names


def missing(p, way):
    """The gradient less what truncation finds, parameter by parameter."""
    whole, found = gradient(p).gradients, gradient(p, way).gradients
    leaves = zip(tg.tree.leaves(whole), tg.tree.leaves(found))
    return dict(zip(parameter_names(p.parameters), [a.numpy() - b.numpy() for a, b in leaves]))


def check_sum(p, way, scale):
    found = cuts(p, way)
    for name, rest in missing(p, way).items():
        np.testing.assert_allclose(found.lost[name].array.sum(axis=0), rest, rtol=0, atol=1e-12 * scale)
    return found


@pytest.mark.parametrize("cell", zoo.names())
@pytest.mark.parametrize("way", ["chunks:3", "chunks:1", "window:2,5", "window:4,5", "window:1,3", "window:3,3"])
def test_the_sum_over_the_cuts_is_what_truncation_lacks(cell, way):
    p = problem(cell, steps=11, batch=2)
    found = check_sum(p, way, scale=abs(flat(gradient(p).gradients)).max())
    assert found.norms.array.max() > 1e-5


@given(st.data())
def test_the_sum_holds_for_any_length_of_run_chunk_and_window(data):
    steps = data.draw(st.integers(1, 14), label="steps")
    every = data.draw(st.integers(1, 8), label="every")
    back = data.draw(st.integers(every, 16), label="back")
    p = problem("GRU", steps=steps)
    scale = abs(flat(gradient(p).gradients)).max()
    chunks = check_sum(p, f"chunks:{every}", scale)
    window = check_sum(p, f"window:{every},{back}", scale)
    assert chunks.at.array.tolist() == list(range(every, steps, every))
    ends = sorted({*range(every, steps, every), steps})
    assert window.at.array.tolist() == [u - back for u in ends if u > back]


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU"])
def test_at_each_cut_between_chunks_it_is_the_message_times_the_sensitivity_within_the_chunk(cell):
    p = problem(cell, steps=9)
    known = messages(p)
    found = cuts(p, "chunks:3")
    for row, at in enumerate([3, 6]):
        chunk = messages(Problem(p.parameters, p.step, known.states[at - 3], p.between(at - 3, at)))
        expected = known.adjoints[at] @ chunk.sensitivities[-1]
        here = np.concatenate([lost.array[row].reshape(-1) for lost in found.lost.values()])
        np.testing.assert_allclose(here, expected, rtol=0, atol=1e-14)


def test_at_each_cut_of_a_window_it_is_what_the_steps_that_leave_lose():
    """By the Jacobians of single steps: losses from the last update on, times sensitivities since the cut before."""
    p = problem("ElmanRNN", steps=8)
    carry, steps = p.carry, []
    for t in range(8):
        steps.append(Linearised(p, carry, t))
        carry = steps[-1].carry
    direct, through = zip(*[step.jacobians() for step in steps])
    found = cuts(p, "window:2,3")
    assert found.at.array.tolist() == [1, 3, 5]
    for row, (before, at, due) in enumerate([(0, 1, 2), (1, 3, 4), (3, 5, 6)]):
        message = 0.0
        for t in range(7, due - 1, -1):
            message = steps[t].pull_loss()[1] + (message @ through[t] if t < 7 else 0.0)
        for t in range(due - 1, at - 1, -1):
            message = message @ through[t]
        sensitivity = np.zeros_like(direct[0])
        for t in range(before, at):
            sensitivity = direct[t] + through[t] @ sensitivity
        here = np.concatenate([lost.array[row].reshape(-1) for lost in found.lost.values()])
        np.testing.assert_allclose(here, message @ sensitivity, rtol=0, atol=1e-14)


def test_arrays_say_what_their_axes_are():
    p = problem("LSTM", steps=7)
    found = cuts(p, "chunks:2")
    assert list(found.lost) == list(p.parameters.parameters_by_path())
    assert found.at.axes == ("cut",) and found.norms.axes == ("cut", "parameter")
    for i, (name, lost) in enumerate(found.lost.items()):
        assert lost.array.shape == (3, *p.parameters.parameters_by_path()[name].shape)
        assert lost.axes == ("cut", *(f"theta{axis}" for axis in range(lost.array.ndim - 1)))
        norms = np.sqrt((lost.array**2).reshape(3, -1).sum(axis=1))
        np.testing.assert_allclose(found.norms.array[:, i], norms, rtol=1e-14)


def test_chunks_of_any_lengths_lose_what_those_of_one_length_do_where_they_are_the_same():
    p = problem("GRU", steps=9)
    found, known = cuts(p, [3, 6]), cuts(p, "chunks:3")
    assert found.at.array.tolist() == [3, 6]
    np.testing.assert_array_equal(found.norms.array, known.norms.array)
    uneven = cuts(p, [1, 2, 7])
    alone = [
        messages(Problem(p.parameters, p.step, messages(p).states[start], p.between(start, at))).sensitivities[-1]
        for start, at in ((0, 1), (1, 2), (2, 7))
    ]
    for row, at in enumerate([1, 2, 7]):
        here = np.concatenate([lost.array[row].reshape(-1) for lost in uneven.lost.values()])
        np.testing.assert_allclose(here, messages(p).adjoints[at] @ alone[row], rtol=0, atol=1e-12 * abs(here).max())


@pytest.mark.parametrize("places", [[0, 3], [3, 3], [6, 3], [9], [-1]])
def test_cuts_out_of_order_or_outside_of_the_run_are_refused(places):
    with pytest.raises(ValueError, match=r"cuts: before the steps \[.*\]; these must rise, from 1 to 8"):
        cuts(problem("GRU", steps=9), places)


def test_without_a_cut_nothing_is_lost():
    p = problem("GRU", steps=5)
    for way in ("chunks:5", "chunks:9", "window:1,5", "window:5,5"):
        found = cuts(p, way)
        assert found.at.array.shape == (0,) and found.norms.array.shape == (0, len(found.lost))


def test_a_last_loss_alone_passes_everything_over_the_last_cut():
    def step(w, z, x):
        z = tg.tanh(w * z + x)
        return z, z.sum() if float(x.data) == 0.0 else None

    p = Problem(tg.tensor(np.array(0.7), requires_grad=True), step, tg.tensor(np.array(0.1)),
                tg.tensor(np.array([0.3, 0.2, 0.5, -0.4, 0.1, 0.0])))  # fmt: skip
    found = check_sum(p, "chunks:2", scale=1.0)
    lost = abs(found.lost[""].array)
    assert found.at.array.tolist() == [2, 4] and (lost > 1e-3).all()


def test_what_is_lost_lies_where_the_parameters_do(device):
    p = problem("ElmanRNN", steps=6)
    here = cuts(p, "window:2,3")
    model = p.parameters.to(device)
    moved = Problem(model, p.step, tg.tree.map(lambda z: z.to(device), p.carry), tuple(x.to(device) for x in p.xs))
    found = cuts(moved, "window:2,3")
    for name, lost in found.lost.items():
        np.testing.assert_allclose(tg.Tensor(lost.array).numpy(), here.lost[name].array, rtol=1e-12)


@pytest.mark.parametrize("way", ["full", "artbp:5", "rtrl"])
def test_strategies_without_fixed_cuts_are_refused(way):
    with pytest.raises(ValueError, match=f"{way}.* does not cut at fixed places"):
        cuts(problem("GRU"), way)


def test_a_run_without_steps_is_refused():
    p = problem("GRU")
    with pytest.raises(ValueError, match="no steps"):
        cuts(Problem(p.parameters, p.step, p.carry, []), "chunks:2")
