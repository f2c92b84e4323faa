"""Quotas: each caller's own, shared by all processes, told on each answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.utils import timezone

from marketplace import api_keys, organizations, rate_limits
from marketplace import settings as configured
from marketplace.access import acting
from marketplace.models import Collection, Organization
from marketplace.rate_limits import Bucket, Buckets, Policy
from tests.database import TestDatabase
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
COLLECTIONS = "/v1/collections"
# So slow that nothing comes back while a test runs.
SLOW = 0.001


@pytest.fixture(autouse=True)
def limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Limits that a test may reach, and a process that knows nobody yet."""
    settings.RATE_KEY, settings.RATE_ADDRESS = (SLOW, 10), (SLOW, 10)
    settings.RATE_WRITE_COST, settings.RATE_PLANS = 5, {}
    monkeypatch.setattr(rate_limits, "here", Buckets())
    monkeypatch.setattr(rate_limits, "_failed", float("-inf"))
    return settings


def standing(answer: Any) -> tuple[str, str]:
    return answer["RateLimit-Policy"], answer["RateLimit"].rpartition(";t=")[0]


def statuses(client: ApiClient, times: int, url: str = COLLECTIONS) -> list[int]:
    return [client.get(url).status_code for _time in range(times)]


def test_each_answer_says_the_quota_and_what_is_left_of_it(
    client_for: ClientFor, lab: Organization
) -> None:
    client = client_for(lab)
    policy = '"key";q=10;w=10000'
    for left, url, status in [
        (9, COLLECTIONS, 200),
        (8, f"{COLLECTIONS}/col_x", 404),
        (7, f"{COLLECTIONS}?zzz=1", 400),
        (6, "/v1/no-such", 404),
    ]:
        answer = client.get(url)
        assert answer.status_code == status
        if url == "/v1/no-such":  # nobody's view
            assert "RateLimit" not in answer
            continue
        assert standing(answer) == (policy, f'"key";r={left}')
    assert client.get(COLLECTIONS)["RateLimit"] == '"key";r=6;t=4000'


def test_a_spent_quota_is_a_problem_that_says_when_to_go_on(
    client_for: ClientFor, lab: Organization, limits: Any
) -> None:
    limits.RATE_KEY = (2.0, 4)
    client = client_for(lab)
    assert statuses(client, 4) == [200] * 4
    answer = client.get(COLLECTIONS)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (429, "too_many_requests")
    assert (answer["Retry-After"], body["retry_after"], body["retryable"]) == ("1", 1, True)
    assert standing(answer) == ('"key";q=4;w=2', '"key";r=0')
    assert answer["RateLimit"].endswith(";t=1")
    time.sleep(1)
    assert statuses(client, 1) == [200]


def test_a_write_costs_more_and_one_that_only_asks_does_not(
    client_for: ClientFor, lab: Organization
) -> None:
    client = client_for(lab)
    assert standing(client.post(COLLECTIONS, {"name": "a"}))[1] == '"key";r=5'
    assert standing(client.post("/v1/decisions", {}))[1] == '"key";r=4'
    refused = client.post(COLLECTIONS, {"name": "b"}, Idempotency_Key="k1")
    assert refused.status_code == 429
    # It cost nothing: what is left is left for what costs less.
    assert standing(refused)[1] == '"key";r=4'
    assert statuses(client, 5) == [200] * 4 + [429]
    with acting(caller_for(lab), writing=False):
        assert [row.name for row in Collection.objects.filter(organization=lab)] == ["a"]


