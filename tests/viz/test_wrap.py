"""Rows of a few columns: nothing overlaps, columns stand below each other, and lines go on where they were cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

import viz
from tests.viz.samples import SAMPLES, bidirectional, elman, gru, lstm
from viz import style
from viz.box import Box
from viz.example import Example
from viz.fold import fold_cells
from viz.layout import Layout, arrange
from viz.messages import messages
from viz.picture import unroll
from viz.problem import recorded
from viz.render import render
from viz.trace import Trace
from viz.wires import Wire, wires
from viz.wrap import BEYOND, fitting, wrapped
from zoo.topology.encoder_decoder import EncoderDecoder
from zoo.topology.examples import example

WRAP = 5


def attention(steps: int) -> Trace:
    """An encoder and a decoder with attention, half of the steps each."""
    import tinygrad_rnn as tg
    import zoo

    rng = tg.random.Generator(0)
    model = EncoderDecoder(zoo.GRU(3, 4, rng=rng), zoo.GRU(4, 4, rng=rng), 4, context="attention", rng=rng)
    read, write = max(steps // 2, 1), max(steps - steps // 2, 1)
    return recorded(model.problem(rng.normal((read, 1, 3)), rng.integers((write, 1), 0, 4)))


CELLS: dict[str, Callable[[int], Trace]] = {
    "Elman": lambda T: viz.trace(Example("ElmanRNN", T).build()),
    "LSTM": lambda T: viz.trace(Example("LSTM", T).build()),
    "GRU": lambda T: viz.trace(Example("GRU", T).build()),
    "two layers": lambda T: viz.trace(Example("LSTM", T, layers=2).build()),
    "both directions": lambda T: viz.trace(Example("GRU", T, bidirectional=True).build()),
    "attention": attention,
}
LENGTHS = (1, 4, 12, 25)


def drawn(trace: Trace, wrap: int = WRAP) -> tuple[Layout, list[Wire]]:
    plan = arrange(trace)
    return wrapped(plan, list(wires(trace, plan)), wrap)


def overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", CELLS)
def test_nothing_overlaps_and_the_boxes_of_a_column_share_x(name: str, steps: int) -> None:
    trace = fold_cells(CELLS[name](steps))
    plan, _ = drawn(trace)
    boxes = [*plan.boxes.values(), *(box for _, box in plan.again)]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    for at in {node.time for node in trace.nodes} - {None}:
        column = [plan.boxes[node.id] for node in trace.nodes if node.time == at]
        assert len({round(box.x, 6) for box in column}) == 1
        band = plan.bands[at]  # type: ignore[index]
        assert all(band.left <= b.left and b.right <= band.right for b in column)
        assert all(band.bottom <= b.bottom and b.top <= band.top for b in column)
    tops = {band.top for band in plan.bands.values()}
    assert len(tops) == -(-len(trace.steps) // WRAP)
    bands = list(plan.bands.values())
    assert len({round(band.left, 6) for band in bands[::WRAP]}) == 1  # rows begin below each other


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", CELLS)
def test_no_text_is_wider_than_its_box(name: str, steps: int) -> None:
    trace = fold_cells(CELLS[name](steps))
    plan, _ = drawn(trace)
    for node, box in [*plan.boxes.items(), *plan.again]:
        for words, size, _ in plan.faces[node].lines:
            assert style.text_width(words, size) <= box.width
        assert sum(size * 1.2 for _, size, _ in plan.faces[node].lines) <= box.height


@pytest.mark.parametrize("name", CELLS)
def test_graphviz_draws_it_without_a_remark(name: str, recwarn: pytest.WarningsRecorder) -> None:
    for steps in (1, 12):
        render(unroll(CELLS[name](steps), wrap=WRAP).dot)
    assert [str(w.message) for w in recwarn if "dot" in str(w.message)] == []


def test_a_line_that_is_cut_goes_on_in_the_next_row_with_its_number_at_both_ends() -> None:
    trace = fold_cells(lstm(10))
    plan, lines = drawn(trace)
    time = {node.id: node.time for node in trace.nodes}
    parts = [w for w in lines if w.kind == "backward" and (time[w.source], time[w.target]) == (5, 4)]
    by_edge = {label: [w for w in parts if w.label == label] for label in {w.label for w in parts}}
    assert len(by_edge) == 3  # h, c, and the loss
    for one, other in by_edge.values():
        assert (one.head, other.head) in {(True, False), (False, True)}
        end = one if one.head else other
        begin = other if one.head else one
        assert min(x for x, _ in end.path) == pytest.approx(plan.boxes[end.target].right)
        assert max(x for x, _ in begin.path) == pytest.approx(plan.boxes[begin.source].left)
        gap = plan.bands[4].right + BEYOND, plan.bands[5].left - BEYOND
        assert max(x for x, _ in end.path) > gap[0] and min(x for x, _ in begin.path) < gap[1]


def test_lines_inside_a_row_are_moved_and_not_changed() -> None:
    trace = fold_cells(gru(10))
    plan = arrange(trace)
    before = list(wires(trace, plan))
    made, after = wrapped(plan, before, WRAP)
    time = {node.id: node.time for node in trace.nodes}
    inside = [(a, [b for b in after if (b.source, b.target, b.kind, b.label) == (a.source, a.target, a.kind, a.label)])
              for a in before if time[a.source] == time[a.target] == 7]  # fmt: skip
    assert inside and all(len(found) == 1 for _, found in inside)
    x, y = made.bands[7].x - plan.bands[7].x, made.bands[7].y - plan.bands[7].y
    for old, (new,) in inside:
        assert new.path == [(a + x, b + y) for a, b in old.path]


def test_a_bar_over_all_steps_is_drawn_once_in_every_row() -> None:
    trace = fold_cells(elman(12))
    plan, _ = drawn(trace)
    bar = next(n.id for n in trace.nodes if n.time is None and n.role == "output")
    pieces = [plan.boxes[bar], *(box for name, box in plan.again if name == bar)]
    assert len(pieces) == 3 and len({box.y for box in pieces}) == 3


def test_what_fits_into_one_row_is_left_alone() -> None:
    trace = fold_cells(lstm(4))
    plan = arrange(trace)
    lines = list(wires(trace, plan))
    assert wrapped(plan, lines, 4) == (plan, lines)


@pytest.mark.parametrize("level", ["cell", "op"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_wraps_at_both_levels(name: str, level: str) -> None:
    trace = fold_cells(SAMPLES[name]()) if level == "cell" else SAMPLES[name]()
    plan, lines = drawn(trace, 2)
    assert plan.boxes.keys() == {node.id for node in trace.nodes}
    boxes = [*plan.boxes.values(), *(box for _, box in plan.again)]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    assert {(w.source, w.target) for w in lines if w.kind == "forward"} >= {
        (e.source, e.target) for e in trace.edges if e.source not in plan.grid.rail
    }


def test_the_reverse_direction_begins_in_the_last_row() -> None:
    trace = fold_cells(bidirectional(12))
    plan, _ = drawn(trace)
    start = next(n for n in trace.nodes if n.role == "state" and n.time is None and n.direction == "reverse")
    assert plan.boxes[start.id].left > plan.bands[11].right and plan.boxes[start.id].y < plan.bands[5].bottom


def test_sums_below_the_gaps_stay_with_their_gaps(recwarn: pytest.WarningsRecorder) -> None:
    picture = messages(example("synced", "ElmanRNN", hidden=3), "both", identity="text", wrap=2)
    render(picture.dot)
    assert all(f"meeting_{t} " in picture.dot for t in range(1, 5))
    assert [str(w.message) for w in recwarn if "dot" in str(w.message)] == []


def test_rows_fit_on_a_page_and_are_about_as_long_as_each_other() -> None:
    plan = arrange(fold_cells(CELLS["Elman"](25)))
    columns = fitting(plan, 2000.0)
    assert columns == 7 and fitting(plan, 1e6) is None and fitting(plan, 1.0) == 1
    widths = [max(b.right for b in wrapped(plan, [], n)[0].boxes.values()) for n in (columns, columns + 4)]
    assert widths[0] <= 2000 < widths[1]


def test_a_picture_wraps_by_itself_where_it_is_wider_than_a_page() -> None:
    for steps, rows in ((4, 1), (25, 4)):
        drawn = unroll(CELLS["Elman"](steps))
        assert drawn.dot.count("\tgoes_on_") == rows - 1
        assert unroll(CELLS["Elman"](steps), wrap=None).dot.count("\tgoes_on_") == 0


def test_a_very_long_picture_in_rows_takes_no_longer_than_in_one() -> None:
    trace = CELLS["Elman"](400)
    plan = arrange(fold_cells(trace))
    lines = list(wires(fold_cells(trace), plan))
    pieces = wrapped(plan, lines, 4)[1]
    assert len(lines) < len(pieces) < 3 * len(lines)
