"""An import's first minute: what PostgreSQL believes of tables that were just empty."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from marketplace import collections, works
from marketplace.access import acting
from tests.marketplace.test_bulk_edits import records
from tests.people import caller_for, found


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_names_are_sought_by_name_though_the_table_was_counted_as_empty(
    owner_connection: Any,
) -> None:
    """Seen to fail where a name is sought by equality: each probe then reads all the works."""
    archive = found("Archive", "platform")
    caller = caller_for(archive)
    into = collections.create(caller, name="Letters")
    into.refresh_from_db()
    with acting(caller):
        assert works.add(caller, into, list(records(2_000))) == {}
        # Counted by another connection, while these rows are nobody else's to see yet.
        owner_connection.execute("ANALYZE marketplace_work")
    [(rows, pages)] = owner_connection.execute(
        "SELECT reltuples, relpages FROM pg_class WHERE relname = 'marketplace_work'"
    ).fetchall()
    assert rows == 0
    assert pages > 0
    with acting(caller), connection.cursor() as cursor:
        number, snapshot = works.hold(caller, into)
        works._stage(cursor, list(records(100, first=2_000)), {}, {})
        names = {"organization": archive.pk, "collection": number, "snapshot": snapshot}
        cursor.execute(f"EXPLAIN {works._LOOK}", names)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "work_external_id_is_unique" in plan
    assert "work_of_organization" not in plan
