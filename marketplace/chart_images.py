"""Charts as PNG, drawn by Pillow from the same drawings, in three pixels a unit."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from marketplace.charts import INK, PAPER, WIDTH, Bar, Drawing, Rule

_SCALE = 3
_MARGIN = 12
_TEXT = 12
_FAINT = "#d4d6d9"
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
# Fonts of packages that are here anyway: Latin, Greek and Cyrillic; where this Pillow reads no
# WOFF2, Western European only. Of other scripts there are boxes: the SVG has them right.
_FONTS = {
    False: (
        ("unfold", "static/unfold/fonts/inter/Inter-Regular.woff2"),
        ("reportlab", "fonts/Vera.ttf"),
    ),
    True: (
        ("unfold", "static/unfold/fonts/inter/Inter-Bold.woff2"),
        ("reportlab", "fonts/VeraBd.ttf"),
    ),
}


def png(drawing: Drawing) -> bytes:
    """Paint a drawing on white paper, with a margin."""
    size = (
        round((WIDTH + 2 * _MARGIN) * _SCALE),
        round((drawing.height + 2 * _MARGIN) * _SCALE),
    )
    image = Image.new("RGB", size, PAPER)
    canvas = ImageDraw.Draw(image)
    for mark in drawing.marks:
        x, y = _at(mark.x), _at(mark.y)
        if isinstance(mark, Bar):
            box = (x, y, x + round(mark.width * _SCALE) - 1, y + round(mark.height * _SCALE) - 1)
            box = (box[0], box[1], max(box[0], box[2]), max(box[1], box[3]))
            if mark.is_hollow:
                canvas.rectangle(box, outline=mark.color, width=2 * _SCALE)
            else:
                canvas.rectangle(box, fill=mark.color)
        elif isinstance(mark, Rule):
            end = x + round(mark.width * _SCALE)
            canvas.line((x, y, end, y), fill=_FAINT if mark.is_faint else INK, width=_SCALE)
        else:
            font, anchor = _font(mark.is_bold), _ANCHORS[mark.anchor]
            canvas.text((x, y), mark.text, fill=INK, font=font, anchor=anchor)
    target = io.BytesIO()
    image.save(target, "PNG", optimize=True)
    return target.getvalue()


def _at(place: float) -> int:
    return round((place + _MARGIN) * _SCALE)


@cache
def _font(is_bold: bool) -> ImageFont.FreeTypeFont:
    first, second = _FONTS[is_bold]
    try:
        return ImageFont.truetype(_path(*first), _TEXT * _SCALE)
    except OSError:
        return ImageFont.truetype(_path(*second), _TEXT * _SCALE)


def _path(package: str, name: str) -> Path:
    found = find_spec(package)
    assert found is not None, f"{package} is among the requirements."
    assert found.origin is not None, f"{package} is no directory of files."
    return Path(found.origin).parent / name
