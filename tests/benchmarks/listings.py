"""How long a search of 200,000 listings takes: rare words, common ones, and such as match nothing.

The texts are made up of words as collections' descriptions have them: few words are in very many
texts, most in very few. A handful of listings is made by the verbs, and multiplied by bare SQL.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import accumulate, product
from typing import Any
from uuid import UUID

import psycopg
from django.test import Client

from licensing import listings
from licensing.models import Offer
from marketplace.models import Organization
from tests.benchmarks.measure import (
    CpuClock,
    Figure,
    app,
    django_backend,
    median,
    owner,
    progress,
)
from tests.make import TYPED, make_offer
from tests.people import found

LISTINGS = 200_000
SEARCHES = 200
WARM_UP = 10
SECONDS_GOAL = 0.050
SELLERS = 12
BASES = 36
NAME_WORDS, DESCRIPTION_WORDS = 4, 45

COMMON_WORDS = """
text dataset letters collection english dialog question answering news articles web images
translation instruction summaries books reviews code generation speech conversations
licensed archive history language annotated sentences documents labels crowdsourced model
public research science papers photographs recordings interviews legal court decisions
medical notes poems novels stories children school maps city music radio broadcasts video
lectures subtitles forum posts social media wiki encyclopedia entries recipes product
catalog patents standards manuals government reports parliament debates statistics tables
newspapers magazines journals diaries postcards paintings museum library national regional
nineteenth twentieth century war migration railway harbor trade farming weather birds plants
"""
GERMAN = "Briefe Zeitungen Häuser Bücher Bilder Karten Lieder Gespräche Urteile Archiv"
FRENCH = "lettres journaux maisons livres images cartes chansons entretiens archives"
# Names of places and people, each in few texts.
SYLLABLES = "ba cor dun el fen gar hol is jor kel lum mar nor os pel quin ros sul tor vel"
COMMON = COMMON_WORDS.split()
RARE = ["".join(three) + "burg" for three in product(SYLLABLES.split(), repeat=3)]
LANGUAGES = (("en",), ("en",), ("en", "fr"), (), ("de",), ("fr",))

# One row for each listing to be, and its number.
TEXTS_SQL = """
CREATE TEMPORARY TABLE texts (n integer, base uuid, name text, description text, languages text[])
"""
ID = "('%s' || lpad(to_hex(n), 30, '0'))::uuid"
MULTIPLY_SQL = (
    f"""
    INSERT INTO marketplace_collection (id, organization_id, name, description, notice, languages,
        next_snapshot, created_at)
    SELECT {ID % "c0"}, offer.organization_id, name, texts.description, '',
        languages, 2, now()
    FROM texts JOIN licensing_offer offer ON offer.id = base
    """,
    # What records each snapshot: an entry of no kind of ours, for none is read here.
    f"""
    INSERT INTO licensing_ledgerentry (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    SELECT 'test', 'bench.made', uuid_send({ID % "5a"}), 0, '\\x7b7d', sha256('\\x007b7d'), now()
    FROM texts
    """,
    f"""
    INSERT INTO licensing_snapshot (id, organization_id, collection_id, number, size, root, totals,
        citation, secret, finalized_at, snapshot_ref, entry_id)
    SELECT {ID % "5a"}, snapshot.organization_id, {ID % "c0"}, 1, size, root, totals, citation,
        secret, now(), entry.subject_ref, entry.id
    FROM texts JOIN licensing_offer offer ON offer.id = base
    JOIN licensing_snapshot snapshot ON snapshot.id = offer.snapshot_id
    JOIN licensing_ledgerentry entry
        ON entry.log = 'test' AND entry.subject_ref = uuid_send({ID % "5a"}) AND entry.seq = 0
    """,
    f"""
    INSERT INTO licensing_offer (id, organization_id, collection_id, snapshot_id, terms_id, state,
        price_minor, currency, rights_basis, rights_license, rights_statement, opens_at,
        created_at, published_at)
    SELECT {ID % "0f"}, organization_id, {ID % "c0"}, {ID % "5a"}, terms_id, state, price_minor,
        currency, rights_basis, rights_license, rights_statement, opens_at, created_at, published_at
    FROM texts JOIN licensing_offer offer ON offer.id = base
    """,
    # As `search_documents.write` has it.
    f"""
    INSERT INTO licensing_searchdocument (id, organization_id, offer_id, text_config, search,
        facets, scope_id, price_minor, opens_at, version)
    SELECT {ID % "d0"}, document.organization_id, {ID % "0f"}, config::text,
        setweight(to_tsvector(config, texts.name), 'A')
        || setweight(to_tsvector(config, seller.name), 'B')
        || setweight(to_tsvector(config, texts.description), 'D'),
        facets, scope_id, price_minor, opens_at, version
    FROM texts JOIN licensing_searchdocument document ON document.offer_id = base
    JOIN marketplace_organization seller ON seller.id = document.organization_id,
    licet_text_config(languages) config
    """,
    """
    INSERT INTO licensing_searchword
    SELECT DISTINCT word FROM texts, regexp_split_to_table(lower(name || ' ' || description), ' ')
        word WHERE length(word) BETWEEN 4 AND 40 ON CONFLICT DO NOTHING
    """,
)
TABLES = (
    "marketplace_collection",
    "licensing_ledgerentry",
    "licensing_snapshot",
    "licensing_offer",
    "licensing_searchdocument",
    "licensing_searchword",
)
# The least that a full-text search could do.
BARE_SQL = """
SELECT offer_id FROM licensing_searchdocument
WHERE search @@ websearch_to_tsquery('english', %s) AND audience_id IS NULL
ORDER BY id DESC LIMIT 50
"""


def run(quick: bool) -> Iterator[Figure]:
    """Time pages of 50 with facets, by `listings.search`, each beside the bare query.

    And whole answers to GET /v1/listings, made in this process: pages as JSON, no network.
    """
    count = LISTINGS // 10 if quick else LISTINGS
    searches = SEARCHES // 5 if quick else SEARCHES
    chance = random.Random(3)
    load(count, chance)
    questions = {
        "rare": lambda: {"q": chance.choice(RARE)},
        "common": lambda: _common(chance),
        "no match": lambda: {"q": _mistyped(chance)},
    }
    with app() as bare:
        # Each question gets a plan of its own, as in `listings`.
        bare.prepare_threshold = None
        for kind, question in questions.items():
            yield from _figures(kind, question, bare, count=count, searches=searches)


def _figures(
    kind: str,
    question: Callable[[], dict[str, str]],
    bare: psycopg.Connection[Any],
    *,
    count: int,
    searches: int,
) -> Iterator[Figure]:
    ours, limits, totals, busy, answers = [], [], [], [], []
    client = Client()
    clock = CpuClock(django_backend())
    for turn in range(WARM_UP + searches):
        asked = question()
        started = time.perf_counter()
        bare.execute(BARE_SQL, [asked["q"]]).fetchall()
        began, between = clock.read(), time.perf_counter()
        page = listings.search(None, listings.wanted(asked))
        ended = time.perf_counter()
        spent = clock.read() - began
        answer = client.get("/v1/listings", asked)
        answered = time.perf_counter()
        assert answer.status_code == 200, answer.content
        if turn >= WARM_UP:
            ours.append(ended - between)
            busy.append(spent)
            limits.append(between - started)
            totals.append(int(page.total))
            answers.append(answered - ended)
    progress(
        f"search, {kind}: median {median(ours) * 1000:.1f} ms, worst {max(ours) * 1000:.1f} ms,"
        f" {median(totals):g} candidates in the middle"
    )
    seconds = _p95(ours)
    yield Figure(
        figure=f"search p95 at {count:,} listings: {kind}",
        value=seconds * 1000,
        unit="ms",
        limit=_p95(limits) * 1000,
        ratio=_p95(limits) / seconds,
        goal=f"value <= {SECONDS_GOAL * 1000:g} ms",
        holds=seconds <= SECONDS_GOAL,
    )
    yield Figure(
        figure=f"search p95 at {count:,} listings: {kind}, the whole answer as JSON",
        value=_p95(answers) * 1000,
        unit="ms",
        limit=_p95(limits) * 1000,
        ratio=_p95(limits) / _p95(answers),
    )
    # What is left of it where no neighbor computes.
    yield Figure(
        figure=f"search p95 at {count:,} listings: {kind}, CPU of client and backend",
        value=_p95(busy) * 1000,
        unit="ms",
        limit=_p95(limits) * 1000,
        ratio=_p95(limits) / _p95(busy),
    )


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def _common(chance: random.Random) -> dict[str, str]:
    asked = {"q": " ".join(chance.sample(COMMON[:20], chance.choice((1, 1, 2))))}
    if chance.random() < 0.5:
        asked |= {"use": "pretrain", "territory": chance.choice(("DE", "EU", "US", "*"))}
    return asked


def _mistyped(chance: random.Random) -> str:
    """A word that is in no text: half the time one that is like some that are."""
    if chance.random() < 0.5:
        return "".join(chance.choices("xzqwvj", k=9))
    word = chance.choice(COMMON)
    return word[:2] + "x" + word[2:]


# --- the market -------------------------------------------------------------------------------


def load(count: int, chance: random.Random, *, first: int = 1) -> None:
    """So many listings, numbered from the first on."""
    started = time.monotonic()
    bases = [str(UUID(int=base.pk.int)) for base in _bases()]
    with owner() as opened:
        # Built again at once below, which is faster; the owner's search is not measured here.
        opened.execute("DROP INDEX IF EXISTS search_document_terms, collection_search")
        opened.execute(TEXTS_SQL)
        with opened.cursor().copy("COPY texts FROM STDIN") as copy:
            for row in _texts(bases, first, count, chance):
                copy.write_row(row)
        opened.execute("ANALYZE texts")
        progress(f"search: {count:,} texts after {time.monotonic() - started:.0f} s")
        for statement, table in zip(MULTIPLY_SQL, TABLES, strict=True):
            opened.execute(statement)
            # What refers to its rows is checked by a plan that was made while there were none.
            opened.execute(f"ANALYZE {table}")
            progress(f"search: {table} after {time.monotonic() - started:.0f} s")
        opened.execute(
            "CREATE INDEX search_document_terms ON licensing_searchdocument"
            " USING gin (search, facets) WITH (fastupdate = off)"
        )
        # As autovacuum would have, by the time that somebody searches.
        for table in TABLES:
            opened.execute(f"VACUUM ANALYZE {table}")
    progress(f"search: loaded after {time.monotonic() - started:.0f} s")


def _bases() -> Iterator[Offer]:
    """Listings as the verbs make them: of several sellers, under terms that differ."""
    territories = (["*"], ["EU", "US"], ["EU"], ["DE", "AT", "CH"], ["US", "CA"], ["FR"])
    uses = (["pretrain", "finetune"], ["embed", "retrieve_rag"], ["finetune", "evaluate"])
    for n in range(BASES):
        seller = _seller(n % SELLERS)
        clause = {
            "uses": uses[n % len(uses)],
            "territories": territories[n % len(territories)],
            "model_scope": "any_model_of_licensee",
        }
        yield make_offer(
            seller,
            typed={**TYPED, "permit": [clause], "deny": []},
            price_minor=(0, 9_900, 50_000, 2_500_000)[n % 4],
            currency=("USD", "EUR")[n % 2],
        )


_SELLERS: dict[int, Organization] = {}


def _seller(n: int) -> Organization:
    if n not in _SELLERS:
        _SELLERS[n] = found(f"{RARE[n].title()} {COMMON[n + 5].title()}", "platform")
    return _SELLERS[n]


def _texts(
    bases: list[str], first: int, count: int, chance: random.Random
) -> Iterator[tuple[int, str, str, str, list[str]]]:
    words = [*COMMON, *GERMAN.split(), *FRENCH.split()]
    # Zipf's law: the nth word comes up 1/n as often as the first.
    weights = list(accumulate(1 / (n + 1) for n in range(len(words))))
    for n in range(first, first + count):
        drawn = chance.choices(words, cum_weights=weights, k=NAME_WORDS + DESCRIPTION_WORDS - 2)
        drawn += chance.choices(RARE, k=2)
        name, description = drawn[:NAME_WORDS], drawn[NAME_WORDS:]
        yield (
            n,
            bases[n % len(bases)],
            " ".join(name).title(),
            " ".join(description),
            list(LANGUAGES[n % len(LANGUAGES)]),
        )
