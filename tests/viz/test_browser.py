"""A browser is spoken to: what a page says, shows and complains about comes back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from viz import browser as module
from viz.browser import Browser, find

# as in the tests of the explorer's page: in CI there must be one
pytestmark = pytest.mark.skipif(not find() and "CI" not in os.environ, reason="no Chromium: apt install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


def page(folder: Path, body: str) -> str:
    path = folder / "x.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{body}", "utf-8")
    return path.as_uri()


def test_scripts_return_what_json_holds_and_promises_are_waited_for(browser: Browser, tmp_path: Path) -> None:
    tab = browser.open(page(tmp_path, "<p>häß</p>"), width=500, height=300)
    assert tab.run("[innerWidth, innerHeight, document.querySelector('p').textContent]") == [500, 300, "häß"]
    assert tab.run("new Promise((tell) => setTimeout(() => tell({ a: [1.5, null] }), 20))") == {"a": [1.5, None]}
    assert tab.run("undefined") is None and tab.run("'x'.repeat(300000)") == "x" * 300000  # longer than a pipe holds
    assert tab.complaints == []


def test_what_goes_wrong_in_a_page_is_heard(browser: Browser, tmp_path: Path) -> None:
    tab = browser.open(page(tmp_path, "<script>console.warn('odd', 3); nothing.here</script>"))
    assert tab.complaints[0] == "odd 3" and "ReferenceError: nothing is not defined" in tab.complaints[1]
    with pytest.raises(RuntimeError, match="TypeError: Cannot read properties of null"):
        tab.run("null.x")
    with pytest.raises(RuntimeError, match=r"Page\.fly"):
        tab.ask("Page.fly")


def test_media_are_as_asked_and_pages_are_drawn(browser: Browser, tmp_path: Path) -> None:
    tab = browser.open(page(tmp_path, "<p>text"), width=320, height=200, prefers_color_scheme="dark")
    assert tab.run("matchMedia('(prefers-color-scheme: dark)').matches") is True
    data = tab.picture(tmp_path / "x.png").read_bytes()
    assert data[:4] == b"\x89PNG" and (data[16:20], data[20:24]) == ((320).to_bytes(4, "big"), (200).to_bytes(4, "big"))
    assert tab.print(tmp_path / "x.pdf").read_bytes()[:5] == b"%PDF-"
    tab.close()


def test_an_answer_that_does_not_come_is_an_error(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = browser.open(page(tmp_path, ""))
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with pytest.raises(TimeoutError, match=r"waited 0\.2 s for Runtime\.evaluate"):
        tab.run("new Promise(() => {})")
    monkeypatch.undo()
    assert browser.open(page(tmp_path, "")).run("1 + 1") == 2


def test_one_that_has_died_is_noticed_and_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Browser() as mortal:
        tab = mortal.open(page(tmp_path, ""))
        os.kill(mortal.process, signal.SIGKILL)
        with pytest.raises((RuntimeError, OSError)):
            tab.run("1 + 1")
    assert "ended by force" in capsys.readouterr().err and not Path(mortal.folder).exists()


def test_without_one_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no Chromium: .*apt-get install chromium"):
        Browser()
