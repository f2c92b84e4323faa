"""Restricted keys: secret keys that may do only what they were given permission for."""

from __future__ import annotations

import functools
import hashlib
import secrets
from typing import Any

from payments.simulator import contract
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

PREFIX = "rk_test_devstripe_"
# https://docs.stripe.com/keys/restricted-api-keys. Who may write may read, too.
LEVELS = ("none", "read", "write")
_SETTING = "restricted_keys"


def create(world: World, wanted: dict[str, Any]) -> Resource:
    """Make a key from {"permissions": {"dispute": "write"}}; a resource that is missing is none.

    A resource is called as in the errors of Stripe: `charge`, `checkout_session`, `refund`.
    """
    given = wanted.get("permissions")
    if not isinstance(given, dict):
        raise ApiError("permissions is an object.", param="permissions")
    for resource, level in given.items():
        if resource not in _resources():
            raise ApiError(f"There is no resource {resource}.", param=f"permissions[{resource}]")
        if level not in LEVELS:
            raise ApiError(
                f"A permission is one of {', '.join(LEVELS)}.", param=f"permissions[{resource}]"
            )
    key = PREFIX + secrets.token_hex(12)
    world.set(_SETTING, world.setting(_SETTING, {}) | {_hash(key): given})
    return {"key": key, "permissions": given}


def is_known(world: World, key: str) -> bool:
    with world.lock:
        return _hash(key) in world.setting(_SETTING, {})


def check(world: World, key: str, method: str, template: str) -> None:
    """Raise where a restricted key may not do this. Other keys may do everything."""
    if not key.startswith(PREFIX):
        return
    with world.lock:
        level = world.setting(_SETTING, {})[_hash(key)].get(resource_of(template), "none")
    needed = "read" if method == "GET" else "write"
    if LEVELS.index(level) < LEVELS.index(needed):
        raise ApiError(
            f"The provided key '{PREFIX}****' does not have the required permissions for this"
            f" endpoint on account 'acct_dev_platform'. Having the"
            f" 'rak_{resource_of(template)}_{needed}' permission would allow this request to"
            " continue.",
            status=403,
        )


def resource_of(template: str) -> str:
    """What an operation is about: "/v1/checkout/sessions/{session}/expire" → checkout_session."""
    parts = template.split("/")[2:]
    names = parts[: next((n for n, part in enumerate(parts) if "{" in part), len(parts))]
    # A verb behind the collection, such as /v1/charges/search, is no resource.
    if len(names) > 1 and names[-1] in {"search", "create_preview"}:
        names = names[:-1]
    last = names[-1].removesuffix("s") if not names[-1].endswith("ss") else names[-1]
    if last.endswith("ie"):
        last = last.removesuffix("ie") + "y"
    return "_".join([*names[:-1], last])


@functools.cache
def _resources() -> frozenset[str]:
    return frozenset(resource_of(template) for template in contract.templates())


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
