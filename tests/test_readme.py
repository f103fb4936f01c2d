"""The README's commands, links and Python are what the project really has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def quick_start() -> list[str]:
    section = re.search(r"^## Quick start\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert section, "the README has no section '## Quick start'"
    return [block.strip() for block in blocks(section[1], "sh")]


def test_the_quick_start_is_two_commands_of_one_line() -> None:
    assert len(quick_start()) == 2
    assert not any("\n" in command for command in quick_start())


def test_both_commands_start_from_nothing() -> None:
    for command in quick_start():
        assert command.startswith("python3 -m venv .venv && .venv/bin/python -m pip install ")


def test_the_first_command_trains_and_the_second_tests() -> None:
    train, test = quick_start()
    assert train.endswith(".venv/bin/python -m zoo train char-lm")
    assert ".venv/bin/python -m pytest" in test
    assert [line for line in README.splitlines() if "-m pytest" in line] == [test]  # where .ci/run finds it


def test_every_extra_the_readme_names_exists() -> None:
    named = {extra for extras in re.findall(r"(?:\.|tinygrad-rnn)\[([\w,]+)\]", README) for extra in extras.split(",")}
    assert "test" in named
    assert named <= set(PROJECT["optional-dependencies"])


def test_every_file_the_readme_links_to_exists() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", README) + re.findall(r"(?:src|href)=\"([^\"#]+)\"", README)
    assert [t for t in targets if "://" not in t and not (ROOT / t).exists()] == []


def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    for block in blocks(README, "python"):  # in order: later blocks may use what earlier ones made
        exec(compile(block, "README.md", "exec"), names)
