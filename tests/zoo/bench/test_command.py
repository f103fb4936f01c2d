"""`python -m zoo bench`: options, errors, exit status, the file of numbers; the measuring itself is replaced."""

from __future__ import annotations

import importlib.util
import json

import pytest

import zoo
from zoo.__main__ import main
from zoo.commands import bench

ABSENT = {"torch": "pip install torch==2.13.0", "jax": "pip install jax"}


@pytest.fixture
def asked(monkeypatch):
    """The jobs that were started; each contestant takes 2 s, we take 1 s, all hold 100 bytes and start in 0.25 s."""
    jobs = []

    def results(job, **options):
        jobs.append((job, options))
        if job == "memory":
            yield {"bytes": 100}
        if job == "start":
            yield {"seconds": 0.25}
        for cell, size in options.get("contests", ()):
            seconds = {"ours": [1.0] * 3, "torch loop": [2.0] * 3}
            if cell in ("LSTM", "GRUResetAfter", "ElmanRNN"):
                seconds["torch.nn"] = [4.0] * 3
            found = {"cell": cell, "size": list(size), "threads": options["threads"], "seconds": seconds}
            yield {**found, "peak": [1e9] * 3, "peak of": "NumPy", "flops": 9e8} if options["threads"] == 1 else found
        if job == "eager":
            yield {"name": "50 × tanh", "limit": 1.5, "seconds": {"ours": [1.0], "torch": [2.0]}}

    monkeypatch.setattr(bench, "results", results)
    monkeypatch.setattr(bench, "processors", lambda: 2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return jobs


def test_by_default_every_cell_is_measured_on_one_thread_then_torchs_on_two_then_memory(asked, capsys):
    assert main(["bench"]) == 1  # the others take twice our time: less than five times
    out = capsys.readouterr().out
    assert [(job, options["threads"]) for job, options in asked[:3]] == [("cells", 1), ("cells", 2), ("memory", 1)]
    assert {cell for cell, _ in asked[0][1]["contests"]} == set(zoo.names())
    assert asked[0][1]["vs"] == ["torch", "jax"] and asked[0][1]["rounds"] == 21
    assert len(asked) == 2 + 10 + 2 * len(zoo.names())  # five sizes, both sides; every cell's first and later start
    assert out.count("1 thread\n") == 3 and "2 threads\n" in out and "peak: 1 GFLOP/s, NumPy" in out
    assert "2.00 < 5 !" in out and "4.00 ≥ 3" in out and "1.00 ≥ 1" in out
    assert "20 of the scores above miss what they must reach (!)" in out


def test_a_run_that_reaches_everything_ends_with_status_0(asked, capsys):
    assert main("bench --cell lstm --vs torch --threads 2".split()) == 0
    (job, options), *others = asked
    assert job == "cells" and options["threads"] == 2 and options["vs"] == ["torch"]
    assert [job for job, _ in others] == ["memory"] * 10 + ["start"] * 2
    assert len({options["variables"]["TINYGRAD_RNN_CACHE"] for job, options in others if job == "start"}) == 1
    assert {cell for cell, _ in options["contests"]} == {"LSTM"}
    assert "!" not in capsys.readouterr().out


def test_quick_measures_less(asked):
    assert main("bench --quick --cell LSTM,GRU --threads 1".split()) == 1
    ((_, options),) = asked
    assert options["rounds"] == 5 and len(options["contests"]) == 3


def test_one_processor_has_one_table(asked, monkeypatch):
    monkeypatch.setattr(bench, "processors", lambda: 1)
    main(["bench", "--cell", "LSTM"])
    assert [options["threads"] for job, options in asked if job == "cells"] == [1]


def test_the_numbers_go_into_a_file(asked, tmp_path):
    file = tmp_path / "bench.json"
    assert main(["bench", "--cell", "LSTM", "--json", str(file)]) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["missed"] == 0 and report["rounds"] == 21 and "numpy" in report["about"]
    assert [len(report[key]) for key in ("1 threads", "2 threads", "memory")] == [5, 5, 5]
    assert report["1 threads"][0]["scores"]["torch.nn"]["value"] == 4
    assert report["memory"][0]["ours bytes"] == 100
    assert report["start"][0]["scores"]["later, s"] == {
        "value": 0.25, "spread": 0.0, "least": None, "most": 0.5, "percent": False
    }  # fmt: skip


def test_eager_has_a_table_of_its_own(asked, capsys):
    assert main(["bench", "--eager", "--rounds", "3"]) == 0
    assert asked == [("eager", {"threads": 1, "rounds": 3, "quick": False})]
    assert "0.500 ≤ 1.5" in capsys.readouterr().out


WRONG = {
    "--cell LTSM": "unknown cell 'LTSM': did you mean LSTM",
    "--cell LSTM,": "unknown cell ''",
    "--vs keras": r"unknown library 'keras' \(all: torch, jax\)",
    "--threads 3": "--threads 3: there are 2 processors to run on",
    "--threads 0": "argument --threads: invalid whole number",
    "--rounds 0": "argument --rounds: invalid whole number",
    "--json nowhere/x.json": "--json nowhere/x.json: there is no such folder",
    "--eager --cell LSTM": "--eager measures the same on one thread always: leave --cell out",
    "--eager --threads 1": "leave --threads out",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_said_before_anything_is_measured(line, asked, capsys):
    import re

    assert main(["bench", *line.split()]) == 2
    assert re.search(WRONG[line], capsys.readouterr().err)
    assert asked == []


@pytest.mark.parametrize(
    ("line", "absent"), [("--vs torch", "torch"), ("--vs jax", "jax"), ("", "torch"), ("--eager", "torch")]
)
def test_a_library_that_is_needed_and_absent_is_named_with_how_to_install_it(line, absent, asked, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else name)
    assert main(["bench", *line.split()]) == 2
    assert f"bench compares with {absent}, which is not installed: {ABSENT[absent]}" in capsys.readouterr().err
    assert asked == []


def test_without_jax_its_column_is_left_out_and_that_is_said(asked, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else name)
    main(["bench", "--cell", "LSTM"])
    assert asked[0][1]["vs"] == ["torch"]
    assert "jax is not installed, so its column is left out: pip install jax" in capsys.readouterr().out


def test_a_cell_without_equations_is_listed_so(asked, monkeypatch, capsys):
    monkeypatch.delitem(bench.EQUATIONS, "MGU")
    main(["bench", "--cell", "MGU,LSTM"])
    assert "no opponent, because zoo/bench/equations.py has no equations: MGU" in capsys.readouterr().out


def test_where_the_system_tells_no_memory_the_table_is_left_out(asked, monkeypatch, capsys):
    kept = bench.results
    monkeypatch.setattr(
        bench, "results", lambda job, **options: iter([{"bytes": None}]) if job == "memory" else kept(job, **options)
    )
    assert main(["bench", "--cell", "LSTM"]) == 0
    assert "peak memory" not in capsys.readouterr().out


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and "python -m zoo bench --cell LSTM,MGU --vs torch" in text
