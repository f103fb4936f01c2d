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
