"""Imports of records: counted, resumable, repeatable, and safe beside snapshots and each other."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from licensing import snapshots
from licensing.models import Snapshot
from marketplace import collections, contributors, imports, works
from marketplace.access import acting
from marketplace.errors import CollectionEmpty, ImportUnderWay, InvalidInput, NotFound
from marketplace.imports import Record, Records, engine
from marketplace.models import (
    Audit,
    Collection,
    CollectionItem,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
)
from tests.make import records
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def collection_of(organization: Organization, name: str = "Letters") -> str:
    return str(collections.create(caller_for(organization), name=name).pk)


def counts(job: ImportJob) -> tuple[int, int, int]:
    return job.imported, job.repeated, job.rejected


def left_out(organization: Organization, job: ImportJob) -> list[tuple[str, str]]:
    with acting(caller_for(organization), writing=False):
        rows = ImportRejection.objects.filter(job=job).order_by("id")
        return list(rows.values_list("name", "code"))


def totals() -> tuple[int, int, int]:
    return (
        Work.objects.count(),
        Representation.objects.count(),
        CollectionItem.objects.filter(removed_in__isnull=True).count(),
    )


def failing_after(count: int, rows: list[Record]) -> Iterator[Record]:
    yield from rows[:count]
    raise ConnectionResetError(104, "Connection reset by peer", "/a/path/of/the/server")


def test_records_become_works_with_their_forms_in_the_collection(archive: Organization) -> None:
    collection = collection_of(archive)
    row = Record(
        external_id="post/1",
        digest=b"\x01" * 32,
        length=12,
        media_type="text/html",
        custody="remote",
        title="A “post”\twith\ttabs \\N and\nlines",
        source_url="https://example.org/1",
        language="pt-BR",
        canonicalization="text/nfc-lf/v1",
    )
    job = imports.run(caller_for(archive), collection, Records([row], name="posts"))

    assert (job.source, job.status, job.bytes_read) == ("posts", "finished", 12)
    assert counts(job) == (1, 0, 0)
    work = Work.objects.get()
    assert (work.external_id, work.title, work.source_url, work.language) == (
        row.external_id,
        row.title,
        row.source_url,
        row.language,
    )
    form = Representation.objects.get(work=work)
    assert (bytes(form.digest), form.length) == (row.digest, 12)
    assert (form.media_type, form.canonicalization, form.custody) == (
        "text/html",
        "text/nfc-lf/v1",
        "remote",
    )
    item = CollectionItem.objects.get()
    assert (item.representation_id, item.work_id, item.added_in, item.removed_in) == (
        form.pk,
        work.pk,
        1,
        None,
    )


def test_an_import_is_shown_with_each_entry_that_it_left_out(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    collection = collection_of(archive)
    job = imports.run(caller_for(archive), collection, Records(records(2, repeat=1)))
    client = client_for(archive)
    shown = client.get(f"/v1/imports/{job.pk}").json()
    assert {**shown, "started_at": None, "finished_at": None} == {
        "object": "import",
        "id": str(job.pk),
        "collection": collection,
        "source": "records",
        "format": "",
        "feed": False,
        "dry_run": False,
        "columns": {},
        "constants": {},
        "ignored": [],
        "status": "finished",
        "imported": 2,
        "updated": 0,
        "removed": 0,
        "repeated": 1,
        "rejected": 0,
        "bytes_read": 1000 + 1001 + 1000,
        "source_read": 0,
        "source_length": None,
        "failure": "",
        "started_at": None,
        "finished_at": None,
    }
    assert client.get("/v1/imports").json()["data"] == [shown]
    assert client.get(f"/v1/imports/{job.pk}/rejections").json()["data"] == [
        {
            "object": "import_rejection",
            "job": str(job.pk),
            "line": None,
            "field": "",
            "name": "work-2",
            "code": "repeated",
            "detail": "The collection holds the same bytes already.",
        }
    ]
    theirs = client_for(stranger)
    assert theirs.get("/v1/imports").json()["data"] == []
    for url in (f"/v1/imports/{job.pk}", f"/v1/imports/{job.pk}/rejections"):
        assert theirs.get(url).status_code == 404


def test_importing_twice_adds_nothing(archive: Organization) -> None:
    collection = collection_of(archive)
    imports.run(caller_for(archive), collection, Records(records(5)))
    before = totals()
    again = imports.run(caller_for(archive), collection, Records(records(5)))
    assert counts(again) == (0, 5, 0)
    assert (totals(), before) == ((5, 5, 5), (5, 5, 5))
    assert left_out(archive, again) == [(f"work-{n}", "repeated") for n in range(5)]


def test_bytes_that_are_known_enter_another_collection_without_a_new_work(
    archive: Organization,
) -> None:
    imports.run(caller_for(archive), collection_of(archive), Records(records(3)))
    other = collection_of(archive, "Other")
    job = imports.run(caller_for(archive), other, Records(records(5)))
    assert (counts(job), totals()) == ((5, 0, 0), (5, 5, 8))


def test_another_organization_records_the_same_bytes_as_its_own(
    archive: Organization, stranger: Organization
) -> None:
    for organization in (archive, stranger):
        job = imports.run(
            caller_for(organization), collection_of(organization), Records(records(3))
        )
        assert counts(job) == (3, 0, 0)
    assert totals() == (6, 6, 6)


def test_what_was_taken_out_can_come_back(archive: Organization) -> None:
    collection, rows = collection_of(archive), list(records(1))
    imports.run(caller_for(archive), collection, Records(rows))
    collections.remove(caller_for(archive), collection, digests=[rows[0].digest])
    job = imports.run(caller_for(archive), collection, Records(rows))
    assert (counts(job), totals()) == ((1, 0, 0), (1, 1, 1))


def test_a_name_stands_for_one_work(archive: Organization) -> None:
    """Both against what was imported before, and within one batch."""
    collection = collection_of(archive)
    imports.run(caller_for(archive), collection, Records(records(1)))
    changed = [
        dataclasses.replace(row, external_id="work-0", digest=bytes([n]) * 32)
        for n, row in enumerate(records(1, repeat=1))
    ]
    twice = [dataclasses.replace(row, external_id="work-9") for row in records(2, start=9)]
    job = imports.run(caller_for(archive), collection, Records([*changed, *twice]))
    assert counts(job) == (1, 0, 3)
    assert sorted(left_out(archive, job)) == [
        ("work-0", "name_taken"),
        ("work-0", "name_taken"),
        ("work-9", "name_taken"),
    ]
    assert totals() == (2, 2, 2)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"external_id": ""}, "external_id: empty"),
        ({"external_id": "x" * 1001}, "external_id: longer than 1000 characters"),
        ({"title": "a\x00b"}, "title: holds characters that cannot be stored"),
        ({"title": "a\ud800b"}, "title: holds characters that cannot be stored"),
        ({"media_type": "x" * 256}, "media_type: longer than 255 characters"),
        ({"digest": b"\x00" * 31}, "digest: not 32 bytes"),
        ({"length": 0, "custody": "remote"}, "length: not 1 to 9007199254740991"),
        ({"length": -1}, "length: not 0 to 9007199254740991"),
        ({"length": 2**53}, "length: not 0 to 9007199254740991"),
        ({"custody": "somewhere"}, "custody: unknown"),
    ],
)
def test_a_bad_record_costs_no_good_one(
    archive: Organization, change: dict[str, Any], detail: str
) -> None:
    good, bad = records(2)
    rows = [dataclasses.replace(bad, **change), good]
    job = imports.run(caller_for(archive), collection_of(archive), Records(rows))
    assert counts(job) == (1, 0, 1)
    with acting(caller_for(archive), writing=False):
        rejection = ImportRejection.objects.get()
    assert (rejection.code, rejection.detail) == ("invalid", detail)


def test_every_reason_has_its_words() -> None:
    assert {works.REPEATED, works.NAME_TAKEN, works.INVALID} <= set(imports.REASONS)
    assert all(len(code) <= 40 and str(text) for code, text in imports.REASONS.items())


def test_a_stopped_import_says_so_and_goes_on_where_it_stopped(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)
    collection, rows = collection_of(archive), list(records(35, repeat=3))
    with pytest.raises(ConnectionResetError):
        imports.run(caller_for(archive), collection, Records(failing_after(25, rows)))
    with acting(caller_for(archive), writing=False):
        stopped = ImportJob.objects.get()
    # The reason, and no path of the server.
    assert (stopped.status, stopped.failure) == ("failed", "Connection reset by peer")
    assert (counts(stopped), stopped.resume_after) == ((20, 0, 0), "work-19")

    read: list[str] = []
    rest = imports.run(
        caller_for(archive),
        collection,
        Records(row for row in rows if read.append(row.name) is None),  # type: ignore[func-returns-value]
    )
    assert (rest.pk, rest.status, rest.failure) == (stopped.pk, "finished", "")
    assert (counts(rest), totals()) == ((35, 3, 0), (35, 35, 35))
    assert rest.bytes_read == sum(row.length for row in rows)
    assert len(left_out(archive, rest)) == 3
    with acting(caller_for(archive), writing=False):
        acts = Audit.objects.filter(subject=str(rest.pk)).order_by("id")
        assert list(acts.values_list("action", flat=True)) == [
            "import.started",
            "import.resumed",
            "import.finished",
        ]


def test_a_finished_import_begins_anew(archive: Organization) -> None:
    collection = collection_of(archive)
    first = imports.run(caller_for(archive), collection, Records(records(2)))
    second = imports.run(caller_for(archive), collection, Records(records(3)))
    assert first.pk != second.pk
    assert counts(second) == (1, 2, 0)


def test_records_without_the_point_where_it_stopped_are_refused(archive: Organization) -> None:
    """Otherwise a resumed import of other records would silently import nothing."""
    collection = collection_of(archive)
    with pytest.raises(ConnectionResetError):
        imports.run(caller_for(archive), collection, Records(_slowly_failing(list(records(2)))))
    with pytest.raises(InvalidInput) as refusal:
        imports.run(caller_for(archive), collection, Records(records(5, start=100)))
    assert refusal.value.data["param"] == "records"
    assert totals() == (2, 2, 2)


def _slowly_failing(rows: list[Record]) -> Iterator[Record]:
    """Fails only after what came before was committed."""
    before, engine.BATCH_LENGTH = engine.BATCH_LENGTH, 1
    try:
        yield from failing_after(len(rows), rows)
    finally:
        engine.BATCH_LENGTH = before


def test_a_second_process_on_the_same_import_takes_it_over(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)
    collection, rows = collection_of(archive), list(records(40))
    finished: list[ImportJob] = []

    def overtake(_job: ImportJob) -> None:
        if not finished:
            finished.append(ImportJob())
            finished[0] = imports.run(caller_for(archive), collection, Records(rows))

    with pytest.raises(ImportUnderWay) as refusal:
        imports.run(caller_for(archive), collection, Records(rows), report=overtake)
    assert refusal.value.data == {"import_job": str(finished[0].pk)}
    with acting(caller_for(archive), writing=False):
        job = ImportJob.objects.get()
    assert (job.status, counts(job), totals()) == ("finished", (40, 0, 0), (40, 40, 40))


def test_an_import_into_anothers_collection_is_refused(
    archive: Organization, stranger: Organization
) -> None:
    collection = collection_of(archive)
    with pytest.raises(NotFound):
        imports.run(caller_for(stranger), collection, Records(records(1)))
    assert totals() == (0, 0, 0)


def in_threads(*jobs: Callable[[], Any]) -> None:
    """Run jobs at once, each on a connection of its own; raise what one of them raised."""
    failures: list[BaseException] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_no_work_enters_a_snapshot_that_was_counted_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail when `works.add` reads the collection's row without FOR SHARE."""
    archive = found("Archive", "platform")
    caller = caller_for(archive)
    monkeypatch.setattr(engine, "BATCH_LENGTH", 7)
    collection = collection_of(archive)
    is_done = threading.Event()

    def import_all() -> None:
        try:
            imports.run(caller, collection, Records(records(600)))
        finally:
            is_done.set()

    def freeze_often() -> None:
        while not is_done.is_set():
            try:
                snapshots.finalize(caller, collection)
            except CollectionEmpty:
                continue

    in_threads(import_all, freeze_often, freeze_often)
    last = snapshots.finalize(caller, collection)
    assert last.size == 600
    made = Snapshot.objects.filter(collection=collection).order_by("number")
    assert made.count() > 2
    number = Collection.objects.get(pk=collection).number
    items = CollectionItem.objects.filter(collection=number)
    for snapshot in made:
        assert (snapshot.number, items.in_snapshot(snapshot.number).count()) == (
            snapshot.number,
            snapshot.size,
        )


