"""Hessian-free: one step on a quadratic, the damping's schedule, what a step keeps its word on, resumed bit for bit."""

import math
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from tinygrad_rnn.optim import GaussNewton, HessianFree, conjugate_gradient, hessian_free
from tinygrad_rnn.optim.hessian_free import Iterate, _backtracked, _searched, adapted


def _least_squares(dtype="float64", device="cpu", m=30, n=6):
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((m, n)) * np.geomspace(1, 10, n), rng.standard_normal(m)
    w = tg.tensor(np.zeros(n, dtype), requires_grad=True, device=device)
    batch = tg.tensor(A.astype(dtype), device=device), tg.tensor(b.astype(dtype), device=device)
    return w, batch, np.linalg.lstsq(A, b, rcond=None)[0]


def _squares(y, batch):
    return ((y - batch[1]) ** 2).sum()


class Net(tg.nn.Module):
    def __init__(self, hidden=6):
        self.rnn = zoo.RNN(zoo.ElmanRNN(2, hidden, rng=tg.random.Generator(1)), compile=False)
        self.head = tg.nn.Linear(hidden, 1, rng=tg.random.Generator(2))
        self.astype("float64")

    def forward(self, xs):
        ys, _ = self.rnn(xs)
        return self.head(ys[-1]), ys


def _run(optimizer, model, steps, start=0):
    found = []
    for n in range(start, start + steps):
        xs = tg.random.Generator(0).fork(n).normal((8, 20, 2), dtype="float64")
        out = (lambda b: model(b[0])) if optimizer.options["structural"] else (lambda b: model(b[0])[0])
        found.append(optimizer.step(out, lambda y, b: tg.mse(y, b[1]), (xs, xs.sum(0)[:, :1])))
    return found


@pytest.mark.parametrize("probes", [0, 4])
def test_a_quadratic_is_solved_in_one_step(probes):
    w, batch, solution = _least_squares()
    optimizer = HessianFree([w], damping=0.0, probes=probes)
    progress = optimizer.step(lambda b: b[0] @ w, _squares, batch)
    np.testing.assert_allclose(w.numpy(), solution, rtol=0, atol=1e-10 * abs(solution).max())
    assert (progress.rate, progress.damping) == (1.0, 0.0)
    assert progress.ratio == pytest.approx(1.0, abs=1e-10)
    assert progress.loss < progress.before


def test_the_step_on_a_quadratic_is_the_damped_newton_step():
    w, batch, _ = _least_squares()
    A, b = (t.numpy() for t in batch)
    HessianFree([w], damping=7.0).step(lambda batch: batch[0] @ w, _squares, batch)
    np.testing.assert_allclose(w.numpy(), np.linalg.solve(2 * A.T @ A + 7 * np.eye(6), 2 * A.T @ b), rtol=1e-7)


def test_the_preconditioner_makes_parameters_of_different_scales_alike():
    rng, counts = np.random.default_rng(0), []
    A, b = rng.standard_normal((200, 40)) * np.geomspace(1, 1e3, 40), rng.standard_normal(200)
    for probes in (0, 8):
        w = tg.tensor(np.zeros(40), requires_grad=True)
        optimizer = HessianFree([w], damping=1e-3, probes=probes, cg_steps=400)
        progress = optimizer.step(lambda batch, w=w: batch[0] @ w, _squares, (tg.tensor(A), tg.tensor(b)))
        counts.append((progress.products, progress.loss))
    best = np.linalg.lstsq(A, b, rcond=None)[1][0]
    assert counts[1][0] < 0.5 * counts[0][0]
    assert counts[1][1] - best < 0.01 * (b @ b - best)


def test_the_same_quadratic_is_solved_on_every_device(device):
    w, batch, solution = _least_squares("float32", device)
    HessianFree([w], damping=0.0).step(lambda b: b[0] @ w, _squares, batch)
    assert w.device == device
    np.testing.assert_allclose(w.numpy(), solution, rtol=0, atol=1e-4 * abs(solution).max())


