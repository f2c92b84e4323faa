"""Access requests: a buyer asks to license what is sold on request, and the seller answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import asked_models, offers, terms, vocabulary
from licensing.asked_models import AskedModel
from licensing.models import AccessRequest, Offer
from marketplace import access, audit, events, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import (
    AccessAlreadyRequested,
    AccessNotApproved,
    AccessRequestWrongState,
    InvalidInput,
    NotFound,
    OfferIsOpen,
)

State = AccessRequest.State

# How many approvals a refusal lists.
_APPROVALS_SHOWN_MAX = 5

TRANSITIONS: dict[str, frozenset[str]] = {
    State.PENDING: frozenset({State.APPROVED, State.DECLINED, State.EXPIRED, State.CANCELED}),
    State.APPROVED: frozenset({State.EXPIRED, State.CANCELED}),
    # Declined, expired and canceled are final: ask again.
}


def ask(
    caller: Caller,
    listing: str,
    *,
    uses: Sequence[str],
    territories: Sequence[str],
    model: Mapping[str, str],
    message: str = "",
) -> AccessRequest:
    """Ask the seller of an offer to license it, for a scope within its terms.

    One question at a time about one offer. Raises NotFound, OwnCollection, OfferNotBuyable,
    OfferIsOpen, AccessAlreadyRequested, InvalidInput.
    """
    wanted = asked_models.clean(model)
    with acting(caller):
        offer = offers.buyable(caller, listing)
        if offer.access != Offer.Access.ON_REQUEST:
            raise OfferIsOpen(
                _("This offer needs no approval: quote it with POST /v1/quotes."),
                offer=str(offer.pk),
            )
        typed = terms.load(offer.terms)
        typed.check_scope(uses, territories)
        asked_models.check(wanted, typed, uses=uses, territories=territories)
        _lock(caller, offer)
        asked = AccessRequest.objects.visible_to(caller).filter(
            licensee=caller.organization, offer=offer
        )
        # What the worker has yet to end keeps nobody from asking again.
        asked.overdue().update(state=State.EXPIRED)
        _refuse_second(asked.filter(state=State.PENDING).first())
        now = timezone.now()
        request = AccessRequest(
            licensor=offer.organization,
            licensee=caller.organization,
            livemode=caller.livemode,
            offer=offer,
            uses=sorted(set(uses)),
            territories=sorted(set(territories)),
            model_name=wanted["name"],
            model_version=wanted.get("version", ""),
            model_release=wanted["release"],
            message=message.strip(),
            created_at=now,
            expires_at=now + _days(),
        )
        request.save(force_insert=True)
        audit.record(caller, "access_request.made", subject=request, offer=str(offer.pk))
        _tell("access_request.created", request)
        idempotency.names(caller, request)
    return request


def approve(caller: Caller, id: str) -> AccessRequest:
    """Let the buyer license what it asked for, for as long as an approval lasts.

    The seller's. Repeating it changes nothing. Raises NotFound, AccessRequestWrongState.
    """
    with acting(caller):
        request = _asked_of(caller, id)
        if _move(request, State.APPROVED):
            request.decided_at, request.decided_by = timezone.now(), caller.actor
            request.expires_at = request.decided_at + _days()
            request.save(update_fields=["state", "decided_at", "decided_by", "expires_at"])
            audit.record(caller, "access_request.approved", subject=request)
            _tell("access_request.approved", request)
        idempotency.names(caller, request)
    return request


def decline(caller: Caller, id: str, *, reason: str) -> AccessRequest:
    """Say no, and why: the buyer reads it. The seller's. Repeating it changes nothing.

    Raises NotFound, AccessRequestWrongState, InvalidInput.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why: the buyer reads it."), param="reason")
    with acting(caller):
        request = _asked_of(caller, id)
        if _move(request, State.DECLINED):
            request.decided_at, request.decided_by = timezone.now(), caller.actor
            request.reason = reason.strip()
            request.save(update_fields=["state", "decided_at", "decided_by", "reason"])
            audit.record(caller, "access_request.declined", subject=request)
            _tell("access_request.declined", request)
        idempotency.names(caller, request)
    return request


def cancel(caller: Caller, id: str) -> AccessRequest:
    """Take a question back, or give an approval up. The buyer's. Repeating it changes nothing.

    Raises NotFound, AccessRequestWrongState.
    """
    with acting(caller):
        request = AccessRequest.objects.get_visible(caller, id, lock=True)
        if request.licensee_id != caller.organization.pk:
            raise NotFound(_("Only the buyer cancels a request. Decline it instead."))
        if _move(request, State.CANCELED):
            request.canceled_at = timezone.now()
            request.save(update_fields=["state", "canceled_at"])
            audit.record(caller, "access_request.canceled", subject=request)
            _tell("access_request.canceled", request)
        idempotency.names(caller, request)
    return request


