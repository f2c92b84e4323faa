"""The pages for people: what they say, that they escape, and that they ask nobody else."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.db import OperationalError
from django.test import Client

from licensing import offers
from licensing.models import Offer
from marketplace import operators, organizations
from marketplace.models import Organization
from tests.make import make_collection, make_offer
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db
HOST = "http://testserver"
DOCS = ("/docs/", "/docs/try/", "/docs/guide/", "/docs/errors")
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
# Attributes whose address a browser fetches by itself, or sends a form to.
FETCHING = {"src", "href", "action", "formaction", "data", "poster", "srcset", "background", "ping"}


class Page(html.parser.HTMLParser):
    """What a browser would find in a page: addresses, headings, scripts, and what lacks a name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.language = ""
        self.labeled: set[str] = set()
        self.inputs: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes |= set(named)
        self.addresses += [value for name, value in named.items() if name in FETCHING]
        if tag == "html":
            self.language = named.get("lang", "")
        if tag == "label":
            self.labeled.add(named.get("for", ""))
        if tag == "input" and named.get("type") != "hidden":
            self.inputs.add(named.get("id", "without an id"))


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive, price_minor=1_234_500)


def opened(client: Client, url: str, status: int = 200) -> str:
    answer = client.get(url)
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    return str(answer.content.decode())


def test_an_empty_market_says_so_and_what_to_do(client: Client) -> None:
    text = opened(client, "/")
    assert "Nothing is on sale yet." in text
    assert "POST /v1/offers" in text
    assert "make demo" in text


def test_the_listings_show_what_is_on_sale(client: Client, offer: Offer) -> None:
    text = opened(client, "/")
    assert f'<a href="/listings/{offer.pk}">Letters</a>' in text
    for shown in ("Archive", "3 works", "12,345.00", "Training"):
        assert shown in text, shown
    assert "Nothing is on sale" not in text


def test_a_listing_shows_licensor_price_and_the_exact_terms(client: Client, offer: Offer) -> None:
    text = opened(client, f"/listings/{offer.pk}")
    for shown in ("<h1>Letters</h1>", "Archive Ltd", "(IE)", "12,345.00", str(offer.pk)):
        assert shown in text, shown
    for line in offer.terms.text.splitlines():
        assert line.replace("'", "&#x27;").replace('"', "&quot;") in text


def test_a_listing_of_one_work_speaks_of_one(client: Client, archive: Organization) -> None:
    make_offer(archive, collection=make_collection(archive, works=1))
    assert "1 work ·" in opened(client, "/")


