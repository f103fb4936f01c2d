"""The DOT text is the picture: parsed back, its nodes and edges are those of the trace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.viz.samples import SAMPLES
from viz.dot import LINES, escape, identifiers, to_dot
from viz.fold import fold_cells
from viz.style import number
from viz.trace import Trace, TraceEdge, TraceNode

CASES = [(name, level) for name in SAMPLES for level in ("cell", "op")]
SHALOM = "שלום"
HOSTILE = 'a:b "q" <i>&lt; \\N \n{x|y} ]]> é 長い'


@dataclass
class Parsed:
    """A graph as Graphviz's own parser reads it: attributes by name of the node, or with the two ends of the edge."""

    nodes: dict[str, dict[str, str]]
    edges: list[tuple[tuple[str, str], dict[str, str]]]

    def values(self) -> dict[str, dict[str, str]]:
        return {name: facts for name, facts in self.nodes.items() if "value" in facts["class"].split()}

    def lines(self, *kinds: str) -> list[tuple[tuple[str, str], dict[str, str]]]:
        return [(ends, facts) for ends, facts in self.edges if facts["class"] in kinds]


def parsed(trace: Trace, **options: Any) -> Parsed:
    pygraphviz = pytest.importorskip("pygraphviz", reason="parses the DOT text")
    graph = pygraphviz.AGraph(string=to_dot(trace, **options))

    def facts(item: Any) -> dict[str, str]:
        return {name: item.attr[name] or "" for name in ("class", "id", "label", "pos")}

    nodes = {str(node): facts(node) for node in graph.nodes()}
    return Parsed(nodes, [((str(edge[0]), str(edge[1])), facts(edge)) for edge in graph.edges()])


def sample(name: str, level: str) -> Trace:
    return fold_cells(SAMPLES[name]()) if level == "cell" else SAMPLES[name]()


@pytest.mark.parametrize(("name", "level"), CASES)
def test_there_is_one_value_node_for_each_node_of_the_trace(name: str, level: str) -> None:
    trace = sample(name, level)
    values = parsed(trace).values()
    assert sorted(values) == sorted(identifiers(node.id for node in trace.nodes).values())
    assert sum("parameter" in facts["class"] for facts in values.values()) == len(trace.parameters)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_edge_goes_forward_and_comes_back_once(name: str, level: str) -> None:
    trace = sample(name, level)
    names = identifiers(node.id for node in trace.nodes)
    graph = parsed(trace)
    forward = sorted(ends for ends, _ in graph.lines("forward", "parameter"))
    assert forward == sorted((names[e.source], names[e.target]) for e in trace.edges)
    backward = sorted(ends for ends, _ in graph.lines("backward"))
    assert backward == sorted((names[e.target], names[e.source]) for e in trace.edges if e.message is not None)
    assert len(graph.lines("cut")) == len(trace.cuts)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_messages_bear_their_norms(name: str, level: str) -> None:
    trace = sample(name, level)
    parameters = {node.id for node in trace.parameters}
    shown = sorted(facts["label"] for _, facts in parsed(trace).lines("backward") if facts["label"])
    own = sorted(number(e.message) for e in trace.edges if e.message is not None and e.source not in parameters)
    if level == "op":  # with every use of a parameter; folded, the parameters of a cell share one number a step
        own = sorted(number(e.message) for e in trace.edges if e.message is not None)
        assert shown == own
    else:
        fed = {e.target for e in trace.edges if e.source in parameters}
        assert len(shown) == len(own) + len(fed) and all(shown.count(text) >= own.count(text) for text in own)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_ids_are_unique_and_every_position_is_pinned(name: str, level: str) -> None:
    graph = parsed(sample(name, level))
    ids = [facts["id"] for facts in graph.nodes.values()] + [facts["id"] for _, facts in graph.edges]
    assert len(set(ids)) == len(ids) and all(ids)
    assert all(re.fullmatch(r"-?[\d.]+,-?[\d.]+", facts["pos"]) for facts in graph.nodes.values())
    paths = [facts["pos"] for _, facts in graph.edges]
    assert all(re.fullmatch(r"e,\S+( -?[\d.]+,-?[\d.]+){4,}", path) for path in paths)
    assert all(len(path.split()) % 3 == 2 for path in paths)  # the arrow, then 3 n + 1 points


def test_colours_have_six_digits_and_labels_are_explicit() -> None:
    text = to_dot(sample("two LSTMs, cut", "op"))
    assert set(re.findall(r"#\w+", text)) == {c for c in re.findall(r"#\w+", text) if re.fullmatch(r"#[0-9a-f]{6}", c)}
    unlabelled = [line for line in text.splitlines() if "pos=" in line and "->" not in line and "label=" not in line]
    assert unlabelled == []


def test_the_same_trace_gives_the_same_text() -> None:
    trace = sample("GRU", "op")
    assert to_dot(trace) == to_dot(trace)


def test_hostile_names_do_no_harm() -> None:
    nodes = [TraceNode(f"{HOSTILE}{k}", HOSTILE, HOSTILE, time=0, cell=HOSTILE, role="other") for k in range(2)]
    graph = parsed(Trace(nodes, [TraceEdge(nodes[0].id, nodes[1].id, 0, 1.0, label=HOSTILE)], "cell", HOSTILE, HOSTILE))
    assert len(graph.values()) == 2 and len(graph.lines(*LINES)) == 2


def test_ids_that_would_coincide_are_told_apart() -> None:
    names = identifiers(["a:b", "a b", "a_b_1", "a_b", ""])
    assert len(set(names.values())) == 5


def test_the_legend_explains_the_lines_that_occur_and_no_others() -> None:
    with_cut, without = (to_dot(sample(name, "cell")) for name in ("two LSTMs, cut", "one LSTM"))
    assert "legend_cut" in with_cut and "legend_cut" not in without
    assert all(f"legend_{kind}" in without for kind in ("forward", "backward", "parameter"))
    assert "legend_parameter" not in to_dot(sample("one LSTM", "cell"), parameters=False)


def test_the_title_the_note_and_the_captions_are_written() -> None:
    trace = fold_cells(SAMPLES["one LSTM"]())
    assert "LSTM, unrolled over 4 steps" in to_dot(trace)
    text = to_dot(Trace(trace.nodes, trace.edges, "cell", "My net", "a remark"), captions=["h", "e"])
    assert "My net" in text and "a remark" in text and "t = 1 · e" in text


def test_what_follows_a_name_that_runs_to_the_left_stands_to_its_right() -> None:
    mark = "\N{LEFT-TO-RIGHT MARK}"
    assert escape(f"{SHALOM} × 4") == f"{SHALOM}{mark} × 4"
    assert escape(f"{SHALOM} {SHALOM}/W") == f"{SHALOM} {SHALOM}{mark}/W"
    assert escape("長い × 4") == "長い × 4"
    trace = Trace([TraceNode("w", "leaf", SHALOM, (2,), role="parameter"), TraceNode("h", "tanh", "h", (2,), time=0)],
                  [TraceEdge("w", "h", 0, 1.0)])  # fmt: skip
    assert f"{SHALOM}{mark} × 1" in to_dot(trace)
