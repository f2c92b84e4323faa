"""The workspace's page of test mode and live mode: what they are, what live mode still needs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from marketplace import modes, organizations
from marketplace.access import Caller, Scope, acting
from marketplace.errors import LegalIdentityIncomplete
from marketplace.identity_pages import LABELS
from marketplace.models import Trader
from marketplace.seen_forms import UNCHANGED
from marketplace.tenant_site import studio, who_may

_CHOICES = {"test": False, "live": True}


@require_http_methods(["GET", "POST"])
def mode(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """Say what the two modes are; turn to the one that was chosen."""
    if request.method != "POST":
        return _shown(request, caller)
    if request.POST.get("mode") not in _CHOICES:
        raise Http404
    livemode = _CHOICES[request.POST["mode"]]
    if livemode == caller.livemode:
        messages.info(request, str(UNCHANGED))
        return redirect(request.path)
    try:
        modes.turn(request, caller, livemode=livemode)
    except LegalIdentityIncomplete:
        messages.error(request, _("You are still in test mode. What live mode needs stands below."))
        return redirect(request.path)
    told = _("You work in live mode now.") if livemode else _("You work in test mode now.")
    messages.success(request, told)
    return redirect(studio.page("index"))


def _shown(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    with acting(caller, writing=False):
        trader = Trader.objects.visible_to(caller).first()
    may_identify = caller.may(Scope.ORGANIZATION_WRITE)
    frame: dict[str, Any] = request.frame()  # type: ignore[attr-defined]
    context = {
        **frame,
        "title": _("Test mode and live mode"),
        "missing": [LABELS[name] for name in organizations.missing_identity(caller.organization)],
        "trader": trader,
        "is_verified": trader is not None and trader.state == Trader.State.VERIFIED,
        "takes_live_payments": settings.STRIPE_LIVEMODE,
        "identity_url": studio.page("identity:identity"),
        "trader_url": studio.page("identity:trader"),
        "who": "" if may_identify else who_may(Scope.ORGANIZATION_WRITE),
    }
    return render(request, "studio/mode_page.html", context)


studio.hang("mode", lambda bind: [path("", bind(never_cache(mode)), name="mode")])
