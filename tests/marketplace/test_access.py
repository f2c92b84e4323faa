"""The transaction that sets the tenant."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection
from psycopg._preparing import PrepareManager

from marketplace.access import Scope, acting, system, undone
from marketplace.models import Contributor, Organization
from tests.database import KeptPrepared
from tests.people import caller_for

pytestmark = pytest.mark.django_db


def _settings() -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(current_setting('licet.tenant', true), ''),"
            " coalesce(current_setting('licet.system', true), '')"
        )
        row = cursor.fetchone()
        assert row is not None
        return row[0], row[1]


def test_a_tenant_reads_its_own_rows_and_nobody_elses(
    archive: Organization, lab: Organization
) -> None:
    with acting(caller_for(archive)):
        Contributor.objects.create(organization=archive, external_id="c-1")
        assert Contributor.objects.count() == 1
    with acting(caller_for(lab)):
        assert Contributor.objects.count() == 0


def test_a_tenant_cannot_write_a_row_of_another(archive: Organization, lab: Organization) -> None:
    with (
        pytest.raises(Exception, match="row-level security"),
        acting(caller_for(lab)),
    ):
        Contributor.objects.create(organization=archive, external_id="c-1")


def test_with_no_tenant_nothing_is_read(archive: Organization) -> None:
    with acting(caller_for(archive)):
        Contributor.objects.create(organization=archive, external_id="c-1")
    assert Contributor.objects.count() == 0
    with system("count in a test"):
        assert Contributor.objects.count() == 1
    assert Contributor.objects.count() == 0


def test_what_is_tried_leaves_no_trace_and_takes_no_statement_that_was_prepared(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As psycopg does outside of tests.
    monkeypatch.setattr(KeptPrepared, "clear", PrepareManager.clear)

    def prepared() -> int:
        asked = "SELECT count(*) FROM pg_prepared_statements"
        [(count,)] = connection.connection.execute(asked, prepare=False).fetchall()
        return int(count)

    with acting(caller_for(archive)):
        for _time in range(10):
            assert Contributor.objects.count() == 0
        before = prepared()
        assert before > 0
        with undone():
            Contributor.objects.create(organization=archive, external_id="c-1")
            assert Contributor.objects.count() == 1

        assert Contributor.objects.count() == 0
        assert prepared() >= before


def test_what_is_tried_may_be_refused_by_the_database(archive: Organization) -> None:
    def twice() -> None:
        with undone():
            for _time in range(2):
                Contributor.objects.create(organization=archive, external_id="c-1")

    with acting(caller_for(archive)):
        with pytest.raises(IntegrityError):
            twice()
        assert Contributor.objects.count() == 0


def test_the_setting_ends_with_its_block_even_inside_a_larger_transaction(
    archive: Organization,
) -> None:
    with acting(caller_for(archive)):
        assert _settings() == (archive.pk.hex, "")
    assert _settings() == ("", "")


def test_a_block_of_another_tenant_inside_is_refused(
    archive: Organization, lab: Organization
) -> None:
    with (
        acting(caller_for(archive)),
        pytest.raises(RuntimeError, match="one tenant"),
        acting(caller_for(lab)),
    ):
        pass


def test_a_tenant_cannot_widen_its_view_to_all(archive: Organization) -> None:
    with (
        acting(caller_for(archive)),
        pytest.raises(RuntimeError, match="one tenant"),
        system("escape"),
    ):
        pass


def test_the_application_is_no_superuser_and_owns_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        assert cursor.fetchone() == ("licet_app", False, False)
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = 'licet_app'"
        )
        assert cursor.fetchone() == (0,)


def test_scopes_say_read_or_write() -> None:
    assert {scope.value.split(":")[1] for scope in Scope} == {"read", "write"}
