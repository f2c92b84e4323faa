"""Lists and first pages ask the database a few things, however many rows they show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from licensing import offers
from licensing.models import Offer, Snapshot, Terms
from marketplace import api_keys, collections, contributors, invitations, operators, organizations
from marketplace.access import acting
from marketplace.models import Organization
from marketplace.tenant_pages import own
from marketplace.tenant_site import studio
from tests.make import make_grant, make_offer
from tests.payments.royalty_sales import sell
from tests.people import caller_for
from tests.security.studio_world import (
    PASSWORD,
    Others,
    Tenant,
    _ask,
    _buy,
    others,
    settle,
)
from tests.webhooks import hear

pytestmark = pytest.mark.django_db
QUERIES_MAX = 15
# What begins and ends transactions, and those that stand for one within a test's.
AROUND = (
    "BEGIN",
    "COMMIT",
    "SAVEPOINT",
    "RELEASE",
    "SET CONSTRAINTS",
    "SELECT set_config('licet.tenant', '', true), set_config('licet.system', '', true)",
)


def more(me: Tenant, beside: Others, word: str) -> None:
    """A further row of what a member sees in lists."""
    organization, caller = me.organization, caller_for(me.organization)
    contributors.add(caller, external_id=word, consent="granted", name=word)
    collections.create(caller, name=word)
    with acting(caller, writing=False):
        terms = own(Terms, caller).filter(published_at__isnull=False)[0]
        made = {
            "snapshot": str(own(Snapshot, caller)[0].pk),
            "terms": str(terms.pk),
            "currency": "USD",
        }
    offers.make(caller, **made, price_minor=700)
    offer = offers.publish(caller, str(offers.make(caller, **made, price_minor=0).pk))
    make_grant(organization, beside.buyer, offer=offer)
    sell(beside.buyer, make_offer(organization))
    _ask(beside.buyer, organization, made)
    _buy(beside.seller, organization)
    sell(organization, make_offer(beside.seller))
    invitations.invite(caller, email=f"{word}@example.org", role="viewer")
    api_keys.create(caller, name=word, scopes=["works:read"])
    hear(caller, f"https://hooks.example.org/{word}", word)
    organizations.admit(
        organization, email=f"{word}.member@example.org", name=word, password=PASSWORD, role="owner"
    )


def asked(client: Client, addresses: list[str]) -> dict[str, int]:
    """How many queries each page asks."""
    found = {}
    for address in addresses:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200, address
        found[address] = sum(not one["sql"].startswith(AROUND) for one in queries)
    return found


def of_studio() -> Iterator[str]:
    yield "/studio/"
    for model in studio._registry:
        yield f"/studio/{model._meta.app_label}/{model._meta.model_name}/"


def of_operators() -> Iterator[str]:
    yield "/admin/"
    for model in admin.site._registry:
        yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


@pytest.mark.parametrize("site", ["studio", pytest.param("operators", marks=pytest.mark.oracle)])
def test_no_list_and_no_first_page_asks_more_for_more_rows(site: str, ledger_keys: object) -> None:
    beside = others()
    me = settle("Canary", beside)
    if site == "studio":
        client, addresses = me.client(), list(of_studio())
    else:
        client, addresses = Client(), list(of_operators())
        client.force_login(
            operators.appoint(email="o@example.org", name="Olive", password=PASSWORD)
        )
    few = asked(client, addresses)

    for word in ("one", "two", "three"):
        more(me, beside, word)
    many = asked(client, addresses)

    with acting(caller_for(me.organization), writing=False):
        assert own(Offer, caller_for(me.organization)).count() >= 8
    assert {page: n for page, n in many.items() if n > QUERIES_MAX} == {}
    # One more where what was empty is not, and is looked up: never one for each row.
    assert {page: (few[page], n) for page, n in many.items() if n > few[page] + 1} == {}


def test_a_search_reads_the_catalogue_once(archive: Organization) -> None:
    caller = caller_for(archive)
    for name in ("Letters of 1900", "Letters of 1901", "Maps"):
        collections.create(caller, name=name)
    client = Client()
    client.force_login(
        organizations.admit(
            archive, email="a@example.org", name="Ada", password=PASSWORD, role="owner"
        )
    )
    for words, names in (
        ("letters", {"Letters of 1900", "Letters of 1901"}),
        ("letters 1901", {"Letters of 1901"}),
        ("nowhere", set()),
    ):
        with CaptureQueriesContext(connection) as queries:
            page = client.get("/studio/marketplace/collection/", {"q": words})
        assert {row.name for row in page.context["cl"].result_list} == names
        assert page.context["cl"].result_count == len(names)
        assert sum("LIKE" in one["sql"] for one in queries) == 1
