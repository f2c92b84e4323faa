"""`expand`: what the ids of a row name, shown beside it as their own addresses show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from licensing import offers, optouts
from licensing.models import OptOut
from licensing.views import GrantViewSet
from marketplace import api_keys, known_keys
from marketplace.access import Scope
from marketplace.expand import NAMES_MAX, Expanding
from marketplace.models import Organization
from tests.make import make_collection, make_grant, make_offer
from tests.payments.buying import order_for
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def deal(archive: Organization, lab: Organization, client_for: ClientFor) -> dict[str, str]:
    """The addresses of what one purchase made, and of a notice about it."""
    offer = make_offer(archive, price_minor=0)
    order = order_for(client_for(lab), offer)
    optouts.record_once(
        caller_for(archive), by=OptOut.By.OWNER, collection=str(offer.collection_id), reason="Ours."
    )
    notice = client_for(lab).get("/v1/notices").json()["data"][0]["id"]
    return {
        "offers": f"/v1/offers/{offer.pk}",
        "quotes": f"/v1/quotes/{order['quote']}",
        "orders": f"/v1/orders/{order['id']}",
        "grants": f"/v1/grants/{order['grant']}",
        "notices": f"/v1/notices/{notice}",
    }


@pytest.fixture
def of(client_for: ClientFor, archive: Organization, lab: Organization) -> dict[str, ApiClient]:
    """Who looks at the object of each kind."""
    seller, buyer = client_for(archive), client_for(lab)
    return {
        "offers": seller,
        **dict.fromkeys(("quotes", "orders", "grants", "notices"), buyer),
    }


def expanded(client: ApiClient, address: str, names: str) -> Any:
    """What is shown beside a row: alone, and in the list of its kind."""
    row = client.get(f"{address}?expand={names}").json()
    [listed] = [
        each
        for each in client.get(f"{address.rpartition('/')[0]}?expand={names}").json()["data"]
        if each["id"] == row["id"]
    ]
    assert listed == row
    # Nothing else is changed by it.
    assert {**client.get(address).json(), "expanded": row["expanded"]} == row
    return row["expanded"]


def refused(answer: Any) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["code"], body.get("param")


# --- what is shown ----------------------------------------------------------------------------

ADDRESSES: dict[tuple[str, str], Callable[[dict[str, Any]], str]] = {
    ("offers", "collection"): lambda row: f"/v1/collections/{row['collection']}",
    ("offers", "snapshot"): lambda row: f"/v1/snapshots/{row['snapshot']}",
    ("offers", "terms"): lambda row: f"/v1/terms/{row['terms']}",
    ("quotes", "offer"): lambda row: f"/v1/listings/{row['offer']}",
    ("quotes", "snapshot"): lambda row: f"/v1/snapshots/{row['snapshot']}",
    ("quotes", "terms"): lambda row: f"/v1/terms/{row['terms']}",
    ("orders", "quote"): lambda row: f"/v1/quotes/{row['quote']}",
    ("orders", "grant"): lambda row: f"/v1/grants/{row['grant']}",
    ("grants", "snapshot"): lambda row: f"/v1/snapshots/{row['coverage'][-1]['snapshot']}",
    ("grants", "terms"): lambda row: f"/v1/terms/{row['periods'][-1]['terms']}",
    ("notices", "grant"): lambda row: f"/v1/grants/{row['grant']}",
}


@pytest.mark.parametrize(("kind", "name"), ADDRESSES)
def test_what_is_expanded_is_what_its_own_address_answers(
    kind: str, name: str, deal: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of[kind], deal[kind]
    shown = client.get(ADDRESSES[kind, name](client.get(address).json())).json()
    assert shown["id"]
    assert expanded(client, address, name) == {name: shown}


def test_every_expansion_is_looked_at() -> None:
    """And none leads back to where it came from: a client's types end somewhere."""
    declared, views = set(), set()

    def walk(patterns: Any, before: str = "") -> None:
        for each in patterns:
            path = before + str(each.pattern)
            if isinstance(each, URLResolver):
                walk(each.url_patterns, path)
            elif isinstance(each, URLPattern):
                view = getattr(each.callback, "cls", None)
                if view is not None and issubclass(view, Expanding):
                    views.add(view)
                    kind = path.removeprefix("v1/").strip("^/").partition("/")[0].rstrip("$")
                    declared.update((kind, name) for name in view.expandable)

    walk(get_resolver().url_patterns)
    assert declared == {*ADDRESSES, ("notices", "opt_out")}

    def beyond(view: Any) -> set[Any]:
        seen = set()
        for each in getattr(view, "expandable", {}).values():
            seen |= {each.view} | beyond(each.view)
        return seen

    assert [view for view in views if view in beyond(view)] == []


