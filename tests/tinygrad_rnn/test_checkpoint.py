"""checkpoint: the same values and derivatives from less memory."""

import numpy as np
import pytest

import tinygrad_rnn as tg

W = np.random.default_rng(0).standard_normal((4, 4)) / 2


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
