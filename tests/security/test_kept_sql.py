"""Rows that are found by kept statements: the same that their query sets find."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.models import F, Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from licensing.models import Offer
from marketplace import access, kept_sql
from marketplace.access import Caller, TenantQuerySet, acting, system
from marketplace.errors import NotFound
from marketplace.models import Collection, Organization
from marketplace.typeid import TypeIDField
from payments.models import Order, Quote
from tests.make import make_collection
from tests.people import caller_for
from tests.security.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def compiled_anew() -> Iterator[None]:
    access._found.clear()
    yield
    access._found.clear()


def rows_of(model: type[Model]) -> Any:
    return model._default_manager.all()


TABLES = [model for model in apps.get_models() if isinstance(rows_of(model), TenantQuerySet)]
# Nobody asks for one.
LEFT = {"Journal"}


def callers(world: World) -> list[Caller]:
    return [
        caller_for(organization, livemode=livemode)
        for organization in (world.archive, world.lab, world.stranger)
        for livemode in (False, True)
    ]


def found(rows: Any, caller: Caller, id: Any) -> dict[str, Any] | None:
    """All that a row says, as text: two may be equal because their keys are."""
    try:
        with acting(caller, writing=False):
            row = rows.get_visible(caller, id)
    except NotFound:
        return None
    columns = row._meta.concrete_fields
    assert row._state.adding is False
    return {column.attname: str(getattr(row, column.attname)) for column in columns}


def test_every_row_is_found_by_the_same_callers_both_ways(world: World, settings: Any) -> None:
    with system("every key in a test"):
        ids = {model: list(model._default_manager.values_list("pk", flat=True)) for model in TABLES}
    answers = []
    for settings.READPLAN in (True, False):
        answers.append(
            [
                found(rows_of(model), caller, str(id))
                for model in TABLES
                for id in ids[model][:20]
                for caller in callers(world)
            ]
        )
    assert answers[0] == answers[1]
    seen = sum(answer is not None for answer in answers[0])
    assert 100 < seen < len(answers[0]) - 300


def test_these_are_found_by_kept_statements() -> None:
    left = set()
    for model in TABLES:
        if not isinstance(model._meta.pk, TypeIDField):
            # No address has its number.
            continue
        try:
            access._compiled(rows_of(model), access.StandIn(False, False), lock=False)
        except kept_sql.Inexpressible:
            left.add(model.__name__)
    assert left == LEFT


def test_a_kept_statement_serves_all_tenants_and_keeps_nothing_of_any(world: World) -> None:
    for caller in callers(world):
        for model in TABLES:
            with acting(caller, writing=False), pytest.raises(NotFound):
                rows_of(model).get_visible(caller, uuid.uuid4())
    kept = [each for each in access._found.values() if each is not None]
    assert len(kept) > 20
    known = {world.archive.pk, world.lab.pk, world.stranger.pk, *world.subjects.values()}
    for each in kept:
        slots = {slot for slot, _constant in each.statement.params}
        constants = [constant for slot, constant in each.statement.params if not slot]
        assert "pk" in slots
        assert not [one for one in constants if isinstance(one, uuid.UUID)]
        assert not {str(one) for one in constants} & {
            text for id in known for text in (str(id), id.hex, str(uuid.UUID(int=id.int)))
        }
    # Both modes, and no more for the third organization than for the first.
    assert len(access._found) <= 2 * len(TABLES)


def test_what_was_chosen_before_is_never_passed_over(world: World) -> None:
    theirs = make_collection(world.archive, name="Chosen")
    caller = caller_for(world.archive)
    with acting(caller, writing=False):
        every = Collection.objects.all()
        assert every.get_visible(caller, theirs.pk) == theirs
        for none in (
            every.none(),
            every.filter(name="Another"),
            every.exclude(name="Chosen"),
            every.filter(pk__in=[]),
            every.filter(name="Chosen").exclude(pk=theirs.pk),
        ):
            with pytest.raises(NotFound):
                none.get_visible(caller, theirs.pk)
        assert every.only("name").get_visible(caller, theirs.pk).get_deferred_fields()


@pytest.mark.parametrize("id", ["", "col_", "col_1", "off_01jd0000000000000000000000", "1", "\x00"])
def test_what_is_no_id_is_not_found(world: World, id: str) -> None:
    caller = caller_for(world.archive)
    with acting(caller, writing=False), pytest.raises(NotFound) as refused:
        Collection.objects.get_visible(caller, id)
    assert str(refused.value) == f"There is no collection “{id}”."
    with acting(caller, writing=False), pytest.raises(NotFound):
        Collection.objects.get_visible(caller, None)


def test_rows_beside_it_come_with_it(world: World) -> None:
    caller = caller_for(world.lab)
    with system("find one in a test"):
        id = Order.objects.filter(organization=world.lab, livemode=False)[0].quote_id
    rows = Quote.objects.select_related("seller", "offer__collection", "offer__sample", "order")
    for _turn in range(2):
        with acting(caller, writing=False), CaptureQueriesContext(connection) as asked:
            quote = rows.get_visible(caller, id)
            assert quote.offer.collection.organization_id == quote.seller.pk == world.archive.pk
            assert quote.order.quote_id == id
        assert len(asked) == 1


def test_a_row_that_is_asked_for_locked_is_locked(world: World) -> None:
    caller = caller_for(world.archive)
    id = make_collection(world.archive, name="Locked").pk
    for lock in (False, True):
        with acting(caller, writing=False), CaptureQueriesContext(connection) as asked:
            Collection.objects.get_visible(caller, id, lock=lock)
        assert asked[-1]["sql"].endswith(' FOR UPDATE OF "marketplace_collection"') is lock


def test_the_second_time_nothing_is_compiled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = (make_collection(world.archive, name=name).pk for name in ("One", "Two"))
    caller = caller_for(world.archive)
    with acting(caller, writing=False):
        Collection.objects.get_visible(caller, mine)
        monkeypatch.setattr(access, "_compiled", None)
        assert Collection.objects.get_visible(caller, other).name == "Two"


def test_what_depends_on_the_time_of_its_first_use_is_never_kept() -> None:
    rows = Offer.objects.filter(pk=kept_sql.ROW)
    assert kept_sql.Rows(rows.on_sale()).statement.params
    with pytest.raises(kept_sql.Inexpressible):
        kept_sql.Rows(rows.filter(opens_at__lte=timezone.now()))


def test_what_brings_more_than_its_columns_is_never_kept() -> None:
    with pytest.raises(kept_sql.Inexpressible):
        kept_sql.Rows(Offer.objects.annotate(more=F("price_minor")).filter(pk=kept_sql.ROW))


def test_what_a_stand_in_would_have_to_ask_the_database_is_never_kept() -> None:
    rows = Organization.objects.filter(pk=kept_sql.ROW)
    with kept_sql.nothing_asked(), pytest.raises(kept_sql.Inexpressible):
        rows.exists()
    # And the connection is as it was.
    with transaction.atomic():
        assert not rows.exists()
