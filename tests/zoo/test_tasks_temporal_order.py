"""temporal-order: where the two symbols come, and what can be told without their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from zoo.errors import UserError
from zoo.tasks.temporal_order import CLASSES, SYMBOLS, TemporalOrder, draw

MANY = 40_000


@pytest.fixture
def task():
    return TemporalOrder(TemporalOrder.resolve({"hidden": 5, "length": 12, "batch": 3}), seed=0, device="cpu")


@given(length=st.integers(10, 60), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_two_symbols_count_in_their_tenths_and_the_label_names_them_in_order(length, batch, seed):
    symbols, labels = (x.numpy() for x in draw(tg.random.Generator(seed), length, batch))
    assert symbols.shape == (length, batch) and labels.shape == (batch,)
    for b in range(batch):
        first, second = np.flatnonzero(symbols[:, b] < 2)
        assert length // 10 <= first < 2 * length // 10 and 4 * length // 10 <= second < 5 * length // 10
        assert CLASSES[labels[b]] == SYMBOLS[symbols[first, b]] + SYMBOLS[symbols[second, b]]


def test_the_baselines_are_what_the_best_guess_from_less_gets_right(task):
    symbols, labels = (x.numpy() for x in draw(tg.random.Generator(0), 10, MANY))
    later = symbols[4]
    known = {
        "how often each symbol comes, whatever their order": (symbols == 0).sum(0),
        "the later symbol alone": later,
        "always the same": np.zeros(MANY, int),
    }
    for score in task.baselines():
        clue = known[score.name]
        right = sum(np.bincount(labels[clue == c]).max() for c in np.unique(clue)) / MANY
        assert right == pytest.approx(score.value, abs=0.02)


def test_the_metric_is_the_share_of_sequences_whose_class_is_the_likeliest(task):
    labels = task.held_out[1].numpy()
    said = np.where(np.arange(len(labels)) % 50 == 0, (labels + 1) % 4, labels)
    task.answers = lambda: tg.tensor(np.eye(4)[said])
    assert task.evaluate() == pytest.approx(0.98)
    assert task.verdict().startswith("2.0% of 1000") and task.verdict().endswith("not yet")
    task.answers = lambda: tg.tensor(np.eye(4)[labels])
    assert task.verdict().endswith("it is")


def test_a_run_is_asked_about_the_users_own_sequence(task):
    config, weights = {"options": task.options, "seed": 0}, task.model.state_dict()
    said = TemporalOrder.generate(config, weights, prompt="aXbYc", device="cpu")
    assert said.startswith("aXbYc  ") and said.split()[1] in CLASSES
    for prompt, message in (("aZ", "character 'Z' at position 1"), ("", "the prompt is empty")):
        with pytest.raises(UserError, match=message):
            TemporalOrder.generate(config, weights, prompt=prompt, device="cpu")
