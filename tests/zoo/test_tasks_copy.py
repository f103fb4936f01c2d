"""copy: what is shown, what is asked for, and what can be had without memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.copy import ALPHABET, BLANK, COUNT, GO, Copy, draw

SMALL = {"hidden": 5, "length": 7, "batch": 3, "steps": 10}


@pytest.fixture
def task():
    return Copy(Copy.resolve(SMALL), seed=0, device="cpu")


@given(gap=st.integers(1, 30), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_ten_symbols_a_gap_the_sign_to_begin_and_the_symbols_as_targets_of_the_last_ten_steps(gap, batch, seed):
    inputs, targets = (x.numpy() for x in draw(tg.random.Generator(seed), gap, batch))
    assert inputs.shape == targets.shape == (gap + 2 * COUNT, batch)
    assert (inputs[:COUNT] < BLANK).all() and (inputs[:COUNT] == targets[-COUNT:]).all()
    assert (targets[:-COUNT] == BLANK).all()
    assert (inputs[COUNT + gap - 1] == GO).all()
    rest = np.delete(inputs[COUNT:], gap - 1, axis=0)
    assert (rest == BLANK).all()


def test_all_symbols_are_equally_likely():
    counts = np.bincount(draw(tg.random.Generator(0), 1, 8000)[0].numpy()[:COUNT].ravel(), minlength=8)
    assert (abs(counts / 80_000 - 1 / 8) < 0.006).all()  # five standard deviations


def test_the_baseline_is_the_loss_of_blanks_and_then_any_symbol(task):
    xs, targets = task.held_out
    logits = np.full((*xs.shape[:2], BLANK + 1), -50.0)
    logits[:-COUNT, :, BLANK] = 50
    logits[-COUNT:, :, :BLANK] = 50
    (baseline,) = task.baselines()
    assert tg.cross_entropy(tg.tensor(logits), targets).item() == pytest.approx(baseline.value, rel=1e-9)


def test_the_verdict_counts_symbols_and_tens(task):
    wanted = np.eye(BLANK + 1)[task.held_out[1].numpy()]
    task.answers = lambda: tg.tensor(wanted)
    assert "100.0% of the symbols come back, 100.0% of the tens" in task.verdict()
    wanted[-1, ::2] = np.eye(BLANK + 1)[(task.held_out[1].numpy()[-1, ::2] + 1) % 8]  # a mistake in every second ten
    assert "95.0% of the symbols come back, 50.0% of the tens" in task.verdict()
    assert task.sample()[1].count("→") == 5


def test_the_example_shows_a_gap_of_two(task):
    shown = "".join(task.captions())
    assert len(shown) == 6 and shown[2:] == "·:··" and set(shown[:2]) <= set(ALPHABET[:8])
    assert task.example().shape == ()


def test_a_run_is_asked_to_copy_what_it_is_given(task):
    config, weights = {"options": task.options, "seed": 0}, task.model.state_dict()
    said = Copy.generate(config, weights, prompt="abc", device="cpu")
    assert said.startswith("abc → ") and len(said) == 9
    with pytest.raises(UserError, match="character 'z' at position 1 is not among the 8 characters"):
        Copy.generate(config, weights, prompt="az", device="cpu")
