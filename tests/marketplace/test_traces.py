"""Traces: spans that say which route, whose request and which table; never anybody's values."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client

from marketplace import traces
from marketplace.models import Organization
from payments.management.commands import worker
from tests.people import ApiClient

ROOT = Path(__file__).resolve().parents[2]
ClientFor = Callable[..., ApiClient]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

is_missing = importlib.util.find_spec("opentelemetry") is None or (
    importlib.util.find_spec("opentelemetry.sdk") is None
)
needs_sdk = pytest.mark.skipif(is_missing, reason="the extra “otel” is not installed")


@pytest.fixture
def spans(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """Traces on, and what a collector would be sent."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    settings.OTEL = True
    monkeypatch.setattr(traces, "exporter", lambda: kept)
    monkeypatch.setattr(traces, "_provider", None)
    made = traces.provider()

    def finished() -> list[Any]:
        made.force_flush()
        return list(kept.get_finished_spans())

    connection.execute_wrappers.append(traces._statement)
    yield finished
    connection.execute_wrappers.remove(traces._statement)
    made.shutdown()


@needs_sdk
@pytest.mark.django_db
def test_a_request_has_a_span_with_its_route_and_whose_it_was(
    lab: Organization, client_for: ClientFor, spans: Any
) -> None:
    client = client_for(lab)

    answer = client.get("/v1/listings?q=private", traceparent=PARENT, baggage="a=private")

    everything = spans()
    [served] = [span for span in everything if span.kind.name == "SERVER"]
    assert (served.name, dict(served.attributes)) == (
        "GET /v1/listings",
        {
            "http.request.method": "GET",
            "http.route": "/v1/listings",
            "http.response.status_code": 200,
            "licet.request_id": answer["Request-Id"],
            "licet.organization": str(lab.pk),
        },
    )
    assert f"{served.context.trace_id:032x}" == PARENT.split("-")[1]
    inside = [span for span in everything if span.parent and span.kind.name == "CLIENT"]
    keys = [span for span in inside if span.name == "SELECT marketplace_apikey"]
    assert [dict(span.attributes) for span in keys] == [
        {
            "db.system.name": "postgresql",
            "db.operation.name": "SELECT",
            "db.collection.name": "marketplace_apikey",
        }
    ]
    text = "\n".join(span.to_json() for span in everything)
    assert (client.secret or "") not in text
    assert "private" not in text
    assert "WHERE" not in text


@needs_sdk
@pytest.mark.django_db
def test_a_failure_is_told_by_its_kind_and_never_by_its_words(spans: Any) -> None:
    def fail() -> None:
        raise RuntimeError("the key is licet_live_0123456789")

    assert worker.run_safely(worker.Job("broken", 1, fail)) is False

    [span] = spans()
    assert (span.name, span.status.status_code.name) == ("job broken", "ERROR")
    assert span.status.description == "RuntimeError"
    assert not span.events


@needs_sdk
def test_statements_outside_of_requests_and_jobs_make_no_spans(spans: Any) -> None:
    ran = traces._statement(lambda *_said: "done", "SELECT 1", None, False, {})

    assert (ran, spans()) == ("done", [])


@needs_sdk
def test_a_connection_that_comes_back_from_the_pool_is_watched_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Connection:
        execute_wrappers: list[object] = []

    for _again in range(3):
        traces._watch(Connection)

    assert Connection.execute_wrappers == [traces._statement]


@pytest.mark.django_db
def test_without_the_setting_there_is_no_span() -> None:
    with traces.span("anything") as span:
        assert span is None
    assert Client().get("/healthz").status_code == 200
    assert "opentelemetry.sdk" not in sys.modules or traces._provider is None


def test_a_missing_package_is_said_in_words(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    traces.check()  # off: nothing is needed

    settings.OTEL = True
    with pytest.raises(ImproperlyConfigured, match=r"^LICET_OTEL is on, .* its extra “otel”"):
        traces.check()


@pytest.mark.oracle
def test_a_server_without_the_package_does_not_start(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None; import marketplace.wsgi"

    done = subprocess.run(
        [sys.executable, "-c", hidden],
        cwd=ROOT,
        env={**os.environ, "LICET_DEBUG": "1", "LICET_OTEL": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode != 0
    assert "LICET_OTEL is on" in done.stderr
