"""The report is one page that needs nothing else, shows everything, and cannot be broken by what it shows."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from zoo.report import Report, loss_curve
from zoo.tasks.task import Metric, Score

BITS = Metric("bits per character")
RECORDS = [
    {"step": step, "loss": 3 / step, "metric": 4 / step, **({"evaluated": 4.2 / step} if step % 10 == 0 else {})}
    for step in range(1, 41)
]
BASELINES = [Score("4-gram", 1.951), Score("1-gram", 4.67)]


def page(**changes):
    contents = {
        "title": "char-lm", "facts": {"data": "a book"}, "metric": BITS, "model": Score("this model", 1.84),
        "baselines": BASELINES, "sample": "The quick", "sample_caption": "What it writes", "config": {"seed": 0},
        "commands": {"write more": "python -m zoo sample runs/x"},
        "figures": [("Loss curve", "loss.svg", loss_curve(RECORDS, BITS, BASELINES))],
    }  # fmt: skip
    return Report(**(contents | changes)).render()


class Tags(HTMLParser):
    """Every element must be closed in order."""

    VOID = ("meta", "link", "br", "hr", "img")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def test_the_page_is_well_formed_and_fetches_nothing():
    html = page()
    tags = parsed(html)
    assert "svg" in tags.seen and "script" not in tags.seen
    assert [link for link in tags.links if not link.startswith("#")] == ["loss.svg"]  # beside it, to be opened
    assert not re.search(r"url\((?!#)|@import", html)


def test_the_table_lists_the_model_among_the_baselines_best_first():
    html = page()
    assert html.index("this model") < html.index(">4-gram</td>") < html.index(">1-gram</td>")
    assert "<td class=number>1.840</td>" in html and "lower is better" in html


def test_where_higher_is_better_the_highest_comes_first():
    letters = Metric("letters right", lower_is_better=False, digits=0)
    html = page(metric=letters, model=Score("this model", 4.0), baselines=[Score("most frequent", 2.0)], figures=())
    assert html.index("this model") < html.index("most frequent")
    assert "higher is better" in html


@pytest.mark.parametrize("field", ["title", "sample", "sample_caption"])
def test_whatever_is_shown_is_escaped(field):
    attack = '</pre><script>alert("&")</script>'
    html = page(**{field: attack})
    parsed(html)
    assert "<script" not in html and "&lt;/pre&gt;&lt;script&gt;alert(&quot;&amp;&quot;)" in html


def test_the_configuration_and_the_names_of_facts_are_escaped_too():
    html = page(config={"text": "<b>.txt"}, facts={"<i>": "<u>"}, commands={"run": "a < b"})
    parsed(html)
    assert not re.search("<b>|<i>|<u>", html)


def test_the_loss_curve_is_an_svg_of_its_own_with_text_that_can_be_read():
    svg = loss_curve(RECORDS, BITS, BASELINES)
    root = ElementTree.fromstring(svg)
    words = " ".join(root.itertext())
    for word in ("step", "bits per character", "training", "held out", "4-gram"):
        assert word in words


def test_the_loss_curve_is_the_same_every_time():
    assert loss_curve(RECORDS, BITS, BASELINES) == loss_curve(RECORDS, BITS, BASELINES)


def test_the_loss_curve_takes_its_ink_from_the_page():
    svg = loss_curve(RECORDS, BITS)
    assert ElementTree.fromstring(svg).get("fill") == "currentColor"  # what has no colour of its own: the words
    assert "stroke: currentColor" in svg and "#000000" not in svg


def test_a_metric_that_does_not_follow_from_the_loss_is_not_drawn_but_the_loss_is():
    letters = Metric("letters right", lower_is_better=False, worth=None)
    svg = loss_curve(RECORDS, letters, [Score("most frequent", 2.0)])
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert "loss" in words and "most frequent" not in words and "letters" not in words


def test_one_record_is_enough_for_a_curve():
    ElementTree.fromstring(loss_curve(RECORDS[:1], BITS))
