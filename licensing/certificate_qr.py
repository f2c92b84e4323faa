"""The QR code that leads to a license's verification, as squares."""

from __future__ import annotations

from qrcode.constants import ERROR_CORRECT_M
from qrcode.main import QRCode

# Squares of white around it, as ISO/IEC 18004 wants them.
QUIET = 4


def squares(text: str) -> list[tuple[int, int]]:
    """The black squares as (column, row) from the upper left, with the quiet zone left free."""
    return [
        (column, row)
        for row, line in enumerate(_matrix(text))
        for column, is_black in enumerate(line)
        if is_black
    ]


def width(text: str) -> int:
    """How many squares wide and high it is, quiet zone and all."""
    return len(_matrix(text))


def svg_path(text: str) -> str:
    """The black squares as the `d` of one SVG path."""
    return "".join(f"M{column} {row}h1v1h-1z" for column, row in squares(text))


def _matrix(text: str) -> list[list[bool]]:
    code = QRCode(error_correction=ERROR_CORRECT_M, border=QUIET)
    code.add_data(text)
    code.make(fit=True)
    return [[bool(each) for each in line] for line in code.get_matrix()]
