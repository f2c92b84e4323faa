"""A party's own entries: the feed, and what its saved pages prove offline."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import commitments, receipts, sequencer, signer, tree
from licensing.models import LedgerOpening
from licensing.offline.__main__ import main
from marketplace import access
from marketplace.models import Organization
from tests.ledger import append
from tests.licensing.rows import make_grant_row
from tests.people import ApiClient

URL = "/v1/ledger/entries"
Clients = Callable[..., ApiClient]


def record(count: int, *parties: Organization, name: str = "test") -> None:
    with access.system("a test writes to the ledger"):
        for _number in range(count):
            append(name, parties=[party.pk for party in parties])


def page(client: ApiClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"{URL}{query}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


# --- the feed ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_party_reads_its_entries_with_what_opens_them(
    client_for: Clients, archive: Organization, lab: Organization
) -> None:
    record(2, archive)
    grant = make_grant_row(archive, lab)
    sequencer.run_once()
    record(1, lab)

    first, second = page(client_for(lab))["data"]
    *_notes, of_archive = page(client_for(archive))["data"]

    entry = bytes(grant.issued_entry.body)
    body = commitments.parse_body(entry)
    assert {key: value for key, value in first.items() if key != "openings"} == {
        "object": "ledger_entry",
        "sequence": 1,
        "log": "test",
        "kind": "grant.issued",
        "subject_ref": bytes(grant.grant_ref).hex(),
        "index": 3,
        "entry": base64.b64encode(entry).decode(),
        "leaf_hash": tree.leaf_hash(entry).hex(),
    }
    assert commitments.check_openings(body, first["openings"])["licensee"] == {"id": str(lab.pk)}
    assert commitments.check_party(body, first["openings"]) == commitments.Slot(str(lab.pk), 1)
    assert commitments.check_party(body, of_archive["openings"]) == commitments.Slot(
        str(archive.pk), 3
    )
    assert (second["sequence"], second["index"]) == (2, None)


@pytest.mark.django_db
def test_a_client_goes_on_where_it_is(client_for: Clients, archive: Organization) -> None:
    record(5, archive)
    client = client_for(archive)

    first = page(client, "?limit=2")
    second = page(client, f"?limit=2&cursor={first['next_cursor']}")
    last = page(client, f"?limit=2&after={second['data'][-1]['sequence']}")
    nothing = page(client, "?after=5")
    record(1, archive)
    fresh = page(client, "?after=5")

    numbers = [[item["sequence"] for item in each["data"]] for each in (first, second, last)]
    assert numbers == [[1, 2], [3, 4], [5]]
    assert [each["has_more"] for each in (first, second, last)] == [True, True, False]
    assert nothing == {"data": [], "has_more": False, "next_cursor": None}
    assert [item["sequence"] for item in fresh["data"]] == [6]


@pytest.mark.django_db
def test_nobody_reads_another_s_entries_or_those_of_the_other_mode(
    client_for: Clients, archive: Organization, lab: Organization, stranger: Organization
) -> None:
    record(2, archive)
    record(1, archive, lab, name="live")

    assert page(client_for(stranger))["data"] == page(client_for(lab))["data"] == []
    assert len(page(client_for(archive))["data"]) == 2
    (live,) = page(client_for(lab, livemode=True))["data"]
    assert (live["log"], live["sequence"]) == ("live", 1)
    assert client_for(None).get(URL).status_code == 401
    assert client_for(lab, scopes=["works:read"]).get(URL).json()["code"] == "missing_scope"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=01", "after"),
        ("cursor=1.0", "cursor"),
        ("after=1&cursor=1", "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
    ],
)
def test_a_page_is_asked_for_by_a_number(
    client_for: Clients, archive: Organization, query: str, param: str
) -> None:
    answer = client_for(archive).get(f"{URL}?{query}")

    assert (answer.status_code, answer.json()["param"]) == (422, param)


@pytest.mark.django_db
def test_erased_openings_are_null(client_for: Clients, archive: Organization) -> None:
    record(2, archive)
    with access.system("a test erases"):
        LedgerOpening.objects.order_by("pk")[:1].get().delete()

    first, second = page(client_for(archive))["data"]

    assert (first["sequence"], first["openings"]) == (1, None)
    assert second["openings"] is not None


@pytest.mark.django_db
def test_a_page_takes_as_many_queries_as_a_longer_one(
    client_for: Clients, archive: Organization, django_assert_num_queries: Any
) -> None:
    client = client_for(archive)
    record(1, archive)
    page(client)
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as one:
        page(client)
    record(5, archive)
    with django_assert_num_queries(len(one)):
        assert len(page(client)["data"]) == 6


@pytest.mark.django_db
def test_a_receipt_shows_its_holder_its_own_number(
    client_for: Clients, archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    record(1, archive)
    grant = make_grant_row(archive, lab)
    sequencer.run_once()

    files = {
        party.name: client_for(party).get(f"/v1/grants/{grant.pk}/receipt").content
        for party in (archive, lab)
    }

    keys = [signer.load("test").verifier]
    proven = {name: receipts.verify(receipts.parse(data), keys) for name, data in files.items()}
    assert proven["Archive"].party == commitments.Slot(str(archive.pk), 2)
    assert proven["Lab"].party == commitments.Slot(str(lab.pk), 1)
    assert str(archive.pk).encode() not in base64.b64decode(
        files["Lab"].split(b"\n")[1].removeprefix(b"extra ")
    ).replace(json.dumps({"id": str(archive.pk)}, separators=(",", ":")).encode(), b"")


# --- offline ----------------------------------------------------------------------------------


@pytest.fixture
def pages(client_for: Clients, archive: Organization, lab: Organization, db: None) -> list[Any]:
    """Seven entries of the archive's, in pages of three."""
    make_grant_row(archive, lab)
    record(5, archive)
    record(1, archive, lab)
    client = client_for(archive)
    return [page(client, f"?limit=3&after={after}") for after in (0, 3, 6)]


