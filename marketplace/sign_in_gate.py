"""The one place that decides whether a session may go on to a page or to the API."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from marketplace import page_policy, second_factors
from marketplace.authentication import speaks_by_key
from marketplace.errors import SecondFactorNeeded
from marketplace.http import problem
from marketplace.models import User
from marketplace.second_factors import Standing

# What anybody may see, signed in or not. Every other address is closed to a session that lacks its
# second factor: a new page is closed until it is named here.
OPEN_PATHS = frozenset({"/", "/listings", "/health", "/openapi.json"})
OPEN_PREFIXES = (
    "/listings/",
    "/docs/",
    "/ledger/",
    "/stripe/",
    "/static/",
    "/opt-out/",
    "/verify/",
    "/report/",
    "/moderation/",
    "/checkout/return/",
    "/payout-account/",
    "/invitations/",
    "/sign-up/",
    "/login/",
    "/logout/",
)
# Where a factor is set up: open to who has none.
SET_UP = "/account/"
# Pages about accounts: they hold what nobody else may see or frame, and no script but ours.
ACCOUNT_PREFIXES = ("/login/", SET_UP, "/invitations/", "/sign-up/")
# Often enough for an idle session to end in time, and seldom enough to write little.
_SEEN_SECONDS = 300
_SEEN = "licet_seen_at"


class SignInGate:
    """Stop sessions that lack their second factor, keep used ones alive, guard account pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._stop(request) or self.get_response(request)
        if request.path_info.startswith(ACCOUNT_PREFIXES):
            response.setdefault("Content-Security-Policy", policy())
            add_never_cache_headers(response)
        return response

    def _stop(self, request: HttpRequest) -> HttpResponse | None:
        path = request.path_info
        if is_open(path):
            return None
        is_api = path.startswith("/v1/")
        if is_api and speaks_by_key(request):
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        _note_seen(request)
        stand = second_factors.standing(request, user)
        if stand is Standing.OPEN or (stand is Standing.MISSING and path.startswith(SET_UP)):
            return None
        return _refuse(request, stand, is_api=is_api)


def is_open(path: str) -> bool:
    """Whether anybody may see what is at this address, signed in or not."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def policy() -> str:
    """The Content-Security-Policy of pages about accounts.

    A form that leads on to an identity provider is a form to that provider, to a browser.
    """
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    targets = " ".join(["'self'", *sorted({app["settings"]["origin"] for app in apps})])
    return page_policy.policy(forms=targets)


def _refuse(request: HttpRequest, stand: Standing, *, is_api: bool) -> HttpResponse:
    is_missing = stand is Standing.MISSING
    if is_api:
        what = (
            _("Set up a second factor at /account/second-factor/, or use an API key.")
            if is_missing
            else _("Sign in again, with your second factor, or use an API key.")
        )
        return problem(request, SecondFactorNeeded(what))
    if not is_missing:
        logout(request)
    where = reverse("second-factor" if is_missing else "account_login")
    again = request.get_full_path() if request.method in {"GET", "HEAD"} else "/"
    return redirect(f"{where}?{urlencode({'next': again})}")


def _note_seen(request: HttpRequest) -> None:
    now = int(time.time())
    if now - request.session.get(_SEEN, 0) >= _SEEN_SECONDS:
        request.session[_SEEN] = now
