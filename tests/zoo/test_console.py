"""What a person sees: text as it is, a live line in a terminal, a few plain lines elsewhere."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from zoo import console
from zoo.tasks.task import Metric

ROOT = Path(__file__).parents[2]
BITS = Metric("bits per character")


LONG = " ".join(map(str, range(200)))


@pytest.mark.parametrize("text", ["[bold]x[/bold]", ":smile:", "[/]", LONG, "x = [1, 2]  # “–”"])
def test_text_is_shown_as_it_is(capsys, text):
    console.say(text)
    console.facts({"name": text})
    console.table(["", "text"], [["1", text[:100]]])
    shown = capsys.readouterr().out
    assert shown.count(text[:100]) == 3


def test_facts_stand_in_two_columns(capsys):
    console.facts({"task": "helo", "run folder": "runs/helo-1"})
    assert capsys.readouterr().out == "      task  helo\nrun folder  runs/helo-1\n"


def test_without_a_terminal_ten_lines_tell_of_a_hundred_steps(capsys):
    with console.Progress(BITS, total=100, done=0, every=10, unit="characters") as progress:
        for step in range(1, 101):
            progress.update(step, loss=1.5, metric=2.25, tokens=64, held_out=2.5 if step == 50 else None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    words = r"step  50/100  0:00 left  2.250 bits per character \(held out 2.500\)  loss 1.500  [\d,]+ characters/s"
    assert re.fullmatch(words, lines[4])


def test_the_time_left_counts_from_where_the_run_was_resumed(capsys, monkeypatch):
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.Progress(BITS, total=200, done=100, every=10, unit="characters") as progress:
        progress.update(110, loss=1.0, metric=1.0, tokens=640, held_out=None)  # ten steps in ten seconds
    assert "1:30 left" in (out := capsys.readouterr().out) and "64 characters/s" in out


def test_only_what_is_held_out_is_called_so(capsys):
    metric = Metric("letters right", held_out=False)
    with console.Progress(metric, total=1, done=0, every=1, unit="letters") as progress:
        progress.update(1, loss=1.0, metric=4.0, tokens=4, held_out=4.0)
    assert "held out" not in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [60, 120])
def test_in_a_terminal_a_bar_is_drawn_and_the_end_can_be_read(tmp_path, columns):
    import pty

    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "zoo", "train", "helo", "--steps", "40", "--out", str(tmp_path / "run")]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, cwd=ROOT, stdout=inside, stderr=inside, env=environment)
    os.close(inside)
    seen = b""
    with suppress(OSError):  # so Linux says that the other end is closed
        while chunk := os.read(terminal, 65536):
            seen += chunk
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    last = text[text.rindex("40/40") :]
    assert "━" in text and "after hell  o" in text
    assert re.match(r"40/40 0:00 left  [\d,]+ letters/s\s+4 letters right \(of 4\)  loss 0.\d{3}\s", last), last
    assert "report.html" in text


def test_a_metric_that_does_not_follow_from_the_loss_is_shown_as_it_was_last_measured(capsys):
    right = Metric("share right", worth=None, lower_is_better=False)
    with console.Progress(right, total=3, done=0, every=1, unit="steps") as progress:
        for step, measured in ((1, None), (2, 0.75), (3, None)):
            progress.update(step, loss=1.5, metric=None, tokens=64, held_out=measured)
    lines = [re.split(" left  |  [0-9,]+ steps/s", line)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["loss 1.500", *["held out 0.750 share right  loss 1.500"] * 2]
