"""Controls over webhooks: what is delivered, signed by which secrets, and what befalls it."""

from __future__ import annotations

from typing import Any

from payments.simulator.errors import ApiError
from payments.simulator.mishaps import ORDERS
from payments.simulator.state import Resource
from payments.simulator.webhooks import Postman

STYLES = ("snapshot", "thin", "both")
# At once, while one is rolled: https://docs.stripe.com/webhooks#roll-endpoint-secrets
SECRETS_MAX = 2
_NAMES = {"clear", "hold", "secrets", "style", "thin_secrets", *ORDERS}


def change(postman: Postman, wanted: dict[str, Any]) -> Resource:
    """Take an order such as {"style": "both", "secrets": ["whsec_new", "whsec_old"]}.

    Mishaps and "hold" are as at `mishaps`; "clear" ends them, before others begin.
    """
    unknown = set(wanted) - _NAMES
    if unknown:
        raise ApiError(f"Webhooks have no {', '.join(sorted(unknown))}.")
    style = wanted.get("style", "snapshot")
    if style not in STYLES:
        raise ApiError(f"style is one of {', '.join(STYLES)}.", param="style")
    for name in ("secrets", "thin_secrets"):
        _check_secrets(wanted.get(name, ["whsec"]), name)
    if wanted.get("clear"):
        postman.mishaps.clear()
        postman.is_held = False
    postman.mishaps.ask(wanted)
    world = postman.world
    with world.change():
        if "style" in wanted:
            world.set("event_style", style)
        if "secrets" in wanted:
            world.set("webhook_secrets", wanted["secrets"])
        if "thin_secrets" in wanted:
            world.set("thin_secrets", wanted["thin_secrets"])
    if "hold" in wanted:
        postman.is_held = bool(wanted["hold"])
    world.changed.set()
    with world.lock:
        return {"style": world.event_style, "is_held": postman.is_held}


def _check_secrets(secrets: Any, name: str) -> None:
    is_list = isinstance(secrets, list) and all(isinstance(each, str) for each in secrets)
    if not is_list or not 1 <= len(secrets) <= SECRETS_MAX:
        raise ApiError(f"{name} is a list of one or two texts.", param=name)
