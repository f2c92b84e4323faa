"""Founding an organization by a mailed link, where the market allows it; and who it is to law."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail, signing
from django.test import Client

from marketplace import organizations
from marketplace.models import ApiKey, Organization, User
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db
FORM = {
    "kind": "creator",
    "organization": "Ada writes",
    "legal_name": "Ada Writes B.V.",
    "jurisdiction": "NL",
    "name": "Ada",
    "password": "correct horse battery",
}


@pytest.fixture
def is_open(settings: Any) -> None:
    settings.SIGN_UP = True


def ask(email: str = "ada@example.org") -> str:
    """Ask for the link; returns its path."""
    assert Client().post("/sign-up/", {"email": email}).status_code == 200
    [found] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    return str(found)


def test_the_mailed_link_founds_an_organization_with_its_owner(is_open: None) -> None:
    link, browser = ask(), Client()
    assert browser.get(link).status_code == 200
    assert not Organization.objects.exists()
    assert browser.post(link, FORM).status_code == 302
    row = Organization.objects.get()
    assert (row.kind, row.name, row.contact_email) == ("creator", "Ada writes", "ada@example.org")
    shown = browser.get("/v1/organization").json()
    assert shown["id"] == str(row.pk)
    assert shown["missing_identity"] == ["registered_address", "representative_name"]
    assert browser.get("/v1/members").json()["data"][0]["role"] == "owner"


def test_a_market_that_takes_no_sign_ups_has_no_such_page(settings: Any) -> None:
    assert settings.SIGN_UP is False
    token = signing.dumps("ada@example.org", salt="marketplace.sign_ups")
    for answer in (
        Client().get("/sign-up/"),
        Client().post("/sign-up/", {"email": "ada@example.org"}),
        Client().post(f"/sign-up/{token}", FORM),
    ):
        assert answer.status_code == 404
    assert (mail.outbox, Organization.objects.count(), User.objects.count()) == ([], 0, 0)


def test_mails_to_one_address_are_limited(is_open: None) -> None:
    for _time in range(5):
        ask()
    answer = Client().post("/sign-up/", {"email": " ADA@example.org"})
    assert (answer.status_code, len(mail.outbox)) == (429, 5)
    assert ask("bea@example.org").startswith("/sign-up/")
    assert Client().get("/sign-up/").status_code == 200


def test_a_link_works_once(is_open: None) -> None:
    link = ask()
    Client().post(link, FORM)
    again = Client().post(link, FORM | {"organization": "Eve"})
    assert again.status_code == 410
    assert Organization.objects.count() == 1


def test_a_forged_link_is_not_there(is_open: None) -> None:
    ask()
    other = signing.dumps("ada@example.org", salt="something.else")
    for token in ("forged", other):
        assert Client().post(f"/sign-up/{token}", FORM).status_code == 404
    assert not Organization.objects.exists()


def test_a_link_ends_after_a_day(is_open: None, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ask()
    monkeypatch.setattr("marketplace.sign_ups.LIFETIME_SECONDS", -1)
    answer = Client().post(link, FORM)
    assert (answer.status_code, "Its time is over" in answer.content.decode()) == (410, True)
    assert not Organization.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "operator"},
        {"kind": "bank"},
        {"jurisdiction": "Holland"},
        {"organization": " "},
        {"legal_name": ""},
        {"name": ""},
        {"password": "short"},
    ],
)
def test_a_form_filled_badly_founds_nothing_and_keeps_the_link(
    is_open: None, change: dict[str, str]
) -> None:
    link = ask()
    answer = Client().post(link, FORM | change)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()
    assert FORM["password"] not in answer.content.decode()
    assert (Organization.objects.count(), User.objects.count()) == (0, 0)
    assert Client().post(link, FORM).status_code == 302


def test_a_known_address_gets_the_same_answer(is_open: None, archive: Organization) -> None:
    organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    known = Client().post("/sign-up/", {"email": "ada@example.org"}).content.decode()
    unknown = Client().post("/sign-up/", {"email": "new@example.org"}).content.decode()
    assert known == unknown


def test_live_keys_need_the_legal_identity(client_for: ClientFor) -> None:
    made = organizations.found(kind="creator", name="Ada", legal_name="Ada B.V.", jurisdiction="NL")
    missing = ["registered_address", "representative_name", "contact_email"]
    with pytest.raises(organizations.LegalIdentityIncomplete) as refusal:
        client_for(made, livemode=True)
    assert refusal.value.data["missing"] == missing
    assert not ApiKey.objects.filter(livemode=True).exists()
    client = client_for(made)
    assert client.get("/v1/organization").json()["missing_identity"] == missing
    said = {
        "registered_address": "1 Herengracht, Amsterdam",
        "representative_name": "Ada Writer",
        "contact_email": "ada@example.org",
    }
    answer = client.post("/v1/organization", said)
    assert (answer.status_code, answer.json()["missing_identity"]) == (200, [])
    assert client_for(made, livemode=True).get("/v1/organization").status_code == 200


def test_a_company_needs_its_registration_number_too() -> None:
    made = organizations.found(kind="lab", name="Lab", legal_name="Lab Inc.", jurisdiction="US-DE")
    assert organizations.missing_identity(made)[0] == "registration_number"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"jurisdiction": "Ireland"}, "jurisdiction"),
        ({"legal_name": " "}, "legal_name"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"kind": "operator"}, "kind"),
    ],
)
def test_an_identity_said_badly_changes_nothing(
    client_for: ClientFor, archive: Organization, body: dict[str, str], param: str
) -> None:
    client = client_for(archive)
    before = client.get("/v1/organization").json()
    answer = client.post("/v1/organization", {"name": "New", **body})
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert client.get("/v1/organization").json() == before


def test_an_editor_does_not_say_who_the_organization_is(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive, scopes=organizations.ROLE_SCOPES["editor"])
    answer = client.post("/v1/organization", {"name": "New"})
    assert (answer.status_code, answer.json()["scope"]) == (403, "organization:write")
    archive.refresh_from_db()
    assert (archive.name, caller_for(archive).organization.name) == ("Archive", "Archive")
