"""Catalogues: each data set becomes a draft collection, and never a work."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marketplace import catalogues
from marketplace.errors import InvalidInput
from marketplace.models import Collection, Organization, Work
from tests.people import caller_for

pytestmark = pytest.mark.django_db

SET = {
    "id": "harbor",
    "name": "Harbor talk",
    "url": "https://harbor.example/talk",
    "languages": ["English", "Dutch"],
    "tasks": ["Question Answering"],
    "creators": ["Harbor museum"],
    "licenses": [{"name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}],
    "sha256": "0123456789abcdef" * 4,
}


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "catalogue.ndjson"
    path.write_bytes(
        b"".join(
            (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
            for line in lines
        )
    )
    return path


def test_each_data_set_becomes_a_draft_collection_without_works(
    archive: Organization, tmp_path: Path
) -> None:
    outcome = catalogues.run(caller_for(archive), written(tmp_path, SET, {**SET, "id": "two"}))
    assert (outcome.made, outcome.known, outcome.refused) == (2, 0, [])
    collection = Collection.objects.get(external_id="harbor")
    assert (collection.name, collection.source_url) == ("Harbor talk", SET["url"])
    assert collection.description == (
        "Creators: Harbor museum\nLanguages: English, Dutch\nTasks: Question Answering\n"
        "Licenses: CC BY 4.0"
    )
    # A digest of metadata is never a work's digest.
    assert Work.objects.count() == 0


def test_the_same_catalogue_again_makes_nothing(archive: Organization, tmp_path: Path) -> None:
    path = written(tmp_path, SET)
    catalogues.run(caller_for(archive), path)
    again = catalogues.run(caller_for(archive), path)
    assert (again.made, again.known, Collection.objects.count()) == (0, 1, 1)


def test_two_organizations_may_know_the_same_data_set(
    archive: Organization, stranger: Organization, tmp_path: Path
) -> None:
    path = written(tmp_path, SET)
    for organization in (archive, stranger):
        assert catalogues.run(caller_for(organization), path).made == 1


def test_a_bad_line_is_named_and_costs_no_good_one(archive: Organization, tmp_path: Path) -> None:
    long = b'{"id": "x", "name": "' + b"a" * catalogues.LINE_LENGTH_MAX + b'"}'
    path = written(
        tmp_path,
        SET,
        b'{"id": "cut in the mid',
        b"",
        [1],
        {"name": "No id"},
        {"id": "n", "name": " "},
        SET,
        {"id": "i" * 1001, "name": "N"},
        long,
        b"\xff\xfe",
        {"id": "last", "name": "Last"},
    )
    outcome = catalogues.run(caller_for(archive), path)
    assert [(one.line, one.field) for one in outcome.refused] == [
        (2, "line"),
        (4, "line"),
        (5, "id"),
        (6, "name"),
        (7, "id"),
        (8, "id"),
        (9, "line"),
        (10, "line"),
    ]
    assert set(Collection.objects.values_list("external_id", flat=True)) == {"harbor", "last"}


def test_a_dry_run_writes_nothing(archive: Organization, tmp_path: Path) -> None:
    outcome = catalogues.run(caller_for(archive), written(tmp_path, SET), dry_run=True)
    assert (outcome.made, Collection.objects.count()) == (1, 0)


def test_a_file_that_is_not_there_is_said(archive: Organization, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        catalogues.run(caller_for(archive), tmp_path / "none")


def test_the_command_counts_and_writes_what_was_refused(
    archive: Organization, tmp_path: Path
) -> None:
    out, rejected = StringIO(), tmp_path / "rejected.csv"
    command = ["import_catalogue", str(written(tmp_path, SET, {"id": "n"}))]
    command += ["--organization", str(archive.pk), "--rejected", str(rejected)]
    call_command(*command, stdout=out)
    assert "1 draft collections, 0 known before, 1 lines refused" in out.getvalue()
    assert list(csv.reader(rejected.read_text().splitlines())) == [
        ["line", "field", "reason"],
        ["2", "name", "This is missing or no text."],
    ]
    with pytest.raises(CommandError, match="no organization"):
        call_command("import_catalogue", "x", "--organization", "org_x")
