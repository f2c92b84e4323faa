"""Offers: a snapshot under terms at a price, reviewed, put on sale and taken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import prices, search_documents, snapshots, typed_terms
from licensing.models import ModerationDecision, Offer, Snapshot, Terms
from licensing.prices import Price
from marketplace import (
    audit,
    collections,
    embedded_rights,
    events,
    idempotency,
    kept_sql,
    metadata,
    money,
    traders,
)
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    CollectionNotAttested,
    InvalidInput,
    MissingScope,
    NotFound,
    NothingToLicense,
    OfferNotBuyable,
    OfferWrongState,
    OwnCollection,
    SalesSuspended,
    TermsNeedHuman,
    TermsNotPublished,
    WorksProhibitMining,
)
from marketplace.models import Attestation, Organization, User
from marketplace.typeid import TypeID

State = Offer.State

TRANSITIONS: dict[str, frozenset[str]] = {
    # Straight to listed where the market does not review its listings.
    State.DRAFT: frozenset({State.IN_REVIEW, State.LISTED, State.WITHDRAWN}),
    # A refused offer is a draft again, so that its seller can mend what was wrong.
    State.IN_REVIEW: frozenset({State.LISTED, State.DRAFT, State.WITHDRAWN}),
    State.LISTED: frozenset({State.SUSPENDED, State.WITHDRAWN}),
    State.SUSPENDED: frozenset({State.LISTED, State.WITHDRAWN}),
    # Withdrawn is final: make another offer.
}
REASON_LENGTH_MAX = 2_000
# Within how many days an invoice can be due.
INVOICE_DAYS = frozenset({14, 30, 60})

# --- the seller's -----------------------------------------------------------------------------


def make(
    caller: Caller,
    *,
    snapshot: str,
    terms: str,
    currency: str,
    price_minor: int | None = None,
    price: Any = None,
    access: str = Offer.Access.OPEN,
    audience: str | None = None,
    opens_at: datetime | None = None,
    closes_at: datetime | None = None,
    invoice_days: Sequence[int] = (),
    grants_on: str = Offer.GrantsOn.PAYMENT,
    notes: metadata.Notes | None = None,
) -> Offer:
    """Draft an offer of one of the caller's snapshots. Its conditions never change afterwards.

    The price is a typed one (`prices.EXAMPLES`), or `price_minor` for a flat one. `audience` (an
    organization's id) makes it private. With `invoice_days` it can be bought on an invoice that is
    due so many days later. Raises NotFound, InvalidInput, TermsNeedHuman.
    """
    typed_price = _price(price, price_minor, currency)
    _check_invoices(invoice_days, grants_on)
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
        conditions = Terms.objects.owned_by(caller).get_visible(caller, terms)
        if access == Offer.Access.OPEN:
            check_needs_no_human(conditions)
        price_minor = prices.check(typed_price, frozen.totals, currency)
        _check_price_is_said(conditions, typed_price, price_minor)
        offer = Offer(
            organization=caller.organization,
            collection_id=frozen.collection_id,
            snapshot=frozen,
            terms=conditions,
            audience=_audience(caller, audience),
            price_minor=price_minor,
            price=typed_price.as_dict(),
            currency=currency,
            access=access,
            opens_at=opens_at,
            closes_at=closes_at,
            invoice_days=sorted(set(invoice_days)),
            grants_on=grants_on,
        )
        offer.save(force_insert=True)
        metadata.begin(caller, offer, notes)
        audit.record(caller, "offer.made", subject=offer)
        idempotency.names(caller, offer)
    return offer


def list_sample(caller: Caller, whole: Offer, *, snapshot: Snapshot, terms: Terms) -> Offer:
    """Put works of an offer out for free, to whom the offer is open, in the caller's transaction.

    Listed without a review of its own and without a search document: the market shows the whole,
    which is reviewed. It stands on the whole's rights. Whoever calls it holds the seller's sales
    still. Raises OfferWrongState, CollectionNotAttested, SalesSuspended.
    """
    if whole.state == State.WITHDRAWN:
        raise OfferWrongState(
            _("The offer is withdrawn. Make another, and choose a sample of that."),
            state=str(whole.state),
        )
    if not whole.rights_basis:
        # What a draft will say of its rights, it says when it is published.
        _state_rights(whole, _attested(whole))
    offer = Offer(
        organization=whole.organization,
        collection_id=snapshot.collection_id,
        snapshot=snapshot,
        terms=terms,
        audience=whole.audience,
        price_minor=0,
        price=prices.parse({"model": "free"}).as_dict(),
        currency=whole.currency,
        state=State.LISTED,
        published_at=timezone.now(),
        rights_basis=whole.rights_basis,
        rights_license=whole.rights_license,
        rights_statement=whole.rights_statement,
    )
    _check_may_sell(whole.organization)
    offer.save(force_insert=True)
    audit.record(caller, "offer.made", subject=offer, sample_of=str(whole.pk))
    return offer


def check_needs_no_human(terms: Terms) -> None:
    """Raise TermsNeedHuman where some condition stands in free words."""
    others = typed_terms.read(terms.typed).others
    if others:
        raise TermsNeedHuman(
            _("%(place)s holds words that only a person can read. Sell on request (`access`).")
            % {"place": others[0][0]},
            terms=str(terms.pk),
        )


def _check_invoices(days: Sequence[int], grants_on: str) -> None:
    if not INVOICE_DAYS.issuperset(days):
        raise InvalidInput(_("An invoice is due in 14, 30 or 60 days."), param="invoice_days")
    if grants_on not in Offer.GrantsOn.values:
        raise InvalidInput(
            _("A license begins with the “payment” or with the “issue” of an invoice."),
            param="grants_on",
        )
    if grants_on == Offer.GrantsOn.ISSUE and not days:
        raise InvalidInput(
            _("Only what can be bought on invoice begins with its issue: give `invoice_days`."),
            param="grants_on",
        )


def _check_price_is_said(terms: Terms, price: Price, price_minor: int) -> None:
    """Refuse a price under terms whose text says that the license is free."""
    costs = price_minor > 0 or price.model in prices.NOT_CHARGED_YET
    if costs and typed_terms.read(terms.typed).is_free:
        raise InvalidInput(
            _("These terms say that the license is free. Offer it free, or under other terms."),
            param="price",
        )


def publish(caller: Caller, id: str) -> Offer:
    """Put an offer on sale; where the market reviews its listings, hand it to review.

    Publishing what is in review or on sale changes nothing. With a live key, an operator verified
    the seller before. Raises NotFound, OfferWrongState, TermsNotPublished, CollectionNotAttested,
    WorksProhibitMining, NothingToLicense, TraderNotVerified, SalesSuspended.
    """
    with acting(caller):
        hold_sales_still(caller.organization.pk)
        offer = Offer.objects.get_visible(caller, id, lock=True)
        if offer.state not in {State.IN_REVIEW, State.LISTED}:
            if caller.livemode:
                traders.check(caller.organization)
            _publish(caller, offer)
        idempotency.names(caller, offer)
    return offer


def withdraw(caller: Caller, id: str) -> Offer:
    """Take an offer off sale, or out of review. Grants stand. Repeating it changes nothing."""
    with acting(caller):
        offer = Offer.objects.get_visible(caller, id, lock=True)
        if offer.state != State.WITHDRAWN:
            _move(offer, State.WITHDRAWN)
            offer.withdrawn_at = timezone.now()
            offer.save(update_fields=["state", "withdrawn_at"])
            search_documents.remove(offer)
            audit.record(caller, "offer.withdrawn", subject=offer)
            _tell("offer.withdrawn", offer)
        idempotency.names(caller, offer)
    return offer


# --- the operator's ---------------------------------------------------------------------------


def in_review() -> QuerySet[Offer]:
    """What waits for an operator, the longest-waiting first."""
    waiting = Offer.objects.filter(state=State.IN_REVIEW)
    return waiting.select_related("organization", "collection", "terms").order_by("submitted_at")


def approve(operator: User, id: str) -> Offer:
    """List an offer that is in review. Repeating it changes nothing.

    Raises MissingScope for who is no operator, NotFound, OfferWrongState, WorksProhibitMining,
    NothingToLicense.
    """
    with _deciding(operator, id) as (caller, offer):
        if offer.state != State.LISTED:
            # What is suspended was approved before; `reinstate` is its way back.
            _refuse_unless(offer, State.IN_REVIEW)
            _list(offer)
            audit.record(caller, "offer.approved", subject=offer)
            _tell("offer.published", offer)
    return offer


def refuse(operator: User, id: str, *, reason: str) -> Offer:
    """Give an offer in review back to its seller as a draft, with the reason.

    Raises MissingScope for who is no operator, NotFound, InvalidInput, OfferWrongState.
    """
    reason = _checked(reason)
    with _deciding(operator, id) as (caller, offer):
        _refuse_unless(offer, State.IN_REVIEW)
        _move(offer, State.DRAFT)
        offer.submitted_at = None
        offer.state_reason = reason
        offer.save(update_fields=["state", "submitted_at", "state_reason"])
        audit.record(caller, "offer.refused", subject=offer, reason=reason)
        _tell("offer.refused", offer)
    return offer


def suspend(operator: User, id: str, *, reason: str) -> Offer:
    """Take a listing off the market for now. Grants stand; orders that are paid are carried out.

    Repeating it changes nothing. Raises MissingScope for who is no operator, NotFound,
    InvalidInput, OfferWrongState.
    """
    reason = _checked(reason)
    with _deciding(operator, id) as (caller, offer):
        if offer.state != State.SUSPENDED:
            _move(offer, State.SUSPENDED)
            offer.suspended_at = timezone.now()
            offer.state_reason = reason
            offer.save(update_fields=["state", "suspended_at", "state_reason"])
            search_documents.remove(offer)
            audit.record(caller, "offer.suspended", subject=offer, reason=reason)
            _tell("offer.suspended", offer)
    return offer


def reinstate(operator: User, id: str) -> Offer:
    """Bring a suspended listing back, as the newest. Repeating it changes nothing.

    Not while a moderation decision stands against it: that is lifted, or reversed on appeal.
    Raises MissingScope for who is no operator, NotFound, OfferWrongState, SalesSuspended,
    WorksProhibitMining, NothingToLicense.
    """
    with _deciding(operator, id) as (caller, offer):
        if offer.state != State.LISTED:
            _refuse_unless(offer, State.SUSPENDED)
            standing = ModerationDecision.objects.in_force().filter(
                offer=offer, measure__in=["listing_suspended", "taken_down"]
            )
            if decision := standing.first():
                raise OfferWrongState(
                    _("The decision %(id)s stands against this listing: lift that.")
                    % {"id": decision.pk},
                    state=str(offer.state),
                )
            _list(offer)
            audit.record(caller, "offer.reinstated", subject=offer)
            _tell("offer.reinstated", offer)
    return offer


def come_back(caller: Caller, id: str) -> Offer:
    """Bring back what a decision suspended that has ended, in its transaction, as the newest.

    Of all-tenant work. What is not suspended any more stays as it is. Raises what `_list` raises.
    """
    offer = Offer.objects.select_for_update(of=("self",)).select_related("organization").get(pk=id)
    if offer.state == State.SUSPENDED:
        _list(offer)
        audit.record(caller, "offer.reinstated", subject=offer)
        _tell("offer.reinstated", offer)
    return offer


# --- the buyer's ------------------------------------------------------------------------------


def buyable(caller: Caller, id: str, *, samples: bool = False) -> Offer:
    """The offer that a buyer means, in the buyer's transaction; a sample's only with `samples`.

    Raises NotFound for one that the buyer may not see, OwnCollection for the buyer's own,
    OfferNotBuyable for one that is no longer (or not yet) on sale, TraderNotVerified for one that
    cannot be sold in live mode yet.
    """
    missing = NotFound(_("There is no offer “%(id)s”.") % {"id": id})
    try:
        pk = UUID(int=TypeID.parse("off", id).int)
    except ValueError:
        raise missing from None
    offer = _whole(samples).one({"pk": pk})
    if offer is None:
        raise missing
    if offer.organization_id == caller.organization.pk:
        raise OwnCollection(_("This offer is your own organization's."))
    is_for_caller = offer.audience_id in {None, caller.organization.pk}
    # A draft was never shown to anybody: to a buyer it is not there.
    if not is_for_caller or offer.published_at is None:
        raise missing
    hold_on_sale(caller, offer)
    # An offer's snapshot is of its collection: nobody needs to ask again.
    offer.snapshot.collection = offer.collection
    return offer


def hold_on_sale(caller: Caller, offer: Offer) -> None:
    """Keep an offer from being suspended or withdrawn until the caller's transaction ends.

    Shared: buyers do not wait for each other. Raises OfferNotBuyable for one that is not on sale,
    TraderNotVerified for one that cannot be sold in live mode yet.
    """
    on_sale = _on_sale()
    with connection.cursor() as cursor:
        # Where it is being taken off sale, this waits, and looks at what has become of it.
        cursor.execute(f"{on_sale.sql} FOR SHARE", on_sale.given({"pk": UUID(int=offer.pk.int)}))
        is_on_sale = cursor.fetchone() is not None
    if not is_on_sale:
        raise OfferNotBuyable(_("This offer is not on sale."), offer=str(offer.pk))
    if caller.livemode:
        traders.check(offer.organization)


@cache
def _whole(samples: bool) -> kept_sql.Rows[Offer]:
    """An offer by its key, with all that a sale of it needs."""
    rows = Offer.objects.select_related("organization", "collection", "snapshot", "terms", "sample")
    return kept_sql.Rows((rows if samples else rows.shown()).filter(pk=kept_sql.ROW))


@cache
def _on_sale() -> kept_sql.Statement:
    """Finds an offer by its key if it is on sale."""
    rows = Offer.objects.on_sale().filter(pk=kept_sql.ROW).values("pk")
    return kept_sql.Statement.of(*rows.query.sql_with_params())


def hold_sales_still(seller: UUID) -> None:
    """Keep operators from suspending a seller's sales until the transaction ends.

    Before any offer is locked. Otherwise one could come on sale right after all that were on sale
    had been suspended. Shared: a seller's own acts do not hold each other up.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('sales of ' || %s, 0))",
            [str(seller)],
        )


