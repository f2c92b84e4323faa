"""Wherever an id can stand, one that is hidden answers as one that never was: of another
organization, or of the other mode. The places are those of the document."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import transaction
from django.http import QueryDict

from api_docs.document import parameters
from licensing import offers, snapshots, terms
from licensing.models import Offer
from marketplace import contributors, cursors, imports, uploads
from marketplace.access import acting, system
from marketplace.models import Organization, Work
from marketplace.typeid import TypeID
from tests.make import TYPED, make_collection, records
from tests.people import ApiClient, caller_for
from tests.security.test_access_matrix import MATRIX, ROUTES, Route, Row, _ask, _name
from tests.security.test_cursors import DOCUMENT, SIGNED, address
from tests.security.world import ACCEPTANCE, World

pytestmark = pytest.mark.django_db
ID = re.compile(r"\^([a-z]{3})_\[")
# Said in words where a field takes another pattern: “A finished upload (upl_…)”.
SAID = re.compile(r"\b[a-z]{3}_…")
# Rows of these kinds are of both modes: there is no other mode that they could be hidden in.
BOTH_MODES = {
    *("collection", "contributor", "work", "importjob", "upload", "remote_bucket"),
    *("draft_snapshot", "draft_terms", "offer", "private_offer", "share", "invitation", "member"),
    *("opt_out", "opt_out_link", "moderation_decision", "royalty_rule"),
}


class Place(NamedTuple):
    """Where an id can stand: an operation, and a parameter of it or a member of its body."""

    operation: str
    where: str
    name: str


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def members(schema: dict[str, Any], path: str = "", depth: int = 0) -> Iterator[str]:
    """The members of a body that take an id, at any depth, as `items[].works[]`."""
    schema = resolved(schema)
    is_one = ID.match(schema.get("pattern", "")) or SAID.search(schema.get("description", ""))
    if is_one and schema.get("type") not in ("object", "array"):
        yield path
    if depth > 8:
        return
    for kind in ("oneOf", "anyOf", "allOf"):
        for each in schema.get(kind, ()):
            yield from members(each, path, depth + 1)
    for name, each in schema.get("properties", {}).items():
        yield from members(each, f"{path}.{name}" if path else name, depth + 1)
    if "items" in schema:
        yield from members(schema["items"], f"{path}[]", depth + 1)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from members(schema["additionalProperties"], f"{path}.*", depth + 1)


def places() -> Iterator[Place]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            label = f"{method.upper()} {path}"
            for each in parameters(DOCUMENT, operation):
                if each["in"] == "path" or ID.match(each["schema"].get("pattern", "")):
                    yield Place(label, each["in"], each["name"])
            for media in operation.get("requestBody", {}).get("content", {}).values():
                for name in dict.fromkeys(members(media["schema"])):
                    yield Place(label, "body", name)


PLACES = list(places())

# --- who asks, and for what -------------------------------------------------------------------


@dataclass(frozen=True)
class Goods:
    """What the stranger has to ask with: one row of each kind of its own."""

    collection: str
    contributor: str
    upload: str
    snapshot: str
    terms: str
    offer: str
    work: str
    # Of the archive's, as good as the stranger's own.
    foreign_upload: str


@dataclass(frozen=True)
class Filled:
    """An otherwise valid request, and whose ids of that kind there are.

    `own` is an id with which the same request is done, by `owner`; `hidden` is one that the
    stranger may not see.
    """

    ask: Callable[[ApiClient, Goods, str], Any]
    hidden: Callable[[World, Goods], Any]
    own: Callable[[World, Goods], Any]
    owner: str = "stranger"
    is_of_one_mode: bool = False


def post(path: str, **body: Any) -> Callable[[ApiClient, Goods, str], Any]:
    """A request with the id put where it says ID, and the stranger's own where it says $kind."""

    def ask(client: ApiClient, goods: Goods, id: str) -> Any:
        text = json.dumps([path, body]).replace("ID", id)
        url, filled = json.loads(re.sub(r"\$(\w+)", lambda kind: getattr(goods, kind[1]), text))
        return client.post(url, filled)

    return ask


