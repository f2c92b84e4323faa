"""Who works in an organization: roles change, people go, and an owner stays."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client

from marketplace import collections, members, organizations, sharing
from marketplace.access import acting
from marketplace.errors import LastOwner, MissingScope
from marketplace.models import CollectionShare, Membership, Organization
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db(transaction=True)


def admit(organization: Organization, name: str, role: str) -> str:
    """Make a member; returns the membership's id."""
    user = organizations.admit(
        organization,
        email=f"{name}@example.org",
        name=name,
        password="correct horse battery",
        role=role,
    )
    with acting(caller_for(organization), writing=False):
        return str(Membership.objects.get(user=user, organization=organization).pk)


def roles(organization: Organization) -> dict[str, str]:
    with acting(caller_for(organization), writing=False):
        rows = Membership.objects.select_related("user")
        return {row.user.name: row.role for row in rows}


def test_members_are_listed_with_their_roles(client_for: ClientFor, archive: Organization) -> None:
    admit(archive, "ada", "owner")
    [row] = client_for(archive).get("/v1/members").json()["data"]
    assert (row["email"], row["role"], row["object"]) == ("ada@example.org", "owner", "member")


def test_a_role_changes_and_binds_at_once(client_for: ClientFor, archive: Organization) -> None:
    admit(archive, "ada", "owner")
    eve = admit(archive, "eve", "editor")
    browser = Client()
    browser.login(username="eve@example.org", password="correct horse battery")
    client = client_for(archive)
    for _time in range(2):
        answer = client.post(f"/v1/members/{eve}/role", {"role": "viewer"})
        assert (answer.status_code, answer.json()["role"]) == (200, "viewer")
    with acting(caller_for(archive), writing=False):
        assert roles(archive) == {"ada": "owner", "eve": "viewer"}
    refused = browser.post("/v1/collections", {"name": "Letters"}, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")


def test_a_member_who_goes_is_out_at_once_with_all_that_was_shared(
    client_for: ClientFor, archive: Organization
) -> None:
    admit(archive, "ada", "owner")
    eve = admit(archive, "eve", "viewer")
    collection = collections.create(caller_for(archive), name="Letters")
    sharing.share(caller_for(archive), str(collection.pk), email="eve@example.org", right="edit")
    browser = Client()
    browser.login(username="eve@example.org", password="correct horse battery")
    assert browser.get("/v1/organization").status_code == 200
    assert client_for(archive).post(f"/v1/members/{eve}/remove").status_code == 200
    assert browser.get("/v1/organization").status_code == 401
    assert roles(archive) == {"ada": "owner"}
    assert not CollectionShare.objects.exists()


@pytest.mark.parametrize("act", ["role", "remove"])
def test_the_last_owner_stays_the_owner(
    client_for: ClientFor, archive: Organization, act: str
) -> None:
    ada = admit(archive, "ada", "owner")
    client = client_for(archive)
    if act == "role":
        answer = client.post(f"/v1/members/{ada}/role", {"role": "viewer"})
    else:
        answer = client.post(f"/v1/members/{ada}/remove")
    assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert roles(archive) == {"ada": "owner"}


def test_a_manager_neither_makes_nor_unmakes_owners(archive: Organization) -> None:
    ada = admit(archive, "ada", "owner")
    admit(archive, "ann", "owner")
    eve = admit(archive, "eve", "editor")
    manager = caller_for(archive, scopes=organizations.ROLE_SCOPES["manager"])
    for act in (
        lambda: members.set_role(manager, eve, role="owner"),
        lambda: members.set_role(manager, ada, role="viewer"),
        lambda: members.remove(manager, ada),
    ):
        with pytest.raises(MissingScope):
            act()
    assert roles(archive) == {"ada": "owner", "ann": "owner", "eve": "editor"}
    members.remove(manager, eve)
    assert roles(archive) == {"ada": "owner", "ann": "owner"}


def test_two_owners_who_remove_each_other_at_once_leave_one(archive: Organization) -> None:
    both = [admit(archive, "ada", "owner"), admit(archive, "ann", "owner")]
    barrier, outcomes = threading.Barrier(2), []

    def remove(id: str) -> None:
        barrier.wait(10)
        try:
            members.remove(caller_for(archive), id)
            outcomes.append("gone")
        except LastOwner:
            outcomes.append("stays")
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=[id]) for id in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["gone", "stays"]
    assert list(roles(archive).values()) == ["owner"]
