"""`audit_check`: what is changed, deleted or inserted in the audit is found, and named."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing.audit_check import LATE
from licensing.ledger import fsck, sequencer
from licensing.models import LedgerRecovered
from marketplace.access import system
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import (
    naive_root,
    store_plainly,
    superuser_connection,
    tamper,
)
from tests.licensing.audit_acts import (
    act,
    begin,
    check,
    expected_leaf,
    found,
    ids,
    recorded,
    spoiled,
    untriggered,
)
from tests.licensing.test_ledger_numbers import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(settings: Any) -> None:
    """A root is due whenever something was done."""
    settings.LEDGER_AUDIT_SECONDS = 0


@pytest.fixture
def acted(archive: Organization) -> Organization:
    return begin(archive)


# --- what is found ----------------------------------------------------------------------------


def test_a_sound_audit_is_told(acted: Organization) -> None:
    root = recorded()
    act(acted)
    assert check() == (
        f"audit: sound: {root.size} acts, 1 roots; 1 acts since, for which no root vouches yet\n"
    )


CHANGES = [
    "data = '{\"number\": 7}'",
    "actor = 'usr_other'",
    "action = 'test.undone'",
    "subject = 'org_other'",
    "at = at + interval '1 microsecond'",
]


def test_a_changed_act_is_found(acted: Organization, test_database: TestDatabase) -> None:
    recorded()
    victim = ids()[1]
    with untriggered(test_database) as opened:
        for change in CHANGES:
            statement = f"UPDATE marketplace_audit SET {change} WHERE id = %(victim)s"
            with spoiled(opened, statement, victim=victim):
                found(rf"BROKEN: {victim} \(leaf 1\): the act is not what it was")
        check()


def test_a_changed_act_is_found_though_its_leaf_is_changed_with_it(
    acted: Organization, test_database: TestDatabase
) -> None:
    recorded()
    victim = ids()[1]
    with untriggered(test_database) as opened:
        opened.execute("UPDATE marketplace_audit SET actor = 'usr_x' WHERE id = %s", [victim])
        leaf = expected_leaf(victim)
        opened.execute("UPDATE licensing_auditleaf SET leaf_hash = %s WHERE position = 1", [leaf])
    found("BROKEN: root 0 of the log “test”: the acts do not make it")

    with untriggered(test_database) as opened:
        root = naive_root([*map(expected_leaf, ids())])
        opened.execute("UPDATE licensing_auditroot SET root = %s", [root])
    found("BROKEN: root 0 of the log “test”: its row says another thing than its entry")


def test_it_is_found_in_the_ledger_once_the_entry_is_changed_with_it(
    acted: Organization, test_database: TestDatabase
) -> None:
    recorded()
    sequencer.run_once()
    with untriggered(test_database) as opened:
        opened.execute("UPDATE marketplace_audit SET actor = 'usr_x' WHERE id = %s", [ids()[1]])
        leaf = expected_leaf(ids()[1])
        opened.execute("UPDATE licensing_auditleaf SET leaf_hash = %s WHERE position = 1", [leaf])
        old = opened.execute("SELECT encode(root, 'hex') FROM licensing_auditroot").fetchone()
        root = naive_root([*map(expected_leaf, ids())])
        opened.execute("UPDATE licensing_auditroot SET root = %s", [root])
        store_plainly(opened)
    assert old is not None
    tamper(
        test_database,
        "licensing_ledgerentry",
        f"UPDATE licensing_ledgerentry SET body = replace(convert_from(body, 'UTF8'), '{old[0]}',"
        f" '{root.hex()}')::bytea WHERE kind = 'audit.root'",
    )
    check()
    with pytest.raises(fsck.Broken, match="entry"):
        fsck.check_database("test")


DELETIONS: list[tuple[list[str], str]] = [
    (["DELETE FROM marketplace_audit WHERE id = %(second)s"], r"leaf 1\): the act was deleted"),
    (
        [
            "DELETE FROM marketplace_audit WHERE id = %(second)s",
            "DELETE FROM licensing_auditleaf WHERE position = 1",
        ],
        "leaf 1: it is gone: 2 follows",
    ),
    (
        [
            "DELETE FROM marketplace_audit WHERE id = %(second)s",
            "DELETE FROM licensing_auditleaf WHERE position = 1",
            "UPDATE licensing_auditleaf SET position = -position WHERE position > 1",
            "UPDATE licensing_auditleaf SET position = -position - 1 WHERE position < 0",
        ],
        "root 0 of the log “test”: it is of",
    ),
    (
        [
            "DELETE FROM marketplace_audit WHERE id = %(last)s",
            "DELETE FROM licensing_auditleaf WHERE audit_id = %(last)s",
        ],
        "root 0 of the log “test”: it is of",
    ),
    (["DELETE FROM licensing_auditroot"], "root 0 of the log “test”: its row is gone"),
    (
        [
            "UPDATE licensing_auditleaf SET position = -position WHERE position < 2",
            "UPDATE licensing_auditleaf SET position = 1 WHERE position = 0",
            "UPDATE licensing_auditleaf SET position = 0 WHERE position = -1",
        ],
        "root 0 of the log “test”: the acts do not make it",
    ),
]


def test_what_is_deleted_or_moved_is_found(
    acted: Organization, test_database: TestDatabase
) -> None:
    recorded()
    second, last = ids()[1], ids()[-1]
    with untriggered(test_database) as opened:
        for statements, said in DELETIONS:
            with spoiled(opened, *statements, second=second, last=last):
                found(said)
        check()


# As whoever has the database may put an act there that nobody did.
INSERT = (
    "INSERT INTO marketplace_audit (id, organization_id, actor, action, subject, data, at)"
    " SELECT gen_random_uuid(), organization_id, actor, 'test.made_up', subject, data, %(at)s"
    " FROM marketplace_audit LIMIT 1 RETURNING id"
)


def test_an_act_that_is_inserted_among_the_others_is_found(
    acted: Organization, test_database: TestDatabase
) -> None:
    recorded()
    with untriggered(test_database) as opened:
        row = opened.execute(INSERT, {"at": timezone.now()}).fetchone()
        assert row is not None
        opened.execute(
            "UPDATE licensing_auditleaf SET position = position + 100 WHERE position > 1"
        )
        opened.execute("UPDATE licensing_auditleaf SET position = position - 99 WHERE position > 1")
        opened.execute(
            "INSERT INTO licensing_auditleaf (position, audit_id, leaf_hash) VALUES (2, %s, %s)",
            [row[0], expected_leaf(row[0])],
        )
    found("root 0 of the log “test”: the acts do not make it")


def test_an_act_that_is_inserted_for_a_time_that_has_its_root_is_found(
    acted: Organization, test_database: TestDatabase
) -> None:
    root = recorded()
    with superuser_connection(test_database) as opened:
        opened.execute(INSERT, {"at": root.until - LATE - timedelta(seconds=1)})
    said = "has nothing of it: it was inserted later"
    found(said)
    # It gets a place as any other.
    recorded()
    found(said)


def test_a_sound_audit_is_found_sound_while_it_grows(acted: Organization) -> None:
    recorded()
    done = threading.Event()

    def grow() -> None:
        for _number in range(25):
            act(acted)
            recorded()
        done.set()

    def look() -> int:
        looks = 0
        while not done.is_set():
            check()
            looks += 1
        return looks

    assert together([grow, look])[1] > 1


# --- what cannot be told ----------------------------------------------------------------------


def test_without_a_root_it_cannot_be_told(acted: Organization) -> None:
    found("No root vouches for the 3 acts yet", code=2)


def test_an_empty_audit_is_sound() -> None:
    assert check().startswith("audit: sound: 0 acts, 0 roots")


def test_acts_that_no_worker_takes_up_are_told(
    acted: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded()
    act(acted)
    assert "1 acts since" in check()
    later = timezone.now() + LATE + timedelta(minutes=1)
    monkeypatch.setattr(timezone, "now", lambda: later)
    found("1 acts wait for their places", code=2)


def test_a_root_that_came_back_without_its_acts_cannot_be_told(
    acted: Organization, test_database: TestDatabase
) -> None:
    recorded()
    act(acted)
    lost = recorded()
    sequencer.run_once()
    with untriggered(test_database) as opened:
        opened.execute("DELETE FROM licensing_auditroot WHERE number = 1")
        opened.execute("DELETE FROM licensing_auditleaf WHERE position >= %s", [lost.size - 1])
        opened.execute(
            "DELETE FROM marketplace_audit WHERE id NOT IN"
            " (SELECT audit_id FROM licensing_auditleaf)"
        )
    with system("recover in a test"):
        LedgerRecovered.objects.create(entry_id=lost.entry_id)
    found("root 1 of the log “test” came back with a lost tail", code=2)
    # The chain goes on from the entry that came back.
    act(acted)
    act(acted)
    assert recorded().number == 2
    found("root 1 of the log “test” came back with a lost tail", code=2)
