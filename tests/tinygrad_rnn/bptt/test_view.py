"""The table of all strategies has a row for each, and says of each what its class and its runs say."""

from collections import Counter

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.bptt.online_problems import flat, problem
from tinygrad_rnn.bptt import gradient, kronecker, linearised, strategies, strategy
from tinygrad_rnn.bptt.strategy import usage
from tinygrad_rnn.bptt.view import ROWS, markdown, table

WRITTEN = {  # one way to write each, for a run of 12 steps
    "window": "2,4", "adaptive": "0.5", "segments": "4", "budget": "3", "chunks": "3", "artbp": "3", "snap": "1",
}  # fmt: skip


def way(name):
    return f"{name}:{WRITTEN[name]}" if name in WRITTEN else name


def test_every_strategy_has_its_row_and_no_row_is_left_over():
    assert list(ROWS) == [row.usage.partition(":")[0].partition("[")[0] for row in table()]
    assert set(ROWS) == set(strategies())
    assert len(markdown().splitlines()) == len(ROWS) + 4


@pytest.mark.parametrize("name", strategies())
def test_what_the_table_says_of_the_gradient_is_what_comes_out(name):
    (row,) = [row for row in table() if row.usage == usage(strategies()[name])]
    p = problem("ElmanRNN", hidden=3, steps=12)
    found = [flat(gradient(p, way(name), rng=tg.random.Generator(seed)).gradients) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (row.noise == "stochastic") == bool((found[0] != found[2]).any())
    exact = flat(gradient(p).gradients)
    assert (row.gradient == "exact") == bool(np.allclose(found[0], exact, rtol=0, atol=1e-12 * np.abs(exact).max()))


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row[0] == "past" or name == "full"])
def test_what_faces_the_past_gives_a_gradient_at_every_step_and_what_faces_the_future_does_not(name):
    p = problem("ElmanRNN", hidden=3, steps=5)
    updates = [update.t for update in strategy(way(name)).updates(p, rng=tg.random.Generator(0))]
    assert updates == ([1, 2, 3, 4, 5] if ROWS[name][0] == "past" else [5])


def size(memory):
    """How many numbers there are besides indices."""
    return sum(a.size for a in tg.tree.leaves(memory) if hasattr(a, "dtype") and a.dtype.kind == "f")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rtrl", lambda n, P, own, m: n * P), ("forward", lambda n, P, own, m: n + P),
        ("uoro", lambda n, P, own, m: n + P), ("kf-rtrl", lambda n, P, own, m: m + n * n),
        ("snap", lambda n, P, own, m: own), ("eprop", lambda n, P, own, m: own), ("rflo", lambda n, P, own, m: own),
    ],
)  # fmt: skip
def test_a_plain_nets_memory_is_what_the_table_says(name, expected):
    p = problem("ElmanRNN", hidden=5, inputs=3, steps=4)
    own, P = (sum(q.size for q in part.parameters()) for part in (p.parameters.cell, p.parameters))
    assert size(gradient(p, way(name)).memory) == expected(5, P, own, 3 + 5 + 1)


@pytest.mark.parametrize(
    ("name", "cell", "pullbacks", "pushes"),
    [
        ("rtrl", "LSTM", 10 + 1, 0), ("forward:3", "LSTM", 0, 3), ("uoro", "LSTM", 2, 1),
        ("kf-rtrl", "LSTM", 10 + 1, 0), ("snap:1", "LSTM", 10 + 2 + 1, 0), ("eprop", "LSTM", 2 * 2 + 1, 0),
        ("rflo", "ElmanRNN", 3 - 1, 0),
    ],
)  # fmt: skip
def test_a_step_of_five_units_takes_as_many_pullbacks_as_the_table_says(name, cell, pullbacks, pushes, monkeypatch):
    """One less of plain units, which don't reach themselves but through weights."""
    calls = Counter()

    def counted(kind, function):
        return lambda *args, **kwargs: (calls.update([kind]), function(*args, **kwargs))[1]

    updates = strategy(name).updates(problem(cell, hidden=5, steps=5), rng=tg.random.Generator(0))
    for _ in range(3):
        next(updates)
    for module in (linearised, kronecker):
        monkeypatch.setattr(module, "pull", counted("pull", module.pull))
    monkeypatch.setattr(linearised, "push", counted("push", linearised.push))
    next(updates)
    assert (calls["pull"], calls["push"]) == (pullbacks, pushes)
