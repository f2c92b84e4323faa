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
from marketplace.models import Contributor, Organization
from payments.models import (
    Account,
    Journal,
    Mismatch,
    Posting,
    Quote,
    ReconcileCursor,
    RefundApproval,
    StripeEvent,
)
from tests.payments import royalty_rows
from tests.payments.rows import (
    make_command_row,
    make_connected_row,
    make_customer_row,
    make_dispute_row,
    make_fee_row,
    make_invoice_row,
    make_offer_row,
    make_order_row,
    make_part_row,
    make_quote_row,
    make_refund_row,
    make_remittance_row,
    make_reversal_row,
    make_transfer_row,
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


def same_remittance(world: World) -> None:
    for _again in range(2):
        make_remittance_row(world.seller, state="sent", stripe_id="tr_1", ended_at=timezone.now())


def resolved_again(world: World) -> None:
    row = mismatch(resolved_at=timezone.now(), resolved_by="usr_1", note="So.")
    row.note = "Otherwise."
    row.save(update_fields=["note"])


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


def foreign_contributor(world: World) -> None:
    other = Contributor.objects.create(organization=world.buyer, external_id="c-1")
    make_connected_row(world.seller, contributor=other)


def foreign_contributors_account(world: World) -> None:
    other = Contributor.objects.create(organization=world.buyer, external_id="c-1")
    Account.objects.create(
        livemode=False,
        code="contributor_payable",
        organization=world.seller,
        contributor=other,
        currency="USD",
    )


def same_transfer(world: World) -> None:
    for order in (world.order, make_order_row(world.other_quote())):
        make_transfer_row(order, state="sent", stripe_id="tr_1", sent_at=timezone.now())


def event(**fields: Any) -> None:
    StripeEvent.objects.create(id="evt_1", type="x", livemode=False, body={}, **fields)


def mismatch(**fields: Any) -> Mismatch:
    values = {"livemode": False, "kind": "amount_differs", "subject": "txn_1", **fields}
    return Mismatch.objects.create(**values)


def cursor() -> None:
    ReconcileCursor.objects.create(name="events", livemode=False, reached_at=timezone.now())


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
    "order_is_granted_with_a_grant": lambda w: paid_again(w, status="granted"),
    "order_refusal_instead_of_a_grant": lambda w: paid_again(w, status="paid_ungrantable"),
    "order_method_is_known": lambda w: order_again(w, method="barter"),
    "order_loses_no_more_than_was_paid": lambda w: paid_again(w, lost_minor=50_001),
    "order_is_settled_whole_or_not_at_all": lambda w: paid_again(w, settled_minor=50_000),
    "order_refunds_no_more_than_was_paid": lambda w: paid_again(w, refunded_minor=50_001),
    "order_status_is_known": lambda w: paid_again(w, status="lost"),
    "order_names_who_accepted": lambda w: order_again(w, accepted_by_title=""),
    "order_quote_belongs": lambda w: order_again(w, livemode=True),
    # commands
    "command_is_given_once": second_command,
    "command_is_due_iff_pending": lambda w: make_command_row(w.order, next_attempt_at=None),
    "command_kind_is_known": lambda w: make_command_row(w.order, kind="pray"),
    "command_is_about_something": lambda w: make_command_row(w.order, order=None),
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
    "account_of_a_contributor_names_the_organization": lambda w: Account.objects.create(
        livemode=False, code="contributor_payable", organization=w.seller, currency="USD"
    ),
    "account_contributor_belongs": foreign_contributors_account,
    "journal_is_posted_once": second_journal,
    "journal_is_about_something": lambda w: w.journal(order=None),
    "journal_order_belongs": lambda w: w.journal(organization=w.seller),
    "journal_balances": unbalanced,
    # fees
    "fee_schedule_version_is_unique": lambda w: [make_fee_row(w.seller), make_fee_row(w.seller)],
    "fee_schedule_is_of_one_thing": lambda w: make_fee_row(
        w.seller, offer=w.offer, collection=w.offer.collection
    ),
    "fee_schedule_takes_no_more_than_all": lambda w: make_fee_row(w.seller, basis_points=10_001),
    "fee_schedule_bearer_is_known": lambda w: make_fee_row(w.seller, stripe_fees="nobody"),
    "fee_schedule_offer_belongs": lambda w: make_fee_row(w.seller, offer=w.other_offer()),
    "fee_schedule_collection_belongs": lambda w: make_fee_row(
        w.seller, collection=w.other_offer().collection
    ),
    # accounts at Stripe
    "connected_account_is_one": lambda w: [make_connected_row(w.seller) for _again in range(2)],
    "payments_connectedaccount_stripe_id_key": lambda w: [
        make_connected_row(one, stripe_id="acct_1") for one in (w.seller, w.buyer)
    ],
    "connected_account_state_is_known": lambda w: make_connected_row(
        w.seller, state="lost", stripe_id="acct_1"
    ),
    "connected_account_is_open_at_stripe": lambda w: make_connected_row(w.seller, state="active"),
    "connected_account_clearance_is_known": lambda w: make_connected_row(
        w.seller, clearance="perhaps", cleared_by="usr_1"
    ),
    "connected_account_clearance_names_who_gave_it": lambda w: make_connected_row(
        w.seller, clearance="cleared"
    ),
    "connected_account_country_is_iso_3166": lambda w: make_connected_row(w.seller, country="us"),
    "connected_account_contributor_belongs": foreign_contributor,
    # transfers
    "payments_transfer_order_id_key": lambda w: [make_transfer_row(w.order) for _ in range(2)],
    "payments_transfer_stripe_id_key": same_transfer,
    "transfer_state_is_known": lambda w: make_transfer_row(w.order, state="lost"),
    "transfer_is_sent_iff_stripe_has_it": lambda w: make_transfer_row(w.order, state="sent"),
    "transfer_sends_no_more_than_the_share": lambda w: make_transfer_row(
        w.order, sent_minor=60, withheld_minor=41
    ),
    "transfer_reverses_no_more_than_was_sent": lambda w: make_transfer_row(
        w.order, settled_minor=50, reversed_minor=51
    ),
    "transfer_reversal_has_one_cause": lambda w: [
        make_reversal_row(transfer)
        for transfer in [make_transfer_row(w.order)]
        for _again in range(2)
    ],
    "payments_transferreversal_stripe_id_key": lambda w: [
        make_reversal_row(transfer, cause=cause, state="done", stripe_id="trr_1")
        for transfer in [make_transfer_row(w.order)]
        for cause in ("a", "b")
    ],
    "transfer_reversal_state_is_known": lambda w: make_reversal_row(
        make_transfer_row(w.order), state="lost"
    ),
    "transfer_reversal_is_done_iff_stripe_has_it": lambda w: make_reversal_row(
        make_transfer_row(w.order), state="done"
    ),
    "transfer_reversal_takes_something_back": lambda w: make_reversal_row(
        make_transfer_row(w.order), amount_minor=0
    ),
    "transfer_reversal_transfer_belongs": lambda w: make_reversal_row(
        make_transfer_row(w.order), organization=w.buyer
    ),
    # refunds
    "payments_refund_stripe_id_key": lambda w: [
        make_refund_row(w.order, stripe_id="re_1") for _again in range(2)
    ],
    "stripe_customer_is_one": lambda w: [make_invoice_row(w.order), make_customer_row(w.buyer)],
    "payments_stripecustomer_stripe_id_key": lambda w: [
        make_customer_row(buyer, stripe_id="cus_1") for buyer in (w.buyer, w.seller)
    ],
    "invoice_status_is_known": lambda w: make_invoice_row(
        w.order, status="lost", stripe_id="in_1", sent_at=timezone.now()
    ),
    "invoice_net_days_are_known": lambda w: make_invoice_row(w.order, net_days=45),
    "invoice_grants_on_is_known": lambda w: make_invoice_row(w.order, grants_on="whim"),
    "invoice_is_at_stripe_iff_sent": lambda w: make_invoice_row(w.order, status="open"),
    "invoice_voided_at_iff_void": lambda w: make_invoice_row(w.order, voided_at=timezone.now()),
    "invoice_is_due_after_it_was_made": lambda w: make_invoice_row(
        w.order, due_at=timezone.now() - timedelta(days=1)
    ),
    "payments_invoice_order_id_key": lambda w: [
        make_invoice_row(w.order, customer=made.customer) for made in [make_invoice_row(w.order)]
    ],
    "payments_invoice_stripe_id_key": lambda w: [
        make_invoice_row(
            order,
            customer=customer,
            status="open",
            sent_at=timezone.now(),
            stripe_id="in_1",
        )
        for customer in [make_customer_row(w.buyer)]
        for order in (w.order, make_order_row(w.other_quote()))
    ],
    "payment_part_outside_is_one": lambda w: [make_part_row(w.order) for _each in range(2)],
    "payment_part_is_more_than_nothing": lambda w: make_part_row(w.order, amount_minor=0),
    "payment_part_refunds_no_more_than_it_is": lambda w: make_part_row(
        w.order, amount_minor=5, refunded_minor=6
    ),
    "payments_paymentpart_payment_intent_key": lambda w: [
        make_part_row(w.order, payment_intent="pi_1") for _each in range(2)
    ],
    "payment_part_order_belongs": lambda w: make_part_row(w.order, livemode=True),
    "invoice_order_belongs": lambda w: make_invoice_row(
        w.order, livemode=True, customer=make_customer_row(w.buyer, livemode=True)
    ),
    "invoice_customer_belongs": lambda w: make_invoice_row(
        w.order, customer=make_customer_row(w.seller)
    ),
    "refund_state_is_known": lambda w: make_refund_row(
        w.order, state="lost", sent_at=timezone.now()
    ),
    "refund_cause_is_known": lambda w: make_refund_row(w.order, cause="whim"),
    "refund_effect_is_known": lambda w: make_refund_row(w.order, effect="none"),
    "refund_gives_something_back": lambda w: make_refund_row(w.order, amount_minor=0),
    "refund_is_sent_iff_it_was_approved": lambda w: make_refund_row(w.order, state="sending"),
    "refund_succeeded_at_stripe": lambda w: make_refund_row(
        w.order, state="succeeded", sent_at=timezone.now()
    ),
    "refund_order_belongs": lambda w: make_refund_row(w.order, livemode=True),
    "refund_is_approved_once_by_each": lambda w: [
        RefundApproval.objects.create(
            seller=w.seller, refund=refund, actor="usr_1", is_operator=False
        )
        for refund in [make_refund_row(w.order)]
        for _again in range(2)
    ],
    # remittances
    "payments_remittance_stripe_id_key": same_remittance,
    "remittance_state_is_known": lambda w: make_remittance_row(
        w.seller, state="lost", ended_at=timezone.now()
    ),
    "remittance_moves_something": lambda w: make_remittance_row(
        w.seller, state="withheld", amount_minor=0, ended_at=timezone.now()
    ),
    "remittance_sends_nothing_iff_all_is_withheld": lambda w: make_remittance_row(
        w.seller, state="withheld", ended_at=timezone.now()
    ),
    "remittance_is_sent_iff_stripe_has_it": lambda w: make_remittance_row(
        w.seller, state="sent", ended_at=timezone.now()
    ),
    "remittance_ended_at_iff_ended": lambda w: make_remittance_row(
        w.seller, ended_at=timezone.now()
    ),
    "remittance_is_sent_one_at_a_time": lambda w: [make_remittance_row(w.seller) for _ in "ab"],
    # disputes
    "payments_dispute_stripe_id_key": lambda w: [make_dispute_row(w.order) for _ in range(2)],
    "dispute_status_is_known": lambda w: make_dispute_row(w.order, status="odd"),
    "dispute_is_about_something": lambda w: make_dispute_row(w.order, amount_minor=0),
    "dispute_is_closed_iff_decided": lambda w: make_dispute_row(w.order, status="won"),
    "dispute_order_belongs": lambda w: make_dispute_row(w.order, livemode=True),
    "journal_of_an_order_names_the_buyer": lambda w: w.journal(organization=None),
    # reconciling
    "mismatch_is_open_once": lambda w: [mismatch(), mismatch()],
    "mismatch_kind_is_known": lambda w: mismatch(kind="odd"),
    "mismatch_was_seen_first_before_last": lambda w: mismatch(
        last_seen_at=timezone.now() - timedelta(days=1)
    ),
    "mismatch_is_resolved_by_somebody": lambda w: mismatch(resolved_at=timezone.now()),
    "mismatch_closed_by_people_says_why": lambda w: mismatch(
        resolved_at=timezone.now(), resolved_by="usr_1"
    ),
    "mismatch_stays_resolved": resolved_again,
    "reconcile_cursor_is_one": lambda w: [cursor(), cursor()],
    "posting_moves_something": lambda w: w.posting(w.journal(), 0),
    "posting_currency_belongs": foreign_account,
    **royalty_rows.BREAKS,
}
# Keys that only serve as targets of composite foreign keys: each holds the primary key, which
# no row can break alone.
TARGETS = {
    "quote_of_organization",
    "order_of_organization",
    "connected_account_of_organization",
    "transfer_of_organization",
    "refund_of_organization",
    "stripe_customer_of_organization",
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
            -- A key that holds of some rows only is an index, and no constraint.
            UNION SELECT indexrelid::regclass::text FROM pg_index
            WHERE indrelid::regclass::text LIKE 'payments\\_%' AND indisunique
              AND indpred IS NOT NULL
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
