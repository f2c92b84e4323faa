"""The pages that bring files in, as the workspace hangs them behind its wall."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace import organizations
from marketplace.models import Organization
from tests.make import make_collection

pytestmark = pytest.mark.django_db


def signed_in(organization: Organization, role: str) -> Client:
    user = organizations.admit(
        organization, email="ada@example.org", name="Ada", password="correct horse", role=role
    )
    client = Client()
    client.force_login(user)
    return client


def test_a_collection_leads_to_the_page_that_takes_its_files(archive: Organization) -> None:
    collection = make_collection(archive)
    client = signed_in(archive, "editor")
    page = client.get(f"/studio/marketplace/collection/{collection.pk}/change/")
    assert "Bring in files" in page.content.decode()
    led = client.get(f"/studio/marketplace/collection/{collection.pk}/bring_in/", follow=True)
    assert led.redirect_chain == [(f"/studio/files/collections/{collection.pk}/files/", 302)]
    text = led.content.decode()
    # In the workspace's own frame, with its menu.
    assert 'href="/studio/marketplace/collection/"' in text
    assert led["Content-Security-Policy"].startswith("default-src 'none'")


def test_who_may_not_bring_works_in_is_refused_the_page(archive: Organization) -> None:
    collection = make_collection(archive)
    client = signed_in(archive, "viewer")
    answer = client.get(f"/studio/files/collections/{collection.pk}/files/")
    assert answer.status_code == 403


def test_another_s_collection_is_404(archive: Organization, stranger: Organization) -> None:
    collection = make_collection(stranger)
    client = signed_in(archive, "owner")
    answer = client.get(f"/studio/files/collections/{collection.pk}/files/")
    assert answer.status_code == 404