def test_drafts_withdrawn_and_private_offers_are_not_shown(
    client: Client, archive: Organization, lab: Organization
) -> None:
    draft = make_offer(archive, is_published=False)
    withdrawn = make_offer(archive)
    offers.withdraw(caller_for(archive), str(withdrawn.pk))
    private = make_offer(archive, audience=str(lab.pk))
    assert "Nothing is on sale yet." in opened(client, "/")
    for offer in (draft, withdrawn, private):
        assert client.get(f"/listings/{offer.pk}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/listings/ofr_01m86qffpae7zr451q5yc40mdx",
        "/listings/grt_01m86qffpaeb2bw1yxzra8fzr4",
        "/listings/nothing",
        "/listings/%00",
        "/listings/%F0%9F%92%A9",
        "/listings/",
        "/index.html",
        "/v1",
        "/v1/",
        "/v2/offers",
        "/docs/nothing",
        "/ledger/",
        "/.env",
        "/static/../marketplace/settings.py",
        "/checkout/return/nothing",
    ],
)
def test_what_is_not_there_is_a_problem_document(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_browser_gets_a_page_for_it_and_a_client_of_the_api_never(client: Client) -> None:
    asked = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in ("/nothing", "/listings/nothing"):
        answer = client.get(path, headers=asked)
        assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "<h1>Not found</h1>" in answer.content.decode()
    for path in ("/v1/nothing", "/ledger/nothing", "/stripe/nothing"):
        answer = client.get(path, headers=asked)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_our_failure_is_a_page_even_where_nobody_can_tell_who_is_signed_in(
    client: Client, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database away, the page must not ask it who reads."""

    def gone(*_arguments: object, **_named: object) -> None:
        raise OperationalError("a secret address of the database")

    client.force_login(
        organizations.admit(
            archive, email="ada@example.org", name="Ada", password="a b c d e f", role="owner"
        )
    )
    client.raise_request_exception = False
    monkeypatch.setattr("django.contrib.auth.middleware.auth.get_user", gone)
    answer = client.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert "secret" not in answer.content.decode()
    assert "<h1>Something went wrong</h1>" in answer.content.decode()


def test_a_host_that_is_not_ours_is_refused(client: Client) -> None:
    answer = client.get("/", headers={"Host": "elsewhere.example"})
    assert answer.status_code == 400
    assert "elsewhere.example" not in answer.content.decode()


def test_health_is_well_while_the_database_answers(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def gone(*_arguments: object) -> None:
        raise OperationalError("a secret address of the database")

    monkeypatch.setattr("licensing.pages.connection.cursor", gone)
    client.raise_request_exception = False
    answer = client.get("/health")
    assert answer.status_code == 500
    assert "secret" not in answer.content.decode()


def _hostile(archive: Organization) -> Offer:
    collection = make_collection(archive, name=HOSTILE)
    for name in ("description", "notice"):
        setattr(collection, name, HOSTILE)
    collection.save()
    return make_offer(archive, collection=collection)


def test_what_tenants_wrote_is_escaped_wherever_it_stands(client: Client) -> None:
    offer = _hostile(found(HOSTILE, "platform", legal_name=HOSTILE))
    for path in ("/", f"/listings/{offer.pk}"):
        text = opened(client, path)
        page = Page(text)
        assert text.count("&lt;script&gt;alert(") >= 3
        assert not {"script", "img"} & set(page.tags)
        assert not [name for name in page.attributes if name.startswith("on")]


def test_what_a_visitor_wrote_is_escaped(client: Client, archive: Organization) -> None:
    form = {"login": HOSTILE, "password": HOSTILE, "next": HOSTILE}
    for answer in (client.post("/login/", form), client.get("/login/", {"next": HOSTILE})):
        text = answer.content.decode()
        page = Page(text)
        assert answer.status_code == 200
        assert HOSTILE not in text
        assert "img" not in page.tags
        # The page's own two, from files.
        assert page.tags.count("script") == text.count('<script src="/static/') == 2


def _everywhere(client: Client, offer: Offer) -> Iterator[tuple[str, str]]:
    for path in ("/", f"/listings/{offer.pk}", "/login/", *DOCS):
        yield path, opened(client, path)
    client.force_login(
        operators.appoint(email="o@example.org", name="Olive", password="a b c d e f")
    )
    own = ("/account/", "/account/second-factor/", "/account/password/")
    for path in ("/", "/admin/", "/admin/marketplace/organization/", *own):
        yield path, opened(client, path)
    client.logout()
    yield "/login/password/", opened(client, "/login/password/")


def _elsewhere(base: str, addresses: list[str]) -> list[str]:
    """Those of a page's addresses that lead away from this site."""
    full = [urljoin(HOST + base, address) for address in addresses]
    return [url for url in full if not url.startswith((f"{HOST}/", "data:"))]


def test_no_page_asks_anything_of_another_host(client: Client, offer: Offer) -> None:
    for path, text in _everywhere(client, offer):
        assert _elsewhere(path, Page(text).addresses) == [], path
        assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//", text), path
        assert not re.findall(r"@import", text), path


def test_every_file_that_a_page_names_is_there_and_asks_nobody_either(
    client: Client, offer: Offer
) -> None:
    named = {
        urlsplit(urljoin(HOST + path, address)).path
        for path, text in _everywhere(client, offer)
        for address in Page(text).addresses
    }
    files = sorted(path for path in named if path.startswith("/static/"))
    assert "/static/marketplace/page.css" in files
    assert "/static/api_docs/try.js" in files
    for path in files:
        file: Any = finders.find(path.removeprefix("/static/"))
        assert file, path
        if path.endswith(".css"):
            with open(file, encoding="utf-8") as opened_file:
                style = opened_file.read()
            assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"]?http", style), path


def test_pages_can_be_read_aloud_and_operated_by_keyboard(client: Client, offer: Offer) -> None:
    for path in ("/", f"/listings/{offer.pk}", "/login/", "/login/password/", *DOCS):
        page = Page(opened(client, path))
        assert page.language == "en", path
        assert page.tags.count("h1") == 1, path
        assert page.tags.count("main") == 1, path
        assert page.inputs <= page.labeled, path


def test_pages_cannot_be_framed_and_their_types_are_not_guessed(
    client: Client, offer: Offer
) -> None:
    for path in ("/", f"/listings/{offer.pk}", "/login/", "/docs/", "/docs/errors", "/nothing"):
        answer = client.get(path)
        assert answer["X-Frame-Options"] == "DENY", path
        assert answer["X-Content-Type-Options"] == "nosniff", path
        assert answer["Request-Id"].startswith("req_"), path


def test_the_header_says_who_is_signed_in(client: Client, archive: Organization) -> None:
    assert "Sign in" in opened(client, "/")
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="a b c d e f", role="owner"
    )
    client.force_login(user)
    text = opened(client, "/")
    assert "ada@example.org" in text
    assert "Sign out" in text
    assert "/admin/" not in text