def test_a_refusal_is_not_the_answer_of_its_idempotency_key(
    client_for: ClientFor, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_for(lab)
    statuses(client, 10)
    assert client.post(COLLECTIONS, {"name": "a"}, Idempotency_Key="k1").status_code == 429
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM marketplace_ratetally")
    monkeypatch.setattr(rate_limits, "here", Buckets())
    assert client.post(COLLECTIONS, {"name": "a"}, Idempotency_Key="k1").status_code == 201


def test_keys_have_quotas_of_their_own(
    client_for: ClientFor, lab: Organization, archive: Organization
) -> None:
    first = client_for(lab)
    assert statuses(first, 11)[-1] == 429
    for other in (client_for(lab), client_for(archive)):
        assert statuses(other, 1) == [200]


def test_an_organization_may_have_several_times_as_much(
    client_for: ClientFor, lab: Organization, archive: Organization, limits: Any
) -> None:
    limits.RATE_PLANS = {str(lab.pk): 2.5}
    assert standing(client_for(lab).get(COLLECTIONS)) == ('"key";q=25;w=10000', '"key";r=24')
    assert standing(client_for(archive).get(COLLECTIONS)) == ('"key";q=10;w=10000', '"key";r=9')


def test_a_signed_in_member_has_a_quota_like_a_key(lab: Organization) -> None:
    user = organizations.admit(
        lab, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    client = Client()
    client.force_login(user)
    answer = client.get(COLLECTIONS)
    assert (answer.status_code, standing(answer)[1]) == (200, '"member";r=9')


def test_whoever_has_no_key_is_counted_by_address(client_for: ClientFor, limits: Any) -> None:
    limits.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    client = client_for(None)

    def ask(address: str) -> Any:
        return client.get("/v1/listings", X_Forwarded_For=f"6.6.6.6, {address}")

    assert standing(ask("192.0.2.1")) == ('"address";q=10;w=10000', '"address";r=9')
    assert standing(ask("::ffff:192.0.2.1"))[1] == '"address";r=8'
    assert standing(ask("192.0.2.2"))[1] == '"address";r=9'
    # A subscriber of IPv6 has 64 bits to choose from.
    assert standing(ask("2001:db8:0:1::1"))[1] == '"address";r=9'
    assert standing(ask("2001:db8:0:1:ffff::2"))[1] == '"address";r=8'
    assert standing(ask("2001:db8:0:2::1"))[1] == '"address";r=9'
    assert standing(ask("no address"))[1] == '"address";r=9'
    # The table tells nobody who asked.
    with connection.cursor() as cursor:
        cursor.execute("SELECT bucket FROM marketplace_ratetally")
        assert all(b"192.0.2" not in bytes(row[0]) for row in cursor.fetchall())


def test_whoever_tries_keys_is_counted_by_address(client_for: ClientFor, lab: Organization) -> None:
    good = client_for(lab)
    answers = [
        ApiClient(api_keys._new_secret(livemode=False)).get(COLLECTIONS).status_code
        for _time in range(10)
    ]
    assert answers == [401] * 10
    refused = ApiClient("licet_test_nonsense").get(COLLECTIONS)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert standing(refused)[1] == '"address";r=0'
    # Whoever has a good one at the same address is another.
    assert statuses(good, 1) == [200]


def test_without_limits_nothing_is_counted_or_told(
    client_for: ClientFor, lab: Organization, limits: Any
) -> None:
    limits.RATE_KEY = limits.RATE_ADDRESS = None
    for client in (client_for(lab), client_for(None)):
        answers = [client.get("/v1/listings") for _time in range(12)]
        assert {answer.status_code for answer in answers} == {200}
        assert not any("RateLimit" in answer or "RateLimit-Policy" in answer for answer in answers)


# --- several processes ------------------------------------------------------------------------


def test_two_processes_share_a_quota_but_for_an_eighth_each(
    client_for: ClientFor, lab: Organization, limits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.RATE_KEY = (SLOW, 16)
    client = client_for(lab)
    processes = [Buckets(), Buckets()]
    passed = 0
    for turn in range(60):
        monkeypatch.setattr(rate_limits, "here", processes[turn % 2])
        passed += client.get(COLLECTIONS).status_code == 200
    assert 16 <= passed <= 16 + 2 * 16 // 8


def test_a_process_hears_of_the_others_at_first_sight(
    client_for: ClientFor, lab: Organization, limits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.RATE_KEY = (SLOW, 16)
    client = client_for(lab)
    assert statuses(client, 17)[-1] == 429
    monkeypatch.setattr(rate_limits, "here", Buckets())
    assert 429 in statuses(client, 3)


def test_what_was_spent_is_told_once_a_second(lab: Organization) -> None:
    policy = Policy("key", 1.0, 1_000)
    first, second = Bucket(b"k1", policy), Bucket(b"k1", policy)
    assert second.spend(1).left == 999
    for _time in range(20):
        first.spend(1)
    assert second.spend(1).left == 998
    first._synced -= 1
    second._synced -= 1
    # Each tells what it spent; who tells later hears both.
    first.spend(1)
    assert 975 <= second.spend(1).left <= 979


def test_a_quota_comes_back_at_its_rate_whoever_counts(lab: Organization) -> None:
    """A tally that is told late counts no request twice, and none as if it had just come."""
    policy = Policy("key", 20.0, 20)
    processes = [Bucket(b"k2", policy), Bucket(b"k2", policy)]
    begun, passed = time.monotonic(), 0
    while time.monotonic() - begun < 2.5:
        for each in processes:
            passed += each.spend(1).wait == 0
        time.sleep(0.01)
    took = time.monotonic() - begun
    assert 20 + 20 * took * 0.8 <= passed <= 20 + 20 * took + 2 * (20 // 8 + 1) + 20


def test_most_requests_ask_no_database(
    lab: Organization, django_assert_num_queries: Callable[..., Any]
) -> None:
    bucket = Bucket(b"k3", Policy("key", 100.0, 1_000))
    bucket.spend(1)
    with django_assert_num_queries(0):
        for _time in range(100):
            bucket.spend(1)


@pytest.mark.django_db(transaction=True)
def test_a_table_that_fails_or_is_held_fails_no_request(
    client_for: ClientFor,
    lab: Organization,
    limits: Any,
    test_database: TestDatabase,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits.RATE_KEY = (SLOW, 16)
    with test_database.connect("licet_owner") as owner:
        owner.execute("ALTER TABLE marketplace_ratetally RENAME TO gone")
        try:
            # Each process counts alone, and as exactly.
            assert statuses(client_for(lab), 20) == [200] * 16 + [429] * 4
        finally:
            owner.execute("ALTER TABLE gone RENAME TO marketplace_ratetally")
        assert caplog.text.count("Each process counts requests alone for now") == 1
        client = client_for(lab)
        assert statuses(client, 1) == [200]
        with owner.transaction():
            owner.execute("LOCK TABLE marketplace_ratetally IN ACCESS EXCLUSIVE MODE")
            begun = time.monotonic()
            assert statuses(client, 5) == [200] * 5
            assert time.monotonic() - begun < 3
        # What was not told then is told later.
        bucket = rate_limits.here.find(next(iter(rate_limits.here._known)))
        assert bucket is not None
    rate_limits.here._known[list(rate_limits.here._known)[-1]]._synced -= 1
    assert statuses(client, 1) == [200]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM spent_until - clock_timestamp()) FROM marketplace_ratetally"
        )
        assert [round(float(row[0]), -2) for row in cursor.fetchall()] == [6_000]


def test_quotas_that_are_full_again_are_swept(lab: Organization) -> None:
    now = timezone.now()
    with connection.cursor() as cursor:
        for bucket, until in ((b"old", now - timedelta(hours=2)), (b"new", now)):
            cursor.execute("INSERT INTO marketplace_ratetally VALUES (%s, %s)", [bucket, until])
        assert rate_limits.sweep() == 1
        cursor.execute("SELECT bucket FROM marketplace_ratetally")
        assert [bytes(row[0]) for row in cursor.fetchall()] == [b"new"]


def test_a_process_knows_so_many_and_no_more(
    lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "BUCKETS_MAX", 3)
    known = Buckets()
    policy = Policy("key", 1.0, 10)
    known.make(b"busy", policy).spend(5)
    for number in range(20):
        known.make(str(number).encode(), policy)
        assert len(known._known) <= 3
        assert known.find(b"busy") is not None


# --- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("0", None), ("", None), ("0.5:3", (0.5, 3)), ("100:1000", (100, 1000))]
)
def test_a_rate_is_read_from_the_environment(
    text: str, rate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICET_RATE_KEY", text)
    assert configured._rate("LICET_RATE_KEY", "100:1000") == rate


@pytest.mark.parametrize("text", ["100", "100:0", "-1:5", "a:b", "inf:5", "1:2.5", "nan:1"])
def test_what_is_no_rate_stops_the_process(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICET_RATE_KEY", text)
    with pytest.raises(ImproperlyConfigured, match="LICET_RATE_KEY is “requests a second"):
        configured._rate("LICET_RATE_KEY", "100:1000")


def test_outside_development_there_are_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LICET_RATE_KEY", raising=False)
    monkeypatch.setattr(configured, "DEVELOPMENT", False)
    assert configured._rate("LICET_RATE_KEY", "100:1000") == (100, 1000)
