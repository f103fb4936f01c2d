"""How matplotlib's pictures become files, what notebooks show, and which fonts and libraries are missed, in words."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import viz
from viz.plots import fonts
from viz.plots.axes import number, power, shown
from viz.plots.figure import Plot, host

SVG = "{http://www.w3.org/2000/svg}"


def plot(text: str = "ab") -> Plot:
    return viz.units(np.array([[0.5], [-0.5]]), text)


STARTS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "html": b"<!doctype"}


@pytest.mark.parametrize(("suffix", "start"), STARTS.items())
def test_the_suffix_says_what_is_written(suffix: str, start: bytes, tmp_path: Path) -> None:
    path = plot().save(tmp_path / f"x.{suffix.upper()}")
    assert path.read_bytes().startswith(start) and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_files_come_out_the_same_each_time() -> None:
    for kind in ("svg", "png", "pdf", "html"):
        assert plot().render(kind) == plot().render(kind)


def test_other_suffixes_and_places_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'x.gif' has a suffix that is none of .svg, .png, .pdf, .html"):
        plot().save("x.gif")
    with pytest.raises(ValueError, match=r"none of .svg, .png, .pdf$"):
        viz.clip([1.0], 1.0).save("x.html")
    with pytest.raises(ValueError, match="format 'dot' is none of"):
        plot().render("dot")
    with pytest.raises(OSError, match="nowhere"):
        plot().save(tmp_path / "nowhere" / "x.svg")
    assert not list(tmp_path.iterdir())


def test_an_svg_is_as_wide_as_its_page_has_a_title_and_a_dollar_is_a_dollar() -> None:
    root = ElementTree.fromstring(viz.units(np.array([[0.5], [-0.5]]), "$$", title="costs $5 & <more>$").render("svg"))
    assert root.get("width") == "100%" and root.get("height") is None and root.get("viewBox")
    assert str(root.get("style")).startswith("max-width:") and root.get("role") == "img"
    assert root[0].tag == f"{SVG}title" and root[0].text == "costs $5 & <more>$"
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "costs $5 & <more>$" in texts and texts.count("$") == 2
    for element in root.iter():
        assert "nan" not in (element.get("d") or "") and "nan" not in (element.get("transform") or "")


def test_a_notebook_shows_the_svg() -> None:
    shown = plot()._repr_mimebundle_()
    assert shown["image/svg+xml"].lstrip().startswith("<?xml") and ".save('units.svg')" in shown["text/plain"]


def test_characters_that_no_font_has_are_named_for_images_and_left_to_the_viewer_in_svg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Plot("clip", "", {}, lambda figure: None, text="aé漢")
    monkeypatch.setattr(fonts, "_font", lambda c: None if c == "漢" else "")
    with pytest.warns(UserWarning, match="clip: no font here has '漢', drawn as boxes; save as .svg") as said:
        picture.save(tmp_path / "x.png")
    assert len(said) == 1 and str(said[0].message).endswith("apt install fonts-noto-cjk)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.save(tmp_path / "x.svg")


def test_fonts_are_looked_for_among_those_installed() -> None:
    assert fonts.families("abc") == [] and fonts.missing("abc é ∂ שלום") == ""
    assert fonts._font("a") == "" and fonts._font("\U0010fffd") is None


def test_the_package_to_install_goes_by_the_kind_of_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_font", lambda c: None)
    wanted = {"漢": "fonts-noto-cjk", "は": "fonts-noto-cjk", "한": "fonts-noto-cjk", "🦄": "fonts-symbola",
              "ह": "fonts-noto-core", "a": ""}  # fmt: skip
    assert {c: fonts.packages(c) for c in wanted} == wanted
    assert fonts.packages("漢ह字🦄") == "fonts-noto-cjk fonts-noto-core fonts-symbola"


def test_fonts_that_came_after_matplotlib_made_its_list_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    every = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [e for e in every if e.name == "DejaVu Sans"])
    monkeypatch.setattr(fonts, "_font", fonts._font.__wrapped__)
    monkeypatch.setattr(fonts, "_new_ones", fonts._new_ones.__wrapped__)
    symbol = "\u1d81"  # a letter that DejaVu Sans has not, but a font that comes with matplotlib
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    assert fonts._font(symbol) is None
    files = [entry.fname for entry in every if entry.name == "STIXGeneral"]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [*files, __file__])
    assert fonts._font(symbol) == "STIXGeneral"


@pytest.mark.filterwarnings("ignore:.*no font here has")
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_any_text_can_be_a_title_a_token_and_a_name(kind: str) -> None:
    hostile = "a\x07 $x_1^{2$ \\frac{1 <&> \u202e\n" + "long " * 60
    tokens = ["", " ", "\t", "\n", "\x1b", "$", "_", "^", "\\", "{", "$\\alpha_1$", "\ud800", "\ufeff"]
    weights = np.eye(len(tokens))
    for view in ("table", "lines"):
        assert viz.attention(weights, tokens, tokens, view=view, title=hostile).render(kind)
    text = "".join(tokens)
    assert viz.units(np.ones((len(text), 1)), text, title=hostile).render(kind)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_long_titles_are_broken_into_lines_that_fit() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for title in ("words that go on and on, " * 12, "漢字" * 60, "ALL OF IT IS LARGE " * 15):
        figure = viz.clip([0.5, 2.0], 1.0, title=title).figure()
        FigureCanvasAgg(figure).draw()
        (heading,) = figure.texts
        box = heading.get_window_extent()
        assert heading.get_text().replace("\n", "").replace(" ", "") == title.replace(" ", "")
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
        assert figure.axes[0].get_window_extent().y1 < box.y0


def test_numbers_are_set_as_in_print() -> None:
    assert [number(x) for x in (0, -0.1384, 1.0, 123456.0, -2.5e-7, 1e300)] == [
        "0", "−0.138", "1", "1.23·10⁵", "−2.5·10⁻⁷", "1·10³⁰⁰"
    ]  # fmt: skip


def test_without_matplotlib_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = plot()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for kind in ("svg", "png"):
        with pytest.raises(ImportError, match="draws this picture, is not installed: pip install matplotlib"):
            picture.render(kind)


def test_numbers_are_found_without_loading_matplotlib() -> None:
    code = "import sys, viz; viz.clip([1.0, 2.0], 1.0); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_drawing_leaves_matplotlibs_settings_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot().render("svg")
    assert dict(matplotlib.rcParams) == before


def test_arrays_of_any_kind_become_numpys() -> None:
    import tinygrad_rnn as tg

    for given in ([1.0, 2.0], np.array([1.0, 2.0]), tg.tensor([1.0, 2.0], requires_grad=True)):
        assert host(given).tolist() == [1.0, 2.0]


def test_powers_of_ten_and_blanks_have_their_symbols() -> None:
    assert [power(10.0**k) for k in (-300, -1, 0, 1, 2)] == ["10⁻³⁰⁰", "10⁻¹", "1", "10", "10²"]
    assert power(3.0) == "" and power(0.0) == ""
    assert "".join(map(shown, " \n\t\x00é漢")) == "␣⏎⇥·é漢"
