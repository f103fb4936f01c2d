"""The folded cell: every op of a step once, and one way back for every part of the state."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tinygrad_rnn as tg
import viz
import zoo
from viz.example import Example
from viz.fold import CELL_ROLES
from viz.render import render
from zoo.errors import UserError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", zoo.names())
def test_there_is_one_way_back_for_every_part_of_the_state(name: str) -> None:
    drawn = viz.cell(name).trace
    back = [edge for edge in drawn.edges if edge.recurrent]
    entry = zoo.registry.entry(name)
    assert {edge.label for edge in back} == {"t−1 → t"}
    assert sorted(n.label.removesuffix("ₜ₋₁") for n in drawn.nodes if n.op == "previous") == sorted(entry.state)
    assert len({e.source for e in back}) == len({e.target for e in back}) == len(back) == len(entry.state)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "MLSTM"])
def test_there_is_one_node_for_every_op_of_a_step(name: str) -> None:
    run = viz.trace(Example(name, steps=4).build())
    step = Counter(n.op for n in run.nodes if n.cell and n.time == 2 and n.role in CELL_ROLES)
    inside = Counter(n.op for n in viz.cell(run).trace.nodes if n.cell)
    assert inside == step


@pytest.mark.parametrize("name", zoo.names())
def test_it_is_drawn_without_a_complaint_with_its_equations_and_a_title_for_every_node(name: str) -> None:
    picture = viz.cell(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = render(picture.dot)
    groups = [group for group in ElementTree.fromstring(svg).iter(f"{SVG}g") if group.get("id")]
    titled = {group.get("id") for group in groups if (group.findtext(f"{SVG}title") or "").strip()}
    assert {node.id for node in picture.trace.nodes} <= titled and len(groups) == len({g.get("id") for g in groups})
    written = "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    for line in zoo.registry.entry(name).equations.splitlines():
        assert all(word in written for word in line.split())


def test_the_look_of_a_node_is_one_of_shape_as_well_as_colour() -> None:
    drawn = viz.cell("LSTM").trace
    roles = {node.op: node.role for node in drawn.nodes if node.role in ("gate", "other", "linear")}
    assert (roles["sigmoid"], roles["mul"], roles["matmul"]) == ("gate", "other", "linear")
    assert len({viz.style.CARDS[role].shape for role in ("gate", "other")}) == 2


def test_a_cell_of_ones_own_is_drawn_without_equations() -> None:
    class Mine(zoo.ElmanRNN):
        """Known to no registry."""

    dot = viz.cell(Mine(3, 4)).dot
    assert "Mine, one step" in dot and "Source" not in dot


def test_the_layer_of_a_deeper_net_is_chosen() -> None:
    run = viz.trace(Example("GRU", layers=2).build())
    assert {n.layer for n in viz.cell(run, layer=1).trace.nodes if n.cell} == {1}
    with pytest.raises(ValueError, match="no cell of this trace has the layer 7; the layers with a cell: 0, 1"):
        viz.cell(run, layer=7)


def test_what_cannot_be_folded_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="the trace has 1 step"):
        viz.cell(viz.trace(Example("GRU", steps=1).build()))
    with pytest.raises(ValueError, match="folded to cells"):
        viz.cell(viz.unroll(viz.trace(Example("GRU").build())).trace)
    with pytest.raises(TypeError, match=r"a trace, a zoo\.Cell or the name of one, not int"):
        viz.cell(3)
    with pytest.raises(UserError, match="did you mean LSTM"):
        viz.cell("lstn")


def test_a_compiled_run_is_folded_too(tmp_path: Path) -> None:
    rnn = zoo.RNN(zoo.LSTM(3, 4), compile="numpy")
    picture = viz.cell(viz.trace(rnn, tg.ones((4, 1, 3))))
    assert len([edge for edge in picture.trace.edges if edge.recurrent]) == 2
    assert picture.save(tmp_path / "cell.dot").read_text() == picture.dot
