"""Transfers and their reversals: what may move from the platform to a seller, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stripe

from payments.simulator import regions
from payments.simulator.server import Simulator, in_thread
from tests.payments.simulator_account import SECRET, Account, Receiver, account, wait_until
from tests.payments.simulator_sellers import made, onboarded, paid_charge

__all__ = ["account"]

TWO_DAYS = 2 * 24 * 3600
# 595.00 USD less a fee of 2.9 % and 0.30.
NET = 59_500 - 1756


@pytest.fixture
def seller(account: Account) -> str:
    return onboarded(account)


def transfer(account: Account, seller: str, amount: int, **params: Any) -> stripe.Transfer:
    wanted: Any = {"amount": amount, "currency": "usd", "destination": seller} | params
    return account.client.v1.transfers.create(wanted)


def balance(account: Account, seller: str | None = None) -> dict[str, tuple[int, int]]:
    """Available and pending amounts by currency, of the platform or a seller."""
    options: Any = {} if seller is None else {"stripe_account": seller}
    found = account.client.v1.balance.retrieve({}, options)
    pending = {each.currency: each.amount for each in found.pending}
    return {each.currency: (each.amount, pending[each.currency]) for each in found.available}


def settle(account: Account) -> None:
    """Let funds become available."""
    account.control("clock", {"advance_seconds": TWO_DAYS})


def refusal(account: Account, call: Any, *arguments: Any, **params: Any) -> Any:
    """What a call is refused with. No balance, transfer or reversal changes."""

    def everything() -> Any:
        lines = [each.id for each in account.client.v1.balance_transactions.list()]
        kept = [each.to_dict() for each in account.client.v1.transfers.list()]
        return lines, kept, balance(account)

    before = everything()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        call(*arguments, **params)
    assert everything() == before
    return refused.value


def test_a_transfer_from_a_charge_succeeds_while_its_funds_are_pending(
    account: Account, seller: str
) -> None:
    charge = paid_charge(account)
    assert balance(account) == {"usd": (0, NET)}

    made = transfer(
        account,
        seller,
        50_000,
        source_transaction=charge.id,
        description="License ord_1",
        metadata={"order": "ord_1"},
    )

    assert (made.amount, made.currency, made.destination) == (50_000, "usd", seller)
    assert made.source_transaction == charge.id
    assert made.metadata.to_dict() == {"order": "ord_1"}
    # The group of the charge.
    assert made.transfer_group == "ord_1"
    assert balance(account) == {"usd": (0, NET - 50_000)}
    assert balance(account, seller) == {"usd": (0, 50_000)}


def test_the_funds_of_a_transfer_become_available_with_those_of_its_charge(
    account: Account, seller: str
) -> None:
    charge = paid_charge(account)
    transfer(account, seller, 50_000, source_transaction=charge.id)

    settle(account)

    assert balance(account) == {"usd": (NET - 50_000, 0)}
    assert balance(account, seller) == {"usd": (50_000, 0)}
    lines = account.client.v1.balance_transactions.list().data
    assert [(each.type, each.net, each.status) for each in lines] == [
        ("transfer", -50_000, "available"),
        ("charge", NET, "available"),
    ]
    wait_until(
        lambda: "balance.available" in account.receiver.types, lambda: account.receiver.types
    )


def test_a_charge_without_a_group_gets_one_with_its_first_transfer(
    account: Account, seller: str
) -> None:
    charge = paid_charge(account, payment_intent_data={})
    assert charge.transfer_group is None

    made = transfer(account, seller, 1, source_transaction=charge.id)

    assert made.transfer_group == f"group_{charge.payment_intent}"
    assert account.client.v1.charges.retrieve(charge.id).transfer_group == made.transfer_group


def test_transfers_from_a_charge_never_exceed_it(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    transfer(account, seller, 50_000, source_transaction=charge.id)

    error = refusal(account, transfer, account, seller, 9_501, source_transaction=charge.id)

    assert (error.http_status, error.param) == (400, "amount")
    transfer(account, onboarded(account), 9_500, source_transaction=charge.id)


def test_a_transfer_is_in_the_currency_of_its_charge(account: Account, seller: str) -> None:
    charge = paid_charge(account)

    error = refusal(
        account, transfer, account, seller, 100, source_transaction=charge.id, currency="eur"
    )

    assert error.param == "currency"


def test_without_a_charge_the_available_balance_must_suffice(account: Account, seller: str) -> None:
    paid_charge(account)
    assert refusal(account, transfer, account, seller, 1).code == "balance_insufficient"
    settle(account)

    made = transfer(account, seller, NET, transfer_group="bonus")

    assert (made.source_transaction, made.transfer_group) == (None, "bonus")
    assert balance(account) == {"usd": (0, 0)}
    assert balance(account, seller) == {"usd": (NET, 0)}
    assert refusal(account, transfer, account, seller, 1).code == "balance_insufficient"


def test_only_an_account_that_was_onboarded_gets_transfers(account: Account) -> None:
    charge = paid_charge(account)
    for verb in (None, "leave_out", "refuse"):
        seller = made(account).id
        if verb is not None:
            account.control(f"accounts/{seller}/{verb}", {})

        error = refusal(account, transfer, account, seller, 100, source_transaction=charge.id)

        assert (error.http_status, error.code) == (400, "insufficient_capabilities_for_transfer")
    seller = onboarded(account)
    account.control(f"accounts/{seller}/restrict", {})
    error = refusal(account, transfer, account, seller, 100, source_transaction=charge.id)
    assert error.code == "insufficient_capabilities_for_transfer"


def test_an_account_that_is_closed_or_unknown_is_no_destination(
    account: Account, seller: str
) -> None:
    charge = paid_charge(account)
    account.client.v2.core.accounts.close(seller)

    for destination in (seller, "acct_none"):
        error = refusal(account, transfer, account, destination, 1, source_transaction=charge.id)
        assert (error.code, error.param) == ("resource_missing", "destination")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"currency": "xyz"}, "currency"),
        ({"source_transaction": "ch_none"}, "source_transaction"),
        ({"metadata": {"k" * 41: "v"}}, "metadata[kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk]"),
        ({"description": "x" * 5001}, "description"),
    ],
)
def test_a_wrong_transfer_is_refused_by_its_parameter(
    account: Account, seller: str, params: Any, param: str
) -> None:
    paid_charge(account)

    error = refusal(account, transfer, account, seller, **({"amount": 1} | params))

    assert (error.http_status, error.param) == (400, param)


def test_a_charge_that_was_not_paid_is_no_source(account: Account, seller: str) -> None:
    session = account.open()
    account.control(f"sessions/{session.id}/decline", {})
    (failed,) = account.client.v1.charges.list().data

    error = refusal(account, transfer, account, seller, 1, source_transaction=failed.id)

    assert error.param == "source_transaction"


def test_what_transfers_do_otherwise_is_not_covered(account: Account, seller: str) -> None:
    for params in ({"currency": "usd"}, {"amount": 1, "source_type": "bank_account"}):
        wanted: Any = {"currency": "usd", "destination": seller} | params
        with pytest.raises(stripe.APIError) as refused:
            account.client.v1.transfers.create(wanted)
        assert refused.value.http_status == 501
    assert account.client.v1.transfers.list().data == []


def test_a_refused_transfer_is_replayed_under_its_key(account: Account, seller: str) -> None:
    paid_charge(account)
    wanted: Any = {"amount": 100, "currency": "usd", "destination": seller}
    create = account.client.v1.transfers.create
    for seconds in (TWO_DAYS - 3600, 3600):
        account.control("clock", {"advance_seconds": seconds})
        with pytest.raises(stripe.InvalidRequestError) as refused:
            create(wanted, {"idempotency_key": "early"})
        assert refused.value.code == "balance_insufficient"
    assert balance(account) == {"usd": (NET, 0)}

    assert create(wanted, {"idempotency_key": "later"}).amount == 100


def test_a_lost_answer_transfers_once(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    account.control("faults", {"drop_response": 1, "path": "/v1/transfers", "method": "POST"})

    made = transfer(account, seller, 100, source_transaction=charge.id)

    assert [each.id for each in account.client.v1.transfers.list()] == [made.id]
    assert balance(account, seller) == {"usd": (0, 100)}


def test_transfers_are_found_by_destination_and_group(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    other = onboarded(account)
    first = transfer(account, seller, 1, source_transaction=charge.id).id
    second = transfer(account, other, 2, source_transaction=charge.id, transfer_group="g").id
    find = account.client.v1.transfers.list

    assert [each.id for each in find()] == [second, first]
    assert [each.id for each in find({"destination": seller})] == [first]
    assert [each.id for each in find({"transfer_group": "g"})] == [second]
    assert [each.id for each in find({"created": {"lt": 1}})] == []
    assert account.client.v1.transfers.retrieve(first).amount == 1
    lines = account.client.v1.balance_transactions.list({"source": first}).data
    assert [(line.type, line.amount) for line in lines] == [("transfer", -1)]


def test_metadata_and_description_of_a_transfer_change(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 1, source_transaction=charge.id, metadata={"a": "1"})

    changed = account.client.v1.transfers.update(
        made.id, {"metadata": {"a": "", "b": "2"}, "description": "Royalties"}
    )
    account.client.v1.transfers.update(made.id, {"description": "Royalties"})

    assert changed.metadata.to_dict() == {"b": "2"}
    assert changed.description == "Royalties"
    types = [each.type for each in account.client.v1.events.list({"type": "transfer.*"})]
    assert types == ["transfer.updated", "transfer.created"]


# --- reversals ---------------------------------------------------------------------------------


def reverse(account: Account, id: str, **params: Any) -> stripe.TransferReversal:
    wanted: Any = params
    return account.client.v1.transfers.reversals.create(id, wanted)


def test_a_transfer_is_reversed_in_parts_until_nothing_is_left(
    account: Account, seller: str
) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 50_000, source_transaction=charge.id)

    first = reverse(account, made.id, amount=20_000, metadata={"refund": "1"}, description="Half")

    assert (first.amount, first.currency, first.transfer) == (20_000, "usd", made.id)
    part = account.client.v1.transfers.retrieve(made.id)
    assert (part.amount_reversed, part.reversed) == (20_000, False)
    assert [each.id for each in part.reversals.data] == [first.id]
    assert balance(account, seller) == {"usd": (0, 30_000)}
    assert balance(account) == {"usd": (0, NET - 30_000)}
    rest = reverse(account, made.id)
    whole = account.client.v1.transfers.retrieve(made.id)
    assert (rest.amount, whole.amount_reversed, whole.reversed) == (30_000, 50_000, True)
    lines = account.client.v1.balance_transactions.list({"type": "transfer_refund"}).data
    assert [(line.net, line.reporting_category, line.description) for line in lines] == [
        (30_000, "transfer_reversal", None),
        (20_000, "transfer_reversal", "Half"),
    ]
    assert balance(account) == {"usd": (0, NET)}


def test_more_than_is_left_of_a_transfer_is_not_reversed(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 100, source_transaction=charge.id)
    transfer(account, seller, 900, source_transaction=charge.id)
    reverse(account, made.id, amount=60)

    error = refusal(account, reverse, account, made.id, amount=41)

    assert (error.http_status, error.param) == (400, "amount")
    assert refusal(account, reverse, account, made.id, amount=0).param == "amount"
    reverse(account, made.id, amount=40)
    assert refusal(account, reverse, account, made.id).param == "amount"


def test_a_drained_account_gives_nothing_back(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 50_000, source_transaction=charge.id)
    account.control("clock", {"advance_seconds": 60})
    sent = account.control(f"accounts/{seller}/pay_out", {})
    assert sent == {"account": seller, "paid_out": {"usd": 50_000}}
    settle(account)
    assert account.control(f"accounts/{seller}/pay_out", {})["paid_out"] == {}
    assert balance(account, seller) == {"usd": (0, 0)}

    error = refusal(account, reverse, account, made.id, amount=1)

    assert (error.http_status, error.code) == (400, "balance_insufficient")
    kept = account.client.v1.transfers.retrieve(made.id)
    assert (kept.amount_reversed, kept.reversals.data) == (0, [])


def test_a_reversal_is_capped_by_what_the_account_still_has(account: Account, seller: str) -> None:
    first = transfer(account, seller, 1_000, source_transaction=paid_charge(account).id)
    settle(account)
    account.control(f"accounts/{seller}/pay_out", {})
    transfer(account, seller, 300, source_transaction=paid_charge(account).id)

    assert refusal(account, reverse, account, first.id).code == "balance_insufficient"

    assert reverse(account, first.id, amount=300).amount == 300
    assert sum(balance(account, seller)["usd"]) == 0


def test_a_refund_leaves_transfers_as_they_are(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 50_000, source_transaction=charge.id)

    account.client.v1.refunds.create({"charge": charge.id})

    assert account.client.v1.transfers.retrieve(made.id).amount_reversed == 0
    assert balance(account, seller) == {"usd": (0, 50_000)}


def test_reversals_are_fetched_listed_and_annotated(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 100, source_transaction=charge.id)
    other = transfer(account, seller, 100, source_transaction=charge.id)
    ids = [reverse(account, made.id, amount=1).id for _each in range(12)]
    service = account.client.v1.transfers.reversals

    changed = service.update(made.id, ids[-1], {"metadata": {"a": "1"}})

    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"a": "1"}
    assert service.retrieve(made.id, ids[0]).amount == 1
    assert [each.id for each in service.list(made.id, {"limit": 2})] == [ids[11], ids[10]]
    shown = account.client.v1.transfers.retrieve(made.id).reversals
    assert ([each.id for each in shown.data], shown.has_more) == (ids[:1:-1], True)
    assert shown.data[0].metadata is not None
    assert shown.data[0].metadata.to_dict() == {"a": "1"}
    assert service.list(other.id).data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        service.retrieve(other.id, ids[0])
    assert refused.value.http_status == 404


def test_transfers_and_reversals_are_told(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 100, source_transaction=charge.id)
    reverse(account, made.id, amount=40)
    reverse(account, made.id)

    events: list[Any] = account.client.v1.events.list({"type": "transfer.*"}).data

    assert [each.type for each in events] == ["transfer.reversed"] * 2 + ["transfer.created"]
    last, first, created = (each.data for each in events)
    assert (created.object.id, created.object.amount_reversed) == (made.id, 0)
    assert first.object.amount_reversed == 40
    assert first.previous_attributes.to_dict() == {"amount_reversed": 0}
    assert last.previous_attributes.to_dict() == {"amount_reversed": 40, "reversed": False}


def test_transfers_expand_to_what_they_name(account: Account, seller: str) -> None:
    charge = paid_charge(account)
    made = transfer(account, seller, 100, source_transaction=charge.id)
    back = reverse(account, made.id, amount=10)
    fetch = account.client.v1.transfers.retrieve

    whole: Any = fetch(made.id, {"expand": ["source_transaction", "balance_transaction.source"]})

    assert whole.source_transaction.amount == 59_500
    assert whole.balance_transaction.source.id == made.id
    part: Any = account.client.v1.transfers.reversals.retrieve(
        made.id, back.id, {"expand": ["transfer", "balance_transaction"]}
    )
    assert (part.transfer.id, part.balance_transaction.net) == (made.id, 10)
    with pytest.raises(stripe.APIError) as refused:
        fetch(made.id, {"expand": ["destination"]})
    assert refused.value.http_status == 501


# --- balances and regions ----------------------------------------------------------------------


def test_an_empty_balance_shows_the_currency_of_its_country(account: Account) -> None:
    assert balance(account) == {"usd": (0, 0)}
    assert balance(account, onboarded(account, country="DE")) == {"eur": (0, 0)}


def test_only_a_balance_is_asked_in_an_accounts_name(account: Account, seller: str) -> None:
    options: Any = {"stripe_account": seller}
    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.transfers.list({}, options)
    assert refused.value.http_status == 501
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        account.client.v1.balance.retrieve({}, {"stripe_account": "acct_none"})
    assert unknown.value.http_status == 404


@contextmanager
def platform_in(country: str) -> Iterator[Account]:
    receiver = Receiver()
    simulator = Simulator(webhook_url=receiver.url, webhook_secret=SECRET, country=country)
    thread = in_thread(simulator)
    try:
        yield Account(simulator, receiver)
    finally:
        simulator.stop()
        thread.join()
        receiver.close()


@pytest.mark.parametrize(
    ("platform", "country", "may"),
    [
        ("US", "DE", True),
        ("GB", "CH", True),
        ("DE", "CA", True),
        ("US", "JP", False),
        ("JP", "US", False),
        ("JP", "JP", True),
        ("AU", "NZ", False),
    ],
)
def test_a_transfer_crosses_borders_only_between_some_regions(
    platform: str, country: str, may: bool
) -> None:
    with platform_in(platform) as account:
        seller = onboarded(account, country=country)
        charge = paid_charge(account)

        if may:
            transfer(account, seller, 1, source_transaction=charge.id)
            return
        error = refusal(account, transfer, account, seller, 1, source_transaction=charge.id)
        assert (error.code, error.param) == ("transfers_not_allowed", "destination")


def test_the_regions_are_those_of_stripes_page() -> None:
    # The EEA has thirty members.
    assert len(regions.SELF_SERVE) == 34
