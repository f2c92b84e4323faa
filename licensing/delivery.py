"""How licensed works reach the licensee: manifests, works and shards behind signed links."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import layout, settree, shards, snapshots
from licensing.delivery_counts import Meter, What
from licensing.links import MANIFEST, SHARDS, Link, expiry
from licensing.models import (
    Coverage,
    CoverageQuerySet,
    Grant,
    GrantEvent,
    GrantQuerySet,
    Period,
    Snapshot,
)
from marketplace import access, remote_buckets, reservations
from marketplace.access import Caller
from marketplace.errors import (
    DomainError,
    GrantNotInForce,
    InternalError,
    ManifestChanged,
    NotFound,
    WorkHeld,
    WorkOptedOut,
)
from marketplace.models import Representation
from marketplace.typeid import TypeID

logger = logging.getLogger(__name__)

# A manifest's lines leave in pieces of about this size.
_PIECE_BYTES = 64 * 1024
# How long a reader of a manifest may take nothing before it is broken off.
_STALL_SECONDS = 60

Custody = Representation.Custody
Reason = reservations.Reason
# How long a seller's server honors a link: the licensee is sent on to it at once.
_REMOTE_SECONDS = 300

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Deliverable:
    """Bytes that may leave now: from our store, or from an address at the seller's own."""

    digest: bytes
    length: int
    meter: Meter
    remote_url: str | None = None


@dataclass(frozen=True, slots=True)
class Fresh:
    """What may be fetched of one work now: a link, or why there is none.

    `excluded` is a reservation's reason, or "not_covered"; `custody` is None for the latter.
    """

    digest: str
    custody: str | None
    url: str | None
    excluded: str | None


@dataclass(frozen=True, slots=True)
class Links:
    """New links to works of a grant, and to the shards of its manifest as it is now."""

    expires_at: datetime
    manifest: str
    shards: dict[str, str]
    works: list[Fresh]


def offer_manifest(caller: Caller, id: Any) -> tuple[str, datetime]:
    """Give the licensee of a grant in force a link to its manifest, and when the link expires."""
    with access.acting(caller, writing=False):
        grant = _licensed(caller, id)
        _newest_covered(grant)
    expires = expiry()
    link = Link(str(grant.pk), grant.livemode, MANIFEST, int(expires.timestamp()))
    return link.url(), expires


def check_manifest(link: Link, signature: str) -> Meter:
    """Raise what refuses a manifest: a bad or old link, or a grant that is not in force."""
    link.check(signature)
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        _newest_covered(grant)
    return _meter(grant, What.MANIFESTS)


def manifest(link: Link) -> Generator[bytes]:
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


def links(caller: Caller, id: Any, digests: Sequence[bytes]) -> Links:
    """Give the licensee of a grant in force new links to some of its works, and to its shards."""
    with access.acting(caller, writing=False):
        grant = _licensed(caller, id)
        snapshot = _newest_covered(grant)
        forms = _covered_forms(grant, digests)
        custody = {bytes(each): held for each, held in forms.values_list("digest", "custody")}
        reserved = reservations.among(digests, organization=grant.licensor_id)
        manifest = _manifest_id(snapshot)
    with access.system("serve a delivery link"):
        # The seller's own, which the licensee may not see.
        fetched = _fetched(grant)
    expires = expiry()
    seconds = int(expires.timestamp())

    def fresh(digest: bytes) -> Fresh:
        held = custody.get(digest)
        excluded = reserved.get(digest) if held else "not_covered"
        is_fetched = held in fetched and not excluded
        link = Link(str(grant.pk), grant.livemode, digest.hex(), seconds)
        return Fresh(digest.hex(), held, link.url() if is_fetched else None, excluded)

    return Links(
        expires,
        manifest,
        _shard_links(str(grant.pk), grant.livemode, manifest, seconds),
        [fresh(digest) for digest in digests],
    )


def open_work(link: Link, signature: str) -> Deliverable:
    """Find the bytes that a link asks for, if its grant permits that at this moment.

    Raises WorkOptedOut and WorkHeld for what was taken out, however old the link.
    """
    link.check(signature)
    digest = bytes.fromhex(link.subject)
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        form = _covered_forms(grant, [digest]).first()
        if form is None:
            raise NotFound(_("This grant covers no such work."))
        _check_not_reserved(grant, [digest])
        if form.custody == Custody.HOSTED:
            return Deliverable(digest, form.length, _meter(grant, What.WORKS))
        bucket = remote_buckets.in_use(grant.licensor_id)
        if form.custody != Custody.REMOTE or bucket is None:
            raise NotFound(_("The seller keeps these bytes: they are not delivered from here."))
        url = remote_buckets.signed_url(
            bucket,
            digest=digest,
            external_id=form.work.external_id,
            seconds=_REMOTE_SECONDS,
        )
    return Deliverable(digest, form.length, _meter(grant, What.REDIRECTS), url)


