"""Lists of the workspace say what Unfold's own say, with what is alike for each row found once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from unfold.views import ChangeList

from marketplace import collections, organizations, tenant_pages
from marketplace.models import Organization
from tests.make import make_offer
from tests.people import caller_for

pytestmark = pytest.mark.django_db
LIST = "/studio/marketplace/collection/"
# Its rows have boxes, for what is done with several.
OFFERS = "/studio/licensing/offer/"


@pytest.fixture
def owner(archive: Organization) -> Client:
    for name in ("Harbor", "Harbor at night", "Old maps"):
        collections.create(caller_for(archive), name=name)
    user = organizations.admit(
        archive,
        email="owner@example.org",
        name="Owner",
        password="correct horse battery",
        role="owner",
    )
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, address: str) -> str:
    """What differs between two showings of one page, left out: tokens against forged forms."""
    text = client.get(address).content.decode()
    return re.sub(r'csrfmiddlewaretoken" value="\w+"', "", text)


@pytest.mark.parametrize(
    "address",
    [
        LIST,
        f"{LIST}?q=harbor",
        f"{LIST}?o=-1",
        f"{LIST}?o=2.-1&q=harbor",
        f"{LIST}?q=%26%3D%3Fa%20b%C3%A9",
        OFFERS,
        f"{OFFERS}?q=letters&o=-2",
    ],
)
def test_a_list_is_unfolds_own_list(
    archive: Organization, owner: Client, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for price in (10_000, 20_000):
        make_offer(archive, price_minor=price)
    ours = page(owner, address)
    monkeypatch.setattr(
        tenant_pages.TenantModelAdmin, "get_changelist", lambda *_args, **_more: ChangeList
    )
    monkeypatch.delattr(tenant_pages.TenantModelAdmin, "action_checkbox")
    theirs = page(owner, address)

    assert ours == theirs
    assert "result_list" in ours or "a%20b" in address


def test_each_row_is_chosen_by_its_own_box(archive: Organization, owner: Client) -> None:
    offers = [str(make_offer(archive, price_minor=price).pk) for price in (10_000, 20_000)]

    for _time in range(2):  # the second one finds what the first rendered
        boxes = re.findall(r'<input[^>]*"_selected_action"[^>]*>', page(owner, OFFERS))
        chosen = [found[1] for box in boxes if (found := re.search(r'value="([^"]*)"', box))]
        assert sorted(chosen) == sorted(offers)


def test_a_row_that_was_found_leads_back_to_what_was_looked_for(owner: Client) -> None:
    found = owner.get(LIST + "?q=harbor&o=-1").content.decode()
    rows = re.findall(rf'href="({LIST}[^"/]+/change/[^"]*)"', found)

    assert len(rows) == 2
    for row in rows:
        back: Any = owner.get(row.replace("&amp;", "&")).content.decode()
        assert f'href="{LIST}?q=harbor&amp;o=-1"' in back
