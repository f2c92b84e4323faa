"""Lines of the log: what they say, on whose behalf they were written, and what never stands there.

Imports no Django, since the server's own lines (granian_log.json) are written before it is set up.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

# The attribute of a record that holds further members of its line.
MEMBERS: Final = "members"


@dataclass(slots=True)
class Doing:
    """What a thread is at: a request, or a job of the worker. Every line within says so."""

    request_id: str = ""
    # Of whoever asks, once that is known.
    organization: str = ""
    job: str = ""


_doing: ContextVar[Doing | None] = ContextVar("licet_doing", default=None)


@contextmanager
def during(doing: Doing) -> Iterator[None]:
    """Have every line say what this block is at."""
    token = _doing.set(doing)
    try:
        yield
    finally:
        _doing.reset(token)


def note_organization(id: object) -> None:
    """From now on, lines of this request say on whose behalf they are."""
    doing = _doing.get()
    if doing is not None:
        doing.organization = str(id)


# --- secrets ----------------------------------------------------------------------------------

REMOVED: Final = "[removed]"
# Where one of these is not in a text, no pattern below finds anything: most lines are let go soon.
_TRACES = (
    "licet_",
    "k_live_",
    "k_test_",
    "whsec_",
    "_secret_",
    "bearer",
    "signature",
    "session",
    "csrf",
    "://",
    "invitations/",
    "opt-out/",
    "sign-up/",
    "report/",
    "moderation/",
    "return/",
    "again/",
    "password/",
)
_SECRETS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # Our keys, and Stripe's: what they are may be said, and for which mode.
        (r"\b((?:licet|[sr]k)_(?:live|test)_|whsec_)\w+", rf"\1{REMOVED}"),
        (r"(_secret_)[a-z0-9]+", rf"\1{REMOVED}"),
        (r"\b(bearer\s+)[^\s\"'\\,]+", rf"\1{REMOVED}"),
        (r"(signature(?:=|%3d))[^&\s\"'\\]+", rf"\1{REMOVED}"),
        (r"((?:sessionid|csrftoken)\s*=\s*)[^;\s\"'\\]+", rf"\1{REMOVED}"),
        # postgresql://user:password@host
        (r"(://[^/\s:@]*:)[^/\s@]+(?=@)", rf"\1{REMOVED}"),
        # Links that stand for a login.
        (
            r"(\b(?:invitations|opt-out|sign-up|report|moderation|checkout/return"
            r"|payout-account/(?:return|again)|login/password)/)[^\s/?\"'\\]{16,}",
            rf"\1{REMOVED}",
        ),
    )
)


def without_secrets(text: str) -> str:
    """The same without keys, cookies, passwords, signatures, and links that stand for a login.

    A net below the first rule, that nobody writes them: what libraries say is not in our hands.
    """
    folded = text.lower()
    if any(trace in folded for trace in _TRACES):
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


# --- formats ----------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """Each record as one line of JSON, in ASCII: whatever a client sent, it stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **_context(),
            **getattr(record, MEMBERS, {}),
        }
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = without_secrets(self.formatStack(record.stack_info))
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """For eyes: a record as text, and what it belongs to at the end of its first line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        context = " ".join(f"{name}={value}" for name, value in _context().items())
        return super().formatMessage(record) + (f" [{context}]" if context else "")

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def format_of_environment() -> str:
    """What LICET_LOG_FORMAT says: "json" or "text"; development reads text."""
    is_development = os.environ.get("LICET_DEBUG", "").strip().lower() in {"1", "true", "yes", "on"}
    return os.environ.get("LICET_LOG_FORMAT", "") or ("text" if is_development else "json")


def formatter() -> logging.Formatter:
    """The formatter that the environment asks for."""
    return JsonLines() if format_of_environment() == "json" else TextLines()


def _context() -> dict[str, str]:
    doing = _doing.get()
    if doing is None:
        return {}
    said = {
        "request_id": doing.request_id,
        "organization": doing.organization,
        "job": doing.job,
    }
    return {name: value for name, value in said.items() if value}


def _time(seconds: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    whole = int(seconds)
    shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{shown}.{int((seconds - whole) * 1000):03d}Z"
