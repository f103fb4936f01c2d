"""Gauss–Newton products: against the dense matrix from Jacobians; structural damping against its definition."""

from itertools import product

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.optim.gauss_newton import GaussNewton, as_vector, distance, pieces

T, B, I, H, K = 4, 3, 2, 5, 3
LOSSES = {
    "cross-entropy": (lambda y, batch: tg.cross_entropy(y, batch[1]), lambda rng: rng.integers(0, K, (T, B))),
    "squared error": (lambda y, batch: tg.mse(y, batch[1]), lambda rng: rng.standard_normal((T, B, K))),
    "binary cross-entropy": (
        lambda y, batch: tg.bce_with_logits(y, batch[1], reduction="sum"),
        lambda rng: rng.integers(0, 2, (T, B, K)),
    ),
}


class Net(tg.nn.Module):
    def __init__(self, cell="ElmanRNN", compile=False):
        self.rnn = zoo.RNN(zoo.get(cell)(I, H, rng=tg.random.Generator(1)), compile=compile)
        self.head = tg.nn.Linear(self.rnn.output_size, K, rng=tg.random.Generator(2))
        self.astype("float64")

    def forward(self, xs):
        ys, states = self.rnn(xs, all_states=True)
        return self.head(ys), states


def _batch(targets, seed=0):
    rng = np.random.default_rng(seed)
    return tg.tensor(rng.standard_normal((T, B, I))), tg.tensor(targets(rng))


def _jacobian(model, outputs):
    """Every entry of the outputs by every real parameter: central differences would not reach 1e-10, pullbacks do."""
    out, pullback = tg.vjp(lambda m: outputs(m).reshape(-1), model)
    rows = [as_vector(pullback(tg.tensor(unit))[0].values()) for unit in np.eye(out.size)]
    return np.stack(rows)


def _dense(model, outputs, loss):
    """``Jᵀ H J`` with H from the engine's hessian of the loss at the outputs."""
    J, at = _jacobian(model, outputs), tg.detach(outputs(model))
    H_L = tg.hessian(lambda flat: loss(flat.reshape(at.shape)))(at.reshape(-1)).numpy()
    return J.T @ H_L @ J


def _close(got, wanted, tolerance=1e-10):
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * abs(wanted).max())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU"])
def test_products_are_those_of_the_dense_matrix(name, cell):
    loss, targets = LOSSES[name]
    model, batch = Net(cell), _batch(targets)
    at = GaussNewton(model.parameters_by_path(), lambda b: model(b[0])[0], loss, batch)
    G = _dense(model, lambda m: m(batch[0])[0], lambda y: loss(y, batch))
    for seed in range(3):
        v = np.random.default_rng(seed).standard_normal(len(G))
        _close(at.product(v), G @ v)
        assert at.quadratic(v) == pytest.approx(v @ G @ v, rel=1e-10)
    assert np.linalg.eigvalsh(G).min() > -1e-12 * abs(G).max()


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_loss(name):
    loss, targets = LOSSES[name]
    model, batch = Net(), _batch(targets)
    value, gradient = tg.value_and_grad(lambda m: loss(m(batch[0])[0], batch))(model)
    for structural in (0.0, 0.7):
        out = (lambda b: model(b[0])) if structural else (lambda b: model(b[0])[0])
        at = GaussNewton(model.parameters_by_path(), out, loss, batch, structural=structural)
        assert at.loss == value.item()
        _close(at.gradient(), as_vector(gradient.values()), 1e-14)


@pytest.mark.parametrize(("cell", "executor"), [("ElmanRNN", "auto"), ("LSTM", "numpy")])
def test_a_compiled_run_gives_the_products_of_the_plain_loop(cell, executor):
    loss, targets = LOSSES["squared error"]
    found = []
    for compile in (executor, False):
        model, batch = Net(cell, compile), _batch(targets)
        at = GaussNewton(model.parameters_by_path(), lambda b, m=model: m(b[0]), loss, batch, structural=0.3)
        v = np.cos(np.arange(sum(p.size for p in model.parameters())))
        found.append((at.product(v), at.product(2 * v), at.gradient()))
    for one, other in zip(*found, strict=True):
        _close(one, other)


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "CoRNN"])
def test_structural_damping_is_the_curvature_of_the_distance_between_states(cell):
    """Second differences of D(states(θ + εv), states(θ)) at ε = 0: D is at its minimum there, so that is vᵀ G_S v."""
    loss, targets = LOSSES["squared error"]
    model, batch, mu = Net(cell), _batch(targets), 0.3
    parameters = model.parameters_by_path()

    def at(structural):
        out = (lambda b: model(b[0])) if structural else (lambda b: model(b[0])[0])
        return GaussNewton(parameters, out, loss, batch, structural=structural)

    damped, plain, states = at(mu), at(0.0), tg.tree.map(tg.detach, model(batch[0])[1])
    values = {path: p.data for path, p in parameters.items()}

    def moved(v):
        for path, d in pieces(parameters, v).items():
            parameters[path].data = values[path] + d
        changed = model(batch[0])[1]
        for path, p in parameters.items():
            p.data = values[path]
        return sum(  # the definition, on its own: half the squared change, summed over time and units, mean over rows
            0.5 * np.sum(np.abs(a.numpy() - b.numpy()) ** 2) / B
            for a, b in zip(tg.tree.leaves(changed), tg.tree.leaves(states), strict=True)
        )

    n = len(plain.gradient())
    for seed in range(3):
        v = np.random.default_rng(seed).standard_normal(n) / np.sqrt(n)
        eps = 1e-4
        wanted = mu * (moved(eps * v) + moved(-eps * v)) / eps**2
        got = v @ (damped.product(v) - plain.product(v))
        assert got == pytest.approx(wanted, rel=1e-6)
        assert damped.quadratic(v) == pytest.approx(v @ plain.product(v), rel=1e-10)


