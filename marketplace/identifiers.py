"""Identifiers that others know works by: each scheme's form, checked and normalized."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlsplit, urlunsplit

from marketplace.models import WorkIdentifier

Scheme = WorkIdentifier.Scheme
VALUE_LENGTH_MAX = 1000

_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_ISCC = re.compile(r"ISCC:[A-Z2-7]{10,100}")
_HEX = re.compile(r"[0-9a-f]{64}")
_PORTS = {"http": 80, "https": 443}
# What a URL may hold as it is: the reserved characters, and "%" of what is encoded already.
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def normalized(scheme: str, text: str) -> str:
    """The one spelling of an identifier. Raises ValueError where it is none of its scheme."""
    value = _NORMALIZERS[scheme](text.strip())
    if len(value) > VALUE_LENGTH_MAX:
        raise ValueError(f"longer than {VALUE_LENGTH_MAX} characters")
    return value


def _isbn(text: str) -> str:
    """ISBN-13; an ISBN-10 becomes the ISBN-13 of the same book (ISO 2108)."""
    digits = re.sub(r"[\s-]", "", text).upper().removeprefix("ISBN").lstrip(":")
    if re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        weighed = sum(
            (10 - n) * (10 if digit == "X" else int(digit)) for n, digit in enumerate(digits)
        )
        if weighed % 11:
            raise ValueError("its check digit is wrong")
        body = "978" + digits[:9]
        return body + _check_digit(body)
    if not re.fullmatch(r"97[89][0-9]{10}", digits):
        raise ValueError("not 10 or 13 digits")
    if _check_digit(digits[:12]) != digits[12]:
        raise ValueError("its check digit is wrong")
    return digits


def _check_digit(body: str) -> str:
    weighed = sum(int(digit) * (3 if n % 2 else 1) for n, digit in enumerate(body))
    return str(-weighed % 10)


def _isrc(text: str) -> str:
    """Country, registrant, year and number (ISO 3901), without hyphens."""
    value = text.upper().removeprefix("ISRC").strip().replace("-", "")
    if not _ISRC.fullmatch(value):
        raise ValueError("not two letters, three letters or digits, and seven digits")
    return value


def _iscc(text: str) -> str:
    """An ISCC (ISO 24138) in its canonical form: upper case, behind "ISCC:"."""
    value = text.upper()
    value = value if value.startswith("ISCC:") else f"ISCC:{value}"
    if not _ISCC.fullmatch(value):
        raise ValueError("not “ISCC:” and base32")
    return value


def _url(text: str) -> str:
    """An http or https address: host in lower case and ASCII, no default port, no fragment."""
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("holds spaces or control characters")
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http or https address")
    try:
        host = parts.hostname.encode("idna").decode() if ":" not in parts.hostname else None
    except UnicodeError:
        raise ValueError("its host is no name") from None
    host = host or f"[{parts.hostname}]"
    port = parts.port  # raises ValueError where it is none
    place = host if port in {None, _PORTS[scheme]} else f"{host}:{port}"
    if parts.username or parts.password:
        raise ValueError("names a user or a password")
    return urlunsplit(
        (scheme, place, quote(parts.path, _SAFE) or "/", quote(parts.query, _SAFE), "")
    )


def _text_digest(text: str) -> str:
    value = text.lower()
    if not _HEX.fullmatch(value):
        raise ValueError("not 64 hexadecimal digits")
    return value


_NORMALIZERS: dict[str, Callable[[str], str]] = {
    Scheme.TEXT_NFC_LF: _text_digest,
    Scheme.ISCC: _iscc,
    Scheme.URL: _url,
    Scheme.ISBN: _isbn,
    Scheme.ISRC: _isrc,
}
