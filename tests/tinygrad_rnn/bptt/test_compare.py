"""Estimators beside the exact gradient: measured numbers are those that theory, or a made-up estimator, says."""

import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.bptt.online_problems import flat, problem
from tinygrad_rnn.bptt import Problem, Strategy, Update, compare, cuts, gradient
from tinygrad_rnn.bptt.compare import _statistics


@dataclass(frozen=True)
class Made(Strategy):
    """The exact gradient g made wrong: ``shift`` · g is added, and noise of ‖g‖ ``noise`` in all; it may hold bytes."""

    shift: float = 0.0
    noise: float = 0.0
    held: int = 0
    sleep: float = 0.0
    refuses: bool = False
    forks: bool = False

    name = "made"

    def check(self, problem):
        if self.refuses:
            raise ValueError("made would need 3 EiB")

    def updates(self, problem, *, memory=None, rng=None):
        found = gradient(problem)
        leaves, structure = tg.tree.flatten(found.gradients)
        spread = self.noise * np.linalg.norm(flat(found.gradients)) / np.sqrt(sum(g.size for g in leaves))
        if self.forks:
            rng = rng.fork("noise")
        held = np.ones(self.held, np.int8)
        time.sleep(self.sleep)
        moved = [
            (1 + self.shift) * g + (rng.normal(g.shape, std=spread, dtype="float64") if self.noise else 0)
            for g in leaves
        ]
        del held
        yield Update(found.loss, tg.tree.unflatten(structure, moved), found.carry, None, len(problem))


@pytest.fixture(scope="module")
def lstm():
    return problem("LSTM", hidden=3, steps=6)


def measured(problem, way, **options):
    (found,) = compare(problem, [way], **options)
    assert found.refused is None
    return found.measured


def test_what_draws_nothing_runs_once_and_has_its_error_for_a_bias(lstm):
    found = measured(lstm, "chunks:2")
    exact, cut = (flat(gradient(lstm, way).gradients) for way in ("full", "chunks:2"))
    assert found.runs == 1 and found.variance == 0
    assert found.bias.low == found.bias.value == found.bias.high
    assert np.isclose(found.bias.value, np.linalg.norm(cut - exact) / np.linalg.norm(exact), rtol=1e-12)
    cosine = exact @ cut / np.linalg.norm(exact) / np.linalg.norm(cut)
    assert np.isclose(found.cosine.value, cosine, rtol=1e-12) and found.cosine.low == found.cosine.high


@pytest.mark.parametrize("way", ["chunks:1", "chunks:2", "chunks:4", "window:1,3", "window:2,4"])
def test_the_measured_bias_of_truncation_is_the_sum_over_its_cuts(lstm, way):
    lost = np.concatenate([each.array.sum(0).reshape(-1) for each in cuts(lstm, way).lost.values()])
    bias = np.linalg.norm(lost) / np.linalg.norm(flat(gradient(lstm).gradients))
    assert bias > 0.01 and np.isclose(measured(lstm, way).bias.value, bias, rtol=1e-12)


@pytest.mark.parametrize("forks", [False, True])
def test_what_draws_random_numbers_runs_once_a_seed_however_it_gets_them(lstm, forks):
    found = measured(lstm, Made(noise=1.0, forks=forks), seeds=30)
    assert found.runs == 30 and found.variance > 0


def test_noise_shows_as_variance_and_a_shift_as_bias(lstm):
    noisy, shifted = (measured(lstm, Made(shift=s, noise=2.0), seeds=100) for s in (0.0, 3.0))
    for found in (noisy, shifted):
        assert np.isclose(found.variance, 4.0, rtol=0.1)  # 100 times 60 numbers
    assert noisy.bias.low == 0 and noisy.bias.value < 0.3
    assert shifted.bias.low < 3 < shifted.bias.high and shifted.bias.high - shifted.bias.low < 1
    assert noisy.cosine.low < 1 / np.sqrt(5) < noisy.cosine.high  # of a unit vector and one with noise of length 2


def test_more_confidence_takes_wider_intervals(lstm):
    wide, narrow = (measured(lstm, Made(shift=9.0, noise=1.0), seeds=20, confidence=c) for c in (0.99, 0.5))
    for a, b in ((wide.bias, narrow.bias), (wide.cosine, narrow.cosine)):
        assert a.low < b.low < a.value == b.value < b.high < a.high


@pytest.mark.parametrize("bias", [0.0, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_intervals_hold_the_true_bias_as_often_as_they_say(bias, heavy):
    rng, P, trials = np.random.default_rng(0), 20, 150
    exact = np.full(P, 1 / np.sqrt(P))
    scale = np.geomspace(1, 0.01, P)
    held = 0
    for _ in range(trials):
        noise = rng.standard_normal((40, P)) * (rng.exponential(size=(40, 1)) if heavy else 1)
        found = _statistics(list(exact * (1 + bias) + scale * noise), exact, 0.95)[0]
        held += found.low <= bias <= found.high
    assert held / trials >= 0.9


def test_rows_come_as_they_were_asked_for_and_one_that_cannot_says_why(lstm):
    found = compare(lstm, ["rtrl", Made(refuses=True), "full", "rtrl"])
    assert [each.strategy for each in found] == ["rtrl", str(Made(refuses=True)), "full", "rtrl"]
    assert [each.refused for each in found] == [None, "made would need 3 EiB", None, None]
    assert found[1].measured is None and found[0].measured.bias.value < 1e-12
    assert found[2].measured.ratio == 1 and found[2].measured.bias.value == 0


def test_seconds_are_those_that_a_run_takes_and_their_ratio_is_to_full(lstm):
    found = {each.strategy: each.measured for each in compare(lstm, ["full", Made(sleep=0.05)])}
    slow, full = found[str(Made(sleep=0.05))], found["full"]
    assert slow.seconds >= 0.05 and slow.ratio == slow.seconds / full.seconds


def test_memory_is_what_is_held_at_once(lstm):
    size = 50_000_000
    found = measured(lstm, Made(held=size))
    assert size < found.memory < 1.1 * size
    assert not tracemalloc.is_tracing()


def test_memory_is_measured_also_while_somebody_else_traces(lstm):
    tracemalloc.start()
    try:
        assert measured(lstm, Made(held=50_000_000)).memory > 50_000_000 and tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_checkpoints_take_less_memory_than_full():
    long = problem("LSTM", hidden=8, steps=64)
    found = {each.strategy: each.measured.memory for each in compare(long, ["full", "sqrt"])}
    assert found["sqrt"] < found["full"] / 3


def test_progress_counts_up_to_all_estimates(lstm):
    heard = []
    compare(lstm, ["chunks:2", Made(noise=1.0)], seeds=7, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(i + 1, 5 + 5 + 7) for i in range(17)]


def test_what_cannot_be_compared_is_refused(lstm):
    with pytest.raises(ValueError, match="there is no strategy 'chunk'"):
        compare(lstm, ["chunk:3"])
    with pytest.raises(ValueError, match="1 seeds show no variance"):
        compare(lstm, ["full"], seeds=1)
    with pytest.raises(ValueError, match="between 0 and 1, not 95"):
        compare(lstm, ["full"], confidence=95)
    w = tg.tensor(1.0, requires_grad=True)
    still = Problem(w, lambda w, z, x: (z, (w * 0).sum()), tg.zeros(2), [None])
    with pytest.raises(ValueError, match="the exact gradient is 0"):
        compare(still, ["full"])