@pytest.mark.django_db(transaction=True)
def test_imports_of_the_same_bytes_at_once_record_each_work_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail when `works.add` takes no lock for the organization."""
    archive = found("Archive", "platform")
    monkeypatch.setattr(engine, "BATCH_LENGTH", 5)
    into = [collection_of(archive, f"c{n}") for n in range(4)]

    def job(collection: str) -> Callable[[], Any]:
        return lambda: imports.run(caller_for(archive), collection, Records(records(100)))

    in_threads(*[job(collection) for collection in into])
    assert totals() == (100, 100, 400)


def test_a_batch_keeps_its_pace_in_a_large_catalogue(archive: Organization) -> None:
    """One index probe a row: without it, each batch read the whole catalogue."""
    collection = collection_of(archive)
    caller = caller_for(archive)
    imports.run(caller, collection, Records(records(2000)))
    with acting(caller), connection.cursor() as cursor:
        cursor.execute("ANALYZE marketplace_representation")
        works.add(caller, Collection.objects.get(pk=collection), list(records(500, start=5000)))
        number = Collection.objects.get(pk=collection).number
        cursor.execute(
            "EXPLAIN " + works._LOOK,
            {"organization": archive.pk, "collection": number, "snapshot": 1},
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using representation_digest_is_unique" in plan
    assert "Seq Scan on marketplace_representation" not in plan


def test_a_work_names_its_contributor_and_an_unknown_one_is_refused(
    archive: Organization, client_for: Callable[..., ApiClient]
) -> None:
    caller = caller_for(archive)
    collection = str(collections.create(caller, name="Letters").pk)
    ada = contributors.add(caller, external_id="ada", consent="granted")
    by_ada, by_nobody = (
        dataclasses.replace(record, contributor=name)
        for record, name in zip(records(2), ("ada", "nobody"), strict=True)
    )

    job = imports.run(caller, collection, imports.Records([by_ada, by_nobody]))

    assert (job.imported, job.rejected) == (1, 1)
    client = client_for(archive)
    (work,) = client.get("/v1/works").json()["data"]
    assert (work["external_id"], work["contributor"]) == ("work-0", str(ada.pk))
    (left_out,) = client.get(f"/v1/imports/{job.pk}/rejections").json()["data"]
    assert (left_out["name"], left_out["code"]) == ("work-1", "contributor_unknown")