def open_shards(link: Link, signature: str, what: What) -> tuple[shards.Layout, Meter]:
    """Find the layout of the shards that a link asks for, if its grant permits that now.

    What is sent of it, an index or a shard, counts as `what`.

    Raises ManifestChanged where the layout is no longer kept and the manifest is another one now.
    """
    link.check(signature)
    manifest = link.subject.removeprefix(SHARDS)
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        found = shards.layout(manifest)
        if found is None:
            found = _lay_out(grant, manifest)
    return found, _meter(grant, what)


def check_members(link: Link, members: Sequence[shards.Member]) -> None:
    """Raise what refuses some works of a shard at this moment, as `open_work` would for each."""
    with access.system("serve a delivery link"):
        grant = _grant(link)
        _check_in_force(grant)
        _check_not_reserved(grant, [member.digest for member in members])


def index(manifest: str, found: shards.Layout) -> Generator[bytes]:
    """Stream what stands where in a manifest's shards: NDJSON, ascending by digest."""
    lengths = [shard.length for shard in found.shards]
    yield _line({"type": "shards", "v": 1, "manifest": manifest, "lengths": lengths})
    members = found.members()
    while batch := list(islice(members, 1_000)):
        yield b"".join(
            _line(
                {
                    "type": "work",
                    "digest": member.digest.hex(),
                    "shard": member.shard,
                    "offset": member.offset,
                    "length": member.length,
                }
            )
            for member in batch
        )
    yield _line({"type": "end", "count": len(found)})


# --- what a grant permits now -----------------------------------------------------------------


def _with_access(grants: GrantQuerySet) -> GrantQuerySet:
    """Say of each grant whether some period gives access now, and which event and coverage count.

    In the query that reads it. What was announced counts from its instant on, whether or not the
    worker has moved the grant already.
    """
    now = timezone.now()
    periods = Period.objects.filter(grant=OuterRef("pk"), access_window__contains=now)
    events = GrantEvent.objects.in_effect(now).filter(grant=OuterRef("pk"))
    # The newest, which holds what is licensed now: None where nothing is covered yet.
    covered = Coverage.objects.filter(grant=OuterRef("pk"), effective_from__lte=now)
    return grants.annotate(
        has_access=Exists(periods),
        in_effect=Subquery(events.values("kind")[:1]),
        covered=Subquery(covered.order_by("-snapshot__number").values("pk")[:1]),
    )


def _licensed(caller: Caller, id: Any) -> Grant:
    """The caller's own grant, in force."""
    grant = _with_access(Grant.objects.all()).get_visible(caller, id)
    if grant.licensee_id != caller.organization.pk:
        raise NotFound(_("Only the licensee fetches works."))
    _check_in_force(grant)
    return grant


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
    status = grant.status
    if status == Grant.Status.ACTIVE and grant.in_effect is not None:
        status = GrantEvent.STATUS[grant.in_effect]
    if status != Grant.Status.ACTIVE:
        detail = _("The grant is not active, so its works cannot be fetched.")
    elif not grant.has_access:
        detail = _("Now is outside the grant's access window.")
    else:
        return
    raise GrantNotInForce(detail, grant=str(grant.pk), grant_status=status)


def _meter(grant: Any, what: What) -> Meter:
    """Counts what is sent under a grant `_with_access` that covers something."""
    return Meter(grant.covered, what)


def _coverage(grant: Grant) -> CoverageQuerySet:
    return Coverage.objects.filter(grant=grant, effective_from__lte=timezone.now())


def _newest_covered(grant: Grant) -> Snapshot:
    """Growth adds snapshots of the same collection; the newest holds what is licensed now."""
    newest = (
        _coverage(grant)
        .select_related("snapshot__collection")
        .order_by("-snapshot__number")
        .first()
    )
    if newest is None:
        raise GrantNotInForce(
            _("The grant covers nothing yet."), grant=str(grant.pk), grant_status=grant.status
        )
    return newest.snapshot


