"""The operator's desk about money, through its pages: done once, on record, refused for nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from licensing import moderation
from licensing.models import Grant
from marketplace import access
from marketplace.models import Audit, Organization, User
from payments import commands, journal, refunds
from payments.models import Command, Dispute, Journal, Mismatch, Order, Posting, Refund, Transfer
from payments.stripe_facts import RefundFacts
from tests.licensing.test_moderation import WHY, held
from tests.make import issue_grant, make_offer, make_operator
from tests.marketplace.test_operator_desk import act_of, form_of
from tests.payments.buying import acceptance, balances, order_now, quote_for
from tests.payments.test_money_races import given_back
from tests.payments.test_transfers import FakeGateway, gateway, shared_out
from tests.people import ApiClient

__all__ = ["gateway"]

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def olga(db: None) -> User:
    return make_operator("olga@example.org")


@pytest.fixture
def otto(db: None) -> User:
    return make_operator("otto@example.org")


@pytest.fixture
def desk(client: Client, olga: User) -> Client:
    client.force_login(olga)
    return client


def everything() -> tuple[Any, ...]:
    models = (Refund, Order, Transfer, Command, Journal, Posting, Mismatch, Audit)
    with access.system("look in a test"):
        return tuple(list(model.objects.order_by("pk").values()) for model in models)  # type: ignore[attr-defined]


def fresh(row: Any) -> Any:
    with access.system("look in a test"):
        return type(row).objects.get(pk=row.pk)


def acts_on(row: Any) -> list[tuple[str, str]]:
    with access.system("read the audit in a test"):
        rows = Audit.objects.filter(subject=str(row.pk)).order_by("id")
        return [(each.action, each.actor) for each in rows]


def sent(desk: Client, label: str, row: Any, **said: Any) -> str:
    """Send a verb's form, twice. What the page says; the second one changed nothing."""
    act, found, url = act_of(label, pk=row.pk)
    form = form_of(act, found, **said)
    page = desk.post(url, form, follow=True)
    assert page.status_code == 200
    before = everything()
    again = desk.post(url, form, follow=True).content.decode()
    assert "This form was sent already" in again
    assert everything() == before
    return page.content.decode()


def refused(desk: Client, label: str, row: Any, why: str, **said: Any) -> None:
    """A verb that says why not, and changes nothing."""
    before = everything()
    act, found, url = act_of(label, pk=row.pk)
    page = desk.post(url, form_of(act, found, **said)).content.decode()
    assert "This was not done." in page
    assert why in page
    assert everything() == before


@pytest.mark.oracle
def test_a_large_refund_is_asked_for_and_agreed_to_by_two_operators_once(
    desk: Client,
    archive: Organization,
    lab: Organization,
    olga: User,
    otto: User,
    settings: Any,
) -> None:
    settings.REFUND_LIMITS = {"USD": 10_000}
    order = given_back(archive, lab)
    label = "payments.Order refund"
    refused(desk, label, order, "This field is required.", amount_minor="10001", reason="")
    refused(desk, label, order, "is left to give back", amount_minor="99999999", reason="No.")
    page = sent(desk, label, order, amount_minor="10001", reason="They agreed.")
    assert "It waits for who must agree." in page
    with access.system("find a refund in a test"):
        refund = Refund.objects.get()
    assert (refund.state, refund.needs_two, refund.amount_minor) == ("requested", True, 10_001)
    assert "Refunds to approve" in desk.get("/admin/").content.decode()

    # Whoever asked for it agreed by that, and does not count twice.
    label = "payments.Refund approve"
    assert "waits for another person" in sent(desk, label, refund)
    assert acts_on(refund) == [("refund.requested", str(olga.pk))]

    desk.force_login(otto)
    assert "The refund is under way." in sent(desk, label, refund)
    assert fresh(refund).state == "sending"
    assert acts_on(refund)[1:] == [("refund.approved", str(otto.pk))]
    with access.system("count in a test"):
        assert Command.objects.filter(kind="refund").count() == 1
    desk.force_login(make_operator("olive@example.org"))
    refused(desk, label, refund, "This refund was decided before.")


def test_a_small_refund_of_an_operators_is_under_way_at_once(
    desk: Client, archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.REFUND_LIMITS = {"USD": 10_000}
    order = given_back(archive, lab)
    page = sent(desk, "payments.Order refund", order, amount_minor="10000", reason="Agreed.")
    assert "The refund is under way" in page
    with access.system("find a refund in a test"):
        assert Refund.objects.get().state == "sending"


def test_one_form_that_two_requests_bring_at_once_gives_back_once(
    archive: Organization, lab: Organization, olga: User
) -> None:
    """What a page remembers of forms, the second of two at the same moment does not know yet."""
    order = given_back(archive, lab)
    said: dict[str, Any] = {"amount_minor": 5_000, "reason": "Agreed.", "effect": "prospective"}
    first = refunds.give(olga, str(order.pk), **said)
    assert refunds.give(olga, str(order.pk), **said) == first
    assert refunds.give(olga, str(order.pk), **{**said, "amount_minor": 6_000}) != first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refunds, "SAME_WITHIN", timedelta(0))
        assert refunds.give(olga, str(order.pk), **said) != first
    with access.system("count in a test"):
        assert Refund.objects.count() == 3


