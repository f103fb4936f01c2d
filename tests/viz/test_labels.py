"""Nothing is in the way of anything: boxes, lines and texts, measured where Graphviz draws them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.viz.geometry import Drawing, Line, clashes, drawing
from tests.viz.samples import SAMPLES
from tests.viz.test_nets import NETS
from viz import cell, compare, messages, style, trace, unroll
from viz.box import Box
from viz.example import Example
from viz.labels import interrupted, placed
from viz.marks import Mark
from viz.route import straight
from viz.wires import Wire

ALL = NETS | {
    "a state handed over": Example("GRU", context="state", hidden=4),
    "a context read at every step": Example("GRU", context="input", hidden=4),
    "a context through W": Example("ElmanRNN", context="recurrent", hidden=4),
    "both directions, dropout": Example("LSTM", bidirectional=True, layers=2, dropout=0.3),
}
CASES = [(name, steps, "cell") for name in ALL for steps in (1, 4)] + [(name, 25, "cell") for name in NETS]
CASES += [(name, 1, "op") for name in ALL] + [(name, 4, "op") for name in NETS]


@pytest.mark.parametrize(("name", "steps", "level"), CASES)
def test_nothing_overlaps_is_struck_or_clipped(name: str, steps: int, level: str) -> None:
    run = trace(Example(**(vars(ALL[name]) | {"steps": steps, "dtype": "float64"})).build())
    for wrap in (None, "auto") if (steps, level) == (4, "cell") else ("auto",):
        assert list(clashes(drawing(unroll(run, level=level, wrap=wrap, fold="never").dot))) == []  # type: ignore


@pytest.mark.parametrize("level", ["cell", "op"])
@pytest.mark.parametrize("name", SAMPLES)
def test_nor_in_graphs_made_by_hand(name: str, level: str) -> None:
    assert list(clashes(drawing(unroll(SAMPLES[name](), level=level).dot))) == []


@pytest.mark.parametrize("name", ["ElmanRNN", "LSTM", "GRU", "MGU"])
def test_nor_in_one_step_or_in_two_runs(name: str) -> None:
    assert list(clashes(drawing(cell(name).dot))) == []
    runs = [trace(Example(one, steps=13, loss="last").build()) for one in (name, "LSTM")]
    assert list(clashes(drawing(compare(*runs).dot))) == []


@pytest.mark.parametrize("mode", ["backward", "forward", "both"])
@pytest.mark.parametrize("show", ["norm", "shape", "value"])
def test_nor_where_messages_are_written(mode: str, show: str) -> None:
    problem = Example("LSTM", steps=4, hidden=3, dtype="float64").problem()
    picture = messages(problem, mode, show, identity="text")  # type: ignore[arg-type]
    assert list(clashes(drawing(picture.dot))) == []


def wire(label: str, at: tuple[float, float], *points: tuple[float, float]) -> Wire:
    return Wire("forward", "a", "b", straight(list(points)), "", label, at)


def test_a_number_that_is_struck_moves_along_its_line_and_one_that_is_free_stays() -> None:
    struck = wire("0.5", (10, 50), (0, 0), (0, 100))
    other = wire("1", (50, 62), (-40, 50), (100, 50))
    (one, two), _ = placed([struck, other], [], [])
    assert two == other and one.path == struck.path
    assert abs(one.label_at[1] - 50) > style.SMALL / 2 and abs(one.label_at[0]) < 30
    alone, _ = placed([struck], [], [])
    assert alone == [struck]


def test_a_number_with_no_free_place_goes_where_least_is_in_its_way() -> None:
    short = wire("0.5", (0, 0), (0, 0), (0, 12))
    (moved,), _ = placed([short], [], [Box(0, 0, 400, 400)])
    assert moved.label == "0.5"


def test_the_name_of_a_frame_goes_to_the_corner_that_no_line_crosses() -> None:
    frame, words = Box(100, 100, 200, 200), Box(30, 191, 44, 12)
    _, ((_, _, there),) = placed([wire("", (0, 0), (30, 120), (30, 260))], [("LSTM", frame, words)], [])
    assert there.right == pytest.approx(frame.right - 8) and there.y == words.y
    _, ((_, _, stays),) = placed([], [("LSTM", frame, words)], [])
    assert stays == words


def test_a_mark_that_is_a_line_leaves_room_for_numbers() -> None:
    mark = Mark("cut", Box.between(-0.5, 0.5, 0, 100), fill="#000000", behind=True)
    pieces = list(interrupted([mark], [wire("h", (0, 50), (-20, 42), (20, 42))]))
    assert [piece.name for piece in pieces] == ["cut", "cut_1"]
    assert pieces[0].box.top < 46 < 54 < pieces[1].box.bottom and pieces[1].box.top == 100


def test_what_is_measured_finds_what_is_wrong() -> None:
    found = Drawing(
        values={"a": Box(0, 0, 20, 20), "b": Box(15, 0, 20, 20), "c": Box(100, 0, 20, 20)},
        written=[("long", Box(0, 0, 30, 6), Box(0, 0, 20, 20))],
        texts=[("x", Box(100, 0, 8, 6)), ("y", Box(104, 0, 8, 6)), ("z", Box(200, 0, 8, 6))],
        lines=[Line("l", ("a", "b"), np.stack([np.arange(300.0), np.zeros(300)], axis=1))],
    )
    said = " | ".join(clashes(found))
    for part in ("b overlaps a", "'long' leaves its box", "'x' lies on text 'y'", "'x' lies on c", "runs through c",
                 "strikes 'z'"):  # fmt: skip
        assert part in said, part
