"""The command line: what is right is answered, what is wrong gets one line, status 2, and leaves nothing behind."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import registry, tasks
from zoo.__main__ import main
from zoo.commands import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(capsys):
    """Run a command line; its exit status, output and errors."""

    def run(line):
        try:
            status = main(line if isinstance(line, list) else line.split())
        except SystemExit as end:  # argparse, after --help
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


WRONG = {
    "flurb": r"unknown command 'flurb' \(all: train, sample, list, info, .*\)",
    "trian helo": "unknown command 'trian': did you mean train",
    "train": r"name a task to train: helo, char-lm",
    "train helo --bptt ful": "argument --bptt: there is no strategy 'ful'; there are .*full, chunks",
    "train helo --bptt chunks": "argument --bptt: strategy 'chunks': chunks is written chunks:LENGTH",
    "train helo --bptt chunks:0": "argument --bptt: strategy 'chunks:0': chunks have a length of at least 1, not 0",
    "train char-lm --bptt rtrl": r"--bptt rtrl: .* 16,384 numbers .* 361,767 parameters: 22.1 GiB, more than 4",
    "train temporal-order --length 9": "temporal-order needs a --length of at least 10, not 9",
    "train helloo": "unknown task 'helloo': did you mean helo",
    "train char-lm --cell LTSM": "unknown cell 'LTSM': did you mean LSTM",
    "train char-lm --hidden zero": r"argument --hidden: invalid whole number \(at least 1\) value: 'zero'",
    "train char-lm --hidden 0": r"argument --hidden: invalid whole number \(at least 1\) value: '0'",
    "train char-lm --dropout 1": r"argument --dropout: invalid number \(at least 0 and below 1\) value: '1'",
    "train char-lm --learning-rate nan": "argument --learning-rate: invalid number",
    "train char-lm --hiden 3": "unrecognized arguments: --hiden 3",
    "train char-lm --quick --full": "not allowed with argument",
    "train char-lm --text nowhere.txt": "cannot read the text .*nowhere.txt: No such file or directory",
    "train char-lm --text latin1.txt": "latin1.txt is not UTF-8: byte 0xe9 at offset 3",
    "train char-lm --text empty.txt": "empty.txt is empty",
    "train char-lm --text short.txt": "short.txt has 12 characters, too few for 32 streams",
    "train char-lm --device cuda": r"device 'cuda'.*use device='cpu'",
    "train char-lm --device gpu": "unknown device 'gpu'; known: cpu, cuda",
    "train helo --text latin1.txt": "helo takes no --text",
    "train helo --out full": "full is there already and is not an empty folder",
    "train --resume nowhere": "nowhere holds no run",
    "train --resume full": "full holds no run",
    "sample nowhere": "nowhere holds no run",
    "sample": "the following arguments are required: RUN_DIR",
    "info": "the following arguments are required: CELL",
    "info GRV": "unknown cell 'GRV': did you mean GRU",
    "list cells": "unrecognized arguments: cells",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_gets_one_line_and_leaves_nothing_behind(cli, here, line):
    (here / "latin1.txt").write_bytes(b"caf\xe9")
    (here / "empty.txt").touch()
    (here / "short.txt").write_text("one two six\n")
    (here / "full").mkdir()
    (here / "full" / "thesis.txt").touch()
    before = sorted(here.rglob("*"))
    status, out, err = cli(line)
    assert status == 2 and out == ""
    assert re.fullmatch(r"zoo: .+\n", err), err
    assert re.search(WRONG[line], err), err
    assert sorted(here.rglob("*")) == before


def test_without_arguments_and_with_help_the_commands_are_explained(cli):
    for line in ("", "--help", "-h"):
        status, out, _ = cli(line)
        assert status == 0 and all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_that_it_understands(cli, command):
    status, out, _ = cli(f"{command} --help")
    assert status == 0
    assert f"python -m zoo {command}" in out


def test_the_help_of_train_shows_every_task_with_its_defaults(cli):
    _, out, _ = cli("train --help")
    for name in tasks.TASKS:
        assert tasks.find(name).summary in re.sub(r"\s+", " ", out)
    assert "char-lm 256, helo 3" in re.sub(r"\s+", " ", out) or "helo 3, char-lm 256" in re.sub(r"\s+", " ", out)


def test_list_shows_every_cell_and_every_task(cli):
    status, out, _ = cli("list")
    assert status == 0
    assert all(name in out for name in [*registry.names(), *tasks.TASKS])


@pytest.mark.parametrize("name", registry.names())
def test_info_shows_where_a_cell_comes_from_and_what_it_is_made_of(cli, name):
    status, out, _ = cli(f"info {name} --input 3 --hidden 5")
    entry = registry.entry(name)
    assert status == 0
    assert entry.paper in out and all(part in out for part in entry.state)
    assert f"{entry.count(3, 5):,} at I = 3, H = 5" in out
    assert all(path in out for path, _ in entry.cell(3, 5).named_parameters())


def test_info_tells_what_of_a_cell_runs_in_its_compiled_loop(cli):
    status, out, _ = cli("info SRU --compiled --input 3 --hidden 5")
    assert status == 0
    assert "executor: " in out and "share of flops left in the loop" in out


def test_helo_is_trained_shown_and_asked_again(cli, here):
    status, out, err = cli("train helo --out r")
    assert (status, err) == (0, "")
    assert re.search(r"after hell\s+o\s+\d+", out)
    assert "r/report.html" in out and "r/unrolled" in out
    status, out, _ = cli("sample r --prompt hell")
    assert status == 0 and [line.split()[2] for line in out.splitlines()] == ["e", "l", "l", "o"]
    status, _, err = cli("sample r --prompt x")
    assert status == 2 and "character 'x' at position 0 is not among the 4 characters" in err
    status, _, err = cli("sample r --length 9 --top-k 2")
    assert status == 2 and "helo takes no --length, --top-k: it draws nothing at random" in err


def test_a_cell_goes_by_its_own_name_however_it_was_typed(cli, here):
    _, out, _ = cli("train helo --steps 2 --cell gruresetafter --out r")
    assert "GRUResetAfter of 3" in out and "this model (GRUResetAfter)" in out
    assert '"cell": "GRUResetAfter"' in (here / "r" / "config.json").read_text()


def test_the_commands_that_are_shown_can_be_pasted(cli):
    _, out, _ = cli(["train", "helo", "--steps", "2", "--out", "my first run"])
    shown = re.search(r"ask it  python -m zoo (.+)", out)[1]
    assert cli(shlex.split(shown))[0] == 0
    _, _, err = cli(["train", "helo", "--out", "my first run"])
    assert "--resume 'my first run'" in err


def test_runs_are_numbered_when_no_folder_is_named(cli, here):
    for _ in range(2):
        assert cli("train helo --steps 2")[0] == 0
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["helo-1", "helo-2"]


def test_an_out_folder_that_holds_a_run_is_refused_with_both_ways_out(cli):
    cli("train helo --steps 2 --out r")
    status, _, err = cli("train helo --steps 2 --out r")
    assert status == 2 and "--resume r" in err and "--out" in err


def test_resume_takes_the_run_as_it_was_configured(cli):
    cli("train helo --steps 2 --out r")
    assert "leave out --hidden" in cli("train --resume r --hidden 4")[2]
    assert "leave out --quick" in cli("train --resume r --quick")[2]
    assert "r is a run of helo" in cli("train char-lm --resume r")[2]
    assert "unknown device 'gpu'" in cli("train --resume r --device gpu")[2]
    assert cli("train --resume r --device cpu")[0] == 0
    assert cli("train helo --resume r")[0] == 0


def test_a_damaged_checkpoint_is_one_line(cli, here):
    cli("train helo --steps 2 --out r")
    for name in ("checkpoint.safetensors", "model.safetensors"):
        (here / "r" / name).write_bytes((here / "r" / name).read_bytes()[:60])
    for line in ("train --resume r", "sample r"):
        status, _, err = cli(line)
        assert status == 2 and "is not a complete safetensors file" in err and err.count("\n") == 1


def test_a_text_that_changed_since_the_run_began_is_noticed(cli, here):
    (here / "t.txt").write_text("to be or not to be, that is the question " * 20)
    size = "--steps 2 --hidden 4 --embedding 3 --batch 2 --chunk 9"
    assert cli(f"train char-lm --text t.txt --out r {size}")[0] == 0
    (here / "t.txt").write_text("something else, " * 60)
    status, _, err = cli("train --resume r")
    assert status == 2 and "data of r have changed" in err


def test_a_full_disk_is_one_line_and_what_was_there_stays(cli, here, monkeypatch):
    import errno
    import os

    cli("train helo --steps 2 --out r")
    before = {path.name: path.read_bytes() for path in (here / "r").iterdir()}

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    status, _, err = cli("train --resume r")
    assert status == 2 and err.count("\n") == 1
    assert "No space left on device" in err and err.endswith("go on with: python -m zoo train --resume r\n")
    assert {path.name: path.read_bytes() for path in (here / "r").iterdir()} == before


def test_a_folder_that_cannot_be_made_is_one_line_with_the_way_out(cli, here):
    (here / "runs").touch()
    status, _, err = cli("train helo --steps 2")
    assert status == 2 and re.fullmatch(r"zoo: cannot begin a run: runs.*: Not a directory; .* --out\n", err)


def test_a_reader_that_goes_away_is_no_error():
    line = f"{sys.executable} -m zoo list | head -n 1"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
