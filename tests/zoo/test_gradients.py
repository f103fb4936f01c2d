"""The table of all estimators: every strategy is in it, and is what it says that it is."""

import json
import re

import pytest

import tinygrad_rnn as tg
from tests.tinygrad_rnn.bptt.online_problems import problem
from tinygrad_rnn import bptt
from zoo import tasks
from zoo.__main__ import main
from zoo.commands.gradients import EXPLAINED, HEADER, usual
from zoo.run import KEYS, MODEL, Run

SMALL = ["--hidden", "3", "--length", "4", "--task", "adding"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(capsys):
    """Run `python -m zoo gradients` with these words; its exit status, output and errors."""

    def run(*words):
        status = main(["gradients", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("T", [2, 5, 20, 1000])
def test_every_strategy_is_in_the_table_with_options_that_fit_any_number_of_steps(T):
    found = [bptt.strategy(text) for text in usual(T)]
    assert {way.name for way in found} == set(bptt.strategies()) and len(set(found)) == len(found)


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM"])
def test_estimators_are_exact_and_unbiased_where_they_say_so(cell):
    """Several are asked, so 0.95 would be too little: one in twenty that are unbiased shows a bias."""
    ways = [way for text in usual(5) if (way := bptt.strategy(text)).exact or way.unbiased]
    whole = problem(cell, hidden=3, steps=5)
    for way, found in zip(ways, bptt.compare(whole, ways, seeds=50, confidence=0.999), strict=True):
        assert found.measured is not None, found.refused
        bias = found.measured.bias
        if way.exact:
            assert bias.high < 1e-12, way
        else:
            assert bias.low == 0 and found.measured.runs == 50, way


def test_truncation_is_biased_as_it_says():
    ways = [bptt.strategy(text) for text in usual(5) if text.startswith(("chunks", "window", "snap:1"))]
    for way, found in zip(ways, bptt.compare(problem("ElmanRNN", hidden=3, steps=5), ways), strict=True):
        assert not way.exact and not way.unbiased and found.measured.bias.low > 1e-6, way


def test_the_table_has_a_row_for_each_estimator_and_a_line_for_each_column(cli, here):
    status, out, err = cli(*SMALL, "--cell", "elmanrnn", "--seeds", "2", "--json", "found.json")
    assert status == 0 and err == ""
    assert "ElmanRNN on adding: 4 steps, 22 parameters (untrained), float64" in out
    written = json.loads((here / "found.json").read_text())
    assert written["cell"] == "ElmanRNN" and written["steps"] == 4
    assert [row["strategy"] for row in written["estimators"]] == [str(bptt.strategy(text)) for text in usual(4)]
    for row in written["estimators"]:
        assert re.search(rf"^ *{re.escape(row['strategy'])} ", out, re.MULTILINE) and row["paper"]
    assert all(name in out for name in HEADER) and all(text in out for text in EXPLAINED.values())


def test_an_estimator_that_cannot_do_the_problem_says_why_in_its_row(cli, here, monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.bptt.rtrl.MOST", 500)  # 22 parameters, 3 numbers of the state, 8 bytes
    asked = ("--seeds", "2", "--strategies", "rtrl,chunks:2", "--json", "found.json")
    status, out, _ = cli(*SMALL, "--cell", "elmanrnn", *asked)
    assert status == 0
    assert re.search(r"rtrl +refused: rtrl would keep the sensitivities of .* –  ", out)
    assert re.search(r"chunks:2 +biased +1 ", out)
    (rtrl, chunks) = json.loads((here / "found.json").read_text())["estimators"]
    assert "3 numbers of the state to 22 parameters" in rtrl["refused"] and rtrl["measured"] is None
    assert chunks["measured"]["bias"]["low"] > 0


def test_strategies_are_told_apart_from_their_options(cli):
    _, out, _ = cli(*SMALL, "--strategies", "window:1,2,artbp:2,fixed,full", "--seeds", "2")
    shown = re.findall(r"^  (\S+) +(?:exact|biased|unbiased) ", out, re.MULTILINE)
    assert shown == ["window:1,2", "artbp:2,fixed,4,1", "full"]


def test_the_weights_of_a_run_are_measured(cli, here):
    kind = tasks.find("adding")
    options = kind.resolve({"hidden": 3, "length": 4})
    task = kind(options, seed=0, device="cpu")
    for p in task.model.parameters():
        p.data = p.data + 0.5
    run = Run.create("r", {**dict.fromkeys(KEYS), "task": "adding", "options": options, "seed": 0})
    tg.save(run.folder / MODEL, task.model.state_dict())

    def bias(*words):
        status, out, _ = cli(*words, "--length", "6", "--strategies", "chunks:2", "--json", "found.json")
        assert status == 0 and "GRU on adding: 6 steps, " in out
        return out, json.loads((here / "found.json").read_text())["estimators"][0]["measured"]["bias"]

    out, trained = bias("--run", "r")
    assert "(trained in r)" in out
    assert trained != bias("--task", "adding", "--cell", "GRU", "--hidden", "3")[1]


@pytest.mark.parametrize("task", tasks.TASKS)
def test_any_task_can_be_asked(cli, task):
    status, out, _ = cli("--task", task, "--strategies", "chunks:3", "--seeds", "2")
    assert status == 0 and re.search(rf"^\w+ on {task}: [1-9]\d* steps, ", out) and "chunks:3" in out


@pytest.mark.parametrize(
    ("line", "error"),
    {
        "--strategies fulll": "--strategies: there is no strategy 'fulll'; there are ",
        "--strategies full,chunk:3": "--strategies: there is no strategy 'chunk'; there are ",
        "--strategies chunks": "--strategies: strategy 'chunks': chunks is written chunks:LENGTH",
        "--strategies chunks:0": "chunks have a length of at least 1, not 0",
        "--seeds 1": "argument --seeds: invalid whole number",
        "--json nowhere/found.json": "--json nowhere/found.json: there is no such folder",
        "--cell LTSM": "unknown cell 'LTSM': did you mean LSTM",
        "--task coppy": "unknown task 'coppy': did you mean copy",
        "--task helo --length 3": "helo takes no --length",
        "--task influence-balancing --cell GRU": "influence-balancing takes no --cell",
        "--run r --cell GRU": "--run takes the model of r as it was trained: leave --cell out",
        "--run r": "r holds no run",
    }.items(),
)
def test_a_wrong_command_line_gets_one_line(cli, line, error):
    status, out, err = cli(*line.split())
    assert status == 2 and out == "" and err.startswith("zoo: ") and err.count("\n") == 1 and error in err
