"""Contributors: references, consent, and identities that can be erased."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from marketplace import contributors
from marketplace.access import acting
from marketplace.models import Audit, Contributor, ContributorIdentity, Organization
from tests.database import wait_for_a_waiter
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
PERSON = {
    "external_id": "user-17",
    "consent": "granted",
    "name": "Con Tributor",
    "email": "con@example.org",
}


def made(client: ApiClient, **fields: Any) -> Any:
    answer = client.post("/v1/contributors", {**PERSON, **fields})
    assert answer.status_code == 201, answer.content
    return answer.json()


def identities(organization: Organization) -> int:
    with acting(caller_for(organization), writing=False):
        return ContributorIdentity.objects.filter(organization=organization).count()


def acts(organization: Organization) -> list[str]:
    with acting(caller_for(organization), writing=False):
        rows = Audit.objects.filter(action__startswith="contributor.").order_by("id")
        return list(rows.values_list("action", flat=True))


def test_a_contributor_is_made_and_shown_alike(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    body = made(client)
    assert {**body, "id": None, "created_at": None, "consent_changed_at": None} == {
        "object": "contributor",
        "id": None,
        "external_id": "user-17",
        "consent": "granted",
        "consent_changed_at": None,
        "identity": {"name": "Con Tributor", "email": "con@example.org"},
        "created_at": None,
    }
    assert body["consent_changed_at"] is not None
    assert client.get(f"/v1/contributors/{body['id']}").json() == body
    assert client.get("/v1/contributors").json()["data"] == [body]


def test_a_contributor_may_be_a_reference_alone(
    client_for: ClientFor, archive: Organization
) -> None:
    answer = client_for(archive).post("/v1/contributors", {"external_id": "user-18"})
    body = answer.json()
    assert (body["consent"], body["consent_changed_at"], body["identity"]) == (
        "unknown",
        None,
        None,
    )
    assert identities(archive) == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"external_id": ""}, "external_id"),
        ({"external_id": 17}, "external_id"),
        ({"consent": "perhaps"}, "consent"),
        ({"email": "con"}, "email"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_contributor_is_refused(
    client_for: ClientFor, archive: Organization, change: dict[str, Any], param: str
) -> None:
    answer = client_for(archive).post("/v1/contributors", {**PERSON, **change})
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert identities(archive) == 0


def test_an_external_id_stands_for_one_person(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    made(client_for(archive))
    again = client_for(archive).post("/v1/contributors", PERSON)
    assert (again.status_code, again.json()["code"]) == (409, "duplicate_external_id")
    assert identities(archive) == 1
    made(client_for(stranger))


def test_consent_changes_and_repeating_it_changes_nothing(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    body = made(client)
    url = f"/v1/contributors/{body['id']}/consent"
    withdrawn = client.post(url, {"consent": "withdrawn"})
    assert (withdrawn.status_code, withdrawn.json()["consent"]) == (200, "withdrawn")
    assert withdrawn.json()["consent_changed_at"] > body["consent_changed_at"]
    assert client.post(url, {"consent": "withdrawn"}).json() == withdrawn.json()
    assert acts(archive) == ["contributor.added", "contributor.consent_changed"]


@pytest.mark.parametrize("consent", ["unknown", "perhaps", None])
def test_a_consent_is_never_unknown_again(
    client_for: ClientFor, archive: Organization, consent: str | None
) -> None:
    client = client_for(archive)
    body = made(client)
    answer = client.post(f"/v1/contributors/{body['id']}/consent", {"consent": consent})
    assert (answer.status_code, answer.json()["param"]) == (422, "consent")
    assert client.get(f"/v1/contributors/{body['id']}").json() == body


def test_erasing_a_person_leaves_the_reference_and_the_consent(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    body = made(client)
    url = f"/v1/contributors/{body['id']}/erase"
    erased = client.post(url)
    assert (erased.status_code, erased.json()) == (200, {**body, "identity": None})
    assert identities(archive) == 0
    assert client.post(url).json() == erased.json()
    assert acts(archive) == ["contributor.added", "contributor.erased"]


def test_nothing_of_an_erased_person_is_in_the_audit(archive: Organization) -> None:
    contributor = contributors.add(caller_for(archive), **PERSON)
    contributors.erase(caller_for(archive), str(contributor.pk))
    with acting(caller_for(archive), writing=False):
        rows = str(list(Audit.objects.values_list("data", "subject")))
        assert Contributor.objects.get().consent == "granted"
    assert "Tributor" not in rows
    assert "example.org" not in rows


def test_a_retry_after_a_crash_answers_as_the_change_would_have(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of something that was there before answers 200, not 201."""
    from datetime import timedelta

    from marketplace import idempotency

    client = client_for(archive)
    url = f"/v1/contributors/{made(client)['id']}/consent"
    monkeypatch.setattr(idempotency, "LEASE", timedelta(0))
    with monkeypatch.context() as dying:
        dying.setattr(idempotency, "store", lambda *_args, **_others: None)
        first = client.post(url, {"consent": "refused"}, Idempotency_Key="k")
    again = client.post(url, {"consent": "refused"}, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (200, first.json())
    assert "Location" not in again.headers
    assert again["Idempotent-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["set_consent", "erase"])
def test_a_change_of_a_contributor_waits_for_an_import_that_names_them(
    client_for: ClientFor, archive: Organization, verb: str
) -> None:
    """Else the import would name the erased again, or a batch could say "granted" last."""
    id = made(client_for(archive), consent="unknown")["id"]
    caller = caller_for(archive)
    outcomes: list[Any] = []

    def change() -> None:
        try:
            if verb == "erase":
                outcomes.append(contributors.erase(caller, id))
            else:
                outcomes.append(contributors.set_consent(caller, id, consent="withdrawn"))
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    changing = threading.Thread(target=change)
    said = contributors.Person(name="Another", email="other@example.org", consent="granted")
    with acting(caller):
        contributors.hold(archive.pk)
        changing.start()
        wait_for_a_waiter()
        assert outcomes == []
        contributors.settle(caller, [(0, "user-17", said)])
    changing.join(30)
    with acting(caller, writing=False):
        row = Contributor.objects.get()
        assert outcomes == [row]
        if verb == "erase":
            assert identities(archive) == 0
        else:
            assert row.consent == "withdrawn"
