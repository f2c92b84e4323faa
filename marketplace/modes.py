"""Test mode and live mode in the workspace: which of the two a session works in."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from marketplace import organizations
from marketplace.access import Caller

# The session's choice names the organization that it was made for: for another, it is none.
_LIVE_KEY = "studio_live_organization"


def applied(request: HttpRequest, caller: Caller) -> Caller:
    """The same caller, in the mode that its session chose for its organization.

    Test mode where nothing was chosen; also once the law's part of the identity is incomplete.
    """
    if request.session.get(_LIVE_KEY) != str(caller.organization.pk):
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
        request.session[_LIVE_KEY] = str(caller.organization.pk)
    else:
        forget(request)
    end_open_forms(request)


def forget(request: HttpRequest) -> None:
    """Go back to test mode."""
    request.session.pop(_LIVE_KEY, None)


def end_open_forms(request: HttpRequest) -> None:
    """Have forms refused that were shown before, in other windows or behind the back button.

    Each was filled in for the mode and the organization that its page named.
    """
    rotate_token(request)
