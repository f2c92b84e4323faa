"""The Content-Security-Policy of every page that no view gave one."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# What a browser opens as a document: scripts of a hostile one would run as ours.
DOCUMENTS = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
# Unfold's Alpine evaluates the expressions of its attributes: below these paths, and nowhere else.
WORKSPACE_PREFIXES = ("/studio/", "/admin/")


class PagePolicy:
    """Set what each answer lacks: the first of the middleware, so that errors have it too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        if response.headers.get("Content-Type", "").lower().startswith(DOCUMENTS):
            is_workspace = request.path_info.startswith(WORKSPACE_PREFIXES)
            response.headers.setdefault(
                "Content-Security-Policy", WORKSPACE if is_workspace else policy()
            )
        return response


def policy(*, scripts: str = "'self'", forms: str = "'self'") -> str:
    """Files of ours alone; neither script nor style in the page, and no frame around it."""
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self' data:;"
        f" font-src 'self'; connect-src 'self'; form-action {forms}; base-uri 'none';"
        " frame-ancestors 'none'"
    )


WORKSPACE = policy(scripts="'self' 'unsafe-eval'")
