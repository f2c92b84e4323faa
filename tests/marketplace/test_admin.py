"""The operators' admin: only they enter, everything is shown but secrets, nothing is changed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import BinaryField
from django.test import Client
from django.urls import reverse

from marketplace import operators, organizations
from marketplace.access import system
from marketplace.models import ApiKey, Membership, Organization, User, Work
from marketplace.operator_site import OperatorSite
from tests.security.world import World, world

__all__ = ["world"]

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
# What an operator looks at. A new page is put here on purpose.
TABLES = [
    "licensing.Agreement",
    "licensing.Appeal",
    "licensing.Grant",
    "licensing.GrantEvent",
    "licensing.LedgerEntry",
    "licensing.ModerationDecision",
    "licensing.Offer",
    "licensing.Period",
    "licensing.Report",
    "licensing.ScopeClaim",
    "licensing.Snapshot",
    "licensing.Terms",
    "marketplace.AccountAct",
    "marketplace.ApiKey",
    "marketplace.Attestation",
    "marketplace.Audit",
    "marketplace.Collection",
    "marketplace.Contributor",
    "marketplace.ImportJob",
    "marketplace.LegalHold",
    "marketplace.Membership",
    "marketplace.Organization",
    "marketplace.Trader",
    "marketplace.User",
    "marketplace.Work",
    "payments.Account",
    "payments.Command",
    "payments.ConnectedAccount",
    "payments.Dispute",
    "payments.FeeSchedule",
    "payments.Invoice",
    "payments.Journal",
    "payments.Mismatch",
    "payments.Order",
    "payments.PaymentPart",
    "payments.Posting",
    "payments.Quote",
    "payments.Refund",
    "payments.RefundApproval",
    "payments.Remittance",
    "payments.RoyaltyAllocation",
    "payments.RoyaltyPayment",
    "payments.RoyaltyPayout",
    "payments.RoyaltyRule",
    "payments.StripeCustomer",
    "payments.StripeEvent",
    "payments.Transfer",
    "payments.TransferReversal",
]
NEVER_SHOWN = {"password", "secret", "seed", "values", "body", "params"}
every_table = pytest.mark.parametrize("label", TABLES)


@pytest.fixture
def operator(client: Client) -> Client:
    user = operators.appoint(email="olive@example.org", name="Olive", password=PASSWORD)
    client.force_login(user)
    return client


@pytest.fixture
def member(world: World) -> Client:
    client = Client()
    client.force_login(User.objects.get(email="archive@example.org"))
    return client


def address(label: str, page: str, *arguments: Any) -> str:
    return reverse(f"admin:{label.replace('.', '_').lower()}_{page}", args=arguments)


def rows(label: str) -> list[Any]:
    with system("look at all rows in a test"):
        return list(apps.get_model(label)._default_manager.all())


def addresses(label: str) -> list[str]:
    """Every page of a table, each row's included."""
    found = [address(label, "changelist"), address(label, "add")]
    for row in rows(label):
        found += [address(label, page, row.pk) for page in ("change", "delete", "history")]
    return found


def secrets_of(label: str) -> list[str]:
    """All that a page must never show of a table's rows, as a page might write it."""
    found = []
    for row in rows(label):
        for field in row._meta.fields:
            value = getattr(row, field.attname)
            if isinstance(field, BinaryField) and value:
                found += [bytes(value).hex(), str(bytes(value))]
            elif field.name in NEVER_SHOWN and value:
                found.append(str(value))
    return found


def test_the_admin_shows_these_tables_and_no_others() -> None:
    assert isinstance(admin.site, OperatorSite)
    assert sorted(model._meta.label for model in admin.site._registry) == TABLES


def test_a_page_that_can_write_is_not_taken() -> None:
    site = OperatorSite()
    site.register(Group)
    site.register(Group, admin.ModelAdmin)
    assert site._registry == {}
    # Django's own admin app offers one for its groups; ours does without.
    assert not admin.site.is_registered(Group)


@every_table
def test_nobody_gets_the_login_page_and_no_data(client: Client, world: World, label: str) -> None:
    for url in addresses(label):
        answer = client.get(url)
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={url}")
        assert answer.content == b""


@every_table
def test_a_member_is_refused_and_gets_no_data(member: Client, world: World, label: str) -> None:
    for url in addresses(label):
        answer = member.get(url)
        assert (answer.status_code, answer.content) == (302, b"")
        assert answer["Location"] == f"/admin/login/?next={url}"
    page = member.get(answer["Location"])
    assert page.status_code == 403
    assert "Letters" not in page.content.decode()
    assert "Everything on record" not in page.content.decode()


@pytest.mark.parametrize("path", ["", "jsi18n/", "logout/", "password_change/", "no/such/page"])
def test_other_pages_of_the_admin_are_closed_to_a_member_too(member: Client, path: str) -> None:
    for answer in (member.get(f"/admin/{path}"), member.post(f"/admin/{path}")):
        assert answer.status_code in {302, 404, 405}
        assert "Letters" not in answer.content.decode()


