"""POSTs that a client may send again: the key row commits with the effect and names it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.functions import Cast, Lower
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.types.json import Jsonb

from marketplace import api_versions
from marketplace.access import Caller, acting, alone
from marketplace.errors import IdempotencyInFlight, IdempotencyKeyReused, InvalidInput
from marketplace.models import IdempotencyKey

KEY_LENGTH_MAX = 255
# How long a request may take before its retry concludes that it died.
LEASE = timedelta(seconds=30)
# What stands in a kept answer where a person stood.
ERASED = "[erased]"
_TITLES = frozenset({"title", "accepted_by_title", "person_title"})


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of an earlier request with this key."""

    row: IdempotencyKey

    @property
    def is_answered(self) -> bool:
        return self.row.response_status is not None

    @property
    def version(self) -> str:
        """Of the API, in which the answer is written."""
        return self.row.response_version or api_versions.FIRST


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """SHA-256 over everything that makes two requests the same."""
    parts = (method.encode(), path.encode(), body)
    return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).digest()


def begin(caller: Caller, key: str, print_: bytes) -> Replay | None:
    """Find what an earlier request with `key` did; None where this is the first.

    For a first request, the caller's first write will also insert the key's row. Raises
    IdempotencyKeyReused for another request under the same key, IdempotencyInFlight while the
    first one may still be alive.
    """
    is_printable = key.isascii() and key.isprintable()
    if not 0 < len(key) <= KEY_LENGTH_MAX or not is_printable:
        raise InvalidInput(
            _("Use 1 to %(max)s printable characters of ASCII.") % {"max": KEY_LENGTH_MAX},
            param="Idempotency-Key",
        )
    mine = _mine(caller, key)
    # Most keys are new: whether there is a row costs a tenth of what reading one does.
    if alone(caller, _IS_KNOWN, mine)[1]:
        with acting(caller, writing=False):
            if (row := _find(caller, key)) is not None:
                return _judge(row, print_)

    def insert() -> None:
        # An uncommitted row of the same key makes this wait for that transaction's end.
        now = timezone.now()
        if not _run(_INSERT, {**mine, "print": print_, "now": now, "until": now + LEASE}):
            raise IdempotencyInFlight(
                _("Another request with this key came first. Send it again for its answer.")
            )

    caller.first_writes.append(insert)
    return None


# Each POST with a key runs these: bare, they cost a fifth of what query sets of them do.
_MINE = "organization_id = %(tenant)s::uuid AND livemode = %(livemode)s AND key = %(key)s"
_IS_KNOWN = f"SELECT FROM marketplace_idempotencykey WHERE {_MINE}"
_INSERT = """
INSERT INTO marketplace_idempotencykey
    (organization_id, livemode, key, fingerprint, response_location, locked_until, created_at)
VALUES (%(tenant)s::uuid, %(livemode)s, %(key)s, %(print)s, '', %(until)s, %(now)s)
ON CONFLICT (organization_id, livemode, key) DO NOTHING
"""
_NAME = f"UPDATE marketplace_idempotencykey SET effect = %(effect)s WHERE {_MINE}"
_ANSWER = f"""
UPDATE marketplace_idempotencykey SET response_status = %(status)s,
    response_body = %(body)s, response_location = %(location)s, response_version = %(version)s
WHERE {_MINE} AND fingerprint = %(print)s AND response_status IS NULL
"""


def _mine(caller: Caller, key: str) -> dict[str, Any]:
    return {"tenant": caller.organization.pk.hex, "livemode": caller.livemode, "key": key}


def _run(statement: str, values: dict[str, Any]) -> int:
    """How many rows it found or changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def names(caller: Caller, effect: models.Model) -> None:
    """Record, in the effect's own transaction, what the request made."""
    key = caller.request_key
    if key:
        _run(_NAME, {**_mine(caller, key), "effect": str(effect.pk)})


def store(
    caller: Caller,
    key: str,
    print_: bytes,
    status: int,
    body: Any,
    location: str,
    *,
    version: str | None = None,
) -> None:
    """Keep the answer: successes, and refusals that a verb decided. A page's has no version."""
    answer = {"status": status, "body": Jsonb(body), "location": location, "version": version}
    if not alone(caller, _ANSWER, {**_mine(caller, key), "print": print_, **answer})[1]:
        with acting(caller, writing=False):
            # A refusal left no row, or another request came first: its answer stands.
            IdempotencyKey.objects.bulk_create(
                [
                    IdempotencyKey(
                        organization=caller.organization,
                        livemode=caller.livemode,
                        key=key,
                        fingerprint=print_,
                        locked_until=timezone.now(),
                        response_status=status,
                        response_body=body,
                        response_location=location,
                        response_version=version,
                    )
                ],
                ignore_conflicts=True,
            )