def hold_sales(seller: UUID) -> None:
    """Keep anything of a seller from coming on sale until the transaction ends."""
    with connection.cursor() as cursor:
        # `hold_sales_still` is the other side of this one.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('sales of ' || %s, 0))", [str(seller)]
        )


def _price(price: Any, price_minor: int | None, currency: str) -> Price:
    if (price is None) == (price_minor is None):
        raise InvalidInput(_("Give either `price` or `price_minor`."), param="price")
    if price_minor is None:
        return prices.parse(price)
    money.check_price(price_minor, currency)
    return prices.flat(price_minor)


@contextmanager
def _deciding(operator: User, id: str) -> Iterator[tuple[Caller, Offer]]:
    """Lock any tenant's offer for an operator's act; the audit names the operator."""
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market decides about listings."))
    with system(f"operator {operator.pk} decides about a listing"):
        rows = Offer.objects.select_for_update(of=("self",))
        try:
            hold_sales_still(Offer.objects.only("organization").get(pk=id).organization_id)
            offer = rows.select_related("organization").get(pk=id)
        except (Offer.DoesNotExist, ValidationError):
            raise NotFound(_("There is no offer “%(id)s”.") % {"id": id}) from None
        caller = Caller(
            organization=offer.organization, livemode=False, scopes=frozenset(), user=operator
        )
        yield caller, offer


