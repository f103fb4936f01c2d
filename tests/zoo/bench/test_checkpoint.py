"""`python -m zoo bench --checkpoint`: both sides do the same work, and what is shown is what was measured."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
import zoo
from zoo.__main__ import main
from zoo.bench import checkpoint
from zoo.bench.plan import LONG, SHORT, Size
from zoo.bench.table import checkpoint_line
from zoo.commands import bench

SMALL = Size(9, 2, 3, 4)
EVERY_WAY = pytest.mark.parametrize("way", LONG)


@EVERY_WAY
def test_both_sides_of_a_way_give_the_same_gradients(way):
    cell = zoo.LSTM(SMALL.I, SMALL.H, rng=tg.random.Generator(0))
    full, less = (tg.tree.leaves(run()) for run in checkpoint.runs(cell, SMALL, way, 1).values())
    assert len(full) == len(less) >= len(list(cell.parameters()))
    for a, b in zip(full, less, strict=True):
        assert np.abs(a.numpy()).max() > 0
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-6)


@EVERY_WAY
def test_a_job_measures_seconds_of_both_sides_or_the_bytes_of_one(way):
    (times,) = checkpoint.measure("LSTM", SMALL, way, None, rounds=2, threads=1)
    assert {name: len(seconds) for name, seconds in times["seconds"].items()} == {"full": 2, "sqrt": 2}
    (memory,) = checkpoint.measure("LSTM", SMALL, way, "sqrt", rounds=2, threads=1)
    assert memory["bytes"] is None or isinstance(memory["bytes"], int)


def test_a_line_holds_the_share_of_memory_and_of_time():
    seconds = {"full": [1.0, 1.0], "sqrt": [1.5, 1.5]}
    line = checkpoint_line("LSTM", LONG["auto"][0], "auto", seconds, 100_000_000, 4_000_000)
    assert [str(score) for score in line.scores.values()] == ["4% ≤ 5%", "1.50 ≤ 1.6"] and not line.missed
    assert line.facts == {"full, s": "1.00", "full, MB": "100", "checkpointed, MB": "4.00"}
    assert checkpoint_line("LSTM", LONG["auto"][0], "auto", seconds, 100, 6).missed == 1


def test_short_sequences_and_unknown_memory_have_nothing_to_reach():
    seconds = {"full": [1.0], "sqrt": [9.0]}
    assert checkpoint_line("LSTM", SHORT, "auto", seconds, 100, 90).missed == 0
    assert list(checkpoint_line("LSTM", SHORT, "auto", seconds, None, None).scores) == ["time ÷ full"]


@pytest.fixture
def asked(monkeypatch):
    jobs = []

    def results(job, **options):
        jobs.append((job, options))
        if options["side"] is None:
            yield {"seconds": {"full": [1.0], "sqrt": [1.3]}}
        else:
            yield {"bytes": 10**8 if options["side"] == "full" else 2 * 10**6}

    monkeypatch.setattr(bench, "results", results)
    return jobs


def test_the_command_measures_every_way_in_processes_of_their_own(asked, capsys):
    assert main(["bench", "--checkpoint"]) == 0
    assert len(asked) == 3 * sum(map(len, LONG.values())) and {job for job, _ in asked} == {"checkpoint"}
    assert {options["way"] for _, options in asked} == set(LONG)
    out = capsys.readouterr().out
    assert "2% ≤ 5%" in out and "1.30 ≤ 1.6" in out and "!" not in out


def test_quick_is_short_and_a_cell_and_threads_may_be_named(asked):
    assert main("bench --checkpoint --quick --cell GRU --threads 1".split()) == 0
    assert {(options["cell"], options["size"], options["threads"]) for _, options in asked} == {("GRU", SHORT, 1)}


@pytest.mark.parametrize("line", ["--checkpoint --eager", "--checkpoint --vs torch"])
def test_what_does_not_go_together_is_refused(line, asked, capsys):
    assert main(["bench", *line.split()]) == 2
    assert "--checkpoint" in capsys.readouterr().err and asked == []
