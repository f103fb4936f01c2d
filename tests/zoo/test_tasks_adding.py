"""adding: two marks, one sum, and how far off the mean of all sums is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.adding import Adding, draw


@pytest.fixture
def task():
    return Adding(Adding.resolve({"hidden": 5, "length": 8, "batch": 3}), seed=0, device="cpu")


@given(length=st.integers(2, 40), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_one_number_of_each_half_is_marked_and_the_target_is_their_sum(length, batch, seed):
    xs, targets = (x.numpy() for x in draw(tg.random.Generator(seed), length, batch))
    numbers, marks = xs[..., 0], xs[..., 1]
    assert xs.shape == (length, batch, 2) and targets.shape == (batch, 1)
    assert set(marks.ravel()) <= {0.0, 1.0}
    assert (marks[: length // 2].sum(0) == 1).all() and (marks[length // 2 :].sum(0) == 1).all()
    assert (numbers >= 0).all() and (numbers < 1).all()
    np.testing.assert_allclose((numbers * marks).sum(0), targets[:, 0], rtol=1e-6)


def test_always_saying_one_has_the_error_of_the_baseline(task):
    _, targets = draw(tg.random.Generator(0), 10, 50_000)
    off = (targets.numpy() - 1) ** 2
    assert off.mean() == pytest.approx(task.baselines()[0].value, abs=5 * float(off.std()) / 50_000**0.5)


def test_every_place_of_a_half_is_marked_equally_often():
    xs, _ = draw(tg.random.Generator(0), 10, 20_000)
    assert abs(xs.numpy()[..., 1].mean(1) - 0.2).max() < 5 * (0.16 / 20_000) ** 0.5


def test_the_verdict_is_the_share_of_sums_that_are_near(task):
    sums = task.held_out[1].numpy()
    off = np.where(np.arange(len(sums)) % 4 == 0, 0.09, 0.07)[:, None]
    task.answers = lambda: tg.tensor(sums + off)
    assert task.verdict().startswith("75.0% of 1000 held-out sums")
    assert task.sample()[1].splitlines()[0].count("+") == 1


def test_the_captions_mark_what_is_to_be_added(task):
    assert len(task.captions()) == 6 and sum(caption.endswith("*") for caption in task.captions()) == 2


def test_a_run_is_asked_for_a_sum_of_the_users_own_numbers(task):
    config, weights = {"options": task.options, "seed": 0}, task.model.state_dict()
    assert "the marked ones add up to 0.750" in Adding.generate(config, weights, prompt="0.5* 0.9 0.25*", device="cpu")
    for prompt, message in (("0.5 x*", "'x\\*' is no number"), (" ", "the prompt is empty")):
        with pytest.raises(UserError, match=message):
            Adding.generate(config, weights, prompt=prompt, device="cpu")
