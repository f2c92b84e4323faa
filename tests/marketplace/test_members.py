"""Signed-in members as callers of the API: role, organization, mode, and CSRF."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from marketplace import collections, organizations
from marketplace.access import acting
from marketplace.models import Audit, Collection, Membership, Organization, User
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
COLLECTION = "/v1/collections", {"name": "Letters"}
KEY = "/v1/api-keys", {"name": "k", "scopes": ["works:read"]}
QUOTE = "/v1/quotes", {"offer": "ofr_none", "uses": ["pretrain"], "territories": ["EU"]}


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class Browser:
    """A member's browser: cookies of this site, and its CSRF token where a page sends it along."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def sign_in(self, email: str, password: str = PASSWORD) -> Any:
        self.client.get("/login/")
        form = {"username": email, "password": password, "csrfmiddlewaretoken": self.token}
        return self.client.post("/login/", form)

    @property
    def token(self) -> str:
        return str(self.client.cookies["csrftoken"].value)

    def get(self, url: str, **headers: str) -> Any:
        return self.client.get(url, headers=_named(headers))

    def post(self, url: str, body: Any = None, *, token: str | None = None, **headers: str) -> Any:
        sent = {"X-CSRFToken": self.token if token is None else token, **_named(headers)}
        return self.client.post(
            url,
            data=json.dumps({} if body is None else body),
            content_type="application/json",
            headers={name: value for name, value in sent.items() if value},
        )


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def admit(organization: Organization, role: str = "owner", email: str = "ada@example.org") -> User:
    return organizations.admit(organization, email=email, name="Ada", password=PASSWORD, role=role)


def signed_in(organization: Organization, role: str = "owner") -> Browser:
    admit(organization, role)
    browser = Browser()
    assert browser.sign_in("ada@example.org").status_code == 302
    return browser


def names(organization: Organization) -> list[str]:
    with acting(caller_for(organization), writing=False):
        return list(
            Collection.objects.filter(organization=organization).values_list("name", flat=True)
        )


def test_a_member_reads_what_the_organization_has(archive: Organization, lab: Organization) -> None:
    made = collections.create(caller_for(archive), name="Letters")
    collections.create(caller_for(lab), name="Others")
    browser = signed_in(archive, "viewer")
    assert browser.get("/v1/organization").json()["id"] == str(archive.pk)
    listed = browser.get("/v1/collections").json()["data"]
    assert [row["id"] for row in listed] == [str(made.pk)]
    assert browser.get(f"/v1/collections/{made.pk}").json()["name"] == "Letters"


def test_a_member_writes_with_the_token_of_the_site_and_is_named_in_the_audit(
    archive: Organization,
) -> None:
    browser = signed_in(archive)
    answer = browser.post(*COLLECTION)
    assert answer.status_code == 201
    with acting(caller_for(archive), writing=False):
        act = Audit.objects.get(action="collection.created")
    assert act.actor == str(User.objects.get().pk)
    assert act.subject == answer.json()["id"]


@pytest.mark.parametrize("token", ["", "x" * 32])
def test_a_write_without_the_token_of_the_site_is_refused(
    archive: Organization, token: str
) -> None:
    answer = signed_in(archive).post(*COLLECTION, token=token)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_token_invalid")
    assert names(archive) == []


def test_a_write_that_another_site_sent_is_refused(archive: Organization) -> None:
    answer = signed_in(archive).post(*COLLECTION, Origin="https://elsewhere.example")
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_token_invalid")
    assert names(archive) == []


@pytest.mark.parametrize(
    ("role", "request_", "status", "code"),
    [
        ("owner", KEY, 201, None),
        ("manager", KEY, 403, "missing_scope"),
        ("manager", COLLECTION, 201, None),
        ("editor", COLLECTION, 201, None),
        ("editor", QUOTE, 403, "missing_scope"),
        ("finance", COLLECTION, 403, "missing_scope"),
        ("finance", QUOTE, 422, "invalid_input"),
        ("viewer", COLLECTION, 403, "missing_scope"),
        ("viewer", QUOTE, 403, "missing_scope"),
    ],
)
def test_a_role_decides_what_a_member_may_write(
    archive: Organization, role: str, request_: tuple[str, Any], status: int, code: str | None
) -> None:
    answer = signed_in(archive, role).post(*request_)
    assert (answer.status_code, answer.json().get("code")) == (status, code)


def test_a_changed_role_holds_from_the_next_request_on(archive: Organization) -> None:
    browser = signed_in(archive, "editor")
    assert browser.post(*COLLECTION).status_code == 201
    with acting(caller_for(archive)):
        Membership.objects.update(role="viewer")
    assert browser.post(*COLLECTION).status_code == 403
    assert names(archive) == ["Letters"]


