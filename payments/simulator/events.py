"""Events: what happened in the account, with the object as it stood then."""

from __future__ import annotations

from typing import Any

from payments.simulator import contract, deliveries, lists, thin_v1
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

TYPES_MAX = 20


def emit(
    world: World, type: str, about: Resource, *, previous: dict[str, Any] | None = None
) -> Resource:
    """Record that something happened, and have it delivered, in the change that made it happen."""
    data: dict[str, Any] = {"object": about}
    if previous is not None:
        data["previous_attributes"] = previous
    event: Resource = {
        "id": new_id("evt"),
        "object": "event",
        "api_version": contract.api_version(),
        "created": world.now(),
        "data": data,
        "livemode": False,
        "pending_webhooks": 1 if world.webhook_url and world.event_style != "thin" else 0,
        "request": {
            "id": world.cause.request,
            "idempotency_key": world.cause.idempotency_key,
        },
        "type": type,
    }
    world.add(event)
    if world.event_style != "thin":
        deliveries.add(world, event)
    if world.event_style != "snapshot":
        thin_v1.emit(world, event)
    return event


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get("event", arguments["id"])


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    types = params.get("types")
    if types is not None and "type" in params:
        raise ApiError(
            "You may only specify one of these parameters: type, types.",
            code="parameters_exclusive",
            param="type",
        )
    if types is not None and len(types) > TYPES_MAX:
        raise ApiError(f"Array types exceeded maximum {TYPES_MAX} allowed elements.", param="types")

    def is_wanted(event: Resource) -> bool:
        if "type" in params and not _matches(event["type"], params["type"]):
            return False
        return types is None or event["type"] in types

    match = {}
    if "delivery_success" in params:
        match["pending_webhooks"] = 0 if params["delivery_success"] else 1
    return lists.page(world, "event", "/v1/events", params, is_wanted, match=match)


def _matches(type: str, wanted: str) -> bool:
    if wanted.endswith("*"):
        return type.startswith(wanted[:-1])
    return type == wanted
