"""The text of a PDF that reportlab wrote, read from its content streams: enough for tests."""

from __future__ import annotations

import base64
import re
import zlib

_OBJECT = re.compile(rb"\n(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
_FONTS = re.compile(rb"/(F\d+(?:\+\d+)?) (\d+) 0 R")
_MAPPED = re.compile(rb"<([0-9A-Fa-f]{2,4})> <([0-9A-Fa-f]+)>")
_SHOWN = re.compile(rb"/(F\d+(?:\+\d+)?) [\d.]+ Tf|\(((?:\\.|[^\\()])*)\) Tj", re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


class Pdf:
    """What a reader would find: pages, their text, and who signs for it."""

    def __init__(self, data: bytes) -> None:
        assert data.startswith(b"%PDF-")
        self.objects = {int(number): body for number, body in _OBJECT.findall(data)}
        self.data = data

    @property
    def pages(self) -> list[str]:
        pages = [each for each in self.objects.values() if re.search(rb"/Type /Page\b", each)]
        fonts = self._fonts()
        found = []
        for page in pages:
            content = re.search(rb"/Contents (\d+) 0 R", page)
            assert content is not None
            found.append(self._text(self._stream(int(content[1])), fonts))
        return found

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pages).split())

    def fonts_shown(self) -> set[str]:
        """The names of the fonts that some text is in."""
        names = {}
        for body in self.objects.values():
            for name, number in _FONTS.findall(body):
                base = re.search(rb"/BaseFont /([^\s/]+)", self.objects[int(number)])
                assert base is not None
                names[name] = base[1].decode()
        shown = set()
        for number, body in self.objects.items():
            if b"stream" in body and b"/FontFile" not in body and b"/Length1" not in body:
                stream = self._stream(number)
                for font, part in re.findall(
                    rb"/(F\d+(?:\+\d+)?) [\d.]+ Tf[^/]*?\(((?:\\.|[^\\()])+)\) Tj", stream
                ):
                    if part.strip():
                        shown.add(names[font])
        return shown

    def _stream(self, number: int) -> bytes:
        found = _STREAM.search(self.objects[number])
        assert found is not None
        data = found[1]
        if b"ASCII85Decode" in self.objects[number]:
            data = base64.a85decode(data.strip().removesuffix(b"~>"))
        return zlib.decompress(data) if b"FlateDecode" in self.objects[number] else data

    def _fonts(self) -> dict[bytes, dict[int, str]]:
        """By the name of a font: which character each byte is."""
        fonts = {}
        for body in self.objects.values():
            for name, number in _FONTS.findall(body):
                mapped = re.search(rb"/ToUnicode (\d+) 0 R", self.objects[int(number)])
                pairs = [] if mapped is None else _MAPPED.findall(self._stream(int(mapped[1])))
                fonts[name] = {
                    int(code, 16): bytes.fromhex(to.decode()).decode("utf-16-be")
                    for code, to in pairs
                    if len(to) % 4 == 0
                }
        return fonts

    @staticmethod
    def _text(stream: bytes, fonts: dict[bytes, dict[int, str]]) -> str:
        said, font = [], {}
        for name, shown in _SHOWN.findall(stream):
            if name:
                font = fonts[name]
                continue
            raw = _ESCAPED.sub(
                lambda found: (
                    bytes([int(found[1], 8)])
                    if len(found[1]) == 3
                    else {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}.get(
                        found[1], found[1]
                    )
                ),
                shown,
            )
            said.append("".join(font.get(code, chr(code)) for code in raw))
        return "".join(said)
