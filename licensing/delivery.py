"""How licensed works reach the licensee: signed links that expire, checked again when used."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import connection
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import settree, snapshots
from licensing.models import Coverage, CoverageQuerySet, Grant, GrantQuerySet, Period, Snapshot
from marketplace import access, reservations, storage
from marketplace.access import Caller
from marketplace.errors import (
    DomainError,
    GrantNotInForce,
    InternalError,
    LinkExpired,
    LinkInvalid,
    NotFound,
    OptedOut,
)
from marketplace.models import Representation
from marketplace.typeid import TypeID

logger = logging.getLogger(__name__)

# Signatures made for links are worth nothing anywhere else.
_SALT = "licensing.delivery"

# What a link is for, when it is not one work.
MANIFEST = "manifest"

# A manifest's lines leave in pieces of about this size.
_PIECE_BYTES = 64 * 1024
# How long a reader of a manifest may take nothing before it is broken off.
_STALL_SECONDS = 60

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link asks for: a grant's manifest, or one work of it."""

    grant: str
    livemode: bool
    # A digest in hex, or MANIFEST.
    subject: str
    expires: int

    @property
    def mode(self) -> str:
        return "live" if self.livemode else "test"

    @property
    def path(self) -> str:
        works = "" if self.subject == MANIFEST else "works/"
        return f"/grants/{self.grant}/{works}{self.subject}"

    def url(self) -> str:
        """The address at the delivery process; whoever holds it needs no key."""
        # A signature is URL-safe base64, so nothing here needs quoting.
        query = f"mode={self.mode}&expires={self.expires}&signature={self._signature()}"
        return f"{settings.DELIVERY_URL}{self.path}?{query}"

    def check(self, signature: str) -> None:
        """Raise LinkInvalid unless we signed exactly this, LinkExpired when its time is over."""
        try:
            signing.Signer(salt=_SALT).unsign(f"{self._text()}:{signature}")
        except signing.BadSignature:
            raise LinkInvalid(_("This link was not signed here, or it was changed.")) from None
        if timezone.now().timestamp() >= self.expires:
            raise LinkExpired(_("Fetch the grant's manifest again: it has new links."))

    def _signature(self) -> str:
        return signing.Signer(salt=_SALT).signature(self._text())

    def _text(self) -> str:
        return f"{self.mode}/{self.grant}/{self.subject}/{self.expires}"


@dataclass(frozen=True, slots=True)
class Deliverable:
    """Bytes that may leave now."""

    digest: bytes
    length: int
    path: Path


def offer_manifest(caller: Caller, id: Any) -> tuple[str, datetime]:
    """Give the licensee of a grant in force a link to its manifest, and when the link expires."""
    with access.acting(caller, writing=False):
        grant = _with_access(Grant.objects.all()).get_visible(caller, id)
        if grant.licensee_id != caller.organization.pk:
            raise NotFound(_("Only the licensee fetches works."))
        _check_in_force(grant)
        _newest_covered(grant)
    expires = _expiry()
    link = Link(str(grant.pk), grant.livemode, MANIFEST, int(expires.timestamp()))
    return link.url(), expires


def check_manifest(link: Link, signature: str) -> None:
    """Raise what refuses a manifest: a bad or old link, or a grant that is not in force."""
    link.check(signature)
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        _newest_covered(grant)


def manifest(link: Link) -> Iterator[bytes]:
    """Stream a grant's manifest: NDJSON, one line a work with its link, ascending by digest.

    What fails on the way becomes the last line, so that a cut manifest never passes for a whole
    one. Holds one transaction while it streams.
    """
    held: list[bytes] = []
    size = 0
    with contextlib.closing(_lines(link)) as lines:
        for line in lines:
            held.append(line)
            size += len(line)
            # A system call for each of a million lines would cost more than the lines do.
            if size >= _PIECE_BYTES:
                yield b"".join(held)
                held, size = [], 0
    yield b"".join(held)


def open_work(link: Link, signature: str) -> Deliverable:
    """Find the bytes that a link asks for, if its grant permits that at this moment."""
    link.check(signature)
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        form = _covered_form(grant, bytes.fromhex(link.subject))
    if form is None:
        raise NotFound(_("This grant covers no such work."))
    if form.is_reserved:
        raise OptedOut(_("This work was taken out of licensing. Stop using it."), gone=True)
    if form.custody != Representation.Custody.HOSTED:
        raise NotFound(_("The seller keeps these bytes: they are not delivered from here."))
    digest = bytes(form.digest)
    return Deliverable(digest, form.length, storage.path(digest))


# --- what a grant permits now -----------------------------------------------------------------


def _with_access(grants: GrantQuerySet) -> GrantQuerySet:
    """Say of each grant whether some period gives access now, in the query that reads it."""
    now = timezone.now()
    periods = Period.objects.filter(grant=OuterRef("pk"), access_window__contains=now)
    return grants.annotate(has_access=Exists(periods))


