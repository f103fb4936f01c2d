"""Pictures over a text: attention, gates, units, connectivity; their numbers, their text, and what they refuse."""

from __future__ import annotations

import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
import zoo
from tests.viz.test_explorer_page import browse, needs_browser
from viz.browser import Browser
from viz.plots.axes import number
from viz.plots.figure import Plot
from viz.plots.search import PREDICATES
from viz.plots.textgrid import ROW, paint_text, places, scale
from viz.style import contrast
from zoo.topology.examples import built, example

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '<b>&"\'</script>$x^2$\n\t漢字 שלום\x07'


def svg(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(plot.render("svg"))


def words(plot: Plot) -> list[str]:
    return ["".join(text.itertext()) for text in svg(plot).iter(f"{SVG}text")]


def notes(plot: Plot, gid: str) -> list[str]:
    """The titles of the paths of one artist."""
    group = next(g for g in svg(plot).iter(f"{SVG}g") if g.get("id") == gid)
    return [str(path.findtext(f"{SVG}title")) for path in group.iter(f"{SVG}path")]


# attention


def test_the_table_has_a_cell_for_each_pair_of_tokens_and_their_text() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    source, target = ["<cat>", "猫", "שלום", "$x$"], ["a & b", "\n", "العربية"]
    plot = viz.attention(weights, source, target)
    np.testing.assert_array_equal(plot.data["weights"], weights)
    np.testing.assert_allclose(plot.data["weights"].sum(1), 1, atol=1e-12)
    said = words(plot)
    assert set(source) | {"a & b", "⏎", "العربية"} <= set(said)
    found = notes(plot, "weights")
    assert len(found) == 12 and found[5] == f"⏎ ← 猫: {weights[1, 1]:.6g}"
    mesh = plot.figure().axes[0].collections[0]
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(3, 4), weights)


def test_what_a_model_gives_for_one_sequence_is_taken_as_it_is() -> None:
    found = built("encoder-decoder-attention", "GRU", hidden=3)
    xs = tg.tensor(np.random.default_rng(0).normal(size=(3, 1, 3)))
    weights = found.model.alignment(xs, steps=2, feed="greedy")
    np.testing.assert_array_equal(viz.attention(weights, "abc", "xy").data["weights"], weights.numpy()[:, 0])


