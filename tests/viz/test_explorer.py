"""The explorer: what each frame shows, in numbers and, in a headless browser, on the page."""

from __future__ import annotations

import html
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
from tests.viz.samples import SAMPLES
from viz.__main__ import main
from viz.example import Example
from viz.explorer.content import content
from viz.explorer.frames import schedule
from viz.explorer.levels import levels, repeated
from viz.explorer.view import VALUES
from viz.fold import fold_cells
from viz.trace import Trace
from zoo.topology.examples import example as small

STEPS = 4

@cache
def example(cell: str = "LSTM", **options: Any) -> tuple[Trace, Any, Any]:
    """A trace with its messages, the same run as a Problem, and what the page shows of both."""
    model = Example(cell=cell, **{"steps": STEPS, "dtype": "float64"} | options)
    trace = viz.trace(model.build(), values=True)
    problem = None if model.bidirectional or model.truncate else model.problem()
    return trace, problem, content(trace, problem)


@pytest.fixture(scope="module")
def page() -> str:
    trace, problem, _ = example()
    return viz.explore(trace, problem=problem).html


# Frames


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_values_appear_after_what_they_are_made_from_and_messages_in_the_opposite_order(name: str) -> None:
    trace = SAMPLES[name]()
    frames = schedule(trace)
    made: dict[str, int] = {}
    for edge in trace.edges:
        assert frames.nodes[edge.source] <= frames.nodes[edge.target]
        made[edge.source] = max(made.get(edge.source, 0), frames.back(edge.target))
    for edge in trace.edges:  # all that comes back to a node is there when it sends on
        if edge.target in made:
            assert made[edge.target] <= frames.back(edge.target)
    assert all(frames.losses < frames.back(edge.target) <= frames.last for edge in trace.edges)


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU"])
def test_a_column_appears_at_once_and_the_losses_after_the_last(cell: str) -> None:
    trace, _, data = example(cell)
    frames = schedule(trace)
    assert (frames.columns, frames.last) == (STEPS, 2 * STEPS + 2) and len(data["captions"]) == 2 * STEPS + 3
    for node in trace.nodes:
        if node.time is not None:
            assert frames.nodes[node.id] == (STEPS + 1 if node.role == "loss" else node.time + 1)
    assert data["captions"][2] == "Values go forward: t = 1"
    assert data["captions"][STEPS + 3] == "Messages return from t = 3"


def test_two_directions_come_from_both_sides() -> None:
    trace, _, data = example("ElmanRNN", bidirectional=True)
    frames = schedule(trace).nodes
    when = {(n.time, n.direction): frames[n.id] for n in trace.nodes if n.label == "h" and n.time is not None}
    assert [when[t, "forward"] for t in range(STEPS)] == [1, 2, 3, 4]
    assert [when[t, "reverse"] for t in range(STEPS)] == [4, 3, 2, 1]
    assert data["captions"][1] == "Values go forward: t = 0, 3"


def test_the_folded_picture_has_the_frames_of_the_ops_in_it() -> None:
    for name, sample in SAMPLES.items():
        found = levels(sample())
        if "cell" in found:
            assert [edge.source for edge in found["cell"].trace.edges] == [e.source for e in fold_cells(sample()).edges]
            assert found["cell"].frames.last == found["op"].frames.last, name


@pytest.mark.parametrize("options", [{}, {"layers": 2, "dropout": 0.5}, {"context": "attention"}], ids=str)
def test_the_message_of_a_folded_edge_is_the_sum_of_its_parts(options: dict[str, Any]) -> None:
    trace, _, _ = example("GRU", **options)
    folded = levels(trace)["cell"]
    for place, edge in enumerate(folded.trace.edges):
        message = folded.message(place)
        assert (message is None) == (edge.message is None)
        if message is not None:
            assert np.linalg.norm(message) == pytest.approx(edge.message, rel=1e-12)


def test_repeated_parameters_stand_beside_each_reader_with_the_same_messages() -> None:
    trace = fold_cells(example()[0])
    copies, origin = repeated(trace)
    assert len(origin) == 5 * STEPS and not [n for n in copies.nodes if n.role == "parameter" and n.id not in origin]
    for edge, copy in zip(trace.edges, copies.edges, strict=True):
        assert (origin.get(copy.source, copy.source), copy.message) == (edge.source, edge.message)


