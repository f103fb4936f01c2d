"""The three methods differ by what is done to one gradient, and the claims follow from who solved what."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import tinygrad_rnn as tg
from zoo.experiments import temporal_order as experiment

SMALL = experiment.Sizes(lengths=(10, 30), nets=2, updates=3, every=2)
SGD, CLIPPED, REGULARISED = experiment.METHODS


@pytest.fixture
def batch() -> tuple[experiment.Net, tg.Tensor, tg.Tensor]:
    rng = tg.random.Generator(0)
    xs, labels = next(experiment.batches(rng, 12, 1))
    return experiment.Net(rng).astype("float64"), xs.astype("float64"), labels


def test_a_net_begins_sparse_with_a_spectral_radius_just_below_one() -> None:
    net = experiment.Net(tg.random.Generator(0))
    assert net.spectral_radius() == pytest.approx(0.95, rel=1e-5)
    np.testing.assert_array_equal((net.cell.U.numpy() != 0).sum(axis=1), experiment.LINKS)


def test_batches_are_one_hot_and_as_many_as_asked_for() -> None:
    found = list(experiment.batches(tg.random.Generator(0), 10, 53))
    assert len(found) == 53
    for xs, labels in found:
        assert xs.shape == (10, experiment.BATCH, 6) and labels.shape == (experiment.BATCH,)
        np.testing.assert_array_equal(xs.numpy().sum(axis=2), 1)
        symbols = xs.numpy().argmax(axis=2).T
        first, second = symbols[symbols < 2].reshape(experiment.BATCH, 2).T
        np.testing.assert_array_equal(labels.numpy(), 2 * first + second)


def test_the_regularised_gradient_is_that_of_the_loss_plus_that_of_the_penalty(batch) -> None:
    net, xs, labels = batch
    plain, regularised = (experiment.gradient(net, xs, labels, method) for method in (SGD, REGULARISED))
    none = experiment.gradient(net, xs, labels, replace(REGULARISED, penalty=1e-300))
    for path, g in plain.items():
        np.testing.assert_allclose(none[path].numpy(), g.numpy(), rtol=0, atol=1e-14)
    U, along, eps = net.cell.U, np.random.default_rng(0).standard_normal(net.cell.U.shape), 1e-6
    problem = tg.bptt.Problem(net, experiment._step, net.cell.init_state(xs.shape[1], dtype="float64"), xs)
    loss = lambda net, s: tg.cross_entropy(net.head(s.h[-1]), labels)  # noqa: E731
    frozen, values = tg.bptt.state_messages(problem, loss), U.data

    def omega(by: float) -> float:
        U.data = values + by * along
        return tg.bptt.vanishing_penalty(problem, net, frozen).item() / len(xs)

    difference = (omega(eps) - omega(-eps)) / (2 * eps)
    added = ((regularised["cell/U"].numpy() - plain["cell/U"].numpy()) * along).sum()
    assert added == pytest.approx(experiment.PENALTY * difference, rel=1e-6)


def test_nets_begin_equal_and_see_equal_sequences_whatever_the_method() -> None:
    sizes = replace(SMALL, updates=1, every=1)
    found = [experiment.train(10, m, 0, sizes, tg.random.Generator(5)) for m in (SGD, replace(SGD, clip=1e9))]
    assert found[0] == found[1]


def test_clipping_bounds_what_an_update_changes(monkeypatch) -> None:
    norms = []
    for method in (SGD, replace(CLIPPED, clip=1e-6)):
        rng = tg.random.Generator(0)
        before = experiment.Net(rng.fork("net")).state_dict()
        kept: list[experiment.Net] = []
        monkeypatch.setattr(experiment, "wrong", lambda net, *_, kept=kept: kept.append(net) or 1.0)
        experiment.train(10, method, 0, replace(SMALL, updates=1, every=1), rng)
        after = kept[0].state_dict()
        norms.append(np.sqrt(sum(((after[path] - before[path]) ** 2).sum() for path in before)))
    assert norms[1] < 1.1e-6 * experiment.RATE + 1e-7 < norms[0]


def test_a_run_trains_every_method_at_every_length_and_is_the_same_again(monkeypatch) -> None:
    monkeypatch.setattr(experiment, "Sizes", lambda *_: SMALL)
    said: list[str] = []
    first, again = (experiment.run(full=False, seed=1, progress=said.append) for _ in range(2))
    assert json.dumps(asdict(first)) == json.dumps(asdict(again))
    assert [row[:2] for row in first.rows] == [(T, m.name) for T in ("10", "30") for m in experiment.METHODS]
    assert all(len(row) == len(first.header) for row in first.rows) and len(said) == 12
    assert len(first.data["outcomes"]) == 12


@pytest.mark.parametrize(
    ("solved", "holds"),
    [
        ({"SGD": (2, 0), "SGD-C": (2, 0), "SGD-CR": (2, 2)}, [True, False, True, True]),
        ({"SGD": (1, 0), "SGD-C": (2, 0), "SGD-CR": (2, 1)}, [True, True, True, False]),
        ({"SGD": (1, 1), "SGD-C": (2, 1), "SGD-CR": (2, 1)}, [False, True, False, False]),
        ({"SGD": (2, 0), "SGD-C": (2, 0), "SGD-CR": (1, 2)}, [True, False, False, False]),
    ],
)
def test_claims_hold_or_not_as_the_outcomes_say(solved: dict[str, tuple[int, int]], holds: list[bool]) -> None:
    outcomes = [
        experiment.Outcome(T, name, net, 100 if net < counts[at] else None, 0.0, 1.0, 1.0)
        for at, T in enumerate(SMALL.lengths)
        for name, counts in solved.items()
        for net in range(SMALL.nets)
    ]
    assert [claim.holds for claim in experiment.claims(outcomes, 3)] == holds
