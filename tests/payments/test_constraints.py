"""Every rule that the tables of payments keep by themselves, broken on purpose, by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, UniqueConstraint
from django.db.utils import ProgrammingError
from django.utils import timezone

from marketplace import access
from marketplace.models import Organization
from payments.models import Account, Journal, Posting, Quote, StripeEvent
from tests.payments import royalty_rows
from tests.payments.rows import (
    make_command_row,
    make_offer_row,
    make_order_row,
    make_quote_row,
    paid_order_row,
)
from tests.people import found

pytestmark = pytest.mark.django_db


class World:
    """One valid row of everything; each case breaks one thing."""

    def __init__(self, seller: Organization, buyer: Organization) -> None:
        self.seller, self.buyer = seller, buyer
        self.offer = make_offer_row(seller)
        self.quote = make_quote_row(buyer, self.offer)
        self.order = make_order_row(self.quote)
        self.account = Account.objects.create(
            livemode=False, code="seller_payable", organization=seller, currency="USD"
        )

    def other_quote(self, **fields: Any) -> Quote:
        return make_quote_row(self.buyer, self.offer, **fields)

    def other_offer(self) -> Any:
        return make_offer_row(found("Other archive", "platform"))

    def journal(self, **fields: Any) -> Journal:
        values = {"organization": self.buyer, "livemode": False, "order": self.order}
        return Journal.objects.create(**{**values, "kind": "sale", **fields})

    def posting(self, journal: Journal, amount_minor: int, **fields: Any) -> Posting:
        values = {"account": self.account, "currency": "USD", "amount_minor": amount_minor}
        return Posting.objects.create(journal=journal, **{**values, **fields})


@pytest.fixture
def world(archive: Organization, lab: Organization) -> Iterator[World]:
    with access.system("test the tables"):
        yield World(archive, lab)


def order_again(world: World, **fields: Any) -> None:
    make_order_row(world.other_quote(), **fields)


def paid_again(world: World, **fields: Any) -> None:
    paid_order_row(world.other_quote(), **fields)


def unbalanced(world: World) -> None:
    world.posting(world.journal(), 5)


def second_journal(world: World) -> None:
    for _again in range(2):
        journal = world.journal()
        world.posting(journal, 5)
        world.posting(journal, -5)


def same_session(world: World) -> None:
    order_again(world, checkout_session="cs_1")
    order_again(world, checkout_session="cs_1")


def same_payment(world: World) -> None:
    paid_again(world, payment_intent="pi_1")
    paid_again(world, payment_intent="pi_1")


def second_account(world: World) -> None:
    Account.objects.create(
        livemode=False, code="seller_payable", organization=world.seller, currency="USD"
    )


def second_market_account(world: World) -> None:
    for _again in range(2):
        Account.objects.create(livemode=False, code="market_fee", currency="USD")


def foreign_account(world: World) -> None:
    euros = Account.objects.create(livemode=False, code="market_fee", currency="EUR")
    journal = world.journal()
    world.posting(journal, 5, account=euros)


def second_command(world: World) -> None:
    make_command_row(world.order)
    make_command_row(world.order)


def event(**fields: Any) -> None:
    StripeEvent.objects.create(id="evt_1", type="x", livemode=False, body={}, **fields)


BREAKS: dict[str, Callable[[World], Any]] = {
    # quotes
    "quote_parties_differ": lambda w: make_quote_row(w.seller, w.offer),
    "quote_adds_up": lambda w: w.other_quote(total_minor=49_999),
    "quote_is_not_negative": lambda w: w.other_quote(subtotal_minor=-1, total_minor=-1),
    "quote_expires_after_it_was_made": lambda w: w.other_quote(
        expires_at=timezone.now() - timedelta(seconds=1)
    ),
    "quote_document_hash_is_of_its_text": lambda w: w.other_quote(document="Another contract."),
    "quote_offer_belongs": lambda w: w.other_quote(offer=w.other_offer()),
    "quote_snapshot_belongs": lambda w: w.other_quote(snapshot=w.other_offer().snapshot),
    "quote_terms_belongs": lambda w: w.other_quote(terms=w.other_offer().terms),
    # orders
    "payments_order_quote_id_key": lambda w: make_order_row(w.quote),
    "payments_order_checkout_session_key": same_session,
    "payments_order_payment_intent_key": same_payment,
    "order_parties_differ": lambda w: order_again(w, seller=w.buyer),
    "order_paid_at_iff_paid": lambda w: order_again(w, paid_at=timezone.now()),
    "order_grant_iff_granted": lambda w: paid_again(w, status="granted"),
    "order_refusal_iff_ungrantable": lambda w: paid_again(w, status="paid_ungrantable"),
    "order_refunds_no_more_than_was_paid": lambda w: paid_again(w, refunded_minor=50_001),
    "order_status_is_known": lambda w: paid_again(w, status="lost"),
    "order_names_who_accepted": lambda w: order_again(w, accepted_by_title=""),
    "order_quote_belongs": lambda w: order_again(w, livemode=True),
    # commands
    "command_is_given_once": second_command,
    "command_is_due_iff_pending": lambda w: make_command_row(w.order, next_attempt_at=None),
    "command_kind_is_known": lambda w: make_command_row(w.order, kind="pray"),
    "command_state_is_known": lambda w: make_command_row(
        w.order, state="lost", next_attempt_at=None
    ),
    "command_result_iff_done": lambda w: make_command_row(
        w.order, state="done", next_attempt_at=None
    ),
    "command_order_belongs": lambda w: make_command_row(w.order, organization=w.seller),
    # events
    "stripe_event_is_due_iff_unhandled": lambda w: event(handled_at=timezone.now()),
    # the journal
    "account_is_one": second_account,
    "account_code_is_known": lambda w: Account.objects.create(
        livemode=False, code="sofa", currency="USD"
    ),
    "journal_is_posted_once": second_journal,
    "journal_order_belongs": lambda w: w.journal(organization=w.seller),
    "journal_balances": unbalanced,
    "posting_moves_something": lambda w: w.posting(w.journal(), 0),
    "posting_currency_belongs": foreign_account,
    **royalty_rows.BREAKS,
}
# Keys that only serve as targets of composite foreign keys: each holds the primary key, which
# no row can break alone.
TARGETS = {
    "quote_of_organization",
    "order_of_organization",
    "account_of_currency",
    *royalty_rows.TARGETS,
}
# Broken in tests of their own, below: they need more than one transaction, or a grant.
ELSEWHERE = {
    "journal_is_sealed",
    "order_grant_belongs",
    "payments_order_grant_id_key",
    *royalty_rows.ELSEWHERE,
}


def broken_by(act: Callable[[], Any]) -> str | None:
    """The name of the constraint that refuses an act, now or at the end of its transaction."""
    cause = None
    try:
        with transaction.atomic():
            act()
            connection.check_constraints()
    except IntegrityError as error:
        cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


@pytest.mark.parametrize("name", BREAKS)
def test_the_database_refuses_what_breaks(name: str, world: World) -> None:
    assert broken_by(lambda: BREAKS[name](world)) == name


def test_a_journal_without_lines_is_refused(world: World) -> None:
    assert broken_by(world.journal) == "journal_balances"


def test_every_named_constraint_has_a_case() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conname FROM pg_constraint
            WHERE conrelid::regclass::text LIKE 'payments\\_%'
              AND (contype IN ('u', 'x', 'c') OR conname LIKE '%\\_belongs')
            UNION SELECT tgname FROM pg_trigger
            WHERE tgrelid::regclass::text LIKE 'payments\\_%' AND NOT tgisinternal
              AND tgname NOT LIKE 'insert\\_only%'
            """
        )
        named = {name for (name,) in cursor.fetchall()}
    declared = {
        constraint.name
        for model in apps.get_app_config("payments").get_models()
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    }

    assert declared <= named
    assert named == set(BREAKS) | TARGETS | ELSEWHERE


