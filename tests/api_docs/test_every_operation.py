"""What the document says of reading and making, asked of a market: real requests, real answers.

`make examples` takes examples from these requests, among others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from api_docs.document import parameters
from licensing import status
from marketplace import embedded_rights
from marketplace.access import acting
from marketplace.embedded_rights import Embedded
from marketplace.models import Collection, Organization, Representation
from payments import royalties
from tests.api_docs.examples import misfit
from tests.api_docs.test_openapi import DOCUMENT, operations
from tests.make import make_collection, make_offer
from tests.payments.buying import acceptance, quote_for
from tests.payments.royalty_sales import make_works, sell, set_rule
from tests.payments.simulating import Stripe
from tests.payments.test_transfers import bought
from tests.people import ApiClient, caller_for
from tests.security.test_access_matrix import ASKED, ATTESTED, MATRIX, OVERRIDDEN
from tests.security.world import ACCEPTANCE, World

pytestmark = pytest.mark.django_db
ADVANCE = {"amount_minor": 12_000, "currency": "USD", "reference": "SEPA 17"}
STATED_BY = {"name": "Lin", "title": "Head of data"}
BUCKET = {
    "endpoint": "https://s3.example.org",
    "name": "letters",
    "key": "letters/{external_id}",
    "access_key_id": "reader",
    "secret_access_key": "never shown again",
}


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.UPLOAD_DIR = tmp_path / "store" / "uploads"


class Scene:
    """A market, whoever asks in it, and Stripe."""

    def __init__(self, world: World, request: pytest.FixtureRequest) -> None:
        self.world, self._request = world, request

    @cached_property
    def archive(self) -> ApiClient:
        return self.world.client(self.world.archive)

    @cached_property
    def lab(self) -> ApiClient:
        return self.world.client(self.world.lab)

    @cached_property
    def stranger(self) -> ApiClient:
        return self.world.client(self.world.stranger)

    @property
    def stripe(self) -> Stripe:
        started: Stripe = self._request.getfixturevalue("stripe")
        return started

    def client(self, name: str) -> ApiClient:
        client: ApiClient = getattr(self, name)
        return client

    def id(self, subject: str) -> str:
        return str(self.world.subject(subject))

    def address(self, path: str) -> str:
        """A path of the document with the id of a row that is there."""
        row = MATRIX.get(path.removeprefix("/v1/").replace("{id}", "<pk>"))
        return path if row is None else path.replace("{id}", self.id(row.subject))


@pytest.fixture
def scene(world: World, request: pytest.FixtureRequest) -> Scene:
    return Scene(world, request)


def as_documented(operation: dict[str, Any], answer: Any) -> None:
    """The answer's status and media type are among the document's, and its body fits."""
    said = operation["responses"][str(answer.status_code)]
    media_type = answer.headers["Content-Type"].partition(";")[0]
    assert media_type in said["content"]
    if media_type == "application/json":
        assert misfit(said["content"][media_type]["schema"], answer.json()) is None


# --- reading ----------------------------------------------------------------------------------

# What an address needs beside an id.
QUERIES = {
    "/v1/contributors/{id}/royalty-statement": "?currency=USD",
    "/v1/statement": "?currency=USD&begins_at=2026-01-01T00:00:00Z&ends_at=2026-02-01T00:00:00Z",
}


def every(method: str, *, answering: str = "2") -> Any:
    return pytest.mark.parametrize(
        ("path", "operation"),
        [
            pytest.param(path, operation, id=operation["operationId"])
            for path, of, operation in operations()
            if of == method and any(each.startswith(answering) for each in operation["responses"])
        ],
    )


def address_of(scene: Scene, path: str, operation: dict[str, Any]) -> str:
    if path == "/v1/terms-templates/{id}":
        return path.replace("{id}", "books-training")
    if path == "/v1/offers/{id}/sample":
        return path.replace("{id}", scene.id("private_offer"))
    is_list = any(each["name"] == "limit" for each in parameters(DOCUMENT, operation))
    return scene.address(path) + QUERIES.get(path, "?limit=2" if is_list else "")


@every("get")
def test_what_is_there_is_answered_as_the_document_says(
    scene: Scene, path: str, operation: dict[str, Any]
) -> None:
    if path == "/v1/contributors/{id}/payout-account":
        assert scene.stripe
        assert scene.archive.post(scene.address(path), {"country": "DE"}).status_code == 200
    if path == "/v1/grants/{id}/status-proof":
        assert status.record_due()
    url = address_of(scene, path, operation)
    answers = [scene.client(name).get(url) for name in ("archive", "lab")]
    found = [answer for answer in answers if answer.status_code in {200, 202}]
    assert found, [answer.json() for answer in answers]
    for answer in found:
        as_documented(operation, answer)


# --- making -----------------------------------------------------------------------------------


def uploaded(scene: Scene, content: bytes, name: str) -> str:
    made = scene.archive.post("/v1/uploads", {"length": len(content), "name": name}).json()
    url = f"/v1/uploads/{made['id']}"
    assert scene.archive.patch(url, content, Upload_Offset="0").status_code == 200
    assert scene.archive.post(f"{url}/finish").status_code == 200
    return str(made["id"])


def _work(scene: Scene) -> dict[str, Any]:
    upload = uploaded(scene, b"A letter", "letter.txt")
    return {"upload": upload, "external_id": "letter", "media_type": "text/plain"}


def _sample(scene: Scene) -> dict[str, Any]:
    """The acceptance of a sample that the lab has not taken yet."""
    offer = scene.address("/v1/offers/{id}")
    answer = scene.archive.post(f"{offer}/sample", {"external_ids": ["work-1"]})
    assert answer.status_code == 201
    shown = scene.lab.get(f"/v1/listings/{scene.id('offer')}/sample").json()
    accept = {"document_sha256": shown["document_sha256"], **ACCEPTANCE}
    return {"starts_at": shown["starts_at"], "accept": accept}


def _order(scene: Scene) -> dict[str, Any]:
    assert scene.stripe
    return acceptance(quote_for(scene.lab, make_offer(scene.world.archive)))


def _refund(scene: Scene) -> dict[str, Any]:
    """The seller gives a part of a paid order back."""
    order = bought(scene.lab, scene.world.archive, scene.stripe)
    return {"order": order["id"], "amount_minor": 1_000, "reason": "We agreed."}


def _payout(scene: Scene) -> dict[str, Any]:
    """The figures of a preview, after a sale with royalties."""
    seller: Organization = scene.world.archive
    collection = make_works(seller, {"ann": 1, "bob": 1}, name="Diaries")
    set_rule(seller, collection, basis_points=10_000)
    sell(scene.world.lab, make_offer(seller, collection=collection))
    royalties.allocate_due()
    preview = scene.archive.post("/v1/royalty-payouts/preview", {"currency": "USD"}).json()
    wanted = ("currency", "contributors", "paid_minor", "recouped_minor")
    return {name: preview[name] for name in wanted}


def _terms_and_snapshot(scene: Scene) -> dict[str, Any]:
    offer = scene.archive.get(scene.address("/v1/offers/{id}")).json()
    priced = {"price_minor": 50_000, "currency": "USD"}
    return {"snapshot": offer["snapshot"], "terms": offer["terms"], **priced}


Body = Callable[[Scene], Any]
# Of each operation that makes something: who asks, and with what.
MAKING: dict[str, tuple[str, Body]] = {
    "add_collection_work": ("archive", _work),
    "choose_offer_sample": ("archive", lambda _: {"external_ids": ["work-1", "work-2"]}),
    "create_access_request": ("stranger", lambda _: {**ASKED, "message": "For a book."}),
    "create_api_key": ("archive", lambda _: {"name": "nightly", "scopes": ["works:read"]}),
    "create_collection": ("archive", lambda _: {"name": "Maps", "description": "From 1850 on."}),
    "create_collection_attestation": ("archive", lambda _: ATTESTED),
    "create_collection_rights_override": ("archive", lambda _: OVERRIDDEN),
    "create_collection_royalty_advance": ("archive", lambda _: ADVANCE),
    "create_collection_share": (
        "archive",
        lambda _: {"email": "archive@example.org", "right": "view"},
    ),
    "create_collection_snapshot": ("archive", lambda _: {}),
    "create_contributor": ("archive", lambda _: {"external_id": "user-17", "name": "Con"}),
    "create_contributor_opt_out_link": ("archive", lambda _: {}),
    "create_contributor_royalty_advance": ("archive", lambda _: ADVANCE),
    "create_invitation": ("archive", lambda _: {"email": "new@example.org", "role": "editor"}),
    "create_offer": ("archive", _terms_and_snapshot),
    "create_opt_out": ("archive", lambda _: {"external_ids": ["work-1"], "reason": "Asked."}),
    "create_order": ("lab", _order),
    "create_quote": (
        "lab",
        lambda at: {"offer": at.id("offer"), "uses": ["pretrain"], "territories": ["DE"]},
    ),
    "create_refund": ("archive", _refund),
    "create_remote_bucket": ("archive", lambda _: BUCKET),
    "create_royalty_payout": ("archive", _payout),
    "create_royalty_rule": (
        "archive",
        lambda at: {
            "collection": at.id("collection"),
            "basis_points": 5_000,
            "method": "pro_rata",
            "unit": "words",
            "minimum_minor": {"USD": 1_000},
        },
    ),
    "create_terms": ("archive", lambda _: {"name": "Books", "template": "books-training"}),
    "create_upload": ("archive", lambda _: {"length": 10_000, "name": "letters.txt"}),
    "create_webhook_endpoint": (
        "lab",
        lambda _: {"url": "https://hooks.example.org/grants", "types": ["grant.issued"]},
    ),
    "create_webhook_endpoint_test": ("lab", lambda _: {}),
    "rotate_api_key": ("archive", lambda _: {"overlap_seconds": 3_600}),
    "take_listing_sample": ("lab", _sample),
}
# Their rows have no address of their own: what was made stands in the list at the Location.
IN_A_LIST = {
    "create_collection_attestation",
    "create_collection_rights_override",
    "create_collection_royalty_advance",
    "create_collection_share",
    "create_contributor_opt_out_link",
    "create_contributor_royalty_advance",
}
# What a maker is told once.
ONCE = {"secret", "secret_already_shown"}


def subject_of(scene: Scene, operation: dict[str, Any], path: str) -> str:
    """The address to make something at. What is there once already is made of something else."""
    archive: Organization = scene.world.archive
    match operation["operationId"]:
        case "create_collection_snapshot":
            id = str(make_collection(archive).pk)
        case "create_collection_rights_override":
            id = str(_prohibited(archive).pk)
        case "create_access_request":
            id = str(make_offer(archive, access="on_request").pk)
        case "take_listing_sample":
            id = scene.id("offer")
        case _:
            return scene.address(path)
    return path.replace("{id}", id)


def _prohibited(archive: Organization) -> Collection:
    """A collection with a file that prohibits mining."""
    collection = make_collection(archive)
    with acting(caller_for(archive)):
        works = collection.items.values("work")
        form = Representation.objects.filter(work__in=works).first()
        assert form is not None
        said = Embedded(creator="Con Tributor", data_mining="DMI-PROHIBITED")
        embedded_rights.note(archive.pk, {bytes(form.digest): said})
    return collection


@every("post", answering="201")
def test_what_was_made_is_found_at_its_location_by_who_made_it(
    scene: Scene, path: str, operation: dict[str, Any]
) -> None:
    name = operation["operationId"]
    assert name in MAKING, "Say in MAKING who makes it, and of what."
    who, body = MAKING[name]
    client = scene.client(who)
    url = subject_of(scene, operation, path)

    answer = client.post(url, body(scene))
    assert answer.status_code == 201, answer.json()
    as_documented(operation, answer)

    made = answer.json()
    found = client.get(answer.headers["Location"])
    assert found.status_code == 200, found.json()
    row = found.json()
    if name in IN_A_LIST:
        [row] = [each for each in row["data"] if each["id"] == made["id"]]
    assert row == {key: value for key, value in made.items() if key not in ONCE}


def test_all_that_is_said_of_making_is_of_an_operation() -> None:
    names = {operation["operationId"] for _path, _method, operation in operations()}
    assert names >= MAKING.keys() >= IN_A_LIST


# --- acting -----------------------------------------------------------------------------------

TABLE = f"""signature,title,sha256,length,media_type
mss-1,To her sister,{"a1" * 32},1200,text/plain
""".encode()


def noted(_: Scene) -> Any:
    return {"metadata": {"purchase_order": "PO-2026-118", "job": "pretrain-7"}}


def _works(scene: Scene) -> Any:
    """One that is taken, and one that was never uploaded."""
    missing = {"upload": "upl_00000000000000000000000000", "external_id": "note"}
    return {"items": [_work(scene), {**missing, "media_type": "text/plain"}]}


ACTING: dict[str, tuple[str, Body]] = {
    "acknowledge_notices": (
        "lab",
        lambda at: {
            "items": [{"notice": at.id("notice"), "statement": "Deleted.", **STATED_BY}],
        },
    ),
    "add_collection_works": ("archive", _works),
    "cancel_access_request": ("lab", lambda _: {}),
    "create_opt_outs": (
        "archive",
        lambda _: {
            "items": [
                {"external_ids": ["work-1"], "reason": "The author asked."},
                {"external_ids": ["unheard-of"], "reason": "The author asked."},
            ]
        },
    ),
    "create_payout_account": ("stranger", lambda at: {"country": "IE"} if at.stripe else None),
    "describe_collection": (
        "archive",
        lambda _: {"description": "Letters of a family, 1850 to 1920.", "languages": ["en", "de"]},
    ),
    "identify_organization": (
        "archive",
        lambda _: {"legal_name": "Archive Holdings Ltd", "vat_id": "IE6388047V"},
    ),
    "replay_webhook_endpoint": (
        "lab",
        lambda _: {"since": (timezone.now() - timedelta(hours=6)).isoformat()},
    ),
    "set_collection_metadata": ("archive", noted),
    "set_grant_metadata": ("lab", noted),
    "set_offer_metadata": ("archive", noted),
    "set_order_metadata": ("lab", noted),
    "set_quote_metadata": ("lab", noted),
    "start_collection_import": (
        "archive",
        lambda at: {
            "upload": uploaded(at, TABLE, "letters.csv"),
            "format": "csv",
            "columns": {"external_id": "signature"},
            "constants": {"language": "de"},
        },
    ),
}


@pytest.mark.parametrize("name", sorted(ACTING))
def test_what_changes_something_answers_as_the_document_says(scene: Scene, name: str) -> None:
    [(path, operation)] = [
        (path, operation)
        for path, _method, operation in operations()
        if operation["operationId"] == name
    ]
    who, body = ACTING[name]

    answer = scene.client(who).post(scene.address(path), body(scene))

    assert answer.status_code in {200, 202}, answer.json()
    as_documented(operation, answer)
