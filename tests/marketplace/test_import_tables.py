"""Imports from tables and feeds: each bad row named, no good one lost, nothing lost by a stop."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from licensing import optouts
from licensing.models import OptOut
from marketplace import collections, contributors, imports, uploads
from marketplace.access import acting, system
from marketplace.errors import DomainError, InvalidInput
from marketplace.imports import engine, queue
from marketplace.models import (
    CollectionItem,
    Contributor,
    ContributorIdentity,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
    WorkIdentifier,
)
from tests.database import TestDatabase
from tests.people import ApiClient, caller_for, found

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db
HEADER = "external_id,sha256,length,title"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(name: str, *more: str) -> str:
    return ",".join([name, digest(name), "10", *(more or (f"Title {name}",))])


def collection_of(organization: Organization) -> str:
    return str(collections.create(caller_for(organization), name="Letters").pk)


def bring(
    organization: Organization, path: Path, content: str | bytes, **how: Any
) -> tuple[ImportJob, list[tuple[int | None, str, str]]]:
    """Import a file into a new collection; returns its job, and (line, field, code) of the rest."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    dry_run = how.pop("dry_run", False)
    into = how.pop("into", None) or collection_of(organization)
    source = imports.open_table(path, **how)
    job = imports.run(
        caller_for(organization), into, source, dry_run=dry_run, taken=optouts.of_feed
    )
    with acting(caller_for(organization), writing=False):
        rows = imports.rejections(caller_for(organization), str(job.pk)).order_by("id")
        return job, [(one.line, one.field, one.code) for one in rows]


def names(organization: Organization) -> list[str]:
    with acting(caller_for(organization), writing=False):
        return sorted(
            Work.objects.filter(organization=organization).values_list("external_id", flat=True)
        )


def live(organization: Organization) -> list[str]:
    """The titles of what the collections hold now."""
    with acting(caller_for(organization), writing=False):
        items = CollectionItem.objects.filter(organization=organization, removed_in__isnull=True)
        return sorted(items.values_list("work__title", flat=True))


# --- CSV --------------------------------------------------------------------------------------


def test_a_row_keeps_the_owner_s_own_words(archive: Organization, tmp_path: Path) -> None:
    text = (
        "external_id,sha256,length,title,source_url,language,revision,media_type,isbn,iscc,"
        "contributor,contributor_name,contributor_email,consent\n"
        f"w-1,{digest('w-1')},12,“Ode”,https://example.org/1,pt-BR,v3,text/plain,0-306-40615-2,"
        "KACYPXW445FTYNJ3,c-1,Ada,ada@example.org,granted\n"
    )
    job, left = bring(archive, tmp_path / "w.csv", text)
    assert (job.imported, left) == (1, [])
    with acting(caller_for(archive), writing=False):
        work = Work.objects.get()
        form = Representation.objects.get()
        known = dict(WorkIdentifier.objects.values_list("scheme", "value"))
        who = Contributor.objects.get()
        named = ContributorIdentity.objects.get()
    assert (work.external_id, work.title, work.source_url) == (
        "w-1",
        "“Ode”",
        "https://example.org/1",
    )
    assert (work.language, work.revision, work.contributor_id) == ("pt-BR", "v3", who.pk)
    assert (bytes(form.digest).hex(), form.length, form.custody) == (digest("w-1"), 12, "reference")
    assert known == {"isbn": "9780306406157", "iscc": "ISCC:KACYPXW445FTYNJ3"}
    assert (who.external_id, who.consent, named.name, named.email) == (
        "c-1",
        "granted",
        "Ada",
        "ada@example.org",
    )


