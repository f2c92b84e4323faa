"""Listings: what the market shows of the offers that are on sale, and how it is found."""

from __future__ import annotations

import itertools
import re
import struct
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field, replace
from functools import partial

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from licensing import candidates, page_rows, samples
from licensing.candidates import Bounds, Candidates, Facets, Search
from licensing.models import Offer
from licensing.search_documents import MODALITIES, primary
from licensing.vocabulary import Use, is_territory
from marketplace import cursors, full_text, money
from marketplace.access import Caller, planned_anew
from marketplace.errors import InvalidInput, NotFound
from marketplace.full_text import Question
from marketplace.models import Attestation

PAGE_LENGTH = 50
# The best is ranked, and facets are counted, among so many of the newest that match.
CANDIDATES_MAX = 1_000
SORTS = ("relevance", "newest")
# What narrows a search down; each but the first and the last is a facet.
PARAMETERS = ("q", *candidates.FACETS, "sort")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
SUGGESTIONS_MAX = 3
# How many words of a question are looked up among the market's words.
_WORDS_MAX = 8
# More may be read where a cursor holds the candidates' bounds and some came in late.
_HELD_MAX = 2 * CANDIDATES_MAX


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what a search found.

    `total` counts the candidates, of which there are at most CANDIDATES_MAX; `is_capped` says
    that more match. Facets are counted over the same candidates.
    """

    ids: list[uuid.UUID]
    next_cursor: str | None
    total: int
    is_capped: bool
    facets: Facets
    suggestions: list[str] = field(default_factory=list)

    @property
    def offers(self) -> list[Offer]:
        """Without those that went off sale since."""
        return page_rows.read(self.ids)

    @property
    def shown_total(self) -> str:
        return f"{self.total}+" if self.is_capped else str(self.total)


def public() -> QuerySet[Offer]:
    """What anybody may see, newest first."""
    return _whole(Offer.objects.public()).order_by("-id")


def visible_to(caller: Caller | None) -> QuerySet[Offer]:
    """What somebody may see: public offers, private ones made to them, and their own."""
    if caller is None:
        return public()
    return _whole(Offer.objects.buyable_by(caller)).order_by("-id")


def listed() -> QuerySet[Offer]:
    """What is on sale, for whoever looked before who may see it."""
    return _whole(Offer.objects.filter(state=Offer.State.LISTED))


def find_id(caller: Caller | None, id: str) -> uuid.UUID:
    """The key of one listing that a caller may see. Raises NotFound."""
    try:
        rows = visible_to(caller).order_by().select_related(None)
        return uuid.UUID(int=rows.values_list("pk", flat=True).get(pk=id).int)
    except (Offer.DoesNotExist, ValidationError):
        raise NotFound(_("There is no listing “%(id)s”.") % {"id": id}) from None


def find(caller: Caller | None, id: str) -> Offer:
    """One listing. Raises NotFound."""
    try:
        return visible_to(caller).get(pk=id)
    except (Offer.DoesNotExist, ValidationError):
        raise NotFound(_("There is no listing “%(id)s”.") % {"id": id}) from None


def wanted(asked: Mapping[str, str]) -> Search:
    """What is looked for, from the parameters that somebody gave; others are passed over.

    Raises InvalidInput, naming the wrong one.
    """
    given = {name: asked.get(name, "") for name in PARAMETERS}
    if len(given["q"]) > full_text.LENGTH_MAX:
        raise InvalidInput(
            _("Search for fewer words: up to %(max)s characters.") % {"max": full_text.LENGTH_MAX},
            param="q",
        )
    if "\x00" in given["q"]:
        raise InvalidInput(_("Search for words: a null character is none."), param="q")
    _check("use", given["use"], [member.value for member in Use])
    _check("modality", given["modality"], MODALITIES)
    _check("rights_basis", given["rights_basis"], Attestation.Basis.values)
    _check("sort", given["sort"], SORTS)
    if given["territory"] and not is_territory(given["territory"]):
        raise InvalidInput(_("Use an ISO 3166-1 alpha-2 code, “EU”, or “*”."), param="territory")
    if given["language"] and not _LANGUAGE.fullmatch(given["language"]):
        raise InvalidInput(_("Use a BCP 47 tag, such as “de” or “pt-BR”."), param="language")
    q, price = full_text.tidy(given["q"]), given["max_price_minor"]
    if price and not re.fullmatch(r"[0-9]{1,12}", price):
        raise InvalidInput(_("Give a whole number."), param="max_price_minor")
    if given["currency"]:
        money.currency(given["currency"])
    elif price:
        raise InvalidInput(_("Say in which currency the price is."), param="currency")
    return Search(
        q=q,
        use=given["use"],
        territory=given["territory"],
        modality=given["modality"],
        language=primary(given["language"]),
        rights_basis=given["rights_basis"],
        currency=given["currency"],
        max_price_minor=int(price) if price else None,
        # Without words nothing is more relevant than anything else.
        sort=(given["sort"] or "relevance") if q else "newest",
    )


def search(
    caller: Caller | None, wanted: Search, *, cursor: str = "", limit: int = PAGE_LENGTH
) -> Page:
    """Find listings among those that a caller (None: anybody) may see.

    Pages hold still while listings come and go: one that stayed is neither skipped nor shown
    twice. By relevance, pages end with the candidates of the first one; by age, with the oldest
    listing. Raises InvalidCursor for a cursor of another search.
    """
    after = _read(caller, cursor, wanted) if cursor else None
    # A plan for one question is wrong for the next: a rare word wants the words' index, a common
    # one the newest rows. A prepared statement would settle on one plan for both. Whoever looks for
    # nothing in particular reads the newest rows, whoever they are.
    with planned_anew() if wanted != Search() else nullcontext():
        question = full_text.ask(wanted.q) if wanted.q else None
        if question is not None and question.is_empty:
            return Page([], None, 0, False, candidates.count(wanted, candidates.NOTHING))
        if wanted.sort == "relevance":
            found, page, following = _best(caller, wanted, question, after, limit)
        else:
            found, page, following = _newest(caller, wanted, question, after, limit)
        is_capped = len(found) > CANDIDATES_MAX or (after is not None and after.is_capped)
        return Page(
            ids=[uuid.UUID(id) for id in page],
            next_cursor=_write(caller, wanted, replace(following, is_capped=is_capped))
            if following
            else None,
            total=min(len(found), CANDIDATES_MAX),
            is_capped=is_capped,
            facets=candidates.count(wanted, found),
            suggestions=[] if len(found) or not wanted.q else _suggestions(caller, wanted),
        )


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The last row of a page, and which documents the search began with."""

    bounds: Bounds
    rank: int
    id: uuid.UUID
    is_capped: bool = False


