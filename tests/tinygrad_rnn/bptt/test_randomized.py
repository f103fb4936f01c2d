"""ARTBP: the gradient on average over all patterns of cuts, exactly; and by numbers drawn, within their error."""

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
import zoo
from tests.tinygrad_rnn.bptt.online_problems import difference, flat, problem
from tinygrad_rnn.bptt import ARTBP, Problem, gradient, strategy

WAYS = [ARTBP(3, "fixed"), ARTBP(3), ARTBP(1.5, "power", 2.5), ARTBP(5, "power", 3.0, 2), ARTBP(7, "fixed", stride=3)]


class Cuts(tg.random.Generator):
    """Cuts where it is told to, and knows how probable that was."""

    def __init__(self, pattern):
        super().__init__(0)
        self.pattern, self.taken, self.probability = pattern, 0, 1.0

    def bernoulli(self, shape, p, *, dtype="float32", device="cpu"):
        bit = self.pattern[self.taken]
        self.taken += 1
        self.probability *= p if bit else 1 - p
        return tg.tensor(float(bit))


def by_pattern(problem, way):
    """The probability and the estimate of every pattern of cuts."""
    places = -(-len(problem) // way.stride) - 1
    for pattern in product((0, 1), repeat=places):
        rng = Cuts(pattern)
        estimate = gradient(problem, way, rng=rng)
        assert rng.taken == places
        yield rng.probability, estimate


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "MLSTM"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_over_all_patterns_of_cuts_the_mean_is_the_gradient(cell, way):
    p = problem(cell, steps=7)
    found = list(by_pattern(p, way))
    expected = gradient(p)
    assert sum(weight for weight, _ in found) == pytest.approx(1, abs=1e-12)
    assert all(estimate.loss == pytest.approx(expected.loss, abs=1e-12) for _, estimate in found)
    mean = sum(weight * flat(estimate.gradients) for weight, estimate in found)
    np.testing.assert_allclose(mean, flat(expected.gradients), rtol=0, atol=1e-10 * abs(mean).max())
    assert max(difference(estimate.gradients, expected.gradients) for _, estimate in found) > 0.01


@pytest.mark.parametrize("cell", zoo.names())
def test_every_cell_is_right_on_average(cell):
    p = problem(cell, steps=4)
    mean = sum(weight * flat(estimate.gradients) for weight, estimate in by_pattern(p, ARTBP(2)))
    np.testing.assert_allclose(mean, flat(gradient(p).gradients), rtol=0, atol=1e-10 * abs(mean).max())


def test_messages_are_weighted_by_every_place_they_cross():
    """``s_t = w s_{t−1} + x_t, ℓ_t = c_t s_t`` by hand: the weight of a pair is the inverse of its probability."""
    rng = np.random.default_rng(1)
    x, c, w = rng.standard_normal(6), rng.standard_normal(6), 0.8
    p = Problem(
        tg.tensor(np.array(w), requires_grad=True),
        lambda w, s, x: ((s := w * s + x[0]), x[1] * s),
        tg.tensor(np.array(0.3)), (tg.tensor(x), tg.tensor(c)),
    )  # fmt: skip
    states = [0.3]
    for value in x:
        states.append(w * states[-1] + value)
    for way in (ARTBP(2), ARTBP(3, "fixed")):
        for pattern in product((0, 1), repeat=5):
            expected = 0.0
            for t in range(6):
                for use in range(t + 1):
                    weight = 1.0
                    for place in range(use, t):  # after step `place`
                        since = 1 + next((i for i in range(place) if pattern[place - 1 - i]), place)
                        weight *= 0 if pattern[place] else 1 / (1 - way.probability(since))
                    expected += c[t] * w ** (t - use) * weight * states[use]
            assert gradient(p, way, rng=Cuts(pattern)).gradients.item() == pytest.approx(expected, rel=1e-12)


@given(st.floats(1.2, 50), st.floats(2.5, 8), st.integers(1, 3))
def test_cuts_come_as_far_apart_on_average_as_asked(length, alpha, stride):
    length *= stride
    for way in (ARTBP(length, "fixed", alpha, stride), ARTBP(length, "power", alpha, stride)):
        more = np.cumprod([1.0] + [1 - way.probability(i) for i in range(1, 10_000 if way.law == "power" else 2000)])
        rest = more[-1] * len(more) / (alpha - 1) if way.law == "power" else 0.0  # P(longer than l) ~ l^−α
        assert stride * (more.sum() + rest) == pytest.approx(length, rel=1e-3)


def test_long_messages_weigh_less_under_the_law_of_powers():
    def weight(way, lag):
        return prod(1 / (1 - way.probability(i)) for i in range(1, lag + 1))

    fixed, power = ARTBP(20, "fixed"), ARTBP(20)
    assert weight(fixed, 400) / weight(fixed, 200) == pytest.approx(weight(fixed, 200), rel=1e-9)
    assert weight(power, 4000) / weight(power, 2000) == pytest.approx(2**4, rel=0.1)
    assert weight(power, 400) < 1e-4 * weight(fixed, 400)


def test_for_a_trained_lstm_the_gradient_lies_in_the_confidence_interval():
    p = problem("LSTM", hidden=4, steps=12, batch=2)
    optimizer = tg.optim.Adam(p.parameters, lr=0.05)
    begin = gradient(p).loss
    for _ in range(30):
        optimizer.step(gradient(p).gradients)
    exact = gradient(p)
    assert exact.loss < 0.7 * begin
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((5, flat(exact.gradients).size))  # a few numbers that stand for all
    expected = direction @ flat(exact.gradients)
    cut = direction @ flat(gradient(p, "chunks:4").gradients)
    for way in ("artbp:4,fixed", "artbp:4"):
        seeds = 100
        drawn = np.array(
            [direction @ flat(gradient(p, way, rng=tg.random.Generator(seed)).gradients) for seed in range(seeds)]
        )
        mean, error = drawn.mean(axis=0), drawn.std(axis=0, ddof=1) / np.sqrt(seeds)
        assert (abs(mean - expected) < 3.5 * error).all()
        assert (abs(cut - expected) > 3.5 * error).any()  # what the interval tells apart from truncation


def test_a_seed_gives_the_same_cuts_again():
    p = problem("GRU", steps=30)
    ends = [[u.t for u in ARTBP(4).updates(p, rng=tg.random.Generator(seed))] for seed in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]
    assert all(end[-1] == 30 for end in ends)


def test_between_two_places_for_a_cut_the_fast_way_is_used():
    p = problem("ElmanRNN", steps=14)
    lengths = []

    def segment(model, z, xs):
        lengths.append(len(xs[0]))
        return Problem(model, p.step, z, xs).run(model, z, 0, len(xs[0]))

    fast = Problem(p.parameters, p.step, p.carry, p.xs, segment)
    way = ARTBP(8, stride=4)
    found, expected = (gradient(each, way, rng=tg.random.Generator(3)).gradients for each in (fast, p))
    assert difference(found, expected) == 0
    assert lengths == [4, 4, 4, 2]


def test_weights_are_applied_where_the_arrays_are(device):
    w = tg.tensor(np.array([0.5, 0.8]), requires_grad=True).to(device)
    xs = tg.tensor(np.arange(12.0).reshape(6, 2)).to(device)

    def step(w, z, x):
        z = tg.tanh(w * z) + x
        return z, z.sum()

    p = Problem(w, step, tg.tensor(np.zeros(2)).to(device), xs)
    found = gradient(p, "artbp:3", rng=Cuts((0, 1, 0, 0, 0))).gradients
    here = Problem(tg.tensor(w.numpy(), requires_grad=True), step, tg.tensor(np.zeros(2)), tg.tensor(xs.numpy()))
    assert found.device == w.device
    np.testing.assert_allclose(
        found.numpy(), gradient(here, "artbp:3", rng=Cuts((0, 1, 0, 0, 0))).gradients.numpy(), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("artbp:10,poisson", "'poisson' is no law of truncation; there are fixed, power"),
        ("artbp:1", "the mean must be larger"),
        ("artbp:1,fixed", "the mean must be larger"),
        ("artbp:4,power,4,4", "possible after every 4"),
        ("artbp:nan", "the mean must be larger"),
        ("artbp:10,power,1", "finite mean length for alpha > 1"),
    ],
)
def test_laws_that_cannot_be_made_up_for_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strategy(text)
