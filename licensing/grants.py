"""Grants: issued once, with agreement, period, coverage, claim and ledger entry."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from licensing import agreements, chains, optouts, scope_claims, snapshots
from licensing import terms as terms_of
from licensing.asked_models import AskedModel
from licensing.ledger import commitments, log
from licensing.models import (
    Agreement,
    Coverage,
    Grant,
    GrantEvent,
    LedgerEntry,
    Period,
    Snapshot,
    Terms,
)
from licensing.parties import party
from licensing.terms import Windows
from marketplace import events
from marketplace.models import Organization


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepted which document, as what, and when. They stated that they had authority."""

    document_sha256: bytes
    name: str
    title: str
    actor: str
    accepted_at: datetime

    def recorded(self) -> dict[str, str]:
        """As ledger entries commit to it."""
        return {
            "document_sha256": self.document_sha256.hex(),
            "name": self.name,
            "title": self.title,
            "accepted_at": commitments.timestamp(self.accepted_at),
        }


def issue(
    *,
    licensor: Organization,
    licensee: Organization,
    livemode: bool,
    snapshot: Snapshot,
    terms: Terms,
    uses: Sequence[str],
    territories: Sequence[str],
    model: AskedModel | None = None,
    starts_at: datetime,
    price_basis: dict[str, Any],
    document: str,
    acceptance: Acceptance,
    made_by: str,
    is_private: bool = False,
) -> Grant:
    """Give a license, and record it: all of it commits with the caller's transaction, or none.

    Without `model`, for the models that the terms allow. Where `is_private`, the ledger may record
    it later (settings.LEDGER_PRIVATE_DELAY). `price_basis` is of `prices.basis`. Takes over the
    scope claim that `made_by` (the order's TypeID) holds. Repeating it with the same `made_by`
    returns the first grant. Raises RightsTaken; OptedOut where no work may be licensed any more.
    """
    assert connection.in_atomic_block, "A grant commits with its ledger entry."
    assert acceptance.document_sha256 == hashlib.sha256(document.encode()).digest()
    _lock(made_by)
    if (repeated := Agreement.objects.filter(made_by=made_by).first()) is not None:
        return repeated.grant
    optouts.hold_still(licensor.pk)
    optouts.check(snapshot)
    issued = _Issued(
        licensor=licensor,
        licensee=licensee,
        livemode=livemode,
        snapshot=snapshot,
        terms=terms,
        scope=_scope(uses, territories, model),
        windows=terms_of.load(terms).windows(starts_at),
        price_basis=price_basis,
        acceptance=acceptance,
        grant_ref=os.urandom(16),
        at=timezone.now(),
    )
    entry = _record(issued, _recorded_at(issued.at) if is_private else None)
    agreement = agreements.make(
        **issued.parties, document=document, acceptance=acceptance, made_by=made_by
    )
    grant = Grant(
        **issued.parties,
        agreement=agreement,
        grant_ref=issued.grant_ref,
        issued_entry=entry,
        issued_at=issued.at,
    )
    grant.save(force_insert=True)
    _fill(grant, issued)
    scope_claims.take_over(made_by, grant)
    events.record("grant.issued", **chains.told(grant), made_by=made_by)
    return grant


def whole(rows: QuerySet[Grant]) -> QuerySet[Grant]:
    """The same grants with what is shown of them: contract, record, periods, coverage, events."""
    shown: list[Any] = [
        Prefetch("periods", Period.objects.select_related("agreement").order_by("number")),
        Prefetch("events", GrantEvent.objects.order_by("number")),
        Prefetch(
            "coverage", Coverage.objects.select_related("snapshot").order_by("snapshot__number")
        ),
    ]
    return rows.select_related("agreement", "issued_entry__leaf").prefetch_related(*shown)


def recorded_windows(windows: Windows) -> dict[str, list[str | None] | None]:
    """Windows as ledger entries commit to them: from when until when, null for no end or none."""
    return {name: _instants(getattr(windows, name)) for name in ("access", "training", "use")}


def _instants(window: DateTimeTZRange) -> list[str | None] | None:
    if window.isempty:
        return None
    ends = window.upper
    return [
        commitments.timestamp(window.lower),
        None if ends is None else commitments.timestamp(ends),
    ]


@dataclass(frozen=True, slots=True)
class _Issued:
    """What is being given: the same facts for the rows and for the ledger entry."""

    licensor: Organization
    licensee: Organization
    livemode: bool
    snapshot: Snapshot
    terms: Terms
    scope: dict[str, Any]
    windows: Windows
    price_basis: dict[str, Any]
    acceptance: Acceptance
    grant_ref: bytes
    at: datetime

    @property
    def parties(self) -> dict[str, Any]:
        return {"licensor": self.licensor, "licensee": self.licensee, "livemode": self.livemode}


def _scope(
    uses: Sequence[str], territories: Sequence[str], model: AskedModel | None
) -> dict[str, Any]:
    # No key for no model: a license for any model is recorded as it always was.
    bought: dict[str, Any] = {"uses": list(uses), "territories": list(territories)}
    return bought if model is None else {**bought, "model": dict(model)}


def _lock(made_by: str) -> None:
    """Lock first, constraint last: who issues the same twice at once waits here.

    An advisory lock by order: the first time, there is no row yet to lock.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"issue {made_by}"]
        )


def _recorded_at(at: datetime) -> datetime | None:
    """When a private deal's entry is to be recorded: None, at once.

    Its public time is this one, too: when the parties agreed stands in what they alone can open.
    """
    seconds = secrets.SystemRandom().uniform(0, settings.LEDGER_PRIVATE_DELAY)
    return at + timedelta(seconds=seconds) if seconds else None


def _record(issued: _Issued, later: datetime | None) -> LedgerEntry:
    """Append `grant.issued`. Its fields are published: they never change (see commitments)."""
    acceptance, terms, windows = issued.acceptance, issued.terms, issued.windows
    document = acceptance.document_sha256.hex()
    return log.append(
        log=log.name(livemode=issued.livemode),
        kind="grant.issued",
        subject_ref=issued.grant_ref,
        seq=0,
        prev=None,
        at=later or issued.at,
        not_before=later,
        parties=[issued.licensor.pk, issued.licensee.pk],
        values={
            "licensor": party(issued.licensor),
            "licensee": party(issued.licensee),
            "documents": [{"role": "agreement", "sha256": document}],
            **terms_of.recorded(terms),
            "scope": issued.scope,
            "coverage": [snapshots.cited(issued.snapshot)],
            "windows": recorded_windows(windows),
            "price": issued.price_basis,
            "acceptance": acceptance.recorded(),
        },
    )


def _fill(grant: Grant, issued: _Issued) -> None:
    """Make the first period, and what the grant covers."""
    Period(
        **issued.parties,
        grant=grant,
        number=1,
        terms=issued.terms,
        scope=issued.scope,
        access_window=issued.windows.access,
        training_window=issued.windows.training,
        use_window=issued.windows.use,
        price_basis=issued.price_basis,
        entry=grant.issued_entry,
        created_at=issued.at,
    ).save(force_insert=True)
    Coverage(
        **issued.parties,
        grant=grant,
        snapshot=issued.snapshot,
        effective_from=issued.windows.access.lower,
        entry=grant.issued_entry,
    ).save(force_insert=True)