def test_a_member_of_several_chooses_the_organization_by_a_header(
    archive: Organization, lab: Organization
) -> None:
    browser = signed_in(archive, "owner")
    admit(lab, "viewer")
    seen = {
        header: browser.get("/v1/organization", **sent).json()["id"]
        for header, sent in (
            ("none", {}),
            ("archive", {"Licet_Organization": str(archive.pk)}),
            ("lab", {"Licet_Organization": str(lab.pk)}),
        )
    }
    assert seen == {"none": str(archive.pk), "archive": str(archive.pk), "lab": str(lab.pk)}
    # The role is that of the organization chosen.
    refused = browser.post(*COLLECTION, Licet_Organization=str(lab.pk))
    assert (refused.status_code, names(lab)) == (403, [])


@pytest.mark.parametrize("named", ["stranger", "nonsense", "%"])
def test_the_header_opens_no_organization_of_others(
    archive: Organization, stranger: Organization, named: str
) -> None:
    browser = signed_in(archive)
    header = str(stranger.pk) if named == "stranger" else named
    answer = browser.get("/v1/organization", Licet_Organization=header)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["param"] == "Licet-Organization"
    # One that is there and one that is not look the same.
    assert answer.json()["detail"] == f"You are no member of “{header}”."
    assert browser.post(*COLLECTION, Licet_Organization=header).status_code == 404
    assert (names(archive), names(stranger)) == ([], [])


def test_who_is_a_member_of_nobody_gets_401_and_may_look_at_the_market(
    archive: Organization,
) -> None:
    organizations.appoint_operator(email="olive@example.org", name="Olive", password=PASSWORD)
    browser = Browser()
    assert browser.sign_in("olive@example.org").status_code == 302
    answer = browser.get("/v1/collections")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer ")
    assert browser.post(*COLLECTION).status_code == 401
    assert browser.get("/v1/listings").status_code == 200


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "!"}])
def test_a_session_ends_with_the_account_or_its_password(
    archive: Organization, change: dict[str, Any]
) -> None:
    browser = signed_in(archive)
    User.objects.update(**change)
    assert browser.get("/v1/organization").status_code == 401


def test_a_wrong_password_says_so_without_saying_which_part_is_wrong(
    archive: Organization,
) -> None:
    admit(archive)
    pages = [Browser().sign_in(*who) for who in (("ada@example.org", "wrong"), ("eve@x.org",))]
    assert [page.status_code for page in pages] == [200, 200]
    for page in pages:
        assert "The email and password do not match. Try again." in page.content.decode()


def test_signing_out_takes_a_post_with_the_token(archive: Organization) -> None:
    browser = signed_in(archive)
    assert browser.client.get("/logout/").status_code == 405
    assert browser.client.post("/logout/").status_code == 403
    assert browser.get("/v1/organization").status_code == 200
    out = browser.client.post("/logout/", {"csrfmiddlewaretoken": browser.token})
    assert (out.status_code, out["Location"]) == (302, "/")
    assert browser.get("/v1/organization").status_code == 401


@pytest.mark.parametrize(
    ("next_", "leads_to"),
    [("/docs/", "/docs/"), ("https://elsewhere.example/", "/"), ("//elsewhere.example", "/")],
)
def test_signing_in_leads_to_addresses_of_this_site_only(
    archive: Organization, next_: str, leads_to: str
) -> None:
    admit(archive)
    browser = Browser()
    browser.client.get("/login/")
    answer = browser.client.post(
        "/login/",
        {
            "username": "Ada@Example.org",
            "password": PASSWORD,
            "next": next_,
            "csrfmiddlewaretoken": browser.token,
        },
    )
    assert (answer.status_code, answer["Location"]) == (302, leads_to)


def test_a_members_post_may_be_sent_again_with_its_idempotency_key(archive: Organization) -> None:
    browser = signed_in(archive)
    first = browser.post(*COLLECTION, Idempotency_Key="k1")
    again = browser.post(*COLLECTION, Idempotency_Key="k1")
    assert again.json() == first.json()
    assert (again["Idempotent-Replayed"], names(archive)) == ("true", ["Letters"])


def test_a_key_in_the_request_counts_and_not_the_session(
    archive: Organization, lab: Organization, client_for: Callable[..., ApiClient]
) -> None:
    browser = signed_in(archive)
    key = {"Authorization": f"Bearer {client_for(lab).secret}"}
    assert browser.get("/v1/organization", **key).json()["id"] == str(lab.pk)
    # A key is sent on purpose, so it needs no token; a bad one does not fall back to the session.
    assert browser.post(*COLLECTION, token="", **key).status_code == 201
    assert names(lab) == ["Letters"]
    wrong = browser.get("/v1/organization", Authorization="Bearer licet_test_wrong")
    assert wrong.status_code == 401


def test_a_session_sees_test_mode_only(
    archive: Organization, client_for: Callable[..., ApiClient]
) -> None:
    client_for(archive, livemode=True)
    client_for(archive)
    rows = signed_in(archive).get("/v1/api-keys").json()["data"]
    assert [row["livemode"] for row in rows] == [False]
