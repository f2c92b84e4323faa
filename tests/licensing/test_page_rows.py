"""Rows of a page of listings: as the models read them, in two statements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from licensing import listings, offers, page_rows
from licensing.listing_serializers import ListingSerializer
from licensing.models import Offer
from marketplace.access import acting
from marketplace.models import Organization
from tests.make import make_collection, make_offer, make_trader
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
PER_WORK = {"model": "per_unit", "unit": "work", "rate": {"amount_minor": 250, "per": 1}}


def ids(rows: list[Offer]) -> list[UUID]:
    return [UUID(int=row.pk.int) for row in rows]


@pytest.fixture
def listed(archive: Organization, stranger: Organization, lab: Organization) -> list[Offer]:
    """Offers that differ in access, price, currency, audience, end and seller."""
    collection = make_collection(archive)
    return [
        make_offer(archive, collection=collection, access="on_request"),
        make_offer(stranger, price_minor=0, currency="EUR"),
        make_offer(archive, collection=collection, price=PER_WORK),
        make_offer(archive, audience=str(lab.pk), closes_at=timezone.now() + timedelta(days=30)),
    ]


def test_a_page_shows_what_each_listing_shows(
    client_for: ClientFor, archive: Organization, lab: Organization, listed: list[Offer]
) -> None:
    seller = client_for(archive)
    chosen = {"external_ids": ["work-1000"]}
    assert seller.post(f"/v1/offers/{listed[0].pk}/sample", chosen).status_code == 201
    make_trader(archive)
    caller = caller_for(lab)
    with acting(caller, writing=False):
        page: Any = ListingSerializer(page_rows.read(ids(listed)), many=True).data
        alone = [ListingSerializer(listings.find(caller, str(row.pk))).data for row in listed]
    assert page == alone
    assert [row["sample"] for row in page] == [{"works": 1}, None, None, None]
    assert [row["trader"] is not None for row in page] == [True, False, True, True]
    assert [row["is_private"] for row in page] == [False, False, False, True]


def test_what_a_page_shows_is_read_at_once(
    lab: Organization, listed: list[Offer], django_assert_num_queries: Any
) -> None:
    with acting(caller_for(lab), writing=False):
        with django_assert_num_queries(2):
            rows = page_rows.read(ids(listed))
        with django_assert_num_queries(0):
            assert len(ListingSerializer(rows, many=True).data) == 4
    assert rows[0].organization is rows[2].organization


def test_a_page_keeps_its_order_and_leaves_out_what_went_off_sale(
    archive: Organization, lab: Organization, listed: list[Offer]
) -> None:
    offers.withdraw(caller_for(archive), str(listed[2].pk))
    asked = ids([listed[3], listed[2], listed[0], listed[1]])
    with acting(caller_for(lab), writing=False):
        rows = page_rows.read(asked)
        assert page_rows.read([]) == []
    assert ids(rows) == ids([listed[3], listed[0], listed[1]])
