"""Arithmetic, activations, selection, comparison, erf and gelu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, complex_normal, normal, torch, uniform

F = torch and torch.nn.functional

Inputs = Callable[[np.random.Generator], tuple[np.ndarray, ...]]


def _case(op: str, inputs: Inputs, reference: str | Callable | None = "", label: str = "", **params: Any) -> Case:
    """A case of tg.<op>(*arrays, **params) and torch's function of the same (or the given) name."""
    if isinstance(reference, str):
        name = reference or op
        reference = lambda *xs: getattr(torch, name, getattr(F, name, None))(*xs)  # noqa: E731
    return Case(op, lambda *xs: getattr(tg, op)(*xs, **params), inputs, reference, label, elementwise=True)


def away_from_zero(*shapes: tuple[int, ...]) -> Inputs:
    """Entries of both signs and at least 0.2 in size, which no central difference carries over a kink at 0."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        return tuple(rng.uniform(0.2, 2, s) * rng.choice([-1, 1], s) for s in shapes)

    return draw


def base_and_exponent(base_low: float) -> Inputs:
    return lambda rng: (rng.uniform(base_low, 2, (3, 4)), rng.uniform(-2, 2, (3, 4)))


def apart(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Two arrays that differ by at least 0.2 everywhere."""
    a = rng.standard_normal((3, 4))
    return a, a + away_from_zero((3, 4))(rng)[0]


def with_ties(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Small whole numbers in floating dtype: comparisons see equal entries."""
    return rng.integers(-1, 2, (3, 4)).astype(float), rng.integers(-1, 2, (3, 4)).astype(float)


def booleans(count: int) -> Inputs:
    return lambda rng: tuple(rng.random((3, 4)) < 0.5 for _ in range(count))


def condition_and(count: int) -> Inputs:
    return lambda rng: (rng.random((3, 4)) < 0.5, *normal(*[(3, 4)] * count)(rng))


X = (3, 4)
COMPARISONS = {
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}

CASES = [
    _case("add", normal(X, X)),
    _case("sub", normal(X, X)),
    _case("neg", normal(X)),
    _case("mul", normal(X, X)),
    _case("div", lambda rng: (*normal(X)(rng), *away_from_zero(X)(rng))),
    _case("pow", base_and_exponent(0.3)),
    Case("pow", lambda x: x**3, normal(X), lambda x: x**3, "cube", elementwise=True),
    Case("pow", lambda x: x**-0.5, uniform(0.3, 2, X), lambda x: x**-0.5, "inverse-root", elementwise=True),
    Case("pow", lambda x: 2.0**x, normal(X), lambda x: 2.0**x, "of-a-number", elementwise=True),
    _case("square", normal(X)),
    _case("exp", normal(X)),
    _case("expm1", normal(X)),
    _case("expm1", lambda rng: (1e-8 * rng.standard_normal(X),), label="small"),
    _case("log", uniform(0.3, 3, X)),
    _case("log1p", uniform(-0.7, 3, X)),
    _case("sqrt", uniform(0.3, 3, X)),
    _case("sin", normal(X)),
    _case("cos", normal(X)),
    _case("tanh", normal(X)),
    _case("sigmoid", normal(X)),
    _case("relu", away_from_zero(X)),
    _case("leaky_relu", away_from_zero(X)),
    _case("leaky_relu", away_from_zero(X), lambda x: F.leaky_relu(x, 0.3), "slope", negative_slope=0.3),
    _case("elu", away_from_zero(X)),
    _case("elu", away_from_zero(X), lambda x: F.elu(x, 0.7), "alpha", alpha=0.7),
    _case("softplus", normal(X)),
    _case("silu", normal(X)),
    _case("hard_sigmoid", normal(X), lambda x: torch.clip(x / 6 + 0.5, 0, 1)),  # F.hardsigmoid' is a float32 1/6
    _case("hard_sigmoid", uniform(3.1, 5, X), lambda x: torch.clip(x / 6 + 0.5, 0, 1), "saturated"),
    _case("abs", away_from_zero(X)),
    _case("sign", away_from_zero(X)),
    _case("step", away_from_zero(X), lambda x: (x > 0).to(x.dtype)),
    _case("maximum", apart),
    _case("minimum", apart),
    _case("clip", uniform(-0.9, 0.9, X), lambda x: torch.clip(x, -1, 1), "inside", min=-1, max=1),
    Case("clip", lambda x: x.clip(-0.5, 0.5), uniform(-0.4, 0.4, X), lambda x: x.clip(-0.5, 0.5), "method"),
    _case("clip", away_from_zero(X), lambda x: torch.clip(x, -0.1, 0.1), "outside", min=-0.1, max=0.1),
    _case("clip", away_from_zero(X), lambda x: torch.clip(x, min=0.0), "below", min=0.0),
    _case("clip", away_from_zero(X), lambda x: torch.clip(x, max=0.0), "above", max=0.0),
    _case("where", condition_and(2)),
    Case("where", lambda c, x: tg.where(c, x, 0.5), condition_and(1), lambda c, x: torch.where(c, x, 0.5), "number",
         elementwise=True),
    *(_case(op, with_ties, name) for op, name in COMPARISONS.items()),
    _case("logical_and", booleans(2)),
    _case("logical_or", booleans(2)),
    _case("logical_not", booleans(1)),
    _case("isfinite", lambda rng: (np.where(rng.random(X) < 0.5, np.inf, 0.0),)),
    _case("erf", normal(X)),
    _case("erf", lambda rng: (1e-6 * rng.standard_normal(X),), label="small"),
    _case("gelu", normal(X)),
    # arithmetic on complex numbers, through the same ops
    _case("add", complex_normal(X, X), label="complex"),
    _case("sub", complex_normal(X, X), label="complex"),
    _case("neg", complex_normal(X), label="complex"),
    _case("mul", complex_normal(X, X), label="complex"),
    _case("mul", lambda rng: (*normal(X)(rng), *complex_normal(X)(rng)), label="real-and-complex"),
    _case("div", complex_normal(X, X), label="complex"),
    _case("square", complex_normal(X), label="complex"),
    Case("pow", lambda x: x**3, complex_normal(X), lambda x: x**3, "complex", elementwise=True),
    _case("exp", complex_normal(X), label="complex"),
    _case("log", complex_normal(X), label="complex"),
    _case("sqrt", complex_normal(X), label="complex"),
    _case("sin", complex_normal(X), label="complex"),
    _case("cos", complex_normal(X), label="complex"),
    _case("tanh", complex_normal(X), label="complex"),
    _case("abs", complex_normal(X), label="complex"),
    _case("where", lambda rng: (rng.random(X) < 0.5, *complex_normal(X, X)(rng)), label="complex"),
]  # fmt: skip