def get(path: str) -> Callable[[ApiClient, Goods, str], Any]:
    return lambda client, goods, id: client.get(path.replace("ID", id))


def of(kind: str) -> Callable[[World, Goods], Any]:
    return lambda world, goods: world.subject(kind)


def mine(kind: str) -> Callable[[World, Goods], Any]:
    return lambda world, goods: getattr(goods, kind)


def of_one_mode(
    ask: Callable[[ApiClient, Goods, str], Any], kind: str, owner: str = "lab"
) -> Filled:
    return Filled(ask, of(kind), of(kind), owner, is_of_one_mode=True)


HOSTED = {"upload": "ID", "external_id": "w", "media_type": "text/plain"}
ACCEPTED = {"document_sha256": "0" * 64, **ACCEPTANCE}
STATED = {"statement": "Done.", "name": "Lin", "title": "Counsel"}
QUESTION = {"use": "pretrain", "territory": "EU"}
ASKED = {"question": QUESTION, "works": ["ab" * 32]}
RULE = {"basis_points": 5_000, "method": "equal_per_work"}
PARTS = {"basis_points": 5_000, "method": "fixed", "parts": [{"contributor": "ID", "parts": 1}]}
PREVIEWED = {"currency": "USD", "price_minor": 900}
SOLD = {"price_minor": 0, "currency": "USD"}
WHY = {"reason": "Asked."}

