"""Search documents: what the market's search knows of each listed offer."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from licensing import snapshots
from licensing.models import Offer, SearchDocument
from licensing.vocabulary import (
    COUNTRY_NUMBERS,
    USE_NUMBERS,
    WORLDWIDE,
    Use,
    countries,
)
from marketplace.access import system
from marketplace.models import Collection, Organization
from marketplace.typeid import TypeID

# A change of what a document holds is a new version: `reindex` writes the older ones anew.
VERSION = 1
# What a sample of a work's media type says about what kind of content it is.
_MODALITIES = {"text": "text", "image": "image", "audio": "audio_recording", "video": "video"}
_MODALITIES_OF_TYPES = {
    "application/epub+zip": "text",
    "application/msword": "text",
    "application/pdf": "text",
    "application/rtf": "text",
    "application/vnd.oasis.opendocument.text": "text",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "text",
    "application/xhtml+xml": "text",
    "application/javascript": "code",
    "application/x-sh": "code",
    "text/css": "code",
    "text/javascript": "code",
    "application/vnd.apache.parquet": "tabular",
    "application/vnd.ms-excel": "tabular",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "tabular",
    "application/x-parquet": "tabular",
    "text/csv": "tabular",
    "text/tab-separated-values": "tabular",
}
MODALITIES = ("text", "image", "audio_recording", "video", "3d", "code", "tabular")
LANGUAGES_MAX = 50
# How many different words of a listing may be suggested to those who mistype them.
WORDS_MAX = 500
_WORD = re.compile(r"[^\W\d_]{4,40}")
# A use's pairs are its number times this, plus a country's number.
USE_STEP = 1000
_REINDEXED_AT_ONCE = 200

# Numbers of pairs, from the first to before the second.
Pairs = tuple[int, int]
# Called with how many documents were written, and of how many.
Report = Callable[[int, int], None]


# How a listing's texts are read, by what matters most: `c` is its collection, `o` its seller.
_VECTOR = """
setweight(to_tsvector({config}, c.name), 'A') || setweight(to_tsvector({config}, o.name), 'B')
|| setweight(to_tsvector({config}, c.notice), 'C')
|| setweight(to_tsvector({config}, c.description), 'D')
"""


def write(offer: Offer, *, id: TypeID | None = None) -> None:
    """Let the search find a listed offer, in the transaction that lists it.

    A document that there was is replaced; with `id`, at that one's place among the newest.
    """
    assert connection.in_atomic_block, "A document commits with its offer's state."
    assert offer.state == Offer.State.LISTED, "What is not listed has no document."
    remove(offer)
    collection = _held(offer)
    makeup = snapshots.makeup(offer.snapshot)
    languages = list(collection.languages) or _languages(makeup)
    typed = json.loads(offer.terms.typed)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO licensing_searchdocument (id, organization_id, offer_id, audience_id,
                text_config, search, facets, scope_id, price_minor, opens_at, closes_at, version)
            SELECT %(id)s, o.id, %(offer)s, %(audience)s, config::text,
                {_VECTOR.format(config="config")},
                %(facets)s, %(scope)s, %(price)s, %(opens_at)s, %(closes_at)s, %(version)s
            FROM licet_text_config(%(languages)s::text[]) config, marketplace_collection c
            JOIN marketplace_organization o ON o.id = c.organization_id
            WHERE c.id = %(collection)s
            """,
            {
                "id": id or TypeID.new("doc"),
                "offer": offer.pk,
                "audience": offer.audience_id,
                "collection": collection.pk,
                "facets": _facets(offer, makeup, languages, typed),
                "scope": _scope(pairs(typed)),
                "price": offer.price_minor,
                "opens_at": offer.opens_at,
                "closes_at": offer.closes_at,
                "version": VERSION,
                "languages": languages,
            },
        )
    if offer.audience_id is None:
        _keep_words(collection)


