"""API keys: made, checked, rotated, revoked. The secret is shown once and never stored."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import api_versions, audit, idempotency, known_keys, organizations
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput, MalformedApiKey, Unauthenticated
from marketplace.models import ApiKey, Organization

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# 30 characters of base62 hold 178.6 random bits.
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
_SCOPES = frozenset(scope.value for scope in Scope)
PREFIXES = {True: "licet_live_", False: "licet_test_"}
# How long the old secret of a rotated key goes on working, unless told otherwise.
OVERLAP_SECONDS = 24 * 3600
OVERLAP_SECONDS_MAX = 7 * 24 * 3600


def create(
    caller: Caller,
    *,
    name: str,
    scopes: list[str],
    expires_at: datetime | None = None,
    version: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key of the caller's organization and mode. Returns it with its secret, once.

    A key can give no more than its maker has, and is pinned to a version of the API: the newest,
    unless told otherwise. Raises InvalidInput, and for live mode LegalIdentityIncomplete.
    """
    wanted = _scopes(caller, scopes)
    pinned = api_versions.newest() if version is None else api_versions.find(version)
    if pinned is None:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": api_versions.named()}, param="version"
        )
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput(_("Choose an instant that lies ahead."), param="expires_at")
    with acting(caller):
        key, secret = _make(
            caller, name=name, scopes=wanted, expires_at=expires_at, version=pinned.date
        )
        audit.record(caller, "api_key.created", subject=key, scopes=wanted)
        idempotency.names(caller, key)
    return key, secret


def rotate(
    caller: Caller, id: str, *, overlap_seconds: int = OVERLAP_SECONDS
) -> tuple[ApiKey, str]:
    """Make a successor with the same scopes and version; the old secret works for the overlap."""
    if not 0 <= overlap_seconds <= OVERLAP_SECONDS_MAX:
        raise InvalidInput(
            _("Use 0 to %(max)s seconds.") % {"max": OVERLAP_SECONDS_MAX}, param="overlap_seconds"
        )
    with acting(caller):
        old = ApiKey.objects.get_visible(caller, id, lock=True)
        if old.revoked_at is not None or ApiKey.objects.filter(rotated_from=old).exists():
            raise InvalidInput(
                _("This key was revoked or rotated before. Create a new one."), param="id"
            )
        # A rotation must not outlive or outgrow the key that it replaces.
        key, secret = _make(
            caller,
            name=old.name,
            scopes=_scopes(caller, old.scopes),
            expires_at=old.expires_at,
            version=old.version,
            rotated_from=old,
        )
        ends = timezone.now() + timedelta(seconds=overlap_seconds)
        old.expires_at = min(old.expires_at or ends, ends)
        if overlap_seconds == 0:
            old.revoked_at = timezone.now()
        old.save(update_fields=["expires_at", "revoked_at"])
        audit.record(caller, "api_key.rotated", subject=key, rotated_from=str(old.pk))
        idempotency.names(caller, key)
    known_keys.here.forget(old.digest)
    return key, secret


def revoke(caller: Caller, id: str) -> ApiKey:
    """End a key: here now, in other processes within a second. Repeating it changes nothing."""
    with acting(caller):
        key = ApiKey.objects.get_visible(caller, id, lock=True)
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            audit.record(caller, "api_key.revoked", subject=key)
        idempotency.names(caller, key)
    known_keys.here.forget(key.digest)
    return key


def authenticate(secret: str) -> Caller:
    """Turn a secret into a Caller, of what the process knew of the key a second ago at most.

    Raises MalformedApiKey when the checksum fails (no database is asked), Unauthenticated when
    the key is unknown, expired or revoked: the three look the same.
    """
    livemode = _mode(secret)
    found = known_keys.here.find(_digest(secret))
    if found is None or found[0].livemode != livemode:
        raise Unauthenticated(_("The API key is unknown, expired or revoked."))
    key, organization, scopes = found
    return Caller(organization=organization, livemode=livemode, scopes=scopes, api_key=key)


def _make(caller: Caller, *, name: str, scopes: list[str], **fields: object) -> tuple[ApiKey, str]:
    if caller.livemode:
        organizations.check_identity(
            Organization.objects.get_visible(caller, caller.organization.pk)
        )
    secret = _new_secret(caller.livemode)
    key = ApiKey(
        organization=caller.organization,
        livemode=caller.livemode,
        name=name,
        digest=_digest(secret),
        last_four=secret[-4:],
        scopes=scopes,
        created_by=caller.actor,
        **fields,
    )
    key.save(force_insert=True)
    return key, secret


def _new_secret(livemode: bool) -> str:
    body = PREFIXES[livemode] + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def _checksum(body: str) -> str:
    """CRC-32 of everything before it, in six base62 digits: a typo needs no look-up."""
    number, digits = zlib.crc32(body.encode()), ""
    for _position in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


def _mode(secret: str) -> bool:
    for livemode, prefix in PREFIXES.items():
        body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
        if (
            secret.startswith(prefix)
            and len(body) == len(prefix) + _RANDOM_LENGTH
            and secret.isascii()
            and secrets.compare_digest(checksum, _checksum(body))
        ):
            return livemode
    raise MalformedApiKey(
        _("The API key's checksum is wrong: it was cut or mistyped. Copy it again."),
        param="Authorization",
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _scopes(caller: Caller, scopes: list[str]) -> list[str]:
    for index, scope in enumerate(scopes):
        if scope not in _SCOPES:
            raise InvalidInput(
                _("“%(scope)s” is no scope. Use: %(known)s.")
                % {"scope": scope, "known": ", ".join(Scope)},
                param=f"scopes[{index}]",
            )
        if scope not in caller.scopes:
            raise InvalidInput(
                _("You do not hold “%(scope)s”, so you cannot give it.") % {"scope": scope},
                param=f"scopes[{index}]",
            )
    if not scopes:
        raise InvalidInput(_("A key without scopes could do nothing."), param="scopes")
    return sorted(set(scopes))
