"""The OpenAPI document, and pages that read it out."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from api_docs.refusals import all_kinds


class OpenApi(SpectacularJSONAPIView):
    """The OpenAPI 3.1 document of this server."""

    authentication_classes = ()
    permission_classes = ()


class Reference(SpectacularSwaggerView):
    """The interactive reference."""

    authentication_classes = ()
    permission_classes = ()
    template_name = "api_docs/reference.html"


def errors(request: HttpRequest) -> HttpResponse:
    """Every error code, what it means, and whether trying again may help."""
    # Not the classes: a template would call them, and reads nothing that begins with "_".
    rows = [
        {
            "code": kind.code,
            "status": kind.status,
            "title": kind.title,
            "meaning": kind.__doc__,
            "retryable": kind.retryable,
        }
        for kind in all_kinds()
    ]
    return render(request, "api_docs/errors.html", {"rows": rows})