def test_conjugate_gradients_begin_at_the_decayed_direction_of_the_step_before(monkeypatch):
    """And are preconditioned by (d + λ)^0.75, d from the signs of that step."""
    w, batch, _ = _least_squares()
    asked, paths = [], []

    def solver(product, b, **options):
        asked.append(options)
        paths.append(conjugate_gradient(product, b, **options))
        return paths[-1]

    monkeypatch.setattr(hessian_free, "conjugate_gradient", solver)
    optimizer = HessianFree([w], lr=0.5, damping=2.0, decay=0.7, probes=3, seed=4, cg_steps=2)
    for n in range(3):
        at = GaussNewton(optimizer.parameters, lambda b: b[0] @ w, _squares, batch)
        wanted = (at.diagonal(tg.random.Generator(4).fork("probes", n), 3) + optimizer.options["damping"]) ** 0.75
        optimizer.step(lambda b: b[0] @ w, _squares, batch)
        np.testing.assert_array_equal(asked[-1]["preconditioner"], wanted)
        assert asked[-1]["steps"] == 2
    assert asked[0]["start"] is None
    for n in (1, 2):
        np.testing.assert_array_equal(asked[n]["start"], 0.7 * paths[n - 1][-1].x)


def test_a_recurrent_net_takes_the_same_steps_on_every_device(device):
    def steps(place):
        model, xs = Net().to(place), tg.random.Generator(0).normal((5, 4, 2), dtype="float64", device=place)
        optimizer = HessianFree(model, damping=0.1, structural=0.1, probes=2, cg_steps=8)
        for _ in range(2):
            optimizer.step(lambda b: model(b[0]), lambda y, b: tg.mse(y, b[1]), (xs, xs.sum(0)[:, :1]))
        assert all(p.device == place for p in model.parameters())
        return model.state_dict()

    there, here = steps(device), steps("cpu")
    for path, value in here.items():
        np.testing.assert_allclose(there[path], value, rtol=0, atol=1e-10)


def test_a_recurrent_net_is_trained_and_every_step_says_what_it_did():
    model, xs = Net(), tg.random.Generator(0).normal((8, 20, 2), dtype="float64")
    batch, optimizer = (xs, tg.tanh(xs.sum(0)[:, :1])), HessianFree(model, damping=0.1)
    steps = [optimizer.step(lambda b: model(b[0])[0], lambda y, b: tg.mse(y, b[1]), batch) for _ in range(20)]
    assert steps[-1].loss < 1e-3 * steps[0].before
    for step, following in pairwise(steps):
        assert step.loss == following.before < step.before
        assert following.damping == adapted(step.damping, step.ratio)
        assert 0 < step.rate <= 1
        assert 1 <= step.products <= 100
    assert optimizer.steps == 20


def test_the_loss_that_a_step_reports_is_the_loss_at_the_new_parameters():
    model = Net()
    batch = (tg.random.Generator(0).normal((8, 20, 2), dtype="float64"), tg.ones((20, 1), dtype="float64"))
    progress = HessianFree(model, lr=0.7).step(lambda b: model(b[0])[0], lambda y, b: tg.mse(y, b[1]), batch)
    assert progress.loss == tg.mse(model(batch[0])[0], batch[1]).item()
    assert progress.rate == 0.7


def test_with_structural_damping_the_step_solves_the_system_that_has_its_term():
    """``(G + λ μ G_S + λ I) δ = −∇f``, against matrices made of products with units."""
    model, damping, mu = Net(), 0.1, 3.0
    xs = tg.random.Generator(0).normal((8, 20, 2), dtype="float64")
    batch, parameters = (xs, xs.sum(0)[:, :1]), model.parameters_by_path()
    at = GaussNewton(parameters, lambda b: model(b[0]), lambda y, b: tg.mse(y, b[1]), batch, structural=damping * mu)
    n = len(at.gradient())
    whole = np.stack([at.product(v) for v in np.eye(n)]) + damping * np.eye(n)
    wanted = np.linalg.solve(whole, -at.gradient())
    before = np.concatenate([p.numpy().ravel() for p in parameters.values()])
    optimizer = HessianFree(model, damping=damping, structural=mu)
    progress = optimizer.step(lambda b: model(b[0]), lambda y, b: tg.mse(y, b[1]), batch)
    step = (np.concatenate([p.numpy().ravel() for p in parameters.values()]) - before) / progress.rate

    def model_value(d):
        return 0.5 * d @ whole @ d + at.gradient() @ d

    assert progress.rate > 0
    assert model_value(wanted) <= model_value(step)
    assert model_value(step) == pytest.approx(model_value(wanted), rel=0.01)  # where conjugate gradients end


