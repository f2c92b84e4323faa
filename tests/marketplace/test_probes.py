"""Probes: whether a process answers and can serve, told to anybody, at hardly any cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg_pool import PoolTimeout

from licensing.ledger import signer
from marketplace import probes, schema_guard


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """No test reads what another one found."""
    probes._latest.forget()


@pytest.fixture
def elsewhere() -> Client:
    """Somebody who reaches the process by a name that is not its own."""
    return Client(headers={"Host": "10.1.2.3:8000"})


def names(answer: Any) -> list[tuple[str, bool]]:
    return [(each["name"], each["is_ok"]) for each in answer.json()["checks"]]


def test_a_process_that_answers_says_so_without_touching_anything(elsewhere: Client) -> None:
    # This test may not ask the database: pytest would end it.
    answer = elsewhere.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer["Cache-Control"] == "no-store"
    assert not answer.cookies
    assert "Vary" not in answer


@pytest.mark.django_db
def test_a_process_that_can_serve_says_what_it_looked_at(
    elsewhere: Client, ledger_keys: Path
) -> None:
    answer = elsewhere.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert names(answer) == [
        ("database", True),
        ("schema", True),
        ("storage", True),
        ("ledger_key", True),
    ]
    assert all(each["duration_ms"] >= 0 for each in answer.json()["checks"])
    assert not answer.cookies


@pytest.mark.django_db
def test_however_often_it_is_asked_the_database_is_asked_once_a_second(
    elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("marketplace.probes.time.monotonic", lambda: now)
    with CaptureQueriesContext(connection) as asked:
        for _again in range(20):
            assert elsewhere.get("/readyz").status_code == 200
        once = len(asked)
        now += probes.KEPT_SECONDS
        elsewhere.get("/readyz")

    assert 0 < once <= 10
    assert len(asked) == 2 * once


@pytest.mark.django_db
def test_while_one_thread_looks_the_others_tell_what_was_so_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = probes._latest.found()
    looking, go_on, looked = threading.Event(), threading.Event(), []

    def slowly() -> None:
        looking.set()
        go_on.wait(10)
        looked.append(1)

    monkeypatch.setattr(probes, "CHECKS", [probes.Check("slow", slowly)])
    monkeypatch.setattr(probes._latest, "_until", 0.0)
    thread = threading.Thread(target=probes._latest.found)
    thread.start()
    assert looking.wait(10)

    assert (probes._latest.found(), looked) == (before, [])

    go_on.set()
    thread.join(10)
    assert [each.name for each in probes._latest.found()] == ["slow"]
    assert looked == [1]


def _away(*_arguments: object, **_named: object) -> None:
    raise OperationalError("connection to 10.9.8.7 failed: password=secret")


def _full(*_arguments: object, **_named: object) -> None:
    raise PoolTimeout("no connection at 10.9.8.7")


def _older(**_named: object) -> None:
    raise schema_guard.SchemaRefused("The database lacks marketplace.0107_x at 10.9.8.7")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "failure", "failing"),
    [
        ("marketplace.probes.connection.cursor", _away, ["database", "schema", "ledger_key"]),
        ("marketplace.probes.schema_guard.check", _older, ["schema"]),
        ("marketplace.probes.schema_guard.check", _full, ["schema"]),
    ],
)
def test_a_database_that_is_away_or_another_ones_is_a_503_that_names_no_address(
    place: str,
    failure: Callable[..., None],
    failing: list[str],
    elsewhere: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(place, failure)

    answers = [elsewhere.get("/readyz") for _again in range(3)]
    monkeypatch.undo()
    monkeypatch.setattr(probes._latest, "_until", 0.0)
    well = elsewhere.get("/readyz")

    body = answers[0].json()
    assert answers[0]["Content-Type"] == "application/problem+json"
    assert (answers[0].status_code, body["code"], body["retryable"]) == (503, "not_ready", True)
    assert body["detail"] == f"This process cannot serve now: {', '.join(failing)}."
    assert [name for name, is_ok in names(answers[0]) if not is_ok] == failing
    assert body["request_id"] == answers[0]["Request-Id"]
    assert "10.9.8.7" not in json.dumps(body)
    assert well.status_code == 200
    # The log says why, once, and when it is over.
    said = [each.getMessage() for each in caplog.records if each.name == "marketplace.probes"]
    assert len(said) == 2
    assert "10.9.8.7" in said[0]
    assert said[1] == "ready again"


@pytest.mark.django_db
def test_a_storage_that_is_no_directory_and_a_key_that_others_read_are_found(
    elsewhere: Client, tmp_path: Path, settings: Any
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    settings.STORAGE_DIR = file
    # A directory of its own: other tests sign with the keys of theirs.
    settings.LEDGER_KEY_DIR = tmp_path / "keys"
    signer.create("test")
    (settings.LEDGER_KEY_DIR / "test.key").chmod(0o644)

    answer = elsewhere.get("/readyz")

    assert answer.status_code == 503
    assert names(answer) == [
        ("database", True),
        ("schema", True),
        ("storage", False),
        ("ledger_key", False),
    ]
    assert str(tmp_path) not in answer.content.decode()


@pytest.mark.django_db
def test_production_serves_no_log_without_its_key_and_makes_none(
    elsewhere: Client, ledger_keys: Path, settings: Any, tmp_path: Path
) -> None:
    settings.LEDGER_KEY_DIR = tmp_path / "none"
    assert elsewhere.get("/readyz").status_code == 200  # development makes it at its first use
    probes._latest.forget()
    settings.DEVELOPMENT = False
    settings.STORAGE_DIR = tmp_path

    assert [name for name, is_ok in names(elsewhere.get("/readyz")) if not is_ok] == ["ledger_key"]

    assert not (tmp_path / "none").exists()


@pytest.mark.django_db
def test_the_delivery_process_needs_no_key(elsewhere: Client, settings: Any) -> None:
    settings.PROCESS = "delivery"

    assert [name for name, _is_ok in names(elsewhere.get("/readyz"))] == [
        "database",
        "schema",
        "storage",
    ]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_is_only_read(path: str, elsewhere: Client) -> None:
    answer = elsewhere.post(path)

    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("token", "given"),
    [
        ("", "Bearer "),
        ("", "Bearer x"),
        ("right", ""),
        ("right", "Bearer wrong"),
        ("right", "Basic right"),
        ("right", "right"),
        ("right", "Bearer rightä"),
    ],
)
def test_without_the_token_there_are_no_metrics(token: str, given: str, settings: Any) -> None:
    settings.METRICS_TOKEN = token
    request = HttpRequest()
    request.method, request.path, request.path_info = "GET", "/metrics", "/metrics"
    request.META["HTTP_AUTHORIZATION"] = given

    assert probes.answer(request) is None

    settings.METRICS_TOKEN = ""
    answer = Client().get("/metrics", headers={"Authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_other_addresses_are_no_probes() -> None:
    request = HttpRequest()
    request.path_info = "/healthz/"
    assert probes.answer(request) is None
