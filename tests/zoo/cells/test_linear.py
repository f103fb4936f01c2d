"""Cells that are linear in their state, against the solution of the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.zoo.cells.equations import sigmoid, weights
from tests.zoo.cells.samples import B, H, I, example, filled, numbers

T = 7


def solved(keep: np.ndarray, new: np.ndarray, first: np.ndarray) -> np.ndarray:
    """All h_t = keep_t h_{t−1} + new_t at once: products of ``keep`` from each s to each t, times what entered at s."""
    steps = len(keep)
    entered = np.concatenate([first[None], new])
    factors = np.concatenate([np.ones_like(first)[None], keep])
    return np.stack(
        [sum(factors[s + 1 : t + 1].prod(0) * entered[s] for s in range(t + 1)) for t in range(1, steps + 1)]
    )


def sequence() -> np.ndarray:
    return numbers(0).normal(size=(T, B, I))


def test_a_min_gru_is_the_closed_form_of_its_recurrence() -> None:
    cell = filled("MinGRU")
    own, xs, (_, state) = weights(cell), sequence(), example(cell)
    z, n = np.split(xs @ own["input/weight"] + own["input/bias"], 2, axis=-1)
    z = sigmoid(z)
    expected = solved(1 - z, z * n, state.h.numpy())
    ys, last = zoo.RNN(cell)(tg.tensor(xs), state)
    np.testing.assert_allclose(ys.numpy(), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.h.numpy(), expected[-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("width", [H, I], ids=["projected highway", "highway of the input itself"])
def test_an_sru_without_peepholes_is_the_closed_form_of_its_recurrence(width: int) -> None:
    cell = filled("SRU", hidden_size=width, highway_bias=-0.3)
    cell.v_f.data *= 0
    cell.v_r.data *= 0
    own, xs, (_, state) = weights(cell), sequence(), example(cell)
    n, f, r, *k = np.split(xs @ own["input/weight"], 4 if width != I else 3, axis=-1)
    f, r = sigmoid(f + own["b_f"]), sigmoid(r + own["b_r"])
    k = k[0] if k else np.sqrt(1 + 2 * np.exp(-0.3)) * xs
    c = solved(f, (1 - f) * n, state.c.numpy())
    ys, last = zoo.RNN(cell)(tg.tensor(xs), state)
    np.testing.assert_allclose(ys.numpy(), r * c + (1 - r) * k, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.c.numpy(), c[-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("width", [H, I], ids=["projected highway", "highway of the input itself"])
def test_an_sru_is_one_product_for_all_steps_and_a_loop_over_features(width: int) -> None:
    cell = filled("SRU", hidden_size=width)
    own, xs, (_, state) = weights(cell), sequence(), example(cell)
    blocks = 4 if width != I else 3
    all_steps = (xs.reshape(T * B, I) @ own["input/weight"]).reshape(T, B, blocks, width)
    expected, last = np.empty((T, B, width)), np.empty((B, width))
    for row in range(B):
        for j in range(width):
            c = state.c.numpy()[row, j]
            for t in range(T):
                u = all_steps[t, row, :, j]
                f = sigmoid(u[1] + own["v_f"][j] * c + own["b_f"][j])
                r = sigmoid(u[2] + own["v_r"][j] * c + own["b_r"][j])
                k = u[3] if blocks == 4 else xs[t, row, j] * np.sqrt(3)
                c = (c - u[0]) * f + u[0]
                expected[t, row, j] = (c - k) * r + k
            last[row, j] = c
    ys, after = zoo.RNN(cell)(tg.tensor(xs), state)
    np.testing.assert_allclose(ys.numpy(), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(after.c.numpy(), last, rtol=0, atol=1e-13)


def test_an_sru_of_equal_sizes_has_the_gradients_of_central_differences() -> None:
    cell = filled("SRU", hidden_size=I)
    tg.gradcheck(lambda cell, x, s: cell(x, s), cell, *example(cell))


def test_an_srus_weights_begin_as_its_paper_says() -> None:
    cell = zoo.SRU(60, 50, highway_bias=-1.0)
    blocks = np.split(cell.input.weight.numpy(), 4, axis=1)
    for W, factor in zip(blocks, (1, 0.5, 0.5, 1 + 2 * np.exp(-1)), strict=True):
        bound = np.sqrt(3 / 60 * factor)
        assert 0.99 * bound < np.abs(W).max() <= bound
        assert W.var() == pytest.approx(factor / 60, rel=0.05)
    for v in (cell.v_f, cell.v_r):
        assert 0.9 < np.abs(v.numpy()).max() <= np.sqrt(1.5)
    assert not cell.b_f.numpy().any() and (cell.b_r.numpy() == -1).all()


@pytest.mark.parametrize("name", ["MinGRU", "SRU"])
def test_nothing_in_a_step_is_a_product_with_the_state(name: str) -> None:
    cell = zoo.get(name)(I, H)
    state = cell.init_state(B)
    state = cell.State(*(tg.tensor(part, requires_grad=True) for part in state))
    graph = tg.Graph(cell(tg.ones((B, I)), state)[0])
    assert [node.op.name for node in graph.nodes].count("matmul") == 1
