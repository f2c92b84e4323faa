"""Asked models: what an approval binds, from the quote to the decisions under the grant."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from licensing import access_requests
from licensing.ledger import signer
from licensing.models import AccessRequest, LedgerOpening, Offer, Period
from licensing.offline import __main__ as command
from marketplace.access import system
from marketplace.models import Organization
from tests.licensing.test_decision_requests import ask, digests_of
from tests.licensing.test_offline_decide import export_grant
from tests.make import TYPED, TYPED_2, make_offer
from tests.payments.buying import SCOPE, acceptance, counts, order_for, quote_for
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

ATLAS = {"name": "Atlas", "version": "2", "release": "open_weights"}
BOREAS = {"name": "Boreas", "release": "closed_api"}
LINE = "Model: “Atlas”, version “2”, released as open weights only."


def on_request(seller: Organization, **conditions: Any) -> Offer:
    return make_offer(seller, **{"price_minor": 0, "access": "on_request", **conditions})


def approved(buyer: Organization, offer: Offer, model: dict[str, str]) -> AccessRequest:
    request = access_requests.ask(
        caller_for(buyer), str(offer.pk), uses=["pretrain"], territories=["EU"], model=model
    )
    return access_requests.approve(caller_for(offer.organization), str(request.pk))


def refused(client: ApiClient, offer: Offer, **fields: Any) -> tuple[int, str, str | None]:
    """The answer to a quote that is refused and changes nothing: status, code, param."""
    before = counts()
    answer = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE, **fields})
    assert counts() == before
    body = answer.json()
    return answer.status_code, body["code"], body.get("param")


# --- what an approval binds -------------------------------------------------------------------


def test_a_license_on_request_is_for_the_approved_model_alone(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, offer = client_for(lab), on_request(archive)
    approved(lab, offer, ATLAS)

    quote = quote_for(client, offer)
    assert quote["scope"] == {**SCOPE, "model": ATLAS}
    assert LINE in quote["document"].splitlines()
    order = client.post("/v1/orders", acceptance(quote)).json()
    grant = client.get(f"/v1/grants/{order['grant']}").json()
    assert [period["scope"] for period in grant["periods"]] == [{**SCOPE, "model": ATLAS}]
    assert LINE in grant["agreement"]["document"].splitlines()

    export_grant(client, SimpleNamespace(pk=grant["id"]), tmp_path)
    capsys.readouterr()
    key = signer.load("test").verifier.vkey()
    verify = ["verify", str(tmp_path / "receipt"), "--key", key, "--allow-test"]
    assert command.main(verify) == 0
    assert (
        "  model           Atlas, version 2, open_weights" in capsys.readouterr().out.splitlines()
    )
    assert command.main([*verify, "--json"]) == 0
    proven = json.loads(capsys.readouterr().out)["values"]
    assert proven["scope"] == {**SCOPE, "model": ATLAS}

    for asked, said in QUESTIONS:
        question = {"use": "pretrain", "territory": "DE", "model": asked}
        theirs = ask(client, question, digests_of(archive), grant=grant["id"]).json()
        assert {decided(each) for each in theirs["data"]} == {said}, asked
        arguments = ["--use", "pretrain", "--territory", "DE", "--at", theirs["at"]]
        for name, word in asked.items():
            arguments += [OPTIONS[name], word]
        manifest = ["--manifest", str(tmp_path / "manifest"), "--json", "--allow-test"]
        for work in digests_of(archive):
            manifest += ["--work", work]
        command.main(["decide", str(tmp_path / "receipt"), "--key", key, *arguments, *manifest])
        assert json.loads(capsys.readouterr().out)["data"] == theirs["data"], asked


OPTIONS = {"name": "--model", "version": "--model-version", "release": "--release"}
# Of a license for Atlas 2 with open weights: the decision, its first reason, where that is.
QUESTIONS: list[tuple[dict[str, str], tuple[str, str, str | None]]] = [
    (ATLAS, ("permit", "permitted", None)),
    ({**ATLAS, "name": "Boreas"}, ("deny", "not_in_scope", "model")),
    ({**ATLAS, "version": "2.1"}, ("deny", "not_in_scope", "model")),
    ({**ATLAS, "release": "closed_api"}, ("deny", "not_in_scope", "release")),
    ({"name": "Atlas", "version": "2"}, ("needs_review", "question_incomplete", "release")),
    (
        {"name": "Atlas", "release": "open_weights"},
        ("needs_review", "question_incomplete", "model"),
    ),
    ({"name": "Boreas"}, ("deny", "not_in_scope", "model")),
]


def decided(decision: dict[str, Any]) -> tuple[str, str, str | None]:
    reason = decision["reasons"][0]
    return decision["decision"], reason["code"], reason.get("dimension")


def test_an_approval_of_another_model_opens_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(lab), on_request(archive)
    approved(lab, offer, ATLAS)
    for other in (
        BOREAS,
        {**ATLAS, "name": "atlas"},
        {**ATLAS, "version": "3"},
        {**ATLAS, "version": ""},
        {**ATLAS, "release": "closed_api"},
    ):
        assert refused(client, offer, model=other) == (409, "access_not_approved", None), other
    again = f"POST /v1/listings/{offer.pk}/access-requests"
    answer = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE, "model": BOREAS})
    assert answer.json()["detail"] == (
        "The seller approved pretrain in EU for Atlas 2 (open_weights). Quote within that, or ask"
        f" for more: {again}."
    )
    assert quote_for(client, offer, model=ATLAS)["scope"]["model"] == ATLAS


def test_of_several_approvals_the_quote_names_one(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(lab), on_request(archive)
    first = approved(lab, offer, ATLAS)
    approved(lab, offer, BOREAS)
    for model in (ATLAS, BOREAS):
        assert quote_for(client, offer, model=model)["scope"]["model"] == model
    assert quote_for(client, offer, model={**BOREAS, "version": " "})["scope"]["model"] == BOREAS
    # Without a name, the one that lasts longest.
    assert quote_for(client, offer)["scope"]["model"] == BOREAS
    with system("let an approval last longer in a test"):
        AccessRequest.objects.filter(pk=first.pk).update(
            expires_at=F("expires_at") + timedelta(days=1)
        )
    assert quote_for(client, offer)["scope"]["model"] == ATLAS


def test_an_order_needs_the_approval_of_its_very_model(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(lab), on_request(archive)
    atlas = approved(lab, offer, ATLAS)
    approved(lab, offer, BOREAS)
    quotes = {model["name"]: quote_for(client, offer, model=model) for model in (ATLAS, BOREAS)}
    access_requests.cancel(caller_for(lab), str(atlas.pk))
    before = counts()

    answer = client.post("/v1/orders", acceptance(quotes["Atlas"]))

    assert (answer.status_code, answer.json()["code"]) == (409, "access_not_approved")
    assert counts() == before
    assert client.post("/v1/orders", acceptance(quotes["Boreas"])).json()["status"] == "granted"


# --- open offers ------------------------------------------------------------------------------


def test_without_a_model_contract_and_record_are_as_they_were(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(lab), make_offer(archive, price_minor=0)
    start = (timezone.now() + timedelta(days=1)).replace(microsecond=0).isoformat()
    quote = quote_for(client, offer, starts_at=start)
    assert quote["scope"] == SCOPE
    narrowed = quote_for(client, offer, starts_at=start, model=ATLAS)
    assert narrowed["scope"] == {**SCOPE, "model": ATLAS}
    assert narrowed["document"].replace(f"{LINE}\n", "", 1) == quote["document"]
    lines = quote["document"].splitlines()
    section = lines.index("C. Scope")
    assert [line.split(" ")[0] for line in lines[section + 1 : lines.index("D. Price")]] == [
        "Use:", "Territories:", "Works", "Training", "What", "",
    ]  # fmt: skip
    order = client.post("/v1/orders", acceptance(quote)).json()
    grant = client.get(f"/v1/grants/{order['grant']}").json()
    assert grant["periods"][0]["scope"] == SCOPE
    with system("read the ledger in a test"):
        assert json.loads(LedgerOpening.objects.latest("entry_id").values)["scope"] == SCOPE
        assert Period.objects.get().scope == SCOPE


def test_a_buyer_may_narrow_an_open_offer_to_one_model(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    order_for(client, make_offer(archive, price_minor=0), model=BOREAS)
    works = digests_of(archive)
    found = []
    for model in (BOREAS, {**BOREAS, "version": "7"}, ATLAS):
        question = {"use": "pretrain", "territory": "DE", "model": model}
        found.append(ask(client, question, works).json()["data"][0]["decision"])
    assert found == ["permit", "permit", "deny"]


def permits(
    scope: str, names: list[str] | None = None, successors: str = "none", **more: Any
) -> dict[str, Any]:
    """Terms of one permit, for these models, served through an interface."""
    typed = copy.deepcopy(TYPED_2)
    models = {"scope": scope, "release": ["closed_api"], "successors": successors, **more}
    typed["permit"][0]["models"] = models if names is None else {**models, "names": names}
    return typed


V1_ATLAS = copy.deepcopy(TYPED)
V1_ATLAS["permit"][0] |= {"model_scope": "named_model", "model_name": "Atlas"}
CLOSED_ATLAS = {**ATLAS, "release": "closed_api"}
DENY_OPEN = {**TYPED_2, "deny": [{"models": {"release": ["internal_only"]}}]}
# Terms, a model, and the part of it that is refused (None: it is not).
WITHIN: dict[str, tuple[dict[str, Any], dict[str, str], str | None]] = {
    "a release of no permit": (permits("any_model_of_licensee"), ATLAS, "model.release"),
    "a release that a clause forbids": (
        DENY_OPEN, {**BOREAS, "release": "internal_only"}, "model.release",
    ),
    "a release beside it": (DENY_OPEN, BOREAS, None),
    "any model": (permits("any_model_of_licensee"), BOREAS, None),
    "the named model": (permits("named_model", ["Atlas"]), CLOSED_ATLAS, None),
    "another model": (permits("named_model", ["Atlas"]), BOREAS, "model"),
    "the named model of version 1": (V1_ATLAS, ATLAS, None),
    "another model of version 1": (V1_ATLAS, BOREAS, "model"),
    "the named version": (permits("named_version", ["Atlas@2"]), CLOSED_ATLAS, None),
    "another version": (permits("named_version", ["Atlas@1"]), CLOSED_ATLAS, "model"),
    "perhaps of the family": (permits("named_model", ["Atlas"], "family"), BOREAS, None),
    "perhaps one of two": (permits("up_to_n_models", count=2), BOREAS, None),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHIN)
def test_a_model_that_the_terms_are_sure_to_deny_is_refused(
    archive: Organization, lab: Organization, client_for: ClientFor, case: str
) -> None:
    typed, model, param = WITHIN[case]
    client, offer = client_for(lab), make_offer(archive, typed=typed)
    if param is None:
        assert quote_for(client, offer, model=model)["scope"]["model"] == model
    else:
        assert refused(client, offer, model=model) == (422, "invalid_input", param)
    # Neither is it worth asking for.
    asked = on_request(archive, typed=typed, price_minor=50_000)
    answer = client.post(f"/v1/listings/{asked.pk}/access-requests", {**SCOPE, "model": model})
    assert answer.status_code == (201 if param is None else 422)
    assert answer.json().get("param") == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": " "}, "model.name"),
        ({"name": "x" * 201}, "model.name"),
        ({"name": "Atlas\nTotal: USD 0.00"}, "model.name"),
        ({"name": "Atlas”, and whatever else"}, "model.name"),
        ({"version": "2”"}, "model.version"),
        ({"release": "shareware"}, "model.release"),
        ({"release": None}, "model.release"),
        ({"size": 7}, "model.size"),
    ],
)
def test_a_model_that_is_no_line_of_a_contract_is_refused(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    changes: dict[str, Any],
    param: str,
) -> None:
    offer = make_offer(archive)
    assert refused(client_for(lab), offer, model={**ATLAS, **changes}) == (
        422,
        "invalid_input",
        param,
    )
