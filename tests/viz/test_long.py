"""Folding a long sequence: few columns are left, and no message is lost."""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest

import viz
from tests.viz.samples import SAMPLES, bidirectional, elman, gru, lstm
from viz.example import Example
from viz.fold import fold_cells
from viz.long import INSIDE, UNSUMMED, fold_steps, shorten
from viz.picture import unroll
from viz.trace import Trace

LONG = {"LSTM": lambda: lstm(20), "two layers, cut": lambda: lstm(20, 2, cuts=(9,)), "GRU": lambda: gru(20),
        "bar": lambda: elman(20), "both directions": lambda: bidirectional(20)}  # fmt: skip


def total(trace: Trace) -> float:
    """The squares of all messages, those inside of folded columns included; to shared sources, of their sums."""
    parameters = {node.id for node in trace.parameters}
    squares = sum(e.message**2 for e in trace.edges if e.message is not None and e.source not in parameters)
    return squares + sum(node.stats.get(INSIDE, 0.0) ** 2 for node in trace.nodes if node.steps > 1)


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("level", ["cell", "op"])
def test_folding_preserves_the_total_message(name: str, level: str) -> None:
    trace = fold_cells(LONG[name]()) if level == "cell" else LONG[name]()
    short = shorten(trace, fold="always")
    assert len(short.steps) == 7 and short.length == 20
    bars = {n.id for n in trace.nodes if n.time is None and n.role not in ("parameter", "state")}
    if not any(e.source in bars for e in trace.edges):  # what steps read of one bar is summed, not set side by side
        assert total(short) == pytest.approx(total(trace), rel=1e-12)


@pytest.mark.parametrize("name", LONG)
def test_what_the_steps_give_a_parameter_adds_up_to_the_same_gradient(name: str) -> None:
    trace = fold_cells(LONG[name]())
    short = shorten(trace, fold="always")
    for node in trace.parameters:
        whole, kept = ([e.value for e in t.edges if e.source == node.id] for t in (trace, short))
        if all(value is not None for value in whole):
            np.testing.assert_allclose(sum(kept), sum(whole), rtol=1e-12)
            assert len(kept) == min(len(whole), 7)


def test_the_number_on_a_folded_edge_is_the_norm_of_the_sum_of_the_contributions() -> None:
    recorded = viz.trace(Example(cell="LSTM", steps=12, hidden=3, dtype="float64").build(), values=True)
    cells, short = fold_cells(recorded), shorten(fold_cells(recorded), fold="always")
    weight = next(node for node in cells.parameters if node.label.endswith("U"))
    time_of = {node.id: node.time for node in cells.nodes}
    middle = sum(e.value for e in cells.edges if e.source == weight.id and 3 <= (time_of[e.target] or 0) < 9)
    folded = next(e for e in short.edges if e.source == weight.id and e.target in {
        n.id for n in short.nodes if n.steps == 6})  # fmt: skip
    assert folded.message == pytest.approx(float(np.linalg.norm(middle)), rel=1e-10)
    gradient = sum(e.value for e in short.edges if e.source == weight.id)
    assert weight.gradient == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-10)


def test_messages_into_and_out_of_the_folded_column_stay_as_they_were() -> None:
    trace = fold_cells(lstm(20))
    short = shorten(trace, fold="always")
    time_of = {n.id: n.time for n in trace.nodes}
    crossing = {e.label: e.message for e in trace.edges if (time_of[e.source], time_of[e.target]) == (16, 17)}
    now = {n.id: n.time for n in short.nodes}
    found = {e.label: e.message for e in short.edges if (now[e.source], now[e.target]) == (3, 17)}
    assert found == crossing and found.keys() >= {"h", "c"}


def test_a_graph_that_is_too_large_folds_by_itself_and_says_so() -> None:
    picture = unroll(lstm(200))
    assert len(picture.trace.nodes) <= 400 and picture.trace.steps == [0, 1, 2, 3, 197, 198, 199]
    assert "t = 3 … 196 folded: 805 nodes are more than max_nodes=400." in picture.trace.note
    assert "t = 3 … 196" in picture.dot and "… × 194 …" in picture.dot
    assert "unrolled over 200 steps" in picture.dot
    assert list(picture.trace.uses.values()) == [200] * 4
    assert unroll(lstm(200), fold="never").trace.note == ""


def test_a_window_is_kept_and_what_is_around_it_folded() -> None:
    short = unroll(lstm(50), window=(20, 24)).trace
    assert [(n.time, n.steps) for n in short.nodes if n.role == "input"] == [
        (0, 20), (20, 1), (21, 1), (22, 1), (23, 1), (24, 26),
    ]  # fmt: skip
    small = unroll(lstm(50), window=(10, 40), max_nodes=60).trace
    assert [n.time for n in small.nodes if n.role == "input"] == [0, 10, 11, 12, 13, 37, 38, 39, 40]


def test_captions_stay_with_their_steps() -> None:
    picture = unroll(lstm(10), fold="always", captions="abcdefghij")
    assert picture.captions == ("a", "b", "c", "", "h", "i", "j")


def test_without_values_the_picture_says_what_it_does_not_know() -> None:
    build = Example(cell="GRU", steps=12, hidden=3).build()
    bare, kept = unroll(viz.trace(build), fold="always"), unroll(viz.trace(build, values=True), fold="always")
    assert UNSUMMED in bare.trace.note and UNSUMMED not in kept.trace.note


@pytest.mark.parametrize("name", SAMPLES)
def test_a_short_sequence_stays_as_it_is(name: str) -> None:
    trace = fold_cells(SAMPLES[name]())
    assert shorten(trace) is trace


def test_folding_the_same_place_of_different_steps_keeps_lanes_apart() -> None:
    short = shorten(fold_cells(lstm(20, 2)), fold="always")
    folded = [node for node in short.nodes if node.steps > 1]
    assert Counter((n.role, n.layer) for n in folded) == Counter(
        [("input", None), ("state", 0), ("state", 1), ("output", None), ("loss", None)]
    )
    assert fold_steps(short, []) == short


def test_five_thousand_steps_are_drawn_in_seconds() -> None:
    trace = lstm(5000)
    start = time.process_time()
    text = unroll(trace).dot
    spent = time.process_time() - start
    assert len(text) < 60_000 and spent < 20, f"{spent:.2f} s"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"fold": "sometimes"}, "fold='sometimes' is none of"),
        ({"max_nodes": 0}, "max_nodes is 0"),
        ({"window": (5, 5)}, r"window=\(5, 5\) holds no step"),
        ({"window": (90, 95)}, r"window=\(90, 95\) holds no step: .*0 … 19"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        unroll(lstm(20), **options)


def test_the_norm_inside_a_folded_column_is_over_all_its_gaps() -> None:
    trace = fold_cells(gru(20))
    short = shorten(trace, fold="always")
    time_of = {n.id: n.time for n in trace.nodes}
    gaps = [e.message for e in trace.edges if time_of[e.source] is not None and time_of[e.target] is not None
            and 3 <= time_of[e.source] < time_of[e.target] < 17 and e.message is not None]  # type: ignore[operator]  # fmt: skip
    cell = next(n for n in short.nodes if n.steps > 1 and n.cell)
    assert cell.stats[INSIDE] == pytest.approx(math.hypot(*gaps), rel=1e-12)
