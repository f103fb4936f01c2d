"""Weights of torch and Keras: the same numbers, states and gradients with them, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo import layouts

T, B, I, H = 7, 4, 3, 5
LENGTHS = [7, 2, 5, 1]
Array = np.ndarray
COUNTERPARTS = {"ElmanRNN": "RNN", "LSTM": "LSTM", "GRUResetAfter": "GRU"}


def model(name: str, *, layers: int = 1, directions: int = 1, seed: int = 0, dtype: str = "float64") -> Any:
    """A stack as torch has it, with biases too away from their initial zeros."""
    rng = tg.random.Generator(seed)

    def cell(k: int, direction: str) -> zoo.Cell:
        return zoo.get(name)(I if k == 0 else directions * H, H, rng=rng.fork(k, direction))

    def layer(k: int) -> Any:
        forward = cell(k, "forward")
        return zoo.RNN(forward) if directions == 1 else zoo.Bidirectional(forward, cell(k, "reverse"))

    stack = zoo.Stacked([layer(k) for k in range(layers)]).astype(dtype)
    for path, p in stack.named_parameters():
        p.data = p.data + 0.3 * rng.fork(path).normal(p.shape, dtype=dtype).data
    return stack


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# torch as the oracle


def layer_state(name: str, parts: list[Any], k: int, directions: int) -> Any:
    """The state of layer k, taken from torch's h (and c) of shape (layers · directions, B, H)."""
    own = [zoo.get(name).State(*(part[k * directions + d] for part in parts)) for d in range(directions)]
    return zoo.Bidirectional.State(*own) if directions == 2 else own[0]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", COUNTERPARTS)
def test_outputs_states_and_all_gradients_equal_torch(
    name: str, layers: int, directions: int, lengths: list[int] | None
) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle; pip install 'tinygrad-rnn[oracle]'")
    ours = model(name, layers=layers, directions=directions)
    kind = getattr(torch.nn, COUNTERPARTS[name])
    theirs = kind(I, H, num_layers=layers, bidirectional=directions == 2, dtype=torch.float64)
    layouts.from_torch(ours, theirs.state_dict())

    parts = [numbers(layers * directions, B, H, seed=seed) for seed in range(len(zoo.get(name).State._fields))]
    clean = numbers(T, B, I, seed=9)
    padded = clean.copy()
    for row, length in enumerate(lengths or []):
        padded[length:, row] = np.nan
    weight = numbers(T, B, directions * H, seed=10)
    weights = [numbers(*p.shape, seed=11 + i) for i, p in enumerate(parts)]

    x = torch.tensor(clean, requires_grad=True)
    state = [torch.tensor(p, requires_grad=True) for p in parts]
    packed = x
    if lengths is not None:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    out, last = theirs(packed, tuple(state) if len(state) == 2 else state[0])
    if lengths is not None:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=T)
    last = last if len(state) == 2 else (last,)
    wanted = (out * torch.tensor(weight)).sum() + sum((s * torch.tensor(w)).sum() for s, w in zip(last, weights))
    wanted.backward()

    def loss(ours: Any, xs: tg.Tensor, parts: list[tg.Tensor]) -> tuple[tg.Tensor, Any]:
        initial = tuple(layer_state(name, parts, k, directions) for k in range(layers))
        ys, last = ours(xs, initial, lengths)
        mine = tg.tree.leaves(last)
        # layer by layer, direction by direction, part by part → torch's arrangement
        n = len(parts)
        arranged = [tg.stack(mine[part::n]) for part in range(n)]
        return (ys * weight).sum() + sum((s * w).sum() for s, w in zip(arranged, weights)), (ys, arranged)

    primals = (ours, tg.tensor(padded), [tg.tensor(p) for p in parts])
    (value, (ys, arranged)), gradients = tg.value_and_grad(loss, (0, 1, 2), has_aux=True)(*primals)

    def equal(found: Any, expected: Any) -> None:
        np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=0, atol=1e-10)

    equal(value, wanted)
    equal(ys, out)
    for found, expected in zip(arranged, last, strict=True):
        equal(found, expected)
    equal(gradients[1], x.grad)
    for found, expected in zip(gradients[2], state, strict=True):
        equal(found, expected.grad)
    for key, found in torch_gradients(ours, gradients[0]).items():
        equal(tg.tensor(found), getattr(theirs, key).grad)


