"""Thin events: that something happened to an object, and where to fetch it; not the object."""

from __future__ import annotations

from typing import Any

from payments.simulator import deliveries, timestamps, v2_lists
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

KIND = "v2.core.event"
URL = "/v2/core/events"
# https://docs.stripe.com/api/v2/core/events/list
TYPES_MAX = 20
# Fetched with the event, and never delivered: https://docs.stripe.com/event-destinations
FETCHED_ONLY = frozenset({"changes", "data"})


def emit(
    world: World,
    type: str,
    about_id: str,
    about_type: str,
    about_url: str,
    *,
    data: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    snapshot_event: str | None = None,
) -> Resource:
    """Record that something happened, and have it delivered, in the change that made it happen.

    `about_id` is "acct_…", `about_type` "v2.core.account", `about_url` the path that fetches it.
    An event about no object takes three empty strings. `snapshot_event` is the id of the event of
    API version 1 that tells the same.
    """
    event: Resource = {
        "id": new_id("evt"),
        "object": KIND,
        "changes": changes,
        # Ours: whose objects they are. Objects of connected accounts would name the account.
        "context": None,
        "created": timestamps.text(world.now()),
        "livemode": False,
        "reason": _reason(world),
        "snapshot_event": snapshot_event,
        "type": type,
    }
    if about_id:
        event["related_object"] = {"id": about_id, "type": about_type, "url": about_url}
    if data is not None:
        event["data"] = data
    world.add(event)
    deliveries.add(world, event)
    return event


def delivered(event: Resource) -> Resource:
    """What is sent of an event of either kind: of a thin one, all but what must be fetched."""
    if event["object"] != KIND:
        return event
    return {name: value for name, value in event.items() if name not in FETCHED_ONLY}


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["id"])


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    types = params.get("types")
    if types is not None and len(types) > TYPES_MAX:
        raise ApiError(f"Array types exceeded maximum {TYPES_MAX} allowed elements.", param="types")
    bounds = {
        name: timestamps.seconds(value, param=f"created[{name}]")
        for name, value in params.get("created", {}).items()
    }

    def is_wanted(event: Resource) -> bool:
        if types is not None and event["type"] not in types:
            return False
        if "object_id" in params and _about(event) != params["object_id"]:
            return False
        created = timestamps.seconds(event["created"], param="created")
        return bounds.get("gt", float("-inf")) < created < bounds.get(
            "lt", float("inf")
        ) and bounds.get("gte", created) <= created <= bounds.get("lte", created)

    return v2_lists.page(world, KIND, URL, params, is_wanted)


def _about(event: Resource) -> str | None:
    about = event.get("related_object")
    return None if about is None else str(about["id"])


def _reason(world: World) -> Resource | None:
    """The request that caused it; nothing where a person on a page, or time, did."""
    if world.cause.request is None:
        return None
    return {
        "request": {
            "id": world.cause.request,
            "idempotency_key": world.cause.idempotency_key or "",
        },
        "type": "request",
    }
