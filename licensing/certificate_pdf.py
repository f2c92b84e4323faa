"""A certificate as a PDF: the words of its page, a QR code, and fonts that say every name.

The same facts in the same language give the same bytes. Latin, Greek, Cyrillic, Armenian, Georgian
and Hebrew are of a font that is embedded; Chinese, Japanese and Korean of the reader's own. What no
font has is shown by its number, and never left out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import bidirectional
from xml.sax.saxutils import escape

from django.conf import settings
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from licensing import certificate_qr, certificate_words
from licensing.certificate_words import Section
from licensing.certificates import Certificate, Clause

MEDIA_TYPE = "application/pdf"
_FONTS = Path(__file__).parent / "fonts"
_PLAIN, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
# Of the reader's own: a PDF reader brings them, or its language pack does.
_JAPANESE, _KOREAN, _CHINESE = "HeiseiKakuGo-W5", "HYSMyeongJo-Medium", "STSong-Light"

_MARGIN = 18 * mm
_LABEL, _QR = 42 * mm, 36 * mm
# Frames keep 6 points free on each side.
_WIDTH = A4[0] - 2 * _MARGIN - 12
_INK, _SOFT, _LINE = HexColor("#1a1d21"), HexColor("#4a5260"), HexColor("#d7dbe0")
_WARN, _WARN_PAPER = HexColor("#7a1f00"), HexColor("#fff0e8")

_KANA = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_HAN = re.compile(
    r"[\u2e80-\u2fdf\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
)
# A run of Hebrew that stays on one line.
_UNBROKEN_MAX = 60
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def render(certificate: Certificate) -> bytes:
    """Write a certificate: a page or two, and the terms for as long as they are."""
    _register()
    written = io.BytesIO()
    title = _("License certificate %(id)s") % {"id": certificate.id}
    document = SimpleDocTemplate(
        written,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=title,
        author=f"Licet, {settings.BASE_URL}",
        subject=certificate.verify_url,
        creator="Licet",
        lang=get_language() or "en",
        displayDocTitle=True,
        initialFontName=_PLAIN,
        invariant=1,
    )
    foot = " · ".join(filter(None, [title, certificate_words.banner(certificate.livemode)]))

    def canvas(*args: Any, **kwargs: Any) -> _Numbered:
        return _Numbered(*args, foot=foot, **kwargs)

    document.build(
        list(_story(certificate)),
        onFirstPage=lambda canvas, _document: _draw_qr(canvas, certificate.verify_url),
        canvasmaker=canvas,
    )
    return written.getvalue()


class _Numbered(Canvas):  # type: ignore[misc]
    """Knows how many pages there are before it writes them: “Page 1 of 3” below each."""

    def __init__(self, *args: Any, foot: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._foot, self._kept = foot, []  # type: ignore[var-annotated]

    def showPage(self) -> None:
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        kept = self._kept
        for number, page in enumerate(kept, start=1):
            self.__dict__.update(page)
            self.setFont(_PLAIN, 7.5)
            self.setFillColor(_SOFT)
            self.drawString(_MARGIN, 10 * mm, self._foot)
            at = _("Page %(number)s of %(pages)s") % {"number": number, "pages": len(kept)}
            self.drawRightString(A4[0] - _MARGIN, 10 * mm, at)
            super().showPage()
        super().save()


# --- what stands where ------------------------------------------------------------------------


def _style(name: str, size: float, font: str = _PLAIN, **more: Any) -> Any:
    leading = more.pop("leading", size * 1.35)
    return ParagraphStyle(
        name, fontName=font, fontSize=size, leading=leading, textColor=_INK, **more
    )


_TITLE = _style("title", 18, _BOLD, spaceAfter=4)
_HEADING = _style("heading", 11, _BOLD, spaceBefore=9, spaceAfter=3, keepWithNext=True)
_CLAUSE_HEADING = _style("clause heading", 9.5, _BOLD, spaceBefore=6, keepWithNext=True)
_TEXT = _style("text", 9, spaceAfter=2)
_CELL, _CODE = _style("cell", 8.5), _style("code", 7.5)
_LABELS, _SMALL = _style("label", 8.5), _style("small", 7)
# Or a table names a font that is not embedded, though nothing is in it.
_FONT_OF_CELLS = ("FONTNAME", (0, 0), (-1, -1), _PLAIN)
_FORCE = _style("force", 11, _BOLD, spaceBefore=4, spaceAfter=4)


def _story(of: Certificate) -> Iterator[Any]:
    yield _head(of)
    for section in certificate_words.sections(of):
        yield _say(section.title, _HEADING, bold=True)
        yield _rows(section)
    yield _say(_("Terms, word by word"), _HEADING, bold=True)
    for clause in of.period.terms.clauses:
        yield _clause(clause)


def _head(of: Certificate) -> Any:
    """What it is and how it stands, beside the code that leads to its verification."""
    stand = certificate_words.stand(of.state)
    said = [_say(_("License certificate"), _TITLE, bold=True)]
    banner = certificate_words.banner(of.livemode)
    if banner:
        said.append(_boxed(banner))
    said.append(
        _say(stand.headline, _FORCE, bold=True) if stand.is_in_force else _boxed(stand.headline)
    )
    said += [_say(each, _TEXT) for each in stand.sentences]
    code = [
        # The code is drawn here, see `_draw_qr`.
        Spacer(1, _QR),
        Paragraph(f'<a href="{escape(of.verify_url)}">{_markup(of.verify_url)}</a>', _SMALL),
    ]
    table = Table([[said, code]], colWidths=[_WIDTH - _QR - 4 * mm, _QR + 4 * mm])
    table.setStyle(
        TableStyle(
            [
                _FONT_OF_CELLS,
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, 0), 0),
                ("RIGHTPADDING", (1, 0), (1, 0), 0),
            ]
        )
    )
    return table


def _boxed(text: str) -> Any:
    style = _style(
        "warning", 11, _BOLD, backColor=_WARN_PAPER, borderColor=_WARN, borderWidth=1,
        borderPadding=4, leftIndent=5, rightIndent=5, spaceBefore=6, spaceAfter=8,
    )  # fmt: skip
    style.textColor = _WARN
    return _say(text, style, bold=True)


def _rows(section: Section) -> Any:
    cells = [
        [
            _say(row.label, _LABELS),
            _say(row.text, _CODE if row.is_code else _CELL),
        ]
        for row in section.rows
    ]
    table = Table(cells, colWidths=[_LABEL, _WIDTH - _LABEL])
    table.setStyle(
        TableStyle(
            [
                _FONT_OF_CELLS,
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
            ]
        )
    )
    return table


def _clause(clause: Clause) -> Any:
    text = f"{clause.number} {clause.text}".strip()
    if clause.is_heading:
        return _say(text, _CLAUSE_HEADING, bold=True)
    return _say(text, _TEXT)


def _draw_qr(canvas: Any, text: str) -> None:
    """Draw the code in the upper right corner, where `_head` leaves room."""
    side = _QR / certificate_qr.width(text)
    left, top = A4[0] - _MARGIN - _QR, A4[1] - _MARGIN
    # One path: between many rectangles, readers show seams.
    path = canvas.beginPath()
    for column, row in certificate_qr.squares(text):
        path.rect(left + column * side, top - (row + 1) * side, side, side)
    canvas.saveState()
    canvas.setFillColor(HexColor("#000000"))
    canvas.drawPath(path, stroke=0, fill=1)
    canvas.restoreState()


# --- names in any script ----------------------------------------------------------------------


@cache
def _register() -> None:
    for name in (_PLAIN, _BOLD):
        pdfmetrics.registerFont(TTFont(name, str(_FONTS / f"{name}.ttf")))
    for name in (_JAPANESE, _KOREAN, _CHINESE):
        pdfmetrics.registerFont(UnicodeCIDFont(name))


def _say(text: str, style: Any, *, bold: bool = False) -> Any:
    return Paragraph(_markup(text, bold=bold), style)


def _markup(text: str, *, bold: bool = False) -> str:
    """Text of anybody's as markup of a paragraph: nothing in it is taken for markup."""
    font = _BOLD if bold else _PLAIN
    has = pdfmetrics.getFont(font).face.charToGlyph
    asian = _asian(text)
    runs: list[tuple[str, str]] = []
    for character in _visual(text):
        # Beyond U+FFFF the library does not say what a glyph means: nobody could copy or hear it.
        if ord(character) in has and ord(character) <= 0xFFFF:
            name, shown = font, character
        elif _HANGUL.match(character):
            name, shown = _KOREAN, character
        elif _KANA.match(character) or _HAN.match(character):
            name, shown = asian, character
        else:
            name, shown = font, f"[U+{ord(character):04X}]"
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + shown)
        else:
            runs.append((name, shown))
    return "".join(
        escape(said) if name == font else f'<font name="{name}">{escape(said)}</font>'
        for name, said in runs
    )