BAD = {
    "an id that is empty": (row(""), ("external_id", "missing")),
    "no digest": ("w-2,,10,T", ("sha256", "no_digest")),
    "a digest that is not hex": (f"w-2,{'z' * 64},10,T", ("sha256", "digest_invalid")),
    "a digest that is an MD5": (f"w-2,{'a' * 32},10,T", ("sha256", "digest_invalid")),
    "a length that is a word": (f"w-2,{digest('w-2')},long,T", ("length", "not_a_number")),
    "a negative length": (f"w-2,{digest('w-2')},-1,T", ("length", "out_of_range")),
    "a length past 2^53": (f"w-2,{digest('w-2')},{2**53},T", ("length", "out_of_range")),
    "too many columns": (row("w-2", "T", "more"), ("", "wrong_column_count")),
    "too few columns": (f"w-2,{digest('w-2')}", ("", "wrong_column_count")),
    "a null character": (f"w-2,{digest('w-2')},10,T\0", ("title", "characters_not_allowed")),
    "a long title": (f"w-2,{digest('w-2')},10,{'t' * 1001}", ("title", "field_too_long")),
    "a quote inside": (f'w-2,{digest("w-2")},10,"T"t', ("", "malformed")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_costs_no_good_one(
    name: str, archive: Organization, tmp_path: Path
) -> None:
    bad, reason = BAD[name]
    job, left = bring(
        archive, tmp_path / "w.csv", "\n".join([HEADER, row("w-1"), bad, row("w-3")]) + "\n"
    )
    assert (job.imported, job.rejected) == (2, 1)
    assert left == [(3, *reason)]
    assert names(archive) == ["w-1", "w-3"]


def test_two_gigabytes_are_a_length_like_any_other(archive: Organization, tmp_path: Path) -> None:
    job, left = bring(archive, tmp_path / "w.csv", f"{HEADER}\nw,{digest('w')},{2 << 30},T\n")
    assert (job.imported, left, job.bytes_read) == (1, [], 2 << 30)


def test_a_field_of_ten_million_characters_costs_its_row_and_little_memory(
    archive: Organization, tmp_path: Path
) -> None:
    huge = f'w-2,{digest("w-2")},10,"{"x" * 10_000_000}"'
    job, left = bring(
        archive, tmp_path / "w.csv", "\n".join([HEADER, row("w-1"), huge, row("w-3")])
    )
    assert (job.imported, left) == (2, [(3, "", "field_too_long")])


def test_bytes_that_are_no_utf8_cost_their_row(archive: Organization, tmp_path: Path) -> None:
    bad = f"w-2,{digest('w-2')},10,".encode() + b"caf\xe9"
    text = b"\n".join([HEADER.encode(), row("w-1").encode(), bad, row("w-3").encode()])
    job, left = bring(archive, tmp_path / "w.csv", text)
    assert (job.imported, left) == (2, [(3, "title", "not_utf8")])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_byte_order_mark_and_other_separators_are_read(
    delimiter: str, archive: Organization, tmp_path: Path
) -> None:
    text = "\ufeff" + "\r\n".join([HEADER, row("w-1"), row("w-2")]).replace(",", delimiter)
    job, left = bring(archive, tmp_path / "w.csv", text)
    assert (job.imported, left) == (2, [])


def test_a_quote_that_is_never_closed_costs_one_line(archive: Organization, tmp_path: Path) -> None:
    bad = f'w-2,{digest("w-2")},10,"open'
    job, left = bring(archive, tmp_path / "w.csv", "\n".join([HEADER, row("w-1"), bad, row("w-3")]))
    assert (job.imported, left) == (2, [(3, "", "unclosed_quote")])


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", "file"),
        ("external_id,title\nw,t\n", "columns"),
        ("external_id,sha256,sha256,length\nw,a,b,1\n", "columns"),
        (b"\x1f\x8b\x08", "file"),
        (b"PAR1", "file"),
        (b"\xff\xfeh", "file"),
    ],
)
def test_what_is_no_such_table_is_refused_before_anything_is_written(
    text: str | bytes, param: str, archive: Organization, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as refused:
        bring(archive, tmp_path / "w.csv", text)
    assert refused.value.data["param"] == param
    assert not ImportJob.objects.exists()


def test_a_column_of_another_name_is_said(archive: Organization, tmp_path: Path) -> None:
    text = f"key,hash_of_it,octets\nw-1,{digest('w-1')},10\n"
    columns = {"external_id": "key", "sha256": "hash_of_it", "length": "octets"}
    job, left = bring(archive, tmp_path / "w.csv", text, columns=columns)
    assert (job.imported, left) == (1, [])
    with pytest.raises(InvalidInput) as refused:
        bring(archive, tmp_path / "w.csv", text, columns={"external_id": "nothing"})
    assert refused.value.data["missing"] == "external_id"


def test_the_same_id_twice_with_other_bytes_is_refused_once(
    archive: Organization, tmp_path: Path
) -> None:
    other = f"w-1,{digest('other')},10,Other"
    job, left = bring(archive, tmp_path / "w.csv", "\n".join([HEADER, row("w-1"), other]))
    assert (job.imported, left) == (1, [(3, "external_id", "name_taken")])
    assert live(archive) == ["Title w-1"]


def test_who_does_not_consent_is_left_out_and_stays_out(
    archive: Organization, tmp_path: Path
) -> None:
    header = "external_id,sha256,length,contributor,consent"
    rows = [
        f"w-1,{digest('1')},1,ada,granted",
        f"w-2,{digest('2')},1,bob,refused",
        f"w-3,{digest('3')},1,bob,granted",
        f"w-4,{digest('4')},1,nobody,",
    ]
    job, left = bring(archive, tmp_path / "w.csv", "\n".join([header, *rows]))
    assert left == [(3, "consent", "consent_refused"), (4, "consent", "consent_refused")]
    assert job.imported == 2
    with acting(caller_for(archive), writing=False):
        consents = dict(Contributor.objects.values_list("external_id", "consent"))
    assert consents == {"ada": "granted", "bob": "refused", "nobody": "unknown"}


def test_reserved_bytes_are_left_out_with_their_reason(
    archive: Organization, tmp_path: Path
) -> None:
    optouts.record_everywhere([bytes.fromhex(digest("w-1"))], reason="By court order.")
    job, left = bring(archive, tmp_path / "w.csv", "\n".join([HEADER, row("w-1"), row("w-2")]))
    assert (job.imported, left) == (1, [(2, "sha256", "opted_out")])


# --- the report -------------------------------------------------------------------------------


def test_the_rejected_rows_are_downloaded_and_no_spreadsheet_runs_them(
    client_for: ClientFor, archive: Organization, stranger: Organization, tmp_path: Path
) -> None:
    job, _left = bring(
        archive, tmp_path / "w.csv", "\n".join([HEADER, "=cmd|' /C calc'!A0,x,1,T", row("w-1")])
    )
    answer = client_for(archive).get(f"/v1/imports/{job.pk}/rejections.csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode()
    [header, rejected] = list(csv.reader(io.StringIO(text)))
    assert header == ["line", "field", "code", "detail", "external_id"]
    assert rejected[:3] == ["2", "sha256", "digest_invalid"]
    assert rejected[4] == "'=cmd|' /C calc'!A0"
    assert client_for(stranger).get(f"/v1/imports/{job.pk}/rejections.csv").status_code == 404


def test_a_dry_run_says_what_an_import_would_and_writes_no_work(
    archive: Organization, tmp_path: Path
) -> None:
    header = f"{HEADER},contributor,consent"
    rows = [row("w-1", "T", "ada", "granted"), row("w-2", "T", "bob", "refused"), "w-3,,1,T,,"]
    text = "\n".join([header, *rows, row("w-1", "T", "ada", "")])
    tried, would = bring(archive, tmp_path / "w.csv", text, dry_run=True)
    assert (tried.imported, tried.repeated, tried.rejected) == (1, 1, 2)
    with system("count in a test"):
        assert (
            Work.objects.count()
            == Contributor.objects.count()
            == CollectionItem.objects.count()
            == 0
        )
    done, left = bring(archive, tmp_path / "w.csv", text)
    assert (done.imported, done.repeated, left) == (1, 1, would)


# --- NDJSON and feeds -------------------------------------------------------------------------


def line(name: str, **more: Any) -> str:
    return json.dumps({"external_id": name, "sha256": digest(name), "length": 10, **more})


def test_ndjson_is_read_a_line_at_a_time(archive: Organization, tmp_path: Path) -> None:
    lines = [
        line("w-1", title="One"),
        "[]",
        '{"external_id": "w-2", "external_id": "w-3"}',
        line("w-4", title={"en": "Four"}),
        "{" * 100_000,
        line("w-5", title="Five"),
        line("w-6")[:-9],
    ]
    job, left = bring(archive, tmp_path / "w.ndjson", "\n".join(lines))
    assert job.imported == 2
    assert left == [
        (2, "", "not_an_object"),
        (3, "", "duplicate_key"),
        (4, "title", "wrong_type"),
        (5, "", left[3][2]),
        (7, "", "cut_off"),
    ]
    assert left[3][2] in {"malformed", "nested_too_deeply"}
    assert live(archive) == ["Five", "One"]


def feed(*changes: tuple[str, str, str]) -> str:
    """Lines of (op, id, content); the title is the content."""
    return "\n".join(
        json.dumps({"op": op, "external_id": name})
        if op == "delete"
        else json.dumps(
            {"op": op, "external_id": name, "sha256": digest(text), "length": 1, "title": text}
        )
        for op, name, text in changes
    )


def test_a_feed_brings_what_is_new_changes_what_is_known_and_deletes(
    archive: Organization, tmp_path: Path
) -> None:
    into = collection_of(archive)
    path = tmp_path / "feed.ndjson"
    first, _ = bring(
        archive, path, feed(("upsert", "a", "A"), ("upsert", "b", "B")), feed=True, into=into
    )
    assert (first.imported, first.updated, first.removed) == (2, 0, 0)
    second, left = bring(
        archive,
        tmp_path / "feed2.ndjson",
        feed(
            ("upsert", "a", "A2"),
            ("upsert", "b", "B"),
            ("upsert", "c", "C"),
            ("delete", "b", ""),
            ("delete", "z", ""),
            ("upsert", "c", "A"),
        ),
        feed=True,
        into=into,
    )
    assert (second.imported, second.updated, second.removed, second.repeated) == (1, 1, 1, 1)
    assert left == [
        (2, "", "repeated"),
        (5, "external_id", "unknown_id"),
        (6, "sha256", "digest_of_another_work"),
    ]
    assert live(archive) == ["A2", "C"]


def test_what_a_feed_deletes_is_opted_out_with_the_import(
    archive: Organization, tmp_path: Path
) -> None:
    into = collection_of(archive)
    bring(archive, tmp_path / "1", feed(("upsert", "a", "A")), feed=True, into=into)
    bring(archive, tmp_path / "2", feed(("delete", "a", "")), feed=True, into=into)
    with system("look in a test"):
        [out] = OptOut.objects.all()
    assert (out.by, out.size) == ("feed", 1)
    again, left = bring(archive, tmp_path / "3", feed(("upsert", "a", "A")), feed=True, into=into)
    assert (again.imported, left) == (0, [(1, "sha256", "opted_out")])


def test_a_feed_that_is_tried_only_changes_nothing(archive: Organization, tmp_path: Path) -> None:
    into = collection_of(archive)
    bring(archive, tmp_path / "1", feed(("upsert", "a", "A")), feed=True, into=into)
    tried, _left = bring(
        archive,
        tmp_path / "2",
        feed(("delete", "a", ""), ("upsert", "b", "B")),
        feed=True,
        into=into,
        dry_run=True,
    )
    assert (tried.removed, tried.imported) == (1, 1)
    assert live(archive) == ["A"]
    with system("count in a test"):
        assert not OptOut.objects.exists()


# --- Parquet ----------------------------------------------------------------------------------


def test_parquet_is_read_row_by_row_and_goes_on_after_a_stop(
    archive: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, into = tmp_path / "w.parquet", collection_of(archive)
    count = 25
    columns = {
        "external_id": list(range(count)),
        "sha256": [bytes.fromhex(digest(str(n))) for n in range(count)],
        "length": [None if n == 7 else 10 for n in range(count)],
        "title": [f"T{n}" for n in range(count)],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    monkeypatch.setattr(engine, "BATCH_LENGTH", 4)
    source = imports.open_table(path)
    monkeypatch.setattr(source, "settle", _fail_third())
    with pytest.raises(OSError, match="stopped"):
        imports.run(caller_for(archive), into, source)
    assert len(names(archive)) == 7
    job = imports.run(caller_for(archive), into, imports.open_table(path))
    assert (job.imported, job.rejected, job.source_read) == (24, 1, path.stat().st_size)
    with acting(caller_for(archive), writing=False):
        [left] = imports.rejections(caller_for(archive), str(job.pk))
    assert (left.line, left.field, left.code) == (8, "length", "missing")


def _fail_third() -> Callable[[], None]:
    batches = []

    def settle() -> None:
        batches.append(1)
        if len(batches) == 3:
            raise OSError("stopped")

    return settle


@pytest.mark.parametrize(
    "columns",
    [
        {"external_id": ["w"], "sha256": ["a"]},
        {"external_id": ["w"], "sha256": [1.5], "length": [1]},
        {"external_id": ["w"], "sha256": ["a"], "length": [[1]]},
    ],
)
def test_parquet_of_another_schema_is_refused_by_its_column(
    columns: dict[str, Any], archive: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "w.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(InvalidInput) as refused:
        imports.run(caller_for(archive), collection_of(archive), imports.open_table(path))
    assert refused.value.data["param"] == "columns"
    assert not ImportJob.objects.exists()


# --- asked for over HTTP ----------------------------------------------------------------------


def upload(organization: Organization, content: str) -> str:
    caller, data = caller_for(organization), content.encode()
    begun = uploads.begin(caller, length=len(data))
    uploads.append(caller, begun.pk, 0, io.BytesIO(data))
    return str(uploads.finish(caller, begun.pk).pk)


@pytest.fixture(autouse=True)
def upload_dir(settings: Any, tmp_path: Path) -> None:
    settings.UPLOAD_DIR = tmp_path / "uploads"


def test_an_upload_is_imported_by_the_worker_and_watched(
    client_for: ClientFor, archive: Organization
) -> None:
    client, into = client_for(archive), collection_of(archive)
    brought = upload(archive, "\n".join([HEADER, row("w-1"), "w-2,,1,T"]))
    body = {"upload": brought, "format": "csv"}
    first, retried = (
        client.post(f"/v1/collections/{into}/imports", body, Idempotency_Key="k") for _time in "12"
    )
    assert (first.status_code, first.json()["status"]) == (202, "queued")
    assert retried.json() == first.json()
    assert queue.carry_out_due() == 1
    done = client.get(first["Location"]).json()
    assert (done["status"], done["imported"], done["rejected"]) == ("finished", 1, 1)
    assert done["source_read"] == done["source_length"]
    assert queue.carry_out_due() == 0


def test_what_is_no_table_is_refused_when_it_is_asked_for(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    client, into = client_for(archive), collection_of(archive)
    bad = upload(archive, "external_id,title\nw,t\n")
    good = upload(archive, f"{HEADER}\n{row('w')}\n")
    for body, param in (
        ({"upload": bad, "format": "csv"}, "columns"),
        ({"upload": good, "format": "xml"}, "format"),
        ({"upload": good, "columns": {"sha256": "hash"}, "format": "csv"}, "columns"),
        ({"upload": good, "feed": True, "format": "csv"}, "format"),
    ):
        answer = client.post(f"/v1/collections/{into}/imports", body)
        assert (answer.status_code, answer.json()["param"]) == (422, param)
    foreign = upload(stranger, f"{HEADER}\n{row('w')}\n")
    assert client.post(f"/v1/collections/{into}/imports", {"upload": foreign}).status_code == 404
    with system("count in a test"):
        assert not ImportJob.objects.exists()


def test_a_queued_import_is_canceled_and_never_runs(
    client_for: ClientFor, archive: Organization
) -> None:
    client, into = client_for(archive), collection_of(archive)
    brought = upload(archive, f"{HEADER}\n{row('w')}\n")
    made = client.post(f"/v1/collections/{into}/imports", {"upload": brought, "format": "csv"})
    for _time in range(2):
        answer = client.post(f"/v1/imports/{made.json()['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert queue.carry_out_due() == 0
    assert names(archive) == []


def test_an_import_whose_worker_died_is_taken_up_by_the_next(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, into = client_for(archive), collection_of(archive)
    brought = upload(archive, "\n".join([HEADER, *(row(f"w-{n}") for n in range(30))]))
    client.post(f"/v1/collections/{into}/imports", {"upload": brought, "format": "csv"})
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)
    batches = []

    def dies(*arguments: Any) -> Any:
        batches.append(1)
        if len(batches) == 2:
            raise SystemExit
        return commit(*arguments)

    commit = engine._commit
    monkeypatch.setattr(engine, "_commit", dies)
    # As `kill -9` would: nobody notes that it stopped.
    monkeypatch.setattr(engine, "_stop", lambda *_arguments: None)
    with pytest.raises(SystemExit):
        queue.carry_out_due()
    assert len(names(archive)) == 10
    assert queue.carry_out_due() == 0  # its lease still holds
    with system("let a lease end in a test"):
        ImportJob.objects.update(leased_until=None)
    assert queue.carry_out_due() == 1
    with system("look in a test"):
        job = ImportJob.objects.get()
    assert (job.status, job.imported, len(names(archive))) == ("finished", 30, 30)


# --- the command ------------------------------------------------------------------------------


def test_the_command_imports_reports_and_says_the_way_on(
    archive: Organization, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "w.csv", tmp_path / "bad.csv"
    path.write_text("\n".join([HEADER, row("w-1"), "w-2,,1,T"]))
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 rows were rejected") as some:
        call_command(
            "import_works",
            str(path),
            organization=str(archive.pk),
            collection=collection_of(archive),
            rejections=report,
            stdout=out,
            stderr=io.StringIO(),
        )
    assert some.value.returncode == 3
    assert "1 imported" in out.getvalue()
    assert "no_digest (1)" in out.getvalue()
    assert report.read_text().splitlines()[1].startswith("3,sha256,no_digest")


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_a_killed_import_goes_on_where_it_stopped(
    tmp_path: Path, django_db_setup: TestDatabase
) -> None:
    archive = found("Archive", "platform")
    into = collection_of(archive)
    path = tmp_path / "w.csv"
    count = 60_000
    with path.open("w") as file:
        print(HEADER, file=file)
        for number in range(count):
            print(row(f"w-{number:06}"), file=file)
    command = [
        *(sys.executable, "manage.py", "import_works", str(path)),
        *("--organization", str(archive.pk), "--collection", into),
    ]
    running = subprocess.Popen(
        command,
        cwd=django_settings.BASE_DIR,
        env=django_db_setup.environ,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        with system("look at a test's import"):
            job = ImportJob.objects.first()
        if job is not None and job.imported:
            break
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    with system("look at a test's import"):
        before = ImportJob.objects.get()
    assert before.status == "running"
    assert 0 < before.imported < count
    done = subprocess.run(
        command,
        cwd=django_settings.BASE_DIR,
        env=django_db_setup.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with system("look at a test's import"):
        job = ImportJob.objects.get()
        assert (job.status, job.imported, job.rejected + job.repeated) == ("finished", count, 0)
        assert Work.objects.count() == CollectionItem.objects.count() == count
        assert not ImportRejection.objects.exists()


def test_a_stopped_import_of_another_file_of_that_name_is_refused(
    archive: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, path = collection_of(archive), tmp_path / "w.csv"
    monkeypatch.setattr(engine, "_finish", _fail)
    with pytest.raises(OSError, match="stopped"):
        bring(archive, path, f"{HEADER}\n{row('w-1')}\n", into=into)
    monkeypatch.undo()
    with pytest.raises(DomainError) as refused:
        bring(archive, path, f"{HEADER}\n{row('w-2')}\n", into=into)
    assert refused.value.code == "import_source_changed"


def _fail(*_arguments: Any) -> None:
    raise OSError("stopped")


def test_a_withdrawn_contributor_s_works_are_not_brought_back(
    archive: Organization, tmp_path: Path
) -> None:
    made = contributors.add(caller_for(archive), external_id="ada", consent="granted")
    contributors.set_consent(caller_for(archive), str(made.pk), consent="withdrawn")
    text = f"external_id,sha256,length,contributor,consent\nw,{digest('w')},1,ada,granted\n"
    job, left = bring(archive, tmp_path / "w.csv", text)
    assert (job.imported, left) == (0, [(2, "consent", "consent_refused")])
