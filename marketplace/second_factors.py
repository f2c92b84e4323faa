"""Second factors: who needs one, who has one, which session was opened with it, and their seal."""

from __future__ import annotations

from enum import Enum
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from marketplace import seals
from marketplace.models import User

# Recovery codes stand for a factor that was lost; alone they are none.
KINDS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
# What of a factor's data is secret: a TOTP's key, and what recovery codes are made of.
_SEALED = ("secret", "seed")
_PURPOSE = "licet second factors"


class Standing(Enum):
    """What a signed-in person's session may do."""

    OPEN = "open"
    # They have no factor and need one.
    MISSING = "missing"
    # They have one, and this session was opened without it.
    NOT_PASSED = "not_passed"


def is_needed(user: User) -> bool:
    """Whether this market asks this person for a second factor; of its operators, always."""
    if settings.SECOND_FACTOR == "required":
        return True
    return user.is_operator and not settings.DEVELOPMENT


def has(user: User) -> bool:
    """Whether a person has set up a second factor."""
    return bool(of(user).exists())


def of(user: User) -> Any:
    """The second factors of a person, as rows."""
    return Authenticator.objects.filter(user=user, type__in=KINDS)


def standing(request: HttpRequest, user: User) -> Standing:
    """Say what the session of a request may do. Whoever has a factor uses it, needed or not."""
    if has(user):
        return Standing.OPEN if _passed(request, user) else Standing.NOT_PASSED
    return Standing.MISSING if is_needed(user) else Standing.OPEN


def note_passed(request: HttpRequest, user: User, kind: str) -> None:
    """Note that this session just proved a factor: by setting it up."""
    record_authentication(request, user, "mfa", type=kind)


def _passed(request: HttpRequest, user: User) -> bool:
    records = get_authentication_records(request, user)
    return any(record.get("method") == "mfa" for record in records)


# --- the seal ---------------------------------------------------------------------------------


class SealBroken(Exception):
    """A factor was sealed with a key that is in neither of the settings for keys."""


def seal(text: str) -> str:
    """Encrypt a secret of a factor for the database."""
    return seals.seal(_PURPOSE, text.encode()).decode()


def unseal(sealed: str) -> str:
    """Decrypt what `seal` made, with today's key or one from before. Raises SealBroken."""
    try:
        return seals.unseal(_PURPOSE, sealed.encode()).decode()
    except seals.SealBroken:
        raise SealBroken(
            "A second factor was sealed with another LICET_SECRET_KEY: name the one from before"
            " in LICET_SECRET_KEY_FALLBACKS."
        ) from None


def reseal(factor: Any) -> bool:
    """Seal a factor with today's key, where it is not. Raises SealBroken."""
    changed = False
    for name in _SEALED:
        sealed = factor.data.get(name)
        if sealed is not None and not seals.is_todays(_PURPOSE, sealed.encode()):
            factor.data[name] = seal(unseal(sealed))
            changed = True
    if changed:
        factor.save(update_fields=["data"])
    return changed


def reseal_all() -> int:
    """Seal every factor with today's key: afterwards no key from before is needed. How many."""
    count = 0
    for id in Authenticator.objects.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            factor = Authenticator.objects.select_for_update().filter(pk=id).first()
            count += factor is not None and reseal(factor)
    return count