def _grant(link: Link) -> Grant:
    try:
        id = TypeID.parse("grt", link.grant)
    except ValueError:
        raise NotFound(_("There is no such grant.")) from None
    grant = _with_access(Grant.objects.filter(pk=id, livemode=link.livemode)).first()
    if grant is None:
        raise NotFound(_("There is no such grant."))
    return grant


def _check_in_force(grant: Any) -> None:
    """Raise GrantNotInForce unless a grant `_with_access` is active and has access."""
    if grant.status != Grant.Status.ACTIVE:
        detail = _("The grant is not active, so its works cannot be fetched.")
    elif not grant.has_access:
        detail = _("Now is outside the grant's access window.")
    else:
        return
    raise GrantNotInForce(detail, grant=str(grant.pk), grant_status=grant.status)


def _coverage(grant: Grant) -> CoverageQuerySet:
    return Coverage.objects.filter(grant=grant, effective_from__lte=timezone.now())


def _newest_covered(grant: Grant) -> Snapshot:
    """Growth adds snapshots of the same collection; the newest holds what is licensed now."""
    newest = (
        _coverage(grant)
        .select_related("snapshot__collection")
        .order_by("-effective_from", "-id")
        .first()
    )
    if newest is None:
        raise GrantNotInForce(
            _("The grant covers nothing yet."), grant=str(grant.pk), grant_status=grant.status
        )
    return newest.snapshot


def _covered_form(grant: Grant, digest: bytes) -> Any:
    """The licensor's bytes of this digest, if they are in a snapshot that the grant covers.

    One statement also says whether they are reserved: an opt-out that is committed is seen.
    """
    items = "snapshot__collection__items"
    # Filtered in one call: all of it must hold of one and the same item.
    covering = _coverage(grant).filter(
        Q(**{f"{items}__removed_in__isnull": True})
        | Q(**{f"{items}__removed_in__gt": F("snapshot__number")}),
        **{
            f"{items}__organization": grant.licensor_id,
            f"{items}__representation": OuterRef("pk"),
            f"{items}__added_in__lte": F("snapshot__number"),
        },
    )
    forms = Representation.objects.filter(organization=grant.licensor_id, digest=digest)
    reserved = reservations.at(grant.licensor_id).filter(digest=OuterRef("digest"))
    found = forms.filter(Exists(covering)).annotate(is_reserved=Exists(reserved))
    return found.only("digest", "length", "custody").first()


# --- the manifest -----------------------------------------------------------------------------


def _lines(link: Link) -> Generator[bytes, None, None]:
    try:
        with access.system("serve a delivery link"):
            yield from _whole(link)
    except Exception as error:  # the edge: the answer has begun, its last line must say so
        logger.exception("the manifest of %s broke off", link.grant)
        known = error if isinstance(error, DomainError) else InternalError()
        yield _line({"type": "error", "code": known.code, "detail": known.detail})


def _whole(link: Link) -> Iterator[bytes]:
    with connection.cursor() as cursor:
        # A reader that stalls must not hold the database's oldest snapshot.
        cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {_STALL_SECONDS * 1000:d}")
    grant = _grant(link)
    _check_in_force(grant)
    snapshot = _newest_covered(grant)
    expires = _expiry()
    yield _line(_head(grant, snapshot, expires))
    count = 0
    for item in snapshots.items(snapshot):
        yield _line(_work(link, item, int(expires.timestamp())))
        count += 1
    yield _line({"type": "end", "count": count})


def _head(grant: Grant, snapshot: Snapshot, expires: datetime) -> dict[str, Any]:
    return {
        "type": "manifest",
        "v": 1,
        "grant": str(grant.pk),
        "livemode": grant.livemode,
        "snapshot": {
            "tree": settree.TREE,
            "type": "snapshot",
            "size": snapshot.size,
            "root": bytes(snapshot.root).hex(),
            "totals": snapshot.totals,
            "citation": bytes(snapshot.citation).hex(),
        },
        "secret": bytes(snapshot.secret).hex(),
        "expires_at": _instant(expires),
    }


def _work(link: Link, item: snapshots.Item, expires: int) -> dict[str, Any]:
    digest = item.digest.hex()
    is_hosted = item.custody == Representation.Custody.HOSTED
    return {
        "type": "work",
        "digest": digest,
        "length": item.length,
        "media_type": item.media_type,
        "external_id": item.external_id,
        "title": item.title,
        "url": Link(link.grant, link.livemode, digest, expires).url() if is_hosted else None,
        "metadata": settree.item_metadata(
            media_type=item.media_type,
            length=item.length,
            canonicalization=item.canonicalization,
            contributor=item.contributor_ref,
        ),
    }


def _line(value: dict[str, Any]) -> bytes:
    return _compact(value).encode() + b"\n"


def _expiry() -> datetime:
    return timezone.now().replace(microsecond=0) + timedelta(seconds=settings.DELIVERY_LINK_SECONDS)


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
