"""A statement alone: as its organization, in one message, with nothing left on the connection."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection

from marketplace.access import acting, alone
from tests.make import make_collection
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db(transaction=True)
# A private table: row-level security hides what is not the caller's.
COUNT = "SELECT count(*) FROM marketplace_importjob"
LEFT = (
    "SELECT coalesce(current_setting('licet.tenant', true), '')"
    " || coalesce(current_setting('licet.system', true), '')"
)


def left_behind() -> str:
    with connection.cursor() as cursor:
        cursor.execute(LEFT)
        return str(cursor.fetchone()[0])


def test_it_sees_its_own_organization_alone_and_leaves_nothing_behind() -> None:
    archive, lab = found("Archive", "platform"), found("Lab", "lab")
    make_collection(archive)
    assert not connection.in_atomic_block

    assert alone(caller_for(archive), COUNT, [])[0] == [(1,)]
    assert alone(caller_for(lab), COUNT, [])[0] == [(0,)]
    assert left_behind() == ""
    with acting(caller_for(archive), writing=False), connection.cursor() as cursor:
        cursor.execute(COUNT)
        assert cursor.fetchone() == (1,)
    assert left_behind() == ""


def test_what_it_writes_stays_and_what_is_refused_does_not() -> None:
    archive, lab = found("Archive", "platform"), found("Lab", "lab")
    make_collection(archive)
    note = "UPDATE marketplace_importjob SET source = %s"

    assert alone(caller_for(lab), note, ["Theirs"])[1] == 0
    assert alone(caller_for(archive), note, ["Maps"])[1] == 1
    with pytest.raises(DatabaseError):
        alone(caller_for(archive), note, [None])
    rows, _count = alone(caller_for(archive), "SELECT source FROM marketplace_importjob", [])
    assert rows == [("Maps",)]
    assert left_behind() == ""
