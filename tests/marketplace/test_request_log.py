"""Each request leaves one line: where it went and how it ended, and nothing that opens a door."""

from __future__ import annotations

import importlib
import io
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from licensing import delivery
from marketplace import log_lines, metrics, request_log
from marketplace.models import Organization
from marketplace.typeid import TypeID
from tests.licensing.rows import make_grant_row
from tests.make import make_offer
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What production would write, as it is written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(log_lines.JsonLines())
    handler.addFilter(request_log.SafePaths())
    root, access = logging.getLogger(), request_log.access
    before = access.level
    root.addHandler(handler)
    access.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    access.setLevel(before)
    root.removeHandler(handler)


def of_requests(lines: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [line for line in lines() if line["logger"] == "licet.access"]


@pytest.mark.django_db
def test_a_request_leaves_one_line_with_all_that_finds_it_again(
    lab: Organization, archive: Organization, client_for: ClientFor, lines: Any
) -> None:
    offer = make_offer(archive)

    answer = client_for(lab).get(f"/v1/listings/{offer.pk}?q=private+words")

    [line] = of_requests(lines)
    assert line.pop("duration_ms") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "licet.access",
        # The address says what the operation does not know.
        "message": f"GET /v1/listings/{offer.pk} 400",
        "request_id": answer["Request-Id"],
        "organization": str(lab.pk),
        "method": "GET",
        "path": f"/v1/listings/{offer.pk}",
        "route": "/v1/listings/{pk}",
        "status": 400,
    }
    # What follows is nobody's.
    logging.getLogger("licet.test").warning("later")
    assert "request_id" not in lines()[-1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "shown", "status"),
    [
        ("/invitations/{token}", "/invitations/{token}", 404),
        ("/opt-out/{token}", "/opt-out/{token}", 404),
        (
            "/checkout/return/ord_01m8dg0ng5e0fre4d11ek7e0bz:{token}",
            "/checkout/return/{token}",
            404,
        ),
        ("/v1/orders/{token}", "/v1/orders/{pk}", 401),
        ("/v1/{token}", "/v1/…", 404),
        ("/{token}/orders", "/…", 404),
        ("/static/no-such/{token}", "/static/{file}", 404),
        ("/studio/", "/studio/", 302),
        ("/?next=/opt-out/{token}", "/", 200),
    ],
)
def test_a_path_is_shown_without_what_opens_a_door(
    path: str, shown: str, status: int, client: Client, lines: Any
) -> None:
    token = secrets.token_urlsafe(24)

    answer = client.get(path.replace("{token}", token))

    [line] = of_requests(lines)
    assert (line["path"], line["status"], answer.status_code) == (shown, status, status)
    # Django says something of refusals, too.
    assert token not in json.dumps(lines())


@pytest.mark.django_db
def test_no_line_holds_a_key_a_cookie_a_signature_or_a_secret(
    lab: Organization, archive: Organization, client_for: ClientFor, lines: Any, settings: Any
) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [f"whsec_{secrets.token_hex(12)}"]
    grant = make_grant_row(archive, lab, works=[b"one"])
    url, _expires_at = delivery.offer_manifest(caller_for(lab), grant.pk)
    client, cookie = client_for(lab), secrets.token_urlsafe(24)
    settings.ROOT_URLCONF = "licensing.delivery_urls"
    signed = url.partition(settings.DELIVERY_URL)[2]
    link = Client()

    whole = b"".join(link.get(signed))
    broken = link.get(f"{signed}x")
    settings.ROOT_URLCONF = "marketplace.urls"
    client.get("/v1/organization")
    client.get("/v1/organization", Cookie=f"sessionid={cookie}")
    ApiClient(f"{client.secret}x").get("/v1/organization")
    client.post("/stripe/webhook", {}, Stripe_Signature=f"t=1,v1={secrets.token_hex(32)}")
    logging.getLogger("urllib3").warning("POST with Authorization: Bearer %s", client.secret)
    logging.getLogger("stripe").warning("signed with %s", settings.STRIPE_WEBHOOK_SECRETS[0])

    assert (len(whole) > 0, broken.status_code) == (True, 403)
    text = json.dumps(lines())
    statuses = [(line["route"], line["status"]) for line in of_requests(lines)]
    assert statuses == [
        ("/grants/{grant}/manifest", 200),
        ("/grants/{grant}/manifest", 403),
        ("/v1/organization", 200),
        ("/v1/organization", 200),
        ("/v1/organization", 401),
        ("/stripe/webhook", 400),
    ]
    hidden = [client.secret or "", cookie, settings.STRIPE_WEBHOOK_SECRETS[0], signed]
    hidden += re.findall(r"signature=([^&]+)", signed)
    assert [secret for secret in hidden if secret in text] == []
    assert str(grant.pk) in text


