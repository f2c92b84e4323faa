"""A grant over real bytes, saved past the verbs that normally write its rows."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from licensing import settree
from licensing.ledger import commitments, log
from licensing.models import Agreement, Coverage, Grant, Period, Snapshot, Terms
from marketplace import access, storage
from marketplace.models import Collection, CollectionItem, Organization, Representation, Work
from tests import ledger

WORKS = (b"first work", b"second work, longer", b"third")
HOUR = timedelta(hours=1)


def make_grant_row(
    licensor: Organization,
    licensee: Organization,
    *,
    works: Sequence[bytes] = WORKS,
    livemode: bool = False,
    access_from: datetime | None = None,
    access_until: datetime | None = None,
    covered_from: datetime | None = None,
    custody: str = "hosted",
) -> Grant:
    """A grant that began an hour ago and ends in an hour, unless told otherwise."""
    now = timezone.now()
    with access.system("a test makes a grant"):
        snapshot = make_snapshot_row(licensor, works, custody=custody)
        grant = _grant(licensor, licensee, livemode=livemode, at=now)
        window = (access_from or now - HOUR, access_until or now + HOUR)
        shared = {"livemode": livemode, "licensor": licensor, "licensee": licensee, "grant": grant}
        Period.objects.create(
            **shared,
            terms=_terms(licensor),
            scope={"uses": ["pretrain"], "territories": ["*"]},
            access_window=window,
            training_window=window,
            use_window=window,
            price_basis={"model": "flat", "amount_minor": 0, "currency": "USD"},
            entry=grant.issued_entry,
        )
        Coverage.objects.create(
            **shared,
            snapshot=snapshot,
            effective_from=covered_from or window[0],
            entry=grant.issued_entry,
        )
        # As the commit would: at the end of a test nobody's rows are visible any more.
        connection.check_constraints()
    return grant


def make_snapshot_row(
    organization: Organization, works: Sequence[bytes], *, custody: str = "hosted"
) -> Snapshot:
    """A collection with exactly these bytes, and its first snapshot with its true root."""
    collection = Collection.objects.create(organization=organization, name="Letters")
    collection.refresh_from_db()
    secret = os.urandom(32)
    tree = settree.SetTree("snapshot", secret)
    for content in sorted(works, key=lambda content: hashlib.sha256(content).digest()):
        form = make_item_row(collection, content, custody=custody)
        metadata = settree.item_metadata(media_type="text/plain", length=len(content))
        tree.add(form.digest, metadata)
    root = tree.finish({"works": len(works), "bytes": sum(map(len, works))})
    return Snapshot.objects.create(
        organization=organization,
        collection=collection,
        number=1,
        size=root.size,
        root=root.root,
        totals=dict(root.totals),
        citation=root.citation(),
        secret=secret,
        snapshot_ref=os.urandom(16),
        entry=ledger.append(),
    )


def make_item_row(
    collection: Collection, content: bytes, *, custody: str = "hosted", added_in: int = 1
) -> Representation:
    """One work of a collection, its bytes in the store."""
    stored = storage.put(io.BytesIO(content))
    name = f"{stored.digest.hex()[:8]}.txt"
    organization = collection.organization
    work = Work.objects.create(organization=organization, external_id=name, title=name)
    form = Representation.objects.create(
        organization=organization,
        work=work,
        digest=stored.digest,
        length=stored.length,
        media_type="text/plain",
        custody=custody,
    )
    CollectionItem.objects.create(
        organization=organization,
        collection=collection,
        work=work,
        representation=form,
        added_in=added_in,
    )
    return form


def _grant(
    licensor: Organization, licensee: Organization, *, livemode: bool, at: datetime
) -> Grant:
    always, _sometimes = commitments.FIELDS["grant.issued"]
    values: dict[str, Any] = dict.fromkeys(always, "as agreed")
    values |= {"licensor": {"id": str(licensor.pk)}, "licensee": {"id": str(licensee.pk)}}
    reference = os.urandom(16)
    entry = log.append(
        log=log.name(livemode=livemode),
        kind="grant.issued",
        subject_ref=reference,
        seq=0,
        prev=None,
        values=values,
        parties=[licensor.pk, licensee.pk],
        at=at,
    )
    parties = {"livemode": livemode, "licensor": licensor, "licensee": licensee}
    document = "A contract."
    agreement = Agreement.objects.create(
        **parties,
        controlling="typed",
        document=document,
        document_sha256=hashlib.sha256(document.encode()).digest(),
        accepted_by_name="Ada",
        accepted_by_title="Counsel",
        accepted_by_actor="system",
        accepted_at=at,
        made_by=reference.hex(),
    )
    return Grant.objects.create(
        **parties, agreement=agreement, grant_ref=reference, issued_entry=entry, issued_at=at
    )


def _terms(organization: Organization) -> Terms:
    text = "Terms."
    return Terms.objects.create(
        organization=organization,
        name=os.urandom(8).hex(),
        typed=text,
        typed_sha256=hashlib.sha256(text.encode()).digest(),
        text=text,
        text_sha256=hashlib.sha256(text.encode()).digest(),
        template_version="1",
        published_at=timezone.now(),
        terms_ref=os.urandom(16),
        entry=ledger.append(),
    )
