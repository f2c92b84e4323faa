"""Charts drawn on the server: where each bar and word stands, and the same as SVG.

A drawing is 360 units wide, so that a unit is a pixel on a telephone. Colors are told apart by
everybody (blue and orange, and the second is hollow), and have 3:1 to light and dark paper.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH = 360
BLUE, ORANGE = "#3b7ddd", "#c76a00"
# What is drawn in the color of the page's text. An image of its own names one.
INK, PAPER = "#1a1d21", "#ffffff"
_TEXT = 12
_ROWS_MAX = 24

# Writes a value short enough for an axis, or for a bar.
Write = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; a hollow one is an outline."""

    x: float
    y: float
    width: float
    height: float
    color: str
    is_hollow: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal line; faint ones are the grid."""

    x: float
    y: float
    width: float
    is_faint: bool


@dataclass(frozen=True, slots=True)
class Words:
    """Text whose line stands at `y`. `anchor`: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    is_bold: bool = False


Mark = Bar | Rule | Words


@dataclass(frozen=True, slots=True)
class Drawing:
    """Marks on a sheet of WIDTH by `height` units."""

    height: float
    marks: tuple[Mark, ...]


def columns(
    labels: Sequence[str], lines: Sequence[tuple[str, Sequence[int]]], *, write: Write
) -> Drawing:
    """Upright bars over time, for one or two lines of values of one unit; the second is hollow."""
    assert labels, "Nothing has no chart."
    assert 0 < len(lines) <= 2, "More than two lines are more than one chart."
    values = [value for _name, line in lines for value in line]
    ticks = _ticks(min(0, *values), max(0, *values))
    left = 8 + max(_width(write(tick)) for tick in ticks)
    top, bottom = 26.0 if len(lines) == 1 else 44.0, 180.0
    low, high = ticks[0], ticks[-1]

    def at(value: int) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    marks: list[Mark] = []
    for tick in ticks:
        marks.append(Rule(left, at(tick), WIDTH - left, is_faint=tick != 0))
        marks.append(Words(left - 6, at(tick) + 4, write(tick), "end"))
    slot = (WIDTH - left) / len(labels)
    each = max(2.0, (slot - 4) / len(lines))
    for place, (_name, line) in enumerate(lines):
        color, is_hollow = (BLUE, False) if place == 0 else (ORANGE, True)
        for n, value in enumerate(line):
            x, y = left + n * slot + 2 + place * each, min(at(value), at(0))
            if value:
                height = max(1.0, abs(at(value) - at(0)))
                marks.append(Bar(x, y, each - 1, height, color, is_hollow))
    if len(lines) == 1:
        marks += _peak(lines[0][1], left, slot, at, write)
    else:
        marks += _legend([name for name, _line in lines])
    # Every label that fits: all of them, or every second, third … One that reaches beyond the sheet
    # is moved in.
    widest = max(_width(label) for label in labels)
    step = max(1, math.ceil((widest + 6 + max(0.0, (widest - slot) / 2)) / slot))
    for n, label in enumerate(labels):
        if (len(labels) - 1 - n) % step == 0:
            marks.append(Words(left + (n + 0.5) * slot, bottom + 18, label, "middle"))
    return Drawing(bottom + 26, _inside(marks))


def rows(figures: Sequence[tuple[str, int]], *, write: Write) -> Drawing:
    """Lying bars, one below the other, each with its name and its value written out."""
    assert figures, "Nothing has no chart."
    figures = figures[:_ROWS_MAX]
    low = min(0, *(value for _name, value in figures))
    high = max(0, *(value for _name, value in figures))
    scale = WIDTH / max(1, high - low)
    marks: list[Mark] = []
    for n, (name, value) in enumerate(figures):
        y = n * 38.0
        written = write(value)
        marks.append(Words(0, y + 14, _cut(name, WIDTH - _width(written) - 12)))
        marks.append(Words(WIDTH, y + 14, written, "end", is_bold=True))
        marks.append(Rule(0, y + 30, WIDTH, is_faint=True))
        if value:
            x = (min(value, 0) - low) * scale
            marks.append(Bar(x, y + 20, max(2.0, abs(value) * scale), 10, BLUE))
    return Drawing(len(figures) * 38.0, tuple(marks))


def headed(drawing: Drawing, title: str) -> Drawing:
    """The same below its title, as an image that stands alone needs it."""
    moved = [replace(mark, y=mark.y + 30) for mark in drawing.marks]
    heading = Words(0, 16, _cut(title, WIDTH), is_bold=True)
    return Drawing(drawing.height + 30, (heading, *moved))


