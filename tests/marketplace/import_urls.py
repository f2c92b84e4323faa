"""The pages of imports as some site would hook them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import include, path

from marketplace import authentication, import_pages
from marketplace import urls as site
from marketplace.models import User

handler400, handler403 = site.handler400, site.handler403
handler404, handler500 = site.handler404, site.handler500


def bind(view: Callable[..., HttpResponseBase]) -> Any:
    @login_required
    def bound(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        assert isinstance(request.user, User)
        caller = authentication.signed_in(request.user).caller()
        if caller is None:
            raise PermissionDenied
        return view(request, caller, **arguments)

    return bound


urlpatterns = [
    path("files/", include((import_pages.patterns(bind), "files"))),
    *site.urlpatterns,
]
