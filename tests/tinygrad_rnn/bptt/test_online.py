"""What holds for all forward methods: devices, dtypes, losses that come late, carries that hold no number."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, parts, problem
from tinygrad_rnn import io
from tinygrad_rnn.bptt import Problem, gradient, strategies, strategy
from tinygrad_rnn.bptt.online import Online, norm, signs
from tinygrad_rnn.random import Generator

WAYS = ["rtrl", "forward:2", "uoro", "kf-rtrl", "snap:1", "snap:2", "eprop", "eprop:random"]
EXACT_HERE = ["rtrl", "kf-rtrl", "snap:1", "eprop"]  # in a run with one step of past


def test_all_forward_methods_are_here():
    online = {name for name, kind in strategies().items() if issubclass(kind, Online)}
    assert online == {way.partition(":")[0] for way in WAYS} | {"rflo"}


@pytest.mark.parametrize("way", WAYS)
def test_they_give_the_same_on_every_device(way, device):
    p = problem("LSTM", hidden=3, batch=2, steps=4)
    here = gradient(p, way, rng=Generator(1)).gradients
    moved = [tg.tree.map(lambda x: x.to(device), part) for part in (p.carry, p.xs)]
    there = gradient(Problem(p.parameters.to(device), p.step, *moved), way, rng=Generator(1)).gradients
    assert {g.device for g in there.values()} == {device}
    assert difference({name: g.to("cpu") for name, g in there.items()}, here) < 1e-12


@pytest.mark.parametrize("way", WAYS)
def test_float32_stays_float32(way):
    p = problem("LSTM", hidden=3, batch=2, steps=4)
    p.parameters.astype("float32")
    carry, xs = (tg.tree.map(lambda x: x.astype("float32"), part) for part in (p.carry, p.xs[0]))
    found = gradient(Problem(p.parameters, p.step, carry, (xs, p.xs[1])), way)
    assert {g.dtype for g in found.gradients.values()} == {np.dtype("float32")}


@pytest.mark.parametrize("way", WAYS)
def test_updates_come_at_every_step_and_sum_up(way):
    p = problem("GRUResetAfter", hidden=3, steps=5)
    updates = list(strategy(way).updates(p, rng=Generator(2)))
    assert [u.t for u in updates] == [1, 2, 3, 4, 5]
    total = gradient(p, way, rng=Generator(2))
    np.testing.assert_allclose(sum(flat(u.gradients) for u in updates), flat(total.gradients), rtol=1e-12)
    np.testing.assert_allclose(total.loss, gradient(p).loss, rtol=1e-13)


@pytest.mark.parametrize("way", EXACT_HERE)
def test_the_state_may_be_made_by_the_first_step_and_the_loss_come_with_the_last(way):
    rng = np.random.default_rng(0)
    p = {k: tg.tensor(rng.standard_normal(s), requires_grad=True) for k, s in {"C": (2, 3), "V": (3, 2)}.items()}

    def begin(p, z, x):
        return {"h": tg.tanh(x @ p["C"]), "count": 0}, None

    def finish(p, z, x):
        return {}, tg.cross_entropy(z["h"] @ p["V"], tg.tensor([1]))

    x = tg.tensor(rng.standard_normal((1, 2)))
    run = Problem(p, lambda p, z, x: x[0](p, z, x[1]), None, [(begin, x), (finish, x)])
    found = gradient(run, way)
    assert difference(found.gradients, gradient(run).gradients) < 1e-12
    assert found.carry == {}


@pytest.mark.parametrize("way", WAYS)
def test_a_memory_can_be_written_and_read_back(way, tmp_path):
    p = problem("LSTM", hidden=3, steps=4)
    first, second = parts(p, 2)
    a = gradient(first(p.carry), way, rng=Generator(1))
    io.save(tmp_path / "memory", {"memory": a.memory})
    read = io.load(tmp_path / "memory")["memory"]
    b, c = (gradient(second(a.carry), way, memory=m, rng=Generator(2)) for m in (a.memory, read))
    np.testing.assert_array_equal(flat(b.gradients), flat(c.gradients))
    fresh = gradient(second(a.carry), way, rng=Generator(2))
    assert difference(fresh.gradients, b.gradients) > 1e-6


def test_a_last_step_may_keep_nothing_of_the_state():
    w = tg.tensor(np.array([2.0]), requires_grad=True)
    run = Problem(w, lambda w, h, last: ({}, (h * w).sum()) if last else (h * w, None), tg.ones((1,)), [False, True])
    assert gradient(run, "uoro").gradients.item() == gradient(run).gradients.item() == 4.0  # of w²
    found = gradient(run, "forward")
    np.testing.assert_allclose(found.gradients.numpy(), 4 * found.memory[0][0] ** 2, rtol=1e-6)
    assert found.memory[1].shape == (1, 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_complex_state_is_refused_before_starting(way):
    w = tg.tensor(np.ones((1, 1)), requires_grad=True)
    run = Problem(w, lambda w, h, x: (h * w, (h * h.conj()).real.sum()), tg.tensor(np.ones((1, 1), complex)), [0])
    with pytest.raises(ValueError, match="real states"):
        strategy(way).check(run)


def test_signs_are_signs_half_of_them_negative():
    found = signs(Generator(0), 10_000, np.zeros(1))
    assert set(np.unique(found)) == {-1.0, 1.0} and abs(found.mean()) < 0.04 and found.dtype == float


def test_the_norm_is_euclids():
    assert norm(np.array([3.0, 4.0])) == 5.0
