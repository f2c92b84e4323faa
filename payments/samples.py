"""Taking a listing's sample: its document shown, then accepted, and the grant given at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import offers, samples
from licensing.models import Grant, Offer, Sample
from marketplace import idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from payments import orders, quotes
from payments.models import Quote
from payments.orders import Accept

# How long a document may be read before it is accepted.
READ_WITHIN = timedelta(hours=1)
# A client's clock, a little ahead of ours.
_AHEAD = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Shown:
    """A listing's sample, the contract that taking it now would make, and the grant if it was."""

    listing: Offer
    sample: Sample
    quote: Quote
    opted_out: int
    starts_at: datetime
    grant: Grant | None


def show(caller: Caller, listing: str) -> Shown:
    """What a buyer reads before taking a sample. Changes nothing.

    Raises NotFound, OwnCollection, OfferNotBuyable, OptedOut, LegalIdentityIncomplete.
    """
    # Whole seconds: people read the instant in the contract.
    starts_at = timezone.now().replace(microsecond=0)
    with acting(caller, writing=False):
        offer = offers.buyable(caller, listing)
        sample = samples.of(offer)
        quote = quotes.of_sample(caller, sample, starts_at=starts_at)
        return Shown(
            listing=offer,
            sample=sample,
            quote=quote,
            opted_out=quotes.opted_out(quote),
            starts_at=starts_at,
            grant=samples.taken(caller, offer),
        )


def take(
    caller: Caller, listing: str, *, accept: Accept, starts_at: datetime
) -> tuple[Grant, bool]:
    """Grant a listing's sample to the caller's organization, once in each mode; say if it is new.

    `starts_at` and the document's hash are as `show` gave them. A repeat returns the first grant,
    whatever the seller chose since, as long as the listing is on sale. Raises NotFound,
    OwnCollection, OfferNotBuyable, AcceptedDocumentMismatch, InvalidInput, OptedOut, RightsTaken,
    LegalIdentityIncomplete.
    """
    with acting(caller):
        offer = offers.buyable(caller, listing)
        samples.lock(caller, offer)
        grant = samples.taken(caller, offer)
        is_new = grant is None
        if grant is None:
            _check_start(starts_at)
            grant = _granted(caller, samples.of(offer), accept, starts_at)
        # Last: the order that it came by has put its own name there.
        idempotency.names(caller, grant)
    return grant, is_new


def _granted(caller: Caller, sample: Sample, accept: Accept, starts_at: datetime) -> Grant:
    quote = quotes.of_sample(caller, sample, starts_at=starts_at)
    quote.save(force_insert=True)
    order = orders.place(caller, quote=str(quote.pk), accept=accept)
    assert order.grant is not None, "A sample is free, and granted with its order."
    samples.keep(caller, sample, order.grant)
    return order.grant


def _check_start(starts_at: datetime) -> None:
    now = timezone.now()
    if not now - READ_WITHIN <= starts_at <= now + _AHEAD:
        raise InvalidInput(
            _("Give `starts_at` as the sample's document was shown with, within an hour."),
            param="starts_at",
        )
