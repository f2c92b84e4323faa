"""Terms: strictly read, rendered once, fixed when published."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from licensing import jcs, terms, terms_text
from marketplace.errors import InvalidInput
from marketplace.models import Organization
from tests.make import TYPED, make_offer
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
START = datetime(2027, 3, 1, 12, tzinfo=UTC)


def changed(path: str, value: Any) -> dict[str, Any]:
    """TYPED with one place changed: "term.use_days", "permit.0.uses"."""
    typed = copy.deepcopy(TYPED)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = typed
    for parent in parents:
        place = place[parent]
    place[last] = value
    return typed


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in TYPED.items() if key != name}


def with_permit(**fields: Any) -> dict[str, Any]:
    clause = {"uses": ["pretrain"], "territories": ["EU"], "model_scope": "any_model_of_licensee"}
    return {**TYPED, "permit": [{**clause, **fields}]}


# What is wrong: the conditions, and the place that the refusal names.
WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([], "typed"),
    "another version": (changed("v", 3), "typed.v"),
    "a version that is true": (changed("v", True), "typed.v"),
    "an unknown field": ({**TYPED, "sublicense": "none"}, "typed.sublicense"),
    "a missing field": (without("term"), "typed.term"),
    "nothing permitted": (changed("permit", []), "typed.permit"),
    "permit is no list": (changed("permit", {}), "typed.permit"),
    "a clause that is no object": (changed("permit", ["pretrain"]), "typed.permit[0]"),
    "an unknown field in a clause": (with_permit(price=5), "typed.permit[0].price"),
    "an unknown use": (with_permit(uses=["pretrain", "sell"]), "typed.permit[0].uses[1]"),
    "a use that is no text": (with_permit(uses=[1]), "typed.permit[0].uses[0]"),
    "a use that is a list": (with_permit(uses=[["pretrain"]]), "typed.permit[0].uses[0]"),
    "no use": (with_permit(uses=[]), "typed.permit[0].uses"),
    "a use twice": (with_permit(uses=["embed", "embed"]), "typed.permit[0].uses[1]"),
    "an unknown territory": (
        with_permit(territories=["DE", "UK"]),
        "typed.permit[0].territories[1]",
    ),
    "a territory that is an object": (
        with_permit(territories=[{}]),
        "typed.permit[0].territories[0]",
    ),
    "a territory twice": (with_permit(territories=["DE", "DE"]), "typed.permit[0].territories[1]"),
    "an unknown model scope": (with_permit(model_scope="all"), "typed.permit[0].model_scope"),
    "a named model without a name": (
        with_permit(model_scope="named_model"),
        "typed.permit[0].model_name",
    ),
    "a model name of two lines": (
        with_permit(model_scope="named_model", model_name="Aurora\n2.2 All else"),
        "typed.permit[0].model_name",
    ),
    "a name for any model": (with_permit(model_name="Aurora"), "typed.permit[0].model_name"),
    "a use permitted and denied": (
        changed("deny", [{"uses": ["embed", "finetune"]}]),
        "typed.deny[0].uses[1]",
    ),
    "unknown exclusivity": (changed("exclusivity", "sole"), "typed.exclusivity"),
    "days as text": (changed("term.access_days", "365"), "typed.term.access_days"),
    "days with a fraction": (changed("term.access_days", 1.5), "typed.term.access_days"),
    "no day": (changed("term.access_days", 0), "typed.term.access_days"),
    "too many days": (changed("term.training_days", 36_501), "typed.term.training_days"),
    "access after training": (changed("term.training_days", 364), "typed.term.access_days"),
    "use ends before training": (changed("term.use_days", 364), "typed.term.use_days"),
    "negative words": (changed("output.max_verbatim_words", -1), "typed.output.max_verbatim_words"),
    "unknown attribution": (changed("attribution", None), "typed.attribution"),
    "unknown redistribution": (changed("redistribution", "all"), "typed.redistribution"),
    "unknown end of models": (changed("on_expiry.weights", "burn"), "typed.on_expiry.weights"),
    "models deleted at no end": (changed("on_expiry.weights", "delete"), "typed.on_expiry.weights"),
    "copies for ever": (
        changed("on_expiry.raw_copies_delete_within_days", None),
        "typed.on_expiry.raw_copies_delete_within_days",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_at_its_place(case: str) -> None:
    typed, param = WRONG[case]
    with pytest.raises(InvalidInput) as refusal:
        terms.parse(typed)
    assert refusal.value.data["param"] == param


def test_the_example_of_the_documentation_is_valid() -> None:
    assert terms.parse(terms.EXAMPLE).access_days == 90


def test_a_license_has_three_half_open_windows() -> None:
    typed = terms.parse(
        {**TYPED, "term": {"access_days": 1, "training_days": 30, "use_days": None}}
    )
    windows = typed.windows(START)
    assert (windows.access.lower, windows.access.upper) == (START, START + timedelta(days=1))
    assert (windows.training.lower, windows.training.upper) == (START, START + timedelta(days=30))
    assert (windows.use.lower, windows.use.upper) == (START, None)
    assert windows.access.bounds == windows.training.bounds == "[)"


TWO_CLAUSES = {
    **TYPED,
    "permit": [
        {"uses": ["pretrain"], "territories": ["DE"], "model_scope": "any_model_of_licensee"},
        {
            "uses": ["pretrain", "evaluate"],
            "territories": ["FR", "US"],
            "model_scope": "named_model",
            "model_name": "Aurora",
        },
    ],
}


@pytest.mark.parametrize(
    ("uses", "territories"),
    [
        (["pretrain"], ["DE"]),
        (["pretrain"], ["DE", "FR", "US"]),
        (["evaluate", "pretrain"], ["FR"]),
    ],
)
def test_a_scope_within_the_clauses_is_permitted(uses: list[str], territories: list[str]) -> None:
    terms.parse(TWO_CLAUSES).check_scope(uses, territories)


@pytest.mark.parametrize(
    ("uses", "territories", "param"),
    [
        ([], ["DE"], "uses"),
        (["pretrain"], [], "territories"),
        (["sell"], ["DE"], "uses[0]"),
        (["pretrain", "finetune"], ["DE"], "uses[1]"),
        (["pretrain", "pretrain"], ["DE"], "uses[1]"),
        (["ground_display"], ["DE"], "uses[0]"),
        (["pretrain"], ["UK"], "territories[0]"),
        (["evaluate"], ["FR", "DE"], "territories[1]"),
        (["pretrain"], ["EU"], "territories[0]"),
        (["pretrain"], ["*"], "territories[0]"),
    ],
)
def test_a_scope_outside_the_clauses_is_refused(
    uses: list[str], territories: list[str], param: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        terms.parse(TWO_CLAUSES).check_scope(uses, territories)
    assert refusal.value.data["param"] == param


@pytest.mark.parametrize(
    ("use", "territory", "is_permitted"),
    [
        ("pretrain", "DE", True),
        ("evaluate", "DE", False),
        ("evaluate", "", True),
        ("", "US", True),
        ("", "GB", False),
        ("", "EU", False),
        ("embed", "", False),
        ("", "", True),
    ],
)
def test_terms_say_what_they_permit(use: str, territory: str, is_permitted: bool) -> None:
    assert terms.parse(TWO_CLAUSES).permits(use, territory) is is_permitted


def test_the_text_numbers_its_clauses_as_the_typed_conditions_do() -> None:
    typed = {**TWO_CLAUSES, "deny": [{"uses": ["embed"]}, {"uses": ["classify"]}]}
    lines = terms.render(terms.parse(typed), name="Two", version=3).splitlines()
    assert lines[0] == "License terms “Two”, version 3"
    assert [line for line in lines if line.startswith(("2.", "3."))] == [
        "2.1 The Licensee may pretrain models on the Works, in Germany. It may do so for any model"
        " of its own.",
        "2.2 The Licensee may pretrain models on and evaluate models on the Works, in France and"
        " the United States. It may do so for the model “Aurora” only.",
        "3.1 The Licensee may not make embeddings of the Works, anywhere.",
        "3.2 The Licensee may not train classifiers and moderation on the Works, anywhere.",
    ]


def test_the_words_of_a_template_version_never_change() -> None:
    # Whoever changes a character of the wording gives it a new name in WORDINGS.
    text = terms.render(terms.parse(terms.EXAMPLE), name="Training", version=1)
    assert terms_text.WORDINGS[1] == "en-1"
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "b76f205c5977367227831d4a3198d982e76d45231fc18e2dbaac4f99743a78cb"
    )


# --- through the API --------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_draft_shows_the_conditions_the_text_and_their_hashes(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)

    answer = client.post("/v1/terms", {"name": " Training ", "typed": TYPED})

    drafted = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/v1/terms/{drafted['id']}"
    assert drafted["object"] == "terms"
    assert (drafted["name"], drafted["version"], drafted["published_at"]) == ("Training", 1, None)
    assert drafted["typed"] == TYPED
    assert drafted["typed_sha256"] == hashlib.sha256(jcs.dumps(TYPED)).hexdigest()
    assert drafted["text_sha256"] == hashlib.sha256(drafted["text"].encode()).hexdigest()
    assert drafted["template_version"] == "en-1"
    assert client.get(answer["Location"]).json() == drafted


@pytest.mark.django_db
def test_the_text_leaves_as_the_bytes_that_were_hashed(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)
    drafted = client.post("/v1/terms", {"name": "Lizenz “ä”", "typed": TYPED}).json()
    for accept in ("text/plain", "*/*", "application/json"):
        answer = client.get(f"/v1/terms/{drafted['id']}/text", Accept=accept)
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert hashlib.sha256(answer.content).hexdigest() == drafted["text_sha256"]


@pytest.mark.django_db
def test_drafting_under_the_same_name_makes_the_next_version(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    body = {"name": "Training", "typed": TYPED}
    versions = [client_for(archive).post("/v1/terms", body).json()["version"] for _ in range(3)]
    assert versions == [1, 2, 3]
    assert client_for(lab).post("/v1/terms", body).json()["version"] == 1


@pytest.mark.django_db
def test_published_terms_are_fixed(archive: Organization, client_for: ClientFor) -> None:
    client = client_for(archive)
    url = f"/v1/terms/{client.post('/v1/terms', {'name': 'T', 'typed': TYPED}).json()['id']}"

    published = client.post(f"{url}/publish")
    again = client.post(f"{url}/publish")

    assert published.status_code == 200
    assert published.json()["published_at"] is not None
    assert (again.status_code, again.json()["code"]) == (409, "terms_already_published")
    assert client.get(url).json() == published.json()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"typed": TYPED}, "name"),
        ({"name": "", "typed": TYPED}, "name"),
        ({"name": "a\nb", "typed": TYPED}, "name"),
        ({"name": "x" * 201, "typed": TYPED}, "name"),
        ({"name": "T"}, "typed"),
        ({"name": "T", "typed": "text"}, "typed"),
        ({"name": "T", "typed": changed("permit.0.uses", ["sell"])}, "typed.permit[0].uses[0]"),
        ({"name": "T", "typed": TYPED, "text": "Mine."}, "text"),
    ],
)
def test_a_wrong_body_names_the_field_and_writes_nothing(
    archive: Organization, client_for: ClientFor, body: dict[str, Any], param: str
) -> None:
    client = client_for(archive)
    answer = client.post("/v1/terms", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert client.get("/v1/terms").json()["data"] == []


@pytest.mark.django_db
def test_buyers_read_terms_that_are_on_sale_to_them_and_list_only_their_own(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    public = make_offer(archive)
    private = make_offer(archive, audience=str(lab.pk), collection=public.collection)

    def status(organization: Organization, path: str) -> int:
        return int(client_for(organization).get(f"/v1/terms/{path}").status_code)

    assert status(lab, f"{public.terms_id}") == status(stranger, f"{public.terms_id}") == 200
    assert status(lab, f"{private.terms_id}/text") == 200
    assert status(stranger, f"{private.terms_id}") == 404
    assert status(stranger, f"{private.terms_id}/text") == 404
    assert client_for(lab).get("/v1/terms").json()["data"] == []
    assert len(client_for(archive).get("/v1/terms").json()["data"]) == 2


@pytest.mark.django_db
def test_a_buyer_cannot_publish_a_sellers_terms(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive)
    answer = client_for(lab).post(f"/v1/terms/{offer.terms_id}/publish")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.django_db
def test_a_repeat_with_the_same_key_drafts_once(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)
    body = {"name": "Training", "typed": TYPED}
    first = client.post("/v1/terms", body, Idempotency_Key="k")
    second = client.post("/v1/terms", body, Idempotency_Key="k")
    assert first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    assert len(client.get("/v1/terms").json()["data"]) == 1


@pytest.mark.django_db
def test_what_is_stored_is_read_again_as_it_was_meant(archive: Organization) -> None:
    drafted = terms.draft(caller_for(archive), name="Training", typed=TYPED)
    assert json.loads(drafted.typed) == TYPED
    assert terms.load(drafted) == terms.parse(TYPED)
