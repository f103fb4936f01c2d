"""Every scissors mark bears the norm of the gradient that the cut throws away, and all of them add up to the bias."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.viz.geometry import clashes, drawing
from viz.example import Example
from viz.render import render
from viz.style import number
from viz.truncation import truncation
from zoo.topology.examples import example


def labels(dot: str, start: str) -> dict[str, str]:
    """The text of the marks whose names begin so."""
    found = re.findall(rf"\t({start}\w*) \[(.*)\]", dot)
    return {name: " ".join(re.findall(r">([^<>]+)<", facts)) or facts for name, facts in found}


@pytest.mark.parametrize("way", ["chunks:2", "chunks:3", "window:1,3", "window:2,4"])
def test_scissors_bear_the_norm_of_what_the_cut_loses(way: str) -> None:
    problem = Example(cell="ElmanRNN", steps=8, hidden=3, dtype="float64").problem()
    found = tg.bptt.cuts(problem, way)
    shown = labels(truncation(problem, way).dot, "lost_")
    expected = {
        f"lost_{at}": f"loses {number(float(np.linalg.norm(row)))}"
        for at, row in zip(found.at.array.tolist(), found.norms.array, strict=True)
    }
    assert shown == expected


def test_the_lost_gradients_of_all_cuts_add_up_to_what_is_missing_in_the_table() -> None:
    problem = example("synced", "LSTM", hidden=3)
    found = tg.bptt.cuts(problem, "chunks:2")
    shown = labels(truncation(problem, "chunks:2").dot, "share_")
    exact = tg.bptt.gradient(problem).gradients
    for row, (name, lost) in enumerate(found.lost.items()):
        missing, whole = np.linalg.norm(lost.array.sum(0)), np.linalg.norm(exact[name].numpy())
        share = 100 * missing / whole
        assert f"{share:.1f} %  ({number(float(missing))} of {number(float(whole))})" in shown[f"share_{row}"]


def test_chunks_have_a_box_each_and_their_messages_stop_at_the_cuts() -> None:
    problem = example("synced", "GRU", hidden=3)
    picture = truncation(problem, "chunks:2")
    assert len(re.findall(r"\tchunk_\d", picture.dot)) == 3
    time = {node.id: node.time for node in picture.trace.nodes}
    assert [(time[e.source], time[e.target]) for e in picture.trace.cuts] == [(1, 2), (3, 4)]
    truncated = tg.bptt.gradient(problem, "chunks:2").gradients
    for node in picture.trace.parameters:
        assert node.gradient == pytest.approx(float(np.linalg.norm(truncated[node.label].numpy())), rel=1e-10)


def test_a_random_truncation_shows_one_draw_with_the_weights_of_what_passes() -> None:
    problem = Example(cell="LSTM", steps=9, hidden=3, dtype="float64").problem()
    way = tg.bptt.strategy("artbp:4")
    picture = truncation(problem, way, rng=tg.random.Generator(5))
    updates = list(way.updates(problem, rng=tg.random.Generator(5)))
    stops = [u.t for u in updates]
    lost = tg.bptt.cuts(problem, stops[:-1]).norms.array
    assert labels(picture.dot, "lost_") == {
        f"lost_{at}": f"loses {number(float(np.linalg.norm(row)))}" for at, row in zip(stops[:-1], lost, strict=True)
    }
    starts = [0, *stops[:-1]]
    weights = {
        f"weight_{start + i}": f"× {number(1 / (1 - way.probability(i)))}"  # type: ignore[attr-defined]
        for start, stop in zip(starts, stops, strict=True) for i in range(1, stop - start)
    }  # fmt: skip
    assert labels(picture.dot, "weight_") == weights and weights
    total = [sum(parts) for parts in zip(*(tg.tree.leaves(u.gradients) for u in updates), strict=True)]
    drawn = {node.label: node.gradient for node in picture.trace.parameters}
    for name, gradient in zip(tg.bptt.parameter_names(problem.parameters), total, strict=True):
        assert drawn[name] == pytest.approx(float(np.linalg.norm(gradient.numpy())), rel=1e-10)


def test_a_window_shows_for_every_update_its_losses_and_how_far_back_they_reach() -> None:
    problem = Example(cell="ElmanRNN", steps=7, hidden=3, dtype="float64").problem()
    dot = truncation(problem, "window:2,4").dot
    told = re.findall(r"update \d: losses of t = (\d) … (\d), sent back to t = (\d)", dot)
    assert list(dict.fromkeys(told)) == [("0", "1", "0"), ("2", "3", "0"), ("4", "5", "2"), ("6", "6", "3")]


@pytest.mark.parametrize("way", ["chunks:2", "window:1,2", "artbp:3", "chunks:99"])
@pytest.mark.parametrize("wrap", [None, 2])
def test_graphviz_draws_it_without_a_remark(way: str, wrap: int | None, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("encoder-decoder-input", "synced-stacked"):
        render(truncation(example(name, "ElmanRNN", hidden=3), way, wrap=wrap).dot)
    assert [str(w.message) for w in recwarn if "dot" in str(w.message)] == []


@pytest.mark.parametrize(
    ("way", "complaint"), [("full", "full does not cut"), ("rtrl", "rtrl does not cut"), ("chunk:3", "no strategy")]
)
def test_ways_that_do_not_cut_are_refused(way: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        truncation(example("synced", "ElmanRNN", hidden=3), way)


def test_what_is_no_problem_is_refused() -> None:
    with pytest.raises(TypeError, match=r"draws a tg\.bptt\.Problem, not str"):
        truncation("chunks:3", "chunks:3")  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["chunks:40", "window:10,30", "artbp:30"])
def test_a_long_run_is_folded_and_its_cuts_together_lose_what_they_lost(way: str) -> None:
    problem = Example(cell="ElmanRNN", steps=401, hidden=2, dtype="float64").problem()
    picture = truncation(problem, way)
    assert picture.trace.steps == [0, 1, 2, 3, 398, 399, 400] and "t = 3 … 397 folded" in picture.trace.note
    chosen = tg.bptt.strategy(way)
    drawn = chosen
    if isinstance(chosen, tg.bptt.ARTBP):
        drawn = [u.t for u in chosen.updates(problem, rng=tg.random.Generator(0))][:-1]  # type: ignore[assignment]
    found = tg.bptt.cuts(problem, drawn)
    (inside,) = [part for name, part in labels(picture.dot, "lost_").items() if part.startswith("together")]
    places = [k for k, at in enumerate(found.at.array.tolist()) if 3 < at < 398]
    total = np.linalg.norm([np.linalg.norm(lost.array[places].sum(0)) for lost in found.lost.values()])
    assert inside == f"together lose {number(float(total))}"
    assert f"✂ × {len(places)}" in labels(picture.dot, "scissors_").values()
    render(picture.dot)


def test_a_long_run_loses_in_sum_what_its_parameters_miss() -> None:
    problem = Example(cell="ElmanRNN", steps=120, hidden=2, dtype="float64").problem()
    full, window = truncation(problem, "chunks:50", fold="never"), truncation(problem, "chunks:50", window=(48, 52))
    shares = [re.findall(r'"([\d.]+ %[^"]*)"', picture.dot) for picture in (full, window)]
    assert shares[0] == shares[1] != []
    assert labels(window.dot, "lost_").keys() == {"lost_50", "lost_100"}
    assert labels(full.dot, "lost_") == labels(window.dot, "lost_")


@pytest.mark.parametrize("way", ["chunks:3", "window:2,4", "artbp:3", "chunks:40"])
def test_nothing_is_in_the_way_of_anything(way: str) -> None:
    for steps in (8, 101):
        problem = Example(cell="LSTM", steps=steps, hidden=2, dtype="float64").problem()
        assert list(clashes(drawing(truncation(problem, way).dot))) == []
