"""What both admin sites share: the policy of their pages, and views with their own transactions."""

from __future__ import annotations

from collections.abc import Callable

from django.http.response import HttpResponseBase

# These pages fetch nothing from elsewhere, have neither script nor style in them, and stand in no
# frame. Unfold's Alpine evaluates the expressions of its attributes: it may do so here, and nowhere
# else.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

View = Callable[..., HttpResponseBase]


def own_transactions(view: View) -> View:
    """Mark a view whose verbs open transactions of their own; it reads in one that it opens."""
    view.own_transactions = True  # type: ignore[attr-defined]
    return view
