"""Norms by lag are those of products of Jacobians, and the table and the claims follow from them."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.experiments import lag_norms as experiment

SMALL = experiment.Sizes(T=12, hidden=6, updates=3, batch=4, rows=5)


@pytest.mark.parametrize("name", experiment.CELLS)
def test_norms_by_lag_are_those_of_the_gradient_times_the_jacobians_of_the_steps_between(name: str) -> None:
    rng = tg.random.Generator(0)
    net = experiment.Net(experiment.CELLS[name](6, rng, 12), rng).astype("float64")
    xs, labels = experiment.sequences(rng, 12, 1, np.float64)
    states = [net.rnn.cell.init_state(1, dtype="float64")]
    problem = tg.bptt.Problem(net, lambda net, s, x: (net.rnn.cell(x, s)[1], None), states[0], xs)
    steps = [tg.bptt.Linearised(problem, states[0], 0)]
    for t in range(1, 12):
        steps.append(tg.bptt.Linearised(problem, steps[-1].carry, t))
    last = tg.grad(lambda s: tg.cross_entropy(net.head(s.h), labels))(steps[-1].carry)
    delta = np.concatenate([g.numpy().ravel() for g in tg.tree.leaves(last)])
    norms = [np.linalg.norm(delta)]
    for step in reversed(steps[1:]):
        delta = delta @ step.jacobians()[1]
        norms.append(np.linalg.norm(delta))
    found = experiment.lag_norms(net, xs, labels)
    np.testing.assert_allclose(found, np.array(norms) / norms[0], rtol=1e-10)


def test_a_contraction_shrinks_every_message_by_at_least_its_factor() -> None:
    rng = tg.random.Generator(3)
    net = experiment.Net(experiment.contractive(8, rng, 0), rng).astype("float64")
    norms = experiment.lag_norms(net, *experiment.sequences(rng, 30, 4, np.float64))
    assert (norms <= experiment.CONTRACTION ** np.arange(30) * (1 + 1e-6)).all()


def test_the_lstm_of_1997_keeps_all_of_its_cell_state() -> None:
    cell = experiment.without_forget_gate(4, tg.random.Generator(0), 0)
    cell.input.weight.data = np.zeros_like(cell.input.weight.data)
    cell.U.data = np.zeros_like(cell.U.data)
    state = cell.init_state(1)._replace(c=tg.ones((1, 4)))
    np.testing.assert_array_equal(cell(tg.zeros((1, 6)), state)[1].c.numpy(), 1)


def test_a_run_measures_every_cell_before_and_after_and_is_the_same_again(monkeypatch) -> None:
    monkeypatch.setattr(experiment, "Sizes", lambda **_: SMALL)
    said: list[str] = []
    first, again = (experiment.run(full=False, seed=1, progress=said.append) for _ in range(2))
    assert json.dumps(asdict(first)) == json.dumps(asdict(again))
    assert [row[:2] for row in first.rows] == [(name, n) for name in experiment.CELLS for n in ("0", "3")]
    assert all(len(row) == len(first.header) for row in first.rows) and len(said) == 2 * len(experiment.CELLS)
    assert all(len(curve["norms"]) == SMALL.T for curve in first.data["curves"])
    assert len(first.claims) == 4


def curves(**factors: float) -> dict[tuple[str, int], experiment.Curve]:
    """Straight lines of the given factors, the others' 0.9; only nets with a factor of 1 learn."""
    found = {}
    for name in experiment.CELLS:
        factor = factors.get(name.partition(",")[0].replace(" ", "_"), 0.9) if "chrono" not in name else 1.0
        for updates in (0, SMALL.updates):
            norms = tuple(factor ** np.arange(SMALL.T))
            found[name, updates] = experiment.Curve(name, updates, 0.0 if factor == 1 else 0.7, norms, factor, 1.0)
    return found


@pytest.mark.parametrize(
    ("factors", "holds"),
    [
        ({"LSTM_of_1997": 1.0, "LSTM": 1.0}, [True, True, True, False]),
        ({"LSTM_of_1997": 1.0}, [True, True, False, True]),
        ({"LSTM": 1.0}, [True, False, True, False]),
        ({"ElmanRNN": 1.0, "LSTM": 1.0}, [False, False, False, False]),
    ],
)
def test_claims_hold_or_not_as_the_curves_say(factors: dict[str, float], holds: list[bool]) -> None:
    assert [claim.holds for claim in experiment.claims(curves(**factors), SMALL)] == holds


def test_cells_differ_only_by_what_their_names_say() -> None:
    rng = tg.random.Generator(0)
    plain, chrono = (experiment.CELLS[name](5, rng, 20) for name in ("GRU", "GRU, chrono"))
    assert type(plain) is type(chrono) is zoo.GRU
    for path, p in plain.parameters_by_path().items():
        same = np.array_equal(p.numpy(), chrono.parameters_by_path()[path].numpy())
        assert same == (path != "input/bias"), path
