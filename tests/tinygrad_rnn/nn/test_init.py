"""Initialisers: their moments, their structure, their reproducibility."""

import numpy as np
import pytest

from tinygrad_rnn.nn import init
from tinygrad_rnn.random import Generator

SHAPE = (300, 200)  # inputs, outputs

# name → options, the standard deviation of the entries, the bound that none exceeds
MOMENTS = {
    "uniform": ({"bound": 0.3}, 0.3 / np.sqrt(3), 0.3),
    "normal": ({"std": 0.7}, 0.7, np.inf),
    "glorot_uniform": ({}, np.sqrt(2 / 500), np.sqrt(6 / 500)),
    "glorot_normal": ({"gain": 2.0}, 2 * np.sqrt(2 / 500), np.inf),
    "he_uniform": ({}, np.sqrt(2 / 300), np.sqrt(6 / 300)),
    "he_normal": ({}, np.sqrt(2 / 300), np.inf),
    "lecun_normal": ({}, np.sqrt(1 / 300), np.inf),
    "orthogonal": ({}, np.sqrt(1 / 300), np.inf),
}
OPTIONS = {name: options for name, (options, _, _) in MOMENTS.items()} | {
    "constant": {"value": 2.0},
    "zeros": {},
    "identity": {},
    "chrono": {"longest": 50},
}


def test_every_initialiser_is_tested():
    assert set(OPTIONS) == set(init.__all__)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_initialiser_is_reproducible_and_gives_a_float32_tensor_that_is_not_trainable(name):
    draw = getattr(init, name)
    a, b = (draw(Generator(3), SHAPE, **OPTIONS[name]) for _ in range(2))
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert a.dtype == np.float32
    assert a.shape == SHAPE
    assert not a.requires_grad


@pytest.mark.parametrize("name", MOMENTS)
def test_entries_have_the_mean_the_deviation_and_the_bound_of_their_formula(name):
    options, std, bound = MOMENTS[name]
    x = getattr(init, name)(Generator(0), SHAPE, **options).numpy()
    n = x.size
    assert abs(x.mean()) < 5 * std / np.sqrt(n)
    assert x.std() == pytest.approx(std, rel=5 / np.sqrt(n))
    assert np.abs(x).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("name", ["glorot_uniform", "glorot_normal"])
def test_gates_that_share_a_matrix_are_scaled_as_matrices_of_their_own(name):
    shared = getattr(init, name)(Generator(0), (300, 800), blocks=4).numpy()
    assert shared.std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)


def test_a_convolution_kernel_counts_its_places():
    assert init.he_normal(Generator(0), (5, 60, 200)).numpy().std() == pytest.approx(np.sqrt(2 / 300), rel=0.03)


@pytest.mark.parametrize("shape", [(6, 6), (6, 4), (4, 6)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_orthogonal_blocks_have_orthonormal_rows_or_columns(shape, blocks):
    rows, columns = shape
    whole = init.orthogonal(Generator(1), (rows, columns * blocks), gain=2.0, blocks=blocks).numpy()
    for block in np.split(whole, blocks, axis=1):
        gram = block.T @ block if rows >= columns else block @ block.T
        np.testing.assert_allclose(gram, 4 * np.eye(min(shape)), atol=1e-5)


def test_another_gate_does_not_shift_the_others():
    three, four = (init.orthogonal(Generator(1), (5, 5 * n), blocks=n).numpy() for n in (3, 4))
    np.testing.assert_array_equal(three, four[:, :15])


def test_orthogonal_matrices_are_uniform_over_rotations_and_reflections():
    drawn = np.stack([init.orthogonal(Generator(s), (2, 2)).numpy() for s in range(400)])
    assert abs(drawn.mean(0)).max() < 5 * np.sqrt(0.5 / 400)  # without the sign correction the diagonal leans
    assert 0.4 < (np.linalg.det(drawn) > 0).mean() < 0.6


def test_chrono_biases_are_logarithms_of_uniform_times():
    times = np.exp(init.chrono(Generator(0), (10_000,), longest=101).numpy())
    assert times.min() >= 1
    assert times.max() <= 100 * (1 + 1e-6)
    assert times.mean() == pytest.approx(50.5, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.orthogonal(Generator(0), (4,)), r"two axes; shape \(4,\) has 1"),
        (lambda: init.orthogonal(Generator(0), (4, 10), blocks=4), r"\(4, 10\) does not split into 4"),
        (lambda: init.he_normal(Generator(0), ()), r"shape \(\) has no inputs"),
        (lambda: init.chrono(Generator(0), (4,), longest=1), "longest=1 steps is too short"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
