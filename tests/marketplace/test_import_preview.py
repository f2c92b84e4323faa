"""What a person sees before an import runs: exact, and nothing of it written."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.db import connection

from marketplace import collections, previews, uploads
from marketplace.access import acting, system
from marketplace.errors import NotFound, UploadIncomplete
from marketplace.imports import guesses, queue
from marketplace.imports.templates import Columns
from marketplace.models import ImportJob, ImportRejection, Organization, Upload, Work
from tests.people import caller_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def upload_dir(settings: Any, tmp_path: Path) -> None:
    settings.UPLOAD_DIR = tmp_path / "uploads"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sent(organization: Organization, content: str | bytes, name: str = "works.csv") -> Any:
    caller = caller_for(organization)
    data = content if isinstance(content, bytes) else content.encode()
    begun = uploads.begin(caller, length=len(data), name=name)
    uploads.append(caller, begun.pk, 0, io.BytesIO(data))
    return uploads.finish(caller, begun.pk).pk


def shown(organization: Organization, content: str | bytes, **how: Any) -> previews.Preview:
    return previews.make(caller_for(organization), upload=sent(organization, content), **how)


GERMAN = "\n".join(
    [
        "Bild-Nr;Titel;Prüfsumme;Dateigröße;Sprache;Adresse;Lager",
        *(
            f"b-{n};Brief {n};{digest(str(n))};{n + 1};de;https://example.org/{n};Keller"
            for n in range(30)
        ),
        "b-30;Brief ohne Summe;;5;de;;Keller",
    ]
)


def test_a_german_catalogue_with_semicolons_is_understood(archive: Organization) -> None:
    found = shown(archive, GERMAN)
    assert (found.look.kind, found.look.delimiter, found.look.encoding) == ("csv", ";", "utf-8")
    assert dict(found.mapping.columns) == {
        "external_id": "Bild-Nr",
        "sha256": "Prüfsumme",
        "length": "Dateigröße",
        "title": "Titel",
        "source_url": "Adresse",
        "language": "Sprache",
    }
    assert found.can_run
    assert found.missing == []
    ignored = [column.name for column in found.columns if column.is_ignored]
    assert ignored == ["Lager"]
    assert found.columns[1].samples == ["Brief 0", "Brief 1", "Brief 2"]
    assert [work.external_id for work in found.works] == [f"b-{n}" for n in range(20)]
    assert (found.works[0].title, found.works[0].language) == ("Brief 0", "de")
    [problem] = found.problems
    assert (problem.line, problem.field, problem.code) == (32, "sha256", "no_digest")
    assert "Add it and import again" in problem.why
    assert (found.rows_read, found.rows_estimated, found.is_whole) == (31, 31, True)


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("asset id,sha-256,size,headline,link", "external_id sha256 length title source_url"),
        ("identifiant,empreinte,taille,titre,langue", "external_id sha256 length title language"),
        ("identificador,hash,tamaño,título,idioma", "external_id sha256 length title language"),
        ("Filename,SHA256 Hash,File Size,Caption,Byline", "external_id sha256 length title"),
        ("ID,Checksum,Bytes,Name,URL", "external_id sha256 length title source_url"),
    ],
)
def test_columns_are_guessed_in_several_spellings_and_languages(header: str, fields: str) -> None:
    names = header.split(",")
    found = guesses.guess(names, {})
    assert " ".join(found).startswith(fields)
    assert [found[name] for name in fields.split()] == names[: len(fields.split())]


def test_a_digest_is_known_by_what_it_looks_like_and_another_hash_is_not(
    archive: Organization,
) -> None:
    found = guesses.guess(
        ["id", "hash", "proof", "size"], {"hash": ["d41d8cd9"], "proof": [digest("a"), digest("b")]}
    )
    assert found == {"external_id": "id", "sha256": "proof", "length": "size"}
    # Two that look alike are left to the person.
    two = {"one": [digest("a")], "two": [digest("b")]}
    assert "sha256" not in guesses.guess(["one", "two"], two)


def test_a_column_that_nobody_guesses_is_asked_for(archive: Organization) -> None:
    content = f"nr,prf,wieviel\na,{digest('a')},12\n"
    found = shown(archive, content)
    assert found.missing == ["external_id", "length"]
    assert (found.can_run, list(found.works)) == (False, [])
    mapping = Columns(
        {"external_id": "nr", "sha256": "prf", "length": "wieviel"}, {"language": "fr"}
    )
    again = shown(archive, content, mapping=mapping)
    assert again.can_run
    assert [(work.external_id, work.language) for work in again.works] == [("a", "fr")]


def test_nothing_is_written_and_the_collection_is_asked(archive: Organization) -> None:
    caller = caller_for(archive)
    into = str(collections.create(caller, name="Letters").pk)
    first = f"id,sha256,size\na,{digest('a')},1\n"
    queue.ask(caller, into, reader=caller, upload=str(sent(archive, first)), format="csv")
    assert queue.carry_out_due() == 1
    content = f"id,sha256,size\na,{digest('a')},1\nb,{digest('b')},2\nb,{digest('c')},2\n"
    upload = sent(archive, content)
    with system("count what a preview may not write"):
        before = [model.objects.count() for model in (Work, ImportJob, ImportRejection, Upload)]
    found = previews.make(caller, upload=upload, collection=into)
    assert [(one.line, one.code) for one in found.problems] == [(2, "repeated"), (4, "name_taken")]
    assert [work.external_id for work in found.works] == ["b"]
    assert found.counts == {"repeated": 1, "name_taken": 1}
    with system("count what a preview may not write"):
        after = [model.objects.count() for model in (Work, ImportJob, ImportRejection, Upload)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('import_trial')")
            assert cursor.fetchone() == (None,)
    assert after == before


def test_a_long_file_is_estimated_by_its_begin(archive: Organization) -> None:
    rows = "".join(f"w-{n:06},{digest(str(n))},10\n" for n in range(4_000))
    found = shown(archive, f"id,sha256,length\n{rows}", rows_max=500)
    assert (found.rows_read, found.is_whole) == (500, False)
    assert 3_900 <= found.rows_estimated <= 4_100
    assert found.seconds_estimated == pytest.approx(found.rows_estimated / previews.PACE)


def test_ndjson_and_parquet_are_found_by_their_content(
    archive: Organization, tmp_path: Path
) -> None:
    line = json.dumps({"asset_id": "a", "sha256": digest("a"), "bytes": 5, "Titel": "Ä"})
    lines = shown(archive, f"{line}\nno json\n")
    assert (lines.look.kind, [one.code for one in lines.problems]) == ("ndjson", ["malformed"])
    assert (lines.works[0].external_id, lines.works[0].title) == ("a", "Ä")
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"key": ["p"], "sha256": [bytes.fromhex(digest("p"))], "size": [7]}), path
    )
    table = shown(archive, path.read_bytes())
    assert (table.look.kind, table.rows_estimated) == ("parquet", 1)
    assert dict(table.mapping.columns)["external_id"] == "key"
    assert (table.works[0].external_id, table.works[0].length) == ("p", 7)


def test_a_croissant_document_shows_its_files(archive: Organization) -> None:
    document = {
        "@context": {},
        "@type": "sc:Dataset",
        "name": "Set",
        "distribution": [
            {"@type": "cr:FileObject", "@id": "a", "sha256": digest("a"), "contentSize": "5 B"},
            {"@type": "cr:FileObject", "@id": "b"},
        ],
    }
    for text in (json.dumps(document), json.dumps(document, indent=1)):
        found = shown(archive, text)
        assert (found.look.kind, found.can_run) == ("croissant", True)
        assert [work.external_id for work in found.works] == ["Set/a"]
        assert found.counts == {"no_digest": 1}


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"PK\x03\x04rest", "zip", "Unpack it"),
        (gzip.compress(b"id,sha256", mtime=0), "gzip", "Unpack it"),
        ("id,sha256\n".encode("utf-16"), "csv", "Save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "unknown", "no table"),
        (b" \n", "csv", "empty"),
        (b'{"a": 1,\n', "json", "no JSON"),
    ],
)
def test_what_is_no_table_says_what_to_do(
    archive: Organization, content: bytes, kind: str, says: str
) -> None:
    found = shown(archive, content)
    assert (found.look.kind, found.can_run) == (kind, False)
    assert says in found.refusal


def test_bytes_of_windows_are_named_as_such(archive: Organization) -> None:
    rows = f"id,sha256,length,title\na,{digest('a')},1,Köln\n".encode("cp1252")
    found = shown(archive, rows)
    assert found.look.encoding == "windows-1252"
    assert [(one.line, one.field, one.code) for one in found.problems] == [(2, "title", "not_utf8")]


def test_formulas_and_markup_stay_what_they_are(archive: Organization) -> None:
    title = "<script>alert(1)</script>=1+1"
    out = io.StringIO()
    csv.writer(out).writerows([["id", "sha256", "length", "title"], ["a", digest("a"), 1, title]])
    assert shown(archive, out.getvalue()).works[0].title == title


def test_a_stranger_and_an_unfinished_upload_are_refused(
    archive: Organization, stranger: Organization
) -> None:
    upload = sent(archive, GERMAN)
    with pytest.raises(NotFound):
        previews.make(caller_for(stranger), upload=upload)
    begun = uploads.begin(caller_for(archive), length=5)
    with pytest.raises(UploadIncomplete):
        previews.make(caller_for(archive), upload=begun.pk)
    other = str(collections.create(caller_for(stranger), name="Theirs").pk)
    with pytest.raises(NotFound):
        previews.make(caller_for(archive), upload=upload, collection=other)
    with acting(caller_for(archive), writing=False):
        assert not ImportJob.objects.exists()
