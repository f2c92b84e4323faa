"""Django's middleware for pages, which requests of the API that bring a key pass by.

A key is no person, and is left no messages. Sessions and forms are looked for all the same:
Django's checks of a deployment know their middleware by name.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from marketplace.authentication import speaks_by_key


class _PassedByKeys:
    """Of a middleware: it works for browsers alone."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/v1/") and speaks_by_key(request):
            return self.get_response(request)  # type: ignore[no-any-return]
        return super().__call__(request)  # type: ignore[misc, no-any-return]


class People(_PassedByKeys, AuthenticationMiddleware):
    pass


class Messages(_PassedByKeys, MessageMiddleware):
    pass
