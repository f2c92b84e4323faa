"""API keys and sessions become Callers; HasScope asks what they may do.

REST framework's settings name these classes, so this module must not import its views: doing so
ends start-up with a misleading ImportError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Exists
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from marketplace import api_keys, log_lines
from marketplace.access import Caller, Scope, system
from marketplace.errors import CsrfTokenInvalid, MissingScope, NotFound, Unauthenticated
from marketplace.models import CollectionShare, Membership, User
from marketplace.organizations import ROLE_SCOPES

if TYPE_CHECKING:
    from rest_framework.views import APIView

CHALLENGE = 'Bearer realm="Licet", error="invalid_token"'
# A signed-in member of several organizations chooses with this header.
ORGANIZATION_HEADER = "Licet-Organization"


def speaks_by_key(request: Request | HttpRequest) -> bool:
    """Whether a request is answered to its key alone, and never to a session beside it.

    An empty header names no key: such a request is its session's.
    """
    return bool(request.META.get("HTTP_AUTHORIZATION", "").partition(" ")[0])


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer licet_test_…` (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[User | None, Caller] | None:
        if not speaks_by_key(request):
            return None
        scheme, _space, secret = request.headers["Authorization"].partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated(_("Send the API key as “Authorization: Bearer licet_…”."))
        caller = api_keys.authenticate(secret.strip())
        log_lines.note_organization(caller.organization.pk)
        return None, caller

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class MemberSessionAuthentication(SessionAuthentication):
    """A member signed in on this site. Works in test mode only; live mode takes a key."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user = found[0]
        assert isinstance(user, User)
        caller = signed_in(user).caller(request.headers.get(ORGANIZATION_HEADER, ""))
        return None if caller is None else (user, caller)

    def enforce_csrf(self, request: Any) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied:
            raise CsrfTokenInvalid(
                _("Send the value of the cookie “csrftoken” as “X-CSRFToken”, or use an API key.")
            ) from None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A signed-in user and what they belong to, read once."""

    user: User
    # With their organizations, the oldest first.
    memberships: list[Membership]
    has_shares: bool

    def caller(self, organization: str = "") -> Caller | None:
        """The caller that they are: for the organization asked for, else for their first.

        None for a member of nobody. Raises NotFound for an organization that is not theirs.
        """
        for membership in self.memberships:
            if not organization or str(membership.organization_id) == organization:
                log_lines.note_organization(membership.organization_id)
                return Caller(
                    organization=membership.organization,
                    livemode=False,
                    scopes=ROLE_SCOPES[membership.role],
                    user=self.user,
                    has_shares=self.has_shares,
                )
        if organization:
            raise NotFound(
                _("You are no member of “%(id)s”.") % {"id": organization},
                param=ORGANIZATION_HEADER,
            )
        return None


def signed_in(user: User) -> SignedIn:
    """Look up what a user belongs to."""
    with system("find what a signed-in user belongs to"):
        # Shares with the rest: who is a member of nobody calls for nobody, whatever they share.
        shares = Exists(CollectionShare.objects.filter(user=user))
        rows = Membership.objects.filter(user=user).annotate(has_shares=shares)
        found = list(rows.select_related("organization").order_by("id"))
        return SignedIn(user, found, any(vars(row)["has_shares"] for row in found))


class HasScope(BasePermission):
    """May this caller do this kind of thing? The view's `scopes` names what each action needs."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        scopes: dict[str, Scope | None] = getattr(view, "scopes", {})
        action = getattr(view, "action", None) or request.method.lower()  # type: ignore[union-attr]
        if action in {"metadata", "options"} or getattr(view, "action", "") is None:
            return True  # the handler answers: 405
        if action not in scopes:
            raise AssertionError(f"{type(view).__name__} names no scope for “{action}”.")
        needed = scopes[action]
        if needed is None:
            return True
        caller: Any = request.auth
        if not isinstance(caller, Caller):
            raise Unauthenticated(_("Send an API key as “Authorization: Bearer licet_…”."))
        # What an editor of a share may do too, the verb decides: it knows the collection.
        if caller.has_shares and action in getattr(view, "shared", frozenset()):
            return True
        if not caller.may(needed):
            raise MissingScope(
                _("This needs the scope “%(scope)s”. Create a key that holds it.")
                % {"scope": needed.value},
                scope=needed.value,
            )
        return True
