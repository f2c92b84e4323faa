"""Test mode and live mode in the workspace: which of the two a session works in."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from marketplace import organizations
from marketplace.access import Caller

# The session's choice names the organization that it was made for: for another, it is none. And it
# names the secret of the forms that were shown since: a request that began before and ended after
# may put an old session back, and no form of the other mode is to be carried out in live mode.
_LIVE_KEY = "studio_live"


def applied(request: HttpRequest, caller: Caller) -> Caller:
    """The same caller, in the mode that its session chose for its organization.

    Test mode where nothing was chosen; also once the law's part of the identity is incomplete.
    """
    if request.session.get(_LIVE_KEY) != _choice(request, caller):
        return caller
    if organizations.missing_identity(caller.organization):
        # Given up, not put off: nobody is to find themselves in live mode some day.
        forget(request)
        return caller
    return replace(caller, livemode=True)


def turn(request: HttpRequest, caller: Caller, *, livemode: bool) -> None:
    """Work in the other mode from now on; for live mode, the law must know who one is.

    Raises LegalIdentityIncomplete.
    """
    if livemode:
        organizations.check_identity(caller.organization)
    end_open_forms(request)
    if livemode:
        request.session[_LIVE_KEY] = _choice(request, caller)
    else:
        forget(request)


def forget(request: HttpRequest) -> None:
    """Go back to test mode."""
    request.session.pop(_LIVE_KEY, None)


def end_open_forms(request: HttpRequest) -> None:
    """Have forms refused that were shown before, in other windows or behind the back button.

    Each was filled in for the mode and the organization that its page named.
    """
    rotate_token(request)


def _choice(request: HttpRequest, caller: Caller) -> list[str]:
    """What stands in a session that chose live mode; a list, as it comes back from there."""
    secret = str(request.META.get("CSRF_COOKIE", ""))
    return [str(caller.organization.pk), hashlib.sha256(secret.encode()).hexdigest()]
