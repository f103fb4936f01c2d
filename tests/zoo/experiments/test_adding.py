"""Every method lowers the error of the same net; who solves what, and in which time, makes the table and the claims."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

import tinygrad_rnn as tg
from zoo.experiments import adding as experiment

FIRST, PLAIN, ADAM, SGD = experiment.METHODS


class Clock:
    """A second passes with every look at it."""

    def __init__(self) -> None:
        self.now = -1.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def trained(method: experiment.Method, seconds: float = 3, length: int = 6) -> experiment.Outcome:
    return experiment.train(length, method, seconds, tg.random.Generator(0), clock=Clock())


def test_targets_are_the_means_of_the_marked_numbers() -> None:
    xs, targets = (t.numpy() for t in experiment.sequences(tg.random.Generator(0), 9, 50))
    np.testing.assert_allclose(targets[:, 0], (xs[:, :, 0] * xs[:, :, 1]).sum(0) / 2, rtol=1e-6)
    np.testing.assert_array_equal(xs[:, :, 1].sum(0), 2)


@pytest.mark.parametrize("method", experiment.METHODS, ids=lambda m: m.name)
def test_every_method_lowers_the_error_and_stops_when_its_time_is_up(method: experiment.Method) -> None:
    untrained = trained(method, 0)
    assert untrained.updates == 0
    updates = {FIRST: 4, PLAIN: 4}.get(method, 150)
    found = trained(method, updates)
    assert (found.updates, found.seconds) == (updates, float(updates))
    assert found.error < 0.5 * untrained.error
    assert not found.solved


def test_hessian_free_solves_short_sequences_within_few_updates() -> None:
    found = trained(FIRST, 30)
    assert found.solved and found.updates < 30
    assert found.wrong < 2 * experiment.WRONG  # those it is tested on are others than those it stopped at


def test_an_answer_is_right_when_it_is_nearer_than_the_threshold(monkeypatch) -> None:
    class Off:
        def __call__(self, xs: tg.Tensor) -> tuple[tg.Tensor, None]:
            marked = (xs[:, :, 0] * xs[:, :, 1]).sum(0)[:, None] / 2
            return marked + tg.tensor(np.linspace(0, 0.0799, 1000, dtype=np.float32)[:, None]), None

    wrong, error = experiment.measured(Off(), tg.random.Generator(0), 5, 1000)  # type: ignore[arg-type]
    assert wrong == pytest.approx(0.5, abs=0.002)
    assert error == pytest.approx(0.0799**2 / 3, rel=1e-2)


def test_the_others_get_the_time_that_the_first_took(monkeypatch) -> None:
    asked = []

    def train(length: int, method: experiment.Method, seconds: float, rng: tg.random.Generator) -> experiment.Outcome:
        asked.append(seconds)
        return experiment.Outcome(length, method.name, True, 7, 0.5 * seconds, 0.001, 1e-5)

    monkeypatch.setattr(experiment, "train", train)
    said: list[str] = []
    result = experiment.run(full=False, seed=0, progress=said.append)
    assert asked == [42.0, 21.0, 21.0, 21.0]
    assert [row[1] for row in result.rows] == [m.name for m in experiment.METHODS] and len(said) == 4
    assert all(len(row) == len(result.header) for row in result.rows)
    assert len(json.loads(json.dumps(asdict(result)))["data"]["outcomes"]) == 4
    experiment.run(full=True, seed=0, progress=said.append)
    assert len(asked) == 4 + 3 * 4


@pytest.mark.parametrize(
    ("solved", "holds"),
    [
        ({FIRST.name}, [True, True]),
        ({FIRST.name, ADAM.name}, [True, False]),
        ({FIRST.name, SGD.name}, [True, False]),
        ({PLAIN.name}, [False, True]),
    ],
)
def test_claims_hold_or_not_as_the_outcomes_say(solved: set[str], holds: list[bool]) -> None:
    outcomes = [
        experiment.Outcome(T, m.name, m.name in solved or T == 50, 9, 1.0, 0.0, 0.1)
        for T in (50, 100)
        for m in experiment.METHODS
        if T == 100 or m is FIRST
    ] + [experiment.Outcome(50, m.name, False, 9, 1.0, 0.5, 0.1) for m in experiment.METHODS[1:]]
    assert [claim.holds for claim in experiment.claims(outcomes)] == holds
