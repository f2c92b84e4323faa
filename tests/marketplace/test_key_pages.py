"""API keys in the workspace: a secret that one page shows, once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from marketplace import api_versions, organizations, shown_once
from marketplace.access import system
from marketplace.models import ApiKey, Audit, IdempotencyKey, Organization
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ADD = "/studio/marketplace/apikey/add/"
FORM = {"name": "Nightly", "scopes": ["works:read"], "form_token": "one"}


@pytest.fixture
def owner(archive: Organization) -> Client:
    return signed_in(archive, "ada@example.org")


def signed_in(organization: Organization, email: str) -> Client:
    user = organizations.admit(
        organization, email=email, name="Ada", password="correct horse battery", role="owner"
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def keys() -> list[ApiKey]:
    with system("read keys in a test"):
        return list(ApiKey.objects.all())


def text(answer: Any) -> str:
    return str(answer.content.decode())


def secret_in(answer: Any) -> str:
    return str(answer.context["secret"])


def test_a_new_key_s_secret_stands_on_the_next_page_once(owner: Client) -> None:
    answer = owner.post(ADD, FORM)
    [key] = keys()
    url = f"/studio/marketplace/apikey/{key.pk}/secret/"
    assert (answer.status_code, answer.url) == (302, url)

    page = owner.get(url)
    secret = secret_in(page)
    assert secret in text(page)
    assert "no-store" in page["Cache-Control"]
    assert ApiClient(secret).get("/v1/works").status_code == 200

    again = owner.get(url, follow=True)
    assert again.redirect_chain == [(f"/studio/marketplace/apikey/{key.pk}/change/", 302)]
    assert "was shown once" in text(again)
    assert secret not in text(again)
    assert len(keys()) == 1


def test_a_key_s_page_says_the_version_that_it_is_pinned_to(owner: Client) -> None:
    owner.post(ADD, FORM)
    [key] = keys()
    assert key.version == api_versions.newest().date
    page = text(owner.get(f"/studio/marketplace/apikey/{key.pk}/change/"))
    assert "API version" in page
    assert key.version in page


def test_neither_the_database_nor_the_browser_alone_has_the_secret(owner: Client) -> None:
    answer = owner.post(ADD, FORM)
    cookie = answer.cookies["licet_shown_once"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", answer.url)
    kept = [str(row.get_decoded()) for row in Session.objects.all()]
    with system("read what a test keeps"):
        kept += [str(list(model.objects.values())) for model in (Audit, IdempotencyKey, ApiKey)]

    page = owner.get(answer.url)

    secret = secret_in(page)
    assert not [each for each in (*kept, str(answer.headers), cookie.value) if secret in each]
    assert page.cookies["licet_shown_once"].value == ""
    # Who kept the cookie shows it in vain.
    owner.cookies["licet_shown_once"] = cookie.value
    assert secret not in text(owner.get(answer.url, follow=True))


def test_a_secret_that_nobody_fetched_is_gone(
    owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = owner.post(ADD, FORM)
    monkeypatch.setattr(shown_once, "SECONDS", -1)
    assert "was shown once" in text(owner.get(answer.url, follow=True))
    monkeypatch.undo()
    assert "was shown once" in text(owner.get(answer.url, follow=True))


def test_nobody_else_is_shown_it(owner: Client, archive: Organization, lab: Organization) -> None:
    answer = owner.post(ADD, FORM)
    colleague = signed_in(archive, "bob@example.org")
    stranger = signed_in(lab, "eve@example.org")
    for other in (colleague, stranger):
        other.cookies["licet_shown_once"] = answer.cookies["licet_shown_once"].value
    assert "was shown once" in text(colleague.get(answer.url, follow=True))
    assert stranger.get(answer.url).status_code == 404
    assert owner.head(answer.url).status_code == 302
    assert secret_in(owner.get(answer.url))


def test_the_same_form_again_makes_no_second_key_and_says_so(owner: Client) -> None:
    owner.post(ADD, FORM)
    again = owner.post(ADD, FORM, follow=True)
    assert "You sent this form before." in text(again)
    [key] = keys()
    assert again.redirect_chain == [(f"/studio/marketplace/apikey/{key.pk}/change/", 302)]

    owner.post(ADD, {**FORM, "form_token": "two"})

    assert len(keys()) == 2
    shown = [owner.get(ADD).context["form_token"] for _n in range(2)]
    assert shown[0] != shown[1]


def test_a_refused_key_is_made_once_it_is_corrected(owner: Client) -> None:
    refused = owner.post(ADD, {**FORM, "expires_at_0": "2020-01-01", "expires_at_1": "00:00"})
    assert "Choose an instant that lies ahead." in text(refused)
    assert keys() == []
    assert owner.post(ADD, FORM).status_code == 302
    assert len(keys()) == 1
