"""Every page that the server sends has a strict policy, and nothing in it that it would stop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from licensing import optout_links, reports
from licensing.ledger import sequencer
from marketplace import contributors, invitations, organizations
from marketplace.models import Organization
from marketplace.page_policy import DOCUMENTS, PagePolicy
from tests.licensing.test_status import recorded
from tests.make import make_grant, make_offer
from tests.people import caller_for

pytestmark = pytest.mark.django_db
# What of a page a policy without 'unsafe-inline' would stop.
INLINE = re.compile(
    r"<style\b|<script\b(?![^>]*\ssrc=)|<[a-z][^>]*\s(?:on[a-z]+|style)\s*=|(?:href|action)=[\"']?"
    r"\s*javascript:",
    re.IGNORECASE,
)
ARGUMENT = re.compile(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>")
# An example for each kind of argument that an address takes; real ones are asked for below.
EXAMPLES = {
    "id": "grt_00000000000000000000000000",
    "token": "none",
    "ref": "0" * 32,
    "pk": "1",
    "uidb36": "0" * 32,
    "key": "a-b",
    "provider_id": "acme",
    "name": "webhooks",
    "operation": "create_order",
    "path": "architecture.md",
}


def addresses(patterns: list[Any], base: str = "/") -> Iterator[str]:
    """Each address outside the API, the ledger's files and the workspace's tables."""
    for pattern in patterns:
        route = base + re.sub(r"^\^|\$$", "", str(pattern.pattern))
        if route.startswith(("/v1/", "/ledger/", "/admin/", "/studio/")):
            yield f"{route[: route.index('/', 1)]}/nothing/"
        elif isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield ARGUMENT.sub(lambda found: EXAMPLES[found[1] or found[2]], route)


def real_ones(archive: Organization, lab: Organization) -> Iterator[str]:
    """Pages about rows that are there, each with what its link carries."""
    seller = caller_for(archive)
    offer = make_offer(archive, price_minor=0)
    grant = make_grant(archive, lab, offer=offer)
    recorded("test")
    sequencer.run_once()
    person = contributors.add(seller, external_id="c-1", consent="granted")
    _link, out = optout_links.make(seller, str(person.pk))
    invitations.invite(seller, email="guest@example.org", role="viewer")
    _report, receipt = reports.make(
        target=str(offer.pk),
        ground="law",
        explanation="It is mine.",
        location="Page 3.",
        name="Rae",
        email="rae@example.org",
        in_good_faith=True,
        address="192.0.2.1",
    )
    [invited] = re.findall(r"/invitations/[\w-]+", "".join(str(one.body) for one in mail.outbox))
    yield from (f"/listings/{offer.pk}", f"/report/?about={offer.pk}", f"/report/{receipt}")
    yield from (f"/certificates/{grant.pk}", f"/verify/{bytes(grant.grant_ref).hex()}")
    yield from (urlsplit(out).path, invited, "/?q=nothing", "/listings?cursor=!")


def faults(answer: Any, where: str) -> Iterator[str]:
    if not answer.get("Content-Type", "").startswith(DOCUMENTS):
        return
    policy = answer.get("Content-Security-Policy", "")
    for wanted in (
        "default-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action",
    ):
        if wanted not in policy:
            yield f"{where}: the policy lacks {wanted}"
    is_workspace = where.startswith(("/studio/", "/admin/"))
    if "unsafe-inline" in policy or ("unsafe-eval" in policy and not is_workspace):
        yield f"{where}: {policy}"
    for name, value in (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY")):
        if answer.get(name) != value:
            yield f"{where}: {name} is {answer.get(name)}"
    if answer.get("Referrer-Policy") not in {"same-origin", "no-referrer"}:
        yield f"{where}: Referrer-Policy is {answer.get('Referrer-Policy')}"
    yield from (f"{where}: {found}" for found in INLINE.findall(answer.content.decode()))


def test_every_page_has_a_strict_policy_and_nothing_inline(
    archive: Organization, lab: Organization, ledger_keys: object
) -> None:
    ada = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="a b c d e f", role="owner"
    )
    stranger = Client(raise_request_exception=False, headers={"Accept": "text/html"})
    known = Client(raise_request_exception=False, headers={"Accept": "text/html"})
    known.force_login(ada)
    paths = [*addresses(get_resolver().url_patterns), *real_ones(archive, lab)]
    assert len(paths) >= 60
    found, pages = [], set()
    for path in paths:
        for client in (stranger, known):
            answer = client.get(path)
            found += list(faults(answer, path))
            if answer.get("Content-Type", "").startswith("text/html"):
                pages.add((path, answer.status_code))
    assert found == []
    statuses = {status for _path, status in pages}
    assert {200, 404} <= statuses
    assert len({path for path, status in pages if status == 200}) >= 20


def test_errors_have_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: Any, **_named: Any) -> None:
        raise RuntimeError("a test's")

    def asked(client: Client, method: str, path: str) -> Any:
        return getattr(client, method)(path, headers={"Accept": "text/html"})

    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    answers = {
        403: asked(strict, "post", "/login/"),
        404: asked(strict, "get", "/nothing"),
    }
    monkeypatch.setattr("licensing.listings.search", fails)
    answers[500] = asked(strict, "get", "/")
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer["Content-Type"].startswith("text/html"), status
        assert list(faults(answer, str(status))) == []


def test_a_view_s_own_policy_stands_and_files_that_are_no_pages_get_none() -> None:
    def answered(kind: str, **headers: str) -> Any:
        given = HttpResponse("", content_type=kind, headers=headers)
        return PagePolicy(lambda _request: given)(RequestFactory().get("/"))

    own = answered("text/html", **{"Content-Security-Policy": "sandbox"})
    assert own["Content-Security-Policy"] == "sandbox"
    assert "script-src 'self';" in answered("image/svg+xml")["Content-Security-Policy"]
    plain = answered("application/json")
    assert "Content-Security-Policy" not in plain
    assert plain["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "hole",
    ['<p style="color: red">', "<style>p {}</style>", "<script>1</script>", '<p onclick="x()">'],
)
def test_what_stands_in_a_page_is_found(hole: str) -> None:
    assert INLINE.search(f"<!DOCTYPE html><html><body>{hole}</body></html>")
    assert not INLINE.search('<script src="/static/a.js" defer></script><p data-on="1">style=x</p>')