@pytest.mark.oracle
def test_a_refund_that_failed_is_paid_by_bank_once(
    desk: Client, archive: Organization, lab: Organization, olga: User
) -> None:
    order = given_back(
        archive,
        lab,
        grant=issue_grant(lab, make_offer(archive)),
        refusal="",
        status="granted",
        granted_at=timezone.now(),
    )
    with access.system("post a payment in a test"):
        journal.post(order, journal.PAYMENT, journal.payment(order))
    refund = refunds.give(
        olga, str(order.pk), amount_minor=5_000, reason="Agreed.", effect="prospective"
    )
    label = "payments.Refund pay-outside"
    refused(desk, label, refund, "The buyer is not owed this refund.")
    for status in ("succeeded", "failed"):
        with access.system("hear of a refund in a test"):
            locked = Order.objects.select_for_update().get(pk=order.pk)
            fact = RefundFacts("re_1", status, 5_000, ours=str(refund.pk), failure="lost_card")
            refunds.merge(locked, [fact])
            locked.save(update_fields=["refunded_minor", "status"])
    assert fresh(refund).state == "failed"
    with access.system("find a mismatch in a test"):
        mismatch = Mismatch.objects.get(subject=str(refund.pk))
    assert mismatch.resolved_at is None

    assert "got the money by bank" in sent(desk, label, refund)
    assert balances()["bank"] == -5_000
    assert acts_on(refund)[-1] == ("refund.paid_outside", str(olga.pk))
    assert fresh(mismatch).resolved_at is not None


@pytest.mark.oracle
def test_a_refused_transfer_is_sent_again_once(
    desk: Client, archive: Organization, lab: Organization, olga: User, gateway: FakeGateway
) -> None:
    order = shared_out(archive, lab)
    with access.system("find a transfer in a test"):
        transfer = Transfer.objects.get(order=order.pk)
    assert transfer.state == "refused"
    label, was = "payments.Transfer send-again", act_of("payments.Transfer send-again")
    gateway.is_refusing = False
    assert "The transfer is tried again." in sent(desk, label, transfer)
    commands.complete_due()
    assert (fresh(transfer).state, gateway.sent) == ("sent", [50_000])
    assert acts_on(transfer) == [("transfer.sent_again", str(olga.pk))]
    # What is sent has no button, and a form from before changes nothing.
    before = everything()
    assert was[2] not in desk.get(was[2].replace("do/send-again/", "change/")).content.decode()
    desk.post(was[2], form_of(was[0], transfer))
    assert everything() == before


def test_a_disputes_page_says_what_the_bank_was_told(
    desk: Client, archive: Organization, lab: Organization
) -> None:
    order = given_back(archive, lab)
    with access.system("dispute in a test"):
        dispute = Dispute.objects.create(
            organization=lab,
            seller=archive,
            livemode=False,
            order=order,
            stripe_id="du_1",
            amount_minor=50_000,
            currency="USD",
            reason="fraudulent",
            status="needs_response",
        )
    url = f"/admin/payments/dispute/{dispute.pk}/change/"
    page = desk.get(url).content.decode()
    assert "What the bank was told" in page
    assert "Nothing yet" in page
    with access.system("answer in a test"):
        command = Command.objects.create(
            organization=lab,
            livemode=False,
            order=order,
            kind=Command.Kind.SEND_EVIDENCE,
            reference=f"{dispute.pk}:chargeback",
            params={"evidence": {"uncategorized_text": "<secret>"}},
            state="refused",
            refusal="Too late.",
            next_attempt_at=None,
        )
    page = desk.get(url).content.decode()
    assert f"/admin/payments/command/{command.pk}/change/" in page
    assert "Too late." in page
    assert "secret" not in page


# --- a seller whose sales are suspended ---------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("measure", ["listing_suspended", "taken_down", "sales_suspended"])
def test_what_was_quoted_before_a_measure_is_not_ordered_and_what_was_granted_stands(
    archive: Organization, lab: Organization, client_for: ClientFor, olga: User, measure: str
) -> None:
    offer = make_offer(archive, price_minor=0)
    buyer = client_for(lab)
    first, second = quote_for(buyer, offer), quote_for(buyer, offer)
    granted = buyer.post("/v1/orders", acceptance(first)).json()
    grant = granted["grant"]
    target = {"organization": str(archive.pk)} if measure == "sales_suspended" else {}
    moderation.decide(olga, measure=measure, reasons=WHY, **(target or {"offer": str(offer.pk)}))
    with access.system("count in a test"):
        before = Order.objects.count()
    answer = buyer.post("/v1/orders", acceptance(second))
    assert (answer.status_code, answer.json()["code"]) == (409, "offer_not_buyable")
    with access.system("look in a test"):
        assert Order.objects.count() == before
        assert Grant.objects.get(pk=grant).status == "active"
    assert order_now(buyer, granted)["status"] == granted["status"]
    assert bool(held(archive)) == (measure == "taken_down")
