"""Who runs the market: appointed, listed and dismissed, on record, and never the last one."""

from __future__ import annotations

import getpass
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from marketplace import operators, organizations
from marketplace.access import system
from marketplace.errors import DomainError, LastOperator, NotFound
from marketplace.models import Audit, Organization, User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
OLIVE, OSCAR = "olive@example.org", "oscar@example.org"


def appoint(email: str = OLIVE, name: str = "Olive") -> User:
    return operators.appoint(email=email, name=name, password=PASSWORD)


def admit(organization: Organization) -> User:
    return organizations.admit(
        organization, email=OLIVE, name="Olive", password=PASSWORD, role="owner"
    )


def acts() -> list[tuple[str, str, str]]:
    """Of no organization: who did what to whom."""
    with system("read the acts of a test"):
        rows = Audit.objects.filter(organization=None).order_by("id")
        return [(row.actor, row.action, row.subject) for row in rows]


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command("operator", *arguments, stdout=out)
    return out.getvalue()


def test_an_operator_is_appointed_and_may_sign_in() -> None:
    for email in ("Olive@Example.org", OLIVE):
        user = appoint(email)
    assert (user.email, user.is_operator, user.is_staff) == (OLIVE, True, True)
    assert authenticate(username=OLIVE, password=PASSWORD) == user
    assert User.objects.count() == 1
    # Nothing of Django's own permissions: what operators may do is the admin site's to say.
    assert (user.is_superuser, user.get_all_permissions()) == (False, set())
    assert acts() == [("system", "operator.appointed", str(user.pk))]


def test_a_member_who_becomes_an_operator_keeps_the_password(archive: Organization) -> None:
    member = admit(archive)
    made = operators.appoint(email=OLIVE, name="Eve", password="another password")
    assert (made.pk, made.name) == (member.pk, "Olive")
    assert User.objects.get().is_operator is True
    assert authenticate(username=OLIVE, password=PASSWORD) == member


def test_an_operator_who_goes_is_out_with_the_next_request(archive: Organization) -> None:
    admit(archive)
    user = appoint()
    appoint(OSCAR, "Oscar")
    client = Client()
    client.force_login(user)
    assert client.get("/admin/").status_code == 200
    for _time in range(2):
        operators.dismiss("Olive@Example.org")
    assert client.get("/admin/").status_code == 302
    assert client.get("/studio/").status_code == 200
    assert acts()[2:] == [("system", "operator.dismissed", str(user.pk))]
    with pytest.raises(NotFound):
        operators.find(OLIVE)


def test_the_last_operator_stays() -> None:
    user = appoint()
    before = acts()
    with pytest.raises(LastOperator):
        operators.dismiss(OLIVE)
    with pytest.raises(NotFound):
        operators.dismiss("nobody@example.org")
    assert (operators.find(OLIVE), acts()) == (user, before)


@pytest.mark.django_db(transaction=True)
def test_two_who_go_at_once_leave_one() -> None:
    those = [appoint(f"o{n}@example.org", f"O{n}").email for n in range(4)]
    ready = Barrier(len(those))

    def attempt(email: str) -> str:
        try:
            ready.wait(10)
            operators.dismiss(email)
            return "done"
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(those)) as pool:
        assert sorted(pool.map(attempt, those)) == ["done"] * 3 + ["last_operator"]
    assert operators.everybody().count() == 1


# --- the command ------------------------------------------------------------------------------


def typed(*passwords: str) -> Callable[[str], str]:
    waiting = list(passwords)
    return lambda _prompt: waiting.pop(0)


def test_the_command_appoints_lists_and_dismisses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", typed(PASSWORD, PASSWORD))
    assert said("appoint", OLIVE, "--name", "Olive") == "olive@example.org is an operator.\n"
    monkeypatch.setenv("LICET_OPERATOR_PASSWORD", PASSWORD)
    said("appoint", OSCAR, "--name", "Oscar")
    assert authenticate(username=OSCAR, password=PASSWORD)
    olive, oscar = operators.everybody()
    assert said("list") == f"{olive.pk} {OLIVE} Olive\n{oscar.pk} {OSCAR} Oscar\n"
    assert said("dismiss", OLIVE) == "olive@example.org is no operator.\n"
    assert [user.email for user in operators.everybody()] == [OSCAR]


def test_the_command_asks_nothing_of_who_has_an_account(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(archive)
    monkeypatch.setattr(getpass, "getpass", typed())
    assert said("appoint", OLIVE) == "olive@example.org is an operator.\n"
    assert authenticate(username=OLIVE, password=PASSWORD)


@pytest.mark.parametrize(
    ("arguments", "passwords", "why"),
    [
        (("appoint", "olive"), (), "valid email"),
        (("appoint", OLIVE), (), "--name"),
        (("appoint", OLIVE, "--name", "Olive"), (PASSWORD, "correct house"), "differ"),
        (("appoint", OLIVE, "--name", "Olive"), ("12345", "12345"), "too short"),
        (("dismiss", OLIVE), (), "nobody"),
        (("crown", OLIVE), (), "invalid choice"),
    ],
)
def test_the_command_refuses_and_says_why(
    arguments: tuple[str, ...],
    passwords: tuple[str, ...],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(getpass, "getpass", typed(*passwords))
    with pytest.raises(CommandError, match=why):
        said(*arguments)
    assert (User.objects.count(), acts()) == (0, [])


def test_the_command_keeps_the_last_one() -> None:
    appoint()
    with pytest.raises(CommandError, match="Appoint another operator first"):
        said("dismiss", OLIVE)
    assert operators.find(OLIVE)