def matching(
    caller: Caller, rows: QuerySet[AccessRequest], *, role: str = "", status: str = ""
) -> QuerySet[AccessRequest]:
    """Narrow a caller's access requests down. Raises InvalidInput for a word of no meaning here."""
    sides = {
        "buyer": Q(licensee=caller.organization),
        "seller": Q(licensor=caller.organization),
    }
    if role:
        rows = rows.filter(sides[_word(role, list(sides), "role")])
    if status:
        state = _word(status, State.values, "status")
        rows = rows.filter(pk__in=AccessRequest.objects.visible_to(caller).in_state(state))
    return rows


def expire_due() -> int:
    """End every question and approval whose time is over. The worker's."""
    with access.system("expire access requests that are overdue"):
        return AccessRequest.objects.overdue().update(state=State.EXPIRED)


def asked_model(request: AccessRequest) -> AskedModel:
    """The model that a request is about."""
    return asked_models.made(request.model_name, request.model_version, request.model_release)


def check(
    caller: Caller,
    offer: Offer,
    *,
    uses: Sequence[str],
    territories: Sequence[str],
    model: AskedModel | None = None,
) -> AccessRequest | None:
    """Refuse a buyer whom the seller of an offer on request has not approved for a scope.

    Returns the approval, of that very model where one is given: of several, the one that lasts
    longest. None where the offer is open. In the buyer's transaction. Raises AccessNotApproved.
    """
    if offer.access != Offer.Access.ON_REQUEST:
        return None
    mine = AccessRequest.objects.visible_to(caller).filter(
        licensee=caller.organization, offer=offer
    )
    approved = list(mine.in_state(State.APPROVED).order_by("-expires_at"))
    for request in approved:
        if _covers(request, uses, territories, model):
            return request
    again = f"POST /v1/listings/{offer.pk}/access-requests"
    if approved:
        detail = _(
            "The seller approved %(approved)s. Quote within that, or ask for more: %(again)s."
        ) % {
            "approved": "; ".join(map(_in_words, approved[:_APPROVALS_SHOWN_MAX])),
            "again": again,
        }
    elif waiting := mine.in_state(State.PENDING).first():
        detail = _("Your request %(id)s awaits the seller's answer.") % {"id": waiting.pk}
    else:
        detail = _("This offer is sold on request. Ask the seller first: %(again)s.") % {
            "again": again
        }
    raise AccessNotApproved(detail, offer=str(offer.pk))


def _word(word: str, known: Sequence[str], param: str) -> str:
    if word not in known:
        raise InvalidInput(_("Use one of: %(known)s.") % {"known": ", ".join(known)}, param=param)
    return word


def _covers(
    request: AccessRequest,
    uses: Sequence[str],
    territories: Sequence[str],
    model: AskedModel | None,
) -> bool:
    approved = vocabulary.countries(request.territories)
    return (
        set(uses) <= set(request.uses)
        and vocabulary.countries(territories) <= approved
        and model in (None, asked_model(request))
    )


def _in_words(request: AccessRequest) -> str:
    return _("%(uses)s in %(places)s for %(model)s") % {
        "uses": ", ".join(request.uses),
        "places": ", ".join(request.territories),
        "model": asked_models.named(asked_model(request)),
    }


def _asked_of(caller: Caller, id: str) -> AccessRequest:
    """The request that a seller answers, locked: what decides it first stands."""
    request = AccessRequest.objects.get_visible(caller, id, lock=True)
    if request.licensor_id != caller.organization.pk:
        raise NotFound(_("Only the seller answers a request. Cancel it instead."))
    return request


def _move(request: AccessRequest, state: State) -> bool:
    """Change the state; False where it is that already. Raises AccessRequestWrongState."""
    now = request.state_now
    if now == state:
        return False
    if state not in TRANSITIONS.get(now, frozenset()):
        raise AccessRequestWrongState(
            _("The request is “%(state)s”. The buyer may make a new one.") % {"state": now},
            state=now,
        )
    request.state = state
    return True


def _refuse_second(open_request: AccessRequest | None) -> None:
    if open_request is not None:
        raise AccessAlreadyRequested(
            _("You asked already, in %(id)s. Await the answer, or cancel it and ask anew.")
            % {"id": open_request.pk},
            access_request=str(open_request.pk),
        )


def _lock(caller: Caller, offer: Offer) -> None:
    """Make one buyer's questions about one offer wait for each other.

    An advisory lock: the first time, there is no row yet to lock.
    """
    subject = f"access request {offer.pk} {caller.organization.pk} {caller.livemode}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [subject])


def _days() -> timedelta:
    return timedelta(days=settings.ACCESS_REQUEST_DAYS)


def _tell(type: str, request: AccessRequest) -> None:
    """Tell both parties of a step."""
    events.record(
        type,
        to=[request.licensor_id, request.licensee_id],
        livemode=request.livemode,
        subject=request,
        offer=str(request.offer_id),
    )
