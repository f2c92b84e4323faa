"""Lists and rows that PostgreSQL writes as JSON: the same as their serializers'."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from marketplace import kept_sql, readplan
from marketplace.access import Caller
from marketplace.http import Listing
from marketplace.models import Collection
from marketplace.views import CollectionViewSet
from tests.make import make_collection
from tests.people import ApiClient
from tests.security.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def compiled_anew() -> Iterator[None]:
    readplan.forget()
    yield
    readplan.forget()


def routes(resolver: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each address of the API without an id in it, and the view that lists there."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = before + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, path)
        elif isinstance(pattern, URLPattern) and path.startswith("v1/") and "<" not in path:
            view = getattr(pattern.callback, "cls", None)
            if view is not None and issubclass(view, Listing):
                yield f"/{path}", view


LISTS = dict(routes())


def plan_of(view: Any, action: str = "list") -> readplan.Plan:
    return readplan.compiled(view, livemode=False, has_shares=False, action=action, is_after=False)


def expressed() -> dict[str, str]:
    """Which lists are planned: the address of each, by its view's name."""
    found = {}
    for url, view in LISTS.items():
        try:
            plan_of(view)
        except kept_sql.Inexpressible:
            continue
        assert view.is_plain()
        found[view.__name__] = url
    return found


def clients(world: World) -> Iterator[ApiClient]:
    for organization in (world.archive, world.lab, world.stranger):
        for livemode in (False, True):
            yield world.client(organization, livemode=livemode)


def both_ways(client: ApiClient, url: str, settings: Any) -> tuple[Any, Any]:
    answers = []
    for way in (True, False):
        settings.READPLAN = way
        answer = client.get(url)
        assert answer["Content-Type"] in {"application/json", "application/problem+json"}
        body = answer.json()
        body.pop("request_id", None)
        answers.append((answer.status_code, body))
    return answers[0], answers[1]


def test_these_lists_are_written_by_postgresql() -> None:
    assert set(expressed()) == {
        "ApiKeyViewSet",
        "CollectionViewSet",
        "ContributorViewSet",
        "DisputeViewSet",
        "GrantViewSet",
        "ImportViewSet",
        "InvitationViewSet",
        "MemberViewSet",
        "OfferViewSet",
        "OrderViewSet",
        "QuoteViewSet",
        "RefundViewSet",
        "RemittanceViewSet",
        "RemoteBucketViewSet",
        "RoyaltyPaymentViewSet",
        "RoyaltyPayoutViewSet",
        "TransferViewSet",
        "WorkViewSet",
    }


def test_every_list_and_row_is_the_same_both_ways(world: World, settings: Any) -> None:
    shown = set()
    for client in clients(world):
        for url in expressed().values():
            planned, serialized = both_ways(client, url, settings)
            assert planned == serialized, url
            for row in planned[1]["data"]:
                shown.add(url)
                one, other = both_ways(client, f"{url}/{row['id']}", settings)
                assert one == other, url
    # Each has a row, or this proves little.
    assert shown == set(expressed().values())


def test_listings_are_the_same_both_ways(world: World, settings: Any) -> None:
    urls = [
        "/v1/listings",
        "/v1/listings?limit=1",
        "/v1/listings?q=once",
        "/v1/listings?sort=newest",
    ]
    shown: set[str] = set()
    for client in (ApiClient(), *clients(world)):
        for url in urls:
            planned, serialized = both_ways(client, url, settings)
            assert planned == serialized, url
            for row in planned[1]["data"]:
                shown.add(row["id"])
                one, other = both_ways(client, f"/v1/listings/{row['id']}", settings)
                assert one == other
                assert one[1] == row
    assert {str(world.subject(each)) for each in ("offer", "private_offer")} <= shown
    plans = [plan for plan in readplan._plans.values() if plan is not None]
    assert [name for plan in plans for name, _field in plan.late] == ["terms"]


def test_pages_go_on_where_the_one_before_ended(world: World, settings: Any) -> None:
    for number in range(5):
        make_collection(world.archive, name=f"Number {number}")
    client = world.client(world.archive)
    found: dict[bool, list[str]] = {True: [], False: []}
    for way, ids in found.items():
        settings.READPLAN = way
        cursor = ""
        while cursor is not None:
            page = client.get(f"/v1/collections?limit=2{cursor and f'&cursor={cursor}'}").json()
            ids += [row["id"] for row in page["data"]]
            assert page["has_more"] == (page["next_cursor"] is not None)
            cursor = page["next_cursor"]
    assert found[True] == found[False]
    assert len(found[True]) >= 6


