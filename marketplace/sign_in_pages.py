"""Pages for signing in and for one's own account: our addresses and words on allauth's views."""

from __future__ import annotations

from typing import Any

from allauth.account import views as account
from allauth.account.utils import get_next_redirect_url
from allauth.mfa.base import views as factors
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LogoutView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, re_path
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from marketplace import account_acts, second_factors, sign_in, single_sign_on
from marketplace.models import User
from marketplace.preference_pages import own_preferences

_ACTS = {
    "account.signed_in": _("Signed in"),
    "account.signed_out_everywhere": _("Signed out everywhere"),
    "factor.added": _("Second factor added"),
    "factor.removed": _("Second factor removed"),
    "factor.replaced": _("Recovery codes replaced"),
    "password.changed": _("Password changed"),
    "preferences.changed": _("Language, time zone or formats changed"),
    "provider.connected": _("First signed in by an identity provider"),
}
_KINDS = {
    "totp": _("authenticator app"),
    "webauthn": _("passkey"),
    "recovery_codes": _("recovery codes"),
}


class SignIn(account.LoginView):  # type: ignore[misc]
    """The one place where everybody signs in."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "providers": single_sign_on.providers()}


@require_GET
@login_required
def own_account(request: HttpRequest) -> HttpResponse:
    """One's address, password, factors, and what was done lately."""
    user = _user(request)
    found = list(Authenticator.objects.filter(user=user).order_by("pk"))
    single = {one.type: one for one in found}
    acts = [
        (act.at, _ACTS.get(act.action, act.action), _KINDS.get(act.data.get("kind", ""), ""))
        for act in account_acts.recent(user)
    ]
    context = {
        "passkeys": [one for one in found if one.type == Authenticator.Type.WEBAUTHN],
        "totp": single.get(Authenticator.Type.TOTP),
        "codes": single.get(Authenticator.Type.RECOVERY_CODES),
        "connections": SocialAccount.objects.filter(user=user).order_by("pk"),
        "acts": acts,
        "is_needed": second_factors.is_needed(user),
        "has_factor": second_factors.has(user),
    }
    return render(request, "marketplace/account.html", context)


@require_GET
@login_required
def second_factor(request: HttpRequest) -> HttpResponse:
    """Choose a second factor, and go on once there is one."""
    user = _user(request)
    onward = get_next_redirect_url(request) or "/"
    context = {
        "onward": onward,
        "is_needed": second_factors.is_needed(user),
        "has_factor": second_factors.has(user),
    }
    return render(request, "marketplace/second_factor.html", context)


@require_POST
@login_required
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End every session of the person, on this and on all other devices."""
    sign_in.sign_out_everywhere(_user(request))
    logout(request)
    return redirect("account_login")


def operators_only(request: HttpRequest) -> HttpResponse:
    """Where the admin sends who may not enter: to the one place where everybody signs in.

    Django's own form there would take a password alone.
    """
    onward = get_next_redirect_url(request) or "/admin/"
    user = request.user
    if not isinstance(user, User):
        return redirect(f"{settings.LOGIN_URL}?{urlencode({'next': onward})}")
    if not user.is_operator:
        raise PermissionDenied
    return redirect(onward)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


urlpatterns = [
    path("login/", SignIn.as_view(), name="account_login"),
    path("login/second-factor/", factors.authenticate, name="mfa_authenticate"),
    path("login/passkey/", passkeys.login_webauthn, name="mfa_login_webauthn"),
    path("login/inactive/", account.account_inactive, name="account_inactive"),
    path("login/oidc/<slug:provider_id>/", single_sign_on.start, name="openid_connect_login"),
    path(
        "login/oidc/<slug:provider_id>/callback/",
        single_sign_on.come_back,
        name="openid_connect_callback",
    ),
    path("login/password/", account.password_reset, name="account_reset_password"),
    path("login/password/mailed/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "login/password/chosen/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^login/password/(?P<uidb36>[0-9a-f]{32})-(?P<key>[0-9A-Za-z_-]+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    # allauth goes back to either name; both are this page.
    path("account/", own_account, name="mfa_index"),
    path("account/", own_account, name="mfa_list_webauthn"),
    path("account/preferences/", own_preferences, name="preferences"),
    path("account/second-factor/", second_factor, name="second-factor"),
    path("account/app/", totp.activate_totp, name="mfa_activate_totp"),
    path("account/app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("account/passkeys/add/", passkeys.add_webauthn, name="mfa_add_webauthn"),
    path("account/passkeys/<int:pk>/rename/", passkeys.edit_webauthn, name="mfa_edit_webauthn"),
    path("account/passkeys/<int:pk>/remove/", passkeys.remove_webauthn, name="mfa_remove_webauthn"),
    path("account/codes/", recovery.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "account/codes/new/", recovery.generate_recovery_codes, name="mfa_generate_recovery_codes"
    ),
    path(
        "account/codes/file/", recovery.download_recovery_codes, name="mfa_download_recovery_codes"
    ),
    path("account/again/", account.reauthenticate, name="account_reauthenticate"),
    path("account/again/code/", factors.reauthenticate, name="mfa_reauthenticate"),
    path(
        "account/again/passkey/",
        passkeys.reauthenticate_webauthn,
        name="mfa_reauthenticate_webauthn",
    ),
    path("account/password/", account.password_change, name="account_change_password"),
    path("account/password/set/", account.password_set, name="account_set_password"),
    path("account/sign-out-everywhere/", sign_out_everywhere, name="sign-out-everywhere"),
]
