"""The operator's desk: each verb has a page, is done once, and only operators reach it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from marketplace import operator_pages
from marketplace.access import system
from marketplace.models import AccountAct, Audit, LegalHold, Trader, User
from marketplace.operator_pages import Act
from marketplace.page_policy import WORKSPACE
from payments import checkup
from payments.models import ConnectedAccount, FeeSchedule, Mismatch
from tests.make import make_operator
from tests.security.world import World, world

__all__ = ["world"]

pytestmark = pytest.mark.django_db
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)[^>]*>", re.IGNORECASE)
# Every verb, by its table: a new one is put here on purpose, and is in the tests below.
ACTS = [
    "licensing.Appeal answer",
    "licensing.ModerationDecision decide",
    "licensing.ModerationDecision lift",
    "licensing.Offer approve",
    "licensing.Offer refuse",
    "licensing.Offer reinstate",
    "licensing.Offer suspend",
    "licensing.Report decide",
    "marketplace.LegalHold lift",
    "marketplace.LegalHold place",
    "marketplace.Trader refuse",
    "marketplace.Trader verify",
    "marketplace.User take-factors-away",
    "payments.ConnectedAccount clear",
    "payments.ConnectedAccount refuse",
    "payments.FeeSchedule set",
    "payments.Mismatch close",
    "payments.Order refund",
    "payments.Refund approve",
    "payments.Refund pay-outside",
    "payments.Transfer send-again",
]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_operator())
    return client


def acts() -> Iterator[tuple[str, Act, Any, str]]:
    """Each verb with a row and the address of its page."""
    for model, pages in admin.site._registry.items():
        for act in getattr(pages, "acts", ()):
            with system("find a row in a test"):
                row = None if act.is_making else model._default_manager.first()
            assert act.is_making or row is not None, "Without a row, this proves nothing."
            yield f"{model._meta.label} {act.name}", act, row, pages.act_url(act, row)  # type: ignore[attr-defined]


def form_of(act: Act, row: Any, **said: Any) -> dict[str, Any]:
    """The form as its page gives it, with what an operator says."""
    with system("make a form in a test"):
        form = act.form(row=row)
    found = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    filled = {name: value for name, value in found.items() if value is not None}
    return {**filled, **said}


def act_of(label: str, **filters: Any) -> tuple[Act, Any, str]:
    for model, pages in admin.site._registry.items():
        for act in getattr(pages, "acts", ()):
            if f"{model._meta.label} {act.name}" == label:
                with system("find a row in a test"):
                    row = None if act.is_making else model._default_manager.filter(**filters)[0]
                return act, row, pages.act_url(act, row)  # type: ignore[attr-defined]
    raise AssertionError(label)


def again(model: type[Any], row: Any) -> Any:
    with system("read a row in a test"):
        return model.objects.get(pk=row.pk)


def audited() -> list[str]:
    with system("read the audit in a test"):
        return list(Audit.objects.order_by("pk").values_list("action", flat=True))


def test_these_verbs_have_a_page_and_no_others() -> None:
    names = [
        f"{model._meta.label} {act.name}"
        for model, pages in admin.site._registry.items()
        for act in getattr(pages, "acts", ())
    ]
    assert sorted(names) == ACTS


def test_who_is_no_operator_reaches_no_verb_and_changes_nothing(world: World) -> None:
    member = Client()
    member.force_login(User.objects.get(email="archive@example.org"))
    before, count = world.fingerprint(), 0
    for label, act, row, url in acts():
        form = form_of(act, row, reason="Because.", note="Because.", text="Because.")
        assert Client().post(url, form).status_code == 302, label
        assert Client().get(url).status_code == 302, label
        for answer in (member.post(url, form), member.get(url)):
            assert answer.status_code in {302, 403}, label
            assert "copy" not in answer.content.decode(), label
        count += 1
    assert count == len(ACTS)
    assert world.fingerprint() == before


def test_a_verb_takes_no_form_of_another_site(world: World) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_operator())
    before = world.fingerprint()
    for label, act, row, url in acts():
        assert strict.post(url, form_of(act, row, reason="x", note="x")).status_code == 403, label
    assert world.fingerprint() == before


def test_a_verbs_page_explains_and_changes_nothing(operator: Client, world: World) -> None:
    before = world.fingerprint()
    for label, act, _row, url in acts():
        page = operator.get(url)
        assert page.status_code == 200, label
        assert str(act.help)[:20] in page.content.decode().replace("&#x27;", "'"), label
        # Without the copy that its page names, a form is none of ours.
        refused = operator.post(url, {})
        assert refused.status_code == 200, label
        assert "This was not done." in refused.content.decode(), label
    assert world.fingerprint() == before


@pytest.mark.oracle
def test_each_page_of_operators_has_the_policy_and_nothing_inline(
    operator: Client, world: World
) -> None:
    urls = ["/admin/", "/admin/doctor/", *(url for _label, _act, _row, url in acts())]
    urls += [f"/admin/waiting/{kind.key}/" for kind in operator_pages.WAITING]
    for model in admin.site._registry:
        with system("find a row in a test"):
            row = model._default_manager.first()
        assert row is not None
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls += [reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])]
    for url in urls:
        page = operator.get(url)
        assert page.status_code == 200, url
        assert page["Content-Security-Policy"] == WORKSPACE, url
        assert INLINE.findall(page.content.decode()) == [], url
    assert len(urls) > 120


def test_a_row_shows_the_buttons_of_its_state(operator: Client, world: World) -> None:
    _act, row, url = act_of("marketplace.Trader refuse", state="verified")
    page = operator.get(url.replace("do/refuse/", "change/")).content.decode()
    assert url in page
    assert url.replace("refuse", "verify") not in page
    assert again(Trader, row).state == "verified"


def test_a_trader_is_refused_with_a_reason_once_and_verified_again(
    operator: Client, world: World
) -> None:
    act, row, url = act_of("marketplace.Trader refuse", state="verified")
    empty = operator.post(url, form_of(act, row, reason=" "))
    assert "errorlist" in empty.content.decode()
    assert again(Trader, row).state == "verified"
    form = form_of(act, row, reason="The register does not know it.")
    done = operator.post(url, form, follow=True)
    assert "The trader is refused." in done.content.decode()
    found = again(Trader, row)
    assert (found.state, found.reason) == ("refused", "The register does not know it.")
    count = len(audited())
    act, row, verify = act_of("marketplace.Trader verify", pk=row.pk)
    operator.post(verify, form_of(act, row))
    assert again(Trader, row).state == "verified"
    # The first form, sent again, would take it back.
    twice = operator.post(url, form, follow=True)
    assert "This form was sent already" in twice.content.decode()
    assert again(Trader, row).state == "verified"
    assert audited()[count:] == ["trader.verified"]


def test_records_are_held_and_another_operator_lifts_it(operator: Client, world: World) -> None:
    with system("find an organization in a test"):
        subject = str(Trader.objects.all()[0].organization_id)
    act, row, url = act_of("marketplace.LegalHold place")
    wrong = operator.post(url, form_of(act, row, subject="x", matter="C-1/26", reason="A court."))
    assert "Name an organization" in wrong.content.decode()
    said = {"subject": subject, "matter": "C-1/26", "reason": "A court asks."}
    operator.post(url, form_of(act, row, **said))
    with system("find the hold in a test"):
        hold = LegalHold.objects.get(matter="C-1/26")
    act, row, url = act_of("marketplace.LegalHold lift", pk=hold.pk)
    own = operator.post(url, form_of(act, row, reason="It is over."))
    assert "another operator lifts it" in own.content.decode()
    assert again(LegalHold, hold).lifted_at is None
    assert audited()[-1] == "legal_hold.placed"
    operator.force_login(make_operator("otto@example.org"))
    operator.post(url, form_of(act, row, reason="It is over."))
    assert again(LegalHold, hold).lift_reason == "It is over."
    assert audited()[-1] == "legal_hold.lifted"


def test_factors_are_removed_by_an_operator_who_is_named_and_never_ones_own(
    operator: Client, world: World
) -> None:
    member = User.objects.get(email="archive@example.org")
    act, row, url = act_of("marketplace.User take-factors-away", pk=member.pk)
    operator.post(url, form_of(act, row))
    me = User.objects.get(email="olga@example.org")
    with system("read an account's acts in a test"):
        last = AccountAct.objects.filter(user=member).order_by("-pk")[0]
        count = AccountAct.objects.count()
    assert (last.action, last.data["by"]) == ("factor.removed", str(me.pk))
    with system("read the audit in a test"):
        row = Audit.objects.order_by("-id")[0]
    assert (row.organization_id, row.actor, row.action, row.subject) == (
        None,
        str(me.pk),
        "factor.removed",
        str(member.pk),
    )
    act, row, url = act_of("marketplace.User take-factors-away", pk=me.pk)
    own = operator.post(url, form_of(act, row))
    assert "another operator removes them" in own.content.decode()
    with system("read an account's acts in a test"):
        assert AccountAct.objects.count() == count


def test_an_account_is_refused_and_cleared_with_a_note(operator: Client, world: World) -> None:
    for name, state in (("refuse", "refused"), ("clear", "cleared")):
        act, row, url = act_of(f"payments.ConnectedAccount {name}")
        operator.post(url, form_of(act, row, note="Looked at the papers."))
        found = again(ConnectedAccount, row)
        assert (found.clearance, found.clearance_note) == (state, "Looked at the papers.")
        assert audited()[-1] == f"connected_account.{state}"


def test_a_mismatch_is_closed_with_a_note(operator: Client, world: World) -> None:
    act, row, url = act_of("payments.Mismatch close", resolved_at=None)
    assert again(Mismatch, row).resolved_at is None
    form = form_of(act, row, note="Stripe credited it by hand.")
    operator.post(url, form)
    assert again(Mismatch, row).note == "Stripe credited it by hand."
    assert audited()[-1] == "mismatch.closed"
    count = len(audited())
    assert "sent already" in operator.post(url, form, follow=True).content.decode()
    assert len(audited()) == count


def test_a_mismatch_of_nobody_is_closed_on_the_markets_own_record(
    operator: Client, world: World
) -> None:
    with system("find a mismatch in a test"):
        made = Mismatch.objects.create(livemode=False, kind="clearing_open", subject="txn_9")
    act, row, url = act_of("payments.Mismatch close", pk=made.pk)
    operator.post(url, form_of(act, row, note="A bank's own error."))
    me = User.objects.get(email="olga@example.org")
    with system("read the audit in a test"):
        last = Audit.objects.order_by("-id")[0]
    assert (last.organization_id, last.actor, last.action, last.subject) == (
        None,
        str(me.pk),
        "mismatch.closed",
        str(made.pk),
    )
    # The list of the audit shows it, and its page.
    assert "mismatch.closed" in operator.get("/admin/marketplace/audit/").content.decode()
    page = operator.get(f"/admin/marketplace/audit/{last.pk}/change/")
    assert page.status_code == 200


def test_an_account_of_no_organization_is_held_on_the_markets_own_record(
    operator: Client, world: World
) -> None:
    otto = make_operator("otto@example.org")
    act, row, url = act_of("marketplace.LegalHold place")
    operator.post(url, form_of(act, row, subject=str(otto.pk), matter="C-2", reason="A court."))
    with system("read the audit in a test"):
        hold = LegalHold.objects.get(subject=str(otto.pk))
        last = Audit.objects.order_by("-id")[0]
    assert (last.organization_id, last.action) == (None, "legal_hold.placed")
    act, row, url = act_of("marketplace.LegalHold lift", pk=hold.pk)
    operator.force_login(otto)
    operator.post(url, form_of(act, row, reason="It is over."))
    with system("read the audit in a test"):
        last = Audit.objects.order_by("-id")[0]
    assert (last.organization_id, last.actor, last.action) == (
        None,
        str(otto.pk),
        "legal_hold.lifted",
    )


def test_a_fee_is_set_once_and_of_what_exists(operator: Client, world: World) -> None:
    act, row, url = act_of("payments.FeeSchedule set")
    with system("count fees in a test"):
        before = FeeSchedule.objects.count()
    said = {"basis_points": "1234", "fixed_minor": '{"EUR": 30}', "stripe_fees": "seller"}
    for wrong in (
        {"organization": "org_x"},
        {"fixed_minor": '{"EUR": -1}'},
        {"fixed_minor": "[1]"},
    ):
        page = operator.post(url, form_of(act, row, **{**said, **wrong}))
        assert "This was not done." in page.content.decode(), wrong
    form = form_of(act, row, **said)
    assert operator.post(url, form).status_code == 302
    assert operator.post(url, form).status_code == 302
    with system("count fees in a test"):
        assert FeeSchedule.objects.count() == before + 1
        last = FeeSchedule.objects.order_by("-created_at")[0]
        rows = Audit.objects.filter(subject=str(last.pk))
        kept = [(row.organization_id, row.action) for row in rows]
    assert (last.basis_points, last.fixed_minor) == (1234, {"EUR": 30})
    assert kept == [(None, "fee_schedule.made")]


def test_the_first_page_says_what_waits_by_one_query(operator: Client, world: World) -> None:
    with system("count what waits in a test"):
        lines = operator_pages.lines()
        expected = {kind.key: kind.rows().count() for kind in operator_pages.WAITING}
        with CaptureQueriesContext(
            connection,
        ) as queries:
            operator_pages.lines()
    assert len(queries) == 1
    assert {line.kind.key: line.count for line in lines} == {
        key: count for key, count in expected.items() if count
    }
    assert lines
    assert [line.since for line in lines] == sorted(line.since for line in lines)
    page = operator.get("/admin/").content.decode()
    for line in lines:
        assert f"/admin/waiting/{line.kind.key}/" in page
        listed = operator.get(f"/admin/waiting/{line.kind.key}/").content.decode()
        with system("find a row in a test"):
            assert str(line.kind.rows()[0].pk) in listed
    assert operator.get("/admin/waiting/nothing/").status_code == 404


def test_an_empty_desk_says_what_to_do(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    none = [
        dataclasses.replace(kind, rows=lambda rows=kind.rows: rows().none())
        for kind in operator_pages.WAITING
    ]
    monkeypatch.setattr(operator_pages, "WAITING", none)
    assert "Nothing waits for you." in operator.get("/admin/").content.decode()


def test_the_doctor_says_what_is_wrong_and_the_way_out(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = checkup.Result("disks", "Disks", checkup.Level.FAIL, "Full.", "Make <room>.")
    right = checkup.Result("clock", "Clock", checkup.Level.OK, "Right.", "")
    monkeypatch.setattr(checkup, "examine", lambda: iter([right, wrong]))
    page = operator.get("/admin/doctor/").content.decode()
    assert "Make &lt;room&gt;." in page
    assert page.index("Full.") < page.index("Right.")
    assert "1 of 2 findings need a look." in page
    assert operator.post("/admin/doctor/").status_code == 405
    assert Client().get("/admin/doctor/").status_code == 302
