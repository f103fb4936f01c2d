"""python -m viz: what it draws, prints and refuses."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from viz import Trace
from viz.__main__ import main


def test_a_picture_and_its_trace_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, data = tmp_path / "x.dot", tmp_path / "x.json"
    assert main(["unroll", "--cell", "gru", "--steps", "3", "--out", str(out), "--json", str(data)]) == 0
    assert "GRU, unrolled over 3 steps" in out.read_text()
    trace = Trace.from_json(data.read_text())
    assert trace.steps == [0, 1, 2] and trace.level == "op"
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 3 steps, ") and said.err == ""


def test_the_default_is_an_svg_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("dot") is None:
        pytest.importorskip("pygraphviz", reason="no way to draw")
    monkeypatch.chdir(tmp_path)
    assert main(["unroll", "--steps", "2"]) == 0
    assert "<svg" in (tmp_path / "unrolled.svg").read_text()


def test_without_graphviz_the_text_is_written_and_the_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    assert main(["unroll", "--steps", "2", "--out", str(tmp_path / "x.svg")]) == 1
    said = capsys.readouterr()
    assert f"{tmp_path / 'x.dot'}: 2 steps" in said.out
    assert "apt install graphviz" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.dot"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--cell", "lstn"], "did you mean LSTM"),
        (["--steps", "0"], "steps is 0; it must be 1 or more"),
        (["--hidden", "-1"], "hidden is -1"),
        (["--bidirectional", "--truncate", "2"], "cannot be truncated"),
        (["--out", "x.gif"], "use one of .svg, .png, .pdf, .dot"),
        (["--out", "nowhere/x.dot"], "make the folder first"),
    ],
)
def test_a_bad_request_gets_one_line_and_status_2(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["unroll", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("python -m viz: ") and complaint in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_help_teaches_and_names_the_cells(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["unroll", "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert "follow the numbers from right to left" in said and "GRUResetAfter" in said and "(default: 4)" in said
    assert max(map(len, said.splitlines())) <= 88


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["messages", "--cell", "elmanrnn", "--steps", "3", "--identity", "text"], "messages both ways"),
        (["messages", "--topology", "encoder-decoder-input", "--cell", "gru", "--hidden", "3", "--wrap", "4"], "ζ"),
        (["truncation", "--steps", "5", "--way", "chunks:2"], "truncated: chunks:2"),
        (["truncation", "--cell", "gru", "--steps", "6", "--way", "artbp:3", "--wrap", "3"], "truncated: artbp:3"),
        (["unroll", "--steps", "9", "--window", "3:5"], "t = 5 … 8"),
        (["unroll", "--steps", "9", "--fold", "always", "--wrap", "4"], "… × 3 …"),
        (["unroll", "--steps", "9", "--max-nodes", "20"], "42 nodes are more than max_nodes=20"),
    ],
)
def test_every_graph_is_a_subcommand(arguments: list[str], written: str, tmp_path: Path) -> None:
    assert main([*arguments, "--out", str(tmp_path / "x.dot")]) == 0
    assert written in (tmp_path / "x.dot").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["truncation", "--way", "full"], "does not cut"),
        (["truncation", "--topology", "circle"], "there is no topology 'circle'"),
        (["messages", "--bidirectional"], "no problem of one exact gradient"),
        (["unroll", "--wrap", "0"], "a row has 1 column or more"),
        (["unroll", "--window", "7:9"], "holds no step"),
    ],
)
def test_what_cannot_be_drawn_gets_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "x.dot")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m viz: ") and complaint in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_window_is_two_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["unroll", "--window", "3-5"])
    assert "write A:B for the steps from A to before B" in capsys.readouterr().err
