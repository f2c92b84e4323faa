"""Webhooks: each event signed as Stripe signs it, and sent again until it is taken."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
from urllib.parse import urlsplit

from payments.simulator import due, thin_events
from payments.simulator.errors import ApiError
from payments.simulator.mishaps import Mishaps
from payments.simulator.state import Resource, World

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
# Stripe goes on for three days with growing pauses; here the pauses are short: 0.2 s, 0.4 s …
RETRY_SECONDS, RETRY_SECONDS_MAX = 0.2, 15.0
ATTEMPTS_MAX = 30
# How often to look for sessions whose time is up.
LOOK_SECONDS = 0.5
# Events of API version 1, with the object as it stood, and thin ones.
KINDS = ("event", thin_events.KIND)


def signature(payload: bytes, *secrets: str, at: int) -> str:
    """The Stripe-Signature header: https://docs.stripe.com/webhooks#verify-manually

    While a secret is rolled there are two, and a signature by each.
    """
    text = f"{at}.".encode() + payload
    signed = [hmac.new(secret.encode(), text, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={each}" for each in signed)])


class Postman:
    """Delivers events, one after another, in a thread of its own; expires sessions meanwhile."""

    def __init__(self, world: World) -> None:
        self.world = world
        # Set by the controls: events wait until it is taken back.
        self.is_held = False
        self.mishaps = Mishaps()
        # Held while an event is under way, so that the account cannot be emptied meanwhile.
        self.sending = threading.RLock()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_ending = True
        self.world.changed.set()
        self._thread.join(TIMEOUT_SECONDS + 1)

    def send(self, event: Resource) -> int:
        """Send one event once, now. Returns the status it was answered with, 0 for no answer."""
        sent = thin_events.delivered(event)
        payload = json.dumps(sent, indent=2, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://docs.stripe.com/webhooks; simulator)",
            "Stripe-Signature": signature(payload, *self._secrets(event), at=int(time.time())),
        }
        target = urlsplit(self.world.webhook_url)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection = http.client.HTTPConnection(
            target.hostname or "127.0.0.1", target.port, timeout=TIMEOUT_SECONDS
        )
        try:
            connection.request("POST", path, payload, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            logger.info("webhook %s was not answered: %s", event["type"], error)
            return 0
        finally:
            connection.close()
        return response.status

    def redeliver(self, wanted: str) -> tuple[Resource, int]:
        """Send an event again, by its id or the newest of a type. Raises where there is none."""
        if not self.world.webhook_url:
            raise ApiError("The simulator was started without --webhook-url.", status=409)
        with self.world.lock:
            event = self._find(wanted) or next(
                (
                    each
                    for kind in KINDS
                    for each in self.world.newest(kind)
                    if each["type"] == wanted
                ),
                None,
            )
        if event is None:
            raise ApiError(f"No such event, and none of this type: '{wanted}'", status=404)
        with self.sending:
            status = self.send(event)
            self._note(event["id"], status)
        return event, status

    def _run(self) -> None:
        while not self._is_ending:
            self.world.changed.clear()
            try:
                self._let_time_pass()
                next_at = self._deliver_due()
            except Exception:
                # The edge of a retry loop: one bad event must not end all deliveries.
                logger.exception("the webhook thread failed, and goes on")
                next_at = None
            pause = LOOK_SECONDS
            if next_at is not None:
                pause = min(pause, max(0.0, next_at - time.time()))
            self.world.changed.wait(pause)

    def _let_time_pass(self) -> None:
        if due.is_any(self.world):
            with self.world.change():
                due.run(self.world)

    def _deliver_due(self) -> float | None:
        """Deliver what is due. Returns when the next delivery is."""
        if not self._may_send():
            return None
        with self.world.lock:
            due = [
                row[0]
                for row in self.world.database.execute(
                    "SELECT event FROM delivery WHERE next_at <= ? ORDER BY next_at, rowid"
                    " LIMIT 100",
                    (time.time(),),
                )
            ]
        for id in self.mishaps.ordered(due):
            self._deliver(id)
        with self.world.lock:
            row = self.world.database.execute("SELECT min(next_at) FROM delivery").fetchone()
        next_at: float | None = row[0]
        return next_at

    def _deliver(self, id: str) -> None:
        """Try once to deliver an event."""
        if not self._may_send():
            return
        with self.sending:
            with self.world.lock:
                event = self._find(id)
                row = self.world.database.execute(
                    "SELECT attempts FROM delivery WHERE event = ?", (id,)
                ).fetchone()
            if event is None or row is None:
                return
            if row[0] == 0 and self.mishaps.is_lost(self._whole(event)):
                self._give_up(id)
            else:
                self._note(id, self.send(event))

    def _whole(self, event: Resource) -> Resource:
        """An event with its object, which a thin one only names."""
        with self.world.lock:
            return self.world.find("event", event.get("snapshot_event") or "") or event

    def _give_up(self, id: str) -> None:
        """An event that is lost on its way: Stripe still counts it as not delivered."""
        with self.world.change():
            self.world.database.execute("UPDATE delivery SET next_at = NULL WHERE event = ?", (id,))

    def _secrets(self, event: Resource) -> list[str]:
        """What signs a delivery: a destination of its own has a secret of its own."""
        with self.world.lock:
            secrets: list[str] = self.world.setting(
                "webhook_secrets", self.world.webhook_secret.split(",")
            )
            if event["object"] == thin_events.KIND:
                return list(self.world.setting("thin_secrets") or secrets)
            return secrets

    def _find(self, id: str) -> Resource | None:
        """An event of either kind."""
        return next((found for kind in KINDS if (found := self.world.find(kind, id))), None)

    def _may_send(self) -> bool:
        return bool(self.world.webhook_url) and not self.is_held and not self._is_ending

    def _note(self, id: str, status: int) -> None:
        """Keep how a delivery ended; what failed is sent again after a pause."""
        with self.world.lock:
            row = self.world.database.execute(
                "SELECT attempts, next_at FROM delivery WHERE event = ?", (id,)
            ).fetchone()
            attempts, was_due = (row[0] + 1, row[1]) if row else (1, None)
            pause = None
            if was_due is not None and 200 <= status < 300:
                pause = self.mishaps.again_after(id)
            elif was_due is not None and attempts < ATTEMPTS_MAX:
                pause = min(RETRY_SECONDS * 2 ** (attempts - 1), RETRY_SECONDS_MAX)
            next_at = None if pause is None else time.time() + pause
            with self.world.change():
                self.world.database.execute(
                    "INSERT INTO delivery (event, attempts, next_at, status) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (event) DO UPDATE SET attempts = excluded.attempts,"
                    " next_at = excluded.next_at, status = excluded.status",
                    (id, attempts, next_at, status),
                )
                event = self.world.find("event", id)
                # A thin event does not say whether it was taken.
                if event is not None and 200 <= status < 300:
                    event["pending_webhooks"] = 0
                    self.world.put(event)