def test_the_distance_is_a_mean_over_the_batch_and_a_sum_over_all_else():
    a, b = tg.ones((4, 2, 3)), tg.zeros((4, 2, 3))
    assert distance({"h": a, "c": b}, {"h": b, "c": b}).item() == 0.5 * 4 * 3


def test_complex_parameters_count_as_their_real_and_imaginary_parts():
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal(3) + 1j * rng.standard_normal(3), tg.tensor(rng.standard_normal((2, 3)))

    def through(w, b):
        return tg.tanh((b @ w).real + (w * w).imag.sum())

    def squares(y, b):
        return (y * y * (y + 3.0)).sum()

    whole = {"w": tg.tensor(z, requires_grad=True)}
    parts = {"w": tg.tensor(z.view(float).reshape(3, 2), requires_grad=True)}
    unit = np.array([1.0, 1j])
    one = GaussNewton(whole, lambda b: through(whole["w"], b), squares, x)
    two = GaussNewton(parts, lambda b: through((parts["w"] * unit).sum(-1), b), squares, x)
    for v in np.eye(6):
        _close(one.product(v), two.product(v), 1e-14)
    _close(one.gradient(), two.gradient(), 1e-14)


class Every:
    """All sign vectors of some shapes in turn, as a generator of random ones draws them."""

    def __init__(self, signs):
        self.signs = iter(signs)

    def bernoulli(self, shape, p, *, dtype, device):
        return tg.tensor((next(self.signs) + 1) / 2, dtype=dtype, device=device).reshape(shape)


def test_the_diagonal_is_right_on_average_over_all_signs():
    """By enumeration, for two losses with a diagonal H; one has a row whose H is zero."""
    W, x = tg.tensor(np.random.default_rng(0).standard_normal((2, 2)), requires_grad=True), tg.tensor([[0.5, -2.0]])

    def outputs(b):
        return tg.tanh(b.astype("float64") @ W)

    for loss in (lambda y, b: (y * y).sum(), lambda y, b: (y[0, 0] ** 4).sum() + 0 * y.sum()):
        at = GaussNewton({"W": W}, outputs, loss, x)
        signs = [np.array(s) for s in product((-1.0, 1.0), repeat=2)]
        pairs = [each for pair in product(signs, signs) for each in pair]
        G = np.stack([at.product(v) for v in np.eye(4)])
        _close(at.diagonal(Every(pairs), len(pairs) // 2), np.diag(G), 1e-14)


def test_products_leave_the_parameters_and_their_gradients_alone():
    loss, targets = LOSSES["cross-entropy"]
    model, batch = Net(), _batch(targets)
    before = {path: p.data for path, p in model.parameters_by_path().items()}
    at = GaussNewton(model.parameters_by_path(), lambda b: model(b[0])[0], loss, batch)
    at.product(np.ones(len(at.gradient())))
    for path, p in model.parameters_by_path().items():
        assert p.data is before[path]
        assert p.grad is None


@pytest.mark.parametrize("out", [lambda w: w, lambda w: (w, w, w), lambda w: [w, w], lambda w: {"h": w}])
def test_structural_damping_without_states_is_refused(out):
    w = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"must return a pair \(predictions, states\)"):
        GaussNewton({"w": w}, lambda b: out(w), lambda y, b: y.sum(), None, structural=0.1)


def test_states_that_are_no_series_are_refused():
    w = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"series \(T, B, …\), for the mean over B; there is one of shape \(1,\)"):
        GaussNewton({"w": w}, lambda b: (w, w), lambda y, b: y.sum(), None, structural=0.1)


def test_a_loss_that_is_no_real_scalar_is_refused():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"returned float32 \(2,\); it must be one real scalar"):
        GaussNewton({"w": w}, lambda b: w * 2, lambda y, b: y * y, None)
