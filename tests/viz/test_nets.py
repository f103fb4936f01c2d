"""Real nets, short and long: every picture of them holds what it should, where it should, in every way to draw."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from collections import defaultdict
from functools import lru_cache
from itertools import combinations
from xml.etree import ElementTree

import pytest

from viz import Picture, trace, unroll
from viz.box import Box
from viz.example import Example
from viz.layout import arrange
from viz.render import render

SVG = "{http://www.w3.org/2000/svg}"
NETS = {
    "Elman": Example("ElmanRNN"),
    "LSTM": Example("LSTM"),
    "GRU": Example("GRU"),
    "two layers, dropout": Example("LSTM", layers=2, dropout=0.5),
    "both directions": Example("GRU", bidirectional=True),
    "both directions, two layers": Example("LSTM", bidirectional=True, layers=2),
    "attention": Example("GRU", context="attention", hidden=4),
}
CASES = [(name, steps) for name in NETS for steps in (1, 4, 12, 25)]


@lru_cache
def picture(name: str, steps: int, wrap: int | None = None) -> Picture:
    facts = vars(NETS[name]) | {"steps": steps, "dtype": "float64"}
    return unroll(trace(Example(**facts).build()), wrap=wrap, fold="never")


@lru_cache
def groups(name: str, steps: int, wrap: int | None = None) -> list[ElementTree.Element]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = render(picture(name, steps, wrap).dot)
    assert b"nan" not in svg.lower()
    return [group for group in ElementTree.fromstring(svg).iter(f"{SVG}g") if group.get("id")]


def overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top


@pytest.mark.parametrize(("name", "steps"), CASES)
def test_columns_are_straight_and_nothing_overlaps(name: str, steps: int) -> None:
    drawn = picture(name, steps).trace
    plan = arrange(drawn)
    boxes = defaultdict(set)
    for node in drawn.nodes:
        if node.time is not None:
            boxes[node.time].add(round(plan.boxes[node.id].x, 6))
    assert {len(places) for places in boxes.values()} == {1}
    assert [(a, b) for (a, one), (b, other) in combinations(plan.boxes.items(), 2) if overlap(one, other)] == []
    assert len(plan.bands) == len({node.time for node in drawn.nodes} - {None})
    widths = {round(band.width, 6) for band in plan.bands.values()}
    assert len(widths) == 1


@pytest.mark.parametrize("wrap", [None, 10])
@pytest.mark.parametrize(("name", "steps"), CASES)
def test_every_node_is_one_group_with_a_title_in_one_row_and_in_several(
    name: str, steps: int, wrap: int | None
) -> None:
    found = groups(name, steps, wrap)
    ids = [group.get("id") for group in found]
    assert len(set(ids)) == len(ids)
    titled = {group.get("id") for group in found if (group.findtext(f"{SVG}title") or "").strip()}
    assert {node.id for node in picture(name, steps).trace.nodes} <= titled


@pytest.mark.parametrize(("name", "steps"), CASES)
def test_every_line_goes_forward_and_comes_back(name: str, steps: int) -> None:
    edges = picture(name, steps).trace.edges
    ids = [str(group.get("id")) for group in groups(name, steps)]
    forward = sum(re.fullmatch(r"(forward|parameter|dropped)_\d+", one) is not None for one in ids)
    assert forward == len(edges)
    backward = sum(re.fullmatch(r"backward_\d+", one) is not None for one in ids)
    assert backward == sum(edge.message is not None for edge in edges)


@pytest.mark.parametrize(("name", "steps", "level"), [(*case, "cell") for case in CASES] + [(n, 4, "op") for n in NETS])
def test_both_ways_to_draw_succeed_and_are_silent(name: str, steps: int, level: str) -> None:
    if level == "cell":
        text = picture(name, steps, 10).dot
    else:
        text = unroll(trace(Example(**(vars(NETS[name]) | {"steps": steps})).build()), level="op").dot
    if (program := shutil.which("dot")) is not None:
        done = subprocess.run([program, "-Tsvg"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    pygraphviz = pytest.importorskip("pygraphviz", reason="the other way")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert b"<svg" in pygraphviz.AGraph(string=text).draw(path=None, format="svg", prog="nop2")


def test_dropout_is_dashed_between_layers_and_never_along_time() -> None:
    drawn = picture("two layers, dropout", 12).trace
    nodes = {node.id: node for node in drawn.nodes}
    ends = [(nodes[e.source], nodes[e.target]) for e in drawn.edges if e.dropped]
    assert len(ends) == 12 and all((a.time, a.layer, b.layer) == (b.time, 0, 1) for a, b in ends)


def test_what_comes_back_through_dropout_has_passed_its_mask() -> None:
    found = trace(Example("GRU", steps=3, layers=2, dropout=0.5, dtype="float64").build(), values=True)
    drops = {node.id for node in found.nodes if node.op == "dropout"}
    handed_back = sorted(e.message for e in found.edges if e.target in drops)
    folded = unroll(found).trace
    assert len(drops) == 3 and sorted(e.message for e in folded.edges if e.dropped) == handed_back
    assert all((e.value == 0).any() for e in found.edges if e.target in drops)


def test_the_reverse_lane_runs_from_right_to_left() -> None:
    drawn = picture("both directions", 4).trace
    plan = arrange(drawn)
    lanes = defaultdict(list)
    nodes = {node.id: node for node in drawn.nodes}
    for edge in drawn.edges:
        a, b = nodes[edge.source], nodes[edge.target]
        if a.role == b.role == "state" and a.direction == b.direction:
            lanes[a.direction].append(plan.boxes[a.id].x < plan.boxes[b.id].x)
    assert all(lanes["forward"]) and not any(lanes["reverse"])
    assert len(lanes["forward"]) == len(lanes["reverse"]) == 4


def test_a_decoder_stands_right_of_its_encoder_and_above_what_it_attends_to() -> None:
    drawn = picture("attention", 4).trace
    plan = arrange(drawn)
    cells = {part: [plan.boxes[n.id] for n in drawn.nodes if n.cell and n.layer == part and n.time is not None]
             for part in ("encoder", "decoder")}  # fmt: skip
    attention = [plan.boxes[n.id] for n in drawn.nodes if n.label == "attention"]
    (memory,) = [plan.boxes[n.id] for n in drawn.nodes if n.role == "other" and n.time is None]
    assert len(attention) == 4 and len(drawn.steps) == 8
    assert max(box.right for box in cells["encoder"]) < min(box.left for box in cells["decoder"])
    tops = [max(box.top for box in boxes) for boxes in (cells["encoder"], [memory], attention, cells["decoder"])]
    assert tops == sorted(tops)


def test_with_attention_a_message_comes_back_to_every_step_of_the_encoder() -> None:
    drawn = picture("attention", 4).trace
    nodes = {node.id: node for node in drawn.nodes}
    to = [nodes[e.source].time for e in drawn.edges if nodes[e.target].role == "other" and nodes[e.target].time is None]
    assert sorted(t for t in to if t is not None) == [0, 1, 2, 3]
