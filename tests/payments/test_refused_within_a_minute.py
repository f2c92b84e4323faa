"""A refund or a dispute: sale, delivery and online decisions refuse within a minute of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

from licensing.models import Offer
from marketplace import access
from marketplace.errors import DomainError
from marketplace.models import Organization, Representation
from payments import refunds
from payments.management.commands import worker
from payments.models import Order
from tests.database import TestDatabase
from tests.make import make_offer
from tests.payments.buying import order_for, order_now
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for

ROOT = Path(__file__).resolve().parents[2]
GOAL_SECONDS = 60
ClientFor = Callable[..., ApiClient]
QUESTION = {"use": "pretrain", "territory": "EU"}
TOLD = {"charge.dispute.created", "charge.refunded"}
CAUSES = ["disputed", "refunded at Stripe", "refunded on request"]


class License:
    """A license that was paid for, and every door that it opens."""

    def __init__(self, stripe: Stripe, client: ApiClient, lab: Organization, offer: Offer) -> None:
        self.stripe, self.client, self.lab = stripe, client, lab
        self.order = order_for(client, offer, territories=["EU"])
        stripe.pay(self.order)
        stripe.deliver()
        work()
        self.grant = order_now(client, self.order)["grant"]
        with access.system("find a work"):
            self.work = bytes(Representation.objects.first().digest).hex()  # type: ignore[union-attr]
        # A link that was given out before.
        self.manifest = client.get(f"/v1/grants/{self.grant}/manifest").json()["url"]

    def happens(self, cause: str) -> None:
        """The buyer's bank, somebody at Stripe's dashboard, or the buyer acts."""
        with access.system("find a payment"):
            row = Order.objects.get(pk=self.order["id"])
        if cause == "disputed":
            self.stripe._control(f"charges/{row.charge}/dispute", {})
        elif cause == "refunded at Stripe":
            refund: Any = {"payment_intent": row.payment_intent}
            self.stripe.post("/v1/refunds", refund)
        else:
            refunds.request(caller_for(self.lab), self.order["id"], reason="Not what it seemed.")

    def doors(self) -> dict[str, str]:
        """What each door answers: "open", or the code of its refusal."""
        [decision] = self.client.post(
            "/v1/decisions", {"question": QUESTION, "works": [self.work]}
        ).json()["data"]
        with override_settings(ROOT_URLCONF="licensing.delivery_urls"):
            path = "/" + self.manifest.split("/", 3)[3]
            delivered = Client(raise_request_exception=False).get(path)
        return {
            "new links": _code(self.client.get(f"/v1/grants/{self.grant}/manifest")),
            "delivery": _code(delivered),
            "decision": "open" if decision["decision"] == "permit" else _reason(decision),
            "sale": self._sale(),
        }

    def _sale(self) -> str:
        """Whether the sale stands: money can be asked back of one that does."""
        try:
            with access.system("look whether a sale stands"):
                refunds._requested(
                    Order.objects.get(pk=self.order["id"]),
                    1,
                    cause="buyer",
                    reason="",
                    effect="prospective",
                    actor="nobody",
                )
        except DomainError as refusal:
            return refusal.code
        return "open"


def _code(answer: Any) -> str:
    if answer.status_code == 200:
        return "open"
    return str(answer.json()["code"])


def _reason(decision: dict[str, Any]) -> str:
    return str(decision["reasons"][0]["code"])


def shut(cause: str) -> dict[str, str]:
    is_disputed = cause == "disputed"
    return {
        "new links": "grant_not_in_force",
        "delivery": "grant_not_in_force",
        "decision": "grant_suspended" if is_disputed else "grant_revoked",
        "sale": "payment_disputed" if is_disputed else "order_wrong_state",
    }


OPEN = dict.fromkeys(["new links", "delivery", "decision", "sale"], "open")


@pytest.fixture
def license(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    tmp_path: Path,
    settings: Any,
) -> License:
    settings.STORAGE_DIR = tmp_path / "store"
    return License(stripe, client_for(lab), lab, make_offer(archive, price_minor=50_000))


@pytest.mark.django_db
@pytest.mark.parametrize("cause", CAUSES)
def test_by_its_schedule_the_worker_shuts_every_door_within_a_minute(
    cause: str, license: License
) -> None:
    jobs = {job.name: job for job in worker.JOBS}
    path = ["Stripe's events"]
    if cause == "refunded on request":
        # The refund is made, and then found by looking at its order: no event is needed.
        path = ["calls to Stripe", "unsettled orders"]
    assert license.doors() == OPEN

    license.happens(cause)
    if cause != "refunded on request":
        while not any(each.type in TOLD for each in tuple(license.stripe.mailbox.deliveries)):
            time.sleep(0.01)
        license.stripe.deliver()
    for name in path:
        assert worker.run_safely(jobs[name])

    assert license.doors() == shut(cause)
    # Each job has just been done when its turn comes, and fails once before.
    periods = [jobs[name].every_seconds for name in path]
    waits = [max(float(each), worker.REST_SECONDS) for each in periods if not callable(each)]
    assert len(waits) == len(path)
    assert 2 * sum(waits) <= GOAL_SECONDS


# One in `make test`, the others in `make oracles`: each takes seconds.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "cause", [CAUSES[0], *(pytest.param(cause, marks=pytest.mark.oracle) for cause in CAUSES[1:])]
)
def test_a_running_worker_shuts_every_door_within_a_minute(
    cause: str, license: License, test_database: TestDatabase, ledger_keys: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env={
            **os.environ,
            "LICET_DEBUG": "1",
            "LICET_SIMULATOR_URL": license.stripe.url,
            "LICET_LEDGER_KEY_DIR": str(ledger_keys),
            "DATABASE_URL": test_database.url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("worker:")
        assert license.doors() == OPEN
        license.happens(cause)
        began = time.monotonic()
        while license.doors() != shut(cause):
            license.stripe.deliver()
            assert time.monotonic() - began < GOAL_SECONDS, license.doors()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _out, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()

    assert (process.returncode, errors) == (0, "")
