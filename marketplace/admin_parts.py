"""What both admin sites share: views with transactions of their own."""

from __future__ import annotations

from collections.abc import Callable

from django.http.response import HttpResponseBase

View = Callable[..., HttpResponseBase]


def own_transactions(view: View) -> View:
    """Mark a view whose verbs open transactions of their own; it reads in one that it opens."""
    view.own_transactions = True  # type: ignore[attr-defined]
    return view
