"""Signing in by an identity provider of one's company (OpenID Connect): who is let in by whom."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import jwt
import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from allauth.socialaccount.providers.base import AuthError
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from marketplace import account_acts
from marketplace.errors import DomainError, SignInRefused
from marketplace.models import User

logger = logging.getLogger(__name__)

# Signatures that only the provider can make. An HMAC's key is ours as well, “none” is nobody's.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
# What is kept of what a provider says. Names, pictures and groups are not.
_KEPT = ("iss", "sub", "email", "email_verified")


def providers() -> list[tuple[str, str]]:
    """Id and name of each provider, for the sign-in page."""
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return [(app["provider_id"], app["name"]) for app in apps]


@never_cache
@require_POST
def start(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead on to the provider."""
    return _run(OAuth2LoginView, request, provider_id)


@never_cache
@require_GET
def come_back(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Where the provider sends a person back to, with a code that works once."""
    return _run(OAuth2CallbackView, request, provider_id)


def _run(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        answer: HttpResponse = view.adapter_view(Verifying(request, provider_id))(request)
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except OAuth2Error:
        logger.exception("The identity provider “%s” is not what was set.", provider_id)
        return _page(request, SignInRefused(_("That did not work. Ask whoever runs this market.")))
    except requests.RequestException:
        logger.exception("The identity provider “%s” does not answer.", provider_id)
        return _page(request, SignInRefused(_("The identity provider does not answer.")))
    return answer


class Verifying(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Reads what a provider says, and believes only what it signed for us.

    allauth takes an ID token unsigned where it came over TLS from the token's own address; here
    its signature, issuer and audience are checked always.
    """

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        named = self.get_provider().app.settings["server_url"].partition("/.well-known/")[0]
        # OpenID Connect Discovery 1.0, 4.3: it speaks for itself, and for nobody else.
        if str(config.get("issuer", "")).rstrip("/") != named.rstrip("/"):
            raise OAuth2Error("The issuer is not the server that was asked.")
        return config

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        # What was registered at the provider, whatever host or scheme a proxy passes on.
        path = reverse("openid_connect_callback", kwargs={"provider_id": app.provider_id})
        return f"{settings.BASE_URL}{path}"

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        claims = self._claims(app, kwargs["response"].get("id_token"))
        if "email" not in claims:
            told = self._fetch_user_info(token.token)
            # OpenID Connect Core 1.0, 5.3.2: it must be about the same person.
            if told.get("sub") != claims["sub"]:
                raise OAuth2Error("The user info is about somebody else.")
            claims |= {name: told[name] for name in ("email", "email_verified") if name in told}
        kept = {name: claims[name] for name in _KEPT if name in claims}
        return self.get_provider().sociallogin_from_response(request, {"id_token": kept})

    def _claims(self, app: Any, id_token: Any) -> dict[str, Any]:
        if not isinstance(id_token, str):
            raise OAuth2Error("There is no ID token.")
        session = DefaultSocialAccountAdapter(self.request).get_requests_session()
        with session as opened:
            answer = opened.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
        try:
            key = self._key(jwt.PyJWKSet.from_dict(answer.json()), id_token)
            return dict(
                jwt.decode(
                    id_token,
                    key,
                    algorithms=list(_ALGORITHMS),
                    issuer=self.openid_config["issuer"],
                    audience=app.client_id,
                    leeway=30,
                    options={"require": ["iss", "sub", "aud", "exp", "iat"]},
                )
            )
        except (jwt.PyJWTError, ValueError, KeyError) as error:
            raise OAuth2Error(f"The ID token is not believed: {error}") from error

    @staticmethod
    def _key(keys: Any, id_token: str) -> Any:
        named = jwt.get_unverified_header(id_token).get("kid")
        fitting = [key for key in keys.keys if named is None or key.key_id == named]
        if len(fitting) != 1:
            raise OAuth2Error("The provider has no such key.")
        return fitting[0]


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """A provider that is asked, and listened to, by `Verifying` alone."""

    oauth2_adapter_class = Verifying


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Lets in who was invited before, by an address that the provider may speak of."""

    def list_apps(self, request: Any, provider: Any = None, client_id: Any = None) -> list[Any]:
        # The settings alone: a row in the database must not make a provider.
        apps = [_app(one) for one in settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]]
        return [
            app
            for app in apps
            if provider in {None, app.provider, app.provider_id}
            and client_id in {None, app.client_id}
        ]

    def get_provider(self, request: Any, provider: Any, client_id: Any = None) -> Provider:
        return Provider(request, app=self.get_app(request, provider=provider, client_id=client_id))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find the person whose verified address this is; refuse everybody else."""
        if sociallogin.state.get("process") != "login":
            _refuse(request, _("Here an identity provider signs people in, and does nothing else."))
        claims = sociallogin.account.extra_data["id_token"]
        email = str(claims.get("email", "")).strip().lower()
        verified = claims.get("email_verified")
        # Some providers write it as text. A 1 is neither.
        if verified is not True and verified != "true":
            _refuse(request, _("The identity provider did not verify your address."))
        domains = sociallogin.provider.app.settings["domains"]
        if not _is_of(email, domains):
            _refuse(request, _("The identity provider may not speak for this address."))
        if sociallogin.is_existing:
            if not _is_of(sociallogin.user.email, domains):
                _refuse(request, _("The identity provider may not speak for this account."))
            return
        user = User.objects.filter(email=email, is_active=True).first()
        if user is None:
            _refuse(request, _("Nobody of this address was invited. Ask for an invitation."))
        provider = sociallogin.account.provider
        if SocialAccount.objects.filter(user=user, provider=provider).exists():
            # The address went to somebody else there, who is not who was invited.
            _refuse(request, _("This account is of another person there. Ask an operator."))
        # Both or neither. Its mail goes out inside: nobody waits for a row that is new.
        with transaction.atomic():
            sociallogin.connect(request, user)
            account_acts.record(user, "provider.connected", provider=provider)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Any = None,
        extra_context: Any = None,
    ) -> None:
        if error == AuthError.CANCELLED:
            _refuse(request, _("You came back without signing in. Try again."))
        logger.warning("Signing in by “%s” failed: %s", provider.sub_id, exception or error)
        _refuse(request, _("That did not work, or was used before. Begin again on this page."))


def _app(one: dict[str, Any]) -> Any:
    return SocialApp(
        provider="openid_connect",
        provider_id=one["provider_id"],
        name=one["name"],
        client_id=one["client_id"],
        secret=one["secret"],
        settings=one["settings"],
    )


def _is_of(email: str, domains: list[str]) -> bool:
    _name, at, domain = email.rpartition("@")
    return bool(at) and domain in domains


def _refuse(request: HttpRequest, why: str) -> NoReturn:
    raise ImmediateHttpResponse(_page(request, SignInRefused(why)))


def _page(request: HttpRequest, error: DomainError) -> HttpResponse:
    context = {"error": error, "is_sign_in": True}
    return render(request, "marketplace/problem.html", context, status=error.status)
