"""Two runs in one picture: their own numbers, one scale, and names that do not meet."""

from __future__ import annotations

import math
import re

import pytest

import viz
from viz.compare import crossing
from viz.example import Example
from viz.fold import fold_cells
from viz.layout import arrange
from viz.style import number, pen_width
from viz.trace import Trace
from viz.wires import wires


def run(cell: str, steps: int = 6) -> Trace:
    return viz.trace(Example(cell, steps=steps, loss="last", gain=0.5, dtype="float64").build())


ELMAN, LSTM = run("ElmanRNN"), run("LSTM")


def test_ids_are_disjoint_and_nothing_is_lost() -> None:
    drawn = viz.compare(ELMAN, LSTM).trace
    parts = [{n.id for n in drawn.nodes if n.part == part} for part in "ab"]
    assert not parts[0] & parts[1]
    assert [len(part) for part in parts] == [len(fold_cells(run).nodes) for run in (ELMAN, LSTM)]
    both = [e.message for run in (ELMAN, LSTM) for e in fold_cells(run).edges]
    assert [e.message for e in drawn.edges] == both


def test_the_widths_of_both_are_on_one_scale() -> None:
    drawn = viz.compare(ELMAN, LSTM, params="shared").trace
    largest = max(e.message for e in drawn.edges if e.message is not None)
    norms = {(e.target, e.source): e.message for e in drawn.edges if e.message is not None}
    lines = [wire for wire in wires(drawn, arrange(drawn)) if wire.kind == "backward"]
    single = [w for w in lines if sum((e.target, e.source) == (w.source, w.target) for e in drawn.edges) == 1]
    assert single and all(w.width == pen_width(norms[w.source, w.target], largest) for w in single)


def test_the_columns_are_shared_and_the_first_run_is_on_top() -> None:
    drawn = viz.compare(ELMAN, LSTM).trace
    plan = arrange(drawn, parameters=False)
    at = {part: {n.time: plan.boxes[n.id] for n in drawn.nodes if n.part == part and n.cell and n.time is not None}
          for part in "ab"}  # fmt: skip
    assert [at["a"][t].x for t in range(6)] == [at["b"][t].x for t in range(6)]
    assert min(box.bottom for box in at["a"].values()) > max(box.top for box in at["b"].values())
    rows = {part: [plan.boxes[n.id].y for n in drawn.nodes if n.part == part and n.id in plan.boxes] for part in "ab"}
    assert min(rows["a"]) > max(rows["b"])


def test_what_is_said_of_each_is_what_its_messages_are() -> None:
    picture = viz.compare(ELMAN, LSTM)
    for name, one in (("ElmanRNN", ELMAN), ("LSTM", LSTM)):
        norms = crossing(fold_cells(one))
        assert list(norms) == [0, 1, 2, 3, 4]
        line = rf"{name}: .* {re.escape(number(norms[4]))} at t = 4, {re.escape(number(norms[0]))} at t = 0"
        assert re.search(line, picture.dot)


def test_messages_of_several_parts_of_a_state_are_taken_together() -> None:
    folded = fold_cells(LSTM)
    nodes = {node.id: node for node in folded.nodes}
    edges = [e.message for e in folded.edges if nodes[e.source].time == 2 and nodes[e.target].time == 3]
    states = [m for m in edges if m is not None]
    assert len(states) == 2 and crossing(folded)[2] == pytest.approx(math.hypot(*states), rel=1e-12)


def test_with_the_same_gain_the_plain_net_forgets_sooner() -> None:
    fates = [crossing(fold_cells(one)) for one in (ELMAN, LSTM)]
    assert fates[0][0] / fates[0][4] < fates[1][0] / fates[1][4]


def test_runs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(TypeError, match="draws two traces, not str"):
        viz.compare(ELMAN, "LSTM")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share no step"):
        viz.compare(ELMAN, Trace([], []))
    with pytest.raises(ValueError, match="params='repeat' is none"):
        viz.compare(ELMAN, LSTM, params="repeat")  # type: ignore[arg-type]
