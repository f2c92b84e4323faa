"""Offers: a snapshot under terms at a price, put on sale and taken off."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.models import Offer, Snapshot, Terms
from marketplace import audit, collections, embedded_rights, idempotency, money
from marketplace.access import Caller, acting
from marketplace.errors import (
    CollectionNotAttested,
    InvalidInput,
    NotFound,
    OfferNotBuyable,
    OfferWrongState,
    OwnCollection,
    TermsNotPublished,
    WorksProhibitMining,
)
from marketplace.models import Organization

TRANSITIONS: dict[str, frozenset[str]] = {
    Offer.State.DRAFT: frozenset({Offer.State.LIVE, Offer.State.WITHDRAWN}),
    Offer.State.LIVE: frozenset({Offer.State.WITHDRAWN}),
    # Withdrawn is final: make another offer.
}


def make(
    caller: Caller,
    *,
    snapshot: str,
    terms: str,
    price_minor: int,
    currency: str,
    audience: str | None = None,
    opens_at: datetime | None = None,
    closes_at: datetime | None = None,
) -> Offer:
    """Draft an offer of one of the caller's snapshots. Its conditions never change afterwards.

    `audience` (an organization's id) makes it private. Raises NotFound, InvalidInput.
    """
    money.check_price(price_minor, currency)
    now = timezone.now()
    opens_at = opens_at or now
    if closes_at is not None and closes_at <= opens_at:
        raise InvalidInput(
            _("The offer would close before it opens. Choose a later end."), param="closes_at"
        )
    if closes_at is not None and closes_at <= now:
        raise InvalidInput(_("The end of the sale is past. Choose a later one."), param="closes_at")
    with acting(caller):
        frozen = Snapshot.objects.owned_by(caller).get_visible(caller, snapshot)
        offer = Offer(
            organization=caller.organization,
            collection_id=frozen.collection_id,
            snapshot=frozen,
            terms=Terms.objects.owned_by(caller).get_visible(caller, terms),
            audience=_audience(caller, audience),
            price_minor=price_minor,
            currency=currency,
            opens_at=opens_at,
            closes_at=closes_at,
        )
        offer.save(force_insert=True)
        audit.record(caller, "offer.made", subject=offer)
        idempotency.names(caller, offer)
    return offer


def publish(caller: Caller, id: str) -> Offer:
    """Put an offer on sale. Publishing what is on sale changes nothing.

    Raises NotFound, OfferWrongState, TermsNotPublished, CollectionNotAttested,
    WorksProhibitMining.
    """
    with acting(caller):
        offer = Offer.objects.get_visible(caller, id, lock=True)
        if offer.state != Offer.State.LIVE:
            _put_on_sale(caller, offer)
        idempotency.names(caller, offer)
    return offer


def withdraw(caller: Caller, id: str) -> Offer:
    """Take an offer off sale. Grants stand. Repeating it changes nothing."""
    with acting(caller):
        offer = Offer.objects.get_visible(caller, id, lock=True)
        if offer.state != Offer.State.WITHDRAWN:
            _move(offer, Offer.State.WITHDRAWN)
            offer.withdrawn_at = timezone.now()
            offer.save(update_fields=["state", "withdrawn_at"])
            audit.record(caller, "offer.withdrawn", subject=offer)
        idempotency.names(caller, offer)
    return offer


def buyable(caller: Caller, id: str) -> Offer:
    """The offer that a buyer means, in the buyer's transaction.

    Raises NotFound for one that the buyer may not see, OwnCollection for the buyer's own,
    OfferNotBuyable for one that is no longer (or not yet) on sale.
    """
    rows = Offer.objects.select_related("organization", "collection", "snapshot", "terms")
    try:
        offer = rows.get(pk=id)
    except (Offer.DoesNotExist, ValidationError):
        offer = None
    missing = NotFound(_("There is no offer “%(id)s”.") % {"id": id})
    if offer is None:
        raise missing
    if offer.organization_id == caller.organization.pk:
        raise OwnCollection(_("This offer is your own organization's."))
    is_for_caller = offer.audience_id in {None, caller.organization.pk}
    # A draft was never shown to anybody: to a buyer it is not there.
    if not is_for_caller or offer.published_at is None:
        raise missing
    if not Offer.objects.on_sale().filter(pk=offer.pk).exists():
        raise OfferNotBuyable(_("This offer is not on sale."), offer=str(offer.pk))
    return offer


def _put_on_sale(caller: Caller, offer: Offer) -> None:
    _move(offer, Offer.State.LIVE)
    if offer.closes_at is not None and offer.closes_at <= timezone.now():
        raise OfferWrongState(
            _("The end of the sale is past. Make a new offer."), state=Offer.State.DRAFT.value
        )
    if offer.terms.published_at is None:
        raise TermsNotPublished(
            _("Publish the terms first: POST /v1/terms/%(id)s/publish.") % {"id": offer.terms_id},
            terms=str(offer.terms_id),
        )
    attested = collections.attestation(offer.collection)
    if attested is None:
        raise CollectionNotAttested(
            _("Attest the rights first: POST /v1/collections/%(id)s/attestations.")
            % {"id": offer.collection_id},
            collection=str(offer.collection_id),
        )
    blocking = embedded_rights.blocking(offer.collection)
    if blocking:
        raise WorksProhibitMining(
            _(
                "The files of %(count)s works prohibit data mining. Look at them: GET"
                " /v1/collections/%(id)s/prohibitions. Answer for them, or take them out: POST"
                " /v1/collections/%(id)s/rights-overrides."
            )
            % {"count": blocking, "id": offer.collection_id},
            collection=str(offer.collection_id),
            works=blocking,
        )
    offer.published_at = timezone.now()
    offer.rights_basis = attested.basis
    offer.rights_license = attested.license_name
    offer.rights_statement = attested.statement
    offer.save(
        update_fields=[
            "state",
            "published_at",
            "rights_basis",
            "rights_license",
            "rights_statement",
        ]
    )
    audit.record(caller, "offer.published", subject=offer, attestation=str(attested.pk))


def _move(offer: Offer, state: Offer.State) -> None:
    if state not in TRANSITIONS.get(offer.state, frozenset()):
        raise OfferWrongState(
            _("The offer is “%(state)s”. Make a new one.") % {"state": offer.state},
            state=offer.state,
        )
    offer.state = state


def _audience(caller: Caller, id: str | None) -> Organization | None:
    if id is None:
        return None
    try:
        audience = Organization.objects.get(pk=id)
    except (Organization.DoesNotExist, ValidationError):
        raise InvalidInput(_("There is no such organization."), param="audience") from None
    if audience.pk == caller.organization.pk:
        raise InvalidInput(_("An offer cannot be private to its own seller."), param="audience")
    return audience
