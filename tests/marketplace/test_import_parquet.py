"""Imports from Parquet: the types that stand for fields, damage, and resumption."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from marketplace import collections, imports
from marketplace.access import acting
from marketplace.errors import InvalidInput
from marketplace.imports import Record, Rejected, engine
from marketplace.models import ImportJob, Organization, Work
from tests.people import caller_for

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.django_db


def columns(count: int, **more: Any) -> dict[str, Any]:
    return {
        "external_id": [f"w-{n}" for n in range(count)],
        "sha256": [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)],
        "length": [n + 1 for n in range(count)],
        **more,
    }


def write(path: Path, said: dict[str, Any], **how: Any) -> Path:
    parquet.write_table(pyarrow.table(said), path, **how)
    return path


def entries(path: Path, after: str = "", **how: Any) -> list[Any]:
    source = imports.open_table(path, **how)
    source.check()
    return list(source.entries(after))


def collection_of(organization: Organization) -> str:
    return str(collections.create(caller_for(organization), name="Letters").pk)


def test_a_row_is_a_work_in_every_type_that_can_stand_for_its_fields(tmp_path: Path) -> None:
    said = columns(3)
    plain = entries(write(tmp_path / "plain.parquet", said))
    raw = [bytes.fromhex(text) for text in said["sha256"]]
    typed = {
        "external_id": pyarrow.array(said["external_id"], pyarrow.large_string()),
        "sha256": pyarrow.array(raw, pyarrow.binary(32)),
        "length": pyarrow.array(said["length"], pyarrow.uint32()),
    }
    assert entries(write(tmp_path / "typed.parquet", typed)) == plain
    coded = {
        "external_id": pyarrow.array(said["external_id"]).dictionary_encode(),
        "sha256": pyarrow.array(raw, pyarrow.binary()),
        "length": [str(n) for n in said["length"]],
        "title": pyarrow.nulls(3),
        "of_nobody_s_concern": [[1.5], [], None],
    }
    assert entries(write(tmp_path / "coded.parquet", coded)) == plain
    assert [(one.name, one.length, one.line) for one in plain] == [
        ("w-0", 1, 1),
        ("w-1", 2, 2),
        ("w-2", 3, 3),
    ]


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({"sha256": [1.5]}, {"param": "columns", "wrong": "sha256"}),
        (
            {"sha256": [b"1"] and pyarrow.array([b"1" * 20], pyarrow.binary(20))},
            {"wrong": "sha256"},
        ),
        ({"external_id": [["a"]]}, {"param": "columns", "wrong": "external_id"}),
        ({"title": [5]}, {"param": "columns", "wrong": "title"}),
        ({"length": [True]}, {"param": "columns", "wrong": "length"}),
    ],
)
def test_a_schema_that_cannot_stand_for_works_is_refused_by_its_column(
    change: dict[str, Any], data: dict[str, str], archive: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path / "w.parquet", columns(1, **change))
    with pytest.raises(InvalidInput) as refused:
        imports.run(caller_for(archive), collection_of(archive), imports.open_table(path))
    assert data.items() <= refused.value.data.items()
    assert not ImportJob.objects.exists()


def test_a_missing_column_is_refused_and_another_may_stand_for_it(tmp_path: Path) -> None:
    said = columns(1)
    said["check"] = said.pop("sha256")
    path = write(tmp_path / "w.parquet", said)
    with pytest.raises(InvalidInput) as refused:
        entries(path)
    assert refused.value.data["missing"] == "sha256"
    [work] = entries(path, columns={"sha256": "check"})
    assert isinstance(work, Record)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 64 + b"PAR1", b"external_id\n"])
def test_what_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        entries(path, format="parquet")
    assert refused.value.data["param"] == "file"


def test_without_its_library_parquet_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "w.parquet", columns(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidInput, match="parquet") as refused:
        entries(path)
    assert refused.value.data["param"] == "format"


def test_a_bad_value_costs_its_row(tmp_path: Path) -> None:
    titles = pyarrow.array([b"fine", b"caf\xe9", b"x" * 10_000_000], pyarrow.binary())
    found = entries(write(tmp_path / "w.parquet", columns(3, title=titles.view(pyarrow.string()))))
    assert [getattr(one, "code", "") for one in found] == ["", "not_utf8", "field_too_long"]


def test_a_long_value_that_many_rows_share_is_held_once(tmp_path: Path) -> None:
    """As plain text this file would need 20 GB."""
    shared = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 2000, pyarrow.int32()), pyarrow.array(["x" * 10_000_000])
    )
    found = entries(write(tmp_path / "w.parquet", columns(2000, title=shared)))
    assert {one.code for one in found} == {"field_too_long"}
    assert len(found) == 2000


def test_damage_costs_its_row_group_and_no_other(archive: Organization, tmp_path: Path) -> None:
    path = write(tmp_path / "w.parquet", columns(300), row_group_size=100)
    content = bytearray(path.read_bytes())
    begin = parquet.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content[begin : begin + 200] = b"\0" * 200
    path.write_bytes(content)
    job = imports.run(caller_for(archive), collection_of(archive), imports.open_table(path))
    assert (job.status, job.imported, job.rejected) == ("finished", 200, 1)
    with acting(caller_for(archive), writing=False):
        [left] = imports.rejections(caller_for(archive), str(job.pk))
    assert (left.code, left.line, left.detail) == ("rows_damaged", 101, "rows 101 to 200")


def test_it_goes_on_at_any_row(tmp_path: Path) -> None:
    path = write(tmp_path / "w.parquet", columns(95), row_group_size=30)
    whole = entries(path)
    assert [one.line for one in whole] == list(range(1, 96))
    for row in range(96):
        assert entries(path, f"{row}:0") == whole[row:]


def test_a_stopped_import_goes_on(
    archive: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "w.parquet", columns(95), row_group_size=30)
    into = collection_of(archive)
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)

    def stop(job: ImportJob) -> None:
        if job.imported == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imports.run(caller_for(archive), into, imports.open_table(path), report=stop)
    job = imports.run(caller_for(archive), into, imports.open_table(path))
    assert (job.status, job.imported, job.repeated, job.rejected) == ("finished", 95, 0, 0)
    assert job.source_read == job.source_length == path.stat().st_size
    assert Work.objects.count() == 95


def test_a_row_group_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.imports.parquet._ROW_GROUP_BYTES_MAX", 1000)
    with pytest.raises(InvalidInput, match="smaller row groups"):
        entries(write(tmp_path / "w.parquet", columns(100)))
    assert not any(
        isinstance(one, Rejected)
        for one in entries(write(tmp_path / "small.parquet", columns(100), row_group_size=5))
    )
