"""Calls to Stripe: committed first, made after, made again until answered, never twice over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import scope_claims
from marketplace import access
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from marketplace.models import Organization
from payments import commands, refunds, stripe_gateway
from payments.models import Command, Order, Refund
from payments.stripe_facts import CheckoutFacts, RefundFacts
from tests.payments.rows import make_offer_row, make_order_row, make_quote_row, paid_order_row
from tests.people import caller_for

pytestmark = pytest.mark.django_db


class FakeGateway:
    """Stands for Stripe: remembers what came, and fails as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.failures: list[Exception] = []
        # Whether Stripe has what an earlier call made.
        self.is_found = False

    def create_checkout(self, params: dict[str, Any], *, key: str) -> CheckoutFacts:
        self._called("create_checkout", params, key)
        return CheckoutFacts("cs_1", "https://pay/cs_1", False, False, "USD", None)

    def refund(self, params: dict[str, Any], *, key: str) -> RefundFacts:
        self._called("refund", params, key)
        return RefundFacts("re_1", "succeeded", params["amount"])

    def find_refund(self, payment_intent: str, ours: str) -> RefundFacts | None:
        self.calls.append(("find_refund", {"payment_intent": payment_intent}, ours))
        return RefundFacts("re_0", "succeeded", 50_000) if self.is_found else None

    def _called(self, name: str, params: dict[str, Any], key: str) -> None:
        self.calls.append((name, params, key))
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(stripe_gateway, "create_checkout", fake.create_checkout)
    monkeypatch.setattr(stripe_gateway, "refund", fake.refund)
    monkeypatch.setattr(stripe_gateway, "find_refund", fake.find_refund)
    return fake


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The holders whose claims were released."""
    holders: list[str] = []
    monkeypatch.setattr(scope_claims, "release", holders.append)
    return holders


def make_command(seller: Organization, buyer: Organization, **fields: Any) -> Command:
    expires_at = int((timezone.now() + timedelta(hours=1)).timestamp())
    with access.system("test commands"):
        order = make_order_row(make_quote_row(buyer, make_offer_row(seller)))
        params = {"expires_at": expires_at, **fields}
        return commands.give(Command.Kind.CREATE_CHECKOUT, params, order=order)


def order_of(command: Command) -> Order:
    with access.system("test commands"):
        return Order.objects.get(pk=command.order_id)


def reread(command: Command) -> Command:
    with access.system("test commands"):
        return Command.objects.get(pk=command.pk)


def test_a_call_is_made_with_the_commands_own_id_as_its_key(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)

    done = commands.carry_out(command.pk)

    assert gateway.calls == [("create_checkout", command.params, str(command.pk))]
    assert (done.state, done.stripe_id, done.next_attempt_at) == ("done", "cs_1", None)
    order = order_of(command)
    assert (order.checkout_session, order.checkout_url) == ("cs_1", "https://pay/cs_1")


def test_a_call_that_was_answered_is_not_made_again(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)

    for _repeat in range(3):
        assert commands.carry_out(command.pk).state == "done"

    assert len(gateway.calls) == 1


def test_a_command_is_given_once_for_an_order(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    first = make_command(archive, lab)

    with access.system("test commands"):
        second = commands.give(Command.Kind.CREATE_CHECKOUT, {"other": True}, order=first.order)
        third = commands.give(
            Command.Kind.CREATE_CHECKOUT, {"other": True}, order=first.order, reference="another"
        )

    assert (second.pk, second.params) == (first.pk, first.params)
    assert third.pk != first.pk


def test_a_call_without_an_answer_is_made_again_with_the_same_key(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)
    gateway.failures = [PaymentProviderUnavailable(), PaymentProviderUnavailable()]

    for attempt, wait_seconds in ((1, 2), (2, 4)):
        with pytest.raises(PaymentProviderUnavailable) as failure:
            commands.carry_out(command.pk)
        assert failure.value.data == {"order": str(command.order_id)}
        pending = reread(command)
        assert (pending.state, pending.attempts) == ("pending", attempt)
        assert pending.next_attempt_at is not None
        wait = pending.next_attempt_at - timezone.now()
        assert timedelta(seconds=wait_seconds - 1) < wait <= timedelta(seconds=wait_seconds)
    commands.carry_out(command.pk)

    assert {key for _name, _params, key in gateway.calls} == {str(command.pk)}
    assert len(gateway.calls) == 3
    assert order_of(command).checkout_session == "cs_1"


def test_the_worker_finishes_what_a_dead_process_left(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)

    assert commands.complete_due() == 1

    assert reread(command).state == "done"
    assert commands.complete_due() == 0


def test_the_worker_keeps_off_a_call_that_is_being_made(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)
    gateway.failures = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        commands.carry_out(command.pk)

    assert commands.complete_due() == 0

    pending = reread(command)
    assert pending.next_attempt_at is not None
    assert pending.next_attempt_at > timezone.now() + timedelta(seconds=45)


def test_one_call_that_fails_does_not_keep_the_others(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    first, second = make_command(archive, lab), make_command(archive, lab)
    gateway.failures = [PaymentProviderUnavailable()]

    assert commands.complete_due() == 2

    assert [reread(first).state, reread(second).state] == ["pending", "done"]


def test_a_refusal_is_final_and_ends_the_order(
    archive: Organization, lab: Organization, gateway: FakeGateway, released: list[str]
) -> None:
    command = make_command(archive, lab)
    gateway.failures = [PaymentProviderRefused("No such currency.")]

    refused = commands.carry_out(command.pk)

    assert (refused.state, refused.refusal) == ("refused", "No such currency.")
    assert order_of(command).status == "expired"
    assert released == [str(command.order_id)]
    commands.carry_out(command.pk)
    assert len(gateway.calls) == 1


def test_a_pay_page_is_not_opened_after_its_time(
    archive: Organization, lab: Organization, gateway: FakeGateway, released: list[str]
) -> None:
    command = make_command(archive, lab, expires_at=int(timezone.now().timestamp()) - 1)

    refused = commands.carry_out(command.pk)

    assert refused.state == "refused"
    assert gateway.calls == []
    assert order_of(command).status == "expired"


def test_a_refund_has_the_order_looked_at_again(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    with access.system("test commands"):
        order = paid_order_row(
            make_quote_row(lab, make_offer_row(archive)),
            status="paid_ungrantable",
            refusal="rights_taken",
        )
        refunds.start(order)
        command = Command.objects.get(order=order)

    done = commands.carry_out(command.pk)

    assert (done.state, done.stripe_id) == ("done", "re_1")
    with access.system("test commands"):
        refund = Refund.objects.get(order=order)
    assert (refund.stripe_id, refund.state) == ("re_1", "sending")
    looked_at = order_of(command)
    assert looked_at.next_sync_at is not None
    assert looked_at.next_sync_at <= timezone.now()
    # That it was refunded is Stripe's fact to tell, not the command's.
    assert looked_at.refunded_minor == 0


@pytest.mark.parametrize(
    ("hours", "is_found", "calls", "result"),
    [
        (22, True, ["refund"], "re_1"),
        (24, True, ["find_refund"], "re_0"),
        (24, False, ["find_refund", "refund"], "re_1"),
    ],
)
def test_what_was_sent_a_day_ago_is_looked_for_before_it_is_sent_again(
    hours: int,
    is_found: bool,
    calls: list[str],
    result: str,
    archive: Organization,
    lab: Organization,
    gateway: FakeGateway,
) -> None:
    """Stripe forgets a key after a day: a blind repeat would pay a second time."""
    with access.system("test commands"):
        order = paid_order_row(
            make_quote_row(lab, make_offer_row(archive)),
            status="paid_ungrantable",
            refusal="rights_taken",
        )
        refunds.start(order)
        command = Command.objects.get(order=order)
        Command.objects.update(first_sent_at=timezone.now() - timedelta(hours=hours))
    gateway.is_found = is_found

    done = commands.carry_out(command.pk)

    assert [name for name, _params, _key in gateway.calls] == calls
    assert (done.state, done.stripe_id) == ("done", result)


def test_every_kind_of_command_can_be_carried_out() -> None:
    assert set(commands.CALLS) == set(Command.Kind.values)


def test_another_tenants_command_cannot_be_carried_out(
    archive: Organization, lab: Organization, stranger: Organization, gateway: FakeGateway
) -> None:
    command = make_command(archive, lab)

    with pytest.raises(Command.DoesNotExist):
        commands.carry_out(command.pk, caller=caller_for(stranger))

    assert gateway.calls == []
