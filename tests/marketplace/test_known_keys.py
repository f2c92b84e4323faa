"""Keys that a process remembers: for a second, and never past what ended them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace import api_keys, known_keys
from marketplace.access import Scope, acting, system
from marketplace.errors import Unauthenticated
from marketplace.models import ApiKey, Organization
from tests.database import TestDatabase
from tests.people import caller_for

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2]
Queries = Callable[..., Any]
# A worker of the API, as far as keys go: uses one as fast as it can, and says when it was refused.
USES = """
import sys, time, django
django.setup()
from marketplace import api_keys
from marketplace.errors import Unauthenticated
secret, uses, last = sys.argv[1], 0, 0.0
print("ready", flush=True)
while True:
    begun = time.monotonic()
    try:
        api_keys.authenticate(secret)
    except Unauthenticated:
        print(uses, last, flush=True)
        break
    uses, last = uses + 1, begun
    time.sleep(0.002)
"""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which keys are remembered. It stands still until a test moves it."""
    clock = [1000.0]
    monkeypatch.setattr(known_keys.time, "monotonic", lambda: clock[0])
    return clock


def make(organization: Organization, **fields: Any) -> tuple[ApiKey, str]:
    return api_keys.create(
        caller_for(organization), name="k", scopes=[Scope.WORKS_READ.value], **fields
    )


def row(organization: Organization, secret: str, *, livemode: bool) -> ApiKey:
    return ApiKey(
        organization=organization, livemode=livemode, name="k", digest=api_keys._digest(secret),
        last_four=secret[-4:], scopes=["works:read"], created_by="t",
    )  # fmt: skip


def last_used(key: ApiKey) -> Any:
    with system("look at a key in a test"):
        return ApiKey.objects.get(pk=key.pk).last_used_at


def test_a_key_is_looked_up_once_a_second(
    lab: Organization, now: list[float], django_assert_num_queries: Queries
) -> None:
    _key, secret = make(lab)
    first = api_keys.authenticate(secret)
    now[0] += 0.999
    with django_assert_num_queries(0):
        again = api_keys.authenticate(secret)
    assert again == first
    assert again.organization.name == "Lab"
    now[0] += 0.001
    with CaptureQueriesContext(connection) as asked:
        assert api_keys.authenticate(secret) == first
    assert sum("marketplace_apikey" in each["sql"] for each in asked) == 1


def test_what_one_request_loads_beside_its_rows_no_other_sees(lab: Organization) -> None:
    _key, secret = make(lab)
    first, second = api_keys.authenticate(secret), api_keys.authenticate(secret)
    first.organization.name = "Changed"
    assert second.organization.name == "Lab"
    assert api_keys.authenticate(secret).organization.name == "Lab"
    assert first.api_key is not second.api_key


def test_an_unknown_key_is_asked_for_each_time(
    lab: Organization, now: list[float], django_assert_num_queries: Queries
) -> None:
    secret = api_keys._new_secret(livemode=False)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(secret)
    # It works as soon as it is there.
    with acting(caller_for(lab)):
        row(lab, secret, livemode=False).save(force_insert=True)
    assert api_keys.authenticate(secret).organization == lab


def test_a_key_expires_at_its_time_whatever_is_remembered(
    lab: Organization, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    _key, secret = make(lab, expires_at=timezone.now() + timedelta(hours=1))
    assert api_keys.authenticate(secret).organization == lab
    later = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(known_keys.timezone, "now", lambda: later)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(secret)


def test_a_change_elsewhere_is_seen_after_a_second(lab: Organization, now: list[float]) -> None:
    key, secret = make(lab)
    assert api_keys.authenticate(secret).organization.name == "Lab"
    with acting(caller_for(lab)):
        Organization.objects.filter(pk=lab.pk).update(name="Laboratory")
    now[0] += 0.5
    assert api_keys.authenticate(secret).organization.name == "Lab"
    now[0] += 0.5
    assert api_keys.authenticate(secret).organization.name == "Laboratory"
    with acting(caller_for(lab)):
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
    now[0] += 1
    for _time in range(2):
        with pytest.raises(Unauthenticated):
            api_keys.authenticate(secret)


def test_use_is_noted_once_a_minute(
    lab: Organization, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = make(lab)
    begun = timezone.now()
    noted = []
    for seconds in (0, 30, 59, 61, 62):
        monkeypatch.setattr(
            known_keys.timezone, "now", lambda at=begun + timedelta(seconds=seconds): at
        )
        now[0] += 1
        api_keys.authenticate(secret)
        noted.append((last_used(key) - begun).total_seconds())
    assert noted == [0, 0, 0, 61, 61]


def test_a_process_remembers_so_many_and_no_more(
    lab: Organization, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "KEPT_MAX", 2)
    kept = known_keys.KnownKeys()
    secrets = [make(lab)[1] for _number in range(5)]
    for secret in secrets:
        found = kept.find(api_keys._digest(secret))
        assert found is not None
        assert found[1] == lab
        assert len(kept._known) <= 2


def test_a_live_key_is_none_of_test_mode(lab: Organization) -> None:
    secret = api_keys._new_secret(livemode=False)
    with acting(caller_for(lab, livemode=True)):
        row(lab, secret, livemode=True).save(force_insert=True)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(secret)


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_a_revocation_reaches_two_other_processes_within_a_second(
    lab: Organization, test_database: TestDatabase
) -> None:
    key, secret = make(lab)
    environ = {**test_database.environ, "DJANGO_SETTINGS_MODULE": "marketplace.settings"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", USES, secret],
            cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True,
        )
        for _number in range(2)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        time.sleep(1.5)
        api_keys.revoke(caller_for(lab), str(key.pk))
        revoked = time.monotonic()
        with pytest.raises(Unauthenticated):
            api_keys.authenticate(secret)
        for worker in workers:
            uses, last = worker.communicate(timeout=20)[0].split()
            # More often than it asked the database, and not once a second after the end.
            assert int(uses) > 20
            assert float(last) <= revoked + known_keys.KEPT_SECONDS
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
