"""Bulk edits in the workspace: counted first, asked once, watched, ended."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from marketplace import bulk_edits, organizations
from marketplace.access import system
from marketplace.models import BulkEdit, Organization, Work
from tests.make import make_collection

pytestmark = pytest.mark.django_db


def member(organization: Organization) -> Client:
    user = organizations.admit(
        organization,
        email=f"{organization.pk}@example.org",
        name="Ada",
        password="correct horse battery",
        role="editor",
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


def edits() -> list[BulkEdit]:
    with system("read edits in a test"):
        return list(BulkEdit.objects.all())


def test_an_edit_is_counted_first_asked_once_and_watched(archive: Organization) -> None:
    client, collection = member(archive), make_collection(archive, works=3)
    url = f"/studio/marketplace/collection/{collection.pk}/edit_works/"
    form = {"change": "title_prefix", "value": "<i>Cork</i>: "}

    counted = client.post(url, form)

    assert "This would change 3 works" in text(counted)
    assert edits() == []
    sent = {**form, "counted": counted.context["form"].data["counted"]}
    asked = client.post(url, sent, follow=True)
    assert "It goes on without you" in text(asked)
    assert "&lt;i&gt;Cork&lt;/i&gt;" in text(asked)
    while bulk_edits.carry_out_due():
        pass
    [edit] = edits()
    assert (edit.status, edit.changed) == ("finished", 3)
    with system("read works in a test"):
        assert all(work.title.startswith("<i>Cork</i>: ") for work in Work.objects.all())
    # Replayed, there is nothing left to change: it says so, and asks for nothing.
    assert "No work would change" in text(client.post(url, sent))
    assert len(edits()) == 1


def test_an_edit_is_ended_and_what_is_no_language_is_refused_at_its_field(
    archive: Organization, stranger: Organization
) -> None:
    client, collection = member(archive), make_collection(archive, works=2)
    url = f"/studio/marketplace/collection/{collection.pk}/edit_works/"
    refused = client.post(url, {"change": "language", "value": "not a language"})
    assert refused.context["form"].errors.keys() == {"value"}
    client.post(url, {"change": "language", "value": "de", "counted": "2"})
    [edit] = edits()

    cancel = f"/studio/marketplace/bulkedit/{edit.pk}/cancel/"
    assert member(stranger).post(cancel).status_code == 404
    assert edits()[0].status == "running"
    assert "It is ended" in text(client.post(cancel, follow=True))
    assert edits()[0].status == "canceled"
