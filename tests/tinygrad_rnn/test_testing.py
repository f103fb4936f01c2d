"""gradcheck passes what is right, at every order, and names what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.op import REGISTRY

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 2))
Z = RNG.standard_normal(3) + 1j * RNG.standard_normal(3)

RIGHT = {
    "one array": (lambda x: tg.tanh(x).sum(), (A,)),
    "several arrays and outputs": (lambda a, b: (a @ b, {"c": a * a}), (A, B)),
    "nested containers": (lambda p: p["w"][0] @ p["w"][1] * p["scale"], ({"w": [A, B], "scale": 2.0},)),
    "numbers": (lambda x: x**3, (2.0,)),
    "complex": (lambda z: tg.exp(z) * z.conj(), (Z,)),
    "integers are held fixed": (lambda x, n: x * n, (A, np.arange(3))),
    "integer outputs": (lambda x: (tg.argmax(x), tg.max(x)), (A,)),
    "a linear function": (lambda x: 3.0 * x, (A,)),
    "a constant function": (lambda x: tg.sign(x), (A,)),
    "large values, small derivative": (lambda x: 1e5 + x, (A,)),
    "a grad inside": (lambda x: tg.grad(lambda y: (y**3).sum())(x), (A,)),
}


@pytest.mark.parametrize("f, inputs", RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_derivatives_pass(f: Any, inputs: tuple, order: int) -> None:
    tg.gradcheck(f, *inputs, order=order)


def test_arrays_of_any_device_are_checked_there(device: str) -> None:
    tg.gradcheck(lambda x, z: (tg.tanh(x), tg.abs(z)), tg.tensor(A, device=device), tg.tensor(Z, device=device))


def test_the_parameters_of_a_module_are_checked_by_path_and_left_as_they_were() -> None:
    layer = tg.nn.Linear(3, 2).astype("float64")
    before = [p.data for p in layer.parameters()]
    tg.gradcheck(lambda layer, x: layer(x), layer, A)
    with pytest.raises(AssertionError, match=r"input 0\.\w+ "):
        tg.gradcheck(lambda layer, x: tg.detach(layer(x)) * layer(x), layer, A)
    assert all(p.data is data for p, data in zip(layer.parameters(), before, strict=True))


@pytest.fixture
def wrong(request: pytest.FixtureRequest) -> Any:
    """x ↦ x² by an op whose rules are given; forgotten afterwards."""
    vjp, jvp = request.param
    yield tg.primitive("wrong", vjp, jvp=jvp)(lambda x: x * x)
    del REGISTRY["wrong"]


def right(g: Any, x: Any) -> Any:
    return g * 2 * x


def by_three(g: Any, x: Any) -> Any:
    return g * 3 * x


def not_recorded(g: Any, x: Any) -> Any:
    return g * 2 * tg.detach(x)


def slightly_off(g: Any, x: Any) -> Any:
    return g * (2 + 1e-9) * x


@pytest.mark.parametrize(
    "wrong, message",
    [
        ((by_three, right), "order 1: the derivative by input 1 is .* by vjp but .* by central differences"),
        ((right, by_three), "order 1: the derivative by input 1 is .* by jvp but .* by central differences"),
        ((by_three, by_three), "order 1: .* by vjp but .* by central differences"),
        ((slightly_off, right), "order 1: .* by vjp but .* by jvp"),
        ((not_recorded, right), "order 2: .* input 1 is .* by vjp but .* by central differences"),
        ((right, not_recorded), "order 2: .* input 1 is .* by vjp but .* by central differences"),
    ],
    indirect=["wrong"],
    ids=["vjp", "jvp", "both", "slightly", "vjp not differentiable", "jvp not differentiable"],
)
def test_a_wrong_rule_is_named_with_both_numbers(wrong: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        tg.gradcheck(lambda a, b: (a, wrong(b)), A, B)


@pytest.mark.parametrize(
    "given, message",
    [
        ((A, A.astype("float32")), "input 1 is float32"),
        (({"w": [A, Z.astype("complex64")]},), r"input 0\['w'\]\[1\] is complex64"),
        ((tg.tensor([1.0, 2.0]),), "give float64 or complex128"),
    ],
    ids=["array", "nested", "tensor"],
)
def test_single_precision_is_refused_by_name(given: tuple, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tg.gradcheck(lambda *xs: tg.tree.leaves(xs), *given)


def test_a_random_function_is_refused() -> None:
    rng = tg.random.Generator(0)
    with pytest.raises(AssertionError, match="two calls of f differ"):
        tg.gradcheck(lambda x: x * rng.normal(x.shape, dtype="float64"), A)


def test_a_function_without_floating_output_is_refused() -> None:
    with pytest.raises(TypeError, match="nothing floating"):
        tg.gradcheck(tg.argmax, A)


def test_nan_is_no_agreement() -> None:
    with pytest.raises(AssertionError, match="nan"), np.errstate(invalid="ignore"):
        tg.gradcheck(lambda x: tg.sqrt(x - 10.0), A)