def test_lines_are_as_wide_as_the_weights() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    plot = viz.attention(weights, ["a", "<b>", "猫", "d"], "xyz", view="lines")
    lines = plot.figure().axes[0].collections[0]
    widths = np.asarray(lines.get_linewidths())
    np.testing.assert_allclose(widths / widths.max(), weights.ravel() / weights.max(), rtol=1e-12)
    assert notes(plot, "weights")[6] == f"y ← 猫: {weights[1, 2]:.6g}" and "<b>" in words(plot)
    with pytest.raises(ValueError, match="view='graph' is none of table, lines"):
        viz.attention(weights, "abcd", "xyz", view="graph")


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (np.ones((2, 3)) / 3, r"weights \(2, 3\) for 2 target and 2 source tokens"),
        (np.ones((2, 2)), "these add up to 2, 2"),
        (np.array([[1.5, -0.5], [1, 0]]), "at least 0"),
        (np.full((2, 2), np.nan), "add up to nan"),
    ],
)
def test_weights_that_are_none_are_refused(weights: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        viz.attention(weights, ["a", "b"], ["c", "d"])


def test_weights_and_tokens_of_the_table_stand_in_their_cells_and_can_be_read() -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    weights = np.array([[0.9, 0.1, 0.0], [0.0, 0.44, 0.56]])
    axes = viz.attention(weights, ["a", "b", "c"], ["x", "y"]).figure().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    wanted = {(0, 0): ".90", (1, 0): ".10", (1, 1): ".44", (2, 1): ".56"}
    assert {text.get_position(): text.get_text() for text in axes.texts} == wanted
    for text in axes.texts:
        x, y = text.get_position()
        colour = to_hex(colormaps["Blues"](weights[int(y), int(x)]))
        assert contrast(colour, to_hex(text.get_color())) > 4.5


def test_lines_lead_from_what_is_read_to_what_is_written() -> None:
    weights = np.array([[0.9, 0.1, 0.0], [0.0, 0.44, 0.56]])
    axes = viz.attention(weights, ["a", "b", "c"], ["x", "y"], view="lines").figure().axes[0]
    place = {text.get_text(): text.get_position() for text in axes.texts}
    (lines,) = axes.collections
    ends = np.array(lines.get_segments()).reshape(2, 3, 2, 2)
    for t, written in enumerate("xy"):
        for j, read in enumerate("abc"):
            (above, top), (below, bottom) = ends[t, j]
            assert (above, below) == (place[read][0], place[written][0]) and top == 1 and bottom == 0
            assert place[read][1] > top and place[written][1] < bottom


@pytest.mark.parametrize("shape", [(81, 3), (3, 200), (1000, 1000)])
def test_a_long_table_has_places_in_place_of_tokens_and_keeps_its_size(shape: tuple[int, int]) -> None:
    weights = np.full(shape, 1 / shape[1])
    plot = viz.attention(weights, ["token"] * shape[1], ["word"] * shape[0])
    assert max(plot.size) < 20 and plot.render("png")
    axes = plot.figure().axes[0]
    for axis, n, token in ((axes.xaxis, shape[1], "token"), (axes.yaxis, shape[0], "word")):
        assert (token in [label.get_text() for label in axis.get_ticklabels()]) == (n <= 80)


# gates


def test_the_gates_of_an_lstm_are_those_of_its_equations() -> None:
    problem = example("synced", "LSTM", hidden=3)
    cell, xs = problem.parameters.rnn.cell, problem.xs.x.numpy()
    plot = viz.gates(problem, text="abcde")
    h = c = np.zeros((1, 3))
    for t, x in enumerate(xs):
        a = x @ cell.input.weight.numpy() + cell.input.bias.numpy() + h @ cell.U.numpy()
        i, f, g, o = np.split(a, 4, axis=1)
        sigma = {name: 1 / (1 + np.exp(-part)) for name, part in {"i": i, "f": f, "o": o}.items()}
        c = sigma["f"] * c + sigma["i"] * np.tanh(g)
        h = sigma["o"] * np.tanh(c)
        wanted = {f"sigmoid {name}": value for name, value in sigma.items()}
        wanted |= {"tanh g": (1 + np.tanh(g)) / 2, "tanh c": (1 + np.tanh(c)) / 2}
        for name, value in wanted.items():
            (key,) = (key for key in plot.data if key.endswith(name))
            np.testing.assert_allclose(plot.data[key][t], value[0], rtol=1e-10)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gates_lie_between_0_and_1_and_their_saturation_is_counted(cell: str) -> None:
    problem = example("synced", cell, hidden=4)
    plot = viz.gates(problem)
    bands = [name for name in plot.data if not name.endswith(("/left", "/right"))]
    axes = plot.figure().axes
    for band, name in enumerate(bands):
        values = plot.data[name]
        assert values.shape == (5, 4) and (values >= 0).all() and (values <= 1).all()
        np.testing.assert_allclose(plot.data[f"{name}/left"], (values < 0.1).mean(0), atol=1e-12)
        np.testing.assert_allclose(plot.data[f"{name}/right"], (values > 0.9).mean(0), atol=1e-12)
        mesh = axes[2 * band].collections[0]
        np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(4, 5), values.T)
        dots = axes[2 * band + 1].lines[1]
        np.testing.assert_array_equal(dots.get_xdata(), plot.data[f"{name}/right"])
        np.testing.assert_array_equal(dots.get_ydata(), plot.data[f"{name}/left"])
        assert (axes[2 * band].collections[0].norm.vmin, axes[2 * band].collections[0].norm.vmax) == (0, 1)
        assert [label.get_text() for label in axes[2 * band].get_yticklabels()] == ["0", "3"]
    assert notes(plot, "gate0")[1] == f"step 1, unit 0: {plot.data[bands[0]][1, 0]:.6g}"


