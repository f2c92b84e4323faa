"""One collection opened to one person: that collection, that right, and no more."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from guardian.models import GroupObjectPermission, UserObjectPermission

from marketplace import collections, imports, organizations, sharing
from marketplace.access import acting
from marketplace.models import Collection, CollectionShare, Organization, User
from tests.make import records
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
PASSWORD = "correct horse battery"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.django_db(transaction=True)


def member(organization: Organization, email: str, role: str = "viewer") -> Client:
    """A signed-in browser of a new member."""
    organizations.admit(organization, email=email, name="Eve", password=PASSWORD, role=role)
    browser = Client()
    assert browser.login(username=email, password=PASSWORD)
    return browser


def collection(organization: Organization, name: str = "Letters") -> str:
    return str(collections.create(caller_for(organization), name=name).pk)


def share(client_for: ClientFor, owner: Organization, id: str, **body: str) -> Any:
    wanted = {"email": "eve@example.org", "right": "edit", **body}
    return client_for(owner).post(f"/v1/collections/{id}/shares", wanted)


def describe(browser: Client, id: str, **body: str) -> Any:
    return browser.post(f"/v1/collections/{id}", body, content_type="application/json")


def name_of(id: str) -> str:
    return Collection.objects.get(pk=id).name


def test_a_colleague_who_may_only_look_edits_what_is_shared_and_nothing_beside(
    client_for: ClientFor, archive: Organization
) -> None:
    eve = member(archive, "eve@example.org")
    letters, diaries = collection(archive), collection(archive, "Diaries")
    assert describe(eve, letters, name="Post").status_code == 403
    answer = share(client_for, archive, letters)
    assert (answer.status_code, answer.json()["right"]) == (201, "edit")
    assert describe(eve, letters, name="Post").json()["name"] == "Post"
    assert describe(eve, diaries, name="Post").status_code == 404
    assert (name_of(letters), name_of(diaries)) == ("Post", "Diaries")


def test_an_editor_from_outside_comes_by_mail_and_sees_that_collection_alone(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    eve = member(lab, "eve@example.org", role="owner")
    letters, diaries = collection(archive), collection(archive, "Diaries")
    answer = share(client_for, archive, letters)
    assert (answer.status_code, answer.json()["object"]) == (202, "invitation")
    assert eve.get(f"/v1/collections/{letters}").status_code == 404
    [link] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    assert eve.post(link).status_code == 302
    assert eve.get(f"/v1/collections/{letters}").status_code == 200
    assert eve.get(f"/v1/collections/{diaries}").status_code == 404
    assert describe(eve, letters, description="From 1900.").status_code == 200
    assert [row["id"] for row in eve.get("/v1/collections").json()["data"]] == [letters]
    # What the owner alone decides stays the owner's: attesting, sharing, snapshots, removal.
    for path in ("attestations", "shares"):
        assert eve.post(
            f"/v1/collections/{letters}/{path}",
            {"email": "e@example.org", "right": "view"},
            content_type="application/json",
        ).status_code in {404, 422}
    with acting(caller_for(archive), writing=False):
        assert CollectionShare.objects.count() == 1


def test_who_shares_a_collection_sees_the_items_of_that_one_alone(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    eve = member(lab, "eve@example.org", role="owner")
    letters, diaries = collection(archive), collection(archive, "Diaries")
    for into, tokens in ((letters, 250), (diaries, 300)):
        counted = (replace(record, units=(("tokens", tokens),)) for record in records(1))
        imports.run(caller_for(archive), into, imports.Records(counted))
    share(client_for, archive, letters)
    [link] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    assert eve.post(link).status_code == 302

    in_letters = {"collection": letters, "units": {"tokens": 250}}
    in_diaries = {"collection": diaries, "units": {"tokens": 300}}
    assert items(eve) == [in_letters]
    assert items(client_for(archive)) == [in_letters, in_diaries]
    # Only where the bytes are now.
    digests = [record.digest for record in records(1)]
    collections.remove(caller_for(archive), letters, digests=digests)
    assert items(client_for(archive)) == [in_diaries]


def items(client: Any) -> Any:
    [work] = client.get("/v1/works").json()["data"]
    [form] = client.get(f"/v1/works/{work['id']}").json()["representations"]
    assert work["representations"] == [form]
    return form["items"]


def test_nobody_learns_from_a_share_who_has_an_account(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    member(lab, "eve@example.org")
    letters = collection(archive)
    known = share(client_for, archive, letters).json()
    unknown = share(client_for, archive, letters, email="new@example.org").json()
    differs = {name for name in known if known[name] != unknown[name]}
    assert differs == {"id", "email", "created_at", "expires_at"}


def test_who_may_look_does_not_edit(client_for: ClientFor, archive: Organization) -> None:
    eve = member(archive, "eve@example.org")
    letters = collection(archive)
    share(client_for, archive, letters, right="view")
    assert describe(eve, letters, name="Post").status_code == 404
    share(client_for, archive, letters, right="edit")
    assert describe(eve, letters, name="Post").status_code == 200
    with acting(caller_for(archive), writing=False):
        assert CollectionShare.objects.count() == 1


def test_a_share_taken_back_ends_at_once(client_for: ClientFor, archive: Organization) -> None:
    eve = member(archive, "eve@example.org")
    letters = collection(archive)
    made = share(client_for, archive, letters).json()["id"]
    client = client_for(archive)
    path = f"/v1/shares/{made}/remove"
    first, retried = (client.post(path, Idempotency_Key="k") for _time in range(2))
    assert first.json() == {"id": made, "object": "collection_share", "removed": True}
    assert retried.json() == first.json()
    assert client.post(path).status_code == 404
    assert describe(eve, letters, name="Post").status_code == 403
    assert name_of(letters) == "Letters"


@pytest.mark.parametrize(
    ("body", "param"), [({"email": "no address"}, "email"), ({"right": "own"}, "right")]
)
def test_what_is_no_address_or_right_is_refused(
    client_for: ClientFor, archive: Organization, body: dict[str, str], param: str
) -> None:
    answer = share(client_for, archive, collection(archive), **body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert mail.outbox == []
    assert not CollectionShare.objects.exists()


def test_nobody_shares_what_is_another_organization_s(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    letters = collection(archive)
    assert share(client_for, stranger, letters).status_code == 404
    assert mail.outbox == []


def test_an_editor_of_a_share_does_not_share_it_on(
    client_for: ClientFor, archive: Organization
) -> None:
    eve = member(archive, "eve@example.org")
    letters = collection(archive)
    share(client_for, archive, letters)
    answer = eve.post(
        f"/v1/collections/{letters}/shares",
        {"email": "mallory@example.org", "right": "edit"},
        content_type="application/json",
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_a_share_retried_answers_the_same(client_for: ClientFor, archive: Organization) -> None:
    member(archive, "eve@example.org")
    letters, client = collection(archive), client_for(archive)
    for email in ("eve@example.org", "outside@example.org"):
        first, second = (
            client.post(
                f"/v1/collections/{letters}/shares",
                {"email": email, "right": "view"},
                Idempotency_Key=email,
            )
            for _time in range(2)
        )
        assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len(mail.outbox) == 1


def test_two_shares_at_once_make_one(archive: Organization) -> None:
    member(archive, "eve@example.org")
    letters = collection(archive)
    barrier, failures = threading.Barrier(4), []

    def act(number: int) -> None:
        barrier.wait(10)
        try:
            sharing.share(
                caller_for(archive),
                letters,
                email="eve@example.org",
                right=("view", "edit")[number % 2],
            )
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    with acting(caller_for(archive), writing=False):
        assert CollectionShare.objects.count() == 1


def test_guardian_s_generic_tables_stay_empty(client_for: ClientFor, archive: Organization) -> None:
    eve = member(archive, "eve@example.org")
    letters = collection(archive)
    share(client_for, archive, letters)
    assert describe(eve, letters, name="Post").status_code == 200
    assert UserObjectPermission.objects.count() == GroupObjectPermission.objects.count() == 0


def test_guardian_knows_the_share_as_an_object_permission(
    client_for: ClientFor, archive: Organization
) -> None:
    member(archive, "eve@example.org")
    letters = collection(archive)
    share(client_for, archive, letters)
    eve, row = User.objects.get(email="eve@example.org"), Collection.objects.get(pk=letters)
    assert eve.has_perm("marketplace.change_collection", row)
    assert not eve.has_perm("marketplace.change_collection")
    assert not eve.has_perm("marketplace.delete_collection", row)


def test_nothing_asks_guardian_for_lists() -> None:
    """`get_objects_for_user` knows no tenant; `visible_to` is the one door."""
    for app in ("marketplace", "licensing", "payments", "api_docs"):
        for path in (ROOT / app).rglob("*.py"):
            names = {
                node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
                for node in ast.walk(ast.parse(path.read_text()))
            }
            assert "get_objects_for_user" not in names, path
