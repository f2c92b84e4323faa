"""Forms that somebody may send twice: the second finds what the first made, and makes nothing."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.db import models
from django.http import HttpRequest

from marketplace import idempotency
from marketplace.access import Caller

# The hidden field that tells one showing of a form from another.
TOKEN = "form_token"
# Differs each time that Django makes the page, and says nothing of what was meant.
_CSRF = "csrfmiddlewaretoken"


@dataclass(frozen=True, slots=True)
class Sent:
    """Where what a form made is seen, and whether it was made before."""

    url: str
    is_repeat: bool


def token() -> str:
    """Of a form that is shown anew."""
    return str(uuid.uuid4())


def once(
    request: HttpRequest,
    caller: Caller,
    make: Callable[[Caller], models.Model],
    url: Callable[[str], str],
) -> Sent:
    """Have a form make its row, or find what this very form made before.

    `make` gets the caller to hand to a verb that names its effect (`idempotency.names`); `url`
    leads to a row by its id. The same showing of a form with other values is another form. Raises
    what the verb raises; IdempotencyInFlight while the first is under way.
    """
    said: list[Any] = [
        (name, values) for name, values in sorted(request.POST.lists()) if name != _CSRF
    ]
    return once_said(caller, said, request.path, make, url)


def once_said(
    caller: Caller,
    said: Any,
    place: str,
    make: Callable[[Caller], models.Model],
    url: Callable[[str], str],
) -> Sent:
    """The same, of all that a form said (its token with it) and the page that it stood on."""
    key = f"form {hashlib.sha256(repr(said).encode()).hexdigest()}"
    fingerprint = hashlib.sha256(place.encode()).digest()
    keyed = replace(caller, request_key=key, first_writes=[])
    before = idempotency.begin(keyed, key, fingerprint)
    if before is not None and before.is_answered:
        return Sent(before.row.response_location, is_repeat=True)
    if before is not None and before.row.effect:
        # The first request died after it had made the row.
        return Sent(url(before.row.effect), is_repeat=True)
    where = url(str(make(keyed).pk))
    idempotency.store(keyed, key, fingerprint, 303, {}, where)
    return Sent(where, is_repeat=False)
