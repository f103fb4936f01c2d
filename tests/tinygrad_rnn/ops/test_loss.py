"""What the table of cases cannot say of losses: NaN behind masks, extremes of logits, nothing to average."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

MASK = np.array([[True, False], [True, True], [False, False]])
SHAPE = (*MASK.shape, 5)
RNG = np.random.default_rng(0)
IDS = np.where(MASK, RNG.integers(0, 5, MASK.shape), 99)

MASKED: dict[str, tuple[Callable, int]] = {  # the loss, and how many arrays it takes
    "ids": (lambda m, z, **r: tg.cross_entropy(z, tg.tensor(IDS, device=z.device), mask=m, **r), 1),
    "smoothed": (
        lambda m, z, **r: tg.cross_entropy(
            z, tg.tensor(IDS, device=z.device), mask=m, label_smoothing=0.1, ignore_index=99, **r
        ),
        1,
    ),
    "distributions": (lambda m, z, q, **r: tg.cross_entropy(z, q, mask=m, **r), 2),
    "mse": (lambda m, x, y, **r: tg.mse(x, y, mask=m, **r), 2),
    "bce": (lambda m, z, y, **r: tg.bce_with_logits(z, y, mask=m, pos_weight=2.0, **r), 2),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("device", ["cpu", "strict", pytest.param("cuda:0", marks=pytest.mark.gpu)], indirect=True)
def test_what_a_mask_leaves_out_changes_no_bit(name: str, hidden: float, reduction: str, device: str) -> None:
    loss, arrays = MASKED[name]
    mask = tg.tensor(MASK, device=device)

    def run(values: list[np.ndarray]) -> list[np.ndarray]:
        xs = [tg.tensor(x, device=device, requires_grad=True) for x in values]
        y = loss(mask, *xs, reduction=reduction)
        y.sum().backward()
        second = tg.hvp(lambda x: loss(mask, x, *xs[1:], reduction="sum"), (xs[0],), (tg.ones(SHAPE, device=device),))
        return [y.numpy(), *(x.grad.numpy() for x in xs), second.numpy()]

    clean = [RNG.uniform(0.1, 0.9, SHAPE).astype(np.float32) for _ in range(arrays)]
    dirty = [np.where(MASK[..., None], x, np.float32(hidden)) for x in clean]
    with np.errstate(invalid="ignore"):  # ∞ − ∞ where it does not count
        found = run(dirty)
    for ours, expected in zip(found, run(clean), strict=True):
        assert np.isfinite(ours).all() and (ours == expected).all()
    for gradient in found[1:]:
        assert (gradient[~MASK] == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_in_which_nothing_counts_has_loss_and_gradient_zero(reduction: str) -> None:
    for options in ({"ignore_index": 1}, {"mask": [False, False]}):
        z = tg.tensor(np.ones((2, 3)), requires_grad=True)
        loss = tg.cross_entropy(z, [1, 1], reduction=reduction, **options)
        loss.backward()
        assert loss.item() == 0 and (z.grad.numpy() == 0).all()


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 4), (4,)], ids=str)
def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes(shape: tuple) -> None:
    ids = np.zeros(shape[:-1], int)
    assert tg.cross_entropy(tg.zeros(shape), ids).item() == pytest.approx(math.log(4))
    assert tg.cross_entropy(tg.zeros(shape), np.full(shape, 0.25)).item() == pytest.approx(math.log(4))


@pytest.mark.filterwarnings("error")
def test_huge_logits_neither_overflow_nor_lose_digits() -> None:
    z = tg.tensor(np.array([[1e4, 1e4 + 0.5], [-1e30, 1e30]], np.float32), requires_grad=True)
    losses = tg.cross_entropy(z, [0, 1], reduction="none")
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), [math.log1p(math.exp(0.5)), 0], rtol=1e-6)
    np.testing.assert_allclose(z.grad.numpy()[1], [0, 0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_confident_and_right_keeps_all_digits_of_a_small_loss(y: float) -> None:
    z = np.array([5, 20, 80, 1e4], np.float32) * (1 if y else -1)
    losses = tg.bce_with_logits(z, np.full(4, y, np.float32), reduction="none")
    np.testing.assert_allclose(losses, np.log1p(np.exp(-np.abs(z.astype(float)))), rtol=1e-6)


def test_a_class_that_logits_rule_out_costs_nothing_when_it_is_not_the_target() -> None:
    z = tg.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    loss = tg.cross_entropy(z, [0])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    np.testing.assert_allclose(z.grad.numpy(), [[-0.5, 0, 0.5]], atol=1e-7)


def test_ids_and_masks_may_be_lists_or_tensors() -> None:
    z = tg.tensor([[1.0, 2.0], [3.0, 5.0]])
    expected = tg.cross_entropy(z, np.array([0, 1]), mask=np.array([True, False])).item()
    forms: list[Any] = [([0, 1], [True, False]), (tg.tensor([0, 1]), tg.tensor([True, False]))]
    assert [tg.cross_entropy(z, ids, mask=mask).item() for ids, mask in forms] == [expected] * 2


TARGETS = {
    "list": [0.0, 1.0], "integers": np.array([0, 1]), "booleans": np.array([False, True]), "Tensor": tg.tensor([0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_targets_that_are_no_float64_array_leave_float32_alone(targets: Any, device: str) -> None:
    z = tg.tensor([1.0, 2.0], device=device)
    if hasattr(targets, "dtype"):
        targets = tg.tensor(targets, device=device)
    whole = tg.tensor([0.0, 1.0], device=device)
    for loss in (tg.mse, tg.bce_with_logits, partial(tg.bce_with_logits, pos_weight=[2.0, 1.0])):
        assert loss(z, targets).dtype == np.float32
        assert loss(z, targets).item() == loss(z, whole).item()
    assert tg.cross_entropy(tg.expand_dims(z, 0), [[0.25, 0.75]]).dtype == np.float32


def test_the_mean_counts_features_too_where_a_mask_covers_steps() -> None:
    x, y = tg.tensor(np.full((2, 3), 2.0)), tg.tensor(np.zeros((2, 3)))
    assert tg.mse(x, y, mask=[True, False]).item() == 4
    assert tg.mse(x, y, mask=[True, False], reduction="sum").item() == 12


def test_the_square_of_a_complex_difference_is_that_of_its_modulus() -> None:
    x = tg.tensor(np.array([3 + 4j]), requires_grad=True)
    loss = tg.mse(x, np.zeros(1, complex))
    loss.backward()
    assert loss.dtype == np.float64 and loss.item() == 25 and x.grad.tolist() == [6 + 8j]
