"""Who an organization is, in the workspace: its identity, its verification, its checklist."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace import organizations, traders
from marketplace.access import system
from marketplace.models import Audit, Organization, Trader, User
from marketplace.tenant_site import studio
from tests.make import make_collection, make_offer, make_operator
from tests.people import caller_for

pytestmark = pytest.mark.django_db
IDENTITY, TRADER = "/studio/identity/", "/studio/identity/verification/"
SENT = {"phone": "+353 1 234567", "trade_register": "CRO, Dublin", "certified": "on"}
QUERIES_MAX = 15


def member(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}@example.org",
        name=role,
        password="correct horse battery",
        role=role,
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def form_of(client: Client) -> dict[str, Any]:
    """The form as the page shows it, to send back with changes."""
    form = client.get(IDENTITY).context["form"]
    return {name: form[name].value() for name in form.fields}


def text(answer: Any) -> str:
    return str(answer.content.decode())


def acts(prefix: str) -> list[str]:
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action__startswith=prefix).order_by("id")
        return [row.action for row in rows]


# --- identity ---------------------------------------------------------------------------------


def test_an_owner_says_who_the_organization_is_once(archive: Organization) -> None:
    client = member(archive)
    form = {**form_of(client), "name": "Archive of Cork", "jurisdiction": "us-de"}

    saved = client.post(IDENTITY, form, follow=True)
    again = client.post(IDENTITY, form, follow=True)

    assert "Saved." in text(saved)
    # The page that it was sent from is old by then: what it says stands all the same.
    assert "It stands so already" in text(again)
    archive.refresh_from_db()
    assert (archive.name, archive.jurisdiction) == ("Archive of Cork", "US-DE")
    assert acts("organization.") == ["organization.identified"]


def test_the_second_of_two_editors_is_told_and_nothing_is_lost(archive: Organization) -> None:
    client = member(archive)
    first, second = form_of(client), form_of(client)
    client.post(IDENTITY, {**first, "name": "First"})

    told = client.post(IDENTITY, {**second, "name": "Second"})

    assert "Somebody else changed this while you wrote" in text(told)
    assert "First" in text(told)
    assert 'value="Second"' in text(told)
    archive.refresh_from_db()
    assert archive.name == "First"
    assert acts("organization.") == ["organization.identified"]
    # Having read that, they may put theirs in its place.
    form = told.context["form"]
    assert "Saved." in text(
        client.post(IDENTITY, {name: form[name].value() for name in form.fields}, follow=True)
    )
    archive.refresh_from_db()
    assert archive.name == "Second"


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("field", "value"),
    [("jurisdiction", "Ireland"), ("jurisdiction", "1"), ("legal_name", " "), ("name", "n" * 201),
     ("contact_email", "nobody"), ("name", "a\x00b")],
)  # fmt: skip
def test_what_is_no_identity_is_refused_at_its_field(
    archive: Organization, field: str, value: str
) -> None:
    client = member(archive)

    refused = client.post(IDENTITY, {**form_of(client), field: value})

    assert refused.context["form"].errors.keys() == {field}
    before = archive.name
    archive.refresh_from_db()
    assert archive.name == before
    assert acts("organization.") == []


def test_markup_in_a_name_is_shown_and_never_run(archive: Organization) -> None:
    client = member(archive)
    for markup in ("<script>alert(1)</script>", '"><svg onload=alert(1)>'):
        shown = client.post(IDENTITY, {**form_of(client), "name": markup}, follow=True)
        pages = [text(shown), text(client.get("/studio/")), text(client.get("/studio/identity/"))]
        assert not any(markup in page for page in pages)
        assert all("&lt;" in page for page in pages)


@pytest.mark.oracle
@pytest.mark.parametrize("role", ["manager", "editor", "finance", "viewer"])
def test_who_is_no_owner_reads_it_and_who_can_change_it(archive: Organization, role: str) -> None:
    client = member(archive, role)
    for url, form in ((IDENTITY, {"name": "X"}), (TRADER, SENT)):
        page = text(client.get(url))
        assert "Who can: owner." in page
        assert 'class="verb"' not in page
        assert client.post(url, form).status_code == 403
    assert archive.legal_name in text(client.get(IDENTITY))
    assert (acts("organization."), acts("trader.")) == ([], [])


# --- verification -----------------------------------------------------------------------------


def test_a_seller_sends_its_identity_reads_why_it_was_refused_and_sends_it_again(
    archive: Organization,
) -> None:
    client = member(archive)
    assert "Nothing was sent yet" in text(client.get(TRADER))
    assert "An operator looks at it" in text(client.post(TRADER, SENT, follow=True))
    # The same form again is not looked at anew.
    assert "It stands so already" in text(client.post(TRADER, SENT, follow=True))
    assert acts("trader.") == ["trader.submitted"]

    olga = make_operator()
    row = Trader.objects.get(organization=archive)
    traders.refuse(olga, str(row.pk), reason="The register has <no> such number.")

    refused = text(client.get(TRADER))
    assert "The register has &lt;no&gt; such number." in refused
    assert "Send again" in refused
    assert "The register has &lt;no&gt; such number." in text(client.get("/studio/"))
    client.post(TRADER, {**SENT, "trade_register": "CRO"})
    row.refresh_from_db()
    assert (row.state, row.trade_register) == ("submitted", "CRO")
    traders.verify(olga, str(row.pk))
    assert "you may sell live" in text(client.get(TRADER))


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("field", "value"), [("phone", "01 234567"), ("trade_register", ""), ("certified", "")]
)
def test_what_is_missing_is_said_at_its_field(
    archive: Organization, field: str, value: str
) -> None:
    refused = member(archive).post(TRADER, {**SENT, field: value})

    assert refused.context["form"].errors.keys() == {field}
    assert not Trader.objects.exists()


def test_without_a_legal_identity_the_page_leads_there_first(archive: Organization) -> None:
    organizations.identify(caller_for(archive), registered_address="")
    client = member(archive)

    page = text(client.get(TRADER))

    assert "Registered address" in page
    assert f'href="{IDENTITY}"' in page
    assert 'name="phone"' not in page
    assert "Live mode needs" in text(client.post(TRADER, SENT))
    assert not Trader.objects.exists()


# --- the checklist ----------------------------------------------------------------------------


def items(client: Client) -> dict[str, Any]:
    return {str(one.label): one for one in client.get("/studio/").context["checklist"]}


def done(client: Client) -> set[str]:
    return {label for label, one in items(client).items() if one.is_done}


def test_each_step_of_the_checklist_ticks_itself(archive: Organization) -> None:
    client = member(archive)
    assert done(client) == {"Complete your profile"}
    organizations.identify(caller_for(archive), contact_email="")
    assert done(client) == set()

    user = User.objects.get(email="owner@example.org")
    organizations.identify(caller_for(archive), contact_email="a@example.org")
    traders.submit(caller_for(archive), phone="+353 1 234567", trade_register="C", certified=True)
    assert "An operator looks at it" in items(client)["Have your legal identity verified"].help
    traders.verify(make_operator(), str(Trader.objects.get().pk))
    make_offer(archive, price_minor=0)
    assert done(client) == set(items(client)) - {"Set up payouts", "Protect your account"}
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    # Their session did not pass it yet; the checklist's own step looks at the row.
    [step] = [one for one in studio.steps if one.place == 11]
    caller = dataclasses.replace(caller_for(archive), user=user)
    rows: Any = step.is_done(caller)
    assert rows.exists()


def test_every_step_leads_somewhere(archive: Organization) -> None:
    client = member(archive)
    for has_collection in (False, True):
        if has_collection:
            make_collection(archive)
        for label, one in items(client).items():
            answer = client.get(one.url, follow=True)
            assert answer.status_code == 200, label
        led = client.get("/studio/newest/attest/", follow=True).redirect_chain[-1][0]
        expected = (
            r"/studio/marketplace/collection/col_\w+/attest/"
            if has_collection
            else ("/studio/marketplace/collection/")
        )
        assert re.fullmatch(expected, led)
    assert client.get("/studio/newest/delete/").status_code == 404


def test_a_step_that_a_role_cannot_do_says_who_can(archive: Organization) -> None:
    found = items(member(archive, "editor"))

    assert found["Make a collection"].url
    assert not found["Set up payouts"].url
    assert "owner, manager, finance" in found["Set up payouts"].who
    assert found["Protect your account"].url


def test_the_first_page_takes_few_queries(archive: Organization) -> None:
    client = member(archive)
    make_offer(archive, price_minor=0)
    client.get("/studio/")
    with CaptureQueriesContext(connection) as queries:
        client.get("/studio/")
    # Savepoints stand for transactions in a test, and end with what a commit checks.
    asked = [one["sql"] for one in queries if " SAVEPOINT " not in f" {one['sql']}"]
    asked = [one for one in asked if not one.startswith("SET CONSTRAINTS")]
    # Each block undoes what it set; a transaction's end does that by itself.
    undone = "set_config('licet.tenant', '', true), set_config('licet.system', '', true)"
    asked = [one for one in asked if undone not in one]
    assert len(asked) <= QUERIES_MAX, "\n".join(one[:150] for one in asked)