# All candidates, the offers of one page, and where the next page begins.
Found = tuple[Candidates, list[str], _Cursor | None]


def _best(
    caller: Caller | None,
    wanted: Search,
    question: Question | None,
    after: _Cursor | None,
    limit: int,
) -> Found:
    """By relevance."""
    look = partial(candidates.newest, caller, wanted, question, counted=CANDIDATES_MAX)
    if after is None:
        found = held = look(most=CANDIDATES_MAX + 1, named=CANDIDATES_MAX)
    else:
        # The same candidates as before: those that came later could push the oldest out.
        held = look(bounds=after.bounds, most=_HELD_MAX, named=_HELD_MAX)
        found = replace(held, size=min(len(held), CANDIDATES_MAX))
    places = held.places()
    order = sorted(range(len(places)), key=places.__getitem__, reverse=True)
    if after is not None:
        last = candidates.place(after.rank, str(after.id))
        order = [n for n in order if places[n] < last]
    page, rest = order[:limit], order[limit:]
    offers = [held.offers[n] for n in page]
    if not rest:
        return found, offers, None
    bounds = after.bounds if after else Bounds(uuid.UUID(held.ids[-1]), uuid.UUID(held.ids[0]))
    return found, offers, _Cursor(bounds, held.ranks[page[-1]], uuid.UUID(held.ids[page[-1]]))


