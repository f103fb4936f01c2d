"""Messages in both directions carry the engine's numbers, and add up to the gradient at every edge."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
from tests.viz.samples import lstm
from viz.fold import message_between
from viz.messages import GREEK, PARTS, meeting, messages
from viz.problem import recorded
from viz.render import render
from viz.style import number
from zoo.topology import forward_messages
from zoo.topology.examples import TOPOLOGIES, example

CATALOGUE = [
    ("synced", "ElmanRNN"), ("synced-stacked", "LSTM"), ("label-last", "LSTM"), ("label-mean", "GRU"),
    ("vector-state", "ElmanRNN"), ("vector-softmax", "LSTM"), ("encoder-decoder-state", "ElmanRNN"),
    ("encoder-decoder-input", "ElmanRNN"), ("encoder-decoder-recurrent", "ElmanRNN"),
    ("encoder-decoder-attention", "GRU"), ("encoder-decoder-softmax", "ElmanRNN"),
]  # fmt: skip


def norm_of(parts: dict[str, tg.Tensor]) -> float:
    return math.sqrt(sum(float((g.numpy() ** 2).sum()) for g in parts.values()))


def test_the_catalogue_is_that_of_the_zoo() -> None:
    assert {name for name, _ in CATALOGUE} <= set(TOPOLOGIES)


@pytest.mark.parametrize(("name", "cell"), CATALOGUE)
def test_forward_messages_bear_their_names_and_the_engines_norms(name: str, cell: str) -> None:
    problem = example(name, cell, hidden=3)
    trace = messages(problem, "forward").trace
    nodes = {node.id: node for node in trace.nodes}
    found = {
        (nodes[e.source].time, e.label): e.message or 0.0 for e in trace.edges if nodes[e.source].role == "sensitivity"
    }
    expected = {
        (t, GREEK[word]): norm_of(parts)
        for t, named in enumerate(forward_messages(problem)[:-1]) for word, parts in named.items()
    }  # fmt: skip
    assert found.keys() == expected.keys()
    assert [found[k] for k in expected] == pytest.approx(list(expected.values()), rel=1e-10)
    assert all(e.message is None for e in trace.edges if nodes[e.source].role != "sensitivity")


@pytest.mark.parametrize(("name", "cell"), CATALOGUE)
def test_at_every_edge_the_three_parts_add_up_to_the_gradient(name: str, cell: str) -> None:
    problem = example(name, cell, hidden=3)
    gradient = tg.bptt.gradient(problem).gradients
    whole = math.sqrt(sum(float((g.numpy() ** 2).sum()) for g in tg.tree.leaves(gradient)))
    found = tg.bptt.messages(problem)
    for t in range(len(problem) + 1):
        met = meeting(found, t)
        assert sum(met.shares[part] for part in PARTS) == pytest.approx(whole, rel=1e-10)
        assert met.total == pytest.approx(whole, rel=1e-10)
        assert met.norms["crossing"] == pytest.approx(float(np.linalg.norm(found.at(t).crossing)), rel=1e-12)


def test_the_message_between_two_cells_is_the_adjoint_of_the_state() -> None:
    problem = example("synced", "LSTM", hidden=3)
    trace = messages(problem).trace
    adjoints = tg.bptt.messages(problem).adjoints
    local = tg.bptt.message_norms(problem).m.array
    cells = {node.time: node.id for node in trace.nodes if node.cell and node.time is not None}
    for t in range(len(problem) - 1):  # m_t reaches z_t = (h, c) from step t + 1; the head reads h within its own step
        crossing = message_between(trace, cells[t], cells[t + 1])
        assert crossing == pytest.approx(float(local[t]), rel=1e-10)
        # the adjoint of z_{t+1} is what comes from the steps after it
        assert crossing == pytest.approx(float(np.linalg.norm(adjoints[t + 1])), rel=1e-10)


def test_every_name_has_one_edge_between_any_two_steps() -> None:
    problem = example("encoder-decoder-recurrent", "ElmanRNN", hidden=3)
    picture = messages(problem, "both")
    time = {node.id: node.time for node in picture.trace.nodes}
    gammas = [n for n in picture.trace.nodes if n.role == "sensitivity"]
    assert [node.time for node in gammas] == list(range(len(problem)))
    edges = [e for e in picture.trace.edges if e.label in GREEK.values()]
    assert all(time[e.target] == time[e.source] + 1 for e in edges)  # type: ignore[operator]
    assert [e.label for e in edges if time[e.source] == 2] == ["α", "β"]
    assert [e.label for e in edges if time[e.source] == 4] == ["α", "β", "ζ", "γ"]
    assert picture.dot.count("class=sensitivity") >= 1 and picture.dot.count("id=sensitivity_") >= len(edges)


def test_the_identity_is_in_the_tooltips_and_where_asked_for_below_the_gaps() -> None:
    problem = example("synced", "ElmanRNN", hidden=3)
    hover, text = messages(problem, "both"), messages(problem, "both", identity="text")
    stories = [e.story for e in hover.trace.edges if e.story]
    assert stories and all(re.search(r"before \S+ \+ crossing \S+ \+ after \S+ = ", story) for story in stories)
    assert "meeting_1" not in hover.dot
    found = tg.bptt.messages(problem)
    for t in range(1, len(problem)):
        met = meeting(found, t)
        line = next(line for line in text.dot.splitlines() if f"meeting_{t} " in line)
        for part in PARTS:
            assert f"{part} {number(met.shares[part])}<" in line
        assert f"sum {number(met.total)}<" in line


def test_shapes_and_values_are_written_in_place_of_norms() -> None:
    problem = example("synced", "ElmanRNN", hidden=3)
    assert 'label="1×3"' in messages(problem, show="shape").dot
    kept = recorded(problem, values=True)
    value = next(e.value for e in messages(kept, show="value").trace.edges if e.label == "h" and e.message)
    entries = ", ".join(number(v) for v in value.reshape(-1)[:3].tolist())
    assert f'label="({entries})"' in messages(kept, show="value").dot


@pytest.mark.parametrize("mode", ["backward", "forward", "both"])
def test_graphviz_draws_all_modes_without_a_remark(mode: str, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("encoder-decoder-attention", "vector-softmax"):
        render(messages(example(name, "ElmanRNN", hidden=3), mode, identity="text").dot)  # type: ignore[arg-type]
    assert [str(w.message) for w in recwarn if "dot" in str(w.message)] == []


def test_tracing_a_problem_leaves_its_layers_as_they_were() -> None:
    problem = example("synced", "LSTM", hidden=3, compile="numpy")
    before = tg.bptt.gradient(problem)
    recorded(problem)
    after = tg.bptt.gradient(problem)
    assert problem.parameters.rnn.compile == "numpy"
    pairs = zip(tg.tree.leaves(before.gradients), tg.tree.leaves(after.gradients), strict=True)
    assert all((a.numpy() == b.numpy()).all() for a, b in pairs)


def test_a_problem_of_plain_tensors_has_one_forward_message() -> None:
    w = tg.tensor(0.5, requires_grad=True, name="w", dtype="float64")
    step = lambda w, h, x: ((new := w * h + x), new * new)  # noqa: E731
    problem = tg.bptt.Problem(w, step, tg.tensor(0.0, dtype="float64"), tg.ones(4, dtype="float64"))
    trace = messages(problem, "both").trace
    found = [e.message or 0.0 for e in trace.edges if e.label == "Γ"]
    expected = [float(np.linalg.norm(g)) for g in tg.bptt.messages(problem).sensitivities[1:-1]]
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "sideways"}, "mode='sideways' is none of 'backward', 'forward', 'both'"),
        ({"show": "colour"}, "show='colour' is none of 'norm', 'shape', 'value'"),
        ({"identity": "song"}, "identity='song' is none of"),
        ({"mode": "forward"}, "needs a tg.bptt.Problem: a trace holds no forward messages"),
        ({"wrap": 0}, "wrap=0: a row has 1 column or more"),
        ({"captions": "abcdef"}, "6 captions for 3 steps"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        messages(lstm(3), **options)


def test_values_that_were_not_kept_and_things_that_are_no_run_are_refused() -> None:
    problem = example("synced", "ElmanRNN", hidden=3)
    with pytest.raises(ValueError, match=r"viz\.trace\(…, values=True\)"):
        bare = viz.trace(problem)
        messages(viz.Trace(bare.nodes, [viz.TraceEdge(e.source, e.target, message=e.message) for e in bare.edges]),
                 show="value")  # fmt: skip
    with pytest.raises(TypeError, match=r"draws a tg\.bptt\.Problem or a trace, not float"):
        messages(1.0)  # type: ignore[arg-type]
    lossless = tg.bptt.Problem(problem.parameters, lambda p, z, x: (z, None), problem.carry, [1, 2])
    with pytest.raises(ValueError, match="none of the 2 steps of this problem has a loss"):
        messages(lossless)
