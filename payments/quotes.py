"""Quotes: an offer priced for a chosen scope, and frozen with the contract that it would make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import (
    access_requests,
    agreements,
    asked_models,
    offers,
    optouts,
    prices,
    samples,
    scope_claims,
    terms,
)
from licensing.asked_models import AskedModel
from licensing.models import Offer, Sample
from licensing.prices import Line, Price
from licensing.terms import TypedTerms, Windows
from marketplace import idempotency, metadata, money, organizations
from marketplace.access import Caller, acting, alone, undone
from marketplace.errors import InvalidInput
from marketplace.typeid import TypeID
from payments import connect, stripe_gateway, tax
from payments.models import Quote
from payments.tax import Tax

# How long a quote may be accepted.
LIFETIME = timedelta(hours=1)
# A license may begin this far ahead.
STARTS_WITHIN = timedelta(days=366)
_PRICED_SQL = """
SELECT FROM payments_quote
WHERE id = %s AND organization_id = %s AND livemode = %s AND total_minor > 0
"""


def make(
    caller: Caller,
    *,
    offer: str,
    uses: Sequence[str],
    territories: Sequence[str],
    model: Mapping[str, str] | None = None,
    starts_at: datetime | None = None,
    notes: metadata.Notes | None = None,
) -> Quote:
    """Price an offer for a scope, and freeze the price and the whole contract for an hour.

    What is sold on request is for the model that the seller approved; `model` chooses among
    several. Nothing is held: who accepts first gets it. Raises NotFound, OfferNotBuyable,
    OwnCollection, InvalidInput, TermsNeedHuman, NotSupportedYet, AccessNotApproved, OptedOut,
    RightsTaken, LegalIdentityIncomplete, PaymentModeUnavailable, SellerCannotBePaid,
    RegionNotSupported.
    """
    now = timezone.now()
    starts_at = _start(starts_at, now)
    answer = _asked_tax(caller, offer) if tax.is_remote() else None
    asked = None if model is None else asked_models.clean(model)
    with acting(caller):
        bought = offers.buyable(caller, offer)
        price = prices.load(bought.price, bought.price_minor)
        prices.check_chargeable(price)
        typed = terms.load(bought.terms)
        typed.check_scope(uses, territories)
        if bought.access == Offer.Access.OPEN:
            offers.check_needs_no_human(bought.terms)
        approval = access_requests.check(
            caller, bought, uses=uses, territories=territories, model=asked
        )
        if approval is not None:
            asked = access_requests.asked_model(approval)
        if asked is not None:
            asked_models.check(asked, typed, uses=uses, territories=territories)
        scope = _scope(starts_at, uses, territories, asked)
        quote = _priced(caller, bought, price, typed, scope, answer)
        if approval is not None:
            # What the seller approved for a time is not promised for longer.
            quote.expires_at = min(quote.expires_at, approval.expires_at)
        _check_rights_are_free(quote, typed)
        quote.save(force_insert=True)
        metadata.begin(caller, quote, notes)
        idempotency.names(caller, quote)
    return quote


def of_sample(caller: Caller, sample: Sample, *, starts_at: datetime) -> Quote:
    """What taking a sample would mean: everything that its terms permit, for nothing.

    In the buyer's transaction, and not saved: `orders` accepts it, or nobody does. The same start
    gives the same document. Raises OfferNotBuyable, OptedOut, LegalIdentityIncomplete.
    """
    offer = offers.buyable(caller, str(sample.sample_offer_id), samples=True)
    typed = terms.load(offer.terms)
    price = prices.load(offer.price, offer.price_minor)
    scope = _scope(starts_at, samples.USES, samples.TERRITORIES)
    return _priced(caller, offer, price, typed, scope)


def starts_at(quote: Quote) -> datetime:
    """When the license that was quoted would begin."""
    return datetime.fromisoformat(quote.scope["starts_at"])


def windows(quote: Quote) -> Windows:
    """When the license that was quoted would allow what."""
    return terms.load(quote.terms).windows(starts_at(quote))


def opted_out(quote: Quote) -> int:
    """How many works of its snapshot the quote says are not delivered."""
    return sum(line["works"] for line in quote.lines if line["kind"] == "opted_out")


def is_priced(caller: Caller, id: str) -> bool:
    """Whether a quote is the caller's and something is to be paid for it."""
    try:
        pk = UUID(int=TypeID.parse("quo", id).int)
    except ValueError:
        return False
    of = [pk, UUID(int=caller.organization.pk.int), caller.livemode]
    _rows, found = alone(caller, _PRICED_SQL, of)
    return found > 0


def check_approved(caller: Caller, quote: Quote) -> None:
    """Refuse a quote whose approval ended meanwhile: the buyer gave it up. AccessNotApproved."""
    access_requests.check(
        caller,
        quote.offer,
        uses=quote.scope["uses"],
        territories=quote.scope["territories"],
        model=quote.scope.get("model"),
    )


def price_basis(quote: Quote) -> dict[str, Any]:
    """What the grant says of its price: as it was when it was quoted."""
    flat = {"model": "flat", "amount_minor": quote.subtotal_minor, "currency": quote.currency}
    return quote.price_basis or flat


