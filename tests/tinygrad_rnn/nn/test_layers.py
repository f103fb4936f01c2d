"""Layers: values and gradients as in torch, on every device, and what dropout draws."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.random import Generator

LAYERS = {
    "Linear": lambda: nn.Linear(5, 3, rng=Generator(1)),
    "Linear without bias": lambda: nn.Linear(5, 3, bias=False, rng=Generator(1)),
    "Embedding": lambda: nn.Embedding(7, 5, rng=Generator(1)),
    "LayerNorm": lambda: nn.LayerNorm(5, eps=1e-3),
    "LayerNorm without bias": lambda: nn.LayerNorm(5, eps=1e-3, bias=False),
    "RMSNorm": lambda: nn.RMSNorm(5, eps=1e-3),
}


def _torch_layer(torch, name, layer):
    make = {
        "Linear": lambda: torch.nn.Linear(5, 3),
        "Linear without bias": lambda: torch.nn.Linear(5, 3, bias=False),
        "Embedding": lambda: torch.nn.Embedding(7, 5),
        "LayerNorm": lambda: torch.nn.LayerNorm(5, eps=1e-3),
        "LayerNorm without bias": lambda: torch.nn.LayerNorm(5, eps=1e-3, bias=False),
        "RMSNorm": lambda: torch.nn.RMSNorm(5, eps=1e-3),
    }
    reference = make[name]().double()
    with torch.no_grad():
        for key, p in reference.named_parameters():
            value = layer.state_dict()[key]
            p.copy_(torch.from_numpy(value.T if name.startswith("Linear") else value))
    return reference


def _made(name):
    layer = LAYERS[name]().astype("float64")
    rng = np.random.default_rng(2)
    for p in layer.parameters():
        p.data = p.data + rng.standard_normal(p.shape)  # not 1 and 0, which would hide a mistake
    return layer


def _input(name):
    if name == "Embedding":
        return np.array([[1, 6, 1], [0, 1, 3]])
    return np.random.default_rng(4).standard_normal((2, 3, 5))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_torchs_in_value_and_gradients(name):
    torch = pytest.importorskip("torch", reason="the reference for layers")
    layer, x = _made(name), _input(name)
    reference = _torch_layer(torch, name, layer)
    there = reference(torch.from_numpy(x))
    weights = np.random.default_rng(5).standard_normal(tuple(there.shape))
    (there * torch.from_numpy(weights)).sum().backward()
    value, gradient = tg.value_and_grad(lambda layer: (layer(tg.tensor(x)) * weights).sum())(layer)
    assert value.item() == pytest.approx((there.detach().numpy() * weights).sum(), rel=1e-12)
    assert set(gradient) == {key for key, _ in reference.named_parameters()}
    for key, p in reference.named_parameters():
        expected = p.grad.numpy().T if name.startswith("Linear") else p.grad.numpy()
        np.testing.assert_allclose(gradient[key].numpy(), expected, rtol=1e-12, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Embedding"])
def test_the_gradient_of_a_layers_input_agrees_with_central_differences(name):
    layer, x = _made(name), _input(name)
    weights = np.random.default_rng(6).standard_normal(layer(tg.tensor(x)).shape)
    v = np.cos(np.arange(30)).reshape(x.shape)

    def f(x):
        return (layer(x) * weights).sum()

    slope = (tg.grad(f)(tg.tensor(x)).numpy() * v).sum()
    difference = (f(tg.tensor(x + 1e-6 * v)).item() - f(tg.tensor(x - 1e-6 * v)).item()) / 2e-6
    assert slope == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize("name", [*LAYERS, "Dropout"])
def test_a_layer_gives_the_same_on_every_device(name, device):
    here = nn.Dropout(0.5, rng=Generator(1)) if name == "Dropout" else LAYERS[name]()
    there = copy.deepcopy(here).to(device)
    x = _input(name)
    x = x if name == "Embedding" else x.astype("float32")

    def loss(layer, x):
        return (layer(x) ** 2).sum()

    argnums = (0, 1) if name not in ("Dropout", "Embedding") else 1 if name == "Dropout" else 0
    expected = tg.value_and_grad(loss, argnums)(here, tg.tensor(x))
    got = tg.value_and_grad(loss, argnums)(there, tg.tensor(x, device=device))
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(expected), strict=True):
        assert a.device == device
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_float32(name):
    layer, x = LAYERS[name](), _input(name)
    out = layer(tg.tensor(x, dtype=None if name == "Embedding" else "float32"))
    assert out.dtype == np.float32
    out.sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {np.dtype("float32")}


def test_layers_that_are_handed_the_same_stream_under_other_names_start_different():
    rng = Generator(0)
    a, b, again = (nn.Linear(4, 4, rng=rng.fork(name)).weight.numpy() for name in ("a", "b", "a"))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, again)


def test_a_token_out_of_range_is_named():
    with pytest.raises(IndexError, match="7"):
        nn.Embedding(7, 2)(tg.tensor([3, 7]))


def test_dropout_scales_what_it_keeps_and_passes_the_gradient_through_the_same_mask():
    dropout, x = nn.Dropout(0.25, rng=Generator(2)), tg.ones((200, 100), requires_grad=True)
    y = dropout(x)
    kept = y.numpy() != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_dropout_is_the_identity_in_use_and_at_p_0():
    x = tg.ones(3)
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_every_call_drops_other_entries_and_a_restored_model_drops_those_that_were_next():
    x = tg.ones(64)
    dropout = nn.Dropout(0.5, rng=Generator(3))
    first, second = dropout(x).numpy(), dropout(x).numpy()
    assert not np.array_equal(first, second)
    state = dropout.state_dict()
    assert state["calls"] == 2
    third = dropout(x).numpy()
    restored = nn.Dropout(0.5, rng=Generator(3))
    restored.load_state_dict(state)
    np.testing.assert_array_equal(restored(x).numpy(), third)
    assert state["calls"] == 2


def test_masks_depend_on_the_seed_and_the_path_of_the_generator():
    x = tg.ones(64)
    masks = [nn.Dropout(0.5, rng=rng)(x).numpy() for rng in (Generator(0), Generator(1), Generator(0).fork("layer"))]
    assert not any(np.array_equal(a, b) for a, b in ((masks[0], masks[1]), (masks[0], masks[2])))


def test_a_generator_given_to_the_call_draws_the_same_mask_again():
    x, dropout = tg.ones(64), nn.Dropout(0.5)
    np.testing.assert_array_equal(dropout(x, rng=Generator(5)).numpy(), dropout(x, rng=Generator(5)).numpy())
    assert dropout.calls.item() == 0
    rng = Generator(6)
    f = tg.checkpoint(lambda x: tg.exp(dropout(x, rng=rng)))
    gradient = tg.grad(lambda x: f(x).sum())(x).numpy()
    mask = dropout(x, rng=rng).numpy()
    np.testing.assert_allclose(gradient, mask * np.exp(mask), rtol=1e-6)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_p_that_is_no_probability_to_drop_is_refused(p):
    with pytest.raises(ValueError, match=r"Dropout: p=.* lies in \[0, 1\)"):
        nn.Dropout(p)