def _publish(caller: Caller, offer: Offer) -> None:
    # Before anything that the seller could mend: what is suspended or withdrawn stays so.
    _refuse_unless(offer, State.DRAFT)
    if offer.terms.published_at is None:
        raise TermsNotPublished(
            _("Publish the terms first: POST /v1/terms/%(id)s/publish.") % {"id": offer.terms_id},
            terms=str(offer.terms_id),
        )
    attested = _attested(offer)
    _state_rights(offer, attested)
    offer.save(update_fields=["rights_basis", "rights_license", "rights_statement"])
    if settings.LISTING_REVIEW:
        _check_listable(offer)
        _move(offer, State.IN_REVIEW)
        offer.submitted_at = timezone.now()
        offer.state_reason = ""
        offer.save(update_fields=["state", "submitted_at", "state_reason"])
        audit.record(caller, "offer.submitted", subject=offer, attestation=str(attested.pk))
        _tell("offer.submitted", offer)
    else:
        _list(offer)
        audit.record(caller, "offer.published", subject=offer, attestation=str(attested.pk))
        _tell("offer.published", offer)


def _attested(offer: Offer) -> Attestation:
    attested = collections.attestation(offer.collection)
    if attested is None:
        raise CollectionNotAttested(
            _("Attest the rights first: POST /v1/collections/%(id)s/attestations.")
            % {"id": offer.collection_id},
            collection=str(offer.collection_id),
        )
    return attested