def in_kept_order(value: Any) -> Any:
    """JSON with its members in the order in which PostgreSQL's jsonb keeps them: short ones first.

    An answer goes out so the first time, too: that a replay is the same is seen in its bytes.
    """
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return {name: in_kept_order(value[name]) for name in names}
    if isinstance(value, list):
        return [in_kept_order(each) for each in value]
    return value


def let_go(caller: Caller, key: str, print_: bytes) -> None:
    """End the lease of a request that failed, so that its retry need not wait for it."""
    with acting(caller, writing=False):
        IdempotencyKey.objects.visible_to(caller).filter(
            key=key, fingerprint=print_, response_status__isnull=True
        ).update(locked_until=timezone.now())


def blank(told: Sequence[str], organization: UUID | None = None) -> list[str]:
    """Take what is said of a person out of kept answers; name the answers that said it.

    Their requests are not done anew: a retry gets the answer, without the person. Of one
    organization, or (under `access.system`) of all.
    """
    told = [text for text in told if text]
    rows = IdempotencyKey.objects.filter(response_body__isnull=False)
    if organization is not None:
        rows = rows.filter(organization=organization)
    if not told:
        return []
    # As jsonb writes a text; the exact look is in Python.
    written = [json.dumps(text, ensure_ascii=False)[1:-1].lower() for text in told]
    holds = models.Q()
    for text in written:
        holds |= models.Q(shown__contains=text)
    rows = rows.annotate(shown=Lower(Cast("response_body", models.TextField()))).filter(holds)
    blanked = []
    for row in rows.select_for_update(of=("self",)):
        body = _blanked(row.response_body, {text.lower() for text in told})
        if body != row.response_body:
            row.response_body = body
            row.save(update_fields=["response_body"])
            blanked.append(f"{row.pk}@{row.created_at.isoformat()}")
    return blanked


def blank_again(refs: Sequence[str]) -> int:
    """Blank the answers that `blank` named, whole: nobody knows any more what they said of whom.

    How many there were. The key and the time find them in any copy of the database. Under
    `access.system`. Raises ValueError.
    """
    blanked = 0
    for pk, _at, created_at in (ref.partition("@") for ref in refs):
        row = IdempotencyKey.objects.filter(pk=int(pk), response_body__isnull=False).first()
        if row is None or row.created_at.isoformat() != created_at:
            continue
        if ERASED not in json.dumps(row.response_body):
            row.response_body = {"detail": ERASED}
            row.save(update_fields=["response_body"])
            blanked += 1
    return blanked


def _blanked(value: Any, told: set[str]) -> Any:
    if isinstance(value, dict):
        # Their title goes with their name.
        theirs = any(isinstance(each, str) and each.lower() in told for each in value.values())
        return {
            # A name, too, where clients choose it: metadata.
            _blanked(key, told): ERASED if theirs and key in _TITLES else _blanked(each, told)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_blanked(each, told) for each in value]
    if isinstance(value, str):
        # Whole words: “Ann” is nobody in “annual”.
        for text in told:
            value = re.sub(rf"(?i)(?<!\w){re.escape(text)}(?!\w)", ERASED, value)
    return value


def _find(caller: Caller, key: str) -> IdempotencyKey | None:
    return IdempotencyKey.objects.visible_to(caller).filter(key=key).first()


def _judge(row: IdempotencyKey, print_: bytes) -> Replay:
    if bytes(row.fingerprint) != print_:
        raise IdempotencyKeyReused(
            _("This key was used for another request. Use a new key for a new request.")
        )
    if row.response_status is None:
        now = timezone.now()
        # Take over a dead request's lease; a second taker finds it renewed.
        taken = IdempotencyKey.objects.filter(pk=row.pk, locked_until__lte=now).update(
            locked_until=now + LEASE
        )
        if not taken:
            raise IdempotencyInFlight(_("The first request with this key is still under way."))
    return Replay(row)
