"""Coming in by a mailed link: it works once, for one address, and for no longer than it says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client

from marketplace import invitations, organizations
from marketplace.access import Scope, acting, system
from marketplace.errors import InvitationEnded, MissingScope
from marketplace.models import Audit, Invitation, Membership, Organization, User
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
PASSWORD = "correct horse battery"
pytestmark = pytest.mark.django_db(transaction=True)


def link() -> str:
    """The path of the link in the newest mail."""
    [found] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    return str(found)


def members(organization: Organization) -> list[tuple[str, str]]:
    with acting(caller_for(organization), writing=False):
        rows = Membership.objects.visible_to(caller_for(organization)).select_related("user")
        return sorted((row.user.email, row.role) for row in rows)


def admit(organization: Organization, email: str, role: str = "owner") -> User:
    return organizations.admit(organization, email=email, name="Ada", password=PASSWORD, role=role)


def invite(client_for: ClientFor, archive: Organization, **body: str) -> Any:
    wanted = {"email": "guest@example.org", "role": "editor", **body}
    return client_for(archive).post("/v1/invitations", wanted)


def test_the_mailed_link_makes_a_member_who_is_signed_in(
    client_for: ClientFor, archive: Organization
) -> None:
    answer = invite(client_for, archive, email="Guest@Example.org")
    assert answer.status_code == 201
    assert answer.json()["email"] == "guest@example.org"
    assert mail.outbox[-1].to == ["guest@example.org"]
    browser = Client()
    page = browser.get(link())
    assert page.status_code == 200
    assert "Archive invites you" in page.content.decode()
    done = browser.post(link(), {"name": "Gus", "password": PASSWORD})
    assert (done.status_code, done["Location"]) == (
        302,
        "/account/second-factor/?next=%2Fstudio%2F",
    )
    assert members(archive) == [("guest@example.org", "editor")]
    assert browser.get("/v1/organization").json()["id"] == str(archive.pk)


def test_the_secret_of_the_link_is_in_the_mail_alone(
    client_for: ClientFor, archive: Organization
) -> None:
    token = (invite(client_for, archive), link().rsplit("/", 1)[1])[1]
    with system("look for a token in a test"):
        rows = [*Invitation.objects.values(), *Audit.objects.values()]
    assert token not in str(rows)
    assert token not in client_for(archive).get("/v1/invitations").content.decode()


def test_looking_at_the_page_accepts_nothing(client_for: ClientFor, archive: Organization) -> None:
    invite(client_for, archive)
    for _time in range(2):
        assert Client().get(link()).status_code == 200
    assert members(archive) == []


def test_a_link_works_once(client_for: ClientFor, archive: Organization) -> None:
    invite(client_for, archive)
    Client().post(link(), {"name": "Gus", "password": PASSWORD})
    again = Client().post(link(), {"name": "Eve", "password": "another password"})
    assert again.status_code == 410
    assert "accepted before" in again.content.decode()
    assert members(archive) == [("guest@example.org", "editor")]


def test_a_forged_link_is_not_there(archive: Organization) -> None:
    answer = Client().post("/invitations/forged", {"name": "Eve", "password": PASSWORD})
    assert answer.status_code == 404
    assert "no such invitation" in answer.content.decode()
    assert members(archive) == []


def test_a_link_ends_after_its_time(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.invitations.LIFETIME", timedelta(seconds=-1))
    invite(client_for, archive)
    answer = Client().post(link(), {"name": "Gus", "password": PASSWORD})
    assert answer.status_code == 410
    assert "Its time is over" in answer.content.decode()
    assert members(archive) == []


def test_a_link_that_was_called_back_lets_nobody_in(
    client_for: ClientFor, archive: Organization
) -> None:
    made = invite(client_for, archive).json()["id"]
    client = client_for(archive)
    first = client.post(f"/v1/invitations/{made}/revoke")
    assert first.json()["revoked_at"] is not None
    assert client.post(f"/v1/invitations/{made}/revoke").json() == first.json()
    assert Client().post(link(), {"name": "Gus", "password": PASSWORD}).status_code == 410
    assert members(archive) == []


def test_a_second_invitation_of_an_address_replaces_the_first(
    client_for: ClientFor, archive: Organization
) -> None:
    invite(client_for, archive)
    old = link()
    invite(client_for, archive, role="viewer")
    assert Client().get(old).status_code == 410
    Client().post(link(), {"name": "Gus", "password": PASSWORD})
    assert members(archive) == [("guest@example.org", "viewer")]


def test_a_known_person_signs_in_to_accept_and_nobody_else_can(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    guest, eve = admit(lab, "guest@example.org"), admit(lab, "eve@example.org")
    invite(client_for, archive)
    assert "Sign in as guest@example.org" in Client().get(link()).content.decode()
    refused = Client().post(link(), {"name": "Eve", "password": PASSWORD})
    assert refused.status_code == 403
    other = Client()
    other.force_login(eve)
    assert other.post(link()).status_code == 403
    assert members(archive) == []
    browser = Client()
    browser.force_login(guest)
    assert browser.post(link()).status_code == 302
    assert members(archive) == [("guest@example.org", "editor")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "", "password": PASSWORD}, "Give your name."),
        ({"name": "Gus", "password": "short"}, "too short"),
        ({"name": "Gus", "password": "password1"}, "too common"),
    ],
)
def test_a_form_filled_badly_says_so_and_keeps_the_link(
    client_for: ClientFor, archive: Organization, values: dict[str, str], said: str
) -> None:
    invite(client_for, archive)
    answer = Client().post(link(), values)
    assert (answer.status_code, said in answer.content.decode()) == (422, True)
    assert not User.objects.exists()
    assert Client().post(link(), {"name": "Gus", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize(
    ("body", "param"),
    [({"email": "no address"}, "email"), ({"role": "king"}, "role"), ({"email": ""}, "email")],
)
def test_what_is_no_address_or_role_is_refused(
    client_for: ClientFor, archive: Organization, body: dict[str, str], param: str
) -> None:
    answer = invite(client_for, archive, **body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert mail.outbox == []


def test_nobody_gives_a_role_above_their_own(archive: Organization) -> None:
    manager = caller_for(archive, scopes=organizations.ROLE_SCOPES["manager"])
    with pytest.raises(MissingScope):
        invitations.invite(manager, email="guest@example.org", role="owner")
    assert mail.outbox == []
    invitations.invite(manager, email="guest@example.org", role="manager")
    assert len(mail.outbox) == 1


def test_a_retry_mails_once(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    body = {"email": "guest@example.org", "role": "viewer"}
    first = client.post("/v1/invitations", body, Idempotency_Key="k")
    second = client.post("/v1/invitations", body, Idempotency_Key="k")
    assert first.json() == second.json()
    assert len(mail.outbox) == 1


def test_without_a_mail_server_nobody_is_invited(
    client_for: ClientFor, archive: Organization, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", 1, False
    answer = invite(client_for, archive)
    assert (answer.status_code, answer.json()["code"]) == (503, "mail_unavailable")
    with acting(caller_for(archive), writing=False):
        assert not Invitation.objects.exists()


def test_two_clicks_at_once_let_one_person_in(archive: Organization, lab: Organization) -> None:
    guest = admit(lab, "guest@example.org")
    invitations.invite(caller_for(archive), email="guest@example.org", role="viewer")
    token = link().rsplit("/", 1)[1]
    barrier, outcomes = threading.Barrier(4), []

    def click() -> None:
        barrier.wait(10)
        try:
            invitations.accept(token, user=guest)
            outcomes.append("in")
        except InvitationEnded:
            outcomes.append("ended")
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["ended", "ended", "ended", "in"]
    with acting(caller_for(archive), writing=False):
        assert Audit.objects.filter(action="member.admitted").count() == 1


def test_every_scope_is_an_owners(archive: Organization) -> None:
    assert organizations.ROLE_SCOPES["owner"] == frozenset(Scope)