def streamed(parts: Iterator[bytes]) -> Callable[[HttpRequest], StreamingHttpResponse]:
    return lambda _request: StreamingHttpResponse(parts)


def asked() -> HttpRequest:
    request = RequestFactory().get("/v1/organization")
    request.resolver_match = resolve("/v1/organization")
    return request


@pytest.mark.django_db
def test_an_answer_that_is_streamed_is_told_of_when_its_last_byte_has_left(lines: Any) -> None:
    answer = request_log.RequestLog(streamed(iter([b"a", b"b"])))(asked())
    parts = iter(answer)

    assert (next(parts), of_requests(lines)) == (b"a", [])
    assert list(parts) == [b"b"]
    answer.close()

    [line] = of_requests(lines)
    assert (line["status"], line["request_id"]) == (200, answer["Request-Id"])


@pytest.mark.django_db
def test_a_reader_who_leaves_ends_the_request(lines: Any) -> None:
    answer = request_log.RequestLog(streamed(iter([b"a", b"b"])))(asked())
    assert of_requests(lines) == []

    answer.close()

    assert len(of_requests(lines)) == 1


def test_a_failure_that_nobody_caught_is_a_500(lines: Any) -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        raise SystemExit

    with pytest.raises(SystemExit):
        request_log.RequestLog(fail)(asked())

    assert [line["status"] for line in of_requests(lines)] == [500]


def test_a_new_request_costs_little_where_nothing_is_counted(
    lines: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the log and the metrics off, nobody even looks where the request leads."""
    request_log.access.setLevel(logging.ERROR)
    monkeypatch.setattr(request_log, "route_of", None)

    answer = request_log.RequestLog(lambda _request: HttpResponse())(asked())

    assert answer["Request-Id"].startswith("req_")
    assert metrics.instruments() is None
    assert lines() == []


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ("", "/"),
        ("v1/^collections/(?P<pk>[^/]+)/works$", "/v1/collections/{pk}/works"),
        ("v1/^terms/(?P<pk>[^/.]+)\\Z", "/v1/terms/{pk}"),
        ("^grants/(?P<grant>grt_[0-9a-z]{26})/(?P<n>[0-9]{1,6})[.]tar$", "/grants/{grant}/{n}.tar"),
        ("ledger/(?P<log>(test|live)(?:[.]\\d+)?)/checkpoint$", "/ledger/{log}/checkpoint"),
        ("admin/<path:object_id>/change/", "/admin/{object_id}/change/"),
        ("a/<slug>", "/a/{slug}"),
        ("a/(x|y(z))/b", "/a/…/b"),
    ],
)
def test_a_route_reads_like_a_path_of_openapi(route: str, shown: str) -> None:
    assert request_log.template(route) == shown


def routes(patterns: Any, prefix: str = "") -> Iterator[str]:
    for each in patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            yield route


@pytest.mark.parametrize("urls", ["marketplace.urls", "licensing.delivery_urls"])
def test_every_route_of_ours_is_a_label_without_an_expression_in_it(urls: str) -> None:
    importlib.import_module(urls)
    found = {request_log.template(route) for route in routes(get_resolver(urls).url_patterns)}

    assert [each for each in found if not re.fullmatch(r"/(?:[\w./…-]|\{\w+\})*", each)] == []
    assert len(found) > 5


def test_ids_and_numbers_are_shown_and_nothing_else() -> None:
    pk, request = TypeID.new("ord"), asked()
    for value, shown in ((str(pk), str(pk)), (f"{pk}:x", "{pk}"), ("7", "7"), ("secret", "{pk}")):
        request.resolver_match = resolve(f"/v1/orders/{value}")
        route = request_log.route_of(request)
        assert request_log.shown_path(request, route) == f"/v1/orders/{shown}"


def test_a_method_is_one_of_a_few() -> None:
    assert [request_log.bounded(each) for each in ("GET", "BREW", None)] == [
        "GET",
        "OTHER",
        "OTHER",
    ]
