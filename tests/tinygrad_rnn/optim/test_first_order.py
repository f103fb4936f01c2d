"""Optimisers: step for step as torch, resumable bit for bit, nothing written into old arrays, bad input named."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

STEPS = 20

# the class, here and in torch, and its options
VARIANTS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.03}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.03}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.03}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.03}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.95, "momentum": 0.9, "centered": True, "eps": 1e-4, "weight_decay": 0.03}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "eps": 1e-8, "weight_decay": 0.03}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.03}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.3}),
]
IDS = [f"{name}-{'-'.join(options)}" for name, options in VARIANTS]
MINIMAL = {name: options for name, options in reversed(VARIANTS) if name != "SGD"} | {"SGD": VARIANTS[2][1]}


def _values(dtype="float64"):
    rng = np.random.default_rng(0)
    return {"W": rng.standard_normal((4, 3)).astype(dtype), "b": rng.standard_normal(3).astype(dtype),
            "alpha": np.array(0.7, dtype)}  # fmt: skip


def _gradient(path, p, n):
    """Of no loss in particular: depends on the parameter and the step, and changes sign."""
    return np.sin(3 * p + n + len(path)) * (1 + n % 3)


def _parameters(values, device="cpu"):
    return {path: tg.tensor(value, requires_grad=True, device=device) for path, value in values.items()}


def _run(optimizer, steps, start=0):
    parameters = optimizer.parameters
    for n in range(start, start + steps):
        for path, p in parameters.items():
            p.grad = tg.tensor(_gradient(path, p.numpy(), n).astype(p.dtype), device=p.device)
        optimizer.step()
    return {path: p.numpy() for path, p in parameters.items()}


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_an_optimiser_equals_torchs_over_20_steps(name, options):
    torch = pytest.importorskip("torch", reason="the reference for optimisers")
    values = _values()
    there = {path: torch.nn.Parameter(torch.tensor(value)) for path, value in values.items()}
    reference = getattr(torch.optim, name)(list(there.values()), **options)
    for n in range(STEPS):
        for path, p in there.items():
            p.grad = torch.tensor(_gradient(path, p.detach().numpy(), n))
        reference.step()
    got = _run(getattr(optim, name)(_parameters(values), **options), STEPS)
    for path, p in there.items():
        np.testing.assert_allclose(got[path], p.detach().numpy(), rtol=1e-12, atol=1e-12, err_msg=path)


@pytest.mark.parametrize("name", MINIMAL)
def test_default_options_are_torchs(name):
    torch = pytest.importorskip("torch", reason="the reference for defaults")
    here = getattr(optim, name)(_parameters(_values()), **({"lr": 0.1} if name == "SGD" else {})).options
    there = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)], **({"lr": 0.1} if name == "SGD" else {}))
    assert here == {option: there.defaults[option] for option in here}


@pytest.mark.parametrize("name", MINIMAL)
def test_a_complex_parameter_is_updated_as_its_real_and_imaginary_parts_are(name):
    options, z = MINIMAL[name], np.array([1 + 2j, -0.5j, 0.3])
    whole, parts = _parameters({"z": z}), _parameters({"z": np.stack([z.real, z.imag], -1)})
    one, two = getattr(optim, name)(whole, **options), getattr(optim, name)(parts, **options)
    for n in range(3):
        g = np.exp(1j * n) * (z + n)
        one.step({"z": tg.tensor(g)})
        two.step({"z": tg.tensor(np.stack([g.real, g.imag], -1))})
    np.testing.assert_array_equal(whole["z"].numpy().view(float).reshape(3, 2), parts["z"].numpy())
    assert whole["z"].dtype == np.complex128


@pytest.mark.parametrize("name", MINIMAL)
def test_an_optimiser_takes_the_same_steps_on_every_device_in_float32(name, device):
    options = MINIMAL[name]
    here = _run(getattr(optim, name)(_parameters(_values("float32")), **options), 3)
    moved = getattr(optim, name)(_parameters(_values("float32"), device), **options)
    there = _run(moved, 3)
    for path, p in moved.parameters.items():
        assert p.device == device
        assert p.dtype == np.float32
        np.testing.assert_allclose(there[path], here[path], rtol=1e-5)


def _in_memory(state, folder):
    return state


def _pickled(state, folder):
    return pickle.loads(pickle.dumps(state))


def _in_a_file(state, folder):
    tg.save(folder / "optimizer.safetensors", state)
    return tg.load(folder / "optimizer.safetensors")


@pytest.mark.parametrize("name", MINIMAL)
@pytest.mark.parametrize("carried", [_in_memory, _pickled, _in_a_file])
def test_a_run_that_is_resumed_equals_one_that_never_stopped_bit_for_bit(name, carried, tmp_path):
    make, options = getattr(optim, name), MINIMAL[name]
    whole = _run(make(_parameters(_values()), **options), 7)
    first = make(_parameters(_values()), **options)
    _run(first, 2)
    state, values = carried(first.state_dict(), tmp_path), {path: p.numpy() for path, p in first.parameters.items()}
    _run(first, 2, start=2)  # what was taken is a copy: going on does not change it
    second = make(_parameters(values), **options | {"lr": 0.123})
    second.load_state_dict(state)
    assert second.steps == 2
    assert second.lr == options["lr"]
    resumed = _run(second, 5, start=2)
    for path in whole:
        np.testing.assert_array_equal(resumed[path], whole[path])


@pytest.mark.parametrize("name", MINIMAL)
def test_an_optimiser_that_is_copied_with_its_model_goes_on_alike(name):
    optimizer = getattr(optim, name)(_parameters(_values()), **MINIMAL[name])
    _run(optimizer, 2)
    other = copy.deepcopy(optimizer)
    a, b = _run(optimizer, 2, start=2), _run(other, 2, start=2)
    for path in a:
        np.testing.assert_array_equal(a[path], b[path])
        assert other.parameters[path] is not optimizer.parameters[path]


@pytest.mark.parametrize("name", MINIMAL)
def test_the_old_arrays_and_the_gradients_stay_what_they_were(name):
    optimizer = getattr(optim, name)(_parameters(_values()), **MINIMAL[name])
    W = optimizer.parameters["W"]
    for _ in range(2):
        loss = (W * W).sum()  # keeps the array of W for its backward pass
        old, before = W.data, W.data.copy()
        g = np.ones((4, 3))
        optimizer.step({"W": tg.tensor(g), "b": tg.tensor(np.ones(3)), "alpha": tg.tensor(np.array(1.0))})
        np.testing.assert_array_equal(old, before)
        np.testing.assert_array_equal(g, 1)
        assert W.data is not old
        W.grad = None
        loss.backward()
        np.testing.assert_array_equal(W.grad.numpy(), 2 * before)


def test_a_module_learns_from_grad_and_from_backward_alike():
    x = np.random.default_rng(1).standard_normal((8, 3)).astype("float32")

    def loss(model):
        y = model(tg.tensor(x)) - 1.0
        return (y * y).sum()

    one, two = (nn.Linear(3, 2) for _ in range(2))
    by_value, by_grad = optim.Adam(one, lr=0.1), optim.Adam(two, lr=0.1)
    first = loss(one).item()
    for _ in range(30):
        by_value.step(tg.grad(loss)(one))
        by_grad.zero_grad()
        loss(two).backward()
        by_grad.step()
    np.testing.assert_array_equal(one.weight.numpy(), two.weight.numpy())
    assert loss(one).item() < 0.1 * first


@pytest.mark.parametrize(
    "container",
    [
        lambda a, b: [a, b],
        lambda a, b: (a, {"b": b}),
        lambda a, b: {"x": [a], "y": b},
        lambda a, b: [a, None, b, a],
    ],
)
def test_parameters_come_in_any_container_and_gradients_in_the_same(container):
    a, b = tg.tensor(1.0, requires_grad=True), tg.tensor([2.0, 3.0], requires_grad=True)
    optimizer = optim.SGD(container(a, b), lr=1.0)
    assert len(optimizer.parameters) == 2
    optimizer.step(container(tg.tensor(0.5), tg.tensor([1.0, 1.0])))
    assert a.item() == 0.5
    assert b.tolist() == [1.0, 2.0]
    assert optimizer.steps == 1


def test_tied_weights_of_two_modules_are_updated_once():
    encoder, decoder = nn.Linear(2, 2), nn.Linear(2, 2)
    decoder.weight = encoder.weight
    before = encoder.weight.numpy().copy()
    optimizer = optim.SGD([encoder, decoder], lr=1.0)

    def loss(modules):
        return (modules[0].weight + modules[1].weight).sum()

    optimizer.step(tg.grad(loss)([encoder, decoder]))
    np.testing.assert_array_equal(encoder.weight.numpy(), before - 2)


def test_a_parameter_without_a_gradient_stays_and_its_updates_are_not_counted():
    a, b = (tg.tensor(1.0, requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([a, b], lr=0.1)
    for n in range(3):
        optimizer.zero_grad()
        (a * a + b if n else a * a).backward()
        optimizer.step()
    assert optimizer.state_dict()["kept"]["1"]["step"] == 2
    assert b.item() == pytest.approx(0.8, abs=1e-6)


def test_the_learning_rate_is_set_between_steps():
    w = tg.tensor(1.0, requires_grad=True)
    optimizer, schedule = optim.SGD([w], lr=1.0), optim.step_decay(0.5, every=1, factor=0.5)
    seen = []
    for _ in range(3):
        optimizer.lr = schedule(optimizer.steps)
        optimizer.step([tg.tensor(1.0)])
        seen.append(w.item())
    assert seen == [0.5, 0.25, 0.125]
    optimizer.lr = 0.0  # where a cosine ends
    optimizer.step([tg.tensor(1.0)])
    assert w.item() == 0.125


def test_a_gradient_of_another_dtype_leaves_the_parameters_dtype():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optim.SGD([w], lr=0.5).step([np.array([1.0, 2.0])])
    assert w.tolist() == [0.5, 1.0] and w.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_updated(bad, device):
    optimizer = optim.Adam(_parameters(_values(), device))
    gradients = {path: np.ones_like(value) for path, value in _values().items()}
    gradients["W"][1, 2] = bad
    with pytest.raises(FloatingPointError, match=r"gradient of W has 1 NaN or infinite entries of 12 at step 0"):
        optimizer.step({path: tg.tensor(g, device=device) for path, g in gradients.items()})
    assert optimizer.steps == 0
    assert not optimizer.state_dict()["kept"]
    for path, value in _values().items():
        np.testing.assert_array_equal(optimizer.parameters[path].numpy(), value)


def test_the_variance_of_a_constant_gradient_is_never_negative():
    w, g = tg.zeros(50, requires_grad=True), np.linspace(0.1, 3, 50).astype("float32")
    optimizer = optim.RMSprop([w], lr=1e-3, alpha=0.5, centered=True, eps=1e-3)
    for _ in range(60):
        optimizer.step([tg.tensor(g)])
    assert np.isfinite(w.numpy()).all()


def test_a_huge_gradient_whose_square_overflows_is_finite():
    w = tg.tensor([1.0, 1.0], requires_grad=True)
    optim.SGD([w], lr=1e-30).step([tg.tensor([3e30, 1.0])])
    assert w.tolist() == pytest.approx([-2.0, 1.0])


def test_the_state_follows_a_parameter_to_another_device():
    model = nn.Linear(2, 2)
    optimizer = optim.Adam(model)
    optimizer.step({"weight": tg.ones((2, 2)), "bias": tg.ones(2)})
    model.to("strict")
    optimizer.step({"weight": tg.ones((2, 2), device="strict"), "bias": tg.ones(2, device="strict")})
    assert model.weight.device == "strict"
    np.testing.assert_allclose(model.bias.numpy(), -0.002, rtol=1e-5)


def _model():
    return nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.Adam([]), ValueError, "nothing to optimise"),
        (lambda: optim.Adam({"a": {"b": tg.ones(2)}}), TypeError, "a/b is no parameter"),
        (lambda: optim.Adam([tg.ones(2, requires_grad=True) * 2]), TypeError, "0 is no parameter"),
        (lambda: optim.Adam(_model(), lr=-1.0), ValueError, r"Adam: lr=-1.0 is not in \[0, inf\)"),
        (lambda: optim.Adam(_model(), betas=(0.9, 1.0)), ValueError, r"Adam: betas=\(0.9, 1.0\) is not in \[0, 1\)"),
        (lambda: optim.SGD(_model(), lr=0.1, nesterov=True), ValueError, "momentum, which is 0"),
        (lambda: setattr(optim.Adam(_model()), "lr", float("nan")), ValueError, "lr=nan"),
        (lambda: optim.Adam(_model()).step(), ValueError, r"no parameter has a gradient; call loss.backward\(\)"),
        (
            lambda: optim.Adam(_model()).step({"weight": tg.ones((3, 2)), "bais": tg.ones(2)}),
            ValueError,
            "do not match the parameters: missing bias; unknown bais",
        ),
        (
            lambda: optim.Adam(_model()).step({"weight": tg.ones((2, 3)), "bias": tg.ones(2)}),
            ValueError,
            r"weight has shape \(3, 2\), its gradient \(2, 3\)",
        ),
        (
            lambda: optim.Adam(_model()).step({"weight": tg.ones((3, 2), device="strict"), "bias": tg.ones(2)}),
            ValueError,
            "weight lives on cpu, its gradient on strict",
        ),
        (
            lambda: optim.Adam(_model()).load_state_dict(optim.AdamW(_model()).state_dict()),
            ValueError,
            "state of AdamW; a Adam cannot go on",
        ),
        (lambda: optim.Adam(_model()).load_state_dict({"kind": "Adam"}), ValueError, "lacks kept, options, steps"),
        (lambda: optim.Adam(iter([tg.ones(2)])), TypeError, "list_iterator is no parameter"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: optim.SGD(nn.Linear(3, 4), lr=0.1, momentum=0.9), r"weight, which has shape \(3, 4\)"),
        (lambda: optim.SGD([tg.ones(2, requires_grad=True)], lr=0.1, momentum=0.9), "weight, which is not there"),
        (lambda: optim.SGD(nn.Linear(3, 2), lr=0.1), r"of which \(\) are kept; are model and options the same"),
    ],
)
def test_a_state_that_belongs_elsewhere_is_refused_and_nothing_is_changed(other, message):
    optimizer = optim.SGD(_model(), lr=0.5, momentum=0.9)
    optimizer.step({"weight": tg.ones((3, 2)), "bias": tg.ones(2)})
    target = other()
    with pytest.raises(ValueError, match=message):
        target.load_state_dict(optimizer.state_dict())
    assert target.lr == 0.1
    assert target.steps == 0
