"""Private deals: the log says them later, at a time that tells nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from licensing import status
from licensing.ledger import commitments, receipts, sequencer, signer
from licensing.models import Grant, LedgerEntry, LedgerLeaf
from marketplace.access import system
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import append
from tests.make import make_offer
from tests.payments.buying import order_for
from tests.people import ApiClient

pytestmark = pytest.mark.django_db(transaction=True)
ClientFor = Callable[..., ApiClient]
HOUR = 3600


@pytest.fixture
def delayed(settings: Any) -> None:
    settings.LEDGER_PRIVATE_DELAY = HOUR


def buy(client: ApiClient, seller: Organization, **offer: Any) -> Grant:
    order = order_for(client, make_offer(seller, price_minor=0, **offer))
    with system("look in a test"):
        return Grant.objects.select_related("issued_entry").get(agreement__made_by=order["id"])


def placed() -> list[int]:
    """The entries that have places, but for those that the offers themselves made."""
    sequencer.run_once()
    with system("look in a test"):
        rows = LedgerLeaf.objects.filter(log="test").order_by("index")
        rows = rows.exclude(entry__kind__in=["snapshot.finalized", "terms.published"])
        return list(rows.values_list("entry_id", flat=True))


def let_go(database: TestDatabase) -> None:
    """As if the hour were over."""
    with database.connect("licet_owner") as owner:
        owner.execute("SELECT set_config('licet.system', 'a test', false)")
        owner.execute("UPDATE licensing_ledgerpending SET not_before = now()")


@pytest.mark.usefixtures("delayed")
def test_who_holds_a_deal_back_longer_is_found(
    archive: Organization, lab: Organization, client_for: ClientFor, test_database: TestDatabase
) -> None:
    held = buy(client_for(lab), archive, audience=str(lab.pk))
    call_command("ledger_fsck", log="test", stdout=StringIO())
    with test_database.connect("licet_owner") as owner:
        owner.execute("SELECT set_config('licet.system', 'a test', false)")
        owner.execute(
            "UPDATE licensing_ledgerpending SET not_before = not_before + interval '1 second'"
        )

    with pytest.raises(
        CommandError, match=f"entry {held.issued_entry_id}: it is kept back"
    ) as said:
        call_command("ledger_fsck", log="test", stdout=StringIO())
    assert said.value.returncode == 1


@pytest.mark.usefixtures("delayed")
def test_a_private_deal_is_recorded_at_a_random_time_and_others_go_before_it(
    archive: Organization, lab: Organization, client_for: ClientFor, test_database: TestDatabase
) -> None:
    client = client_for(lab)
    private = [buy(client, archive, audience=str(lab.pk)) for _number in range(3)]
    public = buy(client, archive)

    assert placed() == [public.issued_entry_id]
    times = [commitments.parse_body(bytes(each.issued_entry.body)).at for each in private]
    assert len(set(times)) == 3
    for grant, at in zip(private, times, strict=True):
        assert grant.issued_at < at < grant.issued_at + timedelta(seconds=HOUR)
        # To whom it is known, the time of the deal stays exact.
        assert abs(timezone.now() - grant.issued_at) < timedelta(minutes=5)
    assert commitments.parse_body(bytes(public.issued_entry.body)).at == public.issued_at
    call_command("ledger_fsck", log="test", stdout=StringIO(), stderr=StringIO())

    let_go(test_database)
    assert placed() == [public.issued_entry_id, *[each.issued_entry_id for each in private]]
    call_command("ledger_fsck", log="test", stdout=StringIO(), stderr=StringIO())


@pytest.mark.usefixtures("delayed")
def test_its_receipt_says_when_to_ask_again(
    archive: Organization, lab: Organization, client_for: ClientFor, test_database: TestDatabase
) -> None:
    client = client_for(lab)
    grant = buy(client, archive, audience=str(lab.pk))
    until = commitments.parse_body(bytes(grant.issued_entry.body)).at
    url = f"/v1/grants/{grant.pk}/receipt"

    sequencer.run_once()
    pending = client.get(url)
    assert pending.status_code == 202
    left = (until - timezone.now()).total_seconds()
    assert left <= int(pending.headers["Retry-After"]) < left + 30
    assert int(pending.headers["Retry-After"]) >= 1

    let_go(test_database)
    sequencer.run_once()
    found = client.get(url)
    assert found.status_code == 200
    receipts.verify(receipts.parse(found.content), [signer.load("test").verifier])


@pytest.mark.usefixtures("delayed")
def test_what_follows_in_its_chain_waits_for_it(
    archive: Organization, lab: Organization, client_for: ClientFor, test_database: TestDatabase
) -> None:
    grant = buy(client_for(lab), archive, audience=str(lab.pk))
    first = grant.issued_entry
    with system("a test writes to the ledger"):
        second = append(subject_ref=bytes(first.subject_ref), seq=1, prev=bytes(first.leaf_hash))
        other = append()

    assert placed() == [other.pk]
    let_go(test_database)
    assert placed() == [other.pk, first.pk, second.pk]


@pytest.mark.usefixtures("delayed")
def test_no_status_root_says_that_it_is_there(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    test_database: TestDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_for(lab)
    private, public = buy(client, archive, audience=str(lab.pk)), buy(client, archive)
    root = status.record("test")
    assert root is not None
    assert (root.size, status.contains(root, private)) == (1, False)
    assert status.contains(root, public)

    let_go(test_database)
    placed()
    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    root = status.record("test")
    assert root is not None
    assert (root.size, status.contains(root, private)) == (2, True)


def test_without_the_setting_nothing_is_kept_back(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    grant = buy(client_for(lab), archive, audience=str(lab.pk))

    assert placed() == [grant.issued_entry_id]
    with system("look in a test"):
        entry = LedgerEntry.objects.get(pk=grant.issued_entry_id)
    assert commitments.parse_body(bytes(entry.body)).at == grant.issued_at
