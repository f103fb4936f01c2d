"""Conjugate gradients: numpy.linalg.solve's solution, the rules by which they stop, what is kept, bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.optim import conjugate_gradient


def _system(n, seed, condition=100.0):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return (Q * np.geomspace(1.0, condition, n)) @ Q.T, rng.standard_normal(n)


def _phi(A, b, x):
    return 0.5 * x @ A @ x - b @ x


@given(st.integers(1, 30), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_the_last_iterate_solves_the_system_as_numpy_does(n, seed, preconditioned, begun):
    A, b = _system(n, seed)
    options = {"preconditioner": np.diag(A)} if preconditioned else {}
    if begun:
        options["start"] = np.linalg.solve(A, b) + 0.1 * np.sin(np.arange(n))
    path = conjugate_gradient(lambda v: A @ v, b, steps=5 * n + 20, tolerance=0.0, **options)
    np.testing.assert_allclose(path[-1].x, np.linalg.solve(A, b), rtol=0, atol=1e-10 * max(1, abs(b).max()))


@pytest.mark.parametrize("begun", [False, True])
def test_the_value_of_an_iterate_is_the_quadratic_there_and_falls_along_the_path(begun):
    A, b = _system(40, 1, 1e4)
    start = 0.5 * np.linalg.solve(A, b) if begun else None
    path = conjugate_gradient(lambda v: A @ v, b, start=start, steps=40, tolerance=0.0)
    for iterate in path:
        assert iterate.value == pytest.approx(_phi(A, b, iterate.x), rel=1e-10)
    assert all(later.value < earlier.value < 0 for earlier, later in pairwise(path))


def test_after_k_products_an_iterate_is_the_best_of_its_krylov_space():
    A, b = _system(12, 2)
    for iterate in conjugate_gradient(lambda v: A @ v, b, steps=8, tolerance=0.0):
        basis, _ = np.linalg.qr(np.stack([np.linalg.matrix_power(A / 100, j) @ b for j in range(iterate.step)], -1))
        best = basis @ np.linalg.solve(basis.T @ A @ basis, basis.T @ b)
        np.testing.assert_allclose(iterate.x, best, atol=1e-9)


def test_a_diagonal_system_preconditioned_by_itself_takes_one_product():
    d = np.array([1.0, 10.0, 1e6])
    path = conjugate_gradient(lambda v: d * v, np.ones(3), preconditioner=d)
    np.testing.assert_allclose(path[0].x, 1 / d, rtol=1e-14)
    assert path[0].step == 1


def test_iterates_are_kept_at_powers_of_the_spacing_and_at_the_end():
    A, b = _system(60, 3, 1e6)
    steps = [iterate.step for iterate in conjugate_gradient(lambda v: A @ v, b, steps=50, tolerance=0.0)]
    assert steps == sorted({math.ceil(1.3**j) for j in range(15)} | {50})


def test_it_ends_where_the_last_k_products_gained_less_than_k_times_the_tolerance():
    A, b = _system(200, 4, 1e4)
    found = conjugate_gradient(lambda v: A @ v, b, steps=400, tolerance=5e-4)
    count = found[-1].step
    phi = {i: conjugate_gradient(lambda v: A @ v, b, steps=i, tolerance=0.0)[-1].value for i in range(1, count + 1)}
    phi[0] = 0.0

    def gained(i):
        k = max(10, i // 10)
        return i > k and (phi[i] - phi[i - k]) / phi[i] < k * 5e-4

    assert 11 < count < 200
    assert gained(count)
    assert not any(gained(i) for i in range(count))


def test_a_start_that_is_worse_than_zeros_is_not_used():
    A, b = _system(10, 5)
    cold = conjugate_gradient(lambda v: A @ v, b, steps=3)
    warm = conjugate_gradient(lambda v: A @ v, b, steps=3, start=-b)
    np.testing.assert_array_equal(cold[-1].x, warm[-1].x)


def test_the_solution_as_a_start_is_given_back():
    A, b = np.diag([2.0, 4.0]), np.array([2.0, 4.0])
    (only,) = conjugate_gradient(lambda v: A @ v, b, start=np.ones(2))
    assert (only.step, only.value) == (0, -3.0)
    np.testing.assert_array_equal(only.x, np.ones(2))


def test_of_zeros_nothing_is_to_be_found():
    assert conjugate_gradient(lambda v: v, np.zeros(3)) == []


def test_a_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(ValueError, match="step 1: A is not positive definite, pᵀ A p is -4"):
        conjugate_gradient(lambda v: np.array([1.0, -5.0]) * v, np.ones(2))


def test_a_direction_without_curvature_ends_it():
    path = conjugate_gradient(lambda v: np.array([1.0, 0.0]) * v, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(path[-1].x, [1.0, 0.0])
    assert conjugate_gradient(lambda v: 0 * v, np.ones(2)) == []


def test_a_product_that_is_not_finite_is_named():
    with pytest.raises(FloatingPointError, match=r"step 1: pᵀ A p is nan"):
        conjugate_gradient(lambda v: v * np.nan, np.ones(2))


def test_it_is_the_same_on_every_device(device):
    A, b = _system(20, 6)
    there, here = tg.tensor(A.astype("f4"), device=device).data, A.astype("f4")
    a = conjugate_gradient(lambda v: here @ v, b.astype("f4"), steps=10)[-1].x
    c = conjugate_gradient(lambda v: there @ v, tg.tensor(b.astype("f4"), device=device).data, steps=10)[-1].x
    assert type(c) is type(there)
    np.testing.assert_allclose(tg.Tensor(c).numpy(), a, rtol=1e-4)
