"""What is counted in works: how it comes in, what refuses it, and that it is counted once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from licensing import optouts, prices
from marketplace import collections, imports, uploads
from marketplace.access import acting
from marketplace.errors import InvalidInput
from marketplace.imports import Record, engine
from marketplace.models import COUNT_MAX, UNITS, CollectionItem, ImportJob, Organization
from marketplace.serializers import Units
from tests.marketplace.test_feeds import Feed, upsert
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
Rejections = list[tuple[int | None, str, str, str]]


def collection_of(organization: Organization) -> str:
    return str(collections.create(caller_for(organization), name="Letters").pk)


def bring(
    organization: Organization,
    source: imports.Source,
    *,
    into: str = "",
    dry_run: bool = False,
) -> tuple[ImportJob, Rejections]:
    """Import; returns the job, and (line, field, code, detail) of what was left out."""
    caller = caller_for(organization)
    into = into or collection_of(organization)
    job = imports.run(caller, into, source, taken=optouts.of_feed, dry_run=dry_run)
    with acting(caller, writing=False):
        rows = imports.rejections(caller, str(job.pk)).order_by("id")
        return job, [(one.line, one.field, one.code, one.detail) for one in rows]


def table(path: Path, text: str) -> imports.Source:
    path.write_text(text)
    return imports.open_table(path)


def csv(header: str, *cells: str) -> str:
    rows = [
        f"w-{n},{hashlib.sha256(str(n).encode()).hexdigest()},10,{cell}"
        for n, cell in enumerate(cells)
    ]
    return "\n".join([f"external_id,sha256,length,{header}", *rows, ""])


def counted(organization: Organization) -> dict[str, dict[str, int]]:
    """The units of what the organization's collections hold now, by external id."""
    with acting(caller_for(organization), writing=False):
        items = CollectionItem.objects.filter(organization=organization, removed_in__isnull=True)
        return dict(items.values_list("work__external_id", "units"))


def lives(organization: Organization) -> list[tuple[int, int | None, dict[str, int]]]:
    """Every life of every item, in the order of their beginnings."""
    with acting(caller_for(organization), writing=False):
        items = CollectionItem.objects.filter(organization=organization).order_by("id")
        return list(items.values_list("added_in", "removed_in", "units"))


def test_each_unit_is_said_in_one_place_and_priced_by_its_name() -> None:
    fields = [name for name in imports.rows.NAMES if name in UNITS]
    assert fields == list(UNITS) == list(Units().fields)
    priced = {prices.PARTS.get(unit, (f"{unit.value}s", 1))[0] for unit in prices.Unit}
    assert priced == {*UNITS, "works", "bytes", "requests"}


def test_a_row_counts_what_its_columns_say(archive: Organization, tmp_path: Path) -> None:
    job, left = bring(
        archive,
        table(
            tmp_path / "w.csv",
            csv("tokens,word_count,pages,seconds,pixels", "250,200,1,90,307200", "7,,,,", ",,,,"),
        ),
    )
    assert (job.imported, left) == (3, [])
    assert counted(archive) == {
        "w-0": {"pages": 1, "pixels": 307200, "seconds": 90, "tokens": 250, "words": 200},
        "w-1": {"tokens": 7},
        "w-2": {},
    }


@pytest.mark.parametrize(
    ("header", "cell", "units"),
    [
        ("minutes", "3", {"seconds": 180}),
        ("minutes", "1.5", {"seconds": 90}),
        # Rounded once, to the even second.
        ("minutes", "0.025", {"seconds": 2}),
        ("minutes", "0.041666666666666667", {"seconds": 3}),
        ("minutes,seconds", "9,5", {"seconds": 5}),
        ("megapixels", "0.3072", {"pixels": 307200}),
        ("megapixels,pixels", "0.3,307200", {"pixels": 307200}),
        ("tokens", "250.0", {"tokens": 250}),
        ("tokens", " 250 ", {"tokens": 250}),
        ("tokens", str(COUNT_MAX), {"tokens": COUNT_MAX}),
    ],
)
def test_a_count_is_kept_in_whole_numbers_of_the_finest_unit(
    archive: Organization, tmp_path: Path, header: str, cell: str, units: dict[str, int]
) -> None:
    assert bring(archive, table(tmp_path / "w.csv", csv(header, cell)))[1] == []
    assert counted(archive) == {"w-0": units}


