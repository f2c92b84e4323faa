"""Edits of many works: counted before, each work changed once, and only what may change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from marketplace import bulk_edits, collections, works
from marketplace.access import acting, system
from marketplace.errors import ImportEnded, InvalidInput, NotFound
from marketplace.models import Audit, BulkEdit, Collection, Organization, Representation, Work
from marketplace.works import Record
from tests.people import caller_for

pytestmark = pytest.mark.django_db


def records(count: int, first: int = 0, language: str = "") -> Iterable[Record]:
    for n in range(first, first + count):
        digest = hashlib.sha256(str(n).encode()).digest()
        yield Record(f"w-{n}", digest, 10, "text/plain", "reference", f"T{n}", language=language)


def fill(organization: Organization, into: Collection, found: Iterable[Record]) -> None:
    caller = caller_for(organization)
    with acting(caller):
        assert works.add(caller, into, list(found)) == {}


@pytest.fixture
def letters(archive: Organization) -> Collection:
    made = collections.create(caller_for(archive), name="Letters")
    made.refresh_from_db()
    fill(archive, made, records(7))
    return made


def column(organization: Organization, name: str) -> list[Any]:
    with acting(caller_for(organization), writing=False):
        rows = Work.objects.filter(organization=organization).order_by("external_id")
        return list(rows.values_list(name, flat=True))


def finish() -> int:
    batches = 0
    while bulk_edits.carry_out_due():
        batches += 1
    return batches


def ask(organization: Organization, into: Collection, **how: Any) -> tuple[int, BulkEdit]:
    """How many the preview says, and the edit."""
    caller = caller_for(organization)
    count = bulk_edits.preview(caller, str(into.pk), **how)
    return count, bulk_edits.ask(caller, str(into.pk), **how)


def now(edit: BulkEdit) -> BulkEdit:
    with system("look at a test's edit"):
        return BulkEdit.objects.get(pk=edit.pk)


def test_the_count_before_is_what_is_changed_after(
    archive: Organization, letters: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_edits, "BATCH_LENGTH", 3)
    fill(archive, letters, records(2, first=7, language="de"))
    count, edit = ask(archive, letters, change={"language": "de"})
    assert column(archive, "language") == [""] * 7 + ["de"] * 2
    assert finish() == 3
    assert column(archive, "language") == ["de"] * 9
    assert (count, now(edit).changed, now(edit).looked_at, now(edit).status) == (
        7,
        7,
        9,
        "finished",
    )
    with acting(caller_for(archive), writing=False):
        acts = Audit.objects.filter(subject=str(edit.pk)).order_by("id")
        assert list(acts.values_list("action", flat=True)) == [
            "works.edit_asked",
            "works.edit_finished",
        ]


def test_a_worker_that_dies_leaves_each_title_with_one_prefix(
    archive: Organization, letters: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_edits, "BATCH_LENGTH", 3)
    _count, edit = ask(archive, letters, change={"title_prefix": "Letter: "})
    assert bulk_edits.carry_out_due() == 3
    save = BulkEdit.save

    def dies(*_arguments: Any, **_options: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(BulkEdit, "save", dies)
    with pytest.raises(SystemExit):
        bulk_edits.carry_out_due()
    monkeypatch.setattr(BulkEdit, "save", save)
    assert (now(edit).looked_at, now(edit).changed) == (3, 3)
    finish()
    assert column(archive, "title") == [f"Letter: T{n}" for n in range(7)]
    assert now(edit).changed == 7


def test_a_work_with_two_forms_is_changed_once(archive: Organization, letters: Collection) -> None:
    caller = caller_for(archive)
    with acting(caller):
        work = Work.objects.get(external_id="w-0")
        form = Representation.objects.create(
            organization=archive,
            work=work,
            digest=b"\x07" * 32,
            length=1,
            media_type="text/html",
            custody="reference",
        )
        letters.items.create(
            organization=archive, work=work, representation=form, added_in=letters.next_snapshot
        )
    count, edit = ask(archive, letters, change={"title_prefix": "A "})
    finish()
    assert (count, now(edit).looked_at) == (7, 7)
    assert column(archive, "title")[0] == "A T0"


@pytest.mark.parametrize(
    ("selection", "changed"),
    [
        ({"external_id_prefix": "w-1"}, ["w-1"]),
        ({"language": "fr"}, ["w-8"]),
        ({"language": "", "external_id_prefix": "w-2"}, ["w-2"]),
        ({"language": "fr", "external_id_prefix": "w-2"}, []),
    ],
)
def test_a_filter_narrows(
    archive: Organization, letters: Collection, selection: dict[str, str], changed: list[str]
) -> None:
    fill(archive, letters, records(1, first=8, language="fr"))
    count, _edit = ask(archive, letters, change={"language": "it"}, selection=selection)
    finish()
    with acting(caller_for(archive), writing=False):
        found = Work.objects.filter(organization=archive, language="it")
        assert list(found.values_list("external_id", flat=True)) == changed
    assert count == len(changed)


def test_named_works_are_changed_and_only_in_the_collection(
    archive: Organization, stranger: Organization, letters: Collection
) -> None:
    other = collections.create(caller_for(archive), name="Other")
    fill(archive, other, records(1, first=20))
    theirs = collections.create(caller_for(stranger), name="Theirs")
    fill(stranger, theirs, records(1, first=30))
    with system("name works in a test"):
        named = list(
            Work.objects.filter(external_id__in=["w-3", "w-20", "w-30"]).values_list(
                "pk", flat=True
            )
        )
    count, _edit = ask(archive, letters, change={"language": "it"}, selection={"works": named})
    finish()
    assert count == 1
    with system("look at a test's works"):
        changed = Work.objects.filter(language="it").values_list("external_id", flat=True)
        assert list(changed) == ["w-3"]


@pytest.mark.parametrize(
    ("how", "param"),
    [
        ({"change": {}}, "change"),
        ({"change": {"language": "de", "title_prefix": "x"}}, "change"),
        ({"change": {"external_id": "x"}}, "change"),
        ({"change": {"language": "no tag"}}, "languages"),
        ({"change": {"title_prefix": ""}}, "change.title_prefix"),
        ({"change": {"title_prefix": "x" * 201}}, "change.title_prefix"),
        ({"change": {"title_prefix": "\x00"}}, "change.title_prefix"),
        ({"change": {"contributor": "ada"}}, "change"),
        ({"change": {"language": "de"}, "selection": {"title": "x"}}, "selection"),
        ({"change": {"language": "de"}, "selection": {"works": []}}, "selection.works"),
        ({"change": {"language": "de"}, "selection": {"works": ["col_x"]}}, "selection.works"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_asked(
    archive: Organization, letters: Collection, how: Mapping[str, Any], param: str
) -> None:
    for verb in (bulk_edits.preview, bulk_edits.ask):
        with pytest.raises(InvalidInput) as refused:
            verb(caller_for(archive), str(letters.pk), **how)  # type: ignore[operator]
        assert refused.value.data["param"] == param
    with system("count a test's edits"):
        assert not BulkEdit.objects.exists()


def test_an_edit_is_canceled_and_no_strangers(
    archive: Organization, stranger: Organization, letters: Collection
) -> None:
    _count, edit = ask(archive, letters, change={"language": "de"})
    with pytest.raises(NotFound):
        bulk_edits.cancel(caller_for(stranger), str(edit.pk))
    with pytest.raises(NotFound):
        bulk_edits.ask(caller_for(stranger), str(letters.pk), change={"language": "de"})
    for _time in range(2):
        assert bulk_edits.cancel(caller_for(archive), str(edit.pk)).status == "canceled"
    assert finish() == 0
    assert column(archive, "language") == [""] * 7
    _count, done = ask(archive, letters, change={"language": "de"})
    finish()
    with pytest.raises(ImportEnded):
        bulk_edits.cancel(caller_for(archive), str(done.pk))
    assert now(done).status == "finished"
