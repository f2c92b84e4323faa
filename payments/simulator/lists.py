"""Lists: pages of objects, newest first, with a cursor on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

LIMIT, LIMIT_MAX = 10, 100


def page(
    world: World,
    kind: str,
    url: str,
    params: dict[str, Any],
    is_wanted: Callable[[Resource], bool],
    *,
    by: Iterable[str] = (),
    match: Mapping[str, Any] | None = None,
) -> Resource:
    """One page of what is wanted: `limit`, `starting_after`, `ending_before`, `created`.

    `by` names parameters that are fields, too, and found by an index; `match` is as for `newest`.
    """
    limit = params.get("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise ApiError(
            f"This value must be between 1 and {LIMIT_MAX}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    older_than, newer_than = params.get("starting_after"), params.get("ending_before")
    if older_than is not None and newer_than is not None:
        raise ApiError(
            "You may only specify one of these parameters: starting_after, ending_before.",
            code="parameters_exclusive",
            param="starting_after",
        )
    for param in ("starting_after", "ending_before"):
        if param in params:
            world.get(kind, params[param], param=param, status=400)
    fields = {name: params[name] for name in by if name in params} | dict(match or {})
    wanted = (
        each
        for each in world.newest(kind, before=older_than, after=newer_than, match=fields)
        if was_at(each["created"], params.get("created")) and is_wanted(each)
    )
    found = list(islice(wanted, limit + 1))
    has_more = len(found) > limit
    found = found[:limit]
    if newer_than is not None:
        found.reverse()
    return as_list(found, url, has_more=has_more)


def as_list(found: Iterable[Resource], url: str, *, has_more: bool = False) -> Resource:
    return {"object": "list", "data": list(found), "has_more": has_more, "url": url}


def was_at(time: int, when: Any) -> bool:
    """Whether it was at a time, or within a range of times."""
    if when is None:
        return True
    if isinstance(when, int):
        return time == when
    return bool(
        time > when.get("gt", -1)
        and time >= when.get("gte", 0)
        and time < when.get("lt", 1 << 62)
        and time <= when.get("lte", 1 << 62)
    )
