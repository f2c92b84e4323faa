"""Form bodies with brackets in their names, `a[b][0]=c`, read as nested dictionaries."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from payments.simulator.errors import ApiError

FIELDS_MAX = 10_000
DEPTH_MAX = 12
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def parse(text: str) -> dict[str, Any]:
    """Read a body or a query string. `a[]=x` appends; lists stay dictionaries of their numbers."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ApiError("The request's body is no form in UTF-8.") from None
    values: dict[str, Any] = {}
    for name, value in pairs:
        _put(values, name, value)
    return values


def _put(values: dict[str, Any], name: str, value: str) -> None:
    match = _NAME.fullmatch(name)
    keys = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else []
    if not keys or len(keys) > DEPTH_MAX:
        raise ApiError(f"Invalid parameter name: {name[:100]}", param=name[:100])
    into = values
    for key in keys[:-1]:
        into = into.setdefault(key or str(len(into)), {})
        if not isinstance(into, dict):
            raise ApiError(f"Invalid object: {keys[0]}", param=keys[0])
    last = keys[-1] or str(len(into))
    if isinstance(into.get(last), dict):
        raise ApiError(f"Invalid object: {keys[0]}", param=keys[0])
    into[last] = value
