"""Signed cursors: where a page of a list ended, for the client to hand back as it was.

The feed of events has cursors of its own: clients keep them for years, and a signature would end
with the key that made it.
"""

from __future__ import annotations

import base64
import binascii
import hmac

from django.conf import settings
from django.http import QueryDict
from django.utils.translation import gettext as _

from marketplace.access import Caller
from marketplace.errors import InvalidCursor

# Bytes of HMAC-SHA256 behind the place: to guess them takes 2**63 requests.
_TAG_LENGTH = 8
# What a cursor does not hold on to: a page may be longer than the one before.
_FREE = ("cursor", "limit")


def write(place: bytes, *, of: str) -> str:
    """The cursor of a place in a list: base64url, without padding."""
    return _text(place + _tag(settings.SECRET_KEY, of, place))


def read(text: str, *, of: str) -> bytes:
    """The place that a cursor names. Raises InvalidCursor: forged, or of another list."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    place, tag = raw[:-_TAG_LENGTH], raw[-_TAG_LENGTH:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    # Several texts decode to the same bytes, and one is ours.
    if _text(raw) != text or not any(hmac.compare_digest(tag, _tag(k, of, place)) for k in keys):
        raise InvalidCursor(
            _(
                "Give `next_cursor` of a page of this list as it was, with the same parameters and"
                " key; or begin without a cursor."
            )
        )
    return place


def list_of(caller: object, path: str, asked: QueryDict) -> str:
    """What tells lists apart: the caller's organization and mode, the address, the filters."""
    filters = sorted((name, each) for name, each in asked.items() if name not in _FREE)
    return repr((owner(caller), path, filters))


def owner(caller: object) -> str:
    """Whose cursors these are: an organization's in one mode, or anybody's."""
    return f"{caller.organization.pk} {caller.livemode}" if isinstance(caller, Caller) else ""


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _tag(key: str, of: str, place: bytes) -> bytes:
    secret = f"cursors {key}".encode()
    return hmac.digest(secret, of.encode() + b"\0" + place, "sha256")[:_TAG_LENGTH]
