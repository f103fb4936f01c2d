"""Folding ops into cells keeps what passes between them: each message is the norm of a sum of contributions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
from tests.viz.samples import SAMPLES, gru, lstm
from viz.fold import fold_cells, group, message_between
from viz.trace import Trace


@pytest.mark.parametrize("name", SAMPLES)
def test_one_node_is_left_of_each_group_and_no_edge_inside_it(name: str) -> None:
    trace = SAMPLES[name]()
    folded = fold_cells(trace)
    assert len(folded.nodes) == len({group(node) for node in trace.nodes})
    assert all(edge.source != edge.target for edge in folded.edges)
    assert folded.steps == trace.steps
    assert fold_cells(folded) is folded


@pytest.mark.parametrize("name", SAMPLES)
def test_every_parameter_stays_one_node_with_its_uses(name: str) -> None:
    trace = SAMPLES[name]()
    folded = fold_cells(trace)
    assert [node.label for node in folded.parameters] == [node.label for node in trace.parameters]
    assert list(folded.uses.values()) == list(trace.uses.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_folded_message_is_the_norm_of_the_sum_of_what_one_source_gets_from_one_cell(name: str) -> None:
    trace = SAMPLES[name]()
    groups = {node.id: group(node) for node in trace.nodes}
    sums: dict = {}
    for edge in trace.edges:
        if groups[edge.source] != groups[edge.target] and edge.value is not None:
            key = edge.source, groups[edge.target]
            sums[key] = sums.get(key, 0.0) + edge.value
    expected = sorted(float(np.linalg.norm(total)) for total in sums.values())
    found = sorted(edge.message for edge in fold_cells(trace).edges if edge.message is not None)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_three_uses_of_a_gru_state_become_one_message() -> None:
    folded = fold_cells(gru(3))
    cells = [node.id for node in folded.nodes if node.cell and node.time is not None]
    assert [sum((e.source, e.target) == pair for e in folded.edges) for pair in pairwise(cells)] == [1, 1]


def test_h_and_c_of_an_lstm_stay_two_messages_that_combine() -> None:
    folded = fold_cells(lstm(3))
    one, two = [node.id for node in folded.nodes if node.cell and node.time is not None][:2]
    messages = {e.label: e.message for e in folded.edges if (e.source, e.target) == (one, two)}
    assert messages.keys() == {"h", "c"}
    assert message_between(folded, one, two) == pytest.approx(np.hypot(messages["h"], messages["c"]), rel=1e-14)


def test_the_norm_of_a_sum_is_unknown_without_its_terms() -> None:
    trace = gru(2)
    bare = Trace(trace.nodes, [replace(edge, value=None) for edge in trace.edges])
    folded = fold_cells(bare)
    cells = [node.id for node in folded.nodes if node.cell and node.time is not None]
    assert next(e.message for e in folded.edges if (e.source, e.target) == (cells[0], cells[1])) is None


def test_a_folded_trace_sums_messages_after_json_too() -> None:
    trace = gru(3)
    again = Trace.from_json(trace.to_json())
    np.testing.assert_allclose(
        [edge.message or 0.0 for edge in fold_cells(again).edges],
        [edge.message or 0.0 for edge in fold_cells(trace).edges],
        rtol=1e-12,
    )


def test_a_cut_stays_a_cut_and_carries_no_message() -> None:
    folded = fold_cells(lstm(4, cuts=(2,)))
    assert [(edge.label, edge.message) for edge in folded.cuts] == [("h", None), ("c", None)]


def test_losses_that_are_added_step_by_step_are_called_as_their_sum_the_first_one_too() -> None:
    w = tg.tensor(np.eye(2), requires_grad=True, name="w")
    start, xs = tg.zeros((1, 2), dtype="float64"), tg.tensor(np.ones((3, 1, 2)))
    problem = tg.bptt.Problem(w, lambda w, h, x: ((new := tg.tanh(x @ w + h)), (new * new).sum()), start, xs)
    folded = fold_cells(viz.trace(problem))
    losses = {node.id: node.label for node in folded.nodes if node.role == "loss"}
    assert list(losses.values()) == ["L"] * 3
    assert [edge.label for edge in folded.edges if edge.source in losses] == ["L"] * 2
