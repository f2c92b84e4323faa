"""Answers of the API: asked for again when they changed, and sent in few bytes."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from marketplace import access
from marketplace.models import Collection, Organization
from marketplace.views import CollectionViewSet
from tests.database import TestDatabase
from tests.make import make_collection
from tests.people import ApiClient

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


def test_an_answer_that_a_client_has_comes_as_304_until_it_changes(
    archive: Organization, client_for: ClientFor
) -> None:
    row = make_collection(archive, name="Maps")
    client, url = client_for(archive), f"/v1/collections/{row.pk}"
    for path in (url, "/v1/collections"):
        first = client.get(path)
        etag = first["ETag"]
        again = client.get(path, If_None_Match=etag)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
        assert again["Request-Id"] != first["Request-Id"]
        assert (again["Cache-Control"], again["Vary"]) == (first["Cache-Control"], first["Vary"])
        assert client.get(path, If_None_Match=f'"other", W/{etag}').status_code == 304
        assert client.get(path, If_None_Match='"other"').json() == first.json()

    etag = client.get(url)["ETag"]
    with access.system("rename in a test"):
        assert Collection.objects.filter(pk=row.pk).update(name="Atlases") == 1
    changed = client.get(url, If_None_Match=etag)
    assert (changed.status_code, changed.json()["name"]) == (200, "Atlases")
    assert changed["ETag"] != etag


def test_an_answer_is_kept_for_one_key_and_asked_for_before_each_use(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    make_collection(archive)
    ours, theirs = (client_for(each).get("/v1/collections") for each in (archive, lab))
    assert ours["ETag"] != theirs["ETag"]
    assert ours["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Accept"} <= set(ours["Vary"].replace(" ", "").split(","))


def test_what_a_verb_answers_is_kept_by_nobody(
    archive: Organization, client_for: ClientFor
) -> None:
    made = client_for(archive).post("/v1/collections", {"name": "Maps"}, Idempotency_Key="one")
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert "ETag" not in made
    refused = ApiClient().get("/v1/collections")
    assert (refused.status_code, refused["Cache-Control"]) == (401, "no-store")
    assert "ETag" not in refused


def listed(client: ApiClient, **headers: str) -> Any:
    return Client().get(
        "/v1/collections", headers={"Authorization": f"Bearer {client.secret}", **headers}
    )


def test_a_long_answer_is_compressed_for_whom_asks_for_it(
    archive: Organization, client_for: ClientFor
) -> None:
    for number in range(20):
        make_collection(archive, name=f"Number {number}")
    client = client_for(archive)
    plain = listed(client)
    packed = listed(client, **{"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert int(packed["Content-Length"]) == len(packed.content) < len(plain.content) // 3
    assert gzip.decompress(packed.content) == plain.content
    assert "Accept-Encoding" in packed["Vary"]
    again = listed(client, **{"Accept-Encoding": "gzip", "If-None-Match": packed["ETag"]})
    assert again.status_code == 304
    for refusing in ("gzip;q=0", "gzip; q=0.0, identity", "br"):
        assert listed(client, **{"Accept-Encoding": refusing}).content == plain.content


def test_a_short_answer_comes_as_it_is(archive: Organization, client_for: ClientFor) -> None:
    answer = listed(client_for(archive), **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer
    assert answer.json()["data"] == []


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_too_long_ends_as_503_and_the_next_request_is_served(
    archive: Organization, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make_collection(archive)
    client = client_for(archive)

    def slowly(self: Any, rows: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        return rows

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '100ms'")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(CollectionViewSet, "select", slowly)
            answer = client.get("/v1/collections?q=maps")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (answer["Retry-After"], answer.json()["retryable"]) == ("1", True)
        assert client.get(f"/v1/collections/{row.pk}").status_code == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
    assert Collection.objects.count() == 1


@pytest.mark.oracle
def test_who_serves_bounds_statements_and_a_command_does_not(test_database: TestDatabase) -> None:
    show = (
        "from django.db import connection\n"
        "cursor = connection.cursor()\n"
        "cursor.execute('SHOW statement_timeout')\n"
        "print(cursor.fetchone()[0])\n"
    )
    for begin, expected in (
        ("import marketplace.wsgi\n", "7s"),
        ("import django; django.setup()\n", "0"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", begin + show],
            env={
                **os.environ,
                **test_database.environ,
                "DJANGO_SETTINGS_MODULE": "marketplace.settings",
                "LICET_STATEMENT_SECONDS": "7",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert ended.stdout.split()[-1] == expected
