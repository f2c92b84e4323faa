"""Idempotency keys: a repeated request gets the first one's answer and does nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from payments.simulator.errors import ApiError
from payments.simulator.state import World

# https://docs.stripe.com/api/idempotent_requests
KEY_LENGTH_MAX = 255
KEPT_SECONDS = 24 * 3600
# https://docs.stripe.com/api-v2-overview#idempotency: for longer, and successes only. What failed
# is tried again under the same key.
KEPT_SECONDS_V2 = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with, and which request that was."""

    status: int
    body: bytes
    request: str


class KeysInUse:
    """The keys of requests that a fault makes slow: another one with the same key is refused.

    Without such a fault requests wait for each other, and the second one gets the first's answer.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def using(self, key: str, slow_ms: int) -> Iterator[None]:
        with self._lock:
            if key and key in self._keys:
                raise ApiError(
                    "There is currently another in-progress request using this Idempotent Key"
                    " (that probably means you submitted twice, and the other request is still"
                    f" going through): {key}. Please try again later.",
                    status=409,
                    code="idempotency_key_in_use",
                )
            if slow_ms:
                self._keys.add(key)
        try:
            time.sleep(slow_ms / 1000)
            yield
        finally:
            if slow_ms:
                with self._lock:
                    self._keys.discard(key)


def fingerprint(method: str, path: str, params: dict[str, Any]) -> str:
    """The same for the same request, in whatever order its parameters came."""
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def replay(
    world: World, key: str, print: str, *, kept_seconds: int = KEPT_SECONDS
) -> Answer | None:
    """The first answer under this key; None where there was none. Raises for another request."""
    if not key or len(key) > KEY_LENGTH_MAX:
        raise ApiError(
            f"Idempotency keys must have between 1 and {KEY_LENGTH_MAX} characters.",
            type="idempotency_error",
        )
    row = world.database.execute(
        "SELECT fingerprint, status, body, request FROM answer WHERE key = ? AND at > ?",
        (key, world.now() - kept_seconds),
    ).fetchone()
    if row is None:
        return None
    if row[0] != print:
        raise ApiError(
            "Keys for idempotent requests can only be used with the same parameters they were first"
            f" used with. Try using a key other than '{key}' if you meant to execute a different"
            " request.",
            type="idempotency_error",
        )
    return Answer(row[1], row[2], row[3])


def keep(world: World, key: str, print: str, answer: Answer) -> None:
    """Remember an answer, in the change that it reports."""
    world.database.execute(
        "INSERT OR REPLACE INTO answer (key, fingerprint, status, body, request, at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (key, print, answer.status, answer.body, answer.request, world.now()),
    )
