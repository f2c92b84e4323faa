"""Sales with royalties, for tests: works of several people, a rule, and an order's own rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from licensing.models import Offer
from marketplace import access, collections, contributors, imports
from marketplace.models import Collection, Contributor, Organization
from payments import journal, royalties, settlements
from payments.models import Order, RoyaltyAccrual, RoyaltyAllocation
from tests.payments.rows import make_quote_row, paid_order_row
from tests.people import caller_for


def make_works(
    seller: Organization,
    of: Mapping[str, int],
    *,
    units: Mapping[str, Mapping[str, int]] | None = None,
    name: str = "Letters",
) -> Collection:
    """An attested collection: how many works of whom. "" has works of nobody known."""
    caller = caller_for(seller)
    collection = collections.create(caller, name=name)
    collections.attest(
        caller,
        str(collection.pk),
        basis="own",
        statement="We wrote them.",
        person_name="Ada",
        person_title="Head of rights",
        authority=True,
    )
    records = []
    for person, count in of.items():
        if person:
            contributors.add(caller, external_id=person, consent="granted")
        for n in range(count):
            text = f"{name} {person} {n}"
            records.append(
                imports.Record(
                    external_id=text,
                    title=text,
                    digest=hashlib.sha256(text.encode()).digest(),
                    length=100 + n,
                    media_type="text/plain",
                    custody="reference",
                    contributor=person,
                    units=tuple(sorted((units or {}).get(person, {}).items())),
                )
            )
    imports.run(caller, str(collection.pk), imports.Records(records))
    return collection


def person(seller: Organization, external_id: str) -> Contributor:
    with access.system("find a contributor in a test"):
        return Contributor.objects.get(organization=seller, external_id=external_id)


def set_rule(seller: Organization, collection: Collection, **fields: Any) -> Any:
    values = {"basis_points": 5_000, "method": "equal_per_work", **fields}
    return royalties.set_rule(caller_for(seller), str(collection.pk), **values)


def sell(buyer: Organization, offer: Offer, *, price_minor: int = 50_000) -> Order:
    """A sale as `sync` leaves it behind, without Stripe and without a grant."""
    with access.system("sell in a test"):
        quote = make_quote_row(
            buyer,
            offer,
            subtotal_minor=price_minor,
            total_minor=price_minor,
            currency=offer.currency,
        )
        rule = royalties.in_force(offer.collection_id, at=timezone.now())
        order = paid_order_row(quote, settlement=settlements.fix(quote, royalties=rule))
        journal.post(order, journal.PAYMENT, journal.payment(order))
        journal.post(order, journal.SALE, journal.sale(order, settlements.of(order)))
        royalties.of_sale(order)
    return order


def give_back(order: Order, amount_minor: int, *, cause: str) -> None:
    """A part of a sale goes back, as `refunds` takes it from everybody."""
    with access.system("give back in a test"):
        gone = order.refunded_minor
        shares = settlements.part(order, gone + amount_minor) - settlements.part(order, gone)
        order.refunded_minor += amount_minor
        order.save(update_fields=["refunded_minor"])
        back = journal.Line(journal.Code.STRIPE_CLEARING, -amount_minor)
        lines = [*journal.shared(order, shares), back]
        journal.post(order, journal.REFUND, lines, reference=cause)
        royalties.take_back(order, cause=cause, royalties_minor=shares.royalties_minor)


def accrued(order: Order) -> dict[str, int]:
    """What each contributor has of an order now, by name, in micro-units."""
    found: dict[str, int] = {}
    with access.system("add up in a test"):
        rows = RoyaltyAccrual.objects.filter(allocation__order=order).select_related("contributor")
        for row in rows:
            name = "" if row.contributor is None else row.contributor.external_id
            found[name] = found.get(name, 0) + row.amount_micro
    return found


def allocations(order: Order) -> list[RoyaltyAllocation]:
    with access.system("read in a test"):
        return list(
            RoyaltyAllocation.objects.filter(order=order)
            .select_related("base", "rule")
            .order_by("pk")
        )