def test_the_curvature_may_be_that_of_another_batch():
    w, batch, solution = _least_squares()
    part = tuple(t[:10] for t in batch)
    HessianFree([w], damping=0.0, cg_steps=50).step(lambda b: b[0] @ w, _squares, batch, curvature=part)
    A, b = (t.numpy() for t in batch)
    newton = np.linalg.solve(A[:10].T @ A[:10], A.T @ b)
    cosine = w.numpy() @ newton / np.linalg.norm(w.numpy()) / np.linalg.norm(newton)
    assert cosine == pytest.approx(1.0, abs=1e-6)
    assert not np.allclose(w.numpy(), solution, rtol=0.01)


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(2.0, 2 / 3), (0.76, 2 / 3), (0.75, 1), (0.25, 1), (0.24, 1.5), (-3.0, 1.5), (-math.inf, 1.5), (math.nan, 1.5)],
)
def test_the_damping_follows_the_reduction_ratio(ratio, factor):
    assert adapted(0.6, ratio) == pytest.approx(0.6 * factor)


def test_a_promise_that_is_not_kept_raises_the_damping_and_one_that_is_lowers_it():
    """By f(w) = √(1 + w²), whose Newton step from w is −w (1 + w²): too far beyond w = 1, right near 0."""

    def stepped(at, damping):
        w = tg.tensor(np.array([at]), requires_grad=True)
        optimizer = HessianFree([w], damping=damping, probes=0)
        progress = optimizer.step(lambda _: w * 1.0, lambda y, _: tg.sqrt(1 + y * y).sum(), None)
        return progress, optimizer.options["damping"], w.item()

    for at, damping in ((0.1, 1e-3), (3.0, 1e-3)):
        progress, after, reached = stepped(at, damping)
        g, curvature = at / math.sqrt(1 + at * at), (1 + at * at) ** -1.5
        delta = -g / (curvature + damping)
        promised = g * delta + 0.5 * curvature * delta**2
        ratio = (math.sqrt(1 + (at + delta) ** 2) - math.sqrt(1 + at * at)) / promised
        assert progress.ratio == pytest.approx(ratio, rel=1e-9)
        assert after == (damping * 2 / 3 if ratio > 0.75 else damping * 3 / 2)
        assert abs(reached) < at
    assert (stepped(0.1, 1e-3)[1], stepped(3.0, 1e-3)[1]) == (1e-3 * 2 / 3, 1e-3 * 3 / 2)


def test_going_back_along_the_path_ends_where_it_no_longer_lowers_the_loss():
    path = [Iterate(i, np.array([float(i)]), -1.0) for i in range(6)]
    losses = [0.0, 9.0, 3.0, 4.0, math.inf, math.inf]
    chosen, reached = _backtracked(path, lambda x: losses[int(x[0])])
    assert (chosen.step, reached) == (2, 3.0)


def test_the_line_search_takes_the_first_rate_that_keeps_a_hundredth_of_the_slopes_promise():
    asked = []

    def value(x):
        asked.append(x[0])
        return 1.0 - x[0] + 2 * x[0] ** 2  # falls by r − 2 r² at rate r, which is 0.01 r where r = 0.495

    rate, found = _searched(value, np.ones(1), 1.0, 1.0, 2.0, -1.0)
    assert rate == pytest.approx(0.8**4)
    assert found == value(np.array([0.8**4]))
    assert asked[:4] == pytest.approx([0.8, 0.64, 0.512, 0.4096])
    assert _searched(lambda x: 5.0, np.ones(1), 1.0, 1.0, 5.0, -1.0) == (0.0, 1.0)


def test_where_no_rate_lowers_the_loss_the_parameters_stay_and_the_damping_rises():
    """Of the loss only the curvature and gradient are believed: the value is higher wherever it is asked again."""
    w, asked = tg.tensor(np.array([1.0]), requires_grad=True), []

    def loss(y, _):
        asked.append(y)
        return (y * y).sum() + (0.0 if y.requires_grad else 10.0)

    before = w.data
    optimizer = HessianFree([w], damping=2.0)
    progress = optimizer.step(lambda _: w * 1.0, loss, None)
    assert (progress.rate, progress.loss, w.data is before) == (0.0, progress.before, True)
    assert optimizer.options["damping"] == 3.0
    assert progress.ratio < 0


