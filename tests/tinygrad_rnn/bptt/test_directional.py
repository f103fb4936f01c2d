"""Forward gradients: linear in v vᵀ, so exact along a whole basis; right on average."""

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, problem
from tinygrad_rnn.bptt import gradient, strategy


class Basis(tg.random.Generator):
    """Draws the K unit vectors, √K long: then 1/K Σ v vᵀ = 1, as it is on average for normal directions."""

    def normal(self, shape, *, std=1.0, dtype="float32", device="cpu"):
        assert shape[0] == shape[1]
        return tg.tensor(np.sqrt(shape[0]) * np.eye(shape[0]), dtype=dtype)


@pytest.mark.parametrize("cell", zoo.names())
def test_along_a_whole_basis_it_is_the_gradient(cell):
    p = problem(cell, hidden=2, batch=2)
    count = sum(q.size for q in p.parameters.parameters())
    assert difference(gradient(p, f"forward:{count}", rng=Basis()).gradients, gradient(p).gradients) < 1e-12


def test_each_estimate_is_the_slope_along_the_direction_times_it():
    p = problem("GRU", steps=5)
    found = gradient(p, "forward", rng=tg.random.Generator(3))
    (v,), _ = found.memory
    np.testing.assert_allclose(flat(found.gradients), flat(gradient(p).gradients) @ v * v, rtol=1e-10)


def test_the_mean_over_many_directions_comes_near_the_gradient():
    p = problem("ElmanRNN")
    g, k = flat(gradient(p).gradients), 2000
    error = flat(gradient(p, f"forward:{k}").gradients) - g
    expected = np.sqrt((len(g) + 1) / k) * np.linalg.norm(g)  # E‖(g·v) v − g‖² = (P + 1) ‖g‖²
    assert 0.3 * expected < np.linalg.norm(error) < 3 * expected


def test_no_direction_is_refused():
    with pytest.raises(ValueError, match="at least 1 direction"):
        strategy("forward:0")
