import base64
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from headgate.exporter.evaluation.plots import draw
from headgate.exporter.evaluation.report import report_of
from headgate.exporter.evaluation.results import Chart, Matrix, Series
from headgate.v1 import ACTIVATION_PROBABILITIES, Head

NASTY = ["<script>alert(1)</script>", "_hidden $\\frac$", '"quoted" & <b>漢字</b>']


class Page(HTMLParser):
    """Collects the tags, their attributes and the text of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(evaluate, rng):
    head = Head(name=NASTY[0], output="out", activation=ACTIVATION_PROBABILITIES, multiclass={"labels": NASTY})
    out = rng.dirichlet([1, 1, 1], 30)
    out[4] = np.nan
    evaluation = evaluate(head, out, y=rng.integers(0, 3, 30))
    return report_of("Evaluation of <i>", {"heads": [NASTY[2]], "calibration": []}, [evaluation]), evaluation


def test_the_page_is_well_formed_and_shows_all_that_was_found(page):
    content, evaluation = page
    parsed = Page(content)
    assert parsed.open == []
    assert all(name in parsed.text for name in evaluation.scores.metrics)
    assert "1 of 30 rows are invalid: 4" in parsed.text
    assert parsed.tags.count("img") == len(evaluation.scores.figures)


def test_text_stays_text(page):
    parsed = Page(page[0])
    assert not {"script", "b", "i"} & set(parsed.tags)
    assert all(name in parsed.text for name in NASTY)


def test_the_page_loads_nothing_from_elsewhere(page):
    content, _ = page
    assert not {"link", "script", "iframe", "object"} & set(Page(content).tags)
    sources = [value for name, value in Page(content).attributes if name in ("src", "href")]
    assert sources
    for source in sources:
        svg = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"), validate=True).decode()
        # Namespaces and the document type are names, nothing is loaded from there.
        named = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", svg)
        loaded = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', named)
        assert all(one.startswith(("#", "data:")) for pair in loaded for one in pair if one)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    # Nor would a browser.
    policy = dict(Page(content).attributes)["content"]
    assert policy.startswith("default-src 'none'")
    assert "://" not in re.sub(r"base64,[^\"]*", "", content)


def test_pictures_of_the_same_are_the_same():
    chart = Chart(
        "ROC", "x", "y", [Series("a", np.linspace(0, 1, 5000), np.linspace(0, 1, 5000), "curve")], diagonal=True
    )
    assert draw(chart) == draw(chart)
    # Of many points some are drawn.
    assert len(draw(chart)) < 60_000


def test_text_that_xml_cannot_hold():
    names = ["no\x00\x08", "\x1b[31mred\uffff", "new\nline"]
    for figure in (
        Chart("a\x07", "x\x01", "y", [Series(name, [0, 1], [0, 1]) for name in names]),
        Matrix("a\x07", "x", "y\x0b", names, names, np.eye(3, dtype=int)),
    ):
        assert ElementTree.fromstring(draw(figure)).tag.endswith("svg")


def test_a_matrix_shows_its_counts():
    svg = draw(Matrix("Confusion", "predicted", "target", ["<a>", "b"], ["<a>", "b"], np.array([[1234, 0], [5, 6]])))
    assert "1,234" in svg.decode()
    assert "&lt;a&gt;" in svg.decode()
