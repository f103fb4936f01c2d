"""The grid: a column for each step, a row for each lane, nothing on top of anything else."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import combinations, pairwise

import pytest

import tinygrad_rnn as tg
import viz
import zoo
from tests.viz.samples import SAMPLES, lstm
from viz.fold import fold_cells
from viz.layout import Box, Layout, arrange
from viz.trace import Trace

CASES = [(name, level) for name in SAMPLES for level in ("cell", "op")]


def drawn(name: str, level: str) -> tuple[Trace, Layout]:
    trace = SAMPLES[name]()
    trace = fold_cells(trace) if level == "cell" else trace
    return trace, arrange(trace)


def overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top


@pytest.mark.parametrize(("name", "level"), CASES)
def test_no_two_boxes_overlap(name: str, level: str) -> None:
    _, plan = drawn(name, level)
    pairs = combinations(plan.boxes.items(), 2)
    assert [(a, b) for (a, one), (b, other) in pairs if overlap(one, other)] == []


@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_node_has_one_place(name: str, level: str) -> None:
    trace, plan = drawn(name, level)
    assert plan.boxes.keys() == {node.id for node in trace.nodes}


@pytest.mark.parametrize(("name", "level"), CASES)
def test_there_is_one_column_for_each_step_and_its_nodes_stand_inside(name: str, level: str) -> None:
    trace, plan = drawn(name, level)
    assert sorted(plan.bands) == trace.steps
    for node in trace.nodes:
        if node.time is not None:
            band, box = plan.bands[node.time], plan.boxes[node.id]
            assert band.left < box.left and box.right < band.right and band.bottom < box.bottom and box.top < band.top
    bands = [plan.bands[t] for t in trace.steps]
    assert all(one.right < other.left for one, other in pairwise(bands))
    assert len({round(band.width, 6) for band in bands}) <= 1


@pytest.mark.parametrize("name", SAMPLES)
def test_at_cell_level_the_nodes_of_a_step_share_x_and_those_of_a_lane_share_y(name: str) -> None:
    trace, plan = drawn(name, "cell")
    x, y = defaultdict(set), defaultdict(set)
    for node in trace.nodes:
        if node.time is not None:
            x[node.time].add(plan.boxes[node.id].x)
            y[node.role, node.layer, node.direction].add(plan.boxes[node.id].y)
    assert {len(places) for places in [*x.values(), *y.values()]} <= {1}


@pytest.mark.parametrize("level", ["cell", "op"])
def test_steps_that_compute_the_same_look_the_same(level: str) -> None:
    trace, plan = drawn("two LSTMs, cut", level)
    shapes = defaultdict(set)
    for node in trace.nodes:
        if node.time is not None:
            box = plan.boxes[node.id]
            shapes[node.time].add((node.label, node.op, round(box.x - plan.axes[plan.grid.column[node.id]], 6), box.y))
    assert shapes[1] == shapes[2] == shapes[3]
    first = {place for place in shapes[0] if place[0] not in ("E", "L")}  # step 0 has no sum of losses
    assert first <= shapes[1]


def test_lanes_go_up_from_inputs_over_layers_to_outputs_and_losses() -> None:
    trace, plan = drawn("two LSTMs, cut", "cell")
    step = [node for node in trace.nodes if node.time == 1]
    upwards = sorted(step, key=lambda node: plan.boxes[node.id].y)
    assert [(node.role, node.layer) for node in upwards] == [
        ("input", None), ("state", 0), ("state", 1), ("output", None), ("loss", None),
    ]  # fmt: skip


def test_parameters_stand_left_of_everything_and_can_be_left_out() -> None:
    trace, plan = drawn("one LSTM", "cell")
    names = {node.id for node in trace.parameters}
    others = [box for name, box in plan.boxes.items() if name not in names]
    assert max(plan.boxes[name].right for name in names) < min(box.left for box in others)
    assert arrange(trace, parameters=False).boxes.keys() == plan.boxes.keys() - names


def test_initial_states_stand_where_their_direction_begins() -> None:
    trace, plan = drawn("both directions", "cell")
    start = {n.direction: plan.boxes[n.id].x for n in trace.nodes if n.role == "state" and n.time is None}
    assert start["forward"] < plan.bands[0].left and start["reverse"] > plan.bands[trace.steps[-1]].right


def test_a_value_of_all_steps_is_a_bar_above_them() -> None:
    trace, plan = drawn("plain loop", "cell")
    bar = next(plan.boxes[node.id] for node in trace.nodes if node.role == "output")
    steps = [plan.boxes[node.id] for node in trace.nodes if node.time is not None]
    assert bar.left < min(b.left for b in steps) and bar.right > max(b.right for b in steps)
    assert bar.bottom > max(b.top for b in steps)


def test_a_long_sequence_costs_time_in_proportion_to_its_length() -> None:
    cost = {}
    for steps in (250, 2000):
        trace = fold_cells(lstm(steps))
        start = time.process_time()
        arrange(trace)
        cost[steps] = time.process_time() - start
    assert cost[2000] < 8 * 4 * cost[250] + 0.5  # quadratic time would be 64 times


def test_parameters_that_are_called_alike_say_where_they_are_read() -> None:
    def second_lines(net: tg.nn.Module) -> list[str]:
        trace = fold_cells(viz.trace(net, tg.ones((2, 1, 3))))
        faces = arrange(trace).faces
        return [faces[node.id].lines[1][0] for node in trace.parameters]

    rng = tg.random.Generator(0)
    deep = zoo.Stacked([zoo.RNN(zoo.ElmanRNN(3, 4, rng=rng)), zoo.RNN(zoo.ElmanRNN(4, 4, rng=rng))])
    assert set(second_lines(deep)) >= {"3×4 · layer 0", "4×4 · layer 0", "4×4 · layer 1", "4 · layer 1"}
    both = zoo.Bidirectional(zoo.ElmanRNN(3, 4, rng=rng), zoo.ElmanRNN(3, 4, rng=rng))
    assert set(second_lines(both)) == {"3×4 · →", "4 · →", "4×4 · →", "3×4 · ←", "4 · ←", "4×4 · ←"}
    assert set(second_lines(zoo.RNN(zoo.ElmanRNN(3, 4, rng=rng)))) == {"3×4", "4", "4×4"}