def torch_gradients(model: Any, gradients: dict[str, tg.Tensor]) -> dict[str, np.ndarray]:
    """Our gradients in torch's arrangement; of two biases that are added, each has the gradient of the sum."""
    values = {path: p.data for path, p in model.named_parameters()}
    for path, p in model.named_parameters():
        p.data = gradients[path].data
    found = layouts.to_torch(model)
    for path, p in model.named_parameters():
        p.data = values[path]
    for key in [key for key in found if key.startswith("bias_hh")]:
        added = found[key] == 0
        found[key] = np.where(added, found[key.replace("hh", "ih")], found[key])
    return found


def test_a_torch_net_without_biases_loads_with_zeros() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle; pip install 'tinygrad-rnn[oracle]'")
    theirs = torch.nn.GRU(I, H, bias=False, dtype=torch.float64)
    ours = model("GRUResetAfter")
    layouts.from_torch(ours, theirs.state_dict())
    xs = numbers(T, B, I)
    np.testing.assert_allclose(ours(xs)[0].numpy(), theirs(torch.tensor(xs))[0].detach().numpy(), atol=1e-12)


# Keras: its equations, written out


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def keras_simple_rnn(x: Array, s: list[Array], kernel: Array, recurrent: Array, bias: Array) -> list[Array]:
    return [np.tanh(x @ kernel + bias + s[0] @ recurrent)]


def keras_lstm(x: Array, s: list[Array], kernel: Array, recurrent: Array, bias: Array) -> list[Array]:
    h, c = s
    i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
    return [sigmoid(o) * np.tanh(c), c]


def keras_gru(x: Array, s: list[Array], kernel: Array, recurrent: Array, bias: Array) -> list[Array]:
    """reset_after=False."""
    (h,) = s
    x_z, x_r, x_h = np.split(x @ kernel + bias, 3, axis=1)
    U_z, U_r, U_h = np.split(recurrent, 3, axis=1)
    z, r = sigmoid(x_z + h @ U_z), sigmoid(x_r + h @ U_r)
    return [z * h + (1 - z) * np.tanh(x_h + (r * h) @ U_h)]


def keras_gru_reset_after(x: Array, s: list[Array], kernel: Array, recurrent: Array, bias: Array) -> list[Array]:
    """reset_after=True, the default."""
    (h,) = s
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=1)
    h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3, axis=1)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    return [z * h + (1 - z) * np.tanh(x_h + r * h_h)]


KERAS: dict[str, tuple[Callable[..., list[Array]], int, tuple[int, ...]]] = {  # step, gates, shape of the bias
    "ElmanRNN": (keras_simple_rnn, 1, (H,)),
    "LSTM": (keras_lstm, 4, (4 * H,)),
    "GRU": (keras_gru, 3, (3 * H,)),
    "GRUResetAfter": (keras_gru_reset_after, 3, (2, 3 * H)),
}


def keras_weights(name: str, input_size: int = I, seed: int = 0) -> list[np.ndarray]:
    _, gates, bias = KERAS[name]
    shapes = ((input_size, gates * H), (H, gates * H), bias)
    return [numbers(*shape, seed=seed + i) * 0.5 for i, shape in enumerate(shapes)]


