"""Generators: reproducible, forked by name, resumable."""

import json

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.random import Generator


def test_forks_depend_on_seed_and_names_alone():
    a, b = Generator(1), Generator(1)
    a.normal((7,))  # what the parent drew does not matter
    one, two = a.fork("x").normal((3,)).numpy(), b.fork("x").normal((3,)).numpy()
    assert (one == two).all()
    assert not (one == b.fork("y").normal((3,)).numpy()).any()
    assert not (one == Generator(2).fork("x").normal((3,)).numpy()).any()
    assert (a.fork("mask", 4).normal((2,)).numpy() == b.fork("mask", 4).normal((2,)).numpy()).all()


@pytest.mark.parametrize("draw", ["normal", "uniform"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_restored_generator_goes_on_with_the_same_numbers(draw, dtype):
    g = Generator(5, 2)
    g.integers((3,), 0, 9)
    state = json.loads(json.dumps(g.state_dict()))
    expected = getattr(g, draw)((4,), dtype=dtype).numpy()
    other = Generator(0)
    other.load_state_dict(state)
    np.testing.assert_array_equal(getattr(other, draw)((4,), dtype=dtype).numpy(), expected)
    assert other.fork("a").seed == 5 and expected.dtype == dtype


def test_distributions_have_their_moments():
    g = Generator(0)
    assert abs(g.normal((20_000,), std=2.0).numpy().std() - 2) < 0.05
    u = g.uniform((20_000,), -1, 3).numpy()
    assert abs(u.mean() - 1) < 0.05 and u.min() >= -1 and u.max() < 3
    assert abs(g.bernoulli((20_000,), 0.3).numpy().mean() - 0.3) < 0.02
    assert set(g.integers((200,), -1, 3).tolist()) == {-1, 0, 1, 2}
    assert sorted(g.permutation(5).tolist()) == list(range(5))


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative integer, not -1"):
        tg.random.Generator(-1)
