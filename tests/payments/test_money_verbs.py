"""Every verb that moves money, grants or an order's state, and the tests of it done twice and at
once. A new verb, or a new module that writes, stands here, or this fails."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from payments.management.commands import worker
from payments.models import Command

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent


class Proof(NamedTuple):
    """Which test has several do it at once, and which has it done again: file::test."""

    race: str
    repeat: str


# Where more is done than this says, the verb runs in another one's transaction, under its lock.
OF_ORDER = "test_sync.py::test_eight_settlements_at_once_issue_one_grant"
OF_REFUND = "test_sync.py::test_eight_settlements_at_once_refund_once"
OF_FACTS = "test_money_races.py::test_what_goes_back_and_is_disputed_at_once_is_booked_once"
OF_CALL = "test_money_races.py::test_a_call_that_several_make_is_kept_once"
OF_LOOK = (
    "test_money_races.py::test_one_of_several_looks_at_stripes_books_and_the_others_leave_it_to_it"
)
FACTS_AGAIN = "test_sync.py::test_facts_only_grow"
EVENTS_AGAIN = "test_sync.py::test_repeated_and_shuffled_events_issue_one_grant"
LOOK_AGAIN = "test_reconcile.py::test_a_payout_and_a_fee_of_stripes_own_are_booked"
JOURNAL_AGAIN = "test_journal.py::test_a_repeat_finds_the_first_journal"
REMITTED = "test_remittances.py::test_eight_workers_at_once_withhold_and_send_once"
RACES = "test_money_races.py::test_"

WRITTEN = "test_payout_races.py::test_workers_at_once_write_each_payment_once"
PAID_OUT_AGAIN = "test_payouts.py::test_the_same_request_twice_pays_once"
VERBS: dict[str, Proof] = {
    "advances.give": Proof(
        "test_advance_races.py::test_advances_given_at_once_follow_on_each_other",
        "test_advances.py::test_an_advance_is_recorded_once_by_its_reference",
    ),
    "advances.recoup": Proof(
        "test_advance_races.py::test_workers_at_once_pay_an_advance_back_once",
        "test_advances.py::test_a_reversal_waits_for_its_sale_and_replays_what_it_paid_back",
    ),
    "balance_checks.book_own": Proof(OF_LOOK, LOOK_AGAIN),
    "balance_checks.book_sent": Proof(
        OF_LOOK,
        "test_remittances.py::"
        "test_what_stripe_made_of_one_is_booked_later_where_it_did_not_say_so_at_once",
    ),
    "checkouts.open": Proof(
        "test_orders.py::test_of_eight_acceptances_of_one_quote_one_makes_an_order",
        "test_orders.py::test_a_lost_answer_of_stripes_leaves_one_session",
    ),
    "checkouts.close": Proof(
        f"{RACES}a_pay_page_that_opens_while_its_order_is_cancelled_is_closed",
        f"{RACES}an_order_that_several_cancel_is_cancelled_once",
    ),
    "commands.give": Proof(
        f"{RACES}a_refused_transfer_that_several_send_again_is_sent_once",
        "test_commands.py::test_a_command_is_given_once_for_an_order",
    ),
    "commands.carry_out": Proof(
        OF_CALL, "test_commands.py::test_a_call_that_was_answered_is_not_made_again"
    ),
    "commands.complete_due": Proof(
        "test_remittances.py::test_what_ends_while_another_begins_is_not_sent_twice",
        "test_commands.py::test_the_worker_keeps_off_a_call_that_is_being_made",
    ),
    "connect.open": Proof(
        f"{RACES}an_account_that_several_open_is_one",
        "test_connect.py::test_an_account_is_opened_once_and_says_in_words_what_is_missing",
    ),
    "connect.open_for": Proof(
        f"{RACES}an_account_that_several_open_is_one",
        "test_contributor_accounts.py::"
        "test_an_account_is_opened_once_and_stripe_hears_nothing_of_the_person",
    ),
    "connect.sync_account": Proof(
        f"{RACES}of_two_looks_at_an_account_the_newer_one_stays",
        "test_connect.py::test_an_older_look_does_not_undo_a_newer_one",
    ),
    "connect.returned": Proof(
        f"{RACES}of_two_looks_at_an_account_the_newer_one_stays",
        "test_connect.py::test_who_comes_back_from_stripe_is_told_how_it_stands",
    ),
    "connect.complete_due": Proof(
        f"{RACES}of_two_looks_at_an_account_the_newer_one_stays",
        "test_connect.py::test_an_account_whose_events_are_lost_is_looked_at_again",
    ),
    "connect.clear": Proof(
        f"{RACES}a_clearance_that_several_give_is_given_once",
        "test_connect.py::test_a_decision_that_is_repeated_changes_nothing",
    ),
    "connect.refuse": Proof(
        f"{RACES}a_clearance_that_several_give_is_given_once",
        "test_connect.py::test_a_decision_that_is_repeated_changes_nothing",
    ),
    "disputes.merge": Proof(
        OF_FACTS, "test_refunds.py::test_stale_facts_of_a_dispute_take_nothing_back"
    ),
    "fees.set": Proof(
        "test_fees.py::test_eight_changes_at_once_are_eight_versions",
        "test_fees.py::test_the_same_again_is_no_new_version",
    ),
    "invoices.open": Proof(
        "test_invoice_states.py::test_eight_orders_at_once_make_one_customer",
        "test_invoice_states.py::test_a_repeat_with_the_same_key_goes_on_with_the_same_invoice",
    ),
    "invoices.void": Proof(
        f"{RACES}an_invoice_that_several_cancel_is_taken_back_once",
        "test_invoices.py::test_a_cancelled_order_has_a_void_invoice",
    ),
    "invoices.merge": Proof(
        "test_invoice_states.py::test_eight_looks_at_once_remind_once",
        "test_invoice_states.py::test_facts_only_grow",
    ),
    "invoices.credit": Proof(
        OF_FACTS, "test_invoice_states.py::test_a_lost_answer_to_a_credit_note_makes_one"
    ),
    "invoices.give_back_outside": Proof(
        f"{RACES}operators_who_give_back_at_once_give_no_more_than_was_paid",
        "test_commands.py::test_a_command_is_given_once_for_an_order",
    ),
    "journal.post": Proof(OF_ORDER, JOURNAL_AGAIN),
    "journal.settle": Proof(OF_FACTS, FACTS_AGAIN),
    "journal.settle_plain": Proof(
        OF_CALL, "test_transfers.py::test_a_lost_answer_sends_one_transfer"
    ),
    "journal.settle_own": Proof(
        OF_CALL,
        "test_remittances.py::"
        "test_what_stripe_made_of_one_is_booked_later_where_it_did_not_say_so_at_once",
    ),
    "journal.post_own": Proof(OF_LOOK, LOOK_AGAIN),
    "journal.pay_out": Proof(OF_LOOK, LOOK_AGAIN),
    "journal.take_fee": Proof(OF_LOOK, LOOK_AGAIN),
    "licenses.suspend": Proof(OF_FACTS, FACTS_AGAIN),
    "licenses.reinstate": Proof(OF_FACTS, FACTS_AGAIN),
    "licenses.revoke": Proof(OF_FACTS, FACTS_AGAIN),
    "mismatches.keep": Proof(
        OF_LOOK,
        "test_reconcile.py::"
        "test_what_stripe_has_and_is_nobodys_order_is_a_mismatch_until_it_is_explained",
    ),
    "mismatches.close": Proof(
        f"{RACES}a_difference_that_several_find_is_one_and_is_closed_once",
        "test_reconcile.py::test_closing_one_about_an_order_stands_in_the_sellers_audit",
    ),
    "orders.place": Proof(
        "test_orders.py::test_of_eight_acceptances_of_one_quote_one_makes_an_order",
        "test_orders.py::test_a_repeat_with_the_same_key_finds_the_same_order",
    ),
    "orders.resume": Proof(
        f"{RACES}a_pay_page_that_opens_while_its_order_is_cancelled_is_closed",
        "test_orders.py::test_a_process_that_died_before_the_call_is_finished_by_the_repeat",
    ),
    "orders.cancel": Proof(
        f"{RACES}an_order_that_several_cancel_is_cancelled_once",
        "test_invoices.py::test_a_cancelled_order_has_a_void_invoice",
    ),
    "orders.issue_grant": Proof(OF_ORDER, EVENTS_AGAIN),
    "payouts.advance": Proof(
        f"{RACES}an_advance_that_is_recorded_at_once_stands_once",
        "test_payouts.py::test_an_advance_is_paid_back_first",
    ),
    "payouts.confirm": Proof(
        "test_royalty_races.py::test_payouts_confirmed_at_once_pay_once",
        "test_payouts.py::test_the_same_request_twice_pays_once",
    ),
    "payouts.step": Proof(WRITTEN, PAID_OUT_AGAIN),
    "payouts.write_due": Proof(WRITTEN, PAID_OUT_AGAIN),
    "payment_parts.merge": Proof(
        "test_payment_parts.py::test_looks_at_once_book_each_part_once",
        "test_payment_parts.py::test_an_invoice_that_is_paid_in_parts_is_granted_once_it_is_paid_whole",
    ),
    "quotes.claim": Proof(
        "test_orders.py::test_of_two_buyers_of_exclusive_rights_one_may_pay",
        "test_orders.py::test_a_quote_makes_one_order",
    ),
    "reconcile.events_due": Proof(
        OF_LOOK, "test_reconcile.py::test_undelivered_events_are_fetched_once_an_hour"
    ),
    "reconcile.balance_due": Proof(
        OF_LOOK, "test_reconcile.py::test_each_day_that_is_over_is_looked_at_once"
    ),
    "reconcile.fetch_events": Proof(
        OF_LOOK, "test_reconcile.py::test_what_was_delivered_is_not_fetched_again"
    ),
    "reconcile.check_balance": Proof(OF_LOOK, LOOK_AGAIN),
    "refusals.keep": Proof(
        OF_CALL,
        "test_refusals.py::test_a_share_that_is_refused_is_told_with_one_age_until_it_is_sent",
    ),
    "refusals.resolve": Proof(
        OF_CALL,
        "test_refusals.py::test_a_share_that_is_refused_is_told_with_one_age_until_it_is_sent",
    ),
    "refunds.request": Proof(
        "test_refunds.py::test_eight_requests_at_once_give_back_no_more_than_was_paid",
        "test_refunds.py::test_the_same_request_sent_again_is_one_refund",
    ),
    "refunds.approve": Proof(
        f"{RACES}a_refund_that_several_approve_is_sent_once",
        "test_refunds.py::test_after_the_first_delivery_the_licensor_must_agree",
    ),
    "refunds.decline": Proof(
        f"{RACES}a_refund_that_is_approved_and_declined_at_once_is_one_of_both",
        "test_refunds.py::test_a_declined_refund_moves_nothing",
    ),
    # An operator who gives a part again gives another part, as far as there is something left.
    "refunds.give": Proof(
        f"{RACES}operators_who_give_back_at_once_give_no_more_than_was_paid",
        f"{RACES}operators_who_give_back_at_once_give_no_more_than_was_paid",
    ),
    "refunds.approve_as_operator": Proof(
        f"{RACES}operators_who_approve_at_once_send_once",
        "test_refunds.py::test_above_the_limit_two_people_must_agree",
    ),
    "refunds.pay_outside": Proof(
        "test_invoice_payments.py::test_two_operators_at_once_pay_a_failed_refund_once",
        "test_invoice_payments.py::"
        "test_a_refund_that_fails_leaves_its_credit_note_and_is_owed_to_the_buyer",
    ),
    "refunds.start": Proof(
        OF_REFUND, "test_sync.py::test_a_refund_whose_answer_is_lost_is_made_once"
    ),
    "refunds.merge": Proof(OF_FACTS, FACTS_AGAIN),
    "remittances.start_due": Proof(REMITTED, "test_remittances.py::test_debts_are_paid_first"),
    "remittances.owe_back": Proof(
        "test_remittances.py::test_workers_at_once_have_a_seller_owe_once",
        "test_remittances.py::test_what_goes_back_after_it_was_sent_is_a_debt_that_later_sales_pay",
    ),
    "royalties.set_rule": Proof(
        f"{RACES}rules_set_at_once_are_versions_one_after_another",
        "test_royalties.py::test_a_rule_is_a_version_and_the_same_again_is_none",
    ),
    "royalties.of_sale": Proof(OF_ORDER, EVENTS_AGAIN),
    "royalties.take_back": Proof(
        OF_FACTS, "test_royalties.py::test_taking_back_twice_for_one_cause_takes_once"
    ),
    "royalties.allocate_due": Proof(
        "test_royalty_races.py::test_workers_at_once_share_out_once",
        "test_royalties.py::test_it_goes_on_batch_by_batch",
    ),
    "royalties.step": Proof(
        "test_royalty_races.py::test_workers_at_once_share_out_once",
        "test_royalty_races.py::test_a_worker_that_dies_loses_and_doubles_nothing",
    ),
    "royalty_payments.give_back": Proof(
        OF_CALL, "test_payouts.py::test_what_stripe_refuses_is_owed_again"
    ),
    "royalty_payments.paid_outside": Proof(
        f"{RACES}a_royalty_that_is_sent_and_paid_outside_at_once_is_one_of_both",
        "test_payouts.py::test_a_payment_outside_is_recorded_once",
    ),
    "royalty_payments.send_due": Proof(
        f"{RACES}a_royalty_that_is_sent_and_paid_outside_at_once_is_one_of_both",
        "test_payouts.py::test_who_has_an_account_is_sent_the_money_once",
    ),
    "samples.take": Proof(
        "test_samples.py::test_of_four_requests_at_once_one_makes_the_grant",
        "test_samples.py::test_a_repeat_answers_the_same_grant",
    ),
    "stripe_events.receive": Proof(
        f"{RACES}an_event_that_is_delivered_at_once_is_stored_once",
        "test_events.py::test_a_repeated_event_is_answered_and_stored_once",
    ),
    "stripe_events.store_fetched": Proof(
        f"{RACES}an_event_that_is_delivered_at_once_is_stored_once",
        "test_event_sources.py::test_a_fetched_event_of_the_other_mode_is_left_out",
    ),
    "stripe_events.handle_due": Proof(
        f"{RACES}an_event_is_taken_by_one_worker",
        "test_events.py::test_handled_events_are_not_handled_again",
    ),
    "sync.sync_order": Proof(OF_ORDER, EVENTS_AGAIN),
    "sync.returned": Proof(
        OF_ORDER, "test_return_page.py::test_after_paying_the_page_names_the_grant"
    ),
    "sync.complete_due": Proof(
        f"{RACES}orders_that_are_due_are_looked_at_by_one_worker_each",
        "test_sync.py::test_an_order_whose_worker_died_is_due_again",
    ),
    "tax_records.record": Proof(
        "test_tax_records.py::test_workers_at_once_record_a_sale_once",
        "test_tax_records.py::test_an_answer_that_is_lost_records_once",
    ),
    "tax_records.reverse": Proof(OF_FACTS, "test_tax_records.py::test_a_cause_reverses_once"),
    "transfers.plan": Proof(
        "test_transfers.py::test_eight_workers_at_once_plan_and_send_one_transfer",
        "test_transfers.py::test_a_share_is_sent_once_from_its_charge",
    ),
    "transfers.start_waiting": Proof(
        f"{RACES}a_share_that_waited_is_sent_once",
        "test_transfers.py::test_a_share_waits_for_an_account_that_can_be_paid",
    ),
    "transfers.take_back": Proof(
        OF_FACTS, "test_transfers.py::test_what_goes_back_while_a_transfer_is_refused_is_taken_once"
    ),
    "transfers.bear_exchange": Proof(
        "test_exchange.py::test_looks_at_once_have_the_seller_bear_an_exchange_once",
        "test_exchange.py::test_a_refund_at_another_rate_is_the_sellers_in_parts_too",
    ),
    "transfers.restrict": Proof(
        OF_CALL, "test_remittances.py::test_an_account_that_lost_its_capability_is_waited_for"
    ),
    "transfers.send_again": Proof(
        f"{RACES}a_refused_transfer_that_several_send_again_is_sent_once",
        "test_transfers.py::test_an_operator_has_a_refused_transfer_sent_again_once",
    ),
}
# What a verb above does a part of; or what writes nothing.
PARTS = {
    "journal.begin", "journal.post_owed", "journal.write",
    "mismatches.appeal_won", "mismatches.credited", "mismatches.dispute_changed",
    "mismatches.paid_otherwise", "mismatches.refund_failed", "mismatches.tax_unrecorded",
    "transfers.call", "transfers.lock_debts",
}  # fmt: skip
READS = {
    "advances": {"find", "open_minor", "recouped_minor"},
    "balance_checks": {
        "booked", "calls_like", "compare", "is_under_way", "made_good", "missing", "open_clearing",
        "order_of", "payout_differs", "unhandled_events", "unknown_to_stripe", "written",
    },
    "checkouts": {"return_url", "returned"},
    "connect": {
        "check_payable", "find", "in_words", "is_rejected", "lasting_url", "missing",
        "of_contributor", "onboarding_url", "own",
    },
    "fees": {"in_force", "of_sale", "share_minor"},
    "invoices": {
        "begins_unpaid", "check", "due_at", "grace", "held_until", "next_call", "next_look", "of",
        "refusal",
    },
    "journal": {
        "ahead_minor", "balance_minor", "borne", "came_minor", "came_to", "is_posted",
        "owed_by_buyer_minor", "payment", "returned_minor", "reversed_lines", "sale", "shared",
    },
    "mismatches": {"still_open"},
    "payment_parts": {"are_of", "holding", "left"},
    "payouts": {"advances", "find", "preview"},
    "quotes": {
        "check_approved", "is_priced", "make", "of_sample", "opted_out", "price_basis",
        "starts_at", "windows",
    },
    "reconcile": {"foreign_events", "quiet"},
    "refunds": {"left_minor", "whole"},
    "refusals": {"made_good"},
    "royalties": {"in_force", "preview", "values_of"},
    "royalty_payments": {"checked_reference"},
    "samples": {"show"},
    "stripe_events": {"takes_thin_events_of_v1"},
    "transfers": {"find", "is_cleared", "owed_minor"},
}  # fmt: skip
MODULES = sorted({name.partition(".")[0] for name in VERBS})
# What writes, and moves neither money nor grants.
OTHERS = {
    "demo": "It calls the verbs.",
    "market_pages": "They have the verbs do it; what they update is an address.",
    "stripe_gateway": "It talks to Stripe; who asks for it stands above.",
    "stripe_pace": "It makes calls wait.",
}
_WRITES = re.compile(
    r"\.(save|create|update|delete|bulk_create|bulk_update|get_or_create)\(|INSERT INTO|UPDATE "
    r"|journal\.(post|begin|settle)|commands\.give"
)


def functions(module: str) -> list[str]:
    tree = ast.parse((ROOT / "payments" / f"{module}.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f"{module}.{name}" for name in names if not name.startswith("_")]


@cache
def sources(file: str) -> dict[str, str]:
    """The functions of a test file, with what they say."""
    text = (TESTS / file).read_text()
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_public_function_of_a_module_of_money_is_a_verb_or_reads() -> None:
    reads = {f"{module}.{name}" for module, names in READS.items() for name in names}

    assert {name for module in MODULES for name in functions(module)} == {*VERBS, *PARTS, *reads}
    assert not reads & {*VERBS, *PARTS}


def test_every_module_that_writes_is_one_of_money_or_says_why_not() -> None:
    writing = {
        path.stem for path in (ROOT / "payments").glob("*.py") if _WRITES.search(path.read_text())
    }

    assert writing - set(MODULES) == set(OTHERS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_test_of_it_at_once_and_one_of_it_again(verb: str) -> None:
    race, repeat = VERBS[verb]
    file, _sep, name = race.partition("::")
    assert "at_once(" in sources(file)[name]
    file, _sep, name = repeat.partition("::")
    assert name in sources(file)


def test_every_job_of_the_worker_that_is_about_money_is_a_verb() -> None:
    text = Path(worker.__file__).read_text()
    called = re.findall(rf"lambda: ((?:{'|'.join(MODULES)})\.\w+)\(", text)

    assert set(called) <= set(VERBS)
    assert len(called) >= 10


def test_every_kind_of_call_ends_under_the_locks_of_carrying_it_out() -> None:
    """`commands.carry_out` has one race for all: no kind keeps its result in another way."""
    text = (ROOT / "payments" / "apps.py").read_text()

    assert set(re.findall(r"Kind\.(\w+):", text)) == set(Command.Kind.names)
    for path in (ROOT / "payments").glob("*.py"):
        assert path.stem == "commands" or "CALLS[" not in path.read_text()
