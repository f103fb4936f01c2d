"""The declarers: what they refuse at import, what a declared op saves, and that its derivatives go on and on."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import declare


@pytest.fixture(autouse=True)
def a_registry_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "REGISTRY", dict(declare.REGISTRY))


def forward(x: Any) -> Any:
    return x * x


def two(a: Any, b: Any) -> Any:
    return a * b


# refused at import


@pytest.mark.parametrize(
    "declarer",
    [
        tg.elementwise("square2", lambda outt: 2 * outt),
        tg.linear("square2", lambda g, outt: g),
        tg.bilinear("square2", lambda g, outt: g),
        tg.primitive("square2", lambda g, outt: g),
        tg.primitive("square2", jvp=lambda g, outt: g),
    ],
    ids=["elementwise", "linear", "bilinear", "primitive", "jvp"],
)
def test_a_misspelt_rule_argument_fails_at_import_and_lists_the_names(declarer: Any) -> None:
    with pytest.raises(TypeError, match=r"rule of `square2` asks for `outt`; it may name .*out, x, out_shape, x_shape"):
        declarer(forward)
    assert "square2" not in declare.REGISTRY


def test_parameters_and_the_tangent_are_among_the_names_that_are_listed() -> None:
    with pytest.raises(TypeError, match=r"it may name t, g, out, x, out_shape, x_shape, alpha, beta$"):

        @tg.primitive("scaled", jvp=lambda t, gamma: t)
        def scaled(x: Any, *, alpha: float, beta: float = 1.0) -> Any:
            return alpha * x


@pytest.mark.parametrize(
    "declarer, forward, message",
    [
        (tg.elementwise("f"), forward, r"`f` takes \['x'\] but got 0 partial"),
        (tg.elementwise("f", 1, 1), forward, r"`f` takes \['x'\] but got 2 partial"),
        (tg.elementwise("f", 1), lambda *xs: xs[0], r"`f` takes \[\] but got 1 partial"),
        (tg.linear("f", lambda g: g, lambda g: g), forward, "`f` takes 1 arrays but got 2 rules"),
        (tg.bilinear("f", *[lambda g: g] * 3), two, "`f` takes 2 arrays but got 3 rules"),
        (tg.primitive("f", *[lambda g: g] * 2), forward, "`f` takes 1 arrays but got 2 rules"),
        (tg.primitive("f", jvp=[lambda t: t] * 2), forward, "`f` takes 1 arrays but got 2 jvp rules"),
        (tg.elementwise("f", 1), lambda x, alpha=1.0: x, r"`f`: alpha has a default, .* write it after a \*"),
        (tg.elementwise("f", 1, 1), lambda x, g: x, "`f`: in rules `g` means the cotangent"),
        (tg.elementwise("my op", 1), forward, "`my op` is not a name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_declaration_that_does_not_fit_its_forward_function_is_refused(
    declarer: Any, forward: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        declarer(forward)


# what is declared is an op like any other


def test_an_op_of_two_lines_has_derivatives_of_every_order() -> None:
    @tg.elementwise("gaussian", lambda x, out: -x * out)
    def gaussian(xp: Any, x: Any) -> Any:
        """e^(−x²/2)."""
        return xp.exp(-x * x / 2)

    x = np.linspace(-2, 2, 5)
    derivative: Any = lambda x: gaussian(x).sum()  # noqa: E731
    for hermite in (-x, x**2 - 1, 3 * x - x**3):
        derivative = (lambda f: lambda x: tg.grad(f)(x).sum())(derivative)
        values = tg.jvp(lambda x, f=derivative: f(x), (x,), (np.zeros(5),))[0]
        assert values.item() == pytest.approx((hermite * np.exp(-x * x / 2)).sum(), abs=1e-12)
    tg.gradcheck(gaussian, x, order=3)


def test_the_function_is_called_as_its_forward_is_written() -> None:
    @tg.elementwise("scaled", lambda alpha: alpha)
    def scaled(x: Any, *, alpha: float = 2.0) -> Any:
        """α x."""
        return alpha * x

    assert (scaled.__name__, scaled.__doc__, scaled.__module__) == ("scaled", "α x.", __name__)
    assert repr(scaled.op) == "<op scaled (elementwise)>" and declare.REGISTRY["scaled"] is scaled.op
    x = tg.tensor(3.0, requires_grad=True)
    assert [scaled(x).item(), scaled(x, alpha=5.0).item()] == [6, 15]
    assert tg.grad(lambda x: scaled(x, alpha=5.0))(x).item() == 5
    assert scaled(x, alpha=5.0).node.params == {"alpha": 5.0}
    with pytest.raises(TypeError):
        scaled(x, 5.0)


def test_on_raw_arrays_an_op_returns_a_raw_array_and_records_nothing() -> None:
    assert type(tg.tanh(np.ones(2))) is np.ndarray
    assert type(tg.tanh(tg.tensor([1.0]))) is tg.Tensor


def test_a_numpy_number_as_partial_keeps_float32() -> None:
    twice = tg.elementwise("twice", np.float64(2))(lambda x: x + x)
    y = twice(tg.tensor([1.0], requires_grad=True))
    (g,) = (rule(np.ones(1, np.float32), (), {}) for rule in y.node.op.vjp)
    assert g.dtype == np.float32 and g == 2


def test_an_argument_of_a_linear_op_may_be_a_number() -> None:
    mid = tg.linear("mid", lambda g: g / 2, lambda g: g / 2)(lambda a, b: (a + b) / 2)
    tg.gradcheck(lambda x: mid(x, 1.0), np.arange(3.0))
    tg.gradcheck(lambda x: mid(1.0, x), np.arange(3.0))
    tg.gradcheck(mid, np.arange(3.0), np.ones((2, 1)))


def test_an_op_without_jvp_says_so_when_one_is_asked_for() -> None:
    f = tg.primitive("square2", lambda g, x: 2 * g * x)(forward)
    assert tg.grad(f)(tg.tensor(3.0)).item() == 6
    with pytest.raises(TypeError, match="`square2` has no jvp rule; declare one"):
        tg.jvp(f, (tg.tensor(3.0),), (1.0,))


def test_no_derivative_passes_through_a_constant_op() -> None:
    rounded = tg.constant("rounded")(lambda xp, x: xp.round(x))
    assert rounded(tg.tensor(1.2, requires_grad=True)).node is None


# what is saved


def saved(t: tg.Tensor) -> dict[str, Any]:
    return dict(zip(t.node.op.slots, t.node.saved, strict=True))


X = tg.tensor([1.0, 2.0], requires_grad=True)
W = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
C = np.array([3.0, 4.0], np.float32)

SAVED = {
    "add keeps nothing": (lambda: X + X, {}),
    "sub keeps nothing": (lambda: X - 1.0, {}),
    "tanh keeps its output": (lambda: tg.tanh(X), {"out": "out"}),
    "sigmoid keeps its output": (lambda: tg.sigmoid(X), {"out": "out"}),
    "log keeps its argument": (lambda: tg.log(X), {"x": X.data}),
    "mul keeps both factors": (lambda: X * X, {"b": X.data, "a": X.data}),
    "mul by a constant keeps the constant alone": (lambda: X * C, {"b": C, "a": None}),
    "a constant times x keeps the constant alone": (lambda: tg.mul(2.0, X), {"b": None, "a": 2.0}),
    "matmul by a constant keeps the constant and shapes": (
        lambda: tg.matmul(C, W),
        {"b": None, "a_shape": (2,), "b_shape": (2, 2), "a": C},
    ),
    "sum keeps a shape": (lambda: X.sum(), {"x_shape": (2,)}),
    "reshape keeps a shape": (lambda: X.reshape(2, 1), {"x_shape": (2,)}),
    "where keeps the condition": (lambda: tg.where(C > 3, X, 0.0), {"condition": C > 3}),
}


@pytest.mark.parametrize("call, expected", SAVED.values(), ids=SAVED)
def test_nothing_but_what_the_rules_name_is_kept(call: Any, expected: dict[str, Any]) -> None:
    y = call()
    kept = saved(y)
    assert kept.keys() == expected.keys()
    for slot, value in kept.items():
        want = y.data if isinstance(expected[slot], str) else expected[slot]
        assert value is want or (np.asarray(value) == np.asarray(want)).all()
        assert not isinstance(value, tg.Tensor)


def test_an_array_that_no_rule_names_dies_at_once() -> None:
    x = tg.tensor(np.ones(4), requires_grad=True)
    gc.disable()
    try:
        middle = x + 1.0
        array = weakref.ref(middle.data)
        y = tg.tanh(middle)
        del middle
        assert array() is None
        y.sum().backward()
    finally:
        gc.enable()


@pytest.mark.parametrize("scalars", [True, False])
def test_nothing_is_recorded_without_need(scalars: bool) -> None:
    x = tg.tensor([1.0], requires_grad=not scalars)
    with tg.no_grad():
        assert tg.tanh(x).node is None
    assert (tg.tanh(x).node is None) == scalars


# variadic ops, several outputs


def test_a_variadic_op_has_one_rule_for_all_its_cotangents() -> None:
    @tg.linear("total", lambda g, xs_shape: [g] * len(xs_shape))
    def total(*xs: Any) -> Any:
        return sum(xs[1:], xs[0])

    a, b, c = np.ones((2, 3)), np.arange(3.0), np.full((2, 1), 2.0)
    tg.gradcheck(total, a, b, c)
    assert [g.shape for g in tg.vjp(total, a, b, c)[1](a)] == [(2, 3), (3,), (2, 1)]
    x = tg.tensor(b, requires_grad=True)
    total(a, x, c).sum().backward()  # constants among the arguments
    assert x.grad.tolist() == [2, 2, 2]


def product_of_others(g: Any, xs: Any) -> list[Any]:
    return [g * math.prod((x for j, x in enumerate(xs) if j != i), start=1.0) for i in range(len(xs))]


def test_a_variadic_nonlinear_op_with_leading_arguments_and_parameters() -> None:
    @tg.primitive(
        "scaled_product",
        lambda g, xs, power: g * power * math.prod(xs[1:], start=xs[0]),
        lambda g, scale, xs, power: product_of_others(g * scale * power, xs),
        jvp=[None, lambda t, scale, xs, power: power * (
            (0.0 if t[0] is None else t[0] * math.prod(xs[1:], start=xs[0]))
            + sum(scale * d * dx for d, dx in zip(product_of_others(1.0, xs), t[1:], strict=True) if dx is not None)
        )],
    )  # fmt: skip
    def scaled_product(scale: Any, *xs: Any, power: float = 1.0) -> Any:
        return power * scale * math.prod(xs[1:], start=xs[0])

    a, b, c = np.array([1.0, 2.0]), np.array([3.0, -1.0]), np.array([0.5, 4.0])
    tg.gradcheck(lambda s, *xs: scaled_product(s, *xs, power=3.0), 2.0, a, b, c)
    tg.gradcheck(lambda x: scaled_product(2.0, x, b, x), a)


def polar_vjp_r(g: Any, angle: Any) -> Any:
    parts = [None if g[0] is None else g[0] * tg.cos(angle), None if g[1] is None else g[1] * tg.sin(angle)]
    return sum(p for p in parts if p is not None)


def polar_vjp_angle(g: Any, out: Any) -> Any:
    x, y = out
    parts = [None if g[0] is None else -g[0] * y, None if g[1] is None else g[1] * x]
    return sum(p for p in parts if p is not None)


@pytest.fixture
def polar() -> Any:
    """(r, angle) ↦ (x, y): two outputs, a rule that reads them, unused cotangents that come as None."""

    @tg.primitive(
        "polar", polar_vjp_r, polar_vjp_angle, many=True,
        jvp=[lambda t, angle: (t * tg.cos(angle), t * tg.sin(angle)), lambda t, out: (-t * out[1], t * out[0])],
    )  # fmt: skip
    def polar(xp: Any, r: Any, angle: Any) -> tuple[Any, Any]:
        return r * xp.cos(angle), r * xp.sin(angle)

    return polar


R, ANGLE = np.array([1.0, 2.0, 0.5]), np.array([0.3, -1.0, 2.0])


@pytest.mark.parametrize("angle", [ANGLE, np.array(0.3), np.array([[0.3], [1.0]])], ids=["same", "0-d", "column"])
@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)], ids=str)
def test_an_op_with_two_outputs_has_derivatives_of_every_order(polar: Any, angle: Any, used: tuple[int, ...]) -> None:
    tg.gradcheck(lambda r, angle: [polar(r, angle)[i] for i in used], R, angle, order=3)


def test_the_outputs_of_one_op_are_picks_of_one_node(polar: Any) -> None:
    x, y = polar(tg.tensor(R, requires_grad=True), ANGLE)
    assert x.node.inputs == y.node.inputs and [t.node.params["index"] for t in (x, y)] == [0, 1]
    (node,) = x.node.inputs
    assert node.shape == ((3,), (3,)) and node.dtype == (np.float64, np.float64)


# errors of calls


def test_an_error_shows_the_op_the_place_the_shapes_and_the_way_out() -> None:
    a, b = tg.zeros((8, 20)), tg.zeros((32, 64))
    with tg.scope("module", "decoder"), tg.scope("time", index=3), pytest.raises(ValueError) as error:
        a @ b
    assert str(error.value) == (
        "matmul at decoder/t=3: (8, 20) float32, (32, 64) float32; inner sizes 20 and 32 differ"
    )


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: X @ 2.0, ValueError, r"matmul: \(2,\) float32, 2.0; .* multiply by a number with \*"),
        (lambda: X + np.ones(3), ValueError, r"add: \(2,\) float32, \(3,\) float64; .*broadcast"),
        (lambda: tg.concatenate([X, W], axis=0), ValueError, r"concatenate: \(2,\) float32, \(2, 2\) float32; "),
        (lambda: X.max(axis=3), ValueError, r"max: \(2,\) float32; axis 3 is out of bounds"),
        (lambda: tg.softmax(np.arange(3)), ValueError, r"softmax: \(3,\) int64; "),
        (lambda: tg.topk(X, 3), ValueError, r"topk: \(2,\) float32; k = 3, but axis -1 has 2 entries"),
        (lambda: tg.norm(X, 3), ValueError, r"norm: \(2,\) float32; ord = 3 is not 1, 2 or inf"),
    ],
    ids=["number", "shapes", "variadic", "axis", "dtype", "topk", "norm"],
)
def test_errors_name_the_op_and_the_shapes(call: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("op", [tg.add, tg.matmul, tg.maximum, lambda a, b: tg.concatenate([a, b])])
def test_arrays_of_two_devices_are_not_mixed(op: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"live on different devices .*; move one with \.to\(device\)"):
        op(tg.tensor(R), tg.tensor(R, device="strict"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: tg.transpose(W, (0, 2)),
        lambda: tg.swapaxes(W, 0, 2),
        lambda: tg.moveaxis(W, 0, 2),
        lambda: tg.squeeze(W, 2),
        lambda: tg.expand_dims(X, 2),
        lambda: tg.concatenate([W, W], 2),
        lambda: tg.stack([X, X], 2),
        lambda: tg.split(W, 2, axis=2),
        lambda: tg.unstack(W, 2),
        lambda: tg.flip(W, 2),
        lambda: tg.prod(W, 2),
        lambda: tg.var(W, 2),
    ],
)
def test_no_axis_is_wrapped_around(call: Any) -> None:
    with pytest.raises(ValueError, match=r"^\w+: \(2.*axis 2 is out of bounds for array of dimension [12]"):
        call()


def test_floating_point_errors_that_numpy_was_told_to_raise_stay_what_they_are() -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=r"log: \(\) float32; divide by zero"):
        tg.log(tg.tensor(0.0))