@pytest.mark.parametrize(
    ("header", "cell", "code"),
    [
        ("tokens", "0", "out_of_range"),
        ("tokens", "-1", "not_a_number"),
        ("tokens", "1e3", "not_a_number"),
        ("tokens", "250.5", "not_a_number"),
        ("tokens", "many", "not_a_number"),
        ("tokens", "1'000", "not_a_number"),
        ("tokens", "٣", "not_a_number"),
        ("tokens", str(COUNT_MAX + 1), "out_of_range"),
        ("tokens", "9" * 41, "field_too_long"),
        ("seconds", "1.5", "not_a_number"),
        ("minutes", "0.001", "out_of_range"),
        ("megapixels", "nan", "not_a_number"),
    ],
)
def test_a_bad_count_costs_its_row_and_is_named(
    archive: Organization, tmp_path: Path, header: str, cell: str, code: str
) -> None:
    job, left = bring(archive, table(tmp_path / "w.csv", csv(header, "1", cell)))
    assert (job.imported, [one[:3] for one in left]) == (1, [(3, header, code)])
    assert set(counted(archive)) == {"w-0"}


def test_ndjson_counts_in_numbers_and_in_text(archive: Organization, tmp_path: Path) -> None:
    lines = [
        {"tokens": 250, "minutes": 1.5},
        {"tokens": "250"},
        {"tokens": 250.0, "words": None},
        {"tokens": True},
        {"tokens": [250]},
        {"tokens": 250.5},
    ]
    text = "".join(
        json.dumps(
            {
                "external_id": f"w-{n}",
                "sha256": hashlib.sha256(str(n).encode()).hexdigest(),
                "length": 1,
                **more,
            }
        )
        + "\n"
        for n, more in enumerate(lines)
    )
    job, left = bring(archive, table(tmp_path / "w.ndjson", text))
    assert (job.imported, [one[:3] for one in left]) == (
        3,
        [(4, "tokens", "wrong_type"), (5, "tokens", "wrong_type"), (6, "tokens", "not_a_number")],
    )
    assert counted(archive) == {
        "w-0": {"seconds": 90, "tokens": 250},
        "w-1": {"tokens": 250},
        "w-2": {"tokens": 250},
    }


def test_parquet_counts_in_whole_numbers_with_gaps(archive: Organization, tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "external_id": ["w-0", "w-1"],
        "sha256": [hashlib.sha256(text).hexdigest() for text in (b"0", b"1")],
        "length": [1, 1],
        "tokens": pyarrow.array([250, None], pyarrow.int32()),
        # As writers make them of whole numbers with gaps.
        "words": pyarrow.array([None, 7.0], pyarrow.float64()),
    }
    path = tmp_path / "w.parquet"
    pyarrow.parquet.write_table(pyarrow.table(said), path)
    assert bring(archive, imports.open_table(path))[1] == []
    assert counted(archive) == {"w-0": {"tokens": 250}, "w-1": {"words": 7}}

    pyarrow.parquet.write_table(pyarrow.table({**said, "tokens": [[1], [2]]}), path)
    with pytest.raises(InvalidInput) as refused:
        imports.open_table(path).check()
    assert refused.value.data == {"param": "columns", "wrong": "tokens"}


@pytest.mark.parametrize(
    "units",
    [
        (("tokens", 0),),
        (("tokens", COUNT_MAX + 1),),
        (("tokens", True),),
        (("minutes", 1),),
        (("words", 1), ("tokens", 1)),
        (("tokens", 1), ("tokens", 1)),
    ],
)
def test_a_record_with_units_that_are_none_is_left_out(
    archive: Organization, units: tuple[tuple[str, int], ...]
) -> None:
    record = upsert("a", "A", units=units)
    job, left = bring(archive, imports.Records([record, upsert("b", "B")]))
    assert (job.imported, [one[2] for one in left]) == (1, ["invalid"])
    assert set(counted(archive)) == {"b"}


