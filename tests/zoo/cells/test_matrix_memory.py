"""Matrix memories, against the forms that see the whole sequence: attention to the past."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.zoo.cells.equations import normalised, relu, sigmoid, weights
from tests.zoo.cells.samples import B, H, I, close, example, filled, numbers

T = 7


def sequence() -> np.ndarray:
    return numbers(0).normal(size=(T, B, I))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_fast_weights_are_attention_to_the_recent_past(inner_steps: int) -> None:
    """Reading A is a sum over past states, weighted by decay and by scalar products: no matrix is ever made."""
    decay, rate = 0.9, 0.4
    cell = filled("FastWeights", decay=decay, rate=rate, inner_steps=inner_steps)
    own, xs = weights(cell), sequence()
    past: list[np.ndarray] = []
    h = np.zeros((B, H))
    for t, x in enumerate(xs):
        a = x @ own["input/weight"] + h @ own["U"]
        h = relu(normalised(a, own["norm/weight"], own["norm/bias"]))
        for _ in range(inner_steps):
            seen = sum(
                rate * decay ** (t - 1 - s) * (state * h).sum(-1, keepdims=True) * state for s, state in enumerate(past)
            )
            h = relu(normalised(a + seen, own["norm/weight"], own["norm/bias"]))
        past.append(h)
    ys, last = zoo.RNN(cell)(tg.tensor(xs))
    np.testing.assert_allclose(ys.numpy(), np.stack(past), rtol=0, atol=1e-12)
    A = sum(rate * decay ** (T - 1 - s) * state[:, :, None] * state[:, None, :] for s, state in enumerate(past))
    np.testing.assert_allclose(last.A.numpy(), A, rtol=0, atol=1e-12)


def test_fast_weights_begin_with_little_of_the_old_state() -> None:
    cell = zoo.FastWeights(30, 25)
    np.testing.assert_allclose(cell.U.numpy(), 0.05 * np.eye(25), rtol=1e-6)
    assert 0.19 < np.abs(cell.input.weight.numpy()).max() <= 0.2


@pytest.mark.parametrize("hidden, heads", [(H, 1), (6, 3), (6, 6)])
def test_an_mlstm_is_gated_attention(hidden: int, heads: int) -> None:
    """The parallel form without any stabiliser: exp of the gates, a matrix of all pairs of steps for each head."""
    cell = filled("MLSTM", hidden_size=hidden, heads=heads)
    own, xs, d = weights(cell), sequence(), hidden // heads
    a = xs @ own["input/weight"] + own["input/bias"]
    parts = np.split(a, [hidden, 2 * hidden, 3 * hidden, 4 * hidden, 4 * hidden + heads], axis=-1)
    expected = np.zeros((T, B, hidden))
    for row in range(B):
        for head in range(heads):
            mine = slice(head * d, (head + 1) * d)
            q, k, v = (part[:, row, mine] for part in parts[:3])
            i, f = np.exp(parts[4][:, row, head]), sigmoid(parts[5][:, row, head])
            D = np.array([[f[s + 1 : t + 1].prod() * i[s] if s <= t else 0.0 for s in range(T)] for t in range(T)])
            scores = q @ k.T / np.sqrt(d) * D
            size = np.maximum(np.abs(scores.sum(1)), 1)
            expected[:, row, mine] = sigmoid(parts[3][:, row, mine]) * (scores @ v) / size[:, None]
    ys, _ = zoo.RNN(cell)(tg.tensor(xs))
    np.testing.assert_allclose(ys.numpy(), expected, rtol=0, atol=1e-12)


def test_what_an_mlstm_gives_out_depends_on_the_memory_but_not_on_the_scale_it_is_kept_at() -> None:
    cell = filled("MLSTM", hidden_size=6, heads=2)
    xs, (_, state) = sequence(), example(cell)
    shift = np.array([[3.0], [-2.0]])
    other = cell.State(state.C * np.exp(-shift)[:, None], state.n * np.exp(-shift), state.m + shift)
    ys, after = zoo.RNN(cell)(tg.tensor(xs), state)
    same, moved = zoo.RNN(cell)(tg.tensor(xs), other)
    close(same, ys, atol=1e-12)
    close(moved.C * np.exp(moved.m.numpy())[..., None], after.C * np.exp(after.m.numpy())[..., None], atol=1e-11)


def test_an_mlstms_exponential_gates_overflow_nowhere() -> None:
    cell = zoo.MLSTM(I, H)
    cell.input.bias.data[-2] = 300  # e³⁰⁰ is no float32
    xs = tg.random.Generator(0).normal((200, B, I))
    ys, state = zoo.RNN(cell)(xs)
    (ys * ys).sum().backward()
    assert all(np.isfinite(part.numpy()).all() for part in (ys, *state))
    assert all(np.isfinite(p.grad.numpy()).all() for p in cell.parameters())


def test_an_mlstms_gates_begin_open_and_blind_to_the_input() -> None:
    cell = zoo.MLSTM(I, 12, heads=4)
    assert not cell.input.weight.numpy()[:, -8:].any()
    np.testing.assert_array_equal(cell.input.bias.numpy()[-4:], np.float32([3, 4, 5, 6]))
    assert not cell.input.bias.numpy()[:-8].any()
    assert 0 < np.abs(cell.input.bias.numpy()[-8:-4]).max() < 0.5


@pytest.mark.parametrize("heads", [0, 2, -5])
def test_heads_that_do_not_divide_the_hidden_size_are_refused(heads: int) -> None:
    with pytest.raises(ValueError, match=rf"MLSTM: heads={heads} does not divide hidden_size=5 into equal parts"):
        zoo.MLSTM(I, H, heads=heads)
