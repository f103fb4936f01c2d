"""The gallery: commands that work, on a page that loads nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from viz.__main__ import main, parser
from viz.gallery import EXHIBITS, gallery
from viz.gallery.page import page

QUICK = ["cell", "compare", "layers", "attention-graph"]


def test_names_are_unique_and_every_picture_says_what_to_see() -> None:
    assert len({each.name for each in EXHIBITS}) == len(EXHIBITS)
    assert all(len(each.caption.split()) > 8 and each.title for each in EXHIBITS)


@pytest.mark.parametrize("each", [each for each in EXHIBITS if each.command], ids=lambda each: each.name)
def test_every_command_is_one_that_can_be_given(each: object) -> None:
    assert parser().parse_args(shlex.split(each.command)).run  # type: ignore[attr-defined]


def test_every_subcommand_is_shown() -> None:
    shown = {shlex.split(each.command)[0] for each in EXHIBITS if each.command}
    commands = next(action.choices for action in parser()._actions if action.choices)
    assert shown == set(commands) - {"gallery", "measure"}


def test_pictures_and_a_page_are_written(tmp_path: Path) -> None:
    index = gallery(tmp_path / "new" / "folder", only=QUICK)
    assert {path.stem for path in index.parent.iterdir()} == {*QUICK, "index"}
    text = index.read_text()
    assert text.count("<figure") == len(QUICK) and text.count("python -m viz ") == len(QUICK)
    assert not re.search(r'(src|href)="(https?:|//)|@import|url\(', text)


def test_the_page_escapes_what_it_shows(tmp_path: Path) -> None:
    from dataclasses import replace

    picture = tmp_path / "x.html"
    picture.write_text('<p title="&quot;">"</p>')
    hostile = replace(EXHIBITS[0], name="x", title="<b>", caption='"&<script>', command='cell --cell "<i>"')
    text = page([(hostile, picture)])
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text and 'srcdoc="&lt;p' in text


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "--out", str(tmp_path / "g"), "--only", "cell"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'g' / 'index.html'}: 1 files beside it\n"


def test_an_unknown_picture_and_a_bad_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "--out", str(tmp_path), "--only", "mona-lisa"]) == 2
    assert "there is no picture 'mona-lisa'; there are helo, cell" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["gallery", "--out", str(tmp_path / "file"), "--only", "cell"]) == 2


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