@pytest.mark.django_db(transaction=True)
def test_postings_are_refused_after_their_journal_was_written(
    archive: Organization, lab: Organization
) -> None:
    with access.system("write a journal"):
        world = World(archive, lab)
        journal = world.journal()
        world.posting(journal, 5)
        world.posting(journal, -5)

    with access.system("add to it later, in balance"):
        more = [
            Posting(journal=journal, account=world.account, currency="USD", amount_minor=amount)
            for amount in (7, -7)
        ]
        assert broken_by(lambda: Posting.objects.bulk_create(more)) == "journal_is_sealed"
        assert Posting.objects.filter(journal=journal).count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["quote", "account", "journal", "posting"])
def test_what_was_written_stays(
    table: str,
    archive: Organization,
    lab: Organization,
    owner_connection: psycopg.Connection[Any],
) -> None:
    with access.system("write one of each"):
        world = World(archive, lab)
        journal = world.journal()
        world.posting(journal, 5)
        world.posting(journal, -5)

    for verb in (f"UPDATE payments_{table} SET id = id", f"DELETE FROM payments_{table}"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            as_application(verb)
        with pytest.raises(psycopg.errors.RestrictViolation):
            as_owner(owner_connection, verb)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner_connection.execute(f"TRUNCATE payments_{table} CASCADE")


def as_application(statement: str) -> None:
    with access.system("try it as the application"), connection.cursor() as cursor:
        cursor.execute(statement)


def as_owner(owner: psycopg.Connection[Any], statement: str) -> None:
    with owner.transaction():
        # The owner, too, sees the rows only as all-tenant work.
        owner.execute("SELECT set_config('licet.system', 'test', true)")
        owner.execute(statement)


@pytest.mark.parametrize(
    "table", ["quote", "order", "command", "account", "journal", "posting", "stripeevent"]
)
def test_without_a_tenant_a_private_table_shows_nothing(
    table: str, archive: Organization, lab: Organization
) -> None:
    with access.system("write one of each"):
        world = World(archive, lab)
        journal = world.journal()
        world.posting(journal, 5)
        world.posting(journal, -5)
        make_command_row(world.order)
        event()
        connection.check_constraints()  # they read as whoever is set when they run
        assert rows_of(table) > 0

    assert rows_of(table) == 0


def rows_of(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM payments_{table}")
        row: tuple[int] = cursor.fetchone()
        return row[0]
