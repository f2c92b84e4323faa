"""What the tables of periods and coverage keep by themselves: for test_constraints."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.db import models
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils import timezone

from licensing.ledger import tree
from licensing.models import LedgerEntry
from tests import ledger

NOW = timezone.now()
NEVER = DateTimeTZRange(empty=True)


def again(row: models.Model, **changes: Any) -> None:
    """Insert a copy of a row, with what is changed."""
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    del fields[row._meta.pk.attname]
    copy = type(row)(**{**fields, **changes})
    copy.save(force_insert=True)


def following(grant: Any, kind: str) -> LedgerEntry:
    """The next entry of a grant's chain, past the verbs that write it."""
    return LedgerEntry.objects.create(
        log="test",
        kind=kind,
        subject_ref=bytes(grant.grant_ref),
        seq=1,
        body=b"{}",
        leaf_hash=tree.leaf_hash(os.urandom(16)),
    )


def period(world: Any, **changes: Any) -> None:
    """A renewal of the grant."""
    fields: dict[str, Any] = {"number": 2, "kind": "renewed", "reference": "ord_2"}
    if "entry_id" not in changes:
        fields["entry_id"] = following(world.grant, "grant.renewed").pk
    again(world.grant.periods.get(number=1), **{**fields, **changes})


def period_twice(world: Any, **changes: Any) -> None:
    period(world)
    period(world, entry_id=ledger.append().pk, **changes)


def coverage(world: Any, **changes: Any) -> None:
    fields: dict[str, Any] = {"snapshot_id": world.second_grant().coverage.get().snapshot_id}
    if "entry_id" not in changes:
        fields["entry_id"] = following(world.grant, "grant.coverage_added").pk
    again(world.grant.coverage.get(snapshot=world.offer.snapshot_id), **{**fields, **changes})


BREAKS: dict[str, Callable[[Any], Any]] = {
    # periods
    "period_number_is_unique": lambda w: period_twice(w, reference="ord_3"),
    "period_reference_is_unique": lambda w: period_twice(w, number=3),
    "period_windows_are_not_empty": lambda w: period(
        w, access_window=NEVER, training_window=NEVER, use_window=NEVER
    ),
    "period_windows_begin": lambda w: period(w, training_window=DateTimeTZRange(None, NOW)),
    "period_kind_matches_the_rest": lambda w: period(w, kind="amended"),
    "licensing_period_entry_id_key": lambda w: period(w, entry_id=w.grant.issued_entry_id),
    "period_grant_id_same_parties": lambda w: period(w, grant_id=w.other_grant().pk),
    "period_terms_id_same_parties": lambda w: period(w, terms_id=w.other_offer().terms_id),
    "period_agreement_id_same_parties": lambda w: period(
        w, agreement_id=w.other_grant().agreement_id
    ),
    "period_has_its_entry": lambda w: period(w, entry_id=ledger.append().pk),
    # coverage
    "coverage_is_given_once": lambda w: coverage(w, snapshot_id=w.offer.snapshot_id),
    "licensing_coverage_entry_id_key": lambda w: coverage(w, entry_id=w.grant.issued_entry_id),
    "coverage_grant_id_same_parties": lambda w: coverage(w, livemode=True),
    "coverage_snapshot_id_same_parties": lambda w: coverage(
        w, snapshot_id=w.other_offer().snapshot_id
    ),
    "coverage_has_its_entry": lambda w: coverage(w, entry_id=ledger.append().pk),
}
