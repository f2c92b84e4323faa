"""A key that was revoked or has expired opens no operation of the API, whatever it is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from marketplace import access, api_keys
from tests.people import ApiClient, caller_for
from tests.security.test_access_matrix import MATRIX
from tests.security.world import World

pytestmark = pytest.mark.django_db

DOCUMENT = json.loads((Path(__file__).parents[2] / "api_docs/openapi.json").read_text())
OPERATIONS = [
    (path, method.upper())
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if method in {"get", "post", "patch"}
]


def dead(world: World) -> Iterator[ApiClient]:
    """Keys with every scope that opened all of it, before."""
    caller = caller_for(world.archive)
    scopes = [str(scope) for scope in access.Scope]
    key, secret = api_keys.create(caller, name="revoked", scopes=scopes)
    assert ApiClient(secret).get("/v1/organization").status_code == 200
    api_keys.revoke(caller, str(key.pk))
    yield ApiClient(secret)

    ends = timezone.now() + timedelta(seconds=1)
    _key, secret = api_keys.create(caller, name="expired", scopes=scopes, expires_at=ends)
    assert ApiClient(secret).get("/v1/organization").status_code == 200
    # What this process remembers of it says when it ends.
    time.sleep(max(0.0, (ends - timezone.now()).total_seconds()))
    yield ApiClient(secret)


def test_a_dead_key_opens_nothing(world: World) -> None:
    before = world.fingerprint()
    for client in dead(world):
        for path, method in OPERATIONS:
            row = MATRIX.get(path.removeprefix("/v1/").replace("{id}", "<pk>"))
            url = path.replace("{id}", str(world.subject(row.subject)) if row else "")
            answer = client.request(method, url)
            assert answer.status_code == 401, (method, path, answer.content)
            assert answer.json()["code"] in {"unauthenticated", "malformed_api_key"}
            assert answer["WWW-Authenticate"].startswith("Bearer")
    assert len(OPERATIONS) >= 163
    assert world.fingerprint() == before
