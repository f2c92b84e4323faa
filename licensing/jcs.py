"""Canonical JSON: the bytes that are hashed (RFC 8785, without floats)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# I-JSON (RFC 7493): a larger integer does not survive a JavaScript reader.
INTEGER_MAX = 2**53 - 1

# Nothing of ours nests deeper; a bound keeps hostile input from exhausting the stack.
DEPTH_MAX = 64

# Python sorts keys by code point, RFC 8785 by UTF-16 unit. They differ only when a key holds a
# character from U+E000 on: a surrogate pair starts at 0xD800 and so comes before U+E000.
_SAME_ORDER_BELOW = "\ue000"

_encoder = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, check_circular=False
)
_unsorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def dumps(value: Any) -> bytes:
    """Write a value in its one canonical form.

    Takes str, int (below 2**53 in magnitude), bool, None, list, tuple, and dict with str keys.
    Raises TypeError for any other type, ValueError for a number, a text or a depth out of range.
    """
    if _check(value, DEPTH_MAX):
        return _encoder.encode(value).encode()
    return _unsorted.encode(_in_utf16_order(value)).encode()


def loads_strict(data: bytes) -> Any:
    """Read canonical JSON, and nothing else: the value must give back exactly these bytes.

    Raises ValueError for duplicate keys, floats, other spellings, or bytes after the end.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object_without_repeats,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        canonical = dumps(value)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if canonical != data:
        raise ValueError("JSON is not in its canonical form (RFC 8785)")
    return value


def _check(value: Any, depth: int) -> bool:
    """Refuse what has no canonical form. False when the keys need sorting by UTF-16 unit."""
    if value is None or isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise ValueError(f"integer out of range for canonical JSON: {value}")
        return True
    if depth == 0:
        raise ValueError("JSON is nested too deeply")
    plain = True
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON has text keys, not {type(key).__name__}")
            plain &= not key or max(key) < _SAME_ORDER_BELOW
            plain &= _check(item, depth - 1)
        return plain
    if isinstance(value, list | tuple):
        for item in value:
            plain &= _check(item, depth - 1)
        return plain
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def _in_utf16_order(value: Any) -> Any:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _in_utf16_order(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_in_utf16_order(item) for item in value]
    return value


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("JSON object repeats a key")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"canonical JSON of this project has no such number: {text}")
