"""Lists of API version 2: pages of objects, newest first, each with the address of the next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

# Our reading: the reference names neither for every list.
LIMIT, LIMIT_MAX = 20, 100
# Stands in the address of the next page only: no operation has it as a parameter of its own.
CURSOR = "page"
_CURSOR_PREFIX = "page_dev_"


def page(
    world: World,
    kind: str,
    url: str,
    params: dict[str, Any],
    is_wanted: Callable[[Resource], bool],
) -> Resource:
    """One page of what is wanted: `limit`, and the cursor of a page before."""
    limit = params.get("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise ApiError(f"This value must be between 1 and {LIMIT_MAX}.", param="limit")
    before = None
    if CURSOR in params:
        before = str(params[CURSOR]).removeprefix(_CURSOR_PREFIX)
        if world.find(kind, before) is None:
            raise ApiError(f"Invalid page: {params[CURSOR]}", param=CURSOR)
    wanted = (each for each in world.newest(kind, before=before) if is_wanted(each))
    found = list(islice(wanted, limit + 1))
    following = None
    if len(found) > limit:
        found = found[:limit]
        following = f"{url}?{_query(params | {CURSOR: _CURSOR_PREFIX + found[-1]['id']})}"
    return {"data": found, "next_page_url": following}


def _query(params: dict[str, Any]) -> str:
    """Parameters as they stand in an address, lists as numbered entries."""
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if isinstance(value, dict):
            pairs += [(f"{name}[{key}]", _text(each)) for key, each in value.items()]
        elif isinstance(value, list):
            pairs += [(f"{name}[{number}]", _text(each)) for number, each in enumerate(value)]
        else:
            pairs.append((name, _text(value)))
    return urlencode(pairs)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
