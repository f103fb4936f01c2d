"""Training goes on from where it was stopped, by whatever, to exactly the same parameters."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import io
from tinygrad_rnn.scan.compiled import threads_for
from tinygrad_rnn.scan.native import machine
from zoo import tasks
from zoo.__main__ import main
from zoo.commands import threads
from zoo.errors import UserError
from zoo.run import CHECKPOINT, CHOICES, METRICS, MODEL, Run
from zoo.train import Patience, plain, train

ROOT = Path(__file__).parents[2]
STEPS = 60
SIZES = ["--hidden", "8", "--embedding", "6", "--batch", "4", "--chunk", "10", "--layers", "2", "--dropout", "0.2"]
WALL_CLOCK = ("seconds",)


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "verse.txt"
    path.write_text("Tyger Tyger, burning bright, in the forests of the night; " * 30)
    return path


DYING = """
import os, sys
from zoo.run import Run
from zoo.__main__ import main

step, number, append = int(sys.argv[1]), int(sys.argv[2]), Run.append

def append_and_die(run, record):
    append(run, record)
    if record["step"] == step:
        os.kill(os.getpid(), number)

Run.append = append_and_die
sys.exit(main(sys.argv[3:]))
"""


def command(folder, text_file, steps=STEPS, sizes=SIZES):
    return ["train", "char-lm", "--text", str(text_file), "--out", str(folder), "--steps", str(steps), *sizes]


def dying(arguments, *, step=0, by=0, **environment):
    """Run the command line in a process of its own that gets the signal `by` after the given step, if there is one."""
    code = [sys.executable, "-c", DYING, str(step), str(int(by)), *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(code, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)


def result(folder):
    """The parameters and the metrics, without what the clock says."""
    records = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return io.load(folder / MODEL), [{k: v for k, v in r.items() if k not in WALL_CLOCK} for r in records]


def assert_equal(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for name in one[0]:
        np.testing.assert_array_equal(one[0][name], other[0][name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(folder, text_file)) == 0
    assert [record["step"] for record in result(folder)[1]] == list(range(1, STEPS + 1))
    return folder


@pytest.mark.parametrize("step", [1, 32, 59])  # saved every 3 steps
def test_a_run_killed_in_the_middle_and_resumed_equals_an_uninterrupted_one(uninterrupted, text_file, tmp_path, step):
    died = dying(command(tmp_path / "run", text_file), step=step, by=signal.SIGKILL)
    assert died.returncode == -signal.SIGKILL
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert_equal(result(tmp_path / "run"), result(uninterrupted))


class Died(BaseException):
    """What a process does not survive."""


WAYS = ("rtrl", "uoro", "snap:1", "kf-rtrl", "forward", "window:2,4", "artbp:3")
TINY = ["--hidden", "3", "--embedding", "2", "--batch", "2", "--chunk", "5"]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_strategy_carries_along_is_resumed_with_the_rest(text_file, tmp_path, monkeypatch, way):
    monkeypatch.setattr("zoo.train.finish", lambda task, run: None)  # no report
    sizes = [*TINY, "--bptt", way]  # saved after every second step
    assert main(command(tmp_path / "whole", text_file, 24, sizes)) == 0
    append = Run.append

    def append_and_die(run, record):
        append(run, record)
        if record["step"] == 13:
            raise Died

    monkeypatch.setattr(Run, "append", append_and_die)
    with pytest.raises(Died):
        main(command(tmp_path / "run", text_file, 24, sizes))
    monkeypatch.setattr(Run, "append", append)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert_equal(result(tmp_path / "run"), result(tmp_path / "whole"))


@pytest.mark.parametrize("way", ["rtrl", "uoro"])
def test_sensitivities_go_on_from_step_to_step_of_a_stream_and_are_saved(text_file, tmp_path, way):
    assert main(command(tmp_path / "run", text_file, 3, [*TINY, "--bptt", way])) == 0
    memory = tg.tree.leaves(io.load(tmp_path / "run" / CHECKPOINT)["memory"])
    assert memory and all(np.abs(array).max() > 0 for array in memory)


def test_only_a_memory_that_holds_graphs_ends_with_its_step():
    kind = tasks.find("adding")
    task = kind(kind.resolve({"hidden": 3, "length": 5, "batch": 2, "cell": "ElmanRNN"}), seed=0, device="cpu")
    problem, lost = task.problem(0, task.begin()), set()
    for name, kind in tg.bptt.strategies().items():
        options = [0.5 if name == "adaptive" else 3 for field in fields(kind) if field.default is MISSING]
        way = kind(*options)
        way.check(problem)
        *_, last = way.updates(problem, rng=tg.random.Generator(0))
        lost |= set() if plain(last.memory) else {name}
    assert "window" in lost <= {"window", "adaptive"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_leaves_130(uninterrupted, text_file, tmp_path, number):
    stopped = dying(command(tmp_path / "run", text_file), step=32, by=number)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr
    way_on = f"python -m zoo train --resume {tmp_path / 'run'}"
    assert f"stopped; go on with: {way_on}" in stopped.stdout
    assert io.load(tmp_path / "run" / CHECKPOINT)["step"] == len(result(tmp_path / "run")[1]) == 32
    assert main(way_on.split()[3:]) == 0
    assert_equal(result(tmp_path / "run"), result(uninterrupted))


def test_a_run_goes_on_in_the_ways_it_began_with_whatever_this_machine_has_measured_since(text_file, tmp_path):
    sizes = ["--hidden", "128", "--embedding", "64", "--batch", "16", "--chunk", "32"]  # BLAS is asked about
    start = {"TINYGRAD_RNN_CACHE": str(tmp_path / "cache")}

    def began(name, **how):
        return dying(command(tmp_path / name, text_file, 8, sizes), **how, **start)

    assert began("whole").returncode == 0
    assert began("run", step=5, by=signal.SIGKILL).returncode == -signal.SIGKILL
    ways = Run.open(tmp_path / "run").choices()
    assert ways == Run.open(tmp_path / "whole").choices()
    if machine.available() is None:
        assert {question.split()[0] for question in ways} == {"executor", "product", "outer"}
        file = tmp_path / "cache" / "choices.json"
        known = json.loads(file.read_text())
        file.write_text(json.dumps({k: {q: turned(way) for q, way in known[k].items()} for k in known}))
    resumed = dying(["train", "--resume", str(tmp_path / "run")], **start)
    assert resumed.returncode == 0, resumed.stderr
    assert Run.open(tmp_path / "run").choices() == ways
    assert_equal(result(tmp_path / "run"), result(tmp_path / "whole"))
    assert began("new").returncode == 0  # … while one that begins now takes what was measured
    assert Run.open(tmp_path / "new").choices() == {question: turned(way) for question, way in ways.items()}


def turned(way):
    return {"ours": "blas", "blas": "ours"}.get(way, way)


@pytest.mark.skipif(machine.available() is not None, reason=str(machine.available()))
def test_a_run_that_began_with_machine_code_does_not_go_on_without_it(uninterrupted, text_file, tmp_path):
    dying(command(tmp_path / "run", text_file), step=32, by=signal.SIGKILL)
    ways = Run.open(tmp_path / "run").choices()
    assert set(ways.values()) == {"llvm"}
    refused = dying(["train", "--resume", str(tmp_path / "run")], NUMBA_DISABLE_JIT="1")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert f"{tmp_path / 'run'}: this run began with machine code" in refused.stderr
    assert "NUMBA_DISABLE_JIT is set" in refused.stderr and "or start a new run" in refused.stderr
    assert Run.open(tmp_path / "run").choices() == ways
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert_equal(result(tmp_path / "run"), result(uninterrupted))


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_number_of_threads_changes_nothing(text_file, tmp_path, cell):
    sizes = ["--cell", cell, "--hidden", "24", "--embedding", "6", "--batch", "17", "--chunk", "10", "--layers", "2"]
    for count in ("1", "2"):
        assert main([*command(tmp_path / count, text_file, 12, sizes), "--threads", count]) == 0
    assert_equal(result(tmp_path / "1"), result(tmp_path / "2"))


@pytest.mark.parametrize("before", [None, "5"])
def test_so_many_threads_are_for_matrix_products_and_time_loops_while_the_command_runs(monkeypatch, before):
    from threadpoolctl import threadpool_info

    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if before:
        monkeypatch.setenv("NUMBA_NUM_THREADS", before)
    for count in (1, 2):
        with threads(count):
            assert threads_for(None) == count and threads_for(3) == 3
            assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} <= {count}
        assert threads_for(None) == int(before or 1)


def test_resuming_a_finished_run_trains_no_more_and_writes_its_report_again(uninterrupted):
    before = result(uninterrupted)
    (uninterrupted / "report.html").unlink()
    assert main(["train", "--resume", str(uninterrupted)]) == 0
    assert_equal(result(uninterrupted), before)
    assert "svg" in (uninterrupted / "report.html").read_text()


def test_what_a_run_leaves_behind(uninterrupted):
    names = {path.name for path in uninterrupted.iterdir()}
    assert {"config.json", CHOICES, METRICS, CHECKPOINT, MODEL, "loss.svg", "report.html"} <= names
    assert names & {"unrolled.svg", "unrolled.dot"}


def made(tmp_path, **changes):
    kind = tasks.find("helo")
    options = kind.resolve({"steps": 30, **changes})
    return kind(options, seed=0, device="cpu"), Run.create(tmp_path / "run", {"task": "helo", "options": options})


@pytest.mark.parametrize(("cell", "seed"), [("ElmanRNN", 0), ("ElmanRNN", 1), ("LSTM", 0), ("GRU", 0)])
def test_helo_is_learnt_exactly_with_its_default_settings(tmp_path, cell, seed):
    kind = tasks.find("helo")
    options = kind.resolve({"cell": cell})
    task = kind(options, seed=seed, device="cpu")
    train(task, Run.create(tmp_path / "run", {"task": "helo", "options": options}))
    assert task.evaluate() == 4
    assert [line.split()[-2] for line in task.sample()[1].splitlines()] == ["e", "l", "l", "o"]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    task, run = made(tmp_path)
    original = task.problem

    def exploding(step, carry):
        loss = task.model.head.forward
        task.model.head.forward = lambda ys: loss(ys) * (1.0 if step < 10 else float("nan"))
        return original(step, carry)

    task.problem = exploding
    with pytest.raises(UserError, match=r"step 11: .*--learning-rate below 0.1"):
        train(task, run)
    assert run.restore()["step"] == 10
    assert all(np.isfinite(value).all() for value in run.restore()["model"].values())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    task, run = made(tmp_path)
    train(task, run)
    other, _ = made(tmp_path / "other", hidden=5)
    with pytest.raises(UserError, match="does not fit"):
        train(other, run)


def test_the_first_signal_waits_for_the_step_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with Patience() as patience:
        os.kill(os.getpid(), signal.SIGINT)
        assert patience.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before  # "ignore", not Python's own, where tests run in the background


def test_without_graphviz_the_dot_files_are_written_and_the_console_says_what_to_install(tmp_path, monkeypatch, capsys):
    from viz import render

    for way in ("_by_program", "_by_library"):
        monkeypatch.setattr(render, way, lambda dot, format: None)
    task, run = made(tmp_path)
    train(task, run)
    assert {"unrolled.dot", "unrolled-ops.dot", "report.html"} <= {path.name for path in run.folder.iterdir()}
    assert "install Graphviz" in capsys.readouterr().out
