"""checkpoint: the same values and derivatives from less memory."""

import numpy as np
import pytest

import tinygrad_rnn as tg

W = np.random.default_rng(0).standard_normal((4, 4)) / 2
X = np.random.default_rng(1).standard_normal((2, 4))


def segment(h, w):
    for _ in range(3):
        h = tg.tanh(h @ w)
    return h


def net(wrap, w):
    h = tg.tensor(np.ones((2, 4)))
    for _ in range(4):
        h = wrap(segment)(h, w)
    return (h * h).sum()


def plain(f):
    return f


@pytest.mark.parametrize("transform", [tg.grad, lambda f: tg.grad(lambda w: (tg.grad(f)(w) ** 2).sum())])
def test_gradients_of_any_order_are_those_of_the_plain_function(transform):
    expected = transform(lambda w: net(plain, w))(W).numpy()
    np.testing.assert_allclose(transform(lambda w: net(tg.checkpoint, w))(W).numpy(), expected, rtol=1e-12, atol=1e-14)


def test_forward_mode_goes_through():
    V = np.ones((4, 4))
    a, b = (tg.jvp(lambda w, wrap=wrap: net(wrap, w), (W,), (V,)) for wrap in (plain, tg.checkpoint))
    assert a[0].item() == b[0].item() and a[1].item() == pytest.approx(b[1].item(), rel=1e-12)


def test_weights_that_the_function_reads_from_outside_get_their_gradients():
    w = tg.tensor(W, requires_grad=True)
    x = tg.tensor(np.ones((2, 4)))
    tg.checkpoint(lambda h: tg.tanh(h @ w))(x).sum().backward()
    found, w.grad = w.grad.numpy(), None
    tg.tanh(x @ w).sum().backward()
    np.testing.assert_allclose(found, w.grad.numpy())


def test_a_weight_read_beside_a_value_made_of_it_counts_once():
    def f(wrap, w):
        v = 3 * w
        return wrap(lambda x: x * w * v)(tg.tensor(1.5))

    assert tg.grad(lambda w: f(tg.checkpoint, w))(2.0).item() == tg.grad(lambda w: f(plain, w))(2.0).item() == 18


def test_second_derivatives_of_a_weight_that_several_stretches_read_are_those_of_the_plain_function():
    def loss(wrap, w, h):
        for _ in range(3):
            h = wrap(lambda h: tg.tanh(h @ w))(h)
        return (h * h).sum()

    found, expected = (tg.hvp(lambda w, h, f=f: loss(f, w, h), (W, X), (W[::-1], X)) for f in (tg.checkpoint, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


def test_only_the_arguments_are_kept():
    w = tg.tensor(W, requires_grad=True)
    y = tg.checkpoint(segment)(tg.tensor(np.ones((2, 4))), w)
    nodes = tg.Graph(y).nodes
    assert [n.op.name for n in nodes] == ["leaf", "checkpoint", "pick"]


def test_containers_and_constants_pass_through():
    f = tg.checkpoint(lambda p, k: {"a": p["x"] ** k, "b": [p["x"] * 2]})
    x = tg.tensor(3.0, requires_grad=True)
    out = f({"x": x}, 2)
    (out["a"] + out["b"][0]).backward()
    assert x.grad.item() == 8


def test_without_recording_it_is_the_function_itself():
    with tg.no_grad():
        assert not tg.checkpoint(lambda x: x * 2)(tg.tensor(1.0, requires_grad=True)).requires_grad


class Layer(tg.nn.Module):
    def __init__(self):
        self.w = tg.nn.parameter(W)

    def forward(self, x):
        return tg.tanh(x @ self.w)


def squared_slope(wrap):
    return lambda m: (tg.grad(lambda m: (wrap(lambda x: m(x))(tg.tensor(X)) ** 2).sum())(m)["w"] ** 2).sum()


def value_of_a_gradient(wrap):
    return lambda m: tg.value_and_grad(lambda m: (wrap(lambda x: m(x))(tg.tensor(X)) ** 2).sum())(m)[0]


@pytest.mark.parametrize("loss", [squared_slope, value_of_a_gradient])
def test_a_module_read_from_outside_gets_its_gradients_in_nested_transforms_too(loss):
    layer = Layer()
    expected = tg.grad(loss(plain))(layer)["w"].numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(tg.grad(loss(tg.checkpoint))(layer)["w"].numpy(), expected, rtol=1e-12)


def test_a_hessian_vector_product_of_a_module_goes_through():
    layer, v = Layer(), {"w": np.ones((4, 4))}
    loss = lambda wrap: lambda m: (wrap(lambda x: m(x))(tg.tensor(X)) ** 2).sum()  # noqa: E731
    expected, found = (tg.hvp(loss(wrap), (layer,), (v,))["w"].numpy() for wrap in (plain, tg.checkpoint))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_module_as_an_argument_stays_a_module():
    layer = Layer()
    tg.checkpoint(lambda m, x: m(x))(layer, tg.tensor(X)).sum().backward()
    expected = tg.grad(lambda m: m(tg.tensor(X)).sum())(layer)["w"]
    np.testing.assert_allclose(layer.w.grad.numpy(), expected.numpy(), rtol=1e-12)


def test_a_derivative_taken_inside_stays_tied_to_the_arguments():
    w = tg.tensor([2.0, 3.0], requires_grad=True)
    tg.checkpoint(lambda h: tg.grad(lambda z: (z**3).sum())(h).sum())(w).backward()
    assert w.grad.tolist() == [12, 18]  # d/dw 3w²


def test_keywords_and_outputs_that_are_no_floating_tensors_pass_through():
    x = tg.tensor([2.0, 1.0], requires_grad=True)
    y, three, at, nothing = tg.checkpoint(lambda x, *, k: (x**k, 3, tg.argmax(x), None))(x, k=2)
    assert (three, at.item(), nothing) == (3, 0, None) and not at.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [4, 2]


def test_a_function_that_reads_something_else_the_second_time_is_refused():
    w = [tg.tensor(2.0, requires_grad=True)]
    y = tg.checkpoint(lambda x: x * (w.pop() if w else 1.0))(tg.tensor(3.0, requires_grad=True))
    with pytest.raises(RuntimeError, match="read 0 tracked values from outside and returned 1, not 1 and 1 as before"):
        y.backward()


def test_the_second_run_is_tagged_like_the_first():
    scopes = []

    def f(x):
        scopes.append(str(tg.tanh(x).node.scope))
        return tg.tanh(x)

    with tg.scope("module", "cell"):
        y = tg.checkpoint(f)(tg.tensor(1.0, requires_grad=True))
    y.backward()
    assert scopes == ["cell", "cell"]