def _covered_forms(grant: Grant, digests: Sequence[bytes]) -> QuerySet[Representation]:
    """The licensor's bytes of these digests that are in a snapshot which the grant covers."""
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
    forms = Representation.objects.filter(organization=grant.licensor_id, digest__in=digests)
    return forms.filter(Exists(covering)).only("digest", "length", "custody", "work")


def _fetched(grant: Grant) -> frozenset[str]:
    """The custodies whose works can be fetched; of the others the market has the digest only."""
    is_connected = remote_buckets.in_use(grant.licensor_id) is not None
    return frozenset({Custody.HOSTED, *([Custody.REMOTE] if is_connected else [])})


def _check_not_reserved(grant: Grant, digests: Sequence[bytes]) -> None:
    reserved = reservations.among(digests, organization=grant.licensor_id)
    if not reserved:
        return
    digest = min(reserved)
    refused = WorkOptedOut if reserved[digest] == Reason.OPTED_OUT else WorkHeld
    raise refused(
        _("These bytes are delivered no more. Fetch the grant's manifest again: it names them."),
        digest=digest.hex(),
        reason=reserved[digest],
    )


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
    expires = expiry()
    seconds = int(expires.timestamp())
    promised = _manifest_id(snapshot)
    yield _line(_head(grant, snapshot, expires, promised))
    places, made = layout.Places(), layout.ManifestId(bytes(snapshot.citation))
    fetched = _fetched(grant)
    count = excluded = size = 0
    for item in snapshots.items(snapshot):
        yield _line(_work(link, item, seconds, places, fetched))
        count += 1
        size += item.length
        if item.reserved:
            excluded += 1
            made.exclude(item.digest)
    if made.hexdigest() != promised:
        raise ManifestChanged(_("Works were taken out meanwhile. Fetch the manifest again."))
    # Last of all: who has this line has all of them.
    yield _line(
        {"type": "end", "count": count, "excluded": excluded, "bytes": size, "manifest": promised}
    )


def _manifest_id(snapshot: Snapshot) -> str:
    """What the manifest of a snapshot is called now: the same works are the same manifest."""
    return layout.manifest_id(bytes(snapshot.citation), snapshots.reserved(snapshot))


def _lay_out(grant: Grant, manifest: str) -> shards.Layout:
    snapshot = _newest_covered(grant)
    if _manifest_id(snapshot) != manifest:
        raise ManifestChanged(_("Fetch the grant's manifest again: it has the new shards."))
    works = (
        (item.digest, item.length)
        for item in snapshots.items(snapshot)
        if not item.reserved and item.custody == Custody.HOSTED
    )
    return shards.make(manifest, works)


def _shard_links(grant: str, livemode: bool, manifest: str, expires: int) -> dict[str, str]:
    link = Link(grant, livemode, SHARDS + manifest, expires)
    return {"url": link.url("/{shard}.tar"), "index": link.url("/index.ndjson")}


def _head(grant: Grant, snapshot: Snapshot, expires: datetime, manifest: str) -> dict[str, Any]:
    return {
        "type": "manifest",
        "v": 1,
        "manifest": manifest,
        "grant": str(grant.pk),
        "livemode": grant.livemode,
        "snapshot": snapshots.cited(snapshot),
        "secret": bytes(snapshot.secret).hex(),
        "shards": _shard_links(str(grant.pk), grant.livemode, manifest, int(expires.timestamp())),
        "expires_at": _instant(expires),
    }


def _work(
    link: Link,
    item: snapshots.Item,
    expires: int,
    places: layout.Places,
    fetched: frozenset[str],
) -> dict[str, Any]:
    digest = item.digest.hex()
    line: dict[str, Any] = {
        "type": "work",
        "digest": digest,
        "length": item.length,
        "media_type": item.media_type,
        "external_id": item.external_id,
        "title": item.title,
        "custody": item.custody,
        "url": None,
        "metadata": settree.item_metadata(
            media_type=item.media_type,
            length=item.length,
            canonicalization=item.canonicalization,
            contributor=item.contributor_ref,
            units=item.units,
        ),
    }
    if item.reserved:
        line["excluded"] = item.reserved
        return line
    if item.custody in fetched:
        line["url"] = Link(link.grant, link.livemode, digest, expires).url()
    if item.custody == Custody.HOSTED and (place := places.place(item.length)):
        line["shard"], line["offset"] = place
    return line


def _line(value: dict[str, Any]) -> bytes:
    return _compact(value).encode() + b"\n"


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
