"""Metadata: a few short notes that a caller keeps on an object."""

from __future__ import annotations

from typing import Any

from payments.simulator.errors import ApiError

# https://docs.stripe.com/metadata
KEYS_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX = 50, 40, 500


def merged(old: dict[str, str], new: Any, *, param: str = "metadata") -> dict[str, str]:
    """Metadata after an update: empty text unsets one key, or all. Raises where it is too much."""
    if new is None:
        return old
    if new == "":
        return {}
    result = dict(old)
    for key, value in new.items():
        where = f"{param}[{key}]"
        if len(key) > KEY_LENGTH_MAX:
            raise ApiError(
                f"Metadata keys must be under {KEY_LENGTH_MAX + 1} characters long.", param=where
            )
        if len(value) > VALUE_LENGTH_MAX:
            raise ApiError(
                f"Metadata values must be under {VALUE_LENGTH_MAX + 1} characters long.",
                param=where,
            )
        if value:
            result[key] = value
        else:
            result.pop(key, None)
    if len(result) > KEYS_MAX:
        raise ApiError(f"You may only specify up to {KEYS_MAX} metadata keys.", param=param)
    return result
