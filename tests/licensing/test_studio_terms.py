"""The workspace's page of new terms: by cards, by a template, or written as conditions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from licensing.models import Terms
from marketplace import organizations
from marketplace.access import system
from marketplace.models import Organization
from tests.make import TYPED

pytestmark = pytest.mark.django_db
ADD = "/studio/licensing/terms/add/"


@pytest.fixture
def editor(archive: Organization) -> Client:
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="editor"
    )
    client = Client()
    client.force_login(user)
    return client


def sent(page: Any) -> dict[str, Any]:
    """What a browser would send of the cards as the page shows them."""
    form = page.context["cards_form"]
    return {field.html_name: field.value() for field in form if field.value() not in (None, "")}


def kept() -> list[Terms]:
    with system("read in a test"):
        return list(Terms.objects.all())


def test_the_page_begins_with_cards_and_saves_what_they_say(editor: Client) -> None:
    page = editor.get(f"{ADD}?preset=photos")
    text = page.content.decode()
    assert "What a buyer may do" in text
    assert 'name="typed"' not in text
    shown = json.loads(page.context["preview"].typed)

    made = editor.post(ADD, {**sent(page), "name": "Photos"})

    [terms] = kept()
    assert (made.status_code, terms.name, json.loads(terms.typed)) == (302, "Photos", shown)


def test_the_preview_answers_what_was_sent_and_keeps_nothing(editor: Client) -> None:
    values = sent(editor.get(f"{ADD}?preset=books"))
    answer = editor.post("/studio/licensing/terms/preview/", {**values, "name": "Books"})
    assert (answer.status_code, kept()) == (200, [])
    assert "What a buyer may do" in answer.content.decode()


def test_cards_that_lack_an_answer_make_no_terms(editor: Client) -> None:
    values = sent(editor.get(ADD))
    answer = editor.post(ADD, {"content": values["content"], "name": "Half"})
    assert (answer.status_code, kept()) == (200, [])
    assert "Something is missing on the cards." in answer.content.decode()


def test_conditions_can_be_written_all_the_same(editor: Client) -> None:
    page = editor.get(f"{ADD}?written=1").content.decode()
    assert 'name="typed"' in page
    assert "data-terms-cards" not in page
    made = editor.post(f"{ADD}?written=1", {"name": "Mine", "typed": json.dumps(TYPED)})
    [terms] = kept()
    assert (made.status_code, json.loads(terms.typed)) == (302, TYPED)


def test_neither_cards_nor_conditions_are_refused(editor: Client) -> None:
    answer = editor.post(ADD, {"name": "Nothing"})
    assert (answer.status_code, kept()) == (200, [])
    assert "Give the conditions, or answer the cards." in answer.content.decode()
