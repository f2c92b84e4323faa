"""A grant with a long past: shown the same by its serializer and by PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import coverage, lifecycle, periods, snapshots, terms
from licensing.ledger import sequencer
from licensing.models import Grant
from licensing.periods import Agreed
from marketplace import imports, metadata
from marketplace.models import Organization
from tests.make import TYPED, issue_grant, make_collection, make_offer, records
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
ACT = lifecycle.Act(by="operator", cause="payment_disputed", reason="Ä “chargeback”.\n\\u0000")


def shown(client: ApiClient, grant: Grant, settings: Any) -> dict[str, Any]:
    """A grant as both ways show it, alone and in a list."""
    ways = []
    for settings.READPLAN in (True, False):
        row = client.get(f"/v1/grants/{grant.pk}")
        listed = client.get("/v1/grants").json()["data"]
        assert row.status_code == 200
        assert [each for each in listed if each["id"] == str(grant.pk)] == [row.json()]
        ways.append(row.json())
    assert ways[0] == ways[1]
    return ways[0]  # type: ignore[no-any-return]


def test_a_grant_is_the_same_at_each_step_of_its_life(
    archive: Organization, lab: Organization, client_for: ClientFor, settings: Any
) -> None:
    letters = make_collection(archive)
    offer = make_offer(archive, collection=letters)
    grant = issue_grant(lab, offer, uses=("pretrain", "finetune"))
    other = issue_grant(lab, make_offer(archive))
    seller, buyer = caller_for(archive), client_for(lab)
    id = str(grant.pk)

    new = shown(buyer, grant, settings)
    assert (new["ledger"]["index"], new["events"], new["metadata"]) == (None, [], {})
    assert len(new["periods"]) == len(new["coverage"]) == 1

    sequencer.integrate("test")
    metadata.set(caller_for(lab), Grant, id, notes={"po": "17"})
    imports.run(seller, str(letters.pk), imports.Records(list(records(1, start=50))))
    coverage.add(seller, id, snapshot=str(snapshots.finalize(seller, str(letters.pk)).pk))
    periods.renew(seller, id, reference="ord_2")
    drafted = terms.draft(seller, name="Training", typed={**TYPED, "attribution": "none"})
    terms.publish(seller, str(drafted.pk))
    agreed = Agreed("We agree.", "Lin", "Counsel", timezone.now())
    periods.amend(seller, id, terms=str(drafted.pk), reference="amd_1", agreed=agreed)
    at = timezone.now() + timedelta(days=3)
    lifecycle.suspend(seller, id, ACT)
    lifecycle.reinstate(seller, id, ACT)
    duties = [{"do": "stop_training", "within_days": 3}, {"do": "purge_copies", "within_days": 30}]
    lifecycle.revoke(seller, id, replace(ACT, duties=duties, effective_at=at))

    old = shown(buyer, grant, settings)
    assert old["ledger"]["index"] is not None
    assert old["metadata"] == {"po": "17"}
    assert [each["kind"] for each in old["periods"]] == ["issued", "renewed", "amended"]
    first, renewed, _amended = (each["windows"] for each in old["periods"])
    assert first["use"]["ends_at"] is renewed["use"] is None
    assert [each["agreement"] is None for each in old["periods"]] == [True, True, False]
    assert len(old["coverage"]) == 2
    assert [each["kind"] for each in old["events"]] == ["suspended", "reinstated", "revoked"]
    assert old["events"][2]["duties"] == duties
    # The other party's notes are its own, and nothing of one grant stands in another.
    assert shown(client_for(archive), grant, settings) == {**old, "metadata": {}}
    assert len(shown(buyer, other, settings)["periods"]) == 1
