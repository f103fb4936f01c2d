"""Reductions where the table of cases ends: ties, zeros, −inf, no entries, axes that are not there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_rnn as tg

REDUCTIONS = ["sum", "mean", "var", "std", "max", "min", "prod", "logsumexp", "norm"]


@pytest.mark.parametrize(
    "op, axis", [*((op, None) for op in REDUCTIONS), *((op, a) for op in ("sum", "max", "min") for a in (0, -1))]
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_0d_array_is_reduced_to_itself(op: str, axis: int | None, keepdims: bool) -> None:
    f = lambda x: getattr(tg, op)(x, axis=axis, keepdims=keepdims)  # noqa: E731
    y, pullback = tg.vjp(f, np.array(3.0))
    (g,) = pullback(np.array(2.0))
    constant = op in ("var", "std")
    assert y.shape == g.shape == () and y.item() == pytest.approx(0 if constant else 3)
    assert g.item() == pytest.approx(0 if constant else 2)
    assert tg.jvp(f, (np.array(3.0),), (np.array(2.0),))[1].item() == pytest.approx(0 if constant else 2)


@pytest.mark.parametrize("op", [*REDUCTIONS, "softmax", "log_softmax", "cumsum", "sort", "argsort", "argmax"])
def test_an_empty_batch_has_empty_results_and_gradients(op: str) -> None:
    f = lambda x: getattr(tg, op)(x, axis=-1)  # noqa: E731
    x = tg.tensor(np.empty((0, 3)), requires_grad=True)
    y = f(x)
    assert y.shape == ((0,) if op in (*REDUCTIONS, "argmax") else (0, 3))
    if y.requires_grad:
        y.backward(tg.tensor(np.empty(y.shape)))
        assert x.grad.shape == (0, 3)


def test_the_empty_sum_is_0_and_the_empty_product_1() -> None:
    x = tg.tensor(np.empty((0, 3)), requires_grad=True)
    for op, value in (("sum", 0), ("prod", 1), ("norm", 0)):
        y = getattr(tg, op)(x, axis=0)
        assert y.tolist() == [value] * 3
        assert tg.grad(lambda x, op=op: getattr(tg, op)(x))(x).shape == (0, 3)


@pytest.mark.parametrize("op", ["max", "min", "logsumexp", "argmax", "var", "std"])
def test_what_has_no_value_for_no_entries_says_so(op: str) -> None:
    with pytest.raises(ValueError, match=r"(max|min|logsumexp|argmax|var): \(0, 3\) float64; "):
        getattr(tg, op)(tg.tensor(np.empty((0, 3))), axis=0)


@pytest.mark.parametrize("op", [*REDUCTIONS, "softmax", "log_softmax", "cumsum", "sort", "argsort", "argmax"])
@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_is_refused(op: str, axis: int) -> None:
    with pytest.raises((ValueError, IndexError), match=rf"\w+: .*axis {axis} is out of bounds"):
        getattr(tg, op)(tg.ones((2, 3)), axis=axis)


@pytest.mark.parametrize("op", ["max", "min"])
def test_entries_that_tie_for_the_extremum_share_the_gradient_evenly(op: str) -> None:
    x = tg.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, -2.0, 2.0, -2.0]])
    gradient = tg.grad(lambda x: getattr(x, op)(-1).sum())(x).numpy()
    assert (gradient == [[0.25] * 4, [0.5, 0, 0.5, 0] if op == "max" else [0, 0.5, 0, 0.5]]).all()


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_has_exact_third_derivatives_however_many_zeros(zeros: int) -> None:
    x = np.array([2.0, 3.0, 5.0, 7.0, 11.0])
    x[:zeros] = 0
    third = tg.jacobian(tg.hessian(tg.prod))(tg.tensor(x)).numpy()
    for i, j, k in np.ndindex(third.shape):
        others = np.delete(x, [i, j, k])
        assert third[i, j, k] == (np.prod(others) if len({i, j, k}) == 3 else 0)


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("row", [[-math.inf, 0, 1], [-math.inf] * 3, [-math.inf, -math.inf, 3]], ids=str)
@pytest.mark.filterwarnings("error")
def test_masked_logits_give_no_nan_in_values_or_derivatives(op: str, row: list[float]) -> None:
    f = lambda x: getattr(tg, op)(x, axis=-1)  # noqa: E731
    x = tg.tensor(row)
    y, pullback = tg.vjp(f, x)
    (g,) = pullback(tg.ones(y.shape))
    _, t = tg.jvp(f, (x,), (tg.ones((3,)),))
    h = tg.hvp(lambda x: tg.exp(f(x)).sum(), (x,), (tg.ones((3,)),))
    masked = np.isneginf(row)
    for values in (y, g, t, h):
        assert not np.isnan(values.numpy()).any()
    assert (h.numpy()[masked] == 0).all()
    if op == "softmax":
        assert (y.numpy()[masked] == 0).all() and y.numpy().sum() == pytest.approx(float(not masked.all()))
    if op == "logsumexp":
        assert (g.numpy()[masked] == 0).all() and y.item() == pytest.approx(np.logaddexp.reduce(row))


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.filterwarnings("error")
def test_huge_logits_do_not_overflow(op: str) -> None:
    x = tg.tensor([1e30, 1e30, -1e30])
    expected = {"softmax": [0.5, 0.5, 0], "log_softmax": [-math.log(2)] * 2 + [-2e30], "logsumexp": 1e30}[op]
    np.testing.assert_allclose(getattr(tg, op)(x, axis=-1).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("f", [tg.norm, lambda x: tg.norm(x, axis=0), lambda x: tg.std(x)], ids=["all", "axis", "std"])
@pytest.mark.filterwarnings("error")
def test_a_norm_has_gradient_zero_at_zero(f: Callable) -> None:
    x = tg.zeros((3,))
    assert tg.grad(f)(x).tolist() == [0, 0, 0]
    assert tg.jvp(f, (x,), (tg.ones((3,)),))[1].item() == 0
    assert tg.hvp(f, (x,), (tg.ones((3,)),)).tolist() == [0, 0, 0]


METHODS = ["sum", "mean", "var", "std", "max", "min", "prod", "cumsum", "argmax", "argmin", "argsort", "conj"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_function_of_its_name(name: str) -> None:
    x = tg.tensor([[3.0, 1.0], [2.0, 5.0]])
    assert getattr(x, name)().tolist() == getattr(tg, name)(x).tolist()
    if name != "conj":
        assert getattr(x, name)(1).tolist() == getattr(tg, name)(x, 1).tolist()


@pytest.mark.parametrize("descending", [False, True])
def test_equal_entries_keep_their_order_when_sorted(descending: bool) -> None:
    order = tg.argsort(tg.tensor([1, 0, 1, 0, 1]), descending=descending)
    assert order.tolist() == ([0, 2, 4, 1, 3] if descending else [1, 3, 0, 2, 4])


def test_mean_of_half_precision_does_not_overflow_on_the_way() -> None:
    x = tg.tensor(np.full(100_000, 100, np.float16))
    assert tg.mean(x).item() == 100 and tg.mean(x).dtype == np.float16