def test_what_parameters_choose_is_the_same_both_ways(world: World, settings: Any) -> None:
    make_collection(world.archive, name="Lighthouse")
    urls = [
        f"/v1/works?collection={world.subject('collection')}",
        f"/v1/royalty-payments?payout={world.subject('royalty_payout')}",
        "/v1/collections?q=lighthouse",
        "/v1/collections?q=nothing+of+the+kind",
    ]
    shown: set[str] = set()
    for client in clients(world):
        for url in urls:
            planned, serialized = both_ways(client, url, settings)
            assert planned == serialized, url
            whole = planned[1].get("data", [])
            shown |= {url for _row in whole}
            ids: list[str] = []
            page = {"next_cursor": ""}
            while whole and (cursor := page["next_cursor"]) is not None:
                further = f"{url}&limit=1{cursor and f'&cursor={cursor}'}"
                one, other = both_ways(client, further, settings)
                assert one == other
                page = one[1]
                ids += [row["id"] for row in page["data"]]
            assert ids == [row["id"] for row in whole]
    assert shown == set(urls[:3])


def test_one_plan_serves_all_tenants_and_keeps_nothing_of_any(world: World) -> None:
    urls = list(expressed().values())
    for client in clients(world):
        for url in urls:
            assert client.get(url).status_code == 200
    plans = [plan for plan in readplan._plans.values() if plan is not None]
    known = {world.archive.pk, world.lab.pk, world.stranger.pk, *world.subjects.values()}
    for plan in plans:
        constants = [constant for slot, constant in plan.statement.params if not slot]
        assert not [one for one in constants if isinstance(one, uuid.UUID)]
        assert not {str(each) for each in constants} & {
            text for id in known for text in (str(id), id.hex, str(uuid.UUID(int=id.int)))
        }
        # Listings are found in another way, for whoever may see them, and shown by their keys.
        slots = {slot for slot, _constant in plan.statement.params}
        assert slots & {"organization", "pks"}
    # Both modes, and no more for the third organization than for the first.
    assert len(plans) <= 2 * len(urls)


def test_a_list_of_another_tenant_is_never_shown(world: World) -> None:
    archive, stranger = world.client(world.archive), world.client(world.stranger)
    first = archive.get("/v1/collections").json()["data"]
    assert first
    assert stranger.get("/v1/collections").json()["data"] == []
    assert archive.get("/v1/collections").json()["data"] == first
    id = first[0]["id"]
    assert archive.get(f"/v1/collections/{id}").json() == first[0]
    assert stranger.get(f"/v1/collections/{id}").status_code == 404


def test_the_second_time_nothing_is_compiled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.client(world.archive)
    assert client.get("/v1/collections").status_code == 200
    monkeypatch.setattr(readplan, "compiled", None)
    with CaptureQueriesContext(connection) as asked:
        assert client.get("/v1/collections").json()["data"]
    assert sum("json_build_object" in query["sql"] for query in asked) == 1


def test_postgresql_writes_what_parameters_choose(world: World) -> None:
    client = world.client(world.archive)
    with CaptureQueriesContext(connection) as asked:
        page = client.get(f"/v1/works?collection={world.subject('collection')}").json()
    assert page["data"]
    assert sum("json_build_object" in query["sql"] for query in asked) == 1
    # Nothing was read for a serializer.
    assert not [query for query in asked if query["sql"].startswith('SELECT "marketplace_repr')]


@pytest.mark.parametrize(
    "look",
    [
        lambda caller: caller.scopes,
        lambda caller: caller.actor,
        lambda caller: caller.organization.name,
        lambda caller: caller.user.email,
        lambda caller: Collection.objects.filter(organization=caller.organization).exists(),
    ],
    ids=["scopes", "actor", "name", "e-mail", "database"],
)
def test_what_has_no_slot_is_never_kept(monkeypatch: pytest.MonkeyPatch, look: Any) -> None:
    kind = type(Collection.objects.all())
    honest = kind.visible_to

    def visible_to(rows: Any, caller: Caller) -> Any:
        look(caller)
        return honest(rows, caller)

    monkeypatch.setattr(kind, "visible_to", visible_to)
    with pytest.raises(kept_sql.Inexpressible):
        plan_of(CollectionViewSet)
