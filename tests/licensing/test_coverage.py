"""A grant grows: another snapshot of its collection, recorded once, heeded from its instant on."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from licensing import coverage, delivery, lifecycle, links, optouts, snapshots
from licensing.ledger import commitments
from licensing.models import Coverage, Grant, LedgerEntry, LedgerOpening, Snapshot
from marketplace import access, imports
from marketplace.access import acting
from marketplace.errors import (
    DomainError,
    GrantWrongState,
    InvalidInput,
    NotFound,
    OptedOut,
    TermsForbid,
)
from marketplace.models import Audit, Collection, Organization
from tests.make import TYPED_2, issue_grant, make_collection, make_offer, records
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
DAY = timedelta(days=1)
ACT = lifecycle.Act(by="licensor", cause="other", reason="Why.")


def additions(word: str) -> dict[str, Any]:
    return {**TYPED_2, "subject": {**TYPED_2["subject"], "additions": word}}


@pytest.fixture
def letters(archive: Organization) -> Collection:
    return make_collection(archive)


@pytest.fixture
def grant(archive: Organization, lab: Organization, letters: Collection) -> Grant:
    return issue_grant(lab, make_offer(archive, collection=letters))


def grown(archive: Organization, letters: Collection, *, start: int = 50) -> Snapshot:
    """The collection's next snapshot, with another work."""
    caller = caller_for(archive)
    imports.run(caller, str(letters.pk), imports.Records(list(records(1, start=start))))
    return snapshots.finalize(caller, str(letters.pk))


def add(grant: Grant, snapshot: Snapshot, **more: Any) -> Coverage:
    with access.system("look up a licensor in a test"):
        licensor = grant.licensor
    caller = caller_for(licensor, livemode=grant.livemode)
    return coverage.add(caller, str(grant.pk), snapshot=str(snapshot.pk), **more)


def chain(grant: Grant) -> list[str]:
    entries = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("seq")
    prev = None
    for number, entry in enumerate(entries):
        body = commitments.parse_body(bytes(entry.body))
        assert (body.seq, body.prev) == (number, prev)
        prev = bytes(entry.leaf_hash)
    return [entry.kind for entry in entries]


def everything(grant: Grant) -> Any:
    with access.system("look in a test"):
        rows = list(Coverage.objects.order_by("pk").values())
        audits = Audit.objects.filter(action__startswith="grant.").count()
    return rows, chain(grant), audits


def ask(client: ApiClient, work: int, **question: Any) -> str:
    digest = next(records(1, start=work)).digest.hex()
    asked = {"question": {"use": "pretrain", "territory": "EU", **question}, "works": [digest]}
    [answer] = client.post("/v1/decisions", asked).json()["data"]
    return str(answer["decision"])


def manifest(lab: Organization, grant: Grant) -> int:
    """How many works the licensee's manifest has now."""
    url, _expires = delivery.offer_manifest(caller_for(lab), grant.pk)
    assert url
    link = links.Link(str(grant.pk), grant.livemode, links.MANIFEST, 0)
    lines = b"".join(delivery.manifest(link)).splitlines()
    return int(json.loads(lines[-1])["count"])


def test_what_is_added_is_recorded_for_both_parties(
    grant: Grant, archive: Organization, lab: Organization, letters: Collection
) -> None:
    snapshot = grown(archive, letters)
    added = add(grant, snapshot, reference="inv-7")

    assert chain(grant) == ["grant.issued", "grant.coverage_added"]
    for organization in (archive, lab):
        with acting(caller_for(organization), writing=False):
            values = json.loads(LedgerOpening.objects.get(entry=added.entry).values)
        assert values == {
            "licensor": values["licensor"],
            "licensee": values["licensee"],
            "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
            "coverage": [snapshots.cited(snapshot)],
            "snapshot": {"id": str(snapshot.pk), "number": 2, "collection": str(letters.pk)},
            "effective_from": commitments.timestamp(added.effective_from),
            "additions": None,
            "by": "licensor",
            "reference": "inv-7",
        }
    assert values["coverage"][0]["citation"] == bytes(snapshot.citation).hex()


