"""What was shared out and paid stays: tables of royalties that nobody changes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from marketplace import access
from marketplace.models import Organization
from payments.models import RoyaltyAccrual, RoyaltyWeight
from tests.payments import royalty_rows as rows
from tests.payments.test_constraints import World, as_application, as_owner, broken_by, rows_of

pytestmark = pytest.mark.django_db(transaction=True)

INSERT_ONLY = ["accrual", "advance", "advanceline", "base", "counted", "rule", "weight"]


@pytest.fixture
def world(archive: Organization, lab: Organization) -> World:
    """One of each, committed."""
    with access.system("write one of each"):
        made = World(archive, lab)
        rows.done(made)
        payment = rows.payment(made)
        rows.counted(made, of=payment.payout, advance=rows.advance(made))
        rows.advance_line(made)
        rows.balance(made)
    return made


@pytest.mark.parametrize("table", INSERT_ONLY)
def test_what_was_written_stays(
    table: str, world: World, owner_connection: psycopg.Connection[Any]
) -> None:
    for verb in (
        f"UPDATE payments_royalty{table} SET id = id",
        f"DELETE FROM payments_royalty{table}",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            as_application(verb)
        with pytest.raises(psycopg.errors.RestrictViolation):
            as_owner(owner_connection, verb)


@pytest.mark.parametrize(
    "verb",
    [
        "UPDATE payments_royaltyallocation SET pool_minor = pool_minor + 1",
        "UPDATE payments_royaltyallocation SET rule_id = rule_id",
        "DELETE FROM payments_royaltyallocation",
        "UPDATE payments_royaltypayment SET amount_minor = amount_minor + 1",
        "UPDATE payments_royaltypayment SET contributor_id = contributor_id",
        "DELETE FROM payments_royaltypayment",
        "UPDATE payments_royaltypayout SET paid_minor = paid_minor + 1",
        "DELETE FROM payments_royaltypayout",
        "UPDATE payments_royaltybalance SET contributor_id = contributor_id",
        "DELETE FROM payments_royaltybalance",
    ],
)
def test_only_how_far_it_is_can_change(verb: str, world: World) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        as_application(verb)


def test_weights_are_refused_after_their_base_was_written(world: World) -> None:
    with access.system("add to it later"):
        weight = RoyaltyWeight.objects.get()
        late = RoyaltyWeight(
            organization=world.seller, base_id=weight.base_id, contributor=None, weight=1
        )
        assert broken_by(late.save) == "royalty_base_is_sealed"
        assert RoyaltyWeight.objects.count() == 1


def test_what_is_done_takes_no_more_accruals(world: World) -> None:
    with access.system("add to it later, in balance"):
        accrual = RoyaltyAccrual.objects.get()
        found = accrual.allocation
        more = [
            RoyaltyAccrual(
                organization=world.seller, livemode=False, allocation=found, currency="USD",
                contributor=None if amount > 0 else rows.contributor(world, "bob"), weight=1,
                amount_micro=amount,
            )
            for amount in (1, -1)
        ]  # fmt: skip
        broken = broken_by(lambda: RoyaltyAccrual.objects.bulk_create(more))
        assert broken == "royalty_accrual_is_of_a_running_allocation"
        assert RoyaltyAccrual.objects.count() == 1


def test_accruals_of_a_stranger_do_not_add_up(archive: Organization, lab: Organization) -> None:
    with access.system("pay a stranger"):
        world = World(archive, lab)

        def pay() -> None:
            made = rows.running(world)
            rows.accrual(world, made, contributor=rows.stranger(world))
            rows.finish(made)

        assert broken_by(pay) == "royalty_allocation_adds_up"


@pytest.mark.parametrize(
    "table",
    ["accrual", "advance", "advanceline", "allocation", "base", "payment", "payout", "weight"],
)
def test_without_a_tenant_a_private_table_shows_nothing(table: str, world: World) -> None:
    with access.system("count in a test"):
        assert rows_of(f"royalty{table}") > 0

    assert rows_of(f"royalty{table}") == 0
    assert connection.in_atomic_block is False
