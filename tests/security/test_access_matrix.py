"""Every detail route × {nobody, a key without the scope, another organization}."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from marketplace.access import Scope
from marketplace.typeid import TypeID
from tests.people import ApiClient
from tests.security.world import World

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Row:
    """One detail route: whose object to ask for, by which body, and whom it is open to."""

    subject: str
    bodies: dict[str, Any] = field(default_factory=dict)
    # Nobody needs a key for these: they show what is on sale to everybody.
    public: bool = False


ACCEPTED = {"document_sha256": "0" * 64, "name": "a", "title": "b", "authority": True}
ASKED = {
    "uses": ["pretrain"],
    "territories": ["DE"],
    "model": {"name": "Gamma", "release": "closed_api"},
}
ATTESTED = {
    "basis": "own",
    "statement": "Ours.",
    "person_name": "A",
    "person_title": "B",
    "authority": True,
}
OVERRIDDEN = {"statement": "Ours.", "person_name": "A", "person_title": "B", "authority": True}
NOTED = {"metadata": {"po": "4711"}}
TAKEN = {"starts_at": "2026-01-01T00:00:00Z", "accept": ACCEPTED}
HOSTED = {"upload": str(TypeID.new("upl")), "external_id": "w", "media_type": "text/plain"}
REPLAYED = {"since": (timezone.now() - timedelta(hours=1)).isoformat()}
# A route that is missing here fails `test_every_detail_route_stands_in_the_matrix`.
MATRIX: dict[str, Row] = {
    "collections/<pk>": Row("collection"),
    "collections/<pk>/attestations": Row("collection", {"post": ATTESTED}),
    "collections/<pk>/metadata": Row("collection", {"post": NOTED}),
    "collections/<pk>/prohibitions": Row("collection"),
    "collections/<pk>/rights-overrides": Row("collection", {"post": OVERRIDDEN}),
    "collections/<pk>/shares": Row(
        "collection", {"post": {"email": "guest@example.org", "right": "edit"}}
    ),
    "collections/<pk>/snapshots": Row("collection"),
    "collections/<pk>/works": Row("collection", {"post": HOSTED}),
    "collections/<pk>/works/bulk": Row("collection", {"post": {"items": [HOSTED]}}),
    "remote-buckets/<pk>": Row("remote_bucket"),
    "remote-buckets/<pk>/disconnect": Row("remote_bucket"),
    "uploads/<pk>": Row("upload"),
    "events/<pk>": Row("event"),
    "webhook-endpoints/<pk>": Row("webhook_endpoint"),
    "webhook-endpoints/<pk>/rotate-secret": Row("webhook_endpoint"),
    "webhook-endpoints/<pk>/test": Row("webhook_endpoint"),
    "webhook-endpoints/<pk>/replay": Row("webhook_endpoint", {"post": REPLAYED}),
    "webhook-endpoints/<pk>/deliveries": Row("webhook_endpoint"),
    "webhook-deliveries/<pk>": Row("webhook_delivery"),
    "webhook-deliveries/<pk>/replay": Row("webhook_delivery"),
    "uploads/<pk>/finish": Row("upload"),
    "uploads/<pk>/discard": Row("upload"),
    "shares/<pk>/remove": Row("share"),
    "members/<pk>/remove": Row("member"),
    "members/<pk>/role": Row("member", {"post": {"role": "viewer"}}),
    "invitations/<pk>": Row("invitation"),
    "invitations/<pk>/revoke": Row("invitation"),
    "works/<pk>": Row("work"),
    "contributors/<pk>": Row("contributor"),
    "contributors/<pk>/consent": Row("contributor", {"post": {"consent": "granted"}}),
    "contributors/<pk>/erase": Row("contributor"),
    "contributors/<pk>/opt-out-links": Row("contributor"),
    "opt-out-links/<pk>/revoke": Row("opt_out_link"),
    "opt-outs/<pk>": Row("opt_out"),
    "opt-outs/<pk>/works": Row("opt_out"),
    "opt-outs/<pk>/receipt": Row("opt_out"),
    "notices/<pk>": Row("notice"),
    "notices/<pk>/works": Row("notice"),
    "notices/<pk>/receipt": Row("notice"),
    "notices/<pk>/acknowledgement/receipt": Row("notice"),
    "notices/<pk>/acknowledge": Row(
        "notice", {"post": {"statement": "Done.", "name": "Lin", "title": "Counsel"}}
    ),
    "collections/<pk>/imports": Row("collection", {"post": {"upload": str(TypeID.new("upl"))}}),
    "imports/<pk>/cancel": Row("importjob"),
    "imports/<pk>/rejections.csv": Row("importjob"),
    "imports/<pk>": Row("importjob"),
    "imports/<pk>/rejections": Row("importjob"),
    "api-keys/<pk>": Row("apikey"),
    "api-keys/<pk>/rotate": Row("apikey"),
    "api-keys/<pk>/revoke": Row("apikey"),
    "snapshots/<pk>": Row("draft_snapshot"),
    # The library is everybody's who has a key.
    "terms-templates/<pk>": Row("draft_terms", public=True),
    "terms/<pk>": Row("draft_terms"),
    "terms/<pk>/text": Row("draft_terms"),
    "terms/<pk>/publish": Row("draft_terms"),
    "offers/<pk>": Row("offer"),
    "offers/<pk>/metadata": Row("offer", {"post": NOTED}),
    "offers/<pk>/publish": Row("offer"),
    "offers/<pk>/withdraw": Row("offer"),
    "offers/<pk>/sample": Row("offer", {"post": {"external_ids": ["work-1"]}}),
    "listings/<pk>": Row("private_offer", public=True),
    "listings/<pk>/access-requests": Row("private_offer", {"post": ASKED}),
    "listings/<pk>/sample": Row("private_offer", {"post": TAKEN}),
    "access-requests/<pk>": Row("access_request"),
    "access-requests/<pk>/approve": Row("access_request"),
    "access-requests/<pk>/decline": Row("access_request", {"post": {"reason": "No."}}),
    "access-requests/<pk>/cancel": Row("access_request"),
    "quotes/<pk>": Row("quote"),
    "quotes/<pk>/metadata": Row("quote", {"post": NOTED}),
    "orders/<pk>": Row("order"),
    "orders/<pk>/metadata": Row("order", {"post": NOTED}),
    "orders/<pk>/cancel": Row("order"),
    "sales/<pk>": Row("order"),
    "transfers/<pk>": Row("transfer"),
    "remittances/<pk>": Row("remittance"),
    "refunds/<pk>": Row("refund"),
    "refunds/<pk>/approve": Row("refund"),
    "refunds/<pk>/decline": Row("refund"),
    "disputes/<pk>": Row("dispute"),
    "royalty-rules/<pk>": Row("royalty_rule"),
    "royalty-allocations/<pk>": Row("royalty_allocation"),
    "royalty-payouts/<pk>": Row("royalty_payout"),
    "royalty-payments/<pk>": Row("royalty_payment"),
    "royalty-payments/<pk>/paid-outside": Row("royalty_payment", {"post": {"reference": "a"}}),
    "contributors/<pk>/royalty-statement": Row("contributor"),
    "contributors/<pk>/royalty-advances": Row(
        "contributor", {"post": {"amount_minor": 1, "currency": "USD", "reference": "a"}}
    ),
    "contributors/<pk>/payout-account": Row("contributor", {"post": {"country": "DE"}}),
    "contributors/<pk>/payout-account/links": Row("contributor"),
    "collections/<pk>/royalty-advances": Row(
        "collection", {"post": {"amount_minor": 1, "currency": "USD", "reference": "a"}}
    ),
    "moderation-decisions/<pk>": Row("moderation_decision"),
    "moderation-decisions/<pk>/appeal": Row(
        "moderation_decision", {"post": {"reasons": "It is ours."}}
    ),
    "grants/<pk>": Row("grant"),
    "grants/<pk>/metadata": Row("grant", {"post": NOTED}),
    "grants/<pk>/receipt": Row("grant"),
    "grants/<pk>/status-proof": Row("grant"),
    "grants/<pk>/certificate": Row("grant"),
    "grants/<pk>/certificate.pdf": Row("grant"),
    "grants/<pk>/manifest": Row("grant"),
    "grants/<pk>/links": Row("grant", {"post": {"digests": []}}),
}


@dataclass(frozen=True)
class Route:
    path: str
    method: str
    action: str
    view: Any

    def url(self, pk: object) -> str:
        return "/v1/" + self.path.replace("<pk>", str(pk))


def _walk(patterns: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        # Routers write regular expressions, we write paths: make both look alike.
        shown = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", r"<\1\2>", str(pattern.pattern))
        path = prefix + shown.replace("^", "").replace("$", "").replace("\\Z", "")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield path, pattern


def _routes() -> list[Route]:
    found = []
    for path, pattern in _walk(get_resolver().url_patterns):
        actions = getattr(pattern.callback, "actions", None)
        if not path.startswith("v1/") or "<" not in path or actions is None:
            continue
        view = pattern.callback.cls  # type: ignore[attr-defined]
        for method, action in actions.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                found.append(Route(path.removeprefix("v1/").rstrip("/"), method, action, view))
    return found


ROUTES = _routes()
PRIVATE = [route for route in ROUTES if route.path in MATRIX and not MATRIX[route.path].public]


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _ask(client: ApiClient, route: Route, pk: object) -> Any:
    if route.method == "get":
        return client.get(route.url(pk))
    if route.method == "post":
        return client.post(route.url(pk), MATRIX[route.path].bodies.get("post", {}))
    if route.method == "patch":
        return client.patch(route.url(pk), b"abc", Upload_Offset="0")
    return client.request(route.method.upper(), route.url(pk))


def test_every_detail_route_stands_in_the_matrix() -> None:
    assert {route.path for route in ROUTES} == set(MATRIX)


def test_every_api_view_names_the_scope_of_every_action() -> None:
    for path, pattern in _walk(get_resolver().url_patterns):
        if path.startswith("v1/"):
            view = pattern.callback.cls  # type: ignore[attr-defined]
            for action in pattern.callback.actions.values():  # type: ignore[attr-defined]
                assert action in view.scopes, f"{path}: {action}"


@pytest.mark.parametrize("route", PRIVATE, ids=_name)
def test_nobody_gets_401(world: World, route: Route) -> None:
    answer = _ask(ApiClient(), route, world.subject(MATRIX[route.path].subject))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("route", PRIVATE, ids=_name)
def test_a_key_without_the_scope_gets_403(world: World, route: Route) -> None:
    needed = route.view.scopes[route.action]
    client = world.client(world.archive, scopes=[scope for scope in Scope if scope != needed])
    answer = _ask(client, route, world.subject(MATRIX[route.path].subject))
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert answer.json()["scope"] == needed.value


@pytest.mark.parametrize("route", PRIVATE, ids=_name)
def test_another_organization_gets_the_404_of_what_is_not_there(world: World, route: Route) -> None:
    pk = world.subject(MATRIX[route.path].subject)
    before = world.fingerprint()
    hidden = _ask(world.client(world.stranger), route, pk)
    absent = TypeID.new(pk.prefix)
    missing = _ask(world.client(world.stranger), route, absent)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "not_found")
    shown = hidden.json() | {"request_id": None}
    expected = missing.json() | {"request_id": None}
    assert str(shown).replace(str(pk), "X") == str(expected).replace(str(absent), "X")
    assert world.fingerprint() == before


@pytest.mark.parametrize("route", PRIVATE, ids=_name)
def test_what_is_no_id_gets_the_same_404(world: World, route: Route) -> None:
    answer = _ask(world.client(world.archive), route, "not-an-id")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "route",
    [
        route
        for route in PRIVATE
        if MATRIX[route.path].subject
        in {
            "apikey",
            "access_request",
            "quote",
            "order",
            "grant",
            "event",
            "webhook_endpoint",
            "webhook_delivery",
        }
    ],
    ids=_name,
)
def test_a_live_key_does_not_see_what_is_of_test_mode(world: World, route: Route) -> None:
    subject = MATRIX[route.path].subject
    owner = world.archive if subject == "apikey" else world.lab
    pk = world.subject(MATRIX[route.path].subject)
    answer = _ask(world.client(owner, livemode=True), route, pk)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_private_listing_is_not_there_for_anybody_else(world: World) -> None:
    pk = world.subject("private_offer")
    for client in (ApiClient(), world.client(world.stranger)):
        assert client.get(f"/v1/listings/{pk}").status_code == 404
    assert world.client(world.lab).get(f"/v1/listings/{pk}").status_code == 200