def redescribe(collection: Collection) -> None:
    """Find a collection's listings by what it is called now, in the transaction that says so.

    Languages that were taken back stay until `reindex`: the works would have to be read.
    """
    _rewrite("c.id = %(which)s", collection.pk)
    if SearchDocument.objects.filter(offer__collection=collection, audience=None).exists():
        _keep_words(collection)


def rename_seller(organization: Organization) -> None:
    """Find a seller's listings by the seller's name of now, in the transaction that changes it."""
    _rewrite("o.id = %(which)s", organization.pk)


def _rewrite(condition: str, which: TypeID) -> None:
    assert connection.in_atomic_block, "A document commits with what it was made of."
    config = (
        "CASE WHEN c.languages = '{}' THEN document.text_config::regconfig"
        " ELSE licet_text_config(c.languages) END"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE licensing_searchdocument document SET
                text_config = ({config})::text,
                search = {_VECTOR.format(config=config)},
                facets = CASE WHEN c.languages = '{{}}' THEN document.facets ELSE
                    ARRAY(SELECT each FROM unnest(document.facets) each
                        WHERE NOT starts_with(each, 'language:'))
                    || ARRAY(SELECT DISTINCT 'language:' || split_part(lower(tag), '-', 1)
                        FROM unnest(c.languages) tag)::varchar[] END
            FROM licensing_offer offer
            JOIN marketplace_collection c ON c.id = offer.collection_id
            JOIN marketplace_organization o ON o.id = c.organization_id
            WHERE offer.id = document.offer_id
                AND offer.organization_id = document.organization_id AND {condition}
            """,
            {"which": which},
        )


def _held(offer: Offer) -> Collection:
    """The offer's collection, described by nobody else until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM marketplace_collection c"
            " JOIN marketplace_organization o ON o.id = c.organization_id"
            " WHERE c.id = %s FOR SHARE",
            [offer.collection_id],
        )
    return Collection.objects.select_related("organization").get(pk=offer.collection_id)


def remove(offer: Offer) -> None:
    """Let the search find an offer no more, in the transaction that takes it off sale."""
    assert connection.in_atomic_block, "A document goes with its offer's state."
    SearchDocument.objects.filter(organization=offer.organization_id, offer=offer).delete()


def reindex(report: Report | None = None) -> int:
    """Write the documents that listed offers lack, and anew those of an older version.

    Commits in batches, oldest listing first: after a stop, the same call goes on. Returns how
    many were written.
    """
    written, last = 0, None
    with system("reindex all listings"):
        total = _wanting().count()
    while True:
        with system("reindex all listings"):
            rows = _wanting().order_by("published_at", "id")
            if last is not None:
                at, key = last
                rows = rows.filter(Q(published_at__gt=at) | Q(published_at=at, id__gt=key))
            # Locked, so that none is withdrawn or suspended in between; who waits, waits briefly.
            batch = list(rows.select_for_update(of=("self",))[:_REINDEXED_AT_ONCE])
            if not batch:
                return written
            for offer in batch:
                before = SearchDocument.objects.filter(offer=offer).first()
                write(offer, id=before.pk if before else None)
            written += len(batch)
            last = (batch[-1].published_at, batch[-1].pk)
        if report is not None:
            report(written, total)


def _wanting() -> Any:
    current = SearchDocument.objects.filter(version__gte=VERSION).values("offer")
    listed = Offer.objects.shown().filter(state=Offer.State.LISTED).exclude(pk__in=current)
    return listed.select_related("organization", "collection", "snapshot", "terms")


# --- what a document holds --------------------------------------------------------------------


def pairs(typed: Mapping[str, Any]) -> list[Pairs]:
    """The (use, country) pairs that typed terms permit for training, in versions 1 and 2.

    A clause that denies under a condition (a field, a release, a sector) leaves its pairs in:
    whoever does not meet it may buy them. One that denies a use somewhere takes its pairs out.
    """
    permitted: dict[Use, set[str]] = {use: set() for use in Use}
    for clause in typed["permit"]:
        for use in clause["uses"]:
            permitted[Use(use)] |= countries(_training(clause["territories"]))
    for clause in typed["deny"]:
        territories = clause.get("territories", [WORLDWIDE])
        is_conditional = not set(clause) <= {"uses", "territories"}
        if is_conditional or (isinstance(territories, Mapping) and "availability" in territories):
            continue
        for use in clause.get("uses", list(Use)):
            permitted[Use(use)] -= countries(_training(territories))
    return [run for use, codes in permitted.items() for run in runs(use, codes)]


