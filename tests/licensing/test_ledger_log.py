"""Recording a fact: what is stored, for whom, and that it cannot change."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from licensing import jcs
from licensing.ledger import commitments, log, sequencer, tree
from licensing.models import LedgerEntry, LedgerOpening, LedgerPending
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import append, append_many, superuser_connection
from tests.people import caller_for

AT = datetime(2027, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
SUBJECT = bytes(range(16))
INSERT_ONLY = ["entry", "leaf", "tile", "tree", "checkpoint", "party"]


@pytest.mark.django_db
def test_an_entry_is_its_canonical_bytes_and_their_hash(archive: Organization) -> None:
    values = {"text": "nine works", "size": 9}
    with access.acting(caller_for(archive)):
        entry = append(values=values, subject_ref=SUBJECT, at=AT, parties=[archive.pk])

        opening = LedgerOpening.objects.get(entry=entry)
    body = bytes(LedgerEntry.objects.get(pk=entry.pk).body)
    assert json.loads(body) == {
        "v": 2,
        "kind": "note.made",
        "log": "test",
        "at": "2027-01-31T12:00:00.250000Z",
        "grant_ref": "000102030405060708090a0b0c0d0e0f",
        "seq": 0,
        "prev": None,
        "commitments": commitments.commit("note.made", bytes(opening.seed), values),
        "parties": commitments.commit_parties(
            bytes(opening.seed), [commitments.Slot(str(archive.pk), 1)]
        ),
    }
    assert bytes(entry.leaf_hash) == tree.leaf_hash(body)
    assert opening.values == jcs.dumps(values).decode()
    assert list(LedgerPending.objects.values_list("entry", "log")) == [(entry.pk, "test")]


@pytest.mark.django_db
def test_two_entries_of_the_same_values_have_nothing_in_common(archive: Organization) -> None:
    with access.acting(caller_for(archive)):
        first, second = (append(parties=[archive.pk], at=AT) for _number in range(2))

    bodies = [json.loads(bytes(entry.body)) for entry in (first, second)]
    assert bodies[0]["commitments"]["text"] != bodies[1]["commitments"]["text"]


@pytest.mark.django_db
def test_only_the_parties_read_what_opens_an_entry(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    with access.acting(caller_for(archive)):
        entry = append(parties=[archive.pk, lab.pk])

    seen = {}
    for organization in (archive, lab, stranger):
        caller = caller_for(organization)
        with access.acting(caller, writing=False):
            behind_the_wall = LedgerOpening.objects.filter(entry=entry).count()
            seen[organization.name] = (
                behind_the_wall,
                LedgerOpening.objects.visible_to(caller).filter(entry=entry).count(),
            )
    assert seen == {"Archive": (1, 1), "Lab": (1, 1), "Stranger": (0, 0)}


@pytest.mark.django_db
def test_a_tenant_cannot_record_openings_that_it_is_no_party_to(
    archive: Organization, lab: Organization
) -> None:
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege) as refused,
        _raw_errors(),
        access.acting(caller_for(archive)),
    ):
        append(parties=[lab.pk])

    assert "row-level security" in str(refused.value)


@pytest.mark.django_db(transaction=True)
def test_an_entry_is_not_appended_outside_a_transaction() -> None:
    with pytest.raises(AssertionError, match="A fact and its entry commit together"):
        append()

    assert LedgerEntry.objects.count() == 0


@pytest.mark.django_db
def test_a_subject_has_one_entry_of_each_number() -> None:
    with access.system("a test writes to the ledger"):
        first = append(subject_ref=SUBJECT)
        append(subject_ref=SUBJECT, seq=1, prev=bytes(first.leaf_hash))

        with (
            pytest.raises(IntegrityError, match="ledger_chain_does_not_fork"),
            transaction.atomic(),
        ):
            append(subject_ref=SUBJECT, seq=1, prev=bytes(first.leaf_hash))


@pytest.mark.django_db
def test_a_kind_cannot_gain_or_lose_a_field() -> None:
    with (
        access.system("a test writes to the ledger"),
        pytest.raises(commitments.CommitmentError, match="which is missing"),
    ):
        append(kind="grant.issued", values={"licensor": {"id": "org_1"}})

    assert LedgerEntry.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_grants_entry_does_not_commit_without_its_grant() -> None:
    always, _sometimes = commitments.FIELDS["grant.issued"]

    with (
        pytest.raises(IntegrityError, match=r"ledger entry \d+ \(grant.issued\) has no subject"),
        access.system("a test writes to the ledger"),
    ):
        append(kind="grant.issued", values=dict.fromkeys(always, "x"))

    assert LedgerEntry.objects.count() == 0


@pytest.mark.django_db
def test_each_mode_has_its_log() -> None:
    assert (log.name(livemode=False), log.name(livemode=True)) == ("test", "live")


@pytest.mark.django_db
@pytest.mark.parametrize("table", INSERT_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET log = log", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_application_may_only_insert(table: str, statement: str) -> None:
    with (
        connection.cursor() as cursor,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table"),
        _raw_errors(),
        transaction.atomic(),
    ):
        cursor.execute(statement.format(f"licensing_ledger{table}"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_not_even_a_superuser_changes_what_is_recorded(
    test_database: TestDatabase, role: str
) -> None:
    """Under `replica`, as restores and replication run, ordinary triggers are silent."""
    append_many(255)
    with access.system("a test writes to the ledger"):
        append(parties=[uuid4()])
    sequencer.run_once()
    attempts = ["UPDATE {} SET log = 'live'", "DELETE FROM {}", "TRUNCATE {} CASCADE"]

    for table, attempt in itertools.product(INSERT_ONLY, attempts):
        name = f"licensing_ledger{table}"
        with (
            superuser_connection(test_database) as superuser,
            superuser.transaction(force_rollback=True),
        ):
            superuser.execute("SELECT set_config('session_replication_role', %s, true)", [role])

            with pytest.raises(psycopg.errors.RestrictViolation, match="is insert-only"):
                superuser.execute(attempt.format(name))


@contextlib.contextmanager
def _raw_errors() -> Iterator[None]:
    """Django wraps the driver's errors; these tests name the driver's own."""
    try:
        yield
    except DatabaseError as error:
        raise (error.__cause__ or error) from None
