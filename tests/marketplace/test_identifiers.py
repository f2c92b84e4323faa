"""Identifiers of works: one spelling each, or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace import identifiers
from marketplace.identifiers import Scheme


@pytest.mark.parametrize(
    ("scheme", "text", "value"),
    [
        (Scheme.ISBN, "978-0-306-40615-7", "9780306406157"),
        (Scheme.ISBN, "ISBN 0-306-40615-2", "9780306406157"),
        (Scheme.ISBN, "0 8044 2957 x", "9780804429573"),
        (Scheme.ISRC, "us-s1z-99-00001", "USS1Z9900001"),
        (Scheme.ISRC, "ISRC USS1Z9900001", "USS1Z9900001"),
        (Scheme.ISCC, "iscc:kacypxw445ftynj3", "ISCC:KACYPXW445FTYNJ3"),
        (Scheme.TEXT_NFC_LF, "AB" * 32, "ab" * 32),
        (
            Scheme.URL,
            "HTTPS://Example.ORG:443/a b".replace(" ", "%20"),
            "https://example.org/a%20b",
        ),
        (Scheme.URL, "http://bücher.example/ä#top", "http://xn--bcher-kva.example/%C3%A4"),
        (Scheme.URL, "http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080/"),
    ],
)
def test_each_identifier_has_one_spelling(scheme: str, text: str, value: str) -> None:
    assert identifiers.normalized(scheme, f" {text} ") == value
    assert identifiers.normalized(scheme, value) == value


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (Scheme.ISBN, "978-0-306-40615-8"),
        (Scheme.ISBN, "0-306-40615-3"),
        (Scheme.ISBN, "12345"),
        (Scheme.ISRC, "US-S1Z-99-0001"),
        (Scheme.ISCC, "ISCC:01"),
        (Scheme.TEXT_NFC_LF, "ab"),
        (Scheme.URL, "ftp://example.org/"),
        (Scheme.URL, "https://user:secret@example.org/"),
        (Scheme.URL, "https:///nowhere"),
        (Scheme.URL, "https://example.org:port/"),
        (Scheme.URL, "https://example.org/a b"),
        (Scheme.URL, f"https://example.org/{'x' * 1000}"),
    ],
)
def test_what_is_no_identifier_of_its_scheme_is_refused(scheme: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        identifiers.normalized(scheme, text)


@given(st.sampled_from(Scheme.values), st.text(max_size=60))
def test_whatever_text_comes_it_is_refused_or_fits_its_table(scheme: str, text: str) -> None:
    try:
        value = identifiers.normalized(scheme, text)
    except ValueError:
        return
    assert identifiers.normalized(scheme, value) == value
    assert value.isascii()


@given(st.text(max_size=40))
def test_every_address_is_refused_or_normalized_once(rest: str) -> None:
    try:
        value = identifiers.normalized(Scheme.URL, f"https://example.org/{rest}")
    except ValueError:
        return
    assert value.startswith("https://example.org")
    assert all("!" <= character <= "~" for character in value)
    assert identifiers.normalized(Scheme.URL, value) == value
