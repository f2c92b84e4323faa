"""What the market keeps: the narrowest schedule counts, and an order keeps what it was under."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from licensing.models import Offer
from marketplace import access
from marketplace.errors import InvalidInput, MissingScope
from marketplace.models import Organization, User
from payments import fees
from payments.models import FeeSchedule, Order
from tests.make import make_offer
from tests.payments.buying import order_for
from tests.payments.racing import at_once
from tests.payments.selling import opened
from tests.payments.simulating import Stripe
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive, price_minor=50_000)


def fee(offer: Offer, subtotal_minor: int = 50_000) -> fees.Fee:
    with access.system("look at a fee in a test"):
        return fees.of_sale(offer, subtotal_minor=subtotal_minor, currency="USD")


def schedules() -> int:
    with access.system("count in a test"):
        return FeeSchedule.objects.count()


def test_without_a_schedule_the_market_keeps_nothing(offer: Offer) -> None:
    assert fee(offer) == fees.Fee(None, 0, 0, 0, "market")


def test_the_narrowest_schedule_counts(offer: Offer, operator: User) -> None:
    seen = [fee(offer).amount_minor]
    for points, scope in (
        (1_000, {}),
        (900, {"organization": offer.organization}),
        (800, {"collection": offer.collection}),
        (700, {"offer": offer}),
    ):
        fees.set(operator, basis_points=points, **scope)  # type: ignore[arg-type]
        seen.append(fee(offer).amount_minor)

    assert seen == [0, 5_000, 4_500, 4_000, 3_500]
    # A later one of the whole market changes nothing for who has one of its own.
    fees.set(operator, basis_points=2_000)
    assert fee(offer).amount_minor == 3_500


def test_a_fixed_part_is_added_and_never_more_than_the_price_is_kept(
    offer: Offer, operator: User
) -> None:
    fees.set(operator, basis_points=1_000, fixed_minor={"USD": 30, "EUR": 500})

    assert fee(offer).amount_minor == 5_030
    assert fee(offer, subtotal_minor=20).amount_minor == 20


def test_an_order_keeps_the_fee_that_it_was_made_under(
    offer: Offer, lab: Organization, client_for: ClientFor, operator: User, stripe: Stripe
) -> None:
    fees.set(operator, basis_points=1_000, stripe_fees="seller")
    order = order_for(client_for(lab), offer)
    fees.set(operator, basis_points=2_000)

    with access.system("read an order in a test"):
        fixed = Order.objects.get(pk=order["id"]).settlement
    assert fixed["fee"]["amount_minor"] == 5_000
    assert fixed["seller_minor"] == 45_000
    assert fixed["bears"] == {
        "negative_balances": "seller",
        "advanced_by": "market",
        "stripe_fees": "seller",
        "currency_exchange": "seller",
    }


def test_what_is_announced_counts_from_its_instant(offer: Offer, operator: User) -> None:
    fees.set(operator, basis_points=1_000)
    soon = timezone.now() + timedelta(days=30)

    fees.set(operator, basis_points=500, effective_from=soon)

    assert fee(offer).basis_points == 1_000
    with access.system("look ahead in a test"):
        later = fees.in_force(offer, at=soon)
    assert later is not None
    assert later.basis_points == 500


def test_the_same_again_is_no_new_version(offer: Offer, operator: User) -> None:
    first = fees.set(operator, basis_points=1_000)
    second = fees.set(operator, basis_points=1_000)
    third = fees.set(operator, basis_points=1_100)

    assert (second.pk, third.version) == (first.pk, 2)
    assert schedules() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"basis_points": 10_001},
        {"basis_points": -1},
        {"basis_points": 1, "fixed_minor": {"USD": -1}},
        {"basis_points": 1, "fixed_minor": {"DM": 1}},
        {"basis_points": 1, "stripe_fees": "nobody"},
        {"basis_points": 1, "effective_from": timezone.now() - timedelta(days=1)},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fields: dict[str, Any], operator: User) -> None:
    with pytest.raises(InvalidInput):
        fees.set(operator, **fields)

    assert schedules() == 0


def test_only_an_operator_sets_fees() -> None:
    nobody = User.objects.create(email="no@example.org", name="No")

    with pytest.raises(MissingScope):
        fees.set(nobody, basis_points=1)

    assert schedules() == 0


@pytest.mark.django_db(transaction=True)
def test_eight_changes_at_once_are_eight_versions(operator: User) -> None:
    """Seen to fail without the lock of `fees._lock`: two took the same number."""
    made = at_once(*[lambda n=n: fees.set(operator, basis_points=n) for n in range(1, 9)])

    assert sorted(each.version for each in made) == [1, 2, 3, 4, 5, 6, 7, 8]


# --- the operator's commands ------------------------------------------------------------------


def run(command: str, *words: str) -> str:
    said = StringIO()
    call_command(command, *words, stdout=said)
    return said.getvalue()


def test_an_operator_sets_a_fee_by_command(offer: Offer, operator: User) -> None:
    said = run(
        "fee", "250", "--operator", operator.email, "--offer", str(offer.pk), "--fixed", "usd:30"
    )

    assert "version 1: 250 bp" in said
    assert fee(offer).amount_minor == 1_280


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["250", "--operator", "nobody@example.org"], "nobody@example.org"),
        (["99999", "--operator", "op@example.org"], "basis points"),
        (["1", "--operator", "op@example.org", "--fixed", "50"], "USD:50"),
        (["1", "--operator", "op@example.org", "--collection", "col_x"], "no collection"),
    ],
)
def test_a_fee_that_makes_no_sense_is_refused_in_words(
    words: list[str], why: str, operator: User
) -> None:
    with pytest.raises(CommandError, match=why):
        run("fee", *words)

    assert schedules() == 0


def test_an_operator_clears_and_refuses_a_payee_by_command(
    archive: Organization, operator: User, stripe: Stripe
) -> None:
    account = opened(archive)
    who = ("--operator", operator.email)

    assert "cleared" in run("payee", "clear", str(account.pk), *who, "--note", "Looked.")
    assert "refused" in run("payee", "refuse", str(account.pk), *who, "--note", "On a list.")
    stripe.account(str(account.stripe_id), "complete")
    assert "active, refused" in run("payee", "sync", str(account.pk), *who)
    with pytest.raises(CommandError, match="Say why"):
        run("payee", "clear", str(account.pk), *who)
    with pytest.raises(CommandError, match="no connected account"):
        run("payee", "clear", "acc_x", *who, "--note", "Looked.")
