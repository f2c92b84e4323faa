"""Workers are killed while they pay contributors: nobody is paid twice, and nobody is forgotten."""

from __future__ import annotations

from collections import Counter

import pytest

from marketplace import access
from marketplace.access import Caller
from marketplace.models import Organization
from payments import commands, connect, journal, payouts, royalties, royalty_payments
from payments.models import Command, Journal, RoyaltyBalance, RoyaltyPayment, RoyaltyPayout
from tests.chaos import market
from tests.chaos.dying_worker import PAYOUT, PAYOUT_BATCH, STAGES, write_payouts
from tests.chaos.simulator_process import Stripe
from tests.chaos.test_kill_worker import Workers, bought, buyer, stripe, times, workers
from tests.make import make_offer
from tests.payments.royalty_sales import make_works, person, sell, set_rule
from tests.people import caller_for

__all__ = ["buyer", "stripe", "workers"]
PEOPLE = [f"c{n}" for n in range(5)]
EACH_MINOR = 100


def confirmed(seller: Organization) -> RoyaltyPayout:
    """A payout to all, of which nothing is written yet."""
    caller = caller_for(seller)
    now = payouts.preview(caller, currency="USD")
    assert now.contributors == len(PEOPLE)
    return payouts.confirm(
        caller,
        currency="USD",
        contributors=now.contributors,
        paid_minor=now.paid_minor,
        recouped_minor=0,
    )


def paid(name: str, seller: Organization) -> Counter[tuple[str, int]]:
    with access.system("read payments"):
        rows = RoyaltyPayment.objects.filter(contributor=person(seller, name))
        return Counter(rows.values_list("state", "amount_minor"))


@pytest.mark.chaos
def test_a_payout_is_written_and_sent_once_wherever_workers_are_killed(
    buyer: Caller, stripe: Stripe, workers: Workers
) -> None:
    seller = market.paid_seller(stripe)
    # What royalties are sent from.
    bought(market.place(buyer, str(make_offer(seller, price_minor=50_000).pk)), stripe)
    stripe.control("funds")
    collection = make_works(seller, dict.fromkeys(PEOPLE, 1))
    set_rule(seller, collection, basis_points=10_000)
    offer = make_offer(seller, collection=collection)
    account = connect.open_for(caller_for(seller), str(person(seller, PEOPLE[0]).pk), country="DE")
    stripe.control(f"accounts/{account.stripe_id}/complete")
    connect.sync_account(account.pk)

    for _time in range(times()):
        sell(buyer.organization, offer, price_minor=EACH_MINOR * len(PEOPLE))
        royalties.allocate_due()
        payout = confirmed(seller)
        *before, committed, last = PAYOUT
        for point in [*before, committed, *before, committed, last]:
            workers.die(point, "payout", payout.pk.hex)
        write_payouts()
        assert royalty_payments.send_due() == 1
        transferred(workers)

    n = times()
    for name in PEOPLE:
        state = "paid" if name == PEOPLE[0] else "due"
        assert paid(name, seller) == {(state, EACH_MINOR): n}
    with access.system("count what there is"):
        made = Counter(Journal.objects.values_list("kind", flat=True))
        assert made[journal.ROYALTY_PAYOUT] == n * -(-len(PEOPLE) // PAYOUT_BATCH)
        assert made[journal.ROYALTY_TRANSFER] == n
        assert set(RoyaltyBalance.objects.values_list("carried_micro", flat=True)) == {0}
        assert set(RoyaltyPayout.objects.values_list("state", "written")) == {("done", 5)}
    of_them = [one for one in stripe.all("/v1/transfers") if one["amount"] == EACH_MINOR]
    assert len(of_them) == n
    assert all(workers.kills[point] >= n for point in PAYOUT)
    assert all(workers.kills[f"royalty_transfer: {stage}"] == n for stage in STAGES)


def transferred(workers: Workers) -> None:
    """Make the call that is due after workers died at each stage of it."""
    with access.system("find a call"):
        command = Command.objects.get(kind="royalty_transfer", state="pending")
    for stage in STAGES:
        workers.die(f"royalty_transfer: {stage}", "call", command.pk.hex)
    with access.system("read what was kept"):
        kept = Command.objects.get(pk=command.pk)
    again = commands.carry_out(command.pk)
    assert (again.state, again.stripe_id) == ("done", kept.stripe_id)
