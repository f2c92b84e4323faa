"""Notices: which licensees hold works that were taken out, what they are told, what they did."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import settree, snapshots
from licensing.ledger import commitments, log
from licensing.models import Acknowledgement, Notice, OptOut
from licensing.parties import party
from marketplace import audit, events, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, NotFound
from marketplace.models import Event, Organization
from marketplace.typeid import TypeID

STATEMENT_LENGTH_MAX = 2000
_AT_ONCE = 1_000
_PAGE_LENGTH = 10_000


class Affected(NamedTuple):
    """A grant that covers works which were taken out, and the snapshots that hold them."""

    grant: TypeID
    grant_ref: bytes
    livemode: bool
    licensee: UUID
    snapshots: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """One representation that was taken out, as its leaf in a set needs it."""

    digest: bytes
    external_id: str
    media_type: str
    length: int
    canonicalization: str
    contributor: UUID | None

    def metadata(self, secret: bytes) -> dict[str, Any]:
        """What the set says of it. Contributors stay hidden from who lacks the secret."""
        return settree.item_metadata(
            media_type=self.media_type,
            length=self.length,
            canonicalization=self.canonicalization,
            contributor=snapshots.contributor_ref(secret, self.contributor),
        )


def affected(opt_out: OptOut) -> list[Affected]:
    """The grants, of both modes and whatever their state, that cover a work of an opt-out."""
    names = {"organization": opt_out.organization_id, "opt_out": opt_out.pk}
    with connection.cursor() as cursor:
        cursor.execute(_AFFECTED, names)
        return [
            Affected(TypeID("grt", grant), bytes(ref), livemode, licensee, tuple(covering))
            for grant, ref, livemode, licensee, covering in cursor.fetchall()
        ]


def queue(opt_out: OptOut, told: Sequence[Affected]) -> None:
    """Write a notice for each affected grant, and its entry, in the opt-out's transaction."""
    # Most grants cover the same few snapshots: each set is hashed once.
    commit = cache(lambda covering: commit_to(opt_out, covering))
    licensees = Organization.objects.in_bulk({each.licensee for each in told})
    rows = []
    for each in told:
        secret, root = commit(each.snapshots)
        notice = Notice(
            livemode=each.livemode,
            licensor=opt_out.organization,
            licensee=licensees[each.licensee],
            grant_id=each.grant,
            opt_out=opt_out,
            by=opt_out.by,
            notice_ref=os.urandom(16),
            snapshots=list(each.snapshots),
            size=root.size,
            root=root.root,
            citation=root.citation(),
            secret=secret,
            queued_at=opt_out.recorded_at,
        )
        rows.append((notice, _notified(notice, each, root)))
    entries = log.append_many([fact for _notice, fact in rows])
    for (notice, _fact), entry in zip(rows, entries, strict=True):
        notice.entry = entry
    Notice.objects.bulk_create([notice for notice, _fact in rows], batch_size=_AT_ONCE)
    events.record_all([each for notice, _fact in rows for each in _told("notice.created", notice)])


def acknowledge(caller: Caller, id: str, *, statement: str, name: str, title: str) -> Notice:
    """Record what a licensee states to have done about a notice. The first statement stands.

    Repeating it changes nothing. Raises NotFound (also for the licensor), InvalidInput.
    """
    for param, text in (("statement", statement), ("name", name), ("title", title)):
        if not text.strip():
            raise InvalidInput(_("This may not be blank."), param=param)
    with acting(caller):
        _lock(id)
        notice = Notice.objects.select_related("licensor", "licensee", "entry").get_visible(
            caller, id
        )
        if notice.licensee_id != caller.organization.pk:
            raise NotFound(_("Only the licensee acknowledges a notice."))
        if not Acknowledgement.objects.filter(notice=notice).exists():
            _acknowledge(caller, notice, statement.strip(), name.strip(), title.strip())
        idempotency.names(caller, notice)
    return notice


def hold(caller: Caller, ids: Iterable[str]) -> None:
    """Lock notices, until the transaction ends, before several are acknowledged in it.

    And everybody whom that is recorded with: all at once and in one order for all, because two
    who took them one by one could wait for each other for ever.
    """
    ids = sorted(set(ids))
    for id in ids:
        _lock(id)
    known = Notice.objects.visible_to(caller).filter(pk__in=ids)
    log.hold(
        (log.name(livemode=notice.livemode), party)
        for notice in known
        for party in (notice.licensor_id, notice.licensee_id)
    )


def works(
    opt_out: UUID,
    covering: Sequence[UUID] | None = None,
    *,
    after: bytes = b"",
    limit: int = _PAGE_LENGTH,
) -> list[Work]:
    """Works of an opt-out, ascending by digest: all, or those in some snapshots.

    Answers the same at any time: neither an opt-out's items nor a snapshot's ever change.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _WORKS.format(where="" if covering is None else _COVERED),
            {
                "opt_out": opt_out,
                "snapshots": list(covering or ()),
                "after": after,
                "limit": limit,
            },
        )
        return [Work(bytes(digest), *rest) for digest, *rest in cursor.fetchall()]


def commit_to(
    opt_out: OptOut, covering: Sequence[UUID] | None = None
) -> tuple[bytes, settree.SetRoot]:
    """Make the set of an opt-out's works, or of those in some snapshots: its secret and root."""
    secret = os.urandom(settree.SECRET_LENGTH)
    tree = settree.SetTree("opt_outs", secret)
    for page in _pages(opt_out.pk, covering):
        for work in page:
            tree.add(work.digest, work.metadata(secret))
    return secret, tree.finish({"works": tree.size})