FILLED: dict[Place, Filled] = {
    Place("POST /v1/collections/{id}/works", "body", "upload"): Filled(
        post("/v1/collections/$collection/works", **HOSTED), mine("foreign_upload"), mine("upload")
    ),
    Place("POST /v1/collections/{id}/works/bulk", "body", "items[].upload"): Filled(
        post("/v1/collections/$collection/works/bulk", items=[HOSTED]),
        mine("foreign_upload"),
        mine("upload"),
    ),
    Place("POST /v1/collections/{id}/imports", "body", "upload"): Filled(
        post("/v1/collections/$collection/imports", upload="ID", format="csv"),
        mine("foreign_upload"),
        mine("upload"),
    ),
    Place("POST /v1/decisions", "body", "grant"): of_one_mode(
        post("/v1/decisions", grant="ID", **ASKED), "grant"
    ),
    Place("POST /v1/decisions", "body", "collection"): Filled(
        post("/v1/decisions", collection="ID", question=QUESTION),
        of("collection"),
        of("collection"),
        "lab",
    ),
    Place("GET /v1/notices", "query", "grant"): of_one_mode(get("/v1/notices?grant=ID"), "grant"),
    Place("GET /v1/royalty-payments", "query", "payout"): of_one_mode(
        get("/v1/royalty-payments?payout=ID"), "royalty_payout", "archive"
    ),
    Place("GET /v1/works", "query", "collection"): Filled(
        get("/v1/works?collection=ID"), of("collection"), mine("collection")
    ),
    Place("POST /v1/notices/acknowledge", "body", "items[].notice"): of_one_mode(
        post("/v1/notices/acknowledge", items=[{"notice": "ID", **STATED}]), "notice"
    ),
    Place("POST /v1/offers", "body", "snapshot"): Filled(
        post("/v1/offers", snapshot="ID", terms="$terms", **SOLD),
        of("draft_snapshot"),
        mine("snapshot"),
    ),
    Place("POST /v1/offers", "body", "terms"): Filled(
        post("/v1/offers", snapshot="$snapshot", terms="ID", **SOLD),
        of("draft_terms"),
        mine("terms"),
    ),
    Place("POST /v1/offers/{id}/sample", "body", "works[]"): Filled(
        post("/v1/offers/$offer/sample", works=["ID"]), of("work"), mine("work")
    ),
    Place("POST /v1/opt-outs", "body", "works[]"): Filled(
        post("/v1/opt-outs", works=["ID"], **WHY), of("work"), mine("work")
    ),
    Place("POST /v1/opt-outs", "body", "collection"): Filled(
        post("/v1/opt-outs", collection="ID", **WHY), of("collection"), mine("collection")
    ),
    Place("POST /v1/opt-outs", "body", "contributor"): Filled(
        post("/v1/opt-outs", contributor="ID", **WHY), of("contributor"), mine("contributor")
    ),
    Place("POST /v1/opt-outs/bulk", "body", "items[].works[]"): Filled(
        post("/v1/opt-outs/bulk", items=[{"works": ["ID"], **WHY}]), of("work"), mine("work")
    ),
    Place("POST /v1/opt-outs/bulk", "body", "items[].collection"): Filled(
        post("/v1/opt-outs/bulk", items=[{"collection": "ID", **WHY}]),
        of("collection"),
        mine("collection"),
    ),
    Place("POST /v1/opt-outs/bulk", "body", "items[].contributor"): Filled(
        post("/v1/opt-outs/bulk", items=[{"contributor": "ID", **WHY}]),
        of("contributor"),
        mine("contributor"),
    ),
    Place("POST /v1/orders", "body", "quote"): of_one_mode(
        post("/v1/orders", quote="ID", accept=ACCEPTED), "quote"
    ),
    Place("POST /v1/quotes", "body", "offer"): Filled(
        post("/v1/quotes", offer="ID", uses=["pretrain"], territories=["DE"]),
        of("private_offer"),
        of("private_offer"),
        "lab",
    ),
    Place("POST /v1/refunds", "body", "order"): of_one_mode(
        post("/v1/refunds", order="ID", amount_minor=1, **WHY), "order", "archive"
    ),
    Place("POST /v1/royalty-rules", "body", "collection"): Filled(
        post("/v1/royalty-rules", collection="ID", **RULE), of("collection"), mine("collection")
    ),
    Place("POST /v1/royalty-rules", "body", "parts[].contributor"): Filled(
        post("/v1/royalty-rules", collection="$collection", **PARTS),
        of("contributor"),
        mine("contributor"),
    ),
    Place("POST /v1/royalty-rules/preview", "body", "collection"): Filled(
        post("/v1/royalty-rules/preview", collection="ID", **RULE, **PREVIEWED),
        of("collection"),
        mine("collection"),
    ),
    Place("POST /v1/royalty-rules/preview", "body", "parts[].contributor"): Filled(
        post("/v1/royalty-rules/preview", collection="$collection", **PARTS, **PREVIEWED),
        of("contributor"),
        mine("contributor"),
    ),
}

# Where no id can be hidden, and why.
OPEN: dict[Place, str] = {
    Place("GET /v1/terms-templates/{id}", "path", "id"): "the library is everybody's",
    Place("POST /v1/offers", "body", "audience"): "names another organization, which gave its id",
    Place(
        "POST /v1/decisions", "body", "licensor"
    ): "names another organization, as the market does",
}
# A filter: what is not there has no rows, and neither has what is hidden.
EMPTY = {Place("GET /v1/notices", "query", "grant")}
# A question of rights is answered, by what the asker holds: nothing, of what is hidden or missing.
DENIED = {Place("POST /v1/decisions", "body", "collection")}


@pytest.fixture
def goods(world: World, settings: Any, tmp_path: Path) -> Goods:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.UPLOAD_DIR = tmp_path / "store" / "uploads"
    stranger = caller_for(world.stranger)
    made = make_collection(world.stranger, name="Own")
    contributor = contributors.add(stranger, external_id="own")
    # One of a contributor's, of whom an opt-out takes all.
    [record] = records(1, start=9_000)
    signed = dataclasses.replace(record, contributor="own")
    imports.run(stranger, str(made.pk), imports.Records([signed]))
    with acting(stranger, writing=False):
        work = Work.objects.filter(organization=world.stranger).latest("id")
    snapshot = snapshots.finalize(stranger, str(made.pk))
    drafted = terms.draft(stranger, name="Own", typed=TYPED)
    terms.publish(stranger, str(drafted.pk))
    chosen = {"snapshot": str(snapshot.pk), "terms": str(drafted.pk), **SOLD}
    offer = offers.make(stranger, **chosen)
    return Goods(
        collection=str(made.pk),
        contributor=str(contributor.pk),
        upload=uploaded(world.stranger),
        snapshot=str(snapshot.pk),
        terms=str(drafted.pk),
        offer=str(offer.pk),
        work=str(work.pk),
        foreign_upload=uploaded(world.archive),
    )


