"""Lists of the workspace say what Unfold's own say, with what is alike for each row found once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from unfold.views import ChangeList

from marketplace import collections, organizations, tenant_pages
from marketplace.models import Organization
from tests.people import caller_for

pytestmark = pytest.mark.django_db
LIST = "/studio/marketplace/collection/"


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


def page(client: Client, query: str) -> str:
    """What differs between two showings of one page, left out."""
    text = client.get(LIST + query).content.decode()
    return re.sub(r'(nonce|value|content)="[A-Za-z0-9+/=_-]{20,}"', "", text)


@pytest.mark.parametrize(
    "query", ["", "?q=harbor", "?o=-1", "?o=2.-1&q=harbor", "?q=%26%3D%3Fa%20b%C3%A9", "?p=1"]
)
def test_a_list_is_unfolds_own_list(
    owner: Client, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = page(owner, query)
    monkeypatch.setattr(
        tenant_pages.TenantModelAdmin, "get_changelist", lambda *_args, **_more: ChangeList
    )
    monkeypatch.delattr(tenant_pages.TenantModelAdmin, "action_checkbox")
    theirs = page(owner, query)

    assert ours == theirs
    assert "result_list" in ours or "a%20b" in query


def test_a_row_that_was_found_leads_back_to_what_was_looked_for(owner: Client) -> None:
    found = owner.get(LIST + "?q=harbor&o=-1").content.decode()
    rows = re.findall(rf'href="({LIST}[^"/]+/change/[^"]*)"', found)

    assert len(rows) == 2
    for row in rows:
        back: Any = owner.get(row.replace("&amp;", "&")).content.decode()
        assert f'href="{LIST}?q=harbor&amp;o=-1"' in back
