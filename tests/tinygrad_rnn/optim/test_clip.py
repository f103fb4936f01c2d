"""Norms and clipping: as torch, at the ends of the floating range, and what is left alone."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


def _gradients(scale=1.0, dtype="float64", device="cpu"):
    rng = np.random.default_rng(0)
    shapes = {"U": (3, 4), "b": (4,), "a": ()}
    return {
        path: tg.tensor((scale * np.asarray(rng.standard_normal(shape))).astype(dtype), device=device)
        for path, shape in shapes.items()
    }


def _flat(gradients):
    return np.concatenate([g.numpy().ravel() for g in gradients.values()])


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm_equals_torchs(max_norm):
    torch = pytest.importorskip("torch", reason="the reference for clipping")
    gradients = _gradients()
    there = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients.values()]
    for p, g in zip(there, gradients.values(), strict=True):
        p.grad = torch.tensor(g.numpy())
    expected = torch.nn.utils.clip_grad_norm_(there, max_norm)
    assert optim.clip_by_global_norm(gradients, max_norm) == pytest.approx(expected.item(), rel=1e-14)
    for p, g in zip(there, gradients.values(), strict=True):
        np.testing.assert_allclose(g.numpy(), p.grad.numpy(), rtol=3e-6)  # torch divides by norm + 1e-6
    assert optim.global_norm(gradients) == pytest.approx(min(max_norm, expected.item()), rel=1e-14)


def test_the_gradients_of_parameters_are_clipped_where_they_are(device):
    model = nn.Linear(3, 2).to(device)
    (100.0 * model(tg.ones((4, 3), device=device))).sum().backward()
    before = model.bias.grad
    held = before.data
    norm = optim.clip_by_global_norm(model, 1.0)
    assert norm == pytest.approx(400 * math.sqrt(2 * 3 + 2), rel=1e-6)
    assert model.bias.grad is before
    np.testing.assert_allclose(model.bias.grad.numpy(), 400 / norm, rtol=1e-6)
    assert model.bias.grad.dtype == np.float32
    np.testing.assert_array_equal(tg.Tensor(held).numpy(), 400)  # who else holds the array keeps its values


def test_parameters_that_had_no_part_are_left_out():
    a, b = (tg.tensor(1.0, requires_grad=True) for _ in range(2))
    (3 * a).backward()
    assert optim.clip_by_global_norm([a, b], 1.0) == 3
    assert b.grad is None


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e30), ("float32", 1e-30), ("float16", 1e3), ("float64", 1e200)]
)
def test_the_norm_is_right_where_squares_leave_the_range_of_the_dtype(dtype, scale, device):
    gradients = _gradients(scale, dtype, device)
    exact = math.hypot(*_flat(gradients).astype("float64"))
    assert optim.global_norm(gradients) == pytest.approx(exact, rel=3e-3 if dtype == "float16" else 1e-6)
    if scale > 1:
        assert optim.clip_by_global_norm(gradients, 1.0) == pytest.approx(exact, rel=3e-3)
        assert np.linalg.norm(_flat(gradients).astype("float64")) == pytest.approx(1.0, rel=3e-3)


def test_the_norm_of_complex_gradients_counts_both_parts():
    assert optim.global_norm([tg.tensor(np.array([3 + 4j])), tg.tensor(np.array([12.0]))]) == pytest.approx(13)


def test_the_norm_of_zeros_is_zero():
    assert optim.clip_by_global_norm([tg.zeros(3)], 1.0) == 0


def test_clipping_by_value_equals_torchs(device):
    torch = pytest.importorskip("torch", reason="the reference for clipping")
    gradients = _gradients(device=device)
    expected = {path: torch.clamp(torch.tensor(g.numpy()), -0.3, 0.3).numpy() for path, g in gradients.items()}
    optim.clip_by_value(gradients, 0.3)
    for path, g in gradients.items():
        np.testing.assert_array_equal(g.numpy(), expected[path])


@pytest.mark.parametrize("clip", [optim.clip_by_global_norm, optim.clip_by_value])
def test_a_clipped_gradient_without_axes_is_one_that_an_optimiser_takes(clip):
    p = tg.tensor(3.0, requires_grad=True)
    gradient = tg.tensor(40.0)
    clip([gradient], 0.5)
    optim.SGD([p], lr=1.0).step([gradient])
    assert p.item() == 2.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.clip_by_global_norm(nn.Linear(2, 2), 1.0), ValueError, "no gradients here"),
        (lambda: optim.clip_by_global_norm(_gradients(), 0.0), ValueError, "max_norm=0.0 is not a positive"),
        (lambda: optim.clip_by_global_norm([tg.tensor([1.0, np.nan])], 1.0), FloatingPointError, "norm is nan"),
        (lambda: optim.clip_by_global_norm([tg.tensor([1.0, -np.inf])], 1.0), FloatingPointError, "norm is inf"),
        (lambda: optim.clip_by_value([tg.tensor([1j])], 1.0), TypeError, "complex entries have no order"),
        (lambda: optim.clip_by_value(_gradients(), -1.0), ValueError, "limit=-1.0 is not a positive"),
        (lambda: optim.global_norm([np.ones(2)]), TypeError, "parameters or gradients, got ndarray"),
        (lambda: optim.clip_by_value([2 * tg.ones(2, requires_grad=True)], 1.0), TypeError, "are recorded"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
