"""API keys by their secrets' digests: as the database had them, a second ago at most."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model
from django.db.models.base import ModelState
from django.utils import timezone

from marketplace.access import system
from marketplace.models import ApiKey, Organization

# Within it a revocation, or an earlier expiry, reaches every process. What a process does not find
# it asks for again at once: a new key works everywhere from the beginning.
KEPT_SECONDS = 1.0
# Of a process. Whoever has more keys at work in one second finds some of them anew.
KEPT_MAX = 10_000
# `last_used_at` is written at most this often for a key: it is for people, not for billing.
USE_NOTED_EVERY = timedelta(minutes=1)

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class _Known:
    """A key and its organization, and until when they may be believed."""

    key: ApiKey
    organization: Organization
    scopes: frozenset[str]
    until: float


class KnownKeys:
    """What one process remembers of keys."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def find(self, digest: bytes) -> tuple[ApiKey, Organization, frozenset[str]] | None:
        """The key with this digest that was not revoked and has not expired, or None."""
        known = self._known.get(digest)
        if known is None or known.until <= time.monotonic():
            # From before the question: its answer may be older than its arrival.
            until = time.monotonic() + KEPT_SECONDS
            found = _look_up(digest)
            if found is None:
                self._known.pop(digest, None)
                return None
            known = _Known(*found, frozenset(found[0].scopes), until)
            if len(self._known) >= KEPT_MAX:
                self._known.clear()
            self._known[digest] = known
        expires_at = known.key.expires_at
        if expires_at is not None and expires_at <= timezone.now():
            return None
        # Each request has rows of its own: what one of them loads beside a row, no other sees.
        organization, key = _own(known.organization), _own(known.key)
        key.organization = organization
        return key, organization, known.scopes

    def forget(self, digest: bytes | memoryview) -> None:
        """Ask for this key again: here it was changed."""
        self._known.pop(bytes(digest), None)


here = KnownKeys()


def _own(row: M) -> M:
    """The same row as an object of its own: a tenth of what making one from values takes."""
    made = type(row).__new__(type(row))
    made.__dict__.update(row.__dict__)
    made._state = state = ModelState()
    state.adding, state.db = False, row._state.db
    return made


def _columns(model: type[Model], alias: str) -> str:
    quote = connection.ops.quote_name
    return ", ".join(f"{alias}.{quote(str(field.column))}" for field in model._meta.concrete_fields)


def _row(model: type[M], values: tuple[Any, ...]) -> M:
    """A row from the values of its columns, in their order."""
    fields = model._meta.concrete_fields
    converted = [
        value if read is None else read(value, None, connection)
        for value, read in zip(
            values, (getattr(field, "from_db_value", None) for field in fields), strict=True
        )
    ]
    return model.from_db("default", [field.attname for field in fields], converted)


def _look_up(digest: bytes) -> tuple[ApiKey, Organization] | None:
    with system("authenticate an API key"), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_columns(ApiKey, 'k')}, {_columns(Organization, 'o')}"
            " FROM marketplace_apikey k JOIN marketplace_organization o ON o.id = k.organization_id"
            " WHERE k.digest = %s AND k.revoked_at IS NULL",
            [digest],
        )
        values = cursor.fetchone()
        if values is None:
            return None
        length = len(ApiKey._meta.concrete_fields)
        key, organization = _row(ApiKey, values[:length]), _row(Organization, values[length:])
        now = timezone.now()
        if key.last_used_at is None or key.last_used_at < now - USE_NOTED_EVERY:
            # Said again, for whichever process looks it up at the same time.
            cursor.execute(
                "UPDATE marketplace_apikey SET last_used_at = %s"
                " WHERE id = %s AND (last_used_at IS NULL OR last_used_at < %s)",
                [now, key.pk, now - USE_NOTED_EVERY],
            )
    return key, organization
