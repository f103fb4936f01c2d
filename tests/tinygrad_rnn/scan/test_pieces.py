"""Series cut and joined in place are series split and concatenated."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.scan.pieces import Cut, Joined

EDGES = (0, 2, 5, 6)
X = np.random.default_rng(0).normal(size=(6, 3))


def through(x: tg.Tensor) -> tg.Tensor:
    """Squares of the pieces times their number, last to first."""
    series, joined = Cut(x, EDGES), Joined(EDGES)
    for i in (2, 1, 0):
        piece = series.piece(i)
        joined.add(i, piece * piece * i)
    return joined.whole()


def plain(x: tg.Tensor) -> tg.Tensor:
    return tg.concatenate([piece * piece * i for i, piece in enumerate(tg.split(x, EDGES[1:-1], axis=0))])


def test_values_and_derivatives_of_any_order_are_those_of_split_and_concatenate() -> None:
    def loss(f):
        return lambda x: (f(x) * f(x) * X).sum()

    for transform in (
        lambda f: f(tg.tensor(X)), lambda f: tg.grad(loss(f))(X), lambda f: tg.hvp(loss(f), (X,), (X + 1,)),
        lambda f: tg.jvp(f, (X,), (X,))[1],
    ):  # fmt: skip
        np.testing.assert_allclose(transform(through).numpy(), transform(plain).numpy(), rtol=1e-13)


def test_the_whole_and_the_gradient_are_arrays_that_the_pieces_were_written_into() -> None:
    x, joined = tg.tensor(X, requires_grad=True), Joined(EDGES)
    series = Cut(x, EDGES)
    for i in range(3):
        joined.add(i, series.piece(i) * 2)
    places = [piece.data for piece in joined.pieces]
    whole = joined.whole()
    assert all(place.base is whole.data for place in places)
    (whole * X).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * X)
    assert series.room.array is None and joined.room.array is None


def test_pieces_that_nobody_uses_have_gradients_of_zero_and_it_goes_back_twice() -> None:
    x = tg.tensor(X, requires_grad=True)
    series = Cut(x, EDGES)
    loss = (series.piece(1) * 3).sum()
    loss.backward(retain_graph=True)
    kept = x.grad.numpy().copy()
    np.testing.assert_array_equal(kept, np.repeat([[0.0], [3.0], [0.0]], [2, 3, 1], axis=0) + 0 * X)
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * kept)


def test_gradients_of_two_ways_back_share_no_memory() -> None:
    x = tg.tensor(X, requires_grad=True)
    y = through(x)
    first, second = [], []
    for found, g in ((first, X), (second, X + 1)):
        y.backward(g, retain_graph=True)
        found.append(x.grad.numpy())
        x.grad = None
    expected = tg.vjp(plain, X)[1]
    np.testing.assert_allclose(first[0], expected(X)[0].numpy(), rtol=1e-13)
    np.testing.assert_allclose(second[0], expected(X + 1)[0].numpy(), rtol=1e-13)


def test_pieces_of_other_dtypes_are_joined_as_concatenate_does() -> None:
    joined = Joined((0, 2, 3))
    joined.add(0, tg.tensor([1, 2]))
    joined.add(1, tg.tensor(np.array([0.5])))
    np.testing.assert_array_equal(joined.whole().numpy(), [1.0, 2.0, 0.5])


def test_a_piece_is_handed_out_once() -> None:
    series = Cut(tg.tensor(X), EDGES)
    series.piece(1)
    with pytest.raises(ValueError, match="piece 1 was handed out before"):
        series.piece(1)
