"""What a picture says can be read: colours with contrast, and never colour alone."""

from __future__ import annotations

import math

import pytest

from viz import style
from viz.dot import LINES


@pytest.mark.parametrize("card", style.CARDS.values(), ids=style.CARDS)
def test_text_on_a_node_has_the_contrast_that_text_needs(card: style.Card) -> None:
    assert style.contrast(style.INK, card.fill) >= 7


@pytest.mark.parametrize("colour", [style.FORWARD, style.BACKWARD, style.CUT, style.QUIET])
@pytest.mark.parametrize("ground", [style.PAPER, style.BAND])
def test_lines_and_their_numbers_have_contrast_on_paper_and_on_bands(colour: str, ground: str) -> None:
    assert style.contrast(colour, ground) >= 4.5


def test_kinds_of_lines_differ_without_colour() -> None:
    looks = [(line["style"], line["arrowhead"], line["arrowsize"]) for line in LINES.values()]
    assert len(set(looks)) == len(looks)


def test_contrast_is_that_of_wcag() -> None:
    assert style.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert style.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the example of WCAG's own notes


@pytest.mark.parametrize("norm", [0.0, 1e-300, 1e-9, 1.0, 1e3, math.inf, math.nan])
def test_the_width_of_a_message_stays_within_bounds(norm: float) -> None:
    assert 0.6 <= style.pen_width(norm, 1e3) <= 2.8


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (0.0001234, "0.000123"), (12345.0, "1.23e4"), (1e-40, "1e-40"), (math.inf, "inf"),
     (math.nan, "nan")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert style.number(value) == text
