"""The gallery: commands that work, on a page that loads nothing."""

from __future__ import annotations

import html
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from viz.__main__ import main, parser
from viz.gallery import EXHIBITS, Exhibit, Shown, gallery
from viz.gallery.exhibits import BEGIN, SECTIONS
from viz.gallery.page import page

QUICK = ["cell", "compare", "layers", "attention-graph"]


def test_names_are_unique_and_every_picture_says_what_to_see() -> None:
    assert len({each.name for each in EXHIBITS}) == len(EXHIBITS)
    assert all(len(each.caption.split()) > 8 and each.title and each.equation for each in EXHIBITS)


@pytest.mark.parametrize("each", [each for each in EXHIBITS if each.command], ids=lambda each: each.name)
def test_every_command_is_one_that_can_be_given(each: object) -> None:
    assert parser().parse_args(shlex.split(each.command)).run  # type: ignore[attr-defined]


def test_every_subcommand_is_shown() -> None:
    shown = {shlex.split(each.command)[0] for each in EXHIBITS if each.command}
    commands = next(action.choices for action in parser()._actions if action.choices)
    assert shown == set(commands) - {"gallery", "measure"}


@pytest.fixture(scope="module")
def begun() -> dict[str, Any]:
    """What the page's own lines of Python make."""
    names: dict[str, Any] = {}
    exec(BEGIN, names)
    return names


@pytest.mark.parametrize("each", EXHIBITS, ids=lambda each: each.name)
def test_every_line_of_python_draws_a_picture_of_its_kind(each: Exhibit, begun: dict[str, Any], tmp_path: Path) -> None:
    picture = eval(each.code, begun)
    command = shlex.split(each.command)[0] if each.command else "unroll"
    assert each.code.startswith(f"viz.{command}(") and picture.save(tmp_path / f"x{each.suffix}").stat().st_size > 1000


def test_the_sections_hold_each_picture_once_and_end_with_the_explorer() -> None:
    assert [each.name for section in SECTIONS.values() for each in section] == [each.name for each in EXHIBITS]
    assert EXHIBITS[0].name == "cell" and EXHIBITS[-1].name == "explorer"


def test_pictures_and_a_page_are_written(tmp_path: Path) -> None:
    index = gallery(tmp_path / "new" / "folder", only=QUICK)
    assert {path.stem for path in index.parent.iterdir()} == {*QUICK, "index"}
    text = index.read_text()
    assert text.count("<figure") == len(QUICK) and text.count("python -m viz ") == len(QUICK)
    assert all(f"<code>{html.escape(each.code)}</code>" in text for each in EXHIBITS if each.name in QUICK)
    assert re.findall('<figure id="(.*?)"', text) == [each.name for each in EXHIBITS if each.name in QUICK]
    assert not re.search(r'(src|href)="(https?:|//)|@import|url\(', text)


def test_pictures_are_no_wider_than_drawn(tmp_path: Path) -> None:
    text = gallery(tmp_path, only=["cell", "clip"]).read_text()
    for name, wide in zip(("cell", "clip"), re.findall(r'<img style="width:([\d.]+pt)"', text), strict=True):
        assert f"max-width:{wide}" in (tmp_path / f"{name}.svg").read_text()


def test_the_page_escapes_what_it_shows_and_sets_the_indices_of_equations(tmp_path: Path) -> None:
    picture = tmp_path / "x.html"
    picture.write_text('<p title="&quot;">"</p>')
    hostile = replace(EXHIBITS[0], title="<b>", caption='"&<script>', command='cell --cell "<i>"', code="<u>",
                      equation="<s> a_k b_{t < k}")  # fmt: skip
    text = page([Shown(hostile, picture), Shown(hostile, None, "<em>")], {"Part": [hostile]})
    for tag in ("script", "b", "i", "u", "s", "em"):
        assert f"<{tag}>" not in text.replace("<ul>", "").replace("<div><b>Part</b>", "")
    assert 'srcdoc="&lt;p' in text and "a<sub>k</sub> b<sub>t &lt; k</sub>" in text
    assert "<strong>Not drawn.</strong> &lt;em&gt;" in text