def test_gates_of_a_run_that_leaves_the_range_of_floats_are_drawn_without_a_warning() -> None:
    step = lambda w, s, x: (s * 1e200, tg.sigmoid(w * s).sum())  # noqa: E731
    problem = tg.bptt.Problem(tg.tensor([1.0], requires_grad=True), step, tg.ones(1, dtype="float64"), [0] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = viz.gates(problem)
        assert plot.render("png") and (plot.data["sigmoid"] <= 1).all()


def test_one_unit_can_be_drawn_and_many_are_ordered_by_their_mean() -> None:
    problem = example("synced", "GRU", hidden=33)
    whole, one = viz.gates(problem), viz.gates(problem, unit=32)
    name = next(iter(one.data))
    np.testing.assert_array_equal(one.data[name][:, 0], whole.data[name][:, 32])
    assert one.data[f"{name}/right"] == whole.data[f"{name}/right"][32] and "unit 32" in one.title
    shown = np.asarray(whole.figure().axes[0].collections[0].get_array()).reshape(33, 5)
    assert (np.diff(shown.mean(1)) <= 1e-12).all()
    np.testing.assert_array_equal(np.sort(shown.mean(1)), np.sort(np.asarray(whole.data[name].T).mean(1)))


def test_steps_without_gates_and_units_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no step of this run has a sigmoid or a tanh"):
        viz.gates(tg.bptt.Problem(tg.tensor(1.0, requires_grad=True), lambda w, s, x: (w * s, s), tg.tensor(0.0), [0]))
    with pytest.raises(ValueError, match="there is no unit 3"):
        viz.gates(example("synced", "GRU", hidden=3), unit=3)


# search


def test_units_are_found_in_the_order_of_their_correlation() -> None:
    text = 'f(a, "b(c)") = [x]\n    y = 1\n'
    rng = np.random.default_rng(1)
    states = rng.normal(size=(len(text), 6))
    states[:, 4] = 0.25
    for name, predicate in PREDICATES.items():
        wanted = np.asarray(predicate(text))
        states[:, 2] = -wanted + 0.1 * rng.normal(size=len(text))
        found = viz.search_units(states, text, name)
        r = [0.0 if k == 4 else np.corrcoef(states[:, k], wanted)[0, 1] for k in range(6)]
        assert found[0].unit == 2 and found[0].correlation < -0.9 and found[-1] == (4, 0.0)
        sizes = [abs(each.correlation) for each in found]
        assert sizes == sorted(sizes, reverse=True)
        np.testing.assert_allclose([each.correlation for each in found], [r[each.unit] for each in found], atol=1e-12)
        assert viz.search_units(states, text, predicate) == found


def test_predicates_follow_a_text() -> None:
    text = "a'b \"c'd\" (e[f)\n\tg  h ‘i’)"
    inside = [i for i, q in enumerate(PREDICATES["quotes"](text)) if q]
    assert "".join(text[i] for i in inside) == "\"c'd‘i"
    assert max(PREDICATES["brackets"](text)) == 2 and PREDICATES["brackets"](")(")[-1] == 1
    assert PREDICATES["indentation"](text)[text.index("h")] == 8
    assert PREDICATES["column"](text)[text.index("g")] == 2


@pytest.mark.parametrize(
    ("states", "predicate", "complaint"),
    [
        (np.ones((3, 2)), "brackets", r"states \(3, 2\) for 2 characters"),
        (np.ones((2, 2)), "verbs", "predicate='verbs' is none of quotes, brackets, indentation, column"),
        (np.ones((2, 2)), "brackets", "brackets is 0 all along this text"),
        (np.ones((2, 2)), lambda text: [1.0], "for 2 characters"),
        (np.full((2, 2), np.inf), "brackets", "not all finite"),
    ],
)
def test_searches_that_can_find_nothing_are_refused(states: np.ndarray, predicate: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        viz.search_units(states, "ab", predicate)


# units


class Spans(HTMLParser):
    """The spans in the text of a page: their attributes and what stands in them; and the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.spans: list[tuple[dict[str, str | None], str]] = []
        self.scripts: list[str] = []
        self.open, self.inside = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        self.inside |= tag == "pre"
        if tag == "span" and self.inside:
            self.spans.append((dict(attrs), ""))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "pre"
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "span" and self.inside:
            self.spans[-1] = (self.spans[-1][0], self.spans[-1][1] + data)
        if self.open == "script":
            self.scripts[-1] += data


def states(text: str, units: int = 5) -> np.ndarray:
    return np.tanh(np.random.default_rng(2).normal(size=(len(text), units)))


def test_the_page_has_a_span_for_each_character_and_no_text_becomes_code() -> None:
    values = states(NASTY)
    page = viz.units(values, NASTY, unit=1, guesses=["</script><script>alert(1)</script>"] * len(NASTY),
                     title="<script>alert(2)</script>").render("html").decode()  # fmt: skip
    found = Spans(page)
    assert len(found.spans) == len(NASTY) and len(found.scripts) == 2 and "alert(2)" not in "".join(found.scripts)
    letters = [letter for _, letter in found.spans]
    assert "".join(letters) == NASTY.replace("\n", "⏎\n").replace("\t", "⇥").replace("\x07", "·")
    assert [attrs["title"] for attrs, _ in found.spans] == [f"{v:.4g}" for v in values[:, 1]]
    assert not re.search(r"https?://", page)


def test_the_page_holds_the_colours_that_python_draws() -> None:
    values = states("hello, world")
    plot = viz.units(values, "hello, world", unit=3)
    found = Spans(plot.render("html").decode())
    data = json.loads(found.scripts[0])
    np.testing.assert_allclose(data["values"][0], values[:, 3], rtol=5e-4)  # four digits
    assert data["top"] == abs(values).max()
    steps = np.floor(np.array(data["values"][0]) / data["top"] * 100 + 0.5)
    backgrounds = [re.search(r"background:(#\w{6});color:(#\w{6})", str(a["style"])) for a, _ in found.spans]
    assert [m.group(1) for m in backgrounds if m] == [data["colours"][int(v) + 100] for v in steps]
    assert [m.group(2) for m in backgrounds if m] == [data["inks"][int(v) + 100] for v in steps]
    assert [data["colours"][int(v) + 100] for v in steps] == scale(steps / 100, signed=True, top=1)[0].tolist()
    assert [a["class"] for a, _ in found.spans] == ["p" if v > 0 else "n" for v in values[:, 3]]
    boxes = plot.figure().axes[0].collections[0].get_facecolor()
    np.testing.assert_allclose(np.asarray(boxes)[:, 0] - np.asarray(boxes)[:, 2] > 0, values[:, 3] > 0)


@pytest.mark.parametrize("signed", [True, False])
def test_colours_go_with_the_values_and_their_ink_can_be_read(signed: bool) -> None:
    colours, inks = scale(np.linspace(-1 if signed else 0, 1, 201), signed=signed, top=1.0)
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    light = rgb @ (0.2126, 0.7152, 0.0722)
    upper = light[100:] if signed else light
    assert (np.diff(upper) <= 1.5).all() and upper[-1] < 0.5 * upper[0]  # darker and darker; 1.5 of 255 is rounding
    if signed:
        assert (np.diff(light[:101]) >= -1.5).all()
    assert min(contrast(colour, ink) for colour, ink in zip(colours, inks, strict=True)) > 4.5


def test_bars_are_as_long_as_the_values_and_on_the_side_of_their_sign() -> None:
    values = np.array([[0.5], [-1.0], [0.0], [0.25]])
    bars = viz.units(values, "abcd").figure().axes[0].collections[1]
    heights = [path.vertices[:, 1] for path in bars.get_paths()]
    lengths = np.array([-(y[2] - y[0]) for y in heights])  # y grows downwards
    np.testing.assert_allclose(lengths / abs(lengths).max(), values[:, 0], atol=1e-12)


def test_a_search_draws_the_units_it_finds_and_says_their_correlations() -> None:
    text = "f(a) (b) c" * 3
    values = states(text)
    found = viz.search_units(values, text, "brackets")
    plot = viz.units(values, text, predicate="brackets", count=2, guesses=[f"guess {t}" for t in range(len(text))])
    assert plot.data["units"].tolist() == [each.unit for each in found[:2]]
    np.testing.assert_array_equal(plot.data["values"], values[:, plot.data["units"]])
    np.testing.assert_array_equal(plot.data["correlations"], [each.correlation for each in found[:2]])
    said = words(plot)
    r = [f"{each.correlation:+.2f}".replace("-", "−") for each in found]
    assert all(f"unit {f.unit}, correlation with brackets {r}" in said for f, r in zip(found[:2], r, strict=False))
    assert notes(plot, "unit1")[3] == f"): {values[3, found[1].unit]:.6g}, then guess 3"


def test_all_units_share_the_scale_of_the_largest_and_wrong_sizes_are_refused() -> None:
    for largest in (4.0, 0.5, 1e-8):
        plot = viz.units(largest * np.array([[1.0, 0.1], [-0.5, 0.2]]), "ab", unit=1)
        data = json.loads(Spans(plot.render("html").decode()).scripts[0])
        assert data["top"] == largest
        np.testing.assert_allclose(data["values"], largest * np.array([[0.1, 0.2], [1.0, -0.5]]))
        assert any(text.endswith(f"the longest: ±{number(largest)}") for text in words(plot))
    assert any(text.endswith("the longest: ±1") for text in words(viz.units(np.zeros((2, 1)), "ab")))
    with pytest.raises(ValueError, match="there is no unit 5; there are 5"):
        viz.units(states("ab"), "ab", 5)
    with pytest.raises(ValueError, match="1 guesses for 2 characters"):
        viz.units(states("ab"), "ab", guesses=["x"])
    with pytest.raises(ValueError, match="for 0 characters"):
        viz.units(np.zeros((0, 2)), "")


@pytest.mark.parametrize("signed", [True, False])
def test_letters_stand_on_their_colours_and_bars_between_the_lines(signed: bool) -> None:
    from matplotlib.figure import Figure

    text, values = "ab\nc漢d", np.array([1.0, -1.0 if signed else 0.5, 1.0, 0.25, 1.0, 0.0])
    axes = Figure().add_subplot()
    end, _ = paint_text(axes, text, values, signed=signed, top=1.0, columns=3, gid="x")
    boxes, bars = (np.array([path.vertices[:4] for path in each.get_paths()]) for each in axes.collections)
    assert [letter.get_text() for letter in axes.texts] == [*"ab⏎c漢d"]
    for letter, box, bar, value in zip(axes.texts, boxes, bars, values, strict=True):
        (x, y), (left, top), (right, bottom) = letter.get_position(), box.min(0), box.max(0)
        assert left < x < right and top < y < bottom and x == pytest.approx((left + right) / 2)
        assert left < bar[:, 0].min() and bar[:, 0].max() < right
        assert bottom <= bar[:, 1].min() and bar[:, 1].max() < top + ROW
        assert np.sign(bar[0, 1] - bar[2, 1]) == np.sign(value)  # up, on an axis that grows downwards
    assert boxes[:, :, 1].min() == 0 and end == pytest.approx(3 * ROW)


def test_without_a_search_the_unit_that_varies_most_is_drawn() -> None:
    values = np.array([[0.9, 0.1, 0.5], [0.9, -0.1, -0.5], [0.9, 0.0, 0.2]])
    plot = viz.units(values, "abc")
    assert plot.data["units"].tolist() == [2] and plot.title == "Unit 2, which varies most"
    assert viz.units(values, "abc", unit=0).title == "Unit 0"


def test_lines_wrap_and_no_character_is_lost() -> None:
    text = "x" * 30 + "\n" + "漢" * 10
    found = places(text, 20)
    assert [sum(p.line == line for p in found) for line in range(3)] == [20, 11, 10]
    assert len({(p.line, p.column) for p in found}) == len(text)
    assert max(p.column + p.width for p in found) <= 20


# connectivity


def test_connectivity_is_a_row_of_the_jacobian() -> None:
    rng = tg.random.Generator(0)
    model = zoo.Synced(zoo.LSTM(3, 4, rng=rng), 5, rng=rng).astype("float64")
    xs = rng.normal((6, 1, 3), dtype="float64")
    plot = viz.connect(model, xs, "abcdef", at=[2, -1], output=1, characters="vwxyz")
    jacobian = tg.jacobian(model)(xs).numpy()  # (6, 1, 5, 6, 1, 3)
    for row, t in zip(plot.data["norms"], (2, 5), strict=True):
        np.testing.assert_allclose(row, np.linalg.norm(jacobian[t, 0, 1, :, 0], axis=-1), rtol=1e-10, atol=1e-14)
    assert not plot.data["norms"][0, 3:].any()  # the future
    for row, t in enumerate((2, 5)):
        bars = plot.figure().axes[0].collections[2 * row + 1]
        heights = np.array([-np.ptp(path.vertices[:, 1]) for path in bars.get_paths()])
        norms = plot.data["norms"][row, : t + 1]
        np.testing.assert_allclose(heights / heights.min(), norms / norms.max(), atol=1e-12)
    frames = [patch.get_xy() for patch in plot.figure().axes[0].patches]
    assert [x for x, _ in frames] == [2, 5] and frames[0][1] < frames[1][1]
    assert notes(plot, "row0") == [f"{c}: {v:.6g}" for c, v in zip("abc", plot.data["norms"][0, :3], strict=True)]
    largest = f"{plot.data['norms'][1].max():.3g}"
    assert f"step 5: logit of “w” next; the darkest, the longest: {largest}" in words(plot)


def test_the_likeliest_output_is_taken_where_none_is_named() -> None:
    rng = tg.random.Generator(1)
    model = zoo.Synced(zoo.GRU(3, 4, rng=rng), 5, rng=rng)
    xs = rng.normal((4, 1, 3))
    plot = viz.connect(model, xs, "abcd", at=[0, 3])
    assert plot.data["outputs"].tolist() == model(xs).numpy()[[0, 3], 0].argmax(-1).tolist()


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"text": "abc"}, r"xs of shape \(4, 1, 3\) for a text of 3 characters"),
        ({"at": [4]}, r"at=\[4\]; one step or more of 0 … 3"),
        ({"at": []}, "one step or more"),
        ({"output": 5}, "there is no output 5; there are 5"),
        ({"logits": lambda xs: xs[0]}, "logits of shape"),
    ],
)
def test_connections_that_are_not_there_are_refused(how: dict[str, Any], complaint: str) -> None:
    rng = tg.random.Generator(1)
    model = zoo.Synced(zoo.GRU(3, 4, rng=rng), 5, rng=rng)
    with pytest.raises(ValueError, match=complaint):
        viz.connect(**{"logits": model, "xs": rng.normal((4, 1, 3)), "text": "abcd"} | how)


# the page in a browser


@needs_browser
def test_arrow_keys_flip_through_the_units_of_the_page(tmp_path: Path) -> None:
    text = "f(a) (b) c\n" * 2
    values = states(text)
    plot = viz.units(values, text, predicate="brackets", title="</script> & more")
    ranking = [found.unit for found in viz.search_units(values, text, "brackets")]
    script = """
      const look = () => ({head: document.getElementById("head").textContent, spans: [...document.querySelectorAll(
        "#text span")].map((s) => [s.className, Number(s.title), s.textContent, getComputedStyle(s).backgroundColor])});
      log.frames = [look()];
      for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"]) {
        press(key);
        log.frames.push(look());
      }"""
    with Browser() as browser:
        frames = browse(browser, tmp_path, plot.render("html").decode(), script)["frames"]
    for frame, at in zip(frames, (0, 1, 2, 1, 0, -1), strict=True):
        column = values[:, ranking[at]]
        assert frame["head"].startswith(f"unit {ranking[at]}, correlation")
        assert [kind for kind, *_ in frame["spans"]] == ["p" if v > 0 else "n" for v in column]
        np.testing.assert_allclose([value for _, value, *_ in frame["spans"]], column, rtol=5e-4)
        assert "".join(letter for _, _, letter, _ in frame["spans"]) == text.replace("\n", "⏎\n")
        four = np.array([float(f"{v:.4g}") for v in column])
        colours = scale(np.floor(four / abs(values).max() * 100 + 0.5) / 100, signed=True, top=1)[0]
        wanted = [f"rgb({', '.join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5))})" for c in colours]
        assert [colour for *_, colour in frame["spans"]] == wanted