def test_at_a_stationary_point_nothing_happens():
    w = tg.tensor(np.zeros(2), requires_grad=True)
    optimizer = HessianFree([w], damping=2.0)
    progress = optimizer.step(lambda _: w * 1.0, lambda y, _: (y * y).sum(), None)
    assert (progress.rate, progress.products, progress.loss) == (0.0, 0, 0.0)
    assert math.isnan(progress.ratio)
    assert w.tolist() == [0.0, 0.0]
    assert (optimizer.options["damping"], optimizer.steps) == (2.0, 1)


@pytest.mark.parametrize("structural", [0.0, 0.1])
def test_a_run_that_is_resumed_equals_one_that_never_stopped_bit_for_bit(structural, tmp_path):
    whole = Net()
    _run(HessianFree(whole, damping=0.1, structural=structural, cg_steps=15), whole, 5)
    first = Net()
    optimizer = HessianFree(first, damping=0.1, structural=structural, cg_steps=15)
    _run(optimizer, first, 2)
    tg.save(tmp_path / "run.safetensors", {"model": first.state_dict(), "optimizer": optimizer.state_dict()})
    _run(optimizer, first, 1, start=2)
    saved, second = tg.load(tmp_path / "run.safetensors"), Net()
    resumed = HessianFree(second, damping=5.0, seed=3)
    second.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert (resumed.steps, resumed.options["cg_steps"]) == (2, 15)
    _run(resumed, second, 3, start=2)
    for path, value in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[path], value)


def test_the_state_of_another_optimiser_is_refused():
    model = Net()
    with pytest.raises(ValueError, match="this is the state of Adam; a HessianFree cannot go on from it"):
        HessianFree(model).load_state_dict(tg.optim.Adam(model).state_dict())


def test_old_arrays_stay_what_they_were():
    model = Net()
    before = {path: (p.data, p.data.copy()) for path, p in model.parameters_by_path().items()}
    _run(HessianFree(model, damping=0.1), model, 2)
    for path, p in model.parameters_by_path().items():
        assert p.data is not before[path][0]
        np.testing.assert_array_equal(*before[path])


def test_a_frozen_part_of_the_model_stays_as_it_is():
    model = Net()
    head = model.head.state_dict()
    _run(HessianFree(model.rnn, damping=0.1), model, 2)
    for path, value in head.items():
        np.testing.assert_array_equal(model.head.state_dict()[path], value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"lr": -1.0}, "lr=-1.0"),
        ({"damping": -0.1}, r"damping=-0.1 is not in \[0, inf\)"),
        ({"damping": math.nan}, "damping=nan"),
        ({"structural": math.inf}, "structural=inf"),
        ({"damping": 0.0, "structural": 0.1}, "structural=0.1 is in units of damping, which is 0"),
        ({"decay": 1.5}, r"decay=1.5 is not in \[0, 1\]"),
        ({"cg_steps": 0}, "cg_steps=0 is not a whole number of at least 1"),
        ({"cg_steps": 2.5}, "cg_steps=2.5"),
        ({"probes": -1}, "probes=-1 is not a whole number of at least 0"),
    ],
)
def test_an_option_out_of_range_is_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        HessianFree([tg.tensor([1.0], requires_grad=True)], **options)


def test_a_loss_that_is_not_convex_in_the_predictions_is_refused_and_nothing_changes():
    w = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    optimizer = HessianFree([w], damping=0.1)
    with pytest.raises(ValueError, match=r"convex in the predictions; conjugate gradients, step 1: A is not positive"):
        optimizer.step(lambda _: w * 1.0, lambda y, _: -(y * y).sum(), None)
    assert (w.tolist(), optimizer.steps, optimizer.options["damping"]) == ([1.0, 2.0], 0, 0.1)


@pytest.mark.parametrize("at", [-1.0, 0.0])
def test_a_loss_or_gradient_that_is_not_finite_is_refused_and_nothing_changes(at):
    w = tg.tensor(np.array([at]), requires_grad=True)
    optimizer = HessianFree([w])
    with np.errstate(invalid="ignore", divide="ignore"), pytest.raises(FloatingPointError, match="nothing was updated"):
        optimizer.step(lambda _: tg.sqrt(w), lambda y, _: y.sum(), None)
    assert (w.item(), optimizer.steps) == (at, 0)