def uploaded(organization: Organization) -> str:
    caller = caller_for(organization)
    table = b"external_id,sha256,length,media_type\nown-1,%s,1,text/plain\n" % (b"ab" * 32)
    upload = uploads.begin(caller, length=len(table))
    uploads.append(caller, upload.pk, 0, io.BytesIO(table))
    return str(uploads.finish(caller, upload.pk).pk)


# --- what is answered -------------------------------------------------------------------------


def told(answer: Any, id: object) -> tuple[int, str]:
    """An answer without what tells one request from another: the id asked for, and its own."""
    text = json.dumps(answer.json(), sort_keys=True)
    text = re.sub(r'"(request_id|at)": "[^"]+"', r'"\1": null', text)
    return answer.status_code, text.replace(str(id), "ID")


def alike(ask: Callable[[str], Any], *ids: object) -> tuple[int, str]:
    """The one answer to all of some ids."""
    answers = {str(id): told(ask(str(id)), id) for id in ids}
    assert len(set(answers.values())) == 1, answers
    return next(iter(answers.values()))


def refused(answer: tuple[int, str]) -> tuple[int, str]:
    """The status and the code of a refusal, also of a bulk's only item."""
    status, body = answer[0], json.loads(answer[1])
    if "results" in body:
        [only] = body["results"]
        assert (status, body["succeeded"], only["ok"], only["item"]) == (200, 0, False, None)
        status, body = only["status"], only["error"]
    return status, body["code"]


def test_each_place_of_the_document_is_asked_or_says_why_not() -> None:
    paths = {
        Place(f"{each.method.upper()} /v1/{each.path.replace('<pk>', '{id}')}", "path", "id")
        for each in ROUTES
    }
    assert set(PLACES) == paths | set(FILLED) | set(OPEN)
    assert not (set(FILLED) | paths - set(OPEN)) & set(OPEN)
    assert (len(paths), len(FILLED), len(OPEN)) >= (104, 25, 3)
    assert set(FILLED) >= EMPTY | DENIED


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if not each.path.startswith("terms-templates")], ids=_name
)
def test_a_hidden_id_in_a_path_answers_as_one_that_never_was(world: World, route: Route) -> None:
    kind = MATRIX[route.path].subject
    pk = world.subject(kind)
    clients = [world.client(world.stranger)]
    if kind not in BOTH_MODES:
        clients += [world.client(each, livemode=True) for each in (world.archive, world.lab)]
    before = world.fingerprint()
    answers = {
        refused(alike(partial(_ask, client, route), pk, TypeID.new(pk.prefix)))
        for client in clients
    }
    assert answers == {(404, "not_found")}
    assert world.fingerprint() == before


def test_an_answer_that_tells_hidden_from_missing_is_noticed(world: World) -> None:
    [route] = [each for each in ROUTES if _name(each) == "get collections/<pk>"]
    ask = partial(_ask, world.client(world.archive), route)
    with pytest.raises(AssertionError, match="not_found"):
        alike(ask, world.subject("collection"), TypeID.new("col"))


