"""grad, vjp, jvp, hvp, jacobian, hessian: values, nesting, containers, modules."""

import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg


class Pair(NamedTuple):
    a: object
    b: object


class Net:
    """A module as the transforms see one: a container of trainable Tensors by path."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.w = tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)
        self.b = tg.tensor(rng.standard_normal(3), requires_grad=True)

    def parameters_by_path(self):
        return {"w": self.w, "b": self.b}

    def __call__(self, x):
        return tg.tanh(x @ self.w + self.b)


X = np.random.default_rng(5).standard_normal((4, 3))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_grad_nests_to_any_order(order):
    f = tg.sin
    for _ in range(order):
        f = tg.grad(f)
    expected = [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)][order % 4]
    assert f(np.float64(0.7)).item() == pytest.approx(expected(0.7), abs=1e-14)


def test_the_structure_of_a_gradient_is_that_of_its_argument():
    f = lambda p: (p["x"].a * p["x"].b).sum() + p["y"][0] ** 2  # noqa: E731
    g = tg.grad(f)({"x": Pair(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])), "y": (5.0, None)})
    assert isinstance(g["x"], Pair) and g["x"].a.tolist() == [3, 4] and g["x"].b.tolist() == [1, 2]
    assert g["y"][0].item() == 10 and g["y"][1] is None


def test_grad_leaves_the_grad_fields_alone_and_the_arguments_unchanged():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    node = x.node
    tg.grad(lambda x: (x * x).sum())(x)
    assert x.grad is None and x.node is node


def test_argnums_choose_the_arguments():
    f = lambda a, b: a * b * b  # noqa: E731
    assert tg.grad(f, 1)(2.0, 3.0).item() == 12
    assert [g.item() for g in tg.grad(f, (0, 1))(2.0, 3.0)] == [9, 12]


def test_has_aux_returns_what_the_function_adds():
    (value, aux), gradient = tg.value_and_grad(lambda x: (x * x, "extra"), has_aux=True)(3.0)
    assert (value.item(), aux, gradient.item()) == (9, "extra", 6)


def test_the_gradient_of_a_module_is_a_dict_by_path():
    net = Net()
    g = tg.grad(lambda m: m(X).sum())(net)
    assert set(g) == {"w", "b"} and g["w"].shape == (3, 3) and not g["w"].requires_grad
    net(X).sum().backward()
    np.testing.assert_allclose(g["w"].numpy(), net.w.grad.numpy())


def test_a_module_inside_a_container_is_differentiated_too():
    net = Net()
    g = tg.grad(lambda p: (p["net"](X) * p["scale"]).sum())({"net": net, "scale": 2.0})
    assert g["net"]["b"].shape == (3,)
    assert g["scale"].item() == pytest.approx(net(X).sum().item(), rel=1e-6)


def test_nested_gradients_of_a_module_lose_nothing():
    net = Net()

    def penalty(m):
        g = tg.grad(lambda m: (m(X) ** 2).sum())(m)
        return (g["w"] * g["w"]).sum() + (g["b"] * g["b"]).sum()

    gradient = tg.grad(penalty)(net)["w"].numpy()
    eps = 1e-6
    direction = np.random.default_rng(1).standard_normal((3, 3))
    original = net.w.data
    values = []
    for sign in (1, -1):
        net.w.data = original + sign * eps * direction
        values.append(penalty(net).item())
    net.w.data = original
    assert (gradient * direction).sum() == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-6)


def test_a_gradient_inside_a_loss_reaches_the_closed_over_weights():
    w = tg.tensor(np.array([2.0, 3.0]), requires_grad=True)
    slope = tg.grad(lambda x: (w * x * x).sum())(tg.tensor(np.array([1.0, 1.0])))
    (slope * slope).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [16.0, 24.0])  # slope = 2wx, d/dw Σ(2wx)² = 8wx²


def test_a_first_order_gradient_is_not_recorded():
    assert not tg.grad(lambda x: x * x)(3.0).requires_grad


def test_perturbations_of_nested_transforms_are_not_confused():
    # d/dx [x · d/dy (x + y)] at x = 1 is 1; an engine that mixes the two levels says 2
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(2.0))(1.0).item() == 1
    assert tg.jvp(lambda x: x * tg.jvp(lambda y: x + y, (2.0,), (1.0,))[1], (1.0,), (1.0,))[1].item() == 1


def test_a_pullback_can_be_used_again():
    _, pullback = tg.vjp(lambda x: x * x, tg.tensor([1.0, 2.0]))
    assert pullback([1.0, 0.0])[0].tolist() == [2, 0] and pullback([0.0, 1.0])[0].tolist() == [0, 4]


def test_vjp_and_jvp_of_containers_agree():
    f = lambda p: {"s": p[0] @ p[1], "t": tg.exp(p[1])}  # noqa: E731
    rng = np.random.default_rng(0)
    p, v = ((rng.standard_normal((2, 3)), rng.standard_normal((3, 2))) for _ in range(2))
    out, pullback = tg.vjp(f, p)
    u = {k: rng.standard_normal(o.shape) for k, o in out.items()}
    _, tangent = tg.jvp(f, (p,), (v,))
    left = sum((u[k] * tangent[k].numpy()).sum() for k in u)
    right = sum((a * g.numpy()).sum() for a, g in zip(v, pullback(u)[0], strict=True))
    assert left == pytest.approx(right, rel=1e-12)


def test_outputs_that_do_not_depend_on_the_primals_have_zero_derivatives():
    assert tg.grad(lambda x: tg.tensor(1.0) * 2)(tg.tensor([1.0, 2.0])).tolist() == [0, 0]
    assert tg.jvp(lambda x: tg.tensor(1.0), (3.0,), (1.0,))[1].item() == 0


@given(st.integers(1, 4), st.integers(0, 1000))
def test_hvp_is_the_hessian_times_the_vector_and_the_hessian_is_symmetric(n, seed):
    rng = np.random.default_rng(seed)
    A, x, v = rng.standard_normal((n, n)), rng.standard_normal(n), rng.standard_normal(n)
    f = lambda x: tg.sin(x @ A @ x)  # noqa: E731
    H = tg.hessian(f)(x).numpy()
    np.testing.assert_allclose(H, H.T, atol=1e-10)
    np.testing.assert_allclose(tg.hvp(f, (x,), (v,)).numpy(), H @ v, atol=1e-10)


def test_forward_over_reverse_equals_reverse_over_reverse_through_a_recurrence():
    rng = np.random.default_rng(0)
    W, v = rng.standard_normal((4, 4)) / 2, rng.standard_normal((4, 4))

    def loss(W):
        h = tg.tensor(np.ones((2, 4)))
        for t in tg.steps(6):
            h = tg.tanh(h @ W + 0.1 * t)
        return (h * h).sum()

    forward = tg.hvp(loss, (W,), (v,)).numpy()
    reverse = tg.grad(lambda W: (tg.grad(loss)(W) * v).sum())(W).numpy()
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-13)


def test_the_jacobian_stacks_one_row_per_output():
    A = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(tg.jacobian(lambda x: A @ x)(np.ones(3)).numpy(), A)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tg.grad(lambda x: x)(tg.tensor([1.0, 2.0])), ValueError, "needs a scalar"),
        (lambda: tg.grad(lambda x: x)(3), TypeError, "nothing to differentiate"),
        (lambda: tg.jvp(tg.sin, (tg.tensor([1.0]),), (tg.tensor([1.0, 2.0]),)), ValueError, r"shape \(2,\).*\(1,\)"),
        (lambda: tg.jvp(tg.sin, (1.0,), (1.0, 2.0)), ValueError, "2 tangents for 1 primals"),
        (lambda: tg.vjp(lambda x: (x, x), 1.0)[1](1.0), ValueError, "the cotangent is built as"),
        (lambda: tg.jacobian(lambda x: (x, x))(1.0), TypeError, "one array"),
    ],
)
def test_misuse_is_explained(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("place", [lambda m: [m, m], lambda m: {"net": m, "w": m.w}])
def test_a_module_that_comes_twice_is_left_as_it_was(place):
    net = Net()
    node = net.w.node
    inner = lambda s: s * tg.grad(lambda p: tg.tree.leaves(p)[0].sum())(place(net))  # noqa: E731
    with pytest.raises(TypeError):
        tg.grad(inner)(2.0)
    assert net.w.node is node


def test_a_module_is_left_as_it_was_when_another_argument_is_refused():
    net = Net()
    node = net.w.node
    with pytest.raises(TypeError, match="takes numbers"):
        tg.grad(lambda s: tg.grad(lambda m, x: m(X).sum(), (0, 1))(net, np.array("no number")))(2.0)
    assert net.w.node is node


def test_tangents_are_matched_to_their_primals_by_structure():
    f = lambda p: 2 * p["a"]  # noqa: E731
    p = {"a": tg.tensor(1.0), "b": tg.tensor(1.0)}
    assert tg.jvp(f, (p,), ({"a": 1.0, "b": 0.0},))[1].item() == 2
    with pytest.raises(ValueError, match=r"a tangent is built as {'b': \*, 'a': \*}, its primal as {'a': \*, 'b': \*}"):
        tg.jvp(f, (p,), ({"b": 1.0, "a": 0.0},))
    with pytest.raises(ValueError, match="got 2 tangents for 1 primals"):
        tg.jvp(f, (p,), (p, p))


def test_none_stands_for_a_container_that_does_not_move():
    f = lambda x, p: x * p["a"] * p["b"]  # noqa: E731
    assert tg.jvp(f, (2.0, {"a": 3.0, "b": 4.0}), (1.0, None))[1].item() == 12
    assert tg.jvp(lambda x, y: 2 * x, (1.0, None), (1.0, None))[1].item() == 2


def test_tangents_handed_out_share_nothing():
    v = np.ones(3)
    for f in (lambda x: (x, x), lambda x: (2 * x,) * 2):
        a, b = tg.jvp(f, (np.zeros(3),), (v,))[1]
        assert a.data is not b.data and a.data is not v and b.data is not v


def test_detach_stops_tangents_and_derivatives_of_every_order():
    f = lambda x: x * x * tg.detach(x)  # noqa: E731
    x = tg.tensor(3.0)
    assert tg.jvp(tg.detach, (x,), (1.0,))[1].item() == 0
    assert tg.jvp(f, (x,), (1.0,))[1].item() == 18
    assert tg.hvp(f, (x,), (1.0,)).item() == 6
    assert tg.grad(lambda x: x * tg.grad(lambda y: y**3)(tg.detach(x)))(x).item() == 27


def test_zeros_of_an_unused_argument_live_where_it_lives():
    g = tg.grad(lambda x, y: y.to("strict").sum(), (0, 1))(np.ones(2), np.ones(2))
    assert [t.device for t in g] == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tg.grad(lambda x: x, 1)(1.0), IndexError, r"argnums \(1,\): .* called with 1 positional"),
        (lambda: tg.grad(lambda x: x)("a"), TypeError, "nothing to differentiate"),
        (lambda: tg.grad(lambda x: (x, x))(1.0), TypeError, r"returned \(\*, \*\): a gradient needs one scalar"),
        (lambda: tg.grad(lambda x: None)(1.0), TypeError, "returned None: a gradient needs one scalar"),
        (lambda: tg.grad(lambda x: x, has_aux=True)(1.0), TypeError, r"a pair \(scalar, anything\), not tensor"),
        (lambda: tg.jvp(lambda x: x, 1.0, 1.0), TypeError, r"jvp\(f, \(x,\), \(v,\)\)"),
        (lambda: tg.hvp(lambda x: x, np.ones(2), np.ones(2)), TypeError, r"hvp\(f, \(x,\), \(v,\)\)"),
        (lambda: tg.grad(lambda z: z * z)(1j), ValueError, "the output is complex: a gradient needs a real scalar"),
        (
            lambda: tg.jvp(lambda x: x, (np.ones(2),), (tg.tensor(np.ones(2), device="strict"),)),
            ValueError,
            r"a tangent is on strict, its primal on cpu; move one with \.to\(device\)",
        ),
        (
            lambda: tg.vjp(lambda x: x, np.ones(2))[1](tg.tensor(np.ones(2), device="strict")),
            ValueError,
            r"the cotangent is on strict, the output on cpu; move one with \.to\(device\)",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


W = tg.tensor(np.eye(3), requires_grad=True)
F = {
    "grad": lambda: tg.grad(lambda x: (tg.tanh(x @ W) ** 2).sum())(X),
    "vjp value": lambda: tg.vjp(lambda x: tg.tanh(x @ W), X)[0],
    "pullback": lambda: tg.vjp(lambda x: tg.tanh(x @ W), X)[1](X)[0],
    "jvp": lambda: tg.jvp(lambda x: tg.tanh(x @ W), (X,), (X,))[1],
    "hvp": lambda: tg.hvp(lambda x: (tg.tanh(x @ W) ** 2).sum(), (X,), (X,)),
    "jacobian": lambda: tg.jacobian(lambda x: tg.tanh(x @ W))(X),
    "checkpoint": lambda: tg.checkpoint(lambda x: tg.tanh(x @ W))(tg.tensor(X)),
    "scan": lambda: tg.scan(lambda h, x: (tg.tanh(x + h @ W), h), tg.tensor(np.ones(3)), tg.tensor(X))[1],
}


@pytest.mark.parametrize("make", F.values(), ids=F)
def test_what_a_transform_records_dies_by_refcount(make):
    gc.collect()
    gc.disable()
    try:
        result = make()
        node = weakref.ref(result.node)
        del result
        assert node() is None
    finally:
        gc.enable()


def test_what_a_transform_does_not_record_dies_when_it_returns():
    inner = []

    def f(x):
        y = tg.tanh(x)
        inner.append(weakref.ref(y.node))
        return y.sum()

    gc.disable()
    try:
        tg.value_and_grad(f)(X)
        assert inner[0]() is None
    finally:
        gc.enable()


def test_a_derivative_can_be_differentiated_by_what_it_is_applied_to():
    cube = lambda x: x**3  # noqa: E731
    assert tg.grad(lambda v: tg.jvp(cube, (2.0,), (v,))[1] ** 2)(1.0).item() == 288  # (12 v)²
    g = tg.grad(lambda v: tg.vjp(cube, 2.0)[1](v)[0] ** 2)(1.0)
    assert g.item() == 288 and not g.requires_grad
    _, pullback = tg.vjp(cube, 2.0)
    assert tg.jvp(lambda v: pullback(v)[0], (1.0,), (1.0,))[1].item() == 12
    v = tg.tensor(1.0, requires_grad=True)
    pullback(v)[0].backward()
    assert v.grad.item() == 12 and not pullback(1.0)[0].requires_grad
