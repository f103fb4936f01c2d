"""What derivatives count as where there is none: kinks, ties, zeros."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_two_equal_arguments_share_the_gradient(op: str) -> None:
    gradients = tg.grad(lambda a, b: getattr(tg, op)(a, b), (0, 1))(tg.tensor(2.0), tg.tensor(2.0))
    assert [g.item() for g in gradients] == [0.5, 0.5]


KINKS = {
    "abs at 0": (tg.abs, 0.0, 0),
    "relu at 0": (tg.relu, 0.0, 0),
    "clip at its lower end": (lambda x: tg.clip(x, min=1.0), 1.0, 1),
    "clip at its upper end": (lambda x: tg.clip(x, max=1.0), 1.0, 1),
    "0 ** 0": (lambda x: x**0, 0.0, 0),
    "0 ** 1": (lambda x: x**1, 0.0, 1),
    "0 ** 2": (lambda x: x**2, 0.0, 0),
    "base 0, exponent 0 as an array": (lambda x: x ** tg.tensor(0.0), 0.0, 0),
    "exponent of base 0": (lambda x: tg.tensor(0.0) ** x, 2.0, 0),
    "exponent of a negative base": (lambda x: tg.tensor(-2.0) ** x, 2.0, 0),
    "exponent of a negative number": (lambda x: (-2.0) ** x, 2.0, 0),
    "angle of 0": (lambda x: tg.angle(x + 0j), 0.0, 0),
}


@pytest.mark.parametrize("f, at, slope", KINKS.values(), ids=KINKS)
@pytest.mark.filterwarnings("error")
def test_the_derivative_counts_as_this(f: Callable, at: float, slope: float) -> None:
    assert tg.grad(f)(tg.tensor(at)).item() == slope
    assert tg.jvp(f, (tg.tensor(at),), (tg.tensor(1.0),))[1].item() == slope


@pytest.mark.parametrize("op", ["sigmoid", "tanh", "softplus", "silu", "elu", "hard_sigmoid", "gelu", "erf"])
@pytest.mark.filterwarnings("error")
def test_activations_neither_overflow_nor_warn_at_large_arguments(op: str) -> None:
    x = tg.tensor([-1e4, -100.0, 100.0, 1e4])
    y, slope = tg.jvp(getattr(tg, op), (x,), (tg.ones((4,)),))
    assert np.isfinite(y.numpy()).all() and np.isfinite(slope.numpy()).all()