def runs(use: Use, codes: Iterable[str]) -> list[Pairs]:
    """The pairs of one use, in few ranges: between two neighbors' numbers no country has one."""
    first, places = USE_NUMBERS[use] * USE_STEP, set(codes)
    found: list[Pairs] = []
    start: int | None = None
    for code, number in _BY_NUMBER:
        if code not in places:
            start = None
        elif start is None:
            start = first + number
            found.append((start, start + 1))
        else:
            found[-1] = (start, first + number + 1)
    return found


def as_multirange(permitted: Iterable[Pairs]) -> str:
    """Pairs as PostgreSQL writes an `int4multirange`."""
    return "{" + ",".join(f"[{lower},{upper})" for lower, upper in permitted) + "}"


_BY_NUMBER = sorted(COUNTRY_NUMBERS.items(), key=lambda one: one[1])


def _training(territories: Any) -> Iterable[str]:
    """Where training may happen: version 2 says that apart from where models are offered."""
    found = territories["training"] if isinstance(territories, Mapping) else territories
    return list(found)


def modality(media_type: str) -> str | None:
    """What kind of content works of a media type are; None where it does not tell."""
    if media_type.startswith("text/x-"):  # text/x-python, text/x-c
        return "code"
    kind = _MODALITIES_OF_TYPES.get(media_type)
    return kind or _MODALITIES.get(media_type.partition("/")[0]) or _three_d(media_type)


def _three_d(media_type: str) -> str | None:
    return "3d" if media_type.startswith("model/") else None


def _facets(
    offer: Offer,
    makeup: Counter[tuple[str, str]],
    languages: list[str],
    typed: Mapping[str, Any],
) -> list[str]:
    stated = {code for clause in typed["permit"] for code in _training(clause["territories"])}
    modalities = {modality(media_type) for _language, media_type in makeup} - {None}
    return [
        *(f"modality:{kind}" for kind in sorted(filter(None, modalities))),
        *(f"language:{tag}" for tag in dict.fromkeys(map(primary, languages))),
        *(f"territory:{code}" for code in sorted(stated)),
        f"rights_basis:{offer.rights_basis}",
        f"currency:{offer.currency}",
    ]


def _languages(makeup: Counter[tuple[str, str]]) -> list[str]:
    """The languages of a snapshot's works, the most frequent first."""
    counted: Counter[str] = Counter()
    for (language, _media_type), count in makeup.items():
        if language:
            counted[primary(language)] += count
    ordered = sorted(counted, key=lambda tag: (-counted[tag], tag))
    return ordered[:LANGUAGES_MAX]


def primary(language: str) -> str:
    """The primary subtag of a BCP 47 tag: "pt" of "pt-BR"."""
    return language.replace("_", "-").partition("-")[0].lower()


def _scope(permitted: list[Pairs]) -> UUID:
    """The id of a set of pairs; the same set is kept once."""
    text = as_multirange(permitted)
    id = UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO licensing_searchscope (id, pairs) VALUES (%s, %s::text::int4multirange)
            ON CONFLICT (id) DO NOTHING
            """,
            [id, text],
        )
    return id


def _keep_words(collection: Collection) -> None:
    """Remember words for suggestions. Sorted: two that keep the same words never deadlock."""
    text = f"{collection.name} {collection.organization.name} {collection.description}"
    words = dict.fromkeys(_WORD.findall(unicodedata.normalize("NFC", text).lower()))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO licensing_searchword (word)
            SELECT word FROM unnest(%s::text[]) word ORDER BY word COLLATE "C"
            ON CONFLICT (word) DO NOTHING
            """,
            [list(words)[:WORDS_MAX]],
        )
