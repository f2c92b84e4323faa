"""A secret that the next page shows, once: neither the database nor the browser alone has it."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

# How long the way from one page to the next may take.
SECONDS = 300
_COOKIE = "licet_shown_once"
_KEYS = "shown_once"


def hand_over(request: HttpRequest, answer: HttpResponseBase, secret: str, *, path: str) -> None:
    """Have the page at `path` show a secret, where `answer` leads.

    Encrypted, it waits in a cookie that goes to that page alone; what opens it, in the session.
    """
    key = Fernet.generate_key()
    # Only the newest: who makes another in a second window reads that one.
    request.session[_KEYS] = {path: key.decode()}
    answer.set_cookie(
        _COOKIE,
        Fernet(key).encrypt(secret.encode()).decode(),
        max_age=SECONDS,
        path=path,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )


def take(request: HttpRequest) -> str | None:
    """The secret that was handed over to this page; None where it was shown before, or is late."""
    keys = request.session.get(_KEYS, {})
    if request.method != "GET" or request.path not in keys:
        return None
    # Before anything else: whatever comes of it, there is no second time.
    del request.session[_KEYS]
    try:
        sealed = request.COOKIES.get(_COOKIE, "").encode()
        return Fernet(keys[request.path]).decrypt(sealed, ttl=SECONDS).decode()
    except InvalidToken:
        return None


def clear(answer: HttpResponseBase, *, path: str) -> None:
    """Take the cookie from the browser."""
    answer.delete_cookie(_COOKIE, path=path, samesite="Strict")
