"""Croissant documents: real digests become works, everything else is named and costs nothing."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marketplace import croissant, imports
from marketplace.access import acting
from marketplace.errors import InvalidInput
from marketplace.models import Collection, Organization, Representation, Work
from tests.people import caller_for

pytestmark = pytest.mark.django_db

SHA = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
MD5 = "0123456789abcdef" * 2


def document(*distribution: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "@context": {"@vocab": "https://schema.org/", "cr": "http://mlcommons.org/croissant/"},
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": "Harbor sounds",
        "description": "Recordings of a harbor.",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "url": "https://harbor.example/sounds",
        "creator": {"@type": "sc:Organization", "name": "Harbor museum"},
        "inLanguage": ["en", "nl"],
        "distribution": list(distribution),
        **fields,
    }


def file_object(name: str = "a.zip", **fields: Any) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": f"https://harbor.example/{name}",
        "encodingFormat": "application/zip",
        "contentSize": "1204 B",
        **fields,
    }


def written(folder: Path, content: Any, name: str = "harbor.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_with_a_real_digest_becomes_a_work_by_reference(
    archive: Organization, tmp_path: Path
) -> None:
    path = written(tmp_path, document(file_object(sha256=SHA)))
    imported = croissant.run(caller_for(archive), path)
    assert (imported.job.imported, imported.job.rejected) == (1, 0)
    work = Work.objects.get()
    assert work.external_id == "Harbor sounds/a.zip"
    assert work.source_url == "https://harbor.example/a.zip"
    form = Representation.objects.get()
    assert bytes(form.digest).hex() == SHA
    assert (form.length, form.media_type, form.custody) == (1204, "application/zip", "reference")


# What real documents have in place of a digest.
@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({}, "no_digest", "sha256: missing"),
        ({"md5": MD5}, "no_digest", "sha256: missing; it has md5"),
        ({"sha256": "https://tracker.example/80"}, "digest_invalid", "https://tracker.example/80"),
        ({"sha256": MD5}, "digest_invalid", MD5),
        ({"sha256": SHA[:-1] + "g"}, "digest_invalid", "sha256: "),
        ({"sha256": 7}, "digest_invalid", "sha256: 7"),
        ({"sha256": ""}, "no_digest", "sha256: missing"),
    ],
)
def test_a_file_without_a_digest_is_a_rejected_row_and_the_collection_is_kept(
    archive: Organization, tmp_path: Path, fields: dict[str, Any], code: str, said: str
) -> None:
    caller = caller_for(archive)
    imported = croissant.run(caller, written(tmp_path, document(file_object(**fields))))
    assert (imported.job.imported, imported.job.rejected) == (0, 1)
    with acting(caller, writing=False):
        (row,) = imports.rejections(caller, str(imported.job.pk))
    assert (row.name, row.code) == ("Harbor sounds/a.zip", code)
    assert said in row.detail
    assert Work.objects.count() == 0
    assert Collection.objects.get().name == "Harbor sounds"


def test_one_bad_file_costs_no_good_one(archive: Organization, tmp_path: Path) -> None:
    files = [
        file_object("a"),
        file_object("b", sha256=SHA),
        file_object("b", sha256=OTHER),
        {"@type": "cr:FileSet", "@id": "set", "includes": "*.jpg"},
        file_object("c", sha256=OTHER.upper()),
    ]
    imported = croissant.run(caller_for(archive), written(tmp_path, document(*files)))
    assert (imported.job.imported, imported.job.rejected, imported.document.file_sets) == (2, 2, 1)
    assert {bytes(form.digest).hex() for form in Representation.objects.all()} == {SHA, OTHER}


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ("117743 B", 117743),
        ("8813B", 8813),
        (" B", 0),
        ("4.698 MB", 0),
        ("97.73 TiB", 0),
        (None, 0),
        (12, 0),
        ("9" * 30 + " B", 0),
    ],
)
def test_only_a_whole_number_of_bytes_is_a_length(
    archive: Organization, tmp_path: Path, said: Any, length: int
) -> None:
    path = written(tmp_path, document(file_object(sha256=SHA, contentSize=said)))
    croissant.run(caller_for(archive), path)
    assert Representation.objects.get().length == length


def test_the_description_tells_what_a_searcher_asks_for(
    archive: Organization, tmp_path: Path
) -> None:
    croissant.run(caller_for(archive), written(tmp_path, document()))
    collection = Collection.objects.get()
    assert collection.description == (
        "Recordings of a harbor.\n\nCreators: Harbor museum\n\nLanguages: en, nl\n\n"
        "License: https://creativecommons.org/licenses/by/4.0/"
    )
    assert collection.source_url == "https://harbor.example/sounds"


def test_a_document_without_a_name_takes_its_files(archive: Organization, tmp_path: Path) -> None:
    nameless = document(file_object(sha256=SHA))
    del nameless["name"], nameless["url"], nameless["description"]
    croissant.run(caller_for(archive), written(tmp_path, nameless, "squad.json"))
    assert Collection.objects.get().name == "squad"


def test_importing_again_finds_the_collection_and_adds_what_is_new(
    archive: Organization, tmp_path: Path
) -> None:
    caller = caller_for(archive)
    croissant.run(caller, written(tmp_path, document(file_object("a", sha256=SHA))))
    both = document(file_object("a", sha256=SHA), file_object("b", sha256=OTHER))
    again = croissant.run(caller, written(tmp_path, both))
    assert (again.job.imported, again.job.repeated) == (1, 1)
    assert Collection.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ("{", "file"),
        ("[]", "file"),
        ("\x00", "file"),
        ('{"@type": "sc:Person"}', "@type"),
        ('{"@type": "sc:Dataset", "distribution": {"a": 1}}', "distribution"),
        ('{"@type": "sc:Dataset", "distribution": [1]}', "distribution"),
        ("[" * 100_000, "file"),
    ],
)
def test_what_is_no_croissant_document_is_refused_and_leaves_nothing(
    archive: Organization, tmp_path: Path, content: str, param: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        croissant.run(caller_for(archive), written(tmp_path, content))
    assert refused.value.data["param"] == param
    assert Collection.objects.count() == 0


def test_a_huge_file_is_refused_before_it_is_parsed(archive: Organization, tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(croissant.SIZE_MAX + 1)
    with pytest.raises(InvalidInput, match="at most"):
        croissant.run(caller_for(archive), path)


def test_the_command_prints_counts_for_each_file(archive: Organization, tmp_path: Path) -> None:
    good = written(tmp_path, document(file_object(sha256=SHA), file_object("b", md5=MD5)))
    bad = written(tmp_path, "{", "bad.json")
    out, err = StringIO(), StringIO()
    call_command(
        "import_croissant", good, bad, "--organization", archive.pk, stdout=out, stderr=err
    )
    assert "harbor.json: 1 works, 0 known before, 1 rejected, 0 file sets" in out.getvalue()
    assert "no_digest (1): Harbor sounds/b: sha256: missing; it has md5" in out.getvalue()
    assert "bad.json: file: The file is no JSON" in err.getvalue()
    with pytest.raises(CommandError, match="None of these"):
        call_command("import_croissant", bad, "--organization", archive.pk, stderr=err)
    with pytest.raises(CommandError, match="no organization"):
        call_command("import_croissant", good, "--organization", "org_x")
