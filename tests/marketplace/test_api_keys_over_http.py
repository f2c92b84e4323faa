"""The organization and its keys, as a client sees them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace import api_keys, api_versions, idempotency, organizations
from marketplace.access import Scope, acting
from marketplace.models import ApiKey, Organization
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
BODY = {"name": "nightly pull", "scopes": ["grants:read", "delivery:read"]}


def made(client: ApiClient, **fields: Any) -> Any:
    answer = client.post("/v1/api-keys", {**BODY, **fields})
    assert answer.status_code == 201, answer.content
    return answer


def works(secret: str) -> bool:
    answer = ApiClient(secret).get("/v1/grants")
    assert answer.status_code in {200, 401}
    return bool(answer.status_code == 200)


def test_an_organization_sees_itself(client_for: ClientFor, archive: Organization) -> None:
    body = client_for(archive, livemode=True).get("/v1/organization").json()
    assert {**body, "created_at": None} == {
        "object": "organization",
        "id": str(archive.pk),
        "kind": "platform",
        "name": "Archive",
        "legal_name": "Archive Ltd",
        "jurisdiction": "IE",
        "registration_number": "12345",
        "registered_address": "1 Main Street, Archive",
        "representative_name": "Rita Sign",
        "contact_email": "legal@example.org",
        "vat_id": "",
        "missing_identity": [],
        "created_at": None,
    }


def test_a_key_beside_a_session_is_all_that_is_looked_at(
    archive: Organization, lab: Organization
) -> None:
    browser = Client()
    browser.force_login(
        organizations.admit(
            lab, email="o@example.org", name="O", password="correct horse battery", role="owner"
        )
    )
    secret = api_keys.create(caller_for(archive), name="pull", scopes=["organization:read"])[1]

    with CaptureQueriesContext(connection) as asked:
        seen = browser.get("/v1/organization", headers={"Authorization": f"Bearer {secret}"})

    assert seen.json()["id"] == str(archive.pk)
    assert not [each["sql"] for each in asked if "django_session" in each["sql"]]
    assert not seen.cookies


@pytest.mark.parametrize("livemode", [False, True])
def test_a_key_is_shown_with_its_secret_once(
    client_for: ClientFor, archive: Organization, livemode: bool
) -> None:
    client = client_for(archive, livemode=livemode)
    answer = made(client)
    shown = answer.json()
    secret = shown.pop("secret")
    assert shown.pop("secret_already_shown") is False
    assert {**shown, "id": None, "created_at": None} == {
        "object": "api_key",
        "id": None,
        "livemode": livemode,
        "name": "nightly pull",
        "last_four": secret[-4:],
        "scopes": ["delivery:read", "grants:read"],
        "version": api_versions.newest().date,
        "rotated_from": None,
        "created_at": None,
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
    }
    assert answer["Location"] == f"/v1/api-keys/{shown['id']}"
    assert client.get(answer["Location"]).json() == shown
    assert client.get("/v1/api-keys").json()["data"][0] == shown
    assert works(secret)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "grants:read"}, "scopes"),
        ({"scopes": ["grants:read", "everything"]}, "scopes[1]"),
        ({"scopes": ["orders:write"]}, "scopes[0]"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"livemode": True}, "livemode"),
    ],
)
def test_a_wrong_key_is_refused(
    client_for: ClientFor, archive: Organization, change: dict[str, Any], param: str
) -> None:
    held = [scope for scope in Scope if scope != Scope.ORDERS_WRITE]
    client = client_for(archive, scopes=held)
    answer = client.post("/v1/api-keys", {**BODY, **change})
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert len(client.get("/v1/api-keys").json()["data"]) == 1


def test_a_key_may_be_given_an_end(client_for: ClientFor, archive: Organization) -> None:
    ends = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    body = made(client_for(archive), expires_at=ends.isoformat()).json()
    assert body["expires_at"] == ends.isoformat().replace("+00:00", "Z")


def test_a_rotated_key_has_a_successor_at_its_own_address(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    old = made(client).json()
    answer = client.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 0})
    new = answer.json()
    assert (answer.status_code, new["rotated_from"]) == (201, old["id"])
    assert answer["Location"] == f"/v1/api-keys/{new['id']}"
    assert client.get(answer["Location"]).status_code == 200
    assert (works(old["secret"]), works(new["secret"])) == (False, True)
    assert client.get(f"/v1/api-keys/{old['id']}").json()["revoked_at"] is not None
    again = client.post(f"/v1/api-keys/{old['id']}/rotate")
    assert (again.status_code, again.json()["param"]) == (422, "id")


@pytest.mark.parametrize("seconds", [-1, 604_801, "60", True])
def test_an_overlap_has_limits(
    client_for: ClientFor, archive: Organization, seconds: object
) -> None:
    client = client_for(archive)
    key = made(client).json()
    answer = client.post(f"/v1/api-keys/{key['id']}/rotate", {"overlap_seconds": seconds})
    assert (answer.status_code, answer.json()["param"]) == (422, "overlap_seconds")
    assert works(key["secret"])


def test_a_revoked_key_ends_and_revoking_it_again_changes_nothing(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    key = made(client).json()
    revoked = client.post(f"/v1/api-keys/{key['id']}/revoke")
    assert (revoked.status_code, works(key["secret"])) == (200, False)
    assert client.post(f"/v1/api-keys/{key['id']}/revoke").json() == revoked.json()


def test_keys_of_the_other_mode_are_not_there(client_for: ClientFor, archive: Organization) -> None:
    test, live = client_for(archive), client_for(archive, livemode=True)
    key = made(test).json()["id"]
    assert live.get(f"/v1/api-keys/{key}").status_code == 404
    assert live.post(f"/v1/api-keys/{key}/revoke").status_code == 404
    assert key not in {row["id"] for row in live.get("/v1/api-keys").json()["data"]}


@pytest.mark.parametrize("verb", ["create", "rotate"])
def test_a_lost_secret_is_not_shown_again(
    client_for: ClientFor, archive: Organization, verb: str
) -> None:
    client = client_for(archive)
    url, body = "/v1/api-keys", BODY
    if verb == "rotate":
        url, body = f"/v1/api-keys/{made(client).json()['id']}/rotate", {}
    first = client.post(url, body, Idempotency_Key="k")
    again = client.post(url, body, Idempotency_Key="k")
    expected = {**first.json(), "secret": None, "secret_already_shown": True}
    assert (again.status_code, again.json()) == (201, expected)
    assert again["Location"] == first["Location"]


@pytest.mark.parametrize("verb", ["create", "rotate", "revoke"])
def test_a_retry_after_a_crash_finds_the_key(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The first request died after its commit, before its answer was stored."""
    client = client_for(archive)
    url, body = "/v1/api-keys", BODY
    if verb != "create":
        url, body = f"/v1/api-keys/{made(client).json()['id']}/{verb}", {}
    monkeypatch.setattr(idempotency, "LEASE", timedelta(0))
    with monkeypatch.context() as dying:
        dying.setattr(idempotency, "store", lambda *_args, **_others: None)
        first = client.post(url, body, Idempotency_Key="k")
    with acting(caller_for(archive), writing=False):
        before = ApiKey.objects.count()
    again = client.post(url, body, Idempotency_Key="k")
    lost = {} if verb == "revoke" else {"secret": None, "secret_already_shown": True}
    assert again.status_code == first.status_code
    assert again.json() == {**first.json(), **lost}
    assert again.headers.get("Location") == first.headers.get("Location")
    with acting(caller_for(archive), writing=False):
        assert ApiKey.objects.count() == before
