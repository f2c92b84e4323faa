"""Columns as a person chose them: kept with the import, and remembered for the next file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketplace import collections, imports, previews
from marketplace.access import acting, system
from marketplace.errors import ImportEnded, InvalidInput, NotFound
from marketplace.imports import engine, queue
from marketplace.imports.corrections import rejected_rows
from marketplace.imports.templates import Columns, recall, remember
from marketplace.models import ColumnTemplate, ImportJob, Organization, Work
from tests.marketplace.test_import_preview import digest, sent
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def upload_dir(settings: Any, tmp_path: Path) -> None:
    settings.UPLOAD_DIR = tmp_path / "uploads"


def collection_of(organization: Organization) -> str:
    return str(collections.create(caller_for(organization), name="Letters").pk)


def table(count: int = 3) -> str:
    rows = (f"w-{n},{digest(str(n))},10,T{n},https://example.org/{n}" for n in range(count))
    return "\n".join(["nr,proof,size,headline,url", *rows])


SAID = Columns(
    {"external_id": "nr", "sha256": "proof", "length": "size", "title": "headline"},
    {"language": "pt-BR", "media_type": "text/plain"},
    ("url",),
)


def ask(organization: Organization, into: str, content: str, **how: Any) -> ImportJob:
    caller = caller_for(organization)
    values: dict[str, Any] = {
        "columns": SAID.columns,
        "constants": SAID.constants,
        "ignored": SAID.ignored,
        **how,
    }
    upload = str(sent(organization, content))
    return queue.ask(caller, into, reader=caller, upload=upload, format="csv", **values)


def works(organization: Organization) -> list[tuple[str, str, str, str]]:
    with acting(caller_for(organization), writing=False):
        rows = Work.objects.filter(organization=organization).order_by("external_id")
        return list(rows.values_list("external_id", "title", "language", "source_url"))


def now(job: ImportJob) -> ImportJob:
    with system("look at a test's import"):
        return ImportJob.objects.get(pk=job.pk)


def test_columns_constants_and_ignored_ones_make_the_works(archive: Organization) -> None:
    job = ask(archive, collection_of(archive), table(2))
    assert queue.carry_out_due() == 1
    assert works(archive) == [("w-0", "T0", "pt-BR", ""), ("w-1", "T1", "pt-BR", "")]
    kept = now(job)
    assert (kept.columns, kept.constants, kept.ignored) == (
        dict(SAID.columns),
        dict(SAID.constants),
        ["url"],
    )


@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_other_formats_take_constants_and_ignored_columns_too(
    archive: Organization, tmp_path: Path, kind: str
) -> None:
    import json

    import pyarrow
    import pyarrow.parquet

    rows = [{"id": f"w-{n}", "sha256": digest(str(n)), "size": 1, "url": "x y"} for n in range(2)]
    path = tmp_path / f"works.{kind}"
    if kind == "ndjson":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    source = imports.open_table(path, constants={"language": "fr"}, ignored=["url"])
    job = imports.run(caller_for(archive), collection_of(archive), source)
    assert (job.imported, job.rejected) == (2, 0)
    assert [(name, language) for name, _t, language, _u in works(archive)] == [
        ("w-0", "fr"),
        ("w-1", "fr"),
    ]


def test_an_import_that_stopped_is_gone_on_with_by_the_same_mapping(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ask(archive, collection_of(archive), table(9))
    monkeypatch.setattr(engine, "BATCH_LENGTH", 3)
    commit, done = engine._commit, [0]

    def fails_at_the_second(*arguments: Any) -> None:
        done[0] += 1
        if done[0] == 2:
            raise OSError(5, "The disk is gone")
        commit(*arguments)

    monkeypatch.setattr(engine, "_commit", fails_at_the_second)
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).imported) == ("failed", 3)
    assert queue.resume(caller_for(archive), str(job.pk)).status == "queued"
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).imported, now(job).repeated) == ("finished", 9, 0)
    assert {language for _n, _t, language, _u in works(archive)} == {"pt-BR"}
    with pytest.raises(ImportEnded):
        queue.resume(caller_for(archive), str(job.pk))
    assert now(job).status == "finished"


def test_another_organization_resumes_nothing(
    archive: Organization, stranger: Organization
) -> None:
    job = ask(archive, collection_of(archive), table())
    with pytest.raises(NotFound):
        queue.resume(caller_for(stranger), str(job.pk))
    assert now(job).status == "queued"


@pytest.mark.parametrize(
    ("how", "param"),
    [
        ({"constants": {"sha256": "0" * 64}}, "constants"),
        ({"constants": {"external_id": "x"}}, "constants"),
        ({"constants": {"nonsense": "x"}}, "constants"),
        ({"constants": {"language": "no tag"}}, "constants"),
        ({"constants": {"consent": "maybe"}}, "constants"),
        ({"constants": {"title": "T"}}, "constants"),
        ({"ignored": ["nr"]}, "ignored"),
        ({"columns": {"external_id": "nr", "sha256": "nr"}}, "columns"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused_before_anything_is_written(
    archive: Organization, how: dict[str, Any], param: str
) -> None:
    into = collection_of(archive)
    with pytest.raises(InvalidInput) as refused:
        ask(archive, into, table(), **how)
    assert refused.value.data["param"] == param
    with system("look at a test's imports"):
        assert not ImportJob.objects.exists()


def test_what_was_said_of_a_header_is_remembered_by_its_organization_alone(
    archive: Organization, stranger: Organization
) -> None:
    header = table(0).split(",")
    ask(archive, collection_of(archive), table(), header=header)
    found = previews.make(caller_for(archive), upload=sent(archive, table(1)))
    assert (found.is_remembered, found.can_run) == (True, True)
    assert found.mapping == SAID
    assert found.works[0].language == "pt-BR"
    theirs = previews.make(caller_for(stranger), upload=sent(stranger, table(1)))
    assert not theirs.is_remembered
    with acting(caller_for(archive)):
        remember(caller_for(archive), header, Columns({"external_id": "size"}))
        assert recall(caller_for(archive), header) == Columns({"external_id": "size"})
        assert recall(caller_for(archive), header[:-1]) is None
    with system("count a test's templates"):
        assert ColumnTemplate.objects.count() == 1


def test_the_api_takes_and_shows_a_whole_mapping(
    client_for: ClientFor, archive: Organization
) -> None:
    body = {
        "upload": str(sent(archive, table(1))),
        "columns": dict(SAID.columns),
        "constants": dict(SAID.constants),
        "ignored": ["url"],
    }
    address = f"/v1/collections/{collection_of(archive)}/imports"
    answer = client_for(archive).post(address, body)
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["constants"], shown["ignored"]) == (dict(SAID.constants), ["url"])
    refused = client_for(archive).post(address, {**body, "constants": {"op": "delete"}})
    assert (refused.status_code, refused.json()["param"]) == (422, "constants")


def test_rejected_rows_come_back_corrected(archive: Organization) -> None:
    into = collection_of(archive)
    content = "\n".join(
        [
            table(2),
            'w-2,nonsense,10,"=HYPERLINK(""x"")\nand more",',
            f"w-3,{digest('3')},zero,'quoted,",
            f"w-1,{digest('1')},10,T1,",
        ]
    )
    job = ask(archive, into, content, header=table(0).split(","))
    assert queue.carry_out_due() == 1
    assert (now(job).imported, now(job).rejected, now(job).repeated) == (2, 2, 1)
    text = "".join(rejected_rows(caller_for(archive), str(job.pk)))
    header, *bad = list(csv.reader(io.StringIO(text)))
    assert header[:5] == ["licet_line", "licet_field", "licet_code", "licet_reason", "nr"]
    assert [row[:3] for row in bad] == [
        ["4", "sha256", "digest_invalid"],
        ["6", "length", "not_a_number"],
    ]
    assert (bad[0][7], bad[1][7]) == ('\'=HYPERLINK("x")\nand more', "''quoted")
    bad[0][5], bad[1][6] = digest("2"), "7"
    out = io.StringIO()
    csv.writer(out).writerows([header, *bad])
    upload = sent(archive, out.getvalue())
    found = previews.make(caller_for(archive), upload=upload, collection=into)
    # The same columns, by the mapping that the first file was read with.
    assert (found.is_remembered, found.can_run, found.counts) == (True, True, {})
    again = ask(archive, into, out.getvalue())
    assert queue.carry_out_due() == 1
    assert (now(again).imported, now(again).rejected) == (2, 0)
    assert [title for _name, title, _l, _u in works(archive)] == [
        "T0",
        "T1",
        '=HYPERLINK("x")\nand more',
        "'quoted",
    ]


def test_rows_of_a_stranger_are_not_there(archive: Organization, stranger: Organization) -> None:
    job = ask(archive, collection_of(archive), table())
    with pytest.raises(NotFound):
        rejected_rows(caller_for(stranger), str(job.pk))
    with acting(caller_for(archive)):
        ImportJob.objects.filter(pk=job.pk).update(format="ndjson")
    with pytest.raises(InvalidInput):
        rejected_rows(caller_for(archive), str(job.pk))
