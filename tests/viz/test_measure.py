"""What pictures must reach is measured, small here, and what is missed is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import viz
from viz import measure
from viz.__main__ import main
from viz.browser import find
from viz.example import Example
from viz.measure import Figure, drawing, off, page, same_bits


def test_the_time_to_draw_is_taken_right_after_tracing_and_in_a_fresh_process() -> None:
    traced, read = drawing(steps=30, cell="ElmanRNN", seconds=60)
    assert traced.name == "30 steps of ElmanRNN drawn, just traced" and read.name.endswith("read from a file")
    assert traced.must == "≤ 60 s" and traced.reached and read.reached
    assert not any(found.reached for found in drawing(steps=8, cell="ElmanRNN", seconds=1e-9))


def test_a_page_is_measured_by_its_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    size, opens = page(steps=40, cells=("GRU",))
    example = Example("GRU", steps=40, dtype="float64")
    run = viz.trace(example.build(), values=True)
    written = viz.explore(run, problem=example.problem()).save(tmp_path / "x.html").stat().st_size
    assert size.measured == f"{written / 1e3 / len(run.nodes):.2f} MB" and f"{len(run.nodes):,} nodes" in size.name
    assert (opens.measured, opens.reached) == ("skipped, there is no Chromium", None)


@pytest.mark.skipif(not find(), reason="no Chromium to open the page in: apt install chromium")
def test_a_page_opens_when_its_first_frame_is_drawn() -> None:
    _, opens = page(steps=4, cells=("LSTM",), seconds=60)
    assert opens.reached and 0 < float(opens.measured.split(" s")[0]) < 60


def test_traced_training_is_compared_number_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, compiled = same_bits(updates=2)
    assert plain.reached and compiled.reached and plain.measured == "0 of 988"
    honest = measure._trained

    def disturbed(updates: int, compiled: bool, watch: bool) -> list:
        return [p + watch for p in honest(updates, compiled, watch)]

    monkeypatch.setattr(measure, "_trained", disturbed)
    assert [found.reached for found in same_bits(updates=1)] == [False, False]


def test_an_update_after_a_picture_makes_no_more_calls() -> None:
    calls, ratio = off(rounds=2, updates=2, most=100)
    assert calls.reached and calls.measured == "0" and ratio.reached and "±" in ratio.measured


def test_the_command_prints_a_line_a_figure_and_fails_where_one_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def some(*reached: bool | None) -> Iterator[Figure]:
        return iter([Figure(f"figure {k}", "≤ 1", "0.5", each) for k, each in enumerate(reached)])

    for reached, status in (((True, None), 0), ((True, False, None), 1)):
        monkeypatch.setattr(measure, "MEASURES", (lambda reached=reached: some(*reached),))
        assert main(["measure"]) == status
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("Python ") and len(lines) == 2 + len(reached)
        assert [line.endswith("MISSED") for line in lines[2:]] == [each is False for each in reached]


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)measure: a process failed: .*ZeroDivisionError"):
        measure._elsewhere("1 / 0")