def _asian(text: str) -> str:
    """Whose characters those that several languages share are drawn as."""
    if _KANA.search(text):
        return _JAPANESE
    return _KOREAN if _HANGUL.search(text) else _CHINESE


def _visual(text: str) -> str:
    """Text in the order in which it is drawn, left to right: a run of Hebrew stands reversed.

    From its first letter to its last, with what stands between; numbers in it stay as they are.
    """
    kinds = [bidirectional(character) for character in text]
    if not _RIGHT_TO_LEFT.intersection(kinds):
        return text
    shown, place = "", 0
    while place < len(text):
        if kinds[place] not in _RIGHT_TO_LEFT:
            shown += text[place]
            place += 1
            continue
        end = last = place
        while end < len(text) and kinds[end] != "L":
            last = end if kinds[end] in _RIGHT_TO_LEFT else last
            end += 1
        last += _closing(text[place : last + 1], text[last + 1 :])
        shown += _reversed(text[place : last + 1])
        place = last + 1
    return shown


def _closing(run: str, after: str) -> int:
    """How many brackets follow a run that were opened within it."""
    count = 0
    for opened, closed in zip("([{", ")]}", strict=True):
        if after[count : count + 1] == closed and run.count(opened) > run.count(closed):
            count += 1
    return count


def _reversed(run: str) -> str:
    turned = run[::-1].translate(_MIRRORED)
    if len(turned) <= _UNBROKEN_MAX:
        # Broken at its end, which is drawn first, it would go on in the wrong order.
        turned = turned.replace(" ", "\u00a0")
    return re.sub(r"[0-9][0-9.,:/]*[0-9]", lambda found: found[0][::-1], turned)