def svg(drawing: Drawing, *, id: str, title: str, description: str, alone: bool = False) -> str:
    """Write a drawing as SVG, with presentation attributes only: no style, no script.

    `id` is unique on the page. `alone`: a file of its own, in its own colors, with a margin.
    """
    box, paper = f"0 0 {WIDTH} {drawing.height:g}", SafeString("")
    if alone:
        box = f"-12 -12 {WIDTH + 24} {drawing.height + 24:g}"
        paper = format_html(
            '<rect x="-12" y="-12" width="{}" height="{}" fill="{}"/>',
            WIDTH + 24, f"{drawing.height + 24:g}", PAPER,
        )  # fmt: skip
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="{}" role="img" aria-labelledby="{}-title'
        ' {}-desc" font-family="system-ui, sans-serif" font-size="{}" color="{}"{}>'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>{}{}</svg>',
        box, id, id, _TEXT, INK if alone else "currentColor",
        format_html(' width="{}"', WIDTH * 2) if alone else "",
        id, title, id, description, paper,
        format_html_join("", "{}", ((_mark(mark),) for mark in drawing.marks)),
    )  # fmt: skip


def _mark(mark: Mark) -> SafeString:
    if isinstance(mark, Bar):
        inset = 1 if mark.is_hollow else 0
        return format_html(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="{}" stroke="{}" stroke-width="{}"/>',
            f"{mark.x + inset:.4g}", f"{mark.y + inset:.4g}",
            f"{max(0.5, mark.width - 2 * inset):.4g}", f"{max(0.5, mark.height - 2 * inset):.4g}",
            "none" if mark.is_hollow else mark.color,
            mark.color if mark.is_hollow else "none", 2 if mark.is_hollow else 0,
        )  # fmt: skip
    if isinstance(mark, Rule):
        return format_html(
            '<path d="M{} {}h{}" stroke="currentColor" stroke-opacity="{}"/>',
            f"{mark.x:.4g}", f"{mark.y:.4g}", f"{mark.width:.4g}", 0.2 if mark.is_faint else 0.8,
        )  # fmt: skip
    return format_html(
        '<text x="{}" y="{}" fill="currentColor" text-anchor="{}" font-weight="{}">{}</text>',
        f"{mark.x:.4g}", f"{mark.y:.4g}", mark.anchor, 700 if mark.is_bold else 400, mark.text,
    )  # fmt: skip


def _ticks(low: int, high: int) -> list[int]:
    """Round values from `low` to `high` or a little beyond, 0 among them: three to seven."""
    reach = max(1, high, -low)
    step = 1
    while reach > 3 * step:
        # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    first, last = low // step, -(-high // step)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _peak(
    line: Sequence[int], left: float, slot: float, at: Callable[[int], float], write: Write
) -> list[Mark]:
    """The value of the highest bar, above it."""
    highest = max(line)
    if highest <= 0:
        return []
    x = left + (line.index(highest) + 0.5) * slot
    return [Words(x, at(highest) - 5, write(highest), "middle", is_bold=True)]


def _legend(names: Sequence[str]) -> list[Mark]:
    marks: list[Mark] = []
    for place, name in enumerate(names):
        x = place * WIDTH / 2
        color = (BLUE, ORANGE)[place]
        marks += [Bar(x, 4, 12, 12, color, place == 1), Words(x + 18, 14, _cut(name, 155))]
    return marks


def _inside(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Words in the middle of something near the edge stay on the sheet; bold ones are wider."""
    found = []
    for mark in marks:
        if isinstance(mark, Words) and mark.anchor == "middle":
            half = _width(mark.text) * (1.25 if mark.is_bold else 1) / 2
            mark = replace(mark, x=min(max(mark.x, half), WIDTH - half))
        found.append(mark)
    return tuple(found)


def _width(text: str) -> float:
    """About how wide a text is: nobody measures fonts here."""
    return sum(_TEXT * (1.0 if unicodedata.east_asian_width(one) in "WF" else 0.58) for one in text)


def _cut(text: str, width: float) -> str:
    """As much of a text, in one line of printable characters, as fits into a width."""
    line = "".join(one if one.isprintable() else " " for one in text)
    if _width(line) <= width:
        return line
    while line and _width(line) + _TEXT > width:
        line = line[:-1]
    return line.rstrip() + "…"
