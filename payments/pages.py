"""Where Checkout sends the buyer back to: a page that says what happened."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from marketplace import preferences
from marketplace.errors import (
    ContributorErased,
    NotFound,
    PaymentProviderRefused,
    PaymentProviderUnavailable,
)
from payments import connect, sync
from payments.models import Order

# While something is still to come, the page looks again by itself: often enough for a payment
# that is under way, and not for ever.
LOOK_AGAIN_SECONDS = 3
LOOKS_MAX = 40
UNSETTLED = {
    Order.Status.AWAITING_PAYMENT,
    Order.Status.PAID,
    Order.Status.PAID_LATE,
    Order.Status.PAID_UNGRANTABLE,
}


@never_cache
@require_safe
def returned(request: HttpRequest, token: str) -> HttpResponse:
    """Settle the order that the signed address names, and say how it stands."""
    try:
        outcome = sync.returned(token)
    except NotFound:
        raise Http404 from None
    order = outcome.order
    looks = request.GET.get("looks", "")
    looks_so_far = int(looks) if looks.isascii() and looks.isdigit() and len(looks) < 4 else 0
    looks_again = order.status in UNSETTLED and looks_so_far < LOOKS_MAX
    response = render(
        request,
        "payments/return.html",
        {
            "order": order,
            "outcome": outcome,
            "total": preferences.amount(order.total_minor, order.currency),
            "refresh_seconds": LOOK_AGAIN_SECONDS if looks_again else None,
            "looks": looks_so_far + 1,
        },
    )
    # The address stands for a login: it must not travel on in a Referer header.
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@require_safe
def onboarded(request: HttpRequest, token: str) -> HttpResponse:
    """Whoever comes back from Stripe's pages about an account: what is still missing there."""
    try:
        account = connect.returned(token)
    except NotFound:
        raise Http404 from None
    except (PaymentProviderUnavailable, PaymentProviderRefused):
        account = None
    missing = [] if account is None else connect.missing(account)
    response = render(
        request,
        "payments/onboarded.html",
        {
            "account": account,
            "missing": missing,
            "token": token,
            "is_rejected": account is not None and connect.is_rejected(account),
            # A contributor has no login here: nothing of the workspace is theirs.
            "workspace": "/studio/payout-account/"
            if account is not None and account.contributor_id is None
            else "",
        },
    )
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@require_safe
def onboard_again(request: HttpRequest, token: str) -> HttpResponse:
    """A link to Stripe's pages was used or is too old: lead on to a new one."""
    try:
        account = connect.returned(token)
        if account.state == account.State.ACTIVE and not connect.missing(account):
            # An old address must not lead anybody to where a bank account can be changed.
            return redirect("payout-account-return", token)
        return redirect(connect.onboarding_url(account))
    except (NotFound, ContributorErased):
        raise Http404 from None
    except (PaymentProviderUnavailable, PaymentProviderRefused):
        return render(
            request,
            "payments/onboarded.html",
            {"account": None, "missing": [], "token": token},
            status=503,
        )


urlpatterns = [
    path("checkout/return/<str:token>", returned, name="checkout-return"),
    path("payout-account/return/<str:token>", onboarded, name="payout-account-return"),
    path("payout-account/again/<str:token>", onboard_again, name="payout-account-again"),
]