def entries(tmp_path: Path, pages: list[Any], *options: str) -> int:
    files = []
    for number, each in enumerate(pages):
        files.append(tmp_path / f"page-{number}.json")
        files[-1].write_text(json.dumps(each))
    return main(["entries", *map(str, files), *options])


def test_pages_that_leave_nothing_out_are_sound(
    pages: list[Any], archive: Organization, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entries(tmp_path, pages) == 3
    assert (
        f"sound: entries 1 to 7 of {archive.pk} in the test log, no gap" in capsys.readouterr().out
    )
    assert entries(tmp_path, pages, "--allow-test", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sound"], found["first"], found["last"]) == (True, 1, 7)
    assert entries(tmp_path, pages[1:], "--after", "3", "--allow-test") == 0
    assert entries(tmp_path, pages[:1], "--allow-test") == 0
    assert "more follow: fetch on with after=3" in capsys.readouterr().out


def drop(items: list[Any]) -> None:
    del items[1]


def repeat(items: list[Any]) -> None:
    items.insert(1, items[1])


def swap(items: list[Any]) -> None:
    items[0], items[1] = items[1], items[0]


def renumber(items: list[Any]) -> None:
    """What a market would do that hides an entry: number the others anew."""
    del items[1]
    for number, item in enumerate(items):
        item["sequence"] = item["openings"]["party"]["sequence"] = 4 + number


def other_entry(items: list[Any]) -> None:
    items[1]["entry"] = items[0]["entry"]


def other_value(items: list[Any]) -> None:
    items[1]["openings"]["values"]["text"] = "something else"


def other_owner(items: list[Any]) -> None:
    items[1]["openings"]["party"]["organization"] = "org_01jd0000000000000000000000"


def no_number(items: list[Any]) -> None:
    items[1]["openings"]["party"] = None


def other_kind(items: list[Any]) -> None:
    items[1]["kind"] = "grant.issued"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop, "number 6 comes where 5 should: a gap"),
        (repeat, "number 5 comes again, or too late: 6 should be next"),
        (swap, "number 5 comes where 4 should: a gap"),
        (renumber, "not what the entry commits to"),
        (other_entry, "not what the entry commits to"),
        (other_value, "“text” is not what the entry commits to"),
        (other_owner, "not what the entry commits to"),
        (no_number, "do not open its number"),
        (other_kind, "its kind is not the one of its entry"),
    ],
)
def test_pages_that_were_changed_are_refused(
    pages: list[Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Any]], None],
    said: str,
) -> None:
    changed = copy.deepcopy(pages)
    change(changed[1]["data"])

    assert entries(tmp_path, changed, "--allow-test") == 1
    shown = capsys.readouterr().out
    assert shown.startswith("NOT SOUND: ")
    assert said in shown


def test_pages_in_another_order_or_of_another_party_are_refused(
    pages: list[Any], client_for: Clients, lab: Organization, tmp_path: Path
) -> None:
    of_lab = page(client_for(lab))
    assert [item["sequence"] for item in of_lab["data"]] == [1, 2]

    assert entries(tmp_path, [pages[1], pages[0], pages[2]]) == 1
    assert entries(tmp_path, [pages[0], pages[2]]) == 1
    of_lab["data"] = of_lab["data"][1:]
    one = {**pages[0], "data": pages[0]["data"][:1]}
    assert entries(tmp_path, [one, of_lab]) == 1
    assert entries(tmp_path, [{"data": []}]) == 1
    assert main(["entries", str(tmp_path / "missing.json")]) == 2


def test_erased_openings_leave_a_number_unproven(
    pages: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages[1]["data"][1]["openings"] = None

    assert entries(tmp_path, pages, "--allow-test") == 2
    shown = capsys.readouterr().out
    assert shown.startswith("TEST LOG")
    assert "cannot tell: entries 1 to 7" in shown
    assert "erased, so only said: 5" in shown