def test_an_upload_is_counted_by_who_makes_it_a_work(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)
    into = collection_of(archive)

    def host(external_id: str, units: Any) -> Any:
        content = external_id.encode()
        begun = client.post("/v1/uploads", {"length": len(content)}).json()
        source = io.BytesIO(content)
        uploads.append(caller_for(archive), begun["id"], 0, source, length=len(content))
        uploads.finish(caller_for(archive), begun["id"])
        body = {"upload": begun["id"], "external_id": external_id, "media_type": "text/plain"}
        return client.post(f"/v1/collections/{into}/works", {**body, "units": units})

    assert host("letters", {"tokens": 250, "words": 7}).status_code == 201
    assert counted(archive) == {"letters": {"tokens": 250, "words": 7}}
    for units, param in (
        ({"tokens": 0}, "units.tokens"),
        ({"tokens": 1.0}, "units.tokens"),
        ({"tokens": COUNT_MAX + 1}, "units.tokens"),
        ({"minutes": 1}, "units.minutes"),
        ([], "units"),
    ):
        answer = host("more letters", units)
        assert (answer.status_code, answer.json()["param"]) == (422, param), units
    again = host("letters", {"tokens": 251})
    assert (again.status_code, again.json()["reason"]) == (409, "units_differ")
    assert counted(archive) == {"letters": {"tokens": 250, "words": 7}}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("batch", [1, 10_000])
def test_a_table_that_counts_otherwise_changes_nothing_and_says_so(
    archive: Organization, monkeypatch: pytest.MonkeyPatch, batch: int, *, dry_run: bool
) -> None:
    monkeypatch.setattr(engine, "BATCH_LENGTH", batch)
    into = collection_of(archive)
    stands = upsert("a", "A", units=(("tokens", 250), ("words", 200)))
    bring(archive, imports.Records([stands]), into=into)
    new = upsert("b", "B", units=(("tokens", 1),))
    again = [
        stands,
        replace(stands, units=()),
        replace(stands, units=(("tokens", 251), ("words", 200))),
        replace(stands, units=(("tokens", 250),)),
        replace(stands, units=(("tokens", 250), ("words", 199))),
        # Counted by a line of the same table.
        new,
        new,
        replace(new, units=(("tokens", 2),)),
        replace(new, units=()),
    ]
    job, left = bring(archive, imports.Records(again, name="again"), into=into, dry_run=dry_run)
    assert (job.imported, job.repeated, job.rejected) == (1, 5, 3)
    differing = [(field, code) for _line, field, code, _detail in left if code != "repeated"]
    assert differing == [(name, "units_differ") for name in ("tokens", "words", "tokens")]
    assert "update feed" in next(one[3] for one in left if one[2] == "units_differ")
    expected = {"a": {"tokens": 250, "words": 200}}
    assert counted(archive) == expected | ({} if dry_run else {"b": {"tokens": 1}})


def test_the_same_bytes_are_counted_anew_in_each_collection(archive: Organization) -> None:
    one, other = collection_of(archive), collection_of(archive)
    bring(archive, imports.Records([upsert("a", "A", units=(("tokens", 250),))]), into=one)
    bring(archive, imports.Records([upsert("a", "A", units=(("tokens", 300),))]), into=other)
    assert lives(archive) == [(1, None, {"tokens": 250}), (1, None, {"tokens": 300})]


def test_a_feed_that_counts_otherwise_begins_another_life(archive: Organization) -> None:
    into = collection_of(archive)
    said = upsert("a", "A", units=(("tokens", 250),))

    def feed(*changes: Record, name: str) -> tuple[int, int, int, list[str]]:
        job, left = bring(archive, Feed(*changes, name=name), into=into)
        return job.imported, job.updated, job.repeated, [one[2] for one in left]

    assert feed(said, name="1") == (1, 0, 0, [])
    # What is not counted again stays.
    assert feed(said, replace(said, units=()), name="2") == (0, 0, 2, ["repeated", "repeated"])
    assert lives(archive) == [(1, None, {"tokens": 250})]
    assert feed(replace(said, units=(("tokens", 251),)), name="3") == (0, 1, 0, [])
    assert lives(archive) == [(1, 1, {"tokens": 250}), (1, None, {"tokens": 251})]
    assert feed(replace(said, units=(("words", 200),)), name="words") == (0, 1, 0, [])
    assert lives(archive)[-1] == (1, None, {"tokens": 251, "words": 200})
    # Other bytes have counts of their own, or none.
    assert feed(upsert("a", "A2"), name="4") == (0, 1, 0, [])
    assert lives(archive)[-1] == (1, None, {})


def test_a_feed_tried_first_changes_no_count(archive: Organization) -> None:
    into = collection_of(archive)
    said = upsert("a", "A", units=(("tokens", 250),))
    bring(archive, imports.Records([said]), into=into)
    changed = Feed(replace(said, units=(("tokens", 251),)))
    job, _left = bring(archive, changed, into=into, dry_run=True)
    assert (job.updated, lives(archive)) == (1, [(1, None, {"tokens": 250})])