def test_a_member_s_password_does_not_open_the_admin(client: Client, world: World) -> None:
    # Django's own form is not there: it would take a password alone.
    form = {"username": "archive@example.org", "password": PASSWORD}
    answer = client.post("/admin/login/?next=/admin/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=%2Fadmin%2F")
    assert "_auth_user_id" not in client.session
    form = {"login": "archive@example.org", "password": PASSWORD, "next": "/admin/"}
    assert client.post("/login/", form)["Location"] == "/admin/"
    assert client.get("/admin/", follow=True).status_code == 403


def test_an_operator_signs_in_with_the_password_and_leaves_again(
    operator: Client, world: World
) -> None:
    client = Client()
    led = client.get("/admin/", follow=True)
    assert led.redirect_chain[-1] == ("/login/?next=%2Fadmin%2F", 302)
    form = {"login": "olive@example.org", "password": PASSWORD, "next": "/admin/"}
    answer = client.post("/login/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    index = client.get("/admin/")
    assert index.status_code == 200
    for label in TABLES:
        assert address(label, "changelist") in index.content.decode()
        assert address(label, "add") not in index.content.decode()
    assert client.post("/admin/logout/").status_code in {200, 302}
    assert client.get("/admin/").status_code == 302


def test_an_operator_who_was_deactivated_is_out(operator: Client) -> None:
    User.objects.update(is_active=False)
    assert operator.get("/admin/").status_code == 302


@every_table
def test_an_operator_sees_each_row_of_a_table_and_no_secret(
    operator: Client, world: World, label: str
) -> None:
    found = rows(label)
    assert found, "The world must hold a row, or this proves nothing."
    page = operator.get(address(label, "changelist"))
    assert page.status_code == 200
    assert page.context["cl"].result_count == len(found)
    texts = [page.content.decode()]
    for row in found:
        shown = operator.get(address(label, "change", row.pk))
        assert shown.status_code == 200, f"{label} {row.pk}: {shown.get('Location')}"
        assert str(row.pk) in shown.content.decode()
        texts.append(shown.content.decode())
    text = "\n".join(texts)
    assert [secret for secret in secrets_of(label) if secret in text] == []
    assert not re.search(r"pbkdf2_|md5\$|licet_(test|live)_[0-9A-Za-z]{10}", text)
    # Nothing to write with.
    assert not re.search(r'name="_(save|continue|addanother)"|class="deletelink"', text)


def test_the_search_finds_rows_and_nothing_else(operator: Client, world: World) -> None:
    url = address("marketplace.User", "changelist")
    assert operator.get(f"{url}?q=archive@").context["cl"].result_count == 1
    assert operator.get(f"{url}?q=nobody@").context["cl"].result_count == 0


@pytest.mark.parametrize("lookup", ["password__startswith=pbkdf2", "memberships__role=owner"])
def test_a_secret_cannot_be_guessed_letter_by_letter(
    operator: Client, world: World, lookup: str
) -> None:
    answer = operator.get(f"{address('marketplace.User', 'changelist')}?{lookup}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


@every_table
def test_an_operator_changes_nothing(operator: Client, world: World, label: str) -> None:
    before = world.fingerprint()
    row = rows(label)[0]
    name = {"name": "Changed", "role": "owner", "action": "delete_selected"}
    for url, form in (
        (address(label, "add"), name),
        (address(label, "change", row.pk), name),
        (address(label, "delete", row.pk), {"post": "yes"}),
    ):
        answer = operator.post(url, form)
        assert answer.status_code == 403, url
    assert operator.get(address(label, "add")).status_code == 403
    assert operator.get(address(label, "delete", row.pk)).status_code == 403
    form = {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}
    listed = operator.post(address(label, "changelist"), form)
    assert listed.status_code in {200, 302, 403}
    assert world.fingerprint() == before
    assert LogEntry.objects.count() == 0


def test_a_row_that_is_not_there_leads_back(operator: Client, world: World) -> None:
    for pk in (Work().pk, "not-an-id", "%00"):
        answer = operator.get(f"/admin/marketplace/work/{pk}/change/")
        assert answer.status_code in {302, 404}


def test_the_walls_open_for_the_page_and_close_behind_it(operator: Client, world: World) -> None:
    assert operator.get(address("marketplace.ApiKey", "changelist")).context["cl"].result_count > 0
    assert (ApiKey.objects.count(), Membership.objects.count()) == (0, 0)


def test_what_tenants_wrote_is_escaped(operator: Client, world: World) -> None:
    hostile = organizations.found(
        kind="lab", name="<script>alert(1)</script>", legal_name='"><b>', jurisdiction="NL"
    )
    for url in (
        address("marketplace.Organization", "changelist"),
        address("marketplace.Organization", "change", hostile.pk),
    ):
        text = operator.get(url).content.decode()
        assert "<script>alert(1)" not in text
        assert '"><b>' not in text
        assert "&lt;script&gt;alert(1)" in text
    assert Organization.objects.filter(pk=hostile.pk).exists()