# Numbers


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU", "LayerNormLSTM"])
def test_gradients_fill_up_to_the_engines(cell: str) -> None:
    trace, problem, data = example(cell)
    whole = dict(zip(tg.bptt.parameter_names(problem.parameters), tg.tree.leaves(tg.bptt.gradient(problem).gradients)))
    assert len(data["parameters"]) == len(trace.parameters) == len(whole)
    for parameter in data["parameters"]:
        frame, count, norm = parameter["steps"][-1]
        assert (frame, count) == (2 * STEPS + 2, parameter["uses"])
        assert norm == pytest.approx(float(np.linalg.norm(whole[parameter["node"]].numpy())), rel=1e-10)


def test_on_the_way_the_sum_is_what_parameters_do_after_the_edge() -> None:
    _, problem, data = example("LSTM", loss="last")
    run = tg.bptt.messages(problem)
    names = tg.bptt.parameter_names(problem.parameters)
    for t in range(STEPS):
        after = dict(zip(names, run.parameters.pieces(run.at(t).after)))
        for parameter in data["parameters"]:
            norm = [norm for frame, _, norm in parameter["steps"] if frame <= 2 * STEPS + 2 - t][-1]
            assert norm == pytest.approx(np.linalg.norm(after[parameter["node"]]), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("cell", ["ElmanRNN", "LSTM", "GRU"])
def test_at_every_edge_of_time_three_terms_add_up_to_the_gradient(cell: str) -> None:
    trace, problem, data = example(cell)
    found, run = data["identity"], tg.bptt.messages(problem)
    engines = {node.label: node.gradient for node in trace.parameters}
    assert found["norms"] == pytest.approx([engines[n] for n in tg.bptt.parameter_names(problem.parameters)], rel=1e-10)
    assert len(found["edges"]) == STEPS + 1
    for t, rows in enumerate(found["edges"]):
        terms = [run.parameters.pieces(term) for term in run.at(t)]
        for place, row in enumerate(rows):
            norms = [float(np.linalg.norm(term[place])) for term in terms]
            assert row[:3] == pytest.approx(norms, rel=1e-10, abs=1e-12)
            assert sum(row[3:6]) == pytest.approx(found["norms"][place], rel=1e-10)
            assert sum(row[6:9]) == pytest.approx(found["entries"][place], rel=1e-10)
    crossings = {(e[7], e[2]) for e in data["levels"]["cell"]["edges"] if e[7] is not None}
    assert crossings == {(t, name) for t in range(STEPS) for name in ("hc" if cell == "LSTM" else "h")}


@pytest.mark.parametrize("topology", ["label-mean", "vector-state", "encoder-decoder-attention-softmax"])
def test_gradients_fill_and_add_up_in_every_topology(topology: str) -> None:
    problem = small(topology, "LSTM", hidden=5)
    trace = viz.trace(problem, values=True)
    data = content(trace, problem)
    for parameter in data["parameters"]:
        assert parameter["steps"][-1][2] == pytest.approx(parameter["gradient"], rel=1e-10)
    for rows in data["identity"]["edges"]:
        for row, norm in zip(rows, data["identity"]["norms"], strict=True):
            assert sum(row[3:6]) == pytest.approx(norm, rel=1e-10)


def test_of_a_graph_too_large_for_a_page_cells_alone_are_shown_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = example()[0]
    monkeypatch.setattr(sys.modules[content.__module__], "MOST_OPS", 50)
    data = content(trace, None)
    assert list(data["levels"]) == ["cell"] and "107 ops are too many for a page" in data["note"]
    assert data["parameters"] == example()[2]["parameters"]


def test_values_and_messages_of_few_entries_are_there_in_full_and_others_by_their_statistics() -> None:
    trace, _, data = example()
    for node, record in zip(trace.nodes, data["levels"]["op"]["nodes"], strict=True):
        *_, stats = data["values"][record[8]][:3]
        if node.value is not None and 1 < node.value.size <= 32:
            array = data["arrays"][data["values"][record[8]][3]]
            assert np.reshape(array["full"], array["shape"]) == pytest.approx(node.value, rel=1e-9, abs=1e-300)
        elif node.stats:
            assert stats["mean"] == pytest.approx(node.stats["mean"], rel=1e-11, abs=1e-300)
    for edge, record in zip(trace.edges, data["levels"]["op"]["edges"], strict=True):
        if edge.value is not None:
            array, value = data["arrays"][record[8]], edge.value
            shown = array.get("full") or array["stats"]
            exact = value.ravel() if value.size <= 32 else [value.mean(), value.std(), value.min(), value.max()]
            assert array["shape"] == list(value.shape) and shown == pytest.approx(list(exact), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("options", [{}, {"layers": 2, "dropout": 0.5}, {"truncate": 2}], ids=str)
def test_every_line_bears_the_message_of_its_edge(options: dict[str, Any]) -> None:
    trace, _, data = example(**options)
    for name, level in (("op", trace), ("cell", fold_cells(trace))):
        shown = [edge[3] for edge in data["levels"][name]["edges"]]
        assert [m is None for m in shown] == [e.message is None for e in level.edges]
        assert [m for m in shown if m is not None] == pytest.approx(
            [e.message for e in level.edges if e.message is not None], rel=1e-11
        )
        for view in data["levels"][name]["views"].values():
            kinds = [(place, view["paths"][path][0]) for place, path, *_ in view["wires"]]
            assert sorted(p for p, kind in kinds if kind in VALUES) == list(range(len(level.edges)))
            assert {p for p, kind in kinds if kind == "dropped"} == {p for p, e in enumerate(level.edges) if e.dropped}
            assert sorted(p for p, kind in kinds if kind == "backward") == [
                place for place, edge in enumerate(level.edges) if edge.message is not None
            ]


def test_another_problem_is_refused() -> None:
    trace = example()[0]
    with pytest.raises(ValueError, match=r"gradient of .* has norm .* in the trace and .* in the problem"):
        content(trace, example("LSTM", seed=1)[1])
    with pytest.raises(ValueError, match="the problem has 3 steps, the trace 4; pass the problem"):
        content(trace, example("LSTM", steps=3)[1])
    with pytest.raises(TypeError, match=r"explore shows a trace, not Tensor: viz.explore\(viz.trace"):
        viz.explore(tg.tensor(1.0))  # type: ignore[arg-type]


def test_without_the_messages_the_number_of_them_is_shown() -> None:
    trace = viz.trace(Example(steps=2).build())
    for parameter, node in zip(content(trace, None)["parameters"], trace.parameters, strict=True):
        assert parameter["steps"][-1][1] == 2 and parameter["gradient"] == pytest.approx(node.gradient, rel=1e-11)


# Files


def test_the_page_is_one_file_that_loads_nothing(page: str, tmp_path: Path) -> None:
    written = viz.explore(example()[0], problem=example()[1]).save(tmp_path / "x.html")
    assert written.read_text("utf-8") == page and [path.name for path in tmp_path.iterdir()] == ["x.html"]
    assert "default-src 'none'" in page and not re.search(r"""(src|href)=["']|@import|url\(http|fetch\(""", page)
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}


def test_it_is_saved_as_html_only(tmp_path: Path) -> None:
    picture = viz.explore(example()[0])
    with pytest.raises(ValueError, match=r"a web page: .*x\.svg' should end in \.html"):
        picture.save(tmp_path / "x.svg")
    with pytest.raises(OSError, match="make the folder first"):
        picture.save(tmp_path / "nowhere" / "x.html")


def test_a_notebook_shows_the_page_in_a_frame(page: str) -> None:
    shown = viz.explore(example()[0], problem=example()[1])._repr_mimebundle_()
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" .*></iframe>', shown["text/html"])
    assert frame and html.unescape(frame[1]) == page


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.html"
    assert main(["explore", "--cell", "gru", "--steps", "3", "--truncate", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 3 steps, ")
    assert main(["explore", "--out", str(tmp_path / "x.png")]) == 2
    assert "should end in .html" in capsys.readouterr().err
