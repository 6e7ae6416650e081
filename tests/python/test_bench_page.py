"""The HTML page: well-formed, self-contained, safe with any names, right in what it says."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from bench_testing import made_up, measured

from voxtral_edge.bench import charts, page
from voxtral_edge.bench.svg import Axis, Drawing, padded, short

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Elements(HTMLParser):
    """Checks nesting and collects every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    elements.close()
    assert elements.open == []
    return elements


def results() -> dict[str, dict[str, Any]]:
    generator = np.random.default_rng(1)
    hot = made_up(50 + generator.gamma(2, 4, 600), memory_bound=True)
    hot["trace"] = [
        {"seconds": float(i), "celsius": {"cpu": 40.0 + i}, "clock_mhz": 2400 - 10 * i} for i in range(30)
    ]
    energy = {"source": "RAPL", "watts": 8.0, "joules": 80.0, "seconds": 10.0, "joules_per_audio_s": 8.0}
    return {
        "measured": measured(),
        "file": measured(mode="file", seconds=4.0),
        "hot": {**hot, "energy": energy},
        "late": made_up(np.full(300, 200.0), rtf=2.5, deadline_miss_rate=1.0, memory_bound=None),
        "equal": made_up(np.full(2, 80.0)),
        "wild": made_up(10.0 ** generator.uniform(-3, 5, 500)),
        "hostile": made_up(np.arange(1.0, 50.0), model='<script>alert("1")</script>&'),
    }


@pytest.mark.parametrize("name", results())
def test_pages_are_well_formed_and_need_nothing_else(name: str) -> None:
    result = results()[name]
    html = page.render(result)
    elements = parsed(html)
    loading = {"src", "href", "srcset", "poster", "action", "xlink:href", "style"}
    assert not [pair for pair in elements.attributes if pair[0] in loading or pair[0].startswith("on")]
    assert "@import" not in html and "url(" not in html and html.count("<script") == 1
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing and "inf" not in drawing
    assert html.count("<svg") == 4


def test_the_page_holds_its_result() -> None:
    result = results()["hostile"]
    html = page.render(result)
    data = re.search(r'<script type="application/json" id="result">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    kept = json.loads(data[1])
    assert kept["model"] == result["model"] and kept["step_ms"] == result["step_ms"] and "samples" not in kept


def test_light_and_dark_and_narrow_screens() -> None:
    html = page.render(measured())
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html


@pytest.mark.parametrize(
    ("changes", "style", "words"),
    [
        ({"rtf": 0.5, "deadline_miss_rate": 0.0}, "good", "every step"),
        ({"rtf": 0.5, "deadline_miss_rate": 0.004}, "good", "99.60% of steps"),
        ({"rtf": 1.5, "deadline_miss_rate": 1.0}, "bad", "takes 1.50 s"),
    ],
)
def test_the_verdict_follows_from_the_figures(changes: dict[str, Any], style: str, words: str) -> None:
    result = made_up(np.full(100, 40.0), **changes)
    assert page.verdict(result)[0] == style and words in page.verdict(result)[1]


@pytest.mark.parametrize(("slope", "style"), [(0.001, "fair"), (0.3, "bad")])
def test_catching_up_is_judged_by_its_backlog(slope: float, style: str) -> None:
    backlog = {"p95": 0.3, "max": 0.4, "final": 0.1, "slope": slope}
    result = made_up(
        np.full(100, 80.5), rtf=1.006, deadline_miss_rate=1.0, catch_up=True, mode="paced", backlog_s=backlog
    )
    assert page.verdict(result)[0] == style


def test_a_long_tail_is_not_called_good() -> None:
    values = np.full(1000, 40.0)
    values[::20] = 300.0
    result = made_up(values, rtf=0.7, deadline_miss_rate=0.06)
    assert page.verdict(result)[0] == "fair"


def test_warnings_are_on_the_page() -> None:
    result = made_up(np.full(100, 40.0))
    result["package"]["random_weights"] = True
    result["interference"] |= {"quiet": False, "other_cpus": 1.5, "steal_share": 0.02}
    text = parsed(page.render(result)).text
    assert "accuracy not" in text and "not quiet" in text and "the host took 2.0%" in text


def test_marks_stand_where_their_values_are() -> None:
    """The deadline line of the distribution: left of every bar when all steps are late, right when none
    is."""
    for factor, late in ((0.5, False), (2.0, True)):
        result = made_up(factor * 80.0 + np.linspace(0, 5, 100), memory_bound=False)
        drawing = ElementTree.fromstring(charts.distribution(result))
        line = next(e for e in drawing.iter() if e.get("class") == "deadline")
        bars = [float(e.get("x", "0")) for e in drawing.iter() if e.get("class") == "histogram"]
        assert bars and all((bar > float(line.get("x1", "0"))) == late for bar in bars)


def test_axes_map_ends_to_ends() -> None:
    linear, log = Axis(0.0, 10.0, 100.0, 200.0), Axis(1.0, 100.0, 0.0, 100.0, log=True)
    assert (linear.at(0.0), linear.at(10.0), linear.at(5.0)) == (100.0, 200.0, 150.0)
    assert (log.at(1.0), log.at(10.0), log.at(100.0)) == pytest.approx((0.0, 50.0, 100.0))
    assert linear.ticks() == [0, 2, 4, 6, 8, 10]
    for low, high in ((0.001, 0.0011), (0.3, 70.0), (5.0, 9000.0), (1e-4, 1e5)):
        ticks = Axis(low, high, 0.0, 1.0, log=True).ticks()
        assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks) and len(ticks) <= 12
    assert padded([3.0, 3.0])[0] < 3.0 < padded([3.0, 3.0])[1]
    assert [short(value) for value in (0.25, 80.0, 12_000.0)] == ["0.25", "80", "12k"]


def test_text_in_drawings_is_escaped() -> None:
    drawing = Drawing(10, 10, '"<&')
    drawing.text((0, 0), "<b>&")
    assert ElementTree.fromstring(str(drawing))[0].text == "<b>&"