def run_keras(name: str, xs: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    state = [np.zeros((xs.shape[1], H))] * len(zoo.get(name).State._fields)
    ys = []
    for x in xs:
        state = KERAS[name][0](x, state, *weights)
        ys.append(state[0])
    return np.stack(ys)


@pytest.mark.parametrize("name", KERAS)
def test_keras_weights_give_what_keras_computes(name: str) -> None:
    ours, weights, xs = model(name), keras_weights(name), numbers(T, B, I)
    layouts.from_keras(ours, weights)
    np.testing.assert_allclose(ours(xs)[0].numpy(), run_keras(name, xs, weights), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", KERAS)
def test_stacked_and_bidirectional_keras_weights_follow_each_other(name: str) -> None:
    ours, xs = model(name, layers=2, directions=2), numbers(T, B, I)
    cells = [keras_weights(name, size, seed) for seed, size in enumerate((I, I, 2 * H, 2 * H))]
    layouts.from_keras(ours, [w for weights in cells for w in weights])
    ys = xs
    for forward, reverse in (cells[:2], cells[2:]):
        flipped = run_keras(name, ys[::-1], reverse)[::-1]
        ys = np.concatenate([run_keras(name, ys, forward), flipped], axis=-1)
    np.testing.assert_allclose(ours(xs)[0].numpy(), ys, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [list, lambda ws: dict(zip(("rnn/kernel", "rnn/recurrent_kernel"), ws))])
@pytest.mark.parametrize("name", KERAS)
def test_a_keras_layer_without_biases_loads_with_zeros(name: str, form: Callable[[list[Array]], Any]) -> None:
    ours, (kernel, recurrent, bias), xs = model(name), keras_weights(name), numbers(T, B, I)
    layouts.from_keras(ours, form([kernel, recurrent]))
    expected = run_keras(name, xs, [kernel, recurrent, np.zeros_like(bias)])
    np.testing.assert_allclose(ours(xs)[0].numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore")  # Keras warns about itself
@pytest.mark.parametrize("name", KERAS)
def test_the_transcription_of_keras_is_keras(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="Keras runs on torch here")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras itself; the oracle extra is not installed")
    kinds = {"ElmanRNN": ("SimpleRNN", {}), "LSTM": ("LSTM", {}), "GRU": ("GRU", {"reset_after": False})}
    kind, options = kinds.get(name, ("GRU", {}))
    layer = getattr(keras.layers, kind)(H, return_sequences=True, **options)
    layer.build((B, T, I))
    layer.set_weights(keras_weights(name))
    xs = numbers(T, B, I)
    expected = keras.ops.convert_to_numpy(layer(xs.swapaxes(0, 1))).swapaxes(0, 1)
    ours = model(name)
    layouts.from_keras(ours, {w.path: keras.ops.convert_to_numpy(w) for w in layer.weights})
    for found in (run_keras(name, xs, keras_weights(name)), ours(xs)[0].numpy()):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # Keras computes in float32


# There and back

LIBRARIES = {
    "torch": (layouts.to_torch, layouts.from_torch, list(COUNTERPARTS)),
    "keras": (layouts.to_keras, layouts.from_keras, list(KERAS)),
}
EXCHANGES = [(library, name) for library, (*_, names) in LIBRARIES.items() for name in names]


def arrays(weights: Any) -> list[Array]:
    return list(weights.values() if isinstance(weights, dict) else weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library, name", EXCHANGES)
def test_weights_come_back_bit_for_bit(library: str, name: str, dtype: str) -> None:
    save, load, _ = LIBRARIES[library]
    source = model(name, layers=2, directions=2, dtype=dtype)
    target = model(name, layers=2, directions=2, dtype=dtype, seed=1)
    load(target, save(source))
    for (path, p), q in zip(source.named_parameters(), target.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy(), err_msg=path)
        assert q.requires_grad and q.dtype == dtype
    for a, b in zip(arrays(save(source)), arrays(save(target)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == dtype and a.flags.c_contiguous


@pytest.mark.parametrize("library, name", EXCHANGES)
def test_what_was_saved_is_not_what_is_trained_on(library: str, name: str) -> None:
    save, *_ = LIBRARIES[library]
    ours = model(name)
    before = {path: p.numpy().copy() for path, p in ours.named_parameters()}
    for array in arrays(save(ours)):
        array += 1
    assert all((before[path] == p.numpy()).all() for path, p in ours.named_parameters())


def test_a_model_on_another_device_keeps_its_place() -> None:
    source, target = model("LSTM"), model("LSTM", seed=1).to("strict")
    layouts.from_torch(target, layouts.to_torch(source))
    assert {p.device for p in target.parameters()} == {"strict"}
    np.testing.assert_array_equal(layouts.to_keras(target)[0], layouts.to_keras(source)[0])


def test_cells_and_rnns_alone_have_layouts_too() -> None:
    cell = zoo.LSTM(I, H)
    assert layouts.to_torch(cell).keys() == layouts.to_torch(zoo.RNN(cell)).keys()
    assert list(layouts.to_torch(cell)) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


# Bad input


def without(key: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in layouts.to_torch(model("LSTM")).items() if k != key}


def torch_with(**arrays: Array) -> dict[str, Array]:
    return {**layouts.to_torch(model("LSTM")), **arrays}


def keras_with_paths(*paths: str) -> dict[str, Array]:
    return dict(zip(paths, keras_weights("LSTM"), strict=True))


def mixed() -> zoo.Stacked:
    return zoo.Stacked([zoo.LSTM(I, H), zoo.LSTM(H, 2 * H)])


@pytest.mark.parametrize(
    "load, weights, message",
    [
        (layouts.from_torch, lambda: without("weight_hh_l0"), r"missing: weight_hh_l0 \(20, 5\)"),
        (layouts.from_torch, lambda: without("bias_hh_l0"), r"missing: bias_hh_l0 \(20,\)"),
        (layouts.from_torch, lambda: torch_with(weight_hr_l0=np.ones((2, 5))), r"unexpected: weight_hr_l0 \(2, 5\)"),
        (layouts.from_torch, lambda: torch_with(weight_ih_l0=np.ones((3, 20))), r"_ih_l0 is \(20, 3\) .* \(3, 20\)"),
        (layouts.from_keras, lambda: keras_weights("GRU"), r"0 kernel is \(3, 20\) here, given \(3, 15\)"),
        (layouts.from_keras, lambda: [], r"missing: 0 kernel \(3, 20\)"),
        (layouts.from_keras, lambda: keras_with_paths("a/kernel", "a/bias", "a/recurrent_kernel"), "unexpected: 1 b"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_changed(
    load: Callable[..., None], weights: Callable[[], Any], message: str
) -> None:
    ours = model("LSTM")
    before = ours.state_dict()
    with pytest.raises(ValueError, match=message):
        load(ours, weights())
    assert all((before[path] == p.numpy()).all() for path, p in ours.named_parameters())


@pytest.mark.parametrize(
    "run, error, message",
    [
        (lambda: layouts.to_torch(zoo.GRU(I, H)), TypeError, "no cell like GRU; .* are ElmanRNN, LSTM, GRUResetAfter"),
        (lambda: layouts.to_torch(mixed()), ValueError, "here are: LSTM of 5 in 1 .*, LSTM of 10 in 1"),
        (lambda: layouts.to_keras(tg.nn.Linear(2, 3)), TypeError, "not Linear"),
        (lambda: layouts.from_torch(zoo.LSTM(I, H), zoo.LSTM(I, H)), TypeError, r"this LSTM: give net\.state_dict"),
        (
            lambda: layouts.from_keras(zoo.GRU(I, H), keras_weights("GRUResetAfter")),
            ValueError,
            r"2 bias is \(15,\) here, given \(2, 15\); .* reset_after=True, belongs to GRUResetAfter",
        ),
    ],
)
def test_models_that_a_library_does_not_have_are_named(
    run: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run()
