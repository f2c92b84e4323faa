"""Account links: an address, good once and for minutes, where a seller tells Stripe who it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from payments.simulator import accounts, thin_events, timestamps
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

KIND = "v2.core.account_link"
PREFIX = "/onboard/"
# As long as in the example at https://docs.stripe.com/api/v2/core/account-links/create
LIFETIME_SECONDS = 10 * 60
# How long somebody who opened it in time has for the page.
VISIT_SECONDS = 3600
URL_LENGTH_MAX = 5000


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Make a link. Raises for an account that is closed, or not configured for anything."""
    use_case = params["use_case"]
    type = use_case["type"]
    given = use_case.get(type)
    if given is None:
        raise ApiError(
            f"Missing required param: use_case.{type}.",
            code="parameter_missing",
            param=f"use_case.{type}",
        )
    for name in use_case:
        if name not in {"type", type}:
            raise ApiError(f"use_case.{name} is for another type.", param=f"use_case.{name}")
    for name in ("refresh_url", "return_url"):
        if name in given:
            _check_url(given[name], param=f"use_case.{type}.{name}")
    account = accounts.open_account(world, params["account"], param="account")
    if not account["applied_configurations"]:
        raise ApiError(
            "The account has no configuration that information could be collected for.",
            param="account",
        )
    id = new_id("alu")
    link: Resource = {
        "object": KIND,
        "account": account["id"],
        "created": timestamps.text(world.now()),
        "expires_at": timestamps.text(world.now() + LIFETIME_SECONDS),
        "livemode": False,
        "url": f"{world.base_url}{PREFIX}{id}",
        "use_case": {
            "type": type,
            type: {"collection_options": None, "return_url": None} | _shown(given),
        },
    }
    record: Resource = {
        "id": id,
        "object": KIND,
        "expires_at": world.now() + LIFETIME_SECONDS,
        # new, open (somebody sees the page), or used.
        "state": "new",
        "link": link,
    }
    world.add(record)
    return link


def urls(record: Resource) -> tuple[str, str | None]:
    """Where a link leads that is good no more, and where one that was followed to its end."""
    use_case = record["link"]["use_case"]
    given = use_case[use_case["type"]]
    return given["refresh_url"], given["return_url"]


def visit(world: World, record: Resource) -> bool:
    """Open a link's page. Says whether that was the first time, and in time."""
    if record["state"] != "new" or record["expires_at"] <= world.now():
        return False
    record |= {"state": "open", "expires_at": world.now() + VISIT_SECONDS}
    world.put(record)
    return True


def use(world: World, record: Resource) -> bool:
    """Come to the end of a link's page. Says whether it was still good."""
    if record["state"] == "used" or record["expires_at"] <= world.now():
        return False
    record["state"] = "used"
    world.put(record)
    return True


def returned(world: World, record: Resource) -> None:
    """Tell that somebody is on the way back from the page."""
    link = record["link"]
    account = world.get(accounts.KIND, link["account"])
    thin_events.emit(
        world,
        f"{KIND}.returned",
        "",
        "",
        "",
        data={
            "account_id": account["id"],
            "configurations": account["applied_configurations"],
            "use_case": link["use_case"]["type"],
        },
    )


def _shown(given: dict[str, Any]) -> dict[str, Any]:
    options = given.get("collection_options")
    if options is None:
        return given
    return given | {"collection_options": {"fields": None, "future_requirements": None} | options}


def _check_url(address: str, *, param: str) -> None:
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_whole = False
    if not is_whole or len(address) > URL_LENGTH_MAX or any(ord(c) <= 32 for c in address):
        raise ApiError("Not a valid URL", code="url_invalid", param=param)