def test_several_are_shown_in_the_order_of_the_question(
    deal: dict[str, str], of: dict[str, ApiClient]
) -> None:
    found = expanded(of["offers"], deal["offers"], "terms,collection")
    assert list(found) == ["terms", "collection"]
    assert [each["object"] for each in found.values()] == ["terms", "collection"]


def test_without_the_question_nothing_is_beside_a_row(
    deal: dict[str, str], of: dict[str, ApiClient]
) -> None:
    for kind, address in deal.items():
        assert "expanded" not in of[kind].get(address).json()
        listed = of[kind].get(address.rpartition("/")[0]).json()["data"]
        assert listed
        assert not any("expanded" in row for row in listed)


def test_an_expansion_shows_the_callers_own_notes_alone(
    deal: dict[str, str], client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    seller, buyer = client_for(archive), client_for(lab)
    for client, text in ((seller, "theirs"), (buyer, "ours")):
        client.post(f"{deal['grants']}/metadata", {"metadata": {"po": text}})
    for client, text in ((seller, "theirs"), (buyer, "ours")):
        assert expanded(client, deal["notices"], "grant")["grant"]["metadata"] == {"po": text}
    assert expanded(buyer, deal["orders"], "grant")["grant"]["metadata"] == {"po": "ours"}


# --- what is not ------------------------------------------------------------------------------


def test_what_the_caller_may_not_see_is_null_as_what_is_not_there(
    deal: dict[str, str], of: dict[str, ApiClient], client_for: ClientFor, archive: Organization
) -> None:
    # An opt-out is its owner's; the licensee has the notice.
    assert expanded(of["notices"], deal["notices"], "opt_out") == {"opt_out": None}
    assert expanded(client_for(archive), deal["notices"], "opt_out")["opt_out"]["object"] == (
        "opt_out"
    )
    offers.withdraw(caller_for(archive), deal["offers"].rpartition("/")[2])
    assert expanded(of["quotes"], deal["quotes"], "offer") == {"offer": None}


def test_an_id_that_is_null_shows_null(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Any
) -> None:
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    assert order["grant"] is None
    assert expanded(buyer, f"/v1/orders/{order['id']}", "grant") == {"grant": None}


def test_a_strangers_and_the_other_modes_rows_stay_hidden(
    deal: dict[str, str], client_for: ClientFor, lab: Organization, stranger: Organization
) -> None:
    for client in (client_for(stranger), client_for(lab, livemode=True)):
        for kind in ("quotes", "orders", "grants", "notices"):
            names = "grant" if kind in {"orders", "notices"} else "terms"
            answer = client.get(f"{deal[kind]}?expand={names}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert client.get(f"/v1/{kind}?expand={names}").json()["data"] == []


@pytest.mark.parametrize(
    "names",
    [
        *("", "nothing", "grant,", ",grant", "grant,grant", "grant, quote", "Grant", "expanded"),
        *("quote.offer", "grant,quote,nothing", "grant,quote,grant,quote,grant", "seller"),
    ],
)
def test_a_name_that_is_not_expandable_is_refused_and_all_are_named(
    names: str, deal: dict[str, str], of: dict[str, ApiClient]
) -> None:
    for address in (deal["orders"], "/v1/orders"):
        answer = of["orders"].get(f"{address}?expand={names}")
        assert refused(answer) == (422, "invalid_input", "expand")
        assert "quote, grant" in answer.json()["detail"]
        twice = of["orders"].get(f"{address}?expand=grant&expand=quote")
        assert refused(twice) == (400, "invalid_query", "expand")


def test_more_names_than_the_limit_are_refused(
    deal: dict[str, str], of: dict[str, ApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    [known] = [GrantViewSet.expandable["terms"]]
    many = {f"t{number}": known for number in range(NAMES_MAX + 1)}
    monkeypatch.setattr(GrantViewSet, "expandable", many)
    allowed, beyond = list(many)[:NAMES_MAX], list(many)
    assert set(expanded(of["grants"], deal["grants"], ",".join(allowed))) == {*allowed}
    answer = of["grants"].get(f"{deal['grants']}?expand={','.join(beyond)}")
    assert refused(answer) == (422, "invalid_input", "expand")


@pytest.mark.parametrize("address", ["/v1/collections", "/v1/works", "/v1/sales"])
def test_where_nothing_is_expandable_the_parameter_is_unknown(
    address: str, client_for: ClientFor, archive: Organization
) -> None:
    answer = client_for(archive).get(f"{address}?expand=offer")
    assert refused(answer) == (400, "invalid_query", "expand")


# Beside the row's own.
NEEDED = {
    ("orders", "quote"): Scope.QUOTES_READ,
    ("orders", "grant"): Scope.GRANTS_READ,
    ("grants", "terms"): Scope.TERMS_READ,
    ("grants", "snapshot"): Scope.COLLECTIONS_READ,
    ("quotes", "terms"): Scope.TERMS_READ,
    ("notices", "grant"): Scope.GRANTS_READ,
}


@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_an_expansion_needs_the_scope_of_what_it_shows(
    kind: str, name: str, deal: dict[str, str], client_for: ClientFor, lab: Organization
) -> None:
    needed = NEEDED[kind, name]
    client = client_for(lab, scopes=[each for each in Scope if each != needed])
    for address in (deal[kind], f"/v1/{kind}"):
        answer = client.get(f"{address}?expand={name}")
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        assert answer.json()["scope"] == needed
        assert client.get(address).status_code == 200


def test_a_listing_beside_a_quote_needs_no_scope(
    deal: dict[str, str], client_for: ClientFor, lab: Organization
) -> None:
    client = client_for(lab, scopes=[Scope.QUOTES_READ])
    assert expanded(client, deal["quotes"], "offer")["offer"]["object"] == "listing"


def test_a_revoked_key_is_shown_nothing(deal: dict[str, str], lab: Organization) -> None:
    caller = caller_for(lab)
    key, secret = api_keys.create(caller, name="t", scopes=["orders:read", "grants:read"])
    assert ApiClient(secret).get(f"{deal['orders']}?expand=grant").status_code == 200
    api_keys.revoke(caller, str(key.pk))
    answer = ApiClient(secret).get(f"{deal['orders']}?expand=grant")
    assert refused(answer) == (401, "unauthenticated", None)


# --- how many questions -----------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("path", "name"), [("orders", "grant"), ("orders", "quote"), ("quotes", "offer"),
                       ("quotes", "terms"), ("grants", "terms"), ("grants", "snapshot"),
                       ("offers", "collection")],
)  # fmt: skip
def test_a_long_page_asks_as_often_as_a_short_one(
    path: str,
    name: str,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However busy the machine is, the key is looked up before.
    monkeypatch.setattr(known_keys, "KEPT_SECONDS", 600.0)
    client = client_for(archive if path == "offers" else lab)

    def questions() -> int:
        address = f"/v1/{path}?expand={name}"
        client.get(address)  # what is looked up for a while: the key
        with CaptureQueriesContext(connection) as asked:
            rows = client.get(address).json()["data"]
        assert all(row["expanded"][name] for row in rows)
        lengths.append(len(rows))
        return len(asked)

    lengths: list[int] = []
    make_grant(archive, lab)
    first = questions()
    for number in range(3):
        collection = make_collection(archive, name=f"Number {number}")
        make_grant(archive, lab, offer=make_offer(archive, price_minor=0, collection=collection))
    assert questions() == first
    assert lengths == [1, 4]


def test_pages_go_on_with_what_is_beside_their_rows(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    grants = [str(make_grant(archive, lab).pk) for _number in range(3)]
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/v1/grants?limit=2&expand=terms{cursor and f'&cursor={cursor}'}").json()
        seen += [row["id"] for row in page["data"] if row["expanded"]["terms"]["id"]]
        cursor = page["next_cursor"]
    assert seen == grants[::-1]


def test_a_planned_row_is_expanded_too(
    archive: Organization, client_for: ClientFor, deal: dict[str, str], settings: Any
) -> None:
    """With `expand`, the serializer answers, whether there are plans or not."""
    answers = []
    for way in (True, False):
        settings.READPLAN = way
        answers.append(expanded(client_for(archive), deal["offers"], "collection,terms"))
    assert answers[0] == answers[1]