def test_the_command_says_what_it_wrote_and_not_what_else_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "cell.svg").write_text("old")
    assert main(["gallery", "--out", str(tmp_path), "--only", "cell", "cell"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'index.html'}: 1 picture\n" and said.err == ""
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "cell.svg", "index.html"}
    assert (tmp_path / "notes.txt").read_text() == "mine" and "<svg" in (tmp_path / "cell.svg").read_text()


def test_a_terminal_sees_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["gallery", "--out", str(tmp_path), "--only", "cell", "cell-gru"]) == 0
    bars = capsys.readouterr().err.split("\r")[1:]
    assert [bar.split() for bar in bars] == [["[###############...............]", "1/2", "cell"],
                                             ["[##############################]", "2/2", "cell-gru"]]  # fmt: skip


def test_without_graphviz_its_pictures_are_there_as_text_and_all_others_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    assert main(["gallery", "--out", str(tmp_path), "--only", "cell", "helo", "clip"]) == 1
    said = capsys.readouterr()
    assert said.out.endswith("index.html: 1 picture, 2 not drawn\n")
    assert re.fullmatch(r"python -m viz: not drawn: cell, helo; no Graphviz to draw with: install .*\n", said.err)
    assert {path.name for path in tmp_path.iterdir()} == {"cell.dot", "helo.dot", "clip.svg", "index.html"}
    text = (tmp_path / "index.html").read_text()
    assert '<a href="cell.dot">cell.dot</a>' in text and text.count("Not drawn.") == 2 and text.count("<img") == 1


def test_a_picture_that_fails_is_said_and_the_others_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.warns(UserWarning, match=r"not drawn: norms, clip; matplotlib, .* is not installed: pip install"):
        index = gallery(tmp_path, only=["clip", "norms", "cell"])
    assert {path.name for path in tmp_path.iterdir()} == {"cell.svg", "index.html"}
    assert index.read_text().count("pip install matplotlib") == 2


def test_an_interrupted_run_leaves_whole_files_and_the_page_of_the_run_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").write_text("the page before")

    def interrupted(self: Exhibit, folder: Path) -> Path:
        if self.name == "ops":
            raise KeyboardInterrupt
        return drawn(self, folder)

    drawn = Exhibit.draw
    monkeypatch.setattr(Exhibit, "draw", interrupted)
    assert main(["gallery", "--out", str(tmp_path), "--only", "cell", "ops", "lag"]) == 130
    assert capsys.readouterr().err == "python -m viz: interrupted; files that were written are whole\n"
    assert {path.name for path in tmp_path.iterdir()} == {"cell.svg", "index.html"}
    assert (tmp_path / "index.html").read_text() == "the page before"


def test_an_unknown_picture_and_a_bad_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "--out", str(tmp_path), "--only", "mona-lisa"]) == 2
    assert "there is no picture 'mona-lisa'; there are cell, cell-gru" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    for place in ("file", "file/folder"):
        assert main(["gallery", "--out", str(tmp_path / place), "--only", "cell"]) == 2
        said = capsys.readouterr().err
        assert "give a folder, there or to be made" in said and str(tmp_path / place) in said and said.count("\n") == 1


def test_cell_and_compare_are_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cell", "--cell", "mgu", "--out", str(tmp_path / "c.dot")]) == 0
    assert main(["compare", "--cells", "gru, lstm", "--steps", "3", "--out", str(tmp_path / "d.dot")]) == 0
    assert "GRU over LSTM, unrolled over 3 steps" in capsys.readouterr().out
    assert main(["compare", "--cells", "gru", "--out", str(tmp_path / "e.dot")]) == 2
    assert "two names with a comma between them" in capsys.readouterr().err


def test_the_pictures_of_the_readme_are_those_of_the_gallery() -> None:
    root = Path(__file__).parents[2]
    shown = set(re.findall(r"\(viz/gallery/(\w+)\.svg\)", (root / "README.md").read_text()))
    kept = {path.stem for path in (root / "viz" / "gallery").glob("*.svg")}
    assert shown == kept and kept <= {each.name for each in EXHIBITS} and len(kept) <= 4
