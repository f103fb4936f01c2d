"""The run folder: whatever is interrupted, and wherever, what lies there is one complete state, old or new."""

import errno
import io as stdio
import json
import os
from pathlib import Path

import numpy as np
import pytest

from zoo.errors import UserError
from zoo.run import CHECKPOINT, METRICS, MODEL, Run

OPTIONS = {"hidden": 3, "text": "Füße.txt"}
CONFIG = {"task": "char-lm", "options": OPTIONS, "seed": 0, "device": "cpu", "threads": 1, "data": {}}


def state(step):
    return {
        "step": step,
        "seconds": 1.5 * step,
        "model": {"cell.W": np.full((2, 3), step, np.float32), "cell.b": np.zeros(3, np.float32)},
        "optimizer": {"step": step, "moments": [np.arange(3.0)]},
        "carry": [np.ones((1, 3), np.float32)],
    }


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", CONFIG)


def test_a_run_is_found_again_with_its_config(run):
    assert Run.open(run.folder).config == CONFIG


def test_a_checkpoint_comes_back_exactly(run):
    run.save(state(7))
    restored = run.restore()
    assert restored["step"] == 7 and restored["seconds"] == 10.5 and restored["optimizer"]["step"] == 7
    np.testing.assert_array_equal(restored["model"]["cell.W"], state(7)["model"]["cell.W"])
    assert restored["model"]["cell.W"].dtype == np.float32


def test_before_the_first_checkpoint_there_is_nothing_to_restore_and_metrics_start_again(run):
    run.append({"step": 1, "loss": 3.0})
    assert run.restore() is None
    assert run.records() == []


@pytest.mark.parametrize("torn", [b"", b'{"step": 2, "lo', b"\0\0\0\n", b'{"step": 2}'])
def test_restoring_cuts_the_metrics_back_to_the_checkpoint(run, torn):
    for step in range(1, 6):
        run.append({"step": step, "loss": 1 / step})
        if step == 3:
            run.save(state(step))
    with (run.folder / METRICS).open("ab") as file:
        file.write(torn)
    run.restore()
    assert [record["step"] for record in run.records()] == [1, 2, 3]


def test_a_folder_that_holds_a_run_is_refused_with_both_ways_out(run):
    with pytest.raises(UserError, match=r"already holds a run: go on with it by --resume .*run, or choose another"):
        Run.create(run.folder, CONFIG)


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        Run.create(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        Run.open(tmp_path / "nothing")


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', '{"seed": 0}'])
def test_a_config_that_is_none_says_so(run, content):
    (run.folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json .*start again"):
        Run.open(run.folder)


def test_the_ways_a_run_is_computed_in_are_kept_and_grow(run):
    assert run.choices() == {}
    for ways in ({"b": "llvm"}, {"b": "llvm", "a": "blas"}):
        run.choose(ways)
        assert Run.open(run.folder).choices() == run.choices() == ways


def test_ways_that_have_not_changed_are_not_written_again(run, monkeypatch):
    run.choose({"b": "llvm"})
    monkeypatch.setattr(run, "write", None)
    run.choose({"b": "llvm"})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\udcff"])
def test_damaged_ways_are_an_error_that_says_what_to_do(run, content):
    (run.folder / "choices.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"choices\.json is damaged .*start again with another --out"):
        run.choices()


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_an_error_that_says_what_to_do(run, keep):
    run.save(state(1))
    content = (run.folder / CHECKPOINT).read_bytes()
    (run.folder / CHECKPOINT).write_bytes(content[:keep])
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is not a complete .*start again with another --out"):
        run.restore()


class Killed(BaseException):
    """Stands for a kill: no handler of the code under test may catch it."""


def writes(run, monkeypatch, *, stop_at):
    """Save a second checkpoint, killed at the given system call; whether it got that far."""
    calls = 0
    for name in ("open", "fsync", "replace", "close"):
        original = getattr(os, name)

        def counted(*args, original=original, **kwargs):
            nonlocal calls
            calls += 1
            if calls > stop_at:
                raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # the dead clean nothing up
    try:
        run.save(state(2))
    except Killed:
        return False
    finally:
        monkeypatch.undo()
    return True


@pytest.mark.parametrize("stop_at", range(12))
def test_killed_at_any_system_call_the_old_or_the_new_checkpoint_is_complete(run, monkeypatch, stop_at):
    run.append({"step": 1, "loss": 1.0})
    run.save(state(1))
    run.append({"step": 2, "loss": 0.5})
    done = writes(run, monkeypatch, stop_at=stop_at)
    restored = Run.open(run.folder).restore()
    assert restored["step"] == 2 if done else restored["step"] in (1, 2)
    assert (restored["model"]["cell.W"] == restored["step"]).all()
    assert [record["step"] for record in run.records()] == list(range(1, restored["step"] + 1))
    assert not list(run.folder.glob(".*"))  # nothing torn is left lying about


def test_the_kill_test_reaches_the_end_of_a_save(run, monkeypatch):
    run.save(state(1))
    assert not writes(run, monkeypatch, stop_at=2)
    assert writes(run, monkeypatch, stop_at=11)


def test_a_full_disk_leaves_whole_lines_in_the_metrics(run, monkeypatch):
    run.append({"step": 1, "loss": 1.0})

    class Full(stdio.FileIO):
        """Takes five bytes, then no more."""

        def write(self, data):
            if getattr(self, "full", False):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.full = True
            return super().write(data[:5])

    monkeypatch.setattr(Path, "open", lambda path, mode, buffering: Full(path, mode))
    with pytest.raises(OSError, match=r"No space left on device: .*metrics\.jsonl"):
        run.append({"step": 2, "loss": 0.5})
    monkeypatch.undo()
    assert run.records() == [{"step": 1, "loss": 1.0}]


def test_a_config_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Run.create(tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()


def test_the_model_beside_the_checkpoint_holds_its_parameters(run):
    from tinygrad_rnn import io

    run.save(state(3))
    model = io.load(run.folder / MODEL)
    assert set(model) == {"cell.W", "cell.b"} and (model["cell.W"] == 3).all()


def test_a_run_gets_the_first_free_number(tmp_path):
    names = [Run.numbered(tmp_path / "runs", "helo", CONFIG).folder.name for _ in range(3)]
    assert names == ["helo-1", "helo-2", "helo-3"]


def test_runs_that_begin_at_the_same_moment_get_folders_of_their_own(tmp_path, monkeypatch):
    create, others = Run.create.__func__, iter([True, True, False])

    def late(cls, folder, config):
        if next(others):  # between the look and the making, another process was there
            folder.mkdir(parents=True)
        return create(cls, folder, config)

    monkeypatch.setattr(Run, "create", classmethod(late))
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert Run.numbered(tmp_path, "helo", CONFIG).folder.name == "helo-3"


def test_metrics_are_strict_json_lines(run):
    run.append({"step": 1, "loss": 0.1})
    assert (run.folder / METRICS).read_text() == json.dumps({"step": 1, "loss": 0.1}) + "\n"
    with pytest.raises(ValueError, match="JSON"):
        run.append({"step": 2, "loss": float("nan")})
    assert len(run.records()) == 1
