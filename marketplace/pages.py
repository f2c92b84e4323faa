"""Pages for who is not in yet: an invitation's link, and the sign-up of an organization.

The links come from mails; a mail scanner's GET changes nothing. The token stays in this address:
the referrer policy is same-origin, and the pages link nowhere else.
"""

from __future__ import annotations

from typing import Any

from allauth.core.internal import ratelimit
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from marketplace import invitations, sign_in, sign_ups
from marketplace.errors import DomainError, InvalidInput
from marketplace.models import User

# Django fills the password's hash in; a value that a form shows again is never one.
_SECRET = "password"
_STUDIO = "/studio/"
# How often somebody may have us mail: other people's mailboxes are not theirs to fill.
_RATES = {"sign_up": "20/h/ip,5/h/key"}


@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show who invites to what; a POST accepts. A known person signs in first."""
    user = request.user if isinstance(request.user, User) else None
    try:
        found = invitations.find(token)
        context = {"invitation": found, "is_known": invitations.is_known(found), "user": user}
        if request.method == "POST":
            values = _values(request, "name", _SECRET)
            try:
                accepted, person = invitations.accept(token, user=user, **values)
            except InvalidInput as error:
                return _form(request, "marketplace/invitation.html", context, values, error)
            onward = _STUDIO if accepted.role else "/"
            if user is None:
                sign_in.enter(request, person)
                return _to_second_factor(onward)
            return redirect(onward)
    except DomainError as error:
        return _refused(request, error)
    return _form(request, "marketplace/invitation.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Ask for a mailed link. The answer is the same whether the address is known or not."""
    context: dict[str, Any] = {"is_sent": False}
    try:
        sign_ups.check_is_open()
        if request.method == "POST":
            values = _values(request, "email")
            address = values["email"].strip().lower()
            if not ratelimit.consume(
                request, app="licet", action="sign_up", config=_RATES, key=address
            ):
                return _too_often(request)
            try:
                sign_ups.begin(values["email"])
            except InvalidInput as error:
                return _form(request, "marketplace/sign_up.html", context, values, error)
            context = {"is_sent": True}
    except DomainError as error:
        return _refused(request, error)
    return _form(request, "marketplace/sign_up.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def found(request: HttpRequest, token: str) -> HttpResponse:
    """Found the organization: the link proves the address."""
    try:
        context = {"email": sign_ups.email(token), "kinds": sign_ups.KINDS}
        if request.method == "POST":
            values = _values(
                request, "kind", "organization", "legal_name", "jurisdiction", "name", _SECRET
            )
            try:
                _organization, person = sign_ups.found(token, **values)
            except InvalidInput as error:
                return _form(request, "marketplace/found.html", context, values, error)
            sign_in.enter(request, person)
            return _to_second_factor(_STUDIO)
    except DomainError as error:
        return _refused(request, error)
    return _form(request, "marketplace/found.html", context)


def _to_second_factor(onward: str) -> HttpResponse:
    return redirect(f"{reverse('second-factor')}?{urlencode({'next': onward})}")


def _values(request: HttpRequest, *names: str) -> dict[str, str]:
    return {name: request.POST.get(name, "") for name in names}


def _form(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    values: dict[str, str] | None = None,
    error: InvalidInput | None = None,
) -> HttpResponse:
    shown = {name: value for name, value in (values or {}).items() if name != _SECRET}
    return render(
        request,
        template,
        {**context, "values": shown, "error": error, "param": error and error.data.get("param")},
        status=422 if error else 200,
    )


def _too_often(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = ratelimit.respond_429(request)
    return response


def _refused(request: HttpRequest, error: DomainError) -> HttpResponse:
    return render(request, "marketplace/problem.html", {"error": error}, status=error.status)


urlpatterns = [
    path("invitations/<str:token>", invitation, name="accept-invitation"),
    path("sign-up/", sign_up, name="sign-up"),
    # allauth names it, in a mail to who has no account.
    path("sign-up/", sign_up, name="account_signup"),
    path("sign-up/<str:token>", found, name="found-organization"),
]