def _state_rights(offer: Offer, attested: Attestation) -> None:
    offer.rights_basis = attested.basis
    offer.rights_license = attested.license_name
    offer.rights_statement = attested.statement


def _list(offer: Offer) -> None:
    """Put an offer on sale and into the search, in the caller's transaction."""
    _check_listable(offer)
    _move(offer, State.LISTED)
    offer.published_at = offer.published_at or timezone.now()
    offer.suspended_at, offer.state_reason = None, ""
    offer.save(update_fields=["state", "published_at", "suspended_at", "state_reason"])
    if Offer.objects.shown().filter(pk=offer.pk).exists():
        search_documents.write(offer)


def _check_listable(offer: Offer) -> None:
    """What must hold whenever an offer comes on sale, however long it waited.

    Raises OfferWrongState, SalesSuspended, WorksProhibitMining, NothingToLicense.
    """
    _check_may_sell(offer.organization)
    if offer.closes_at is not None and offer.closes_at <= timezone.now():
        raise OfferWrongState(
            _("The end of the sale is past. Make a new offer."), state=str(offer.state)
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
    if not snapshots.has_free_work(offer.snapshot):
        raise NothingToLicense(
            _("Every work of the snapshot is opted out or held. Offer another snapshot."),
            snapshot=str(offer.snapshot_id),
        )


def _check_may_sell(seller: Organization) -> None:
    standing = ModerationDecision.objects.in_force().filter(
        organization=seller, measure=ModerationDecision.Measure.SALES_SUSPENDED
    )
    if decision := standing.first():
        raise SalesSuspended(
            _("By the decision %(id)s, nothing of the seller is on sale.") % {"id": decision.pk},
            decision=str(decision.pk),
        )


def _refuse_unless(offer: Offer, state: State) -> None:
    if offer.state != state:
        raise OfferWrongState(
            _("The offer is “%(state)s”; this takes one that is “%(needed)s”.")
            % {"state": offer.state, "needed": state.value},
            state=str(offer.state),
        )


def _move(offer: Offer, state: State) -> None:
    if state not in TRANSITIONS.get(offer.state, frozenset()):
        raise OfferWrongState(
            _("The offer is “%(state)s”, which cannot become “%(next)s”.")
            % {"state": offer.state, "next": state.value},
            state=str(offer.state),
        )
    offer.state = state


def _checked(reason: str) -> str:
    """The seller reads it: a refusal without a reason cannot be mended."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_LENGTH_MAX or "\x00" in reason:
        raise InvalidInput(
            _("Say why, in up to %(max)s characters: the seller reads it.")
            % {"max": REASON_LENGTH_MAX},
            param="reason",
        )
    return reason


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


def _tell(type: str, offer: Offer) -> None:
    """Tell the seller what became of an offer. Offers are of both modes."""
    events.record(type, to=[offer.organization_id], livemode=None, subject=offer)
