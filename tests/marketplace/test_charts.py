"""Charts: what is drawn where, that everybody can read it, and that nothing in it runs."""

from __future__ import annotations

import io
import itertools
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from marketplace import chart_images, charts
from marketplace.charts import Bar, Drawing, Words

NAMESPACE = "{http://www.w3.org/2000/svg}"
# White, Unfold's and our own dark papers.
PAPERS = ("#ffffff", "#f9fafb", "#16191d", "#111827", "#121212")
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def bars(drawing: Drawing) -> list[Bar]:
    return [mark for mark in drawing.marks if isinstance(mark, Bar)]


def words(drawing: Drawing) -> list[str]:
    return [mark.text for mark in drawing.marks if isinstance(mark, Words)]


def svg(drawing: Drawing, **fields: str) -> ElementTree.Element:
    named = {"id": "x", "title": "Title", "description": "What it says.", **fields}
    return ElementTree.fromstring(charts.svg(drawing, **named))


def contrast(one: str, other: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def light(color: str) -> float:
        parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("color", [charts.BLUE, charts.ORANGE])
def test_every_color_has_three_to_one_to_every_paper(color: str, paper: str) -> None:
    assert contrast(color, paper) >= 3


def test_bars_are_as_high_as_their_values_and_stand_on_zero() -> None:
    drawing = charts.columns(["a", "b", "c"], [("one", [100, 50, -50])], write=str)

    first, second, third = bars(drawing)
    assert first.height == pytest.approx(2 * second.height)
    assert third.height == pytest.approx(second.height)
    assert first.y + first.height == pytest.approx(second.y + second.height)
    # What is below 0 hangs from it.
    assert third.y == pytest.approx(first.y + first.height)


def test_nothing_is_drawn_for_zero_and_something_for_little() -> None:
    drawing = charts.columns(["a", "b", "c"], [("one", [0, 1, 1_000_000])], write=str)

    little, much = bars(drawing)
    assert (little.height, little.width) >= (1, 2)
    assert much.height > 100


def test_the_highest_bar_says_its_value() -> None:
    drawing = charts.columns(["a", "b"], [("one", [7, 12])], write=lambda value: f"{value} EUR")

    assert "12 EUR" in words(drawing)
    assert "7 EUR" not in words(drawing)


def test_a_second_line_is_hollow_and_both_are_named() -> None:
    drawing = charts.columns(["a", "b"], [("Volume", [4, 4]), ("Fees", [1, 2])], write=str)

    assert [bar.is_hollow for bar in bars(drawing)] == [False, False, True, True, False, True]
    assert {bar.color for bar in bars(drawing) if bar.is_hollow} == {charts.ORANGE}
    assert {"Volume", "Fees"} <= set(words(drawing))


@pytest.mark.parametrize("labels", [MONTHS, [f"{name}embre" for name in MONTHS], ["Nov"]])
def test_labels_never_touch_each_other_or_leave_the_sheet(labels: list[str]) -> None:
    values = [(-1) ** n * 10**9 * n for n in range(len(labels))]
    drawing = charts.columns(labels, [("one", values)], write=lambda value: f"{value:,}")

    below = [mark for mark in drawing.marks if isinstance(mark, Words) and mark.text in labels]
    assert below[-1].text == labels[-1]
    edges = [(mark.x - charts._width(mark.text) / 2, mark.text) for mark in below]
    for (left, text), (following, _next) in itertools.pairwise(edges):
        assert left + charts._width(text) < following
    for mark in drawing.marks:
        if isinstance(mark, Words) and mark.anchor == "middle":
            assert mark.x - charts._width(mark.text) / 2 >= 0
            assert mark.x + charts._width(mark.text) / 2 <= charts.WIDTH + 0.001


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 0, [0, 1]),
        (0, 3, [0, 1, 2, 3]),
        (-5, 0, [-6, -4, -2, 0]),
        (-30_000, 1_234_567, [-500_000, 0, 500_000, 1_000_000, 1_500_000]),
    ],
)
def test_axes_have_a_few_round_values(low: int, high: int, ticks: list[int]) -> None:
    assert charts._ticks(low, high) == ticks


def test_lying_bars_are_each_named_with_their_value() -> None:
    drawing = charts.rows([("Maps", 10), ("Loss", -5), ("None", 0)], write=str)

    gain, loss = bars(drawing)
    assert words(drawing) == ["Maps", "10", "Loss", "-5", "None", "0"]
    assert gain.width == pytest.approx(2 * loss.width)
    assert loss.x + loss.width == pytest.approx(gain.x)


def test_long_names_are_cut_and_control_characters_are_gone() -> None:
    drawing = charts.rows([("A very long name " * 9, 1), ("two\nlines\x00", 2)], write=str)

    assert words(drawing)[0].endswith("…")
    assert words(drawing)[2] == "two lines "


def test_an_image_says_what_it_shows() -> None:
    image = svg(charts.rows([("Maps", 10)], write=str))

    assert image.get("role") == "img"
    assert image.get("aria-labelledby") == "x-title x-desc"
    assert [image.findtext(f"{NAMESPACE}{name}") for name in ("title", "desc")] == [
        "Title",
        "What it says.",
    ]


def test_names_are_text_whatever_they_hold() -> None:
    name = '"><script>alert(1)</script>'

    text = charts.svg(
        charts.rows([(name, 10)], write=str), id="x", title=name, description=f"{name}&"
    )

    assert "<script" not in text
    assert name in ElementTree.fromstring(text).findtext(f"{NAMESPACE}title", "")


def test_nothing_in_it_needs_more_than_the_policy_gives() -> None:
    drawing = charts.columns(MONTHS, [("a", range(12)), ("b", range(12))], write=str)

    text = charts.svg(charts.headed(drawing, "T"), id="x", title="T", description="D", alone=True)

    assert not re.search(r"style|script|\son\w+=|href|url\(|<image|<foreignObject", text)


def test_a_png_is_the_same_drawing_in_three_pixels_a_unit() -> None:
    drawing = charts.headed(charts.rows([("Żółw, Ждать", 10), ("Hollow", 5)], write=str), "Title")

    image = Image.open(io.BytesIO(chart_images.png(drawing)))

    assert image.size == ((charts.WIDTH + 24) * 3, (drawing.height + 24) * 3)
    first = bars(drawing)[0]
    middle = ((first.x + first.width / 2 + 12) * 3, (first.y + first.height / 2 + 12) * 3)
    assert image.getpixel((int(middle[0]), int(middle[1]))) == (0x3B, 0x7D, 0xDD)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_png_has_a_hollow_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar(10, 10, 40, 40, charts.ORANGE, is_hollow=True)

    image = Image.open(io.BytesIO(chart_images.png(Drawing(60, (bar,)))))

    assert image.getpixel((22 * 3 + 1, 22 * 3 + 1)) == (0xC7, 0x6A, 0x00)
    assert image.getpixel((42 * 3, 42 * 3)) == (255, 255, 255)


def test_without_woff2_the_other_font_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        chart_images._FONTS, False, (("unfold", "apps.py"), ("reportlab", "fonts/Vera.ttf"))
    )
    chart_images._font.cache_clear()

    assert chart_images._font(False).getname()[0] == "Bitstream Vera Sans"
    chart_images._font.cache_clear()
