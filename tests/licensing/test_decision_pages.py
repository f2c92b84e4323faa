"""“May we …?”: a question about a license held, and the answer that the API gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from licensing import lifecycle, optouts
from licensing.models import Grant
from marketplace.access import acting
from marketplace.models import Organization, Work
from tests.licensing.test_seller_studio import acts, member, text
from tests.make import TYPED_2, issue_grant, make_grant, make_offer
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ASKED = {"use": "pretrain", "territory": "DE"}
ALL = "/studio/questions/"


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return make_grant(archive, lab, uses=("pretrain", "finetune"))


@pytest.fixture
def counsel(lab: Organization) -> Client:
    return member(lab)


def page_of(grant: Grant) -> str:
    return f"/studio/questions/{grant.pk}/"


def answered(client: Client, grant: Grant, **asked: str) -> dict[str, Any]:
    page = client.get(page_of(grant), asked)
    assert page.status_code == 200, page.content
    found: dict[str, Any] = page.context["answer"]
    assert f'<h2 id="answer" role="status">{found["answer"]}</h2>' in text(page)
    return found


def test_the_button_of_a_license_leads_to_a_form_that_begins_with_what_was_bought(
    counsel: Client, grant: Grant
) -> None:
    license_page = f"/studio/licensing/heldgrant/{grant.pk}/"
    assert f'href="{license_page}may_we/"' in text(counsel.get(f"{license_page}change/"))
    led = counsel.get(f"{license_page}may_we/", follow=True)
    assert led.redirect_chain == [(page_of(grant), 302)]
    form = text(led)
    chosen = re.findall(r'<option value="(\w+)"\s+selected', form)
    assert chosen == ["finetune", "EU"]
    assert "Fine-tune models" in form
    assert "European Union (EU)" in form
    assert "answer" not in led.context
    # What every question has, and nothing that no answer depends on yet.
    assert list(led.context["form"].fields) == ["use", "territory", "on", "work"]


def test_a_yes_says_its_clause_its_end_and_its_duties_and_nothing_is_written(
    counsel: Client, grant: Grant, client_for: Callable[..., ApiClient], lab: Organization
) -> None:
    before = acts("")
    found = answered(counsel, grant, **ASKED)
    shown = text(counsel.get(page_of(grant), ASKED))
    assert acts("") == before
    [by_api] = (
        client_for(lab)
        .post("/v1/decisions", {"question": ASKED, "grant": str(grant.pk)})
        .json()["data"]
    )

    assert (found["answer"], by_api["decision"]) == ("Yes", "permit")
    assert found["whys"][0]["clause"] == by_api["clause"] == "2.1"
    assert found["whys"][0]["words"] in shown
    assert "pretrain" in found["whys"][0]["words"]
    assert f"{found['until']:%Y-%m-%d %H:%M}" in shown
    assert by_api["valid_until"].startswith(f"{found['until']:%Y-%m-%dT%H:%M}")
    assert [clause for clause, _words in found["duties"]] == [
        duty["clause"] for duty in by_api["duties"]
    ]
    assert all(words in shown.replace("&#x27;", "'") for _clause, words in found["duties"])
    assert "This is a test license" in shown


def test_a_no_says_what_stands_in_the_way(counsel: Client, grant: Grant) -> None:
    for changed, why, clause in (
        ({"use": "ground_display"}, "A clause forbids it.", "3.1"),
        ({"use": "evaluate"}, "No clause permits this use.", ""),
        ({"territory": "JP"}, "The terms permit it elsewhere only.", "2.1"),
        ({"territory": "US"}, "it was bought for elsewhere", "2.1"),
        ({"on": "2001-01-01"}, "The license does not cover this work then.", ""),
        ({"on": "2900-01-01"}, "The license is not for that time.", ""),
        ({"work": "ab" * 32}, "The license does not cover this work then.", ""),
    ):
        found = answered(counsel, grant, **{**ASKED, **changed})
        assert found["answer"] == "No"
        assert why in found["whys"][0]["why"]
        assert found["whys"][0]["clause"] == clause


def test_a_work_that_was_taken_out_is_denied_by_either_of_its_names(
    counsel: Client, grant: Grant, archive: Organization
) -> None:
    caller = caller_for(archive)
    with acting(caller, writing=False):
        work = Work.objects.filter(organization=archive).order_by("pk")[0]
        digest = bytes(work.representations.all()[0].digest).hex()
    names = (work.external_id, digest, digest.upper())
    assert {answered(counsel, grant, **ASKED, work=one)["answer"] for one in names} == {"Yes"}

    optouts.record(caller, by="owner", reason="Withdrawn.", works=[str(work.pk)])

    for one in names:
        found = answered(counsel, grant, **ASKED, work=one)
        assert found["whys"] == [
            {"why": "The work was taken out: stop using it.", "clause": "", "words": ""}
        ]


def test_a_revoked_license_permits_nothing(
    counsel: Client, grant: Grant, archive: Organization
) -> None:
    act = lifecycle.Act(by="licensor", cause="breach", reason="They copied it.")
    lifecycle.revoke(caller_for(archive), str(grant.pk), act)
    assert answered(counsel, grant, **ASKED)["whys"][0]["why"] == (
        "The license is revoked by then."
    )


def test_what_the_answer_depends_on_is_asked_for_and_then_answered(
    archive: Organization, lab: Organization, counsel: Client
) -> None:
    named = {
        **TYPED_2["permit"][0],
        "models": {
            "scope": "named_model",
            "names": ["Atlas"],
            "release": ["closed_api"],
            "successors": "none",
        },
    }
    grant = issue_grant(lab, make_offer(archive, typed={**TYPED_2, "permit": [named]}))

    page = counsel.get(page_of(grant), ASKED)
    found = page.context["answer"]
    assert found["answer"] == "Ask a person"
    assert {one["why"] for one in found["whys"]} >= {
        "It depends on which model it is.",
        "It depends on how the model is released.",
    }
    more = set(page.context["form"].fields)
    assert {"model_name", "model_version", "release", "field", "sector"} <= more
    assert "lineage" not in more

    said = {**ASKED, "release": "closed_api", "field": "commercial", "sector": "none"}
    assert answered(counsel, grant, **said, model_name="Atlas")["answer"] == "Yes"
    other = answered(counsel, grant, **said, model_name="Titan")
    assert (other["answer"], other["whys"][0]["why"]) == (
        "No",
        "The terms permit it for other models only.",
    )
    # What was said stays in the form.
    kept = counsel.get(page_of(grant), {**said, "model_name": "Atlas"}).context["form"]
    assert {"model_name", "release", "field", "sector"} <= set(kept.fields)


def test_a_work_is_asked_about_by_all_licenses_at_once(
    counsel: Client, grant: Grant, archive: Organization, stranger: Organization
) -> None:
    other = make_grant(stranger, grant.licensee, uses=("finetune",))
    with acting(caller_for(archive), writing=False):
        work = Work.objects.filter(organization=archive).order_by("pk")[0]
        digest = bytes(work.representations.all()[0].digest).hex()
    assert 'href="/studio/questions/"' in text(counsel.get("/studio/"))

    yes = counsel.get(ALL, {**ASKED, "work": digest})
    no = counsel.get(ALL, {**ASKED, "work": "ab" * 32})

    assert yes.context["answer"]["answer"] == "Yes"
    assert f"/studio/licensing/heldgrant/{grant.pk}/change/" in text(yes)
    assert str(other.pk) not in text(yes)
    assert "Clause 2.1" in text(yes)
    assert no.context["answer"]["whys"][0]["why"] == "The license does not cover this work then."
    assert "By which license" not in text(no)
    nobody = member(archive).get(ALL, {**ASKED, "work": digest})
    assert nobody.context["answer"]["whys"][0]["why"] == "You hold no license that covers it."


def test_of_all_licenses_a_work_is_asked_about_by_its_bytes_alone(counsel: Client) -> None:
    for work in ("", "abc", "work-1", "ab" * 31 + "zz", "ab" * 33, " " * 64):
        page = counsel.get(ALL, {**ASKED, "work": work})
        assert page.status_code == 422, work
        assert list(page.context["form"].errors) == ["work"]


def test_what_is_no_question_is_named_at_its_field(counsel: Client, grant: Grant) -> None:
    for field, value in (
        ("use", "to sing"),
        ("territory", "Mars"),
        ("on", "soon"),
        ("on", "0001-01-01"),
        ("work", "x" * 1001),
        ("release", "<svg onload=alert(1)>"),
    ):
        page = counsel.get(page_of(grant), {**ASKED, field: value})
        assert page.status_code == 422, value
        assert list(page.context["form"].errors) == [field]
        assert "answer" not in page.context
        assert not re.search(r"<svg onload", text(page))


def test_only_the_licensee_asks(
    grant: Grant, archive: Organization, stranger: Organization
) -> None:
    for client in (member(archive), member(stranger)):
        for asked in ({}, ASKED):
            assert client.get(page_of(grant), asked).status_code == 404
