"""Templates of terms: each sound, plain to read, and a beginning that sellers change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from licensing import contradictions, terms, terms_schema, terms_templates, terms_text
from licensing.terms_templates import Template
from marketplace.models import Organization
from tests.licensing.deals import DEALS
from tests.licensing.grades import GRADE_MAX, grade, syllables
from tests.make import TYPED_2
from tests.people import ApiClient

ClientFor = Callable[..., ApiClient]
TEMPLATES = terms_templates.library()
by_name = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)


def rendered(typed: Any) -> str:
    return terms_text.render(typed, name="Terms", version=1)


@by_name
def test_a_template_is_sound_and_needs_no_human(template: Template) -> None:
    typed = terms.parse(json.loads(json.dumps(template.typed)))
    assert typed.v == 2
    assert not typed.needs_human
    assert set(template.typed["subject"]["modalities"]) <= set(template.modalities)


@by_name
def test_a_template_speaks_of_all_twenty_two_dimensions(template: Template) -> None:
    assert set(template.typed) == {"v", "permit", "deny", *terms_schema.SECTIONS}
    text = rendered(template.typed)
    # Permit and deny hold uses, models, fields and places; the parts hold the rest.
    assert len(re.findall(r"^\d+ ", text, re.MULTILINE)) >= len(terms_schema.SECTIONS)


@by_name
def test_a_template_reads_at_ninth_grade_or_below(template: Template) -> None:
    assert grade(rendered(template.typed)) <= GRADE_MAX


def test_every_text_that_is_measured_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {template.name: template.typed for template in TEMPLATES}
    texts |= {deal.name: deal.typed() for deal in DEALS} | {"tests": TYPED_2}
    found = {name: round(grade(rendered(typed)), 2) for name, typed in texts.items()}
    with capsys.disabled():
        print(f"\nreading grades of {len(found)} texts:")
        print("\n".join(f"{value:5.2f} {name}" for name, value in sorted(found.items())))
    assert max(found.values()) <= GRADE_MAX


def test_the_measure_tells_hard_words_from_plain_ones() -> None:
    plain = "Title\nYou may train a model. You may not sell the works."
    hard = (
        "Title\nNotwithstanding anything contained herein to the contrary, the licensee's"
        " nontransferable authorization shall terminate automatically upon notification."
    )
    assert grade(plain) < 5 < 15 < grade(hard)
    assert [syllables(word) for word in ("may", "model", "territory")] == [1, 2, 4]


def test_there_is_a_template_for_every_kind_of_content() -> None:
    covered = {kind for template in TEMPLATES for kind in template.modalities}
    assert covered >= {"text", "image", "audio_recording", "video", "3d", "code", "tabular"}
    assert "evaluation-sample" in {template.name for template in TEMPLATES}


def test_templates_are_listed_and_fetched(client_for: ClientFor, lab: Organization) -> None:
    client = client_for(lab)
    rows = client.get("/v1/terms-templates").json()["data"]
    assert [row["name"] for row in rows] == [template.name for template in TEMPLATES]
    one = client.get("/v1/terms-templates/books-training").json()
    assert one in rows
    assert (one["object"], one["anchors"][0]["source"] != "") == ("terms_template", True)
    assert client.get("/v1/terms-templates/none").status_code == 404


def test_terms_are_drafted_from_a_template_with_parts_replaced(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    template = terms_templates.find("books-training").typed
    term = {**template["term"], "training_days": 730}
    made = client.post(
        "/v1/terms", {"name": "Books", "template": "books-training", "changes": {"term": term}}
    ).json()
    assert made["typed"] == {**template, "term": term}
    assert made["template_version"] == "en-2"
    assert "730 days" in made["text"]
    assert {duty["type"] for duty in made["duties"]} >= {"retention", "output_limit"}
    assert made["needs_human"] is False
    # The template itself is as it was.
    assert terms_templates.find("books-training").typed["term"]["training_days"] == 1095


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "typed"),
        ({"template": "none"}, "template"),
        ({"template": "books-training", "typed": TYPED_2}, "template"),
        ({"changes": {"term": {}}}, "template"),
        ({"template": "books-training", "changes": {"price_minor": 5}}, "changes.price_minor"),
        ({"template": "books-training", "changes": {"v": 1}}, "changes.v"),
        ({"template": "books-training", "changes": {"term": {}}}, "typed.term.access_days"),
        ({"template": "books-training", "changes": {"permit": []}}, "typed.permit"),
    ],
)
def test_a_draft_that_fits_no_template_is_refused_by_name(
    client_for: ClientFor, archive: Organization, body: dict[str, Any], param: str
) -> None:
    client = client_for(archive)
    answer = client.post("/v1/terms", {"name": "Books", **body})
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert client.get("/v1/terms").json()["data"] == []


def test_what_is_odd_is_shown_and_free_words_need_a_human(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    contract = {**TYPED_2["contract"], "other": ["As the parties agree."]}
    made = client.post(
        "/v1/terms", {"name": "Odd", "typed": {**TYPED_2, "contract": contract}}
    ).json()
    assert made["needs_human"] is True
    assert "needs_human" in {warned["code"] for warned in made["warnings"]}
    assert made["warnings"] == [
        warned._asdict() for warned in contradictions.warnings(made["typed"])
    ]