def _newest(
    caller: Caller | None,
    wanted: Search,
    question: Question | None,
    after: _Cursor | None,
    limit: int,
) -> Found:
    """By age."""
    look = partial(candidates.newest, caller, wanted, question, named=limit)
    page = found = look(most=CANDIDATES_MAX + 1, counted=CANDIDATES_MAX)
    if after is not None:
        before = Bounds(candidates.EVERYTHING.oldest, uuid.UUID(int=after.id.int - 1))
        # As many as ever: asked for few, the planner would read on for the last of a rare word.
        page = look(bounds=before, most=max(CANDIDATES_MAX, limit) + 1, counted=0)
    if len(page) <= limit:
        return found, page.offers, None
    return (
        found,
        page.offers[:limit],
        _Cursor(candidates.EVERYTHING, 0, uuid.UUID(page.ids[limit - 1])),
    )


def _whole(rows: QuerySet[Offer]) -> QuerySet[Offer]:
    rows = rows.select_related("organization__trader", "collection", "snapshot", "terms")
    return samples.with_samples(rows)


def _check(param: str, value: str, known: list[str] | tuple[str, ...]) -> None:
    if value and value not in known:
        raise InvalidInput(_("Use one of: %(known)s.") % {"known": ", ".join(known)}, param=param)


# --- cursors ----------------------------------------------------------------------------------

# Whether more matched than were candidates, the oldest and the newest document, and the last row's
# rank and document.
_CURSOR = struct.Struct(">?16s16si16s")


def _write(caller: Caller | None, wanted: Search, cursor: _Cursor) -> str:
    oldest, newest = cursor.bounds
    packed = _CURSOR.pack(
        cursor.is_capped,
        oldest.bytes,
        newest.bytes,
        cursor.rank,
        cursor.id.bytes,
    )
    return cursors.write(packed, of=_of(caller, wanted))


def _read(caller: Caller | None, text: str, wanted: Search) -> _Cursor:
    packed = cursors.read(text, of=_of(caller, wanted))
    is_capped, oldest, newest, rank, id = _CURSOR.unpack(packed)
    bounds = Bounds(uuid.UUID(bytes=oldest), uuid.UUID(bytes=newest))
    return _Cursor(bounds, rank, uuid.UUID(bytes=id), is_capped)


def _of(caller: Caller | None, wanted: Search) -> str:
    return repr((cursors.owner(caller), "listings", astuple(wanted)))


# --- suggestions ------------------------------------------------------------------------------


def _suggestions(caller: Caller | None, wanted: Search) -> list[str]:
    """Questions like one that found nothing, each of which finds something with the same filters.

    Words are those of public listings, so that nobody learns a private one's.
    """
    words = re.findall(r"\w+", wanted.q.lower())[:_WORDS_MAX]
    likes = {word: [word] for word in words} | _like([word for word in words if len(word) > 3])
    found: list[str] = []
    for one in itertools.islice(itertools.product(*(likes[word] for word in words)), 8):
        q = " ".join(one)
        if list(one) == words or len(found) == SUGGESTIONS_MAX:
            continue
        asked = replace(wanted, q=q)
        if candidates.newest(
            caller, asked, full_text.ask(q), most=CANDIDATES_MAX + 1, named=0, counted=0
        ):
            found.append(q)
    return found


def _like(words: list[str]) -> dict[str, list[str]]:
    """For each word, itself if the market has it, else the words that are most like it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT asked, EXISTS (SELECT 1 FROM licensing_searchword WHERE word = asked),
                ARRAY(
                    SELECT word FROM licensing_searchword WHERE word %% asked
                    ORDER BY similarity(word, asked) DESC, word LIMIT 3
                )
            FROM unnest(%s::text[]) asked
            """,
            [words],
        )
        return {
            word: [word] if is_known or not alike else alike
            for word, is_known, alike in cursor.fetchall()
        }
