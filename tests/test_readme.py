"""The README's commands, links and Python are what the project really has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import tinygrad_rnn as tg

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


def test_the_table_of_ways_to_a_gradient_is_the_registry_s() -> None:
    assert tg.bptt.view.markdown() in README


def test_the_python_in_the_readme_runs(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"  # a file and a process of its own: it registers a cell, whose source is read
    script.write_text("\n".join(blocks(README, "python")))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
