"""Drawing with the `dot` program, with Graphviz as a library, and with neither."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tinygrad_rnn as tg
from tests.viz.samples import SAMPLES, lstm
from viz import Picture, unroll
from viz.render import FORMATS, NoRenderer, render, save

SVG = "{http://www.w3.org/2000/svg}"
HAS = {"program": shutil.which("dot") is not None, "library": importlib.util.find_spec("pygraphviz") is not None}


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Leave one way to draw, or none; skips where this machine does not have it."""

    def leave(way: str | None) -> None:
        if way is not None and not HAS[way]:
            pytest.skip(f"this machine has no Graphviz {way}")
        if way != "program":
            monkeypatch.setattr(shutil, "which", lambda name: None)
        if way != "library":
            monkeypatch.setitem(sys.modules, "pygraphviz", None)

    return leave


def boxes(svg: bytes) -> dict[str, tuple[float, float]]:
    """Id and first point of every group that draws a shape."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        points = [p for shape in group for p in (shape.get("points") or shape.get("d") or "").split()]
        numbers = [p.strip("MCL ") for p in points if "," in p]
        if numbers and group.get("id"):
            x, y = numbers[0].replace("C", " ").split()[0].split(",")
            found[group.get("id", "")] = float(x), float(y)
    return found


@pytest.mark.parametrize("way", HAS)
@pytest.mark.parametrize("format", FORMATS)
def test_each_way_draws_each_format_without_a_complaint(
    way: str, format: str, only: Callable[[str | None], None]
) -> None:
    only(way)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = render(unroll(lstm(3, 2, cuts=(1,)), level="op").dot, format)
    assert drawn[:5] in {"svg": (b"<?xml",), "png": (b"\x89PNG\r",), "pdf": (b"%PDF-",)}[format]


@pytest.mark.parametrize("way", HAS)
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("level", ["cell", "op"])
def test_the_svg_holds_every_node_and_line_once_with_numbers_for_coordinates(
    way: str, name: str, level: str, only: Callable[[str | None], None]
) -> None:
    only(way)
    picture = unroll(SAMPLES[name](), level=level, wrap=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = render(picture.dot)
    assert b"nan" not in svg.lower()
    root = ElementTree.fromstring(svg)
    ids = [group.get("id") for group in root.iter(f"{SVG}g") if group.get("id")]
    assert len(set(ids)) == len(ids)
    assert {node.id for node in picture.trace.nodes} <= set(ids)
    messages = sum(edge.message is not None for edge in picture.trace.edges)
    assert sum(str(name).startswith("backward_") for name in ids) == messages
    assert not list(root.iter(f"{SVG}a")), "tooltips are titles, not links"


def test_the_svg_fits_the_page_and_tells_more_on_hover(only: Callable[[str | None], None]) -> None:
    only("program" if HAS["program"] else "library")
    root = ElementTree.fromstring(render(unroll(lstm(2)).dot))
    assert root.get("width") == "100%" and root.get("height") is None and root.get("viewBox")
    assert "max-width" in root.get("style", "")
    titles = {title.text for title in root.iter(f"{SVG}title")}
    assert any("message of norm" in str(title) for title in titles)
    assert any("gradient norm" in str(title) for title in titles)


def test_both_ways_put_everything_in_the_same_places(only: Callable[[str | None], None]) -> None:
    if not all(HAS.values()):
        pytest.skip("this machine has not both ways to draw")
    dot = unroll(lstm(3)).dot
    one = boxes(render(dot))
    only("library")
    other = boxes(render(dot))
    assert one.keys() == other.keys()
    nodes = [name for name in one if name.startswith("g")]
    assert nodes
    for name in nodes:
        assert one[name] == pytest.approx(other[name], abs=1.0)


def test_without_any_graphviz_the_text_is_written_and_the_way_out_named(
    tmp_path: Path, only: Callable[[str | None], None]
) -> None:
    only(None)
    picture = unroll(lstm(2))
    with pytest.raises(NoRenderer, match=r"apt install graphviz.*pip install pygraphviz"):
        render(picture.dot)
    with pytest.warns(UserWarning, match=r"apt install graphviz.*pip install pygraphviz.*dot -Tsvg"):
        written = picture.save(tmp_path / "x.svg")
    assert written == tmp_path / "x.dot" and written.read_text() == picture.dot
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.dot"]


def test_text_that_graphviz_refuses_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    if not HAS["program"]:
        pytest.skip("this machine has no Graphviz program")
    with pytest.raises(ValueError, match="could not draw this graph"):
        save("digraph {", tmp_path / "x.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["x.gif", "x", "x.svg.zip"])
def test_a_suffix_that_says_nothing_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"use one of \.svg, \.png, \.pdf, \.dot"):
        save("digraph {}", path)


def test_a_format_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="format 'gif' is none of svg, png, pdf"):
        render("digraph {}", "gif")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make the folder first"):
        save("digraph {}", tmp_path / "nowhere" / "x.dot")


def test_a_notebook_shows_the_svg(only: Callable[[str | None], None]) -> None:
    only("program" if HAS["program"] else "library")
    bundle = unroll(lstm(2))._repr_mimebundle_()
    assert "<svg" in bundle["image/svg+xml"] and bundle["text/plain"].startswith("Picture(")


def test_a_notebook_without_graphviz_shows_the_text_and_the_way_out(only: Callable[[str | None], None]) -> None:
    only(None)
    picture: Picture = unroll(lstm(2))
    assert picture._repr_svg_() is None
    bundle = picture._repr_mimebundle_()
    assert bundle.keys() == {"text/plain"}
    assert "pip install pygraphviz" in bundle["text/plain"] and picture.dot in bundle["text/plain"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"level": "layer"}, "level='layer' is none of 'cell', 'op'"),
        ({"params": "repeat"}, "params='repeat' is none of 'shared', 'hide'"),
        ({"captions": "hello"}, "5 captions for 2 steps"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        unroll(lstm(2), **options)


def test_a_folded_trace_cannot_be_unfolded() -> None:
    with pytest.raises(ValueError, match="folded to cells"):
        unroll(unroll(lstm(2)).trace, level="op")


def test_a_loss_is_not_a_trace() -> None:
    with pytest.raises(TypeError, match=r"draws a trace, not Tensor: viz\.unroll\(viz\.trace\(loss\)\)"):
        unroll(tg.tensor(1.0))  # type: ignore[arg-type]