def test_deliveries_and_decisions_heed_it_from_its_instant_on(
    grant: Grant,
    archive: Organization,
    lab: Organization,
    letters: Collection,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = timezone.now() + DAY
    add(grant, grown(archive, letters), effective_from=at)
    client = client_for(lab)

    assert manifest(lab, grant) == 3
    assert ask(client, 50) == "deny"
    assert ask(client, 50, at=(at - timedelta(seconds=1)).isoformat()) == "deny"
    assert ask(client, 50, at=at.isoformat()) == "permit"
    monkeypatch.setattr(timezone, "now", lambda: at)
    assert manifest(lab, grant) == 4
    assert [ask(client, work) for work in (50, 1000)] == ["permit", "permit"]


def test_the_newest_snapshot_that_is_in_effect_is_delivered(
    grant: Grant,
    archive: Organization,
    lab: Organization,
    letters: Collection,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second, third = grown(archive, letters), grown(archive, letters, start=60)
    now = timezone.now()
    add(grant, second, effective_from=now + 2 * DAY)
    add(grant, third, effective_from=now + DAY)

    monkeypatch.setattr(timezone, "now", lambda: now + 3 * DAY)
    assert manifest(lab, grant) == 5
    shown = client_for(lab).get(f"/v1/grants/{grant.pk}").json()["coverage"]
    assert [each["size"] for each in shown] == [3, 4, 5]


def test_repeating_it_changes_nothing(
    grant: Grant, archive: Organization, letters: Collection
) -> None:
    snapshot = grown(archive, letters)
    first = add(grant, snapshot)
    found = everything(grant)

    assert add(grant, snapshot) == first
    assert add(grant, snapshot, effective_from=timezone.now() + DAY) == first
    assert everything(grant) == found


@pytest.mark.parametrize("word", ["until_term_end", "daily"])
def test_terms_that_let_works_be_added_say_so_in_the_entry(
    word: str, archive: Organization, lab: Organization, letters: Collection
) -> None:
    grant = issue_grant(lab, make_offer(archive, collection=letters, typed=additions(word)))
    added = add(grant, grown(archive, letters))
    with acting(caller_for(lab), writing=False):
        values = json.loads(LedgerOpening.objects.get(entry=added.entry).values)
    assert values["additions"] == word


def test_terms_that_license_no_later_works_forbid_it(
    archive: Organization, lab: Organization, letters: Collection
) -> None:
    grant = issue_grant(lab, make_offer(archive, collection=letters, typed=additions("none")))
    snapshot = grown(archive, letters)
    found = everything(grant)
    with pytest.raises(TermsForbid, match="Amend the grant"):
        add(grant, snapshot)
    assert everything(grant) == found


def test_a_grant_that_has_ended_grows_no_more(
    grant: Grant, archive: Organization, letters: Collection
) -> None:
    snapshot = grown(archive, letters)
    later = lifecycle.Act(
        by="licensor", cause="other", reason="Why.", effective_at=timezone.now() + DAY
    )
    lifecycle.revoke(caller_for(archive), str(grant.pk), later)
    found = everything(grant)
    with pytest.raises(GrantWrongState):
        add(grant, snapshot)
    assert everything(grant) == found


def test_a_suspended_grant_grows(grant: Grant, archive: Organization, letters: Collection) -> None:
    lifecycle.suspend(caller_for(archive), str(grant.pk), ACT)
    add(grant, grown(archive, letters))
    assert chain(grant)[1:] == ["grant.suspended", "grant.coverage_added"]


def test_what_cannot_be_added_is_named_and_changes_nothing(
    grant: Grant, archive: Organization, lab: Organization, letters: Collection
) -> None:
    second, third = grown(archive, letters), grown(archive, letters, start=60)
    other = make_offer(archive, collection=make_collection(archive, name="More")).snapshot
    add(grant, third, effective_from=timezone.now() + 2 * DAY)
    found = everything(grant)
    bad: list[tuple[Snapshot, dict[str, Any], str]] = [
        (other, {}, "snapshot"),
        (second, {}, "snapshot"),
        (third, {"effective_from": timezone.now() + DAY}, "effective_from"),
        (third, {"by": "nobody"}, "by"),
        (third, {"reference": "x" * 61}, "reference"),
    ]
    fourth = grown(archive, letters, start=70)
    bad += [
        (fourth, {"effective_from": datetime(2020, 1, 1, tzinfo=UTC)}, "effective_from"),
        (fourth, {"effective_from": datetime(2120, 1, 1)}, "effective_from"),
        # After training has ended.
        (fourth, {"effective_from": timezone.now() + 366 * DAY}, "effective_from"),
    ]
    for snapshot, more, param in bad:
        with pytest.raises(InvalidInput) as refused:
            add(grant, snapshot, **more)
        assert refused.value.data["param"] == param, more
    for caller in (caller_for(lab), caller_for(archive, livemode=True)):
        with pytest.raises(NotFound):
            coverage.add(caller, str(grant.pk), snapshot=str(fourth.pk))
    assert everything(grant) == found


def test_works_that_are_all_taken_out_are_not_added(
    grant: Grant, archive: Organization, letters: Collection
) -> None:
    snapshot = grown(archive, letters)
    digests = [each.digest for each in [*records(3, start=1000), *records(1, start=50)]]
    optouts.record(caller_for(archive), digests=digests, by="owner", reason="Withdrawn.")
    found = everything(grant)
    with pytest.raises(OptedOut):
        add(grant, snapshot)
    assert everything(grant) == found


@pytest.mark.django_db(transaction=True)
def test_added_at_once_it_is_recorded_once(
    archive: Organization, lab: Organization, ledger_keys: object
) -> None:
    """Without the lock on the grant's row, both would follow the same entry."""
    letters = make_collection(archive)
    grant = issue_grant(lab, make_offer(archive, collection=letters))
    first, second = grown(archive, letters), grown(archive, letters, start=60)

    def carry_out(snapshot: Snapshot) -> Any:
        try:
            return add(grant, snapshot)
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(carry_out, [first] * 4))
        assert len({row.pk for row in rows}) == 1, rows
        rows = list(pool.map(carry_out, [second] * 4))
        assert len({row.pk for row in rows}) == 1, rows
    assert chain(grant) == ["grant.issued", *2 * ["grant.coverage_added"]]
