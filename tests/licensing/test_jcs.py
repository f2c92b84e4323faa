"""Canonical JSON has one spelling for each value, and reads no other."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licensing import jcs

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
LEAVES = st.none() | st.booleans() | st.integers(-jcs.INTEGER_MAX, jcs.INTEGER_MAX) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5)
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_the_bytes_are_those_of_an_independent_implementation(value: Any) -> None:
    assert jcs.dumps(value) == rfc8785.dumps(value)


@given(VALUES)
def test_a_value_is_read_back_from_its_bytes(value: Any) -> None:
    assert jcs.loads_strict(jcs.dumps(value)) == value


def test_keys_are_ordered_by_utf_16_units() -> None:
    # By code point U+FB33 comes before U+1F600, by UTF-16 unit after it (RFC 8785, 3.2.3).
    value = {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "1": 4, "\r": 5, "\xf6": 6, "\x80": 7}
    expected = '{"\\r":5,"1":4,"\x80":7,"\xf6":6,"\u20ac":3,"\U0001f600":2,"\ufb33":1}'
    assert jcs.dumps(value).decode() == expected
    assert jcs.dumps([{"a": value}]).decode() == f'[{{"a":{expected}}}]'


def test_control_characters_are_escaped_in_lower_case() -> None:
    assert jcs.dumps('\x00\x1f\b\t\n\f\r"\\/\x7f') == b'"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f"'


@pytest.mark.parametrize("value", [1.0, float("nan"), b"x", {1, 2}, object(), {1: "x"}, {None: 1}])
def test_a_value_without_canonical_form_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        jcs.dumps({"inside": [value]})


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\udfff": 1}])
def test_a_number_or_text_out_of_range_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one
        jcs.dumps([value])


def test_a_wrong_value_is_found_behind_keys_of_any_order() -> None:
    with pytest.raises(TypeError):
        jcs.dumps(["x", {"\U0001f600": 1, "\ue000": 2}, [1.5]])


def test_deep_nesting_is_refused_in_both_directions() -> None:
    value: Any = 1
    for _ in range(jcs.DEPTH_MAX):
        value = [value]
    assert jcs.loads_strict(jcs.dumps(value)) == value
    with pytest.raises(ValueError, match="nested too deeply"):
        jcs.dumps([value])
    with pytest.raises(ValueError, match="nested too deeply"):
        jcs.loads_strict(b"[" * 200_000 + b"]" * 200_000)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b"-Infinity",
        b"01",
        b"9007199254740992",
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b"1 ",
        b"\n1",
        b"",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b"[1,]",
    ],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ, the class is promised
        jcs.loads_strict(data)