def of_grant(rows: QuerySet[Notice], *, state: str, grant: TypeID | None) -> QuerySet[Notice]:
    """Notices in a state, of a grant; "" and None for any. Raises InvalidInput."""
    if state and state not in Notice.State.values:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(Notice.State.values)}, param="state"
        )
    if state:
        rows = rows.filter(acknowledgement__isnull=state == Notice.State.QUEUED)
    return rows.filter(grant=grant) if grant else rows


# --- the parts --------------------------------------------------------------------------------

# Many works live the same few lives in a collection, so the snapshots are compared with lives, and
# not with works.
_AFFECTED = """
WITH life AS (
    SELECT lived.collection_number, lived.added_in, lived.removed_in
    FROM licensing_optoutitem item
    JOIN marketplace_representation form
        ON form.organization_id = item.organization_id AND form.digest = item.digest
    JOIN marketplace_collectionitem lived
        ON lived.organization_id = form.organization_id AND lived.representation_id = form.id
    WHERE item.opt_out_id = %(opt_out)s
    GROUP BY lived.collection_number, lived.added_in, lived.removed_in
), holding AS (
    SELECT DISTINCT snapshot.id
    FROM life
    JOIN marketplace_collection collection ON collection.number = life.collection_number
    JOIN licensing_snapshot snapshot ON snapshot.collection_id = collection.id
        AND life.added_in <= snapshot.number
        AND (life.removed_in IS NULL OR life.removed_in > snapshot.number)
)
SELECT given.id, given.grant_ref, given.livemode, given.licensee_id,
    array_agg(coverage.snapshot_id ORDER BY coverage.snapshot_id)
FROM holding
JOIN licensing_coverage coverage ON coverage.snapshot_id = holding.id
JOIN licensing_grant given ON given.id = coverage.grant_id
WHERE coverage.licensor_id = %(organization)s
GROUP BY given.id ORDER BY given.id
"""

_WORKS = """
SELECT item.digest, work.external_id, form.media_type, form.length, form.canonicalization,
    work.contributor_id
FROM licensing_optoutitem item
JOIN marketplace_representation form
    ON form.organization_id = item.organization_id AND form.digest = item.digest
JOIN marketplace_work work ON work.id = form.work_id
WHERE item.opt_out_id = %(opt_out)s AND item.digest > %(after)s {where}
ORDER BY item.digest LIMIT %(limit)s
"""
_COVERED = """
AND EXISTS (
    SELECT FROM marketplace_collectionitem lived
    JOIN marketplace_collection collection ON collection.number = lived.collection_number
    JOIN licensing_snapshot snapshot ON snapshot.collection_id = collection.id
    WHERE lived.organization_id = form.organization_id AND lived.representation_id = form.id
        AND snapshot.id = ANY(%(snapshots)s::uuid[]) AND lived.added_in <= snapshot.number
        AND (lived.removed_in IS NULL OR lived.removed_in > snapshot.number)
)
"""


def _pages(opt_out: UUID, covering: Sequence[UUID] | None) -> Iterator[list[Work]]:
    after = b""
    while page := works(opt_out, covering, after=after):
        yield page
        after = page[-1].digest


def _notified(notice: Notice, each: Affected, root: settree.SetRoot) -> log.Fact:
    """`optout.notified`. Its fields are published: they never change (see commitments)."""
    opt_out = notice.opt_out
    return log.Fact(
        log=log.name(livemode=notice.livemode),
        kind="optout.notified",
        subject_ref=bytes(notice.notice_ref),
        seq=0,
        prev=None,
        values={
            "licensor": party(notice.licensor),
            "licensee": party(notice.licensee),
            "grant": {"id": str(notice.grant_id), "grant_ref": each.grant_ref.hex()},
            "opt_out": {"id": str(opt_out.pk), "opt_out_ref": bytes(opt_out.opt_out_ref).hex()},
            "by": str(opt_out.by),
            "notice": str(notice.pk),
            "works": root.cited(),
        },
        parties=[notice.licensor_id, notice.licensee_id],
        at=notice.queued_at,
    )


def _acknowledge(caller: Caller, notice: Notice, statement: str, name: str, title: str) -> None:
    now = timezone.now()
    parties = {
        "livemode": notice.livemode,
        "licensor": notice.licensor,
        "licensee": notice.licensee,
    }
    entry = log.append(
        log=log.name(livemode=notice.livemode),
        kind="optout.acknowledged",
        subject_ref=bytes(notice.notice_ref),
        # The notice's own chain: its entry, and this one.
        seq=1,
        prev=bytes(notice.entry.leaf_hash),
        at=now,
        parties=[notice.licensor_id, notice.licensee_id],
        values={
            "licensor": party(notice.licensor),
            "licensee": party(notice.licensee),
            "notice": str(notice.pk),
            "acknowledgement": {
                "statement": statement,
                "name": name,
                "title": title,
                "acknowledged_at": commitments.timestamp(now),
            },
        },
    )
    Acknowledgement(
        **parties,
        notice=notice,
        statement=statement,
        person_name=name,
        person_title=title,
        actor=caller.actor,
        acknowledged_at=now,
        entry=entry,
    ).save(force_insert=True)
    audit.record(caller, "notice.acknowledged", subject=notice)
    events.record_all(_told("notice.acknowledged", notice))


def _told(type: str, notice: Notice) -> list[Event]:
    """What both parties are told of a notice."""
    return events.made(
        type,
        to=[notice.licensor_id, notice.licensee_id],
        livemode=notice.livemode,
        subject=notice,
        grant=str(notice.grant_id),
        opt_out=str(notice.opt_out_id),
    )


def _lock(id: str) -> None:
    """Make acknowledgements of one notice wait for each other: the first statement stands.

    An advisory lock, because a row lock needs the right to update, and nobody may update notices.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('notice ' || %s, 0))", [id])
