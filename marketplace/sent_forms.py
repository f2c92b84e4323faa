"""Forms that somebody may send twice: the second finds what the first made, and makes nothing."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext as _

from marketplace import idempotency
from marketplace.access import Caller
from marketplace.errors import IdempotencyInFlight

# The hidden field that tells one showing of a form from another.
TOKEN = "form_token"
# Differs each time that Django makes the page, and says nothing of what was meant.
_CSRF = "csrfmiddlewaretoken"
# What a kept answer's address has room for.
_URL_MAX = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """Where what a form made is seen, and whether it was made before."""

    url: str
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class Sending:
    """One sending of a form. `caller` is whom to hand to the verb: its first write notes the form.

    `repeats` is the request that sent this very form before; None where this is the first.
    """

    caller: Caller
    key: str
    fingerprint: bytes
    repeats: idempotency.Replay | None

    def where(self, otherwise: str) -> str:
        """Where what was done before is seen; `otherwise` where its answer was lost."""
        assert self.repeats is not None
        return self.repeats.row.response_location or otherwise

    def done(self, url: str) -> None:
        """Keep where to lead whoever sends this form again: only to pages of our own."""
        where = url if len(url) <= _URL_MAX and url.startswith("/") else ""
        idempotency.store(self.caller, self.key, self.fingerprint, 303, {}, where)

    def refused(self) -> None:
        """Have the same form tried again at once."""
        idempotency.let_go(self.caller, self.key, self.fingerprint)


def token() -> str:
    """Of a form that is shown anew."""
    return str(uuid.uuid4())


def has_token(request: HttpRequest) -> bool:
    """Whether a form says which showing of it was sent. One that does not may be sent at will."""
    return bool(request.POST.get(TOKEN))


def sending(request: HttpRequest, caller: Caller) -> Sending:
    """Find whether this very form was sent before. The same showing with other values was not.

    Raises IdempotencyInFlight while the first is under way.
    """
    key, fingerprint = _key(request), hashlib.sha256(request.path.encode()).digest()
    keyed = replace(caller, request_key=key, first_writes=[])
    try:
        before = idempotency.begin(keyed, key, fingerprint)
    except IdempotencyInFlight:
        raise IdempotencyInFlight(
            _("This form is being worked on. Look again in a moment.")
        ) from None
    return Sending(keyed, key, fingerprint, before)


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
    sent = sending(request, caller)
    before = sent.repeats
    if before is not None and before.is_answered:
        return Sent(before.row.response_location, is_repeat=True)
    if before is not None and before.row.effect:
        # The first request died after it had made the row.
        return Sent(url(before.row.effect), is_repeat=True)
    where = url(str(make(sent.caller).pk))
    sent.done(where)
    return Sent(where, is_repeat=False)


def _key(request: HttpRequest) -> str:
    said: list[Any] = [
        (name, values) for name, values in sorted(request.POST.lists()) if name != _CSRF
    ]
    return f"form {hashlib.sha256(repr(said).encode()).hexdigest()}"
