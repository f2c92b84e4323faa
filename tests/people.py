"""The people of the tests, and how they reach the API."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client

from marketplace import api_keys, organizations
from marketplace.access import Caller, Scope
from marketplace.models import Organization


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """New passwords are hashed once, not a million times; others still hold."""
    patch = pytest.MonkeyPatch()
    patch.setattr(PBKDF2PasswordHasher, "iterations", 1)
    yield
    patch.undo()


class ApiClient:
    """Talks JSON to the API with one key, as a client of ours would."""

    def __init__(self, secret: str | None = None) -> None:
        self.secret = secret
        self._client = Client(raise_request_exception=False)

    def get(self, url: str, **headers: str) -> Any:
        return self._client.get(url, headers=self._headers(headers))

    def post(self, url: str, body: Any = None, **headers: str) -> Any:
        return self._client.post(
            url,
            data=json.dumps({} if body is None else body),
            content_type="application/json",
            headers=self._headers(headers),
        )

    def patch(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str = "application/offset+octet-stream",
        **headers: str,
    ) -> Any:
        """Send a piece of an upload: bytes, where everything else sends JSON."""
        return self._client.generic(
            "PATCH", url, body, content_type=content_type, headers=self._headers(headers)
        )

    def request(self, method: str, url: str, **headers: str) -> Any:
        return self._client.generic(
            method, url, content_type="application/json", headers=self._headers(headers)
        )

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return named | ({"Authorization": f"Bearer {self.secret}"} if self.secret else {})


def found(name: str, kind: str, **fields: str) -> Organization:
    return organizations.found(
        kind=kind,
        name=name,
        legal_name=fields.get("legal_name", f"{name} Ltd"),
        jurisdiction=fields.get("jurisdiction", "IE"),
        registration_number=fields.get("registration_number", "12345"),
        registered_address=f"1 Main Street, {name}",
        representative_name="Rita Sign",
        contact_email="legal@example.org",
    )


@pytest.fixture
def archive(db: None) -> Organization:
    """Licenses out."""
    return found("Archive", "platform")


@pytest.fixture
def lab(db: None) -> Organization:
    """Licenses in."""
    return found("Lab", "lab", jurisdiction="US-DE")


@pytest.fixture
def stranger(db: None) -> Organization:
    """Has nothing to do with either."""
    return found("Stranger", "lab")


def caller_for(
    organization: Organization, *, livemode: bool = False, scopes: Iterable[str] | None = None
) -> Caller:
    caller = organizations.operator(organization, livemode=livemode)
    return caller if scopes is None else dataclasses.replace(caller, scopes=frozenset(scopes))


@pytest.fixture
def client_for() -> Callable[..., ApiClient]:
    """`client_for(lab)`: a client with a fresh key; `client_for(None)`: one without."""

    def make(
        organization: Organization | None,
        *,
        livemode: bool = False,
        scopes: Iterable[str] = tuple(Scope),
    ) -> ApiClient:
        if organization is None:
            return ApiClient()
        caller = caller_for(organization, livemode=livemode)
        _key, secret = api_keys.create(caller, name="test", scopes=[str(scope) for scope in scopes])
        return ApiClient(secret)

    return make
