"""The market's search: words of many languages, facets, counts, cursors and suggestions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from licensing import listings, offers, search_documents
from licensing.models import Offer, SearchDocument
from marketplace import collections, imports, organizations
from marketplace.access import system
from marketplace.models import Organization
from tests.make import TYPED, make_collection, make_offer, records
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def make_listing(
    seller: Organization, name: str, *, languages: tuple[str, ...] = (), **offered: Any
) -> Offer:
    """A public listing of a collection of that name."""
    collection = make_collection(seller, name=name, works=1)
    description = offered.pop("description", "")
    collections.describe(
        caller_for(seller), str(collection.pk), languages=languages, description=description
    )
    return make_offer(seller, collection=collection, **offered)


def asked(client: ApiClient, query: str) -> Any:
    answer = client.get(f"/v1/listings?{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def names(client: ApiClient, query: str) -> list[str]:
    return [row["collection"]["name"] for row in asked(client, query)["data"]]


def facet(answer: Any, name: str) -> dict[str, int]:
    return {one["value"]: one["count"] for one in answer["facets"][name]}


# --- words ------------------------------------------------------------------------------------

IN_LANGUAGES = [
    ("de", "Alte Häuser", "haus"),
    ("es-MX", "Canciones populares", "canción"),
    ("fr", "Journaux intimes", "journal"),
    ("ru", "Старые книги", "книга"),
    ("ar", "كتب قديمة", "كتب"),
    ("tr", "Eski kitaplar", "kitap"),
    ("fi", "Vanhat talot", "talo"),
    ("en", "Stories of cities", "city"),
    # Without a configuration of its own: words as they are written.
    ("sw", "Hadithi za kale", "hadithi"),
    ("pl", "Żółte gęsi", "gęsi"),
]


@pytest.mark.parametrize(("language", "name", "word"), IN_LANGUAGES)
def test_words_are_found_as_their_language_inflects_them(
    archive: Organization, client_for: ClientFor, language: str, name: str, word: str
) -> None:
    make_listing(archive, name, languages=(language,))
    make_listing(archive, "Something else")
    client = client_for(None)
    assert names(client, f"q={quote(word)}") == names(client, f"q={quote(name.upper())}") == [name]


def test_the_works_languages_count_where_the_collection_says_none(
    archive: Organization, client_for: ClientFor
) -> None:
    caller = caller_for(archive)
    collection = make_collection(archive, name="Alte Häuser", works=1)
    one, two, three = records(3, start=500)
    imports.run(
        caller,
        str(collection.pk),
        imports.Records(
            [
                replace(one, language="de-AT"),
                replace(two, language="de", media_type="audio/flac"),
                replace(three, language="fr", media_type="text/x-python"),
            ]
        ),
    )
    make_offer(archive, collection=collection)
    answer = asked(client_for(None), "q=haus")
    assert facet(answer, "language") == {"de": 1, "fr": 1}
    assert facet(answer, "modality") == {"text": 1, "audio_recording": 1, "code": 1}


def test_questions_read_as_people_type_them(archive: Organization, client_for: ClientFor) -> None:
    make_listing(archive, "Letters from wars")
    make_listing(archive, "Letters from Lagos", description="With a map.")
    client = client_for(None)
    assert len(names(client, "q=letters")) == 2
    assert names(client, "q=letter+-war") == ["Letters from Lagos"]
    assert set(names(client, "q=war+or+map")) == {"Letters from wars", "Letters from Lagos"}
    assert names(client, "q=%22from+lagos%22") == ["Letters from Lagos"]
    assert names(client, "q=%22lagos+letters%22") == []
    for hostile in ("':*", "&|!", "\\", "%", "a%00b", '"', "((", "-", "' OR 1=1 --"):
        asked(client, f"q={quote(hostile)}")


def test_a_name_matters_more_than_a_seller_and_a_seller_more_than_a_description(
    archive: Organization, client_for: ClientFor
) -> None:
    make_listing(archive, "Atlas")
    make_listing(found("Atlas", "platform"), "Paintings")
    make_listing(archive, "Roads", description="As in an atlas.")
    client = client_for(None)
    assert names(client, "q=atlas") == ["Atlas", "Paintings", "Roads"]
    assert names(client, "q=atlas&sort=newest") == ["Roads", "Paintings", "Atlas"]


def test_a_listing_is_found_by_what_it_is_called_now(
    archive: Organization, client_for: ClientFor
) -> None:
    offer = make_listing(archive, "Letters", languages=("en",))
    client, caller = client_for(None), caller_for(archive)
    collections.describe(caller, str(offer.collection_id), name="Häuser", languages=["de"])
    assert names(client, "q=letters") == []
    assert names(client, "q=haus") == ["Häuser"]
    assert facet(asked(client, ""), "language") == {"de": 1}
    organizations.identify(caller, name="Museum")
    assert names(client, "q=museum") == ["Häuser"]
    assert names(client, "q=archive") == []


# --- facets -----------------------------------------------------------------------------------


def permitting(uses: list[str], territories: list[str]) -> dict[str, Any]:
    clause = {"uses": uses, "territories": territories, "model_scope": "any_model_of_licensee"}
    return {**TYPED, "permit": [clause], "deny": []}


def test_facets_count_what_each_value_would_leave(
    archive: Organization, client_for: ClientFor
) -> None:
    make_listing(archive, "One", typed=permitting(["pretrain", "embed"], ["*"]), price_minor=0)
    make_listing(archive, "Two", typed=permitting(["embed"], ["EU"]), price_minor=20_000)
    make_listing(archive, "Three", typed=permitting(["embed"], ["DE"]), currency="EUR")
    client = client_for(None)

    everything = asked(client, "")
    assert everything["total"] == "3"
    assert facet(everything, "use") == {"embed": 3, "pretrain": 1}
    assert facet(everything, "territory") == {"*": 1, "EU": 2, "DE": 3}
    assert facet(everything, "rights_basis") == {"own": 3}
    assert facet(everything, "currency") == {"USD": 2, "EUR": 1}
    assert facet(everything, "modality") == {"text": 3}
    assert everything["facets"]["max_price_minor"] == []
    dollars = asked(client, "currency=USD")
    assert facet(dollars, "max_price_minor") == {
        "0": 1,
        "10000": 1,
        "100000": 2,
        "1000000": 2,
        "10000000": 2,
        "100000000": 2,
    }
    assert facet(asked(client, "use=pretrain"), "territory") == {"*": 1}


def test_each_count_is_what_its_value_finds(archive: Organization, client_for: ClientFor) -> None:
    for n, (uses, territories) in enumerate(
        [(["pretrain"], ["*"]), (["embed", "pretrain"], ["EU", "US"]), (["embed"], ["DE", "FR"])]
    ):
        make_listing(
            archive, f"Number {n}", typed=permitting(uses, territories), price_minor=n * 9_999
        )
    client = client_for(None)
    for narrowed in ("", "use=embed", "territory=DE", "currency=USD&use=pretrain"):
        for name, values in asked(client, narrowed)["facets"].items():
            for one in values:
                if f"{name}=" in narrowed:
                    continue
                left = asked(client, f"{narrowed}&{name}={quote(one['value'])}")
                assert left["total"] == str(one["count"]), (narrowed, name, one)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("modality=smell", "modality"),
        ("language=d", "language"),
        ("rights_basis=hope", "rights_basis"),
        ("sort=price", "sort"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("currency=USD&max_price_minor=9999999999999", "max_price_minor"),
    ],
)
def test_a_wrong_parameter_is_named(client_for: ClientFor, query: str, param: str) -> None:
    answer = client_for(None).get(f"/v1/listings?{query}")
    assert (answer.status_code, answer.json()["param"]) == (422, param)


# --- pages ------------------------------------------------------------------------------------


def test_counts_stop_at_the_newest_candidates(
    archive: Organization, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "CANDIDATES_MAX", 3)
    collection = make_collection(archive, name="Atlas")
    made = [str(make_offer(archive, collection=collection).pk) for _ in range(5)]
    client = client_for(None)
    for sort, reached in (("relevance", 3), ("newest", 5)):
        pages, cursor = [], ""
        while cursor is not None:
            page = asked(client, f"q=atlas&sort={sort}&limit=2&cursor={cursor}")
            assert (page["total"], facet(page, "currency")) == ("3+", {"USD": 3})
            pages += [row["id"] for row in page["data"]]
            cursor = page["next_cursor"]
        assert pages == made[::-1][:reached]


@pytest.mark.parametrize("sort", ["relevance", "newest"])
def test_pages_hold_still_while_listings_come_and_go(
    archive: Organization, client_for: ClientFor, sort: str
) -> None:
    made = [make_listing(archive, f"Atlas {n}") for n in range(6)]
    client = client_for(None)
    query = f"q=atlas&sort={sort}&limit=2"
    first = asked(client, query)
    offers.withdraw(caller_for(archive), str(made[3].pk))
    make_listing(archive, "Atlas atlas atlas")
    seen, cursor = names(client, query)[:0], first["next_cursor"]
    while cursor:
        page = asked(client, f"{query}&cursor={cursor}")
        seen += [row["collection"]["name"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert [row["collection"]["name"] for row in first["data"]] == ["Atlas 5", "Atlas 4"]
    assert seen == ["Atlas 2", "Atlas 1", "Atlas 0"]


def test_a_cursor_of_another_search_is_refused(
    archive: Organization, client_for: ClientFor
) -> None:
    for n in range(3):
        make_listing(archive, f"Atlas {n}")
    client = client_for(None)
    cursor = asked(client, "q=atlas&limit=1")["next_cursor"]
    assert asked(client, f"q=atlas&limit=2&cursor={cursor}")["data"]
    for other in ("q=archive", "", "q=atlas&currency=USD", "q=atlas&sort=newest"):
        answer = client.get(f"/v1/listings?{other}&cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), other
    for forged in ("x", "%F0%9F%92%A9", cursor[:-2], cursor + "AAAA", "off_00000000"):
        answer = client.get(f"/v1/listings?q=atlas&cursor={forged}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), forged


# --- suggestions ------------------------------------------------------------------------------


def test_where_nothing_matches_words_like_these_are_suggested(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    make_listing(archive, "Newspapers of Lisbon")
    make_offer(archive, collection=make_collection(archive, name="Secrets"), audience=str(lab.pk))
    client = client_for(None)
    typed = asked(client, "q=newspapirs+lisbon")
    assert (typed["data"], typed["total"]) == ([], "0")
    assert typed["suggestions"] == ["newspapers lisbon"]
    assert names(client, f"q={quote(typed['suggestions'][0])}") == ["Newspapers of Lisbon"]
    # Only what finds something, with the same filters; never a private listing's words.
    assert asked(client, "q=newspapirs&currency=EUR")["suggestions"] == []
    assert asked(client, "q=secrats")["suggestions"] == []
    assert asked(client, "q=zzzzzz")["suggestions"] == []
    assert asked(client, "q=newspapers")["suggestions"] == []


def test_a_word_of_what_is_no_longer_listed_is_not_suggested(
    archive: Organization, client_for: ClientFor
) -> None:
    offer = make_listing(archive, "Newspapers")
    offers.withdraw(caller_for(archive), str(offer.pk))
    assert asked(client_for(None), "q=newspapirs")["suggestions"] == []


# --- documents --------------------------------------------------------------------------------


def documents() -> list[str]:
    return sorted(str(one) for one in SearchDocument.objects.values_list("offer", flat=True))


def test_a_private_listing_is_found_by_its_audience_and_its_seller_alone(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    make_listing(archive, "Secrets", audience=str(lab.pk))
    for caller, sees in ((None, 0), (stranger, 0), (lab, 1), (archive, 1)):
        answer = asked(client_for(caller), "q=secrets")
        assert (len(answer["data"]), answer["total"]) == (sees, str(sees))
        assert facet(answer, "currency") == ({"USD": 1} if sees else {})


def test_reindexing_writes_what_is_missing_or_old_in_its_place(
    archive: Organization, client_for: ClientFor, owner_connection: psycopg.Connection[Any]
) -> None:
    one, two, three = (make_listing(archive, f"Atlas {n}") for n in range(3))
    make_offer(archive, is_published=False)
    before = list(SearchDocument.objects.order_by("id").values_list("id", "offer"))
    with system("lose a document in a test"):
        SearchDocument.objects.filter(offer=three.pk).delete()

    call_command("reindex_listings")
    assert documents() == sorted(str(each.pk) for each in (one, two, three))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_documents, "VERSION", 2)
        patch.setattr(search_documents, "_REINDEXED_AT_ONCE", 1)
        assert search_documents.reindex() == 3
        assert search_documents.reindex() == 0
    after = list(SearchDocument.objects.order_by("id").values_list("id", "offer"))
    assert after[:2] == before[:2]
    assert names(client_for(None), "q=atlas&sort=newest") == ["Atlas 2", "Atlas 1", "Atlas 0"]


def test_a_page_asks_the_database_a_fixed_number_of_times(
    archive: Organization, client_for: ClientFor
) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as kept:
            asked(client_for(None), "q=atlas&use=pretrain&territory=DE")
        return len(kept)

    make_listing(archive, "Atlas 0")
    statements()
    few = statements()
    for n in range(3):
        make_listing(archive, f"Atlas {n + 1}")
    # One more, once, for terms that nobody was shown before.
    assert statements() == few + 1
    assert statements() == few


# --- the page for people ----------------------------------------------------------------------


def opened(client: Client, url: str, status: int = 200) -> str:
    answer = client.get(url)
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    return str(answer.content.decode())


def test_the_page_searches_and_narrows_down(client: Client, archive: Organization) -> None:
    make_listing(archive, "Alte Häuser", languages=("de",))
    make_listing(archive, "Old houses", languages=("en",), currency="EUR")
    text = opened(client, "/listings?q=haus")
    assert "Alte Häuser" in text
    assert "Old houses" not in text
    assert 'value="haus"' in text
    assert '<option value="de">de (1)</option>' in text
    text = opened(client, "/listings?currency=EUR")
    assert "Old houses" in text
    assert "Alte Häuser" not in text
    assert '<option value="EUR" selected>EUR (1)</option>' in text
    assert "up to" in text
    # Each control has its own label.
    controls = re.findall(r'<(?:input|select) id="([a-z_]+)"', text)
    assert len(controls) > 5
    assert set(controls) <= set(re.findall(r'<label for="([a-z_]+)"', text))


def test_the_page_says_that_nothing_matches_and_what_may_have_been_meant(
    client: Client, archive: Organization
) -> None:
    make_listing(archive, "Newspapers")
    text = opened(client, "/listings?q=newspapirs&currency=USD")
    assert "Nothing on sale matches." in text
    assert 'href="/listings?q=newspapers&amp;currency=USD">newspapers</a>' in text
    # What was chosen can be taken back.
    assert '<option value="USD" selected>USD (0)</option>' in text


def test_the_page_says_what_is_wrong_with_a_search(client: Client) -> None:
    text = opened(client, "/listings?use=sell", 422)
    assert 'role="alert"' in text
    assert "pretrain" in text
    text = opened(client, f"/listings?q={'x' * 201}", 422)
    assert 'aria-invalid="true"' in text
    assert opened(client, "/listings?cursor=x", 400)
    assert opened(client, "/listings?q=a%00b%3Cscript%3E", 422).count("<script") == 0


def test_the_pages_of_the_page_follow_each_other(
    client: Client, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings.search, "__kwdefaults__", {"cursor": "", "limit": 2})
    for n in range(3):
        make_listing(archive, f"Atlas {n}")
    first = opened(client, "/listings?q=atlas")
    assert "Atlas 2" in first
    assert "Atlas 0" not in first
    [link] = re.findall(r'<a rel="next" href="([^"]+)"', first)
    second = opened(client, link.replace("&amp;", "&"))
    assert "Atlas 0" in second
    assert "Atlas 2" not in second
    assert 'href="/listings?q=atlas">First page</a>' in second
