"""One statement for a tenant, in one message."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, connection

from marketplace.access import acting, alone
from marketplace.models import Contributor, Organization
from tests.database import TestDatabase, wait_for_a_waiter
from tests.people import caller_for

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = "SELECT external_id FROM marketplace_contributor WHERE external_id <> %s"


def _contributor(organization: Organization, name: str) -> None:
    with acting(caller_for(organization)):
        Contributor.objects.create(organization=organization, external_id=name)


def test_a_tenant_reads_its_own_rows_and_nobody_elses(
    archive: Organization, lab: Organization
) -> None:
    _contributor(archive, "c-1")
    _contributor(archive, "c-2")

    for _time in range(3):
        assert alone(caller_for(archive), NAMES, ["c-2"]) == ([("c-1",)], 1)
        assert alone(caller_for(lab), NAMES, ["c-2"]) == ([], 0)


def test_the_tenant_is_forgotten_with_the_message(archive: Organization) -> None:
    _contributor(archive, "c-1")

    assert alone(caller_for(archive), NAMES, [""])[1] == 1

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('licet.tenant', true)")
        assert cursor.fetchone() == ("",)
        cursor.execute(NAMES, [""])
        assert cursor.fetchall() == []


def test_what_it_changed_is_counted_and_committed(archive: Organization) -> None:
    _contributor(archive, "c-1")
    change = "UPDATE marketplace_contributor SET external_id = %(to)s WHERE external_id = %(of)s"

    assert alone(caller_for(archive), change, {"to": "c-2", "of": "c-1"}) == ([], 1)
    assert alone(caller_for(archive), change, {"to": "c-2", "of": "c-1"}) == ([], 0)

    connection.close()
    assert alone(caller_for(archive), NAMES, [""])[0] == [("c-2",)]


def test_it_goes_on_after_a_rollback_took_what_was_prepared(archive: Organization) -> None:
    _contributor(archive, "c-1")
    for _time in range(2):
        assert alone(caller_for(archive), NAMES, [""])[1] == 1
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")


def test_it_goes_on_after_its_table_changed(
    archive: Organization, owner_connection: psycopg.Connection[Any]
) -> None:
    _contributor(archive, "c-1")
    everything = "SELECT * FROM marketplace_contributor WHERE external_id <> %s"
    [before], _count = alone(caller_for(archive), everything, [""])

    owner_connection.execute("ALTER TABLE marketplace_contributor ADD COLUMN more text")

    [after], _count = alone(caller_for(archive), everything, [""])
    assert after == (*before, None)


def test_a_statement_that_fails_does_nothing_and_leaves_the_connection_whole(
    archive: Organization,
) -> None:
    _contributor(archive, "c-1")
    change = "UPDATE marketplace_contributor SET external_id = (1 / %s)::text"
    for _time in range(2):
        with pytest.raises(DataError, match="division by zero"):
            alone(caller_for(archive), change, [0])
        assert alone(caller_for(archive), NAMES, [""])[0] == [("c-1",)]


def test_what_is_only_checked_at_the_end_is_refused_as_well(
    archive: Organization, owner_connection: psycopg.Connection[Any]
) -> None:
    _contributor(archive, "c-1")
    owner_connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'not so' USING ERRCODE = 'check_violation'; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON marketplace_contributor"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    change = "UPDATE marketplace_contributor SET external_id = %s"
    for _time in range(2):
        with pytest.raises(IntegrityError, match="not so"):
            alone(caller_for(archive), change, ["c-2"])
        assert alone(caller_for(archive), NAMES, [""])[0] == [("c-1",)]


def test_a_connection_lost_meanwhile_is_told_and_not_used_again(
    archive: Organization, test_database: TestDatabase
) -> None:
    _contributor(archive, "c-1")
    assert alone(caller_for(archive), NAMES, [""])[1] == 1
    ours = connection.connection

    with psycopg.connect(test_database.admin_url, autocommit=True) as other:

        def end() -> None:
            wait_for_a_waiter()
            connection.close()
            other.execute("SELECT pg_terminate_backend(%s)", [ours.info.backend_pid])

        with psycopg.connect(test_database.url, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(7)")
            ending = threading.Thread(target=end)
            ending.start()
            with pytest.raises(OperationalError):
                alone(caller_for(archive), "SELECT pg_advisory_xact_lock(%s)", [7])
            ending.join(timeout=60)

    assert ours.closed
    connection.close_if_unusable_or_obsolete()
    assert alone(caller_for(archive), NAMES, [""])[1] == 1


def test_megabytes_are_sent_and_received(archive: Organization) -> None:
    text = "ä" * 8_000_000
    [(length, back)], _count = alone(
        caller_for(archive), "SELECT length(%(text)s::text), %(text)s::text", {"text": text}
    )
    assert length == len(text)
    assert back == text


def test_others_work_while_it_waits(
    archive: Organization, owner_connection: psycopg.Connection[Any]
) -> None:
    # A statement that kept this process to itself would wait for what nobody could do.
    owner_connection.execute("SELECT pg_advisory_lock(7)")
    said: list[int] = []

    def wait() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '20s'")
        found = alone(caller_for(archive), "SELECT 1 FROM pg_advisory_xact_lock(%s)", [7])
        said.append(found[1])
        connection.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for_a_waiter()
    owner_connection.execute("SELECT pg_advisory_unlock(7)")
    waiting.join(timeout=60)

    assert said == [1]