@pytest.mark.parametrize("kind", sorted(BOTH_MODES))
def test_what_is_of_both_modes_is_shown_in_both(world: World, kind: str) -> None:
    shown = [each for each in ROUTES if (each.method, each.action) == ("get", "retrieve")]
    routes = [
        each for each in shown if MATRIX[each.path] == Row(kind, public=kind == "private_offer")
    ]
    for route in [each for each in routes if re.fullmatch("[a-z]+(-[a-z]+)?/<pk>", each.path)]:
        owner = world.lab if kind == "private_offer" else world.archive
        seen = [
            _ask(world.client(owner, livemode=livemode), route, world.subject(kind)).status_code
            for livemode in (False, True)
        ]
        assert seen == [200, 200]


@pytest.mark.parametrize("place", FILLED, ids=lambda place: f"{place.operation} {place.name}")
def test_a_hidden_id_in_a_query_or_a_body_answers_as_one_that_never_was(
    world: World, goods: Goods, place: Place
) -> None:
    filled = FILLED[place]
    own = filled.own(world, goods)
    owner = getattr(world, filled.owner)
    with undone():
        # The request is good: with an id of the asker's own it is done, or its state forbids it.
        done = filled.ask(world.client(owner), goods, str(own))
        assert done.status_code < 300 or done.status_code == 409, done.json()
        if "results" in done.json():
            assert done.json()["succeeded"] == 1

    hidden, absent = filled.hidden(world, goods), TypeID.new(str(own)[:3])
    before = world.fingerprint()
    asked = [(world.client(world.stranger), hidden)]
    if filled.is_of_one_mode:
        asked.append((world.client(owner, livemode=True), own))
    answers = {alike(partial(filled.ask, client, goods), each, absent) for client, each in asked}
    assert len(answers) == 1
    [answer] = answers
    if place in EMPTY:
        assert json.loads(answer[1]) == {"data": [], "has_more": False, "next_cursor": None}
    elif place in DENIED:
        assert json.loads(answer[1])["summary"] == {"deny": 1, "needs_review": 0, "permit": 0}
    else:
        assert refused(answer) in {(404, "not_found"), (422, "invalid_input")}
    assert world.fingerprint() == before


def test_what_the_market_shows_is_not_for_others_to_sell(world: World, goods: Goods) -> None:
    """A buyer reads a listing's snapshot and terms: these ids are known, and still not theirs."""
    with system("look in a test"):
        sold = Offer.objects.get(pk=world.subject("offer"))
    client, before = world.client(world.stranger), world.fingerprint()
    for chosen in (
        {"snapshot": str(sold.snapshot_id), "terms": goods.terms},
        {"snapshot": goods.snapshot, "terms": str(sold.terms_id)},
    ):
        answer = client.post("/v1/offers", {**chosen, **SOLD})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert world.fingerprint() == before


# Its places are the market's, the same for everybody, and no row's key.
@pytest.mark.parametrize("path", sorted(set(SIGNED) - {"/v1/listings"}))
def test_a_cursor_of_somebody_else_answers_as_one_that_never_was(world: World, path: str) -> None:
    url = address(world, path)
    clients = [world.client(each) for each in (world.archive, world.lab)]
    client = next(each for each in clients if each.get(url).status_code == 200)
    asker = world.archive if client is clients[0] else world.lab
    place = TypeID.new("col").bytes

    def cursor(organization: Organization, *, livemode: bool) -> str:
        caller = caller_for(organization, livemode=livemode)
        return cursors.write(place, of=cursors.list_of(caller, url, QueryDict("")))

    before = world.fingerprint()
    # Made by the same rule as the asker's own, which is good.
    own = client.get(f"{url}?cursor={cursor(asker, livemode=False)}")
    assert own.status_code == 200
    others = [
        cursor(world.stranger, livemode=False),
        cursor(asker, livemode=True),
        cursors.write(place, of="a list that never was"),
    ]
    answer = alike(lambda text: client.get(f"{url}?cursor={text}"), *others)
    assert refused(answer) == (400, "invalid_cursor")
    assert world.fingerprint() == before


class undone:
    """What is done within leaves nothing."""

    def __enter__(self) -> None:
        self._at = transaction.savepoint()

    def __exit__(self, *_error: object) -> None:
        transaction.savepoint_rollback(self._at)