def claim(quote: Quote, typed: TypedTerms, *, held_by: str, held_until: datetime) -> None:
    """Hold the quoted scope of the collection for a buyer. Raises RightsTaken."""
    scope_claims.hold(
        # A sample's works stay the whole's: rights to that exclude others' to these.
        offer_collection=samples.whole_of(quote.offer).collection,
        licensor=quote.seller,
        licensee=quote.organization,
        livemode=quote.livemode,
        uses=quote.scope["uses"],
        territories=quote.scope["territories"],
        during=typed.windows(starts_at(quote)).training,
        exclusive=typed.exclusive,
        held_by=held_by,
        held_until=held_until,
    )


def _start(starts_at: datetime | None, now: datetime) -> datetime:
    if starts_at is None:
        # Whole seconds: people read the instant in the contract.
        return now.replace(microsecond=0)
    if starts_at < now - timedelta(minutes=5):
        raise InvalidInput(_("A license cannot begin in the past."), param="starts_at")
    if starts_at > now + STARTS_WITHIN:
        raise InvalidInput(_("A license begins within a year."), param="starts_at")
    return starts_at


def _scope(
    starts_at: datetime,
    uses: Sequence[str],
    territories: Sequence[str],
    model: AskedModel | None = None,
) -> dict[str, Any]:
    chosen = {
        "uses": sorted(set(uses)),
        "territories": sorted(set(territories)),
        "starts_at": starts_at.isoformat(),
    }
    return chosen if model is None else {**chosen, "model": model}


def _priced(
    caller: Caller,
    offer: Offer,
    price: Price,
    typed: TypedTerms,
    scope: dict[str, Any],
    answer: tax.Answer | None = None,
) -> Quote:
    now = timezone.now()
    out = optouts.check(offer.snapshot)
    totals, lines = _lines_of(offer, price, out)
    price_minor = prices.total_minor(lines)
    due = tax.calculate(
        caller.organization, price_minor=price_minor, currency=offer.currency, answer=answer
    )
    # Net: what fees and royalties are computed of.
    subtotal = price_minor - due.taken_out_minor
    total = subtotal + due.line.amount_minor
    money.check_price(total, offer.currency, param="offer")
    _check_parties(caller, offer, total)
    document = agreements.render(
        licensor=offer.organization,
        licensee=caller.organization,
        livemode=caller.livemode,
        collection=offer.collection,
        snapshot=offer.snapshot,
        opted_out=out,
        terms=offer.terms,
        uses=scope["uses"],
        territories=scope["territories"],
        model=scope.get("model"),
        windows=typed.windows(datetime.fromisoformat(scope["starts_at"])),
        price_words=prices.in_words(price, totals, offer.currency),
        subtotal_minor=subtotal,
        tax_minor=due.line.amount_minor,
        tax_words=tax.in_words(due.line, caller.organization.vat_id),
        total_minor=total,
        currency=offer.currency,
    )
    return Quote(
        organization=caller.organization,
        seller=offer.organization,
        livemode=caller.livemode,
        offer=offer,
        snapshot=offer.snapshot,
        terms=offer.terms,
        scope=scope,
        created_at=now,
        expires_at=now + LIFETIME,
        lines=_lines(lines, due, out),
        price_basis=prices.basis(price, totals, offer.currency),
        subtotal_minor=subtotal,
        tax_minor=due.line.amount_minor,
        total_minor=total,
        currency=offer.currency,
        tax_calculation=due.calculation,
        document=document,
        document_sha256=hashlib.sha256(document.encode()).digest(),
    )


def _check_parties(caller: Caller, offer: Offer, total_minor: int) -> None:
    """Refuse what could not be paid, or not be paid on, before anybody accepts it."""
    if caller.livemode:
        for party in (offer.organization, caller.organization):
            organizations.check_identity(party)
    if total_minor:
        stripe_gateway.check_mode(caller.livemode)
        connect.check_payable(offer.organization, livemode=caller.livemode)


def _lines_of(offer: Offer, price: Price, out: int) -> tuple[dict[str, Any], list[Line]]:
    """What an offer's price is counted over, and its lines."""
    # What is not delivered is not paid for by the work or unit; its bytes were counted for good.
    totals = optouts.left(offer.snapshot, out)
    return totals, prices.lines(price, totals)


def _asked_tax(caller: Caller, offer: str) -> tax.Answer | None:
    """Ask what tax is due on an offer, before the transaction that prices it."""
    with acting(caller, writing=False):
        bought = offers.buyable(caller, offer)
        price = prices.load(bought.price, bought.price_minor)
        prices.check_chargeable(price)
        _totals, lines = _lines_of(bought, price, optouts.check(bought.snapshot))
    price_minor = prices.total_minor(lines)
    if not price_minor:
        return None
    return tax.ask(caller.organization, price_minor=price_minor, currency=bought.currency)


def _lines(priced: Sequence[Line], due: Tax, out: int) -> list[dict[str, Any]]:
    taken_out = -due.taken_out_minor
    return [
        *(line.as_dict() for line in priced),
        *([{"kind": "tax_included", "amount_minor": taken_out}] if taken_out else []),
        {"kind": "tax", **asdict(due.line)},
        # Not a price, but what the price is not for.
        *([{"kind": "opted_out", "amount_minor": 0, "works": out}] if out else []),
    ]


def _check_rights_are_free(quote: Quote, typed: TypedTerms) -> None:
    """Try the claim that an order would take, and let go of it. Raises RightsTaken."""
    with undone():
        claim(quote, typed, held_by=str(quote.pk), held_until=quote.expires_at)
