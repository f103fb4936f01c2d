"""A Trace is plain data: it checks itself and survives JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.viz.samples import SAMPLES, lstm
from viz import Trace, TraceEdge, TraceNode


@pytest.mark.parametrize("name", SAMPLES)
def test_a_trace_comes_back_from_json(name: str) -> None:
    trace = SAMPLES[name]()
    assert Trace.from_json(trace.to_json()) == trace


def test_json_keeps_what_strict_parsers_refuse() -> None:
    stats = {"mean": math.nan, "max": math.inf, "min": -math.inf}
    trace = Trace([TraceNode("a", "exp", "a", stats=stats, gradient=math.inf)], [TraceEdge("a", "a", message=math.nan)])
    text = trace.to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = Trace.from_json(text)
    assert back.nodes[0].gradient == math.inf and back.nodes[0].stats["min"] == -math.inf
    assert math.isnan(back.nodes[0].stats["mean"]) and math.isnan(back.edges[0].message or 0.0)


@pytest.mark.parametrize("value", [np.array([1.5, -2.0, np.nan]), np.array([[1 + 2j], [3 - 4j]]), np.float64(3.0)])
def test_what_was_kept_of_a_value_or_a_message_comes_back_from_json(value: Any) -> None:
    node = TraceNode("a", "exp", "", value=value)
    back = Trace.from_json(Trace([node], [TraceEdge("a", "a", value=value)]).to_json())
    np.testing.assert_array_equal(back.edges[0].value, value)
    np.testing.assert_array_equal(back.nodes[0].value, value)


@pytest.mark.parametrize(
    ("nodes", "edges", "complaint"),
    [
        (["a", "a"], [], "node id 'a' occurs 2 times"),
        (["a"], [("a", "b")], "edge a -> b names a node that is missing"),
    ],
)
def test_a_trace_that_contradicts_itself_is_refused(
    nodes: list[str], edges: list[tuple[str, str]], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Trace([TraceNode(name, "exp", "") for name in nodes], [TraceEdge(*ends) for ends in edges])


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="role 'neuron'; roles are input, state"):
        Trace([TraceNode("a", "exp", "", role="neuron")], [])


@pytest.mark.parametrize("text", ["{}", "[]", '{"nodes": [{"id": 1}], "edges": []}'])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="this is no trace"):
        Trace.from_json(text)


def test_steps_parameters_uses_and_cuts_are_counted() -> None:
    trace = lstm(5, 2, cuts=(3,))
    assert trace.steps == [0, 1, 2, 3, 4]
    assert [node.label for node in trace.parameters[-2:]] == ["layers/1/b", "head/V"]
    assert set(trace.uses.values()) == {5}
    assert len(trace.cuts) == 4  # h and c of both layers
