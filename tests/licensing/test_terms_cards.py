"""Cards: what is asked, what comes of it, what is warned of, and the page that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from licensing import (
    contradictions,
    decisions,
    prices,
    terms,
    terms_cards,
    terms_cards_form,
    terms_presets,
    terms_questions,
    terms_sentence,
    terms_templates,
    terms_text,
    terms_warnings,
)
from licensing.models import Terms
from licensing.terms_cards import CARDS, CONTENTS, Answers, Inexpressible
from licensing.terms_cards_form import CardsForm, initial_of
from licensing.terms_questions import Row
from licensing.terms_warnings import Collection, Remark
from marketplace import organizations
from marketplace.errors import InvalidInput
from marketplace.models import Organization
from marketplace.preferences import Viewer, viewing
from tests.licensing import card_answers as cases
from tests.make import TYPED, TYPED_2
from tests.people import caller_for

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def rows(typed: Any) -> dict[str, Row]:
    found = terms_questions.rows(terms.parse(typed), now=NOW)
    return {row.question: row for row in found}


def of_cards(**given: Any) -> dict[str, Row]:
    return rows(terms_cards.terms(Answers(**given)))


# --- cards and terms --------------------------------------------------------------------------


def test_each_answer_is_asked_by_one_card_and_stands_in_the_form() -> None:
    asked = [name for card in CARDS for name in card.asks]
    assert sorted(asked) == sorted(field.name for field in fields(Answers))
    shown = [name for names in terms_cards_form.FIELDS.values() for name in names]
    assert list(terms_cards_form.FIELDS) == [card.name for card in CARDS]
    assert sorted([*shown, "name"]) == sorted(CardsForm.base_fields)


def test_what_the_cards_do_not_ask_stands_as_in_the_template() -> None:
    for content in CONTENTS:
        typed = terms_cards.terms(Answers(content=content))
        base = terms_cards.template_of(content)
        for part in ("personal_data", "warranties", "audit", "reporting", "contract", "split"):
            assert typed[part] == base[part]


# What no card asks about: the clauses that keep a template from being answers.
BEYOND = {
    "3d-training": ["20.2"],
    "books-training": [],
    "code-training": ["2.1", "20.2"],
    "images-training": ["20.2"],
    "music-training": ["2.1", "9.4", "20.2", "20.3", "20.4"],
    "news-archive": ["20.2"],
    "scientific-articles": ["20.2", "20.3"],
    "social-posts": ["13.3", "13.4"],
    "speech-training": [],
    "tabular-training": ["20.2", "20.3"],
    "video-training": ["20.2"],
}


@pytest.mark.parametrize("name", [each.name for each in terms_templates.library()])
def test_a_template_is_answers_or_says_which_clauses_are_not(name: str) -> None:
    typed = terms_templates.find(name).typed
    found = terms_cards.answers(typed)
    if isinstance(found, Answers):
        assert BEYOND[name] == []
        assert CONTENTS[found.content].template == name
        return
    texts = {number: said.text for number, said in terms_text.clauses(typed)}
    assert found.clauses
    assert found.closest is not None
    for beyond in found.clauses:
        if not beyond.is_added:
            assert beyond.words == texts[beyond.clause]
    kept = [beyond.clause for beyond in found.clauses if not beyond.is_added]
    # Answers from passages and samples are no kind of content: most of their text is their own.
    assert kept == BEYOND[name] if name in BEYOND else len(kept) > 10
    # Without those clauses, they are answers.
    assert terms_cards.answers(terms_cards.terms(found.closest)) == found.closest


def test_terms_of_version_1_are_no_answers() -> None:
    found = terms_cards.answers(TYPED)
    assert isinstance(found, Inexpressible)
    assert found.closest is None
    assert {"2.1", "4.1"} <= {beyond.clause for beyond in found.clauses}


def test_free_text_is_beyond_every_card() -> None:
    typed = terms_cards.terms(Answers())
    typed["contract"] = {**typed["contract"], "other": ["As the parties agree."]}
    found = terms_cards.answers(typed)
    assert isinstance(found, Inexpressible)
    assert [beyond.words for beyond in found.clauses] == [
        "“As the parties agree.” (needs a human)."
    ]


def test_a_second_permission_is_beyond_the_cards() -> None:
    typed = terms_cards.terms(Answers())
    typed["permit"] = [*typed["permit"], {**typed["permit"][0], "uses": ["annotate"]}]
    found = terms_cards.answers(typed)
    assert isinstance(found, Inexpressible)
    assert [beyond.clause for beyond in found.clauses] == ["2.2"]


def test_an_amount_comes_back_from_the_offers_price() -> None:
    given = Answers(content="code", basis="per_token", amount_minor=250, currency="EUR")
    price = terms_cards.price(given)
    assert price == {
        "model": "per_unit",
        "unit": "token",
        "rate": {"amount_minor": 250, "per": 1_000_000},
    }
    typed = terms_cards.terms(given)
    assert terms_cards.answers(typed, price=price, currency="EUR") == given
    assert terms_cards.answers(typed) == replace(given, amount_minor=None, currency="USD")


@pytest.mark.parametrize("basis", terms_cards.BASES)
def test_each_price_is_one_that_offers_know(basis: str) -> None:
    price = terms_cards.price(Answers(basis=basis, amount_minor=250_000))
    assert price is not None
    assert prices.parse(price).as_dict().items() >= price.items()


# --- the sentences ----------------------------------------------------------------------------


def test_the_sentence_says_what_was_answered() -> None:
    given = Answers(
        territories=frozenset({"EU", "US"}),
        offered="there",
        basis="per_item",
        amount_minor=5,
        currency="EUR",
    )
    first, second = terms_sentence.sentences(given)
    assert first == (
        "Yes: train and fine-tune, for 3 years, only in the EU and the United States, for any model"
        " of theirs; no training of filters; no looking up of passages; no testing of models; no"
        " open weights; no style imitation; no faces or voices; no quotes; 0.05 EUR an image."
    )
    assert "copies are deleted within 30 days of the end" in second
    assert terms_sentence.sentences(replace(given, uses=frozenset())) == [
        "No: nothing is permitted yet. Choose what they may do."
    ]


@pytest.mark.parametrize("preset", terms_presets.presets(), ids=lambda preset: preset.name)
def test_a_presets_sentences_are_true_of_its_terms(preset: terms_presets.Preset) -> None:
    draft = cases.draft(preset.answers)
    parts = terms_sentence.parts(preset.answers)
    assert {part.card for part in parts} >= {"uses", "length", "where", "models", "price"}
    for part in parts:
        for claim in part.claims:
            assert cases.is_true(claim, draft), (part.text, claim)


def test_a_sentence_that_says_too_much_is_found_out() -> None:
    """The check itself: parts of other answers are not true of these terms."""
    draft = cases.draft(Answers())
    lies = replace(
        Answers(),
        uses=frozenset({"pretrain", "retrieve"}),
        release="open",
        style=True,
        quote_words=None,
        sectors=frozenset({"military"}),
        copies_days=1,
        opt_out="nothing",
        attribution=frozenset(),
        contractors=False,
        basis="free",
    )
    for part in terms_sentence.parts(lies):
        if part.text in {one.text for one in terms_sentence.parts(Answers())} or not part.claims:
            continue
        assert not all(cases.is_true(claim, draft) for claim in part.claims), part.text


# --- what a buyer may do ----------------------------------------------------------------------

PRETRAIN = "Pre-train a general model in Germany in 2027"
OPEN = "Fine-tune a model and publish its weights"
STYLE = "Offer to imitate the author’s style"
QUOTE = "Quote a whole work in an answer"
RAG = "Look passages up to answer questions (retrieval)"
RESELL = "Resell the works"
FACES = "Show the face or use the voice of a person in it"
HAND_ON = "Hand copies to a cloud or a contractor that works for the buyer"
AGAIN = "Start another training run in five years"


def test_a_dozen_questions_are_answered_with_the_contracts_words() -> None:
    found = of_cards(content="books", quote_words=200)
    assert len(found) == 13
    text = terms.render(
        terms.parse(terms_cards.terms(Answers(content="books"))), name="", version=1
    )
    for row in found.values():
        assert f"\n{row.clause} {row.words}\n" in text or row.clause.startswith("9.")
        assert row.why
    assert (found[PRETRAIN].answer, found[PRETRAIN].clause) == ("yes", "2.1")
    assert found[PRETRAIN].until == datetime(2029, 11, 26, tzinfo=UTC)
    assert (found[OPEN].answer, found[OPEN].clause) == ("no", "3.2")
    assert (found[STYLE].answer, found[STYLE].words) == (
        "no",
        "The Licensee does not offer to copy the style of one maker.",
    )
    assert (found[RAG].answer, found[RAG].clause) == ("no", "3.1")
    assert (found[RESELL].answer, found[RESELL].clause) == ("no", "11.1")
    assert (found[AGAIN].answer, found[AGAIN].clause) == ("no", "4.1")
    # Books license no right in faces: the engine finds it uncovered.
    assert (found[FACES].answer, found[FACES].clause) == ("no", "6.4")


@pytest.mark.parametrize(
    ("given", "question", "answer"),
    [
        ({"release": "open"}, OPEN, "yes"),
        ({"style": True}, STYLE, "yes"),
        ({"likeness": True}, FACES, "yes"),
        ({"contractors": False}, HAND_ON, "no"),
        ({"contractors": True}, HAND_ON, "yes"),
        ({"training_days": 3650}, AGAIN, "yes"),
        ({"uses": frozenset({"retrieve"}), "quote_words": 50}, RAG, "yes"),
        ({"uses": frozenset({"retrieve"}), "quote_words": 50}, QUOTE, "no"),
        ({"uses": frozenset({"retrieve"}), "quote_words": None}, QUOTE, "yes"),
        ({"territories": frozenset({"US"})}, PRETRAIN, "no"),
        ({"model_name": "Atlas 2"}, PRETRAIN, "no"),
        ({"training_days": 30}, PRETRAIN, "no"),
    ],
)
def test_an_answer_changes_what_a_buyer_may_do(
    given: Mapping[str, Any], question: str, answer: str
) -> None:
    assert of_cards(**given)[question].answer == answer


def test_what_the_engine_leaves_to_people_is_for_a_person() -> None:
    typed = {**TYPED_2, "contract": {**TYPED_2["contract"], "other": ["As agreed."]}}
    assert rows(typed)[PRETRAIN].answer == "person"
    music = rows(terms_templates.find("music-training").typed)
    assert (music[PRETRAIN].answer, music[PRETRAIN].answer_in_words) == ("person", "Ask a person")


def test_every_answer_is_the_engines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that denies everything leaves no yes."""
    nothing = decisions.Decision(
        decisions.Answer.DENY, reasons=(decisions.Reason(decisions.Code.NOT_PERMITTED),)
    )
    monkeypatch.setattr(decisions, "decide", lambda *_given, **_named: nothing)
    assert {row.answer for row in of_cards().values()} == {"no"}


# --- warnings ---------------------------------------------------------------------------------


def warned(given: Answers, collection: Collection | None = None) -> dict[str, Remark]:
    found = terms_warnings.of_answers(given, collection, now=NOW)
    return {remark.code: remark for remark in found}


@pytest.mark.parametrize(
    ("changed", "code", "card", "is_refused"),
    [
        ({"uses": frozenset()}, "nothing_permitted", "uses", True),
        ({"models_after": "delete"}, "refused", "ending", True),
        (
            {"models_after": "delete", "use_days": 1095, "release": "open"},
            "refused",
            "ending",
            True,
        ),
        ({"use_days": 30}, "refused", "length", True),
        ({"model_name": ""}, "refused", "models", True),
        ({"basis": "free", "amount_minor": 5}, "free_with_price", "price", True),
        ({"basis": "flat_fee", "amount_minor": 1}, "price_not_chargeable", "price", True),
        ({"basis": "annual_fee", "amount_minor": 9_000}, "price_not_charged_yet", "price", False),
        ({"amount_minor": None}, "price_missing", "price", False),
        ({"content": "books", "basis": "per_megapixel"}, "unit_not_in_content", "price", False),
        ({"release": "open"}, "open_weights_for_good", "models", False),
        ({"opt_out": "nothing"}, "withdrawal_without_effect", "opt_outs", False),
        (
            {"uses": frozenset({"retrieve"}), "quote_words": None},
            "passages_without_limit",
            "quotes",
            False,
        ),
        (
            {"uses": frozenset({"retrieve"}), "attribution": frozenset()},
            "answers_without_source",
            "naming",
            False,
        ),
        ({"uses": frozenset({"retrieve"})}, "retrieval_without_end", "length", False),
    ],
)
def test_what_is_wrong_or_odd_is_shown_at_its_card(
    changed: Mapping[str, Any], code: str, card: str, is_refused: bool
) -> None:
    sound = Answers(basis="flat_fee", amount_minor=9_000)
    assert code not in warned(sound)
    remark = warned(replace(sound, **changed))[code]
    assert (remark.card, remark.is_refused) == (card, is_refused)
    assert remark.text
    assert remark.way_out
    assert remark.question


def test_a_price_per_image_of_a_collection_of_texts_is_odd() -> None:
    given = Answers(content="photos", basis="per_item", amount_minor=5)
    texts = Collection(modalities=frozenset({"text"}))
    assert not {"other_content", "item_not_in_collection"} & set(warned(given))
    assert warned(given, texts)["other_content"].card == "content"
    assert "an image" in warned(given, texts)["item_not_in_collection"].text


def test_an_offer_that_has_ended_is_odd() -> None:
    ended = Collection(closes_at=datetime(2026, 11, 1, tzinfo=UTC))
    assert "2026-11-01" in warned(Answers(), ended)["window_ended"].text
    assert "window_ended" not in warned(
        Answers(), Collection(closes_at=datetime.max.replace(tzinfo=UTC))
    )


def test_training_without_a_word_on_open_weights_is_odd() -> None:
    typed = terms_templates.find("news-archive").typed
    assert "open_weights_unsaid" in {remark.code for remark in terms_warnings.of_terms(typed)}
    said = terms_templates.find("books-training").typed
    assert "open_weights_unsaid" not in {remark.code for remark in terms_warnings.of_terms(said)}


def test_every_warning_of_contradictions_has_a_way_out() -> None:
    source = Path(contradictions.__file__).read_text()
    codes = set(re.findall(r'Warned\(\s+"(\w+)"', source))
    assert codes == set(terms_warnings._WAYS)


# --- presets ----------------------------------------------------------------------------------


def test_each_kind_of_content_has_a_beginning_that_can_stand() -> None:
    assert [preset.name for preset in terms_presets.presets()] == list(CONTENTS)
    for preset in terms_presets.presets():
        assert terms.parse(terms_cards.terms(preset.answers)).v == 2
        assert not any(remark.is_refused for remark in terms_warnings.of_answers(preset.answers))
        # A price is the maker's to say.
        assert preset.answers.amount_minor is None
    with pytest.raises(InvalidInput):
        terms_presets.find("perfume")


def test_each_price_that_was_seen_has_its_source() -> None:
    found = [anchor for preset in terms_presets.presets() for anchor in preset.anchors]
    assert len(found) >= 15
    assert all(anchor.deal and anchor.seen and anchor.source for anchor in found)
    assert all(re.fullmatch(r"(20\d\d(-\d\d-\d\d)?)?", anchor.date) for anchor in found)


# --- the form and its page --------------------------------------------------------------------


def sent(given: Answers, **changed: Any) -> dict[str, Any]:
    return {**initial_of(given), **changed}


@pytest.mark.parametrize("preset", terms_presets.presets(), ids=lambda preset: preset.name)
def test_answers_come_back_from_the_form(preset: terms_presets.Preset) -> None:
    for given in (
        preset.answers,
        replace(preset.answers, territories=frozenset({"DE", "EU"}), model_name="Atlas 2"),
        replace(preset.answers, amount_minor=123_456, currency="JPY", use_days=4_000),
    ):
        form = CardsForm(sent(given))
        assert form.is_valid(), form.errors
        assert form.answers == given
        assert form.drafted()["typed"] == terms_cards.terms(given)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"where": "some", "places": [], "more_places": ""}, "places"),
        ({"more_places": "XX"}, "more_places"),
        ({"models": "named", "model_name": "“Atlas”"}, "model_name"),
        ({"quotes": "some", "quote_words": ""}, "quote_words"),
        ({"training": 101}, "training"),
        ({"training": ""}, "training"),
        ({"amount": "0.055"}, "amount"),
        ({"amount": "1000000"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"content": "perfume"}, "content"),
        ({"uses": ["resell"]}, "uses"),
    ],
)
def test_what_the_form_cannot_take_is_said_at_its_field(changed: dict[str, Any], name: str) -> None:
    form = CardsForm(sent(Answers(amount_minor=5), **changed))
    assert not form.is_valid()
    assert list(form.errors) == [name]


def test_a_form_says_why_no_terms_come_of_it() -> None:
    sound, refused = CardsForm(sent(Answers())), CardsForm(sent(Answers(models_after="delete")))
    assert sound.is_valid()
    assert refused.is_valid()
    assert sound.refusals() == []
    (why,) = refused.refusals()
    assert why.startswith("Models are to be deleted, and they cannot be. Let models be kept; or")


@pytest.fixture
def page(archive: Organization, settings: Any) -> Client:
    settings.ROOT_URLCONF = "tests.licensing.terms_cards_urls"
    client = Client()
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="editor"
    )
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_a_page_shows_the_cards_and_what_they_come_to(page: Client) -> None:
    answer = page.get("/studio/bare/?preset=books")
    html = answer.content.decode()
    assert answer.status_code == 200
    assert html.count('class="card"') == len(CARDS)
    assert "Yes: train and fine-tune, for 3 years, worldwide" in html
    assert "Seen in public deals: HarperCollins and Microsoft: $5,000 a title" in html
    assert "Date: 2024." in html
    # Neither script nor style of its own, nor a handler in an attribute.
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
    assert not re.search(r'(src|href)="(https?:)?//', html)


@pytest.mark.django_db
def test_the_script_gets_the_preview_alone(page: Client) -> None:
    given = Answers(basis="per_item", amount_minor=5, currency="EUR")
    answer = page.post("/studio/bare/preview/", sent(given), headers={"X-Terms-Preview": "1"})
    html = answer.content.decode()
    assert answer.status_code == 200
    assert html.startswith('<div data-part="said" class="said" aria-live="polite">')
    assert "0.05 EUR an image." in html
    assert "<form" not in html
    assert answer["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.django_db
def test_without_a_script_the_button_shows_the_whole_page_again(page: Client) -> None:
    given = Answers(content="news", training_days=400, amount_minor=5)
    html = page.post("/studio/bare/preview/", sent(given, name="<b>Mine</b>")).content.decode()
    assert "for 400 days" in html
    assert 'value="&lt;b&gt;Mine&lt;/b&gt;"' in html
    assert "<b>Mine" not in html
    assert re.search(r'<form method="post" action="/studio/licensing/terms/add/"', html)
    assert 'formaction="/studio/bare/preview/"' in html


@pytest.mark.django_db
def test_the_preview_can_be_asked_for_by_its_address(page: Client) -> None:
    html = page.get("/studio/bare/preview/", sent(Answers(style=True))).content.decode()
    assert "imitating the style is allowed" in html
    assert (
        "Something is missing" in page.get("/studio/bare/preview/?content=books").content.decode()
    )


@pytest.mark.django_db
def test_a_preview_names_what_is_missing_or_refused(page: Client) -> None:
    script = {"X-Terms-Preview": "1"}
    incomplete = page.post("/studio/bare/preview/", sent(Answers(), training=""), headers=script)
    html = incomplete.content.decode()
    assert "Something is missing." in html
    assert 'href="#terms_training"' in html
    refused = page.post(
        "/studio/bare/preview/", sent(Answers(models_after="delete")), headers=script
    )
    html = refused.content.decode()
    assert "This cannot stand as it is." in html
    assert 'href="#card-ending"' in html
    assert "<table" not in html


@pytest.mark.django_db
def test_a_preview_writes_nothing(page: Client) -> None:
    page.post("/studio/bare/preview/", sent(Answers(), name="Mine", _save="1"))
    assert not Terms.objects.filter(name="Mine").exists()


@pytest.mark.django_db
def test_what_is_saved_is_what_was_previewed(page: Client, archive: Organization) -> None:
    given = sent(Answers(content="books", quote_words=120), name="Mine")
    previewed = page.post("/studio/bare/preview/", given, headers={"X-Terms-Preview": "1"})
    saved = page.post("/studio/bare/", given).content.decode()
    assert "An output repeats no more than 120 words of a Work in a row." in saved
    assert escape(saved.rstrip()) in previewed.content.decode()
    made = Terms.objects.get(name="Mine")
    assert made.organization == archive
    assert made.published_at is None
    assert json.loads(made.typed) == terms_cards.terms(Answers(content="books", quote_words=120))


@pytest.mark.django_db
def test_only_members_see_a_preview(page: Client, settings: Any) -> None:
    answer = Client().post("/studio/bare/preview/", sent(Answers()))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/")
    assert "login" in answer["Location"]


@pytest.mark.django_db
def test_terms_that_say_more_are_told_clause_by_clause(page: Client, archive: Organization) -> None:
    typed = json.loads(json.dumps(terms_templates.find("images-training").typed))
    made = terms.draft(caller_for(archive), name="Images", typed=typed)
    html = page.get(f"/studio/bare/?from={made.pk}").content.decode()
    assert "No card asks about these clauses" in html
    assert "The price per unit falls as the number grows." in html


def test_money_and_words_go_through_the_readers_language() -> None:
    with translation.override("de"):
        assert terms_sentence.sentences(Answers())[0].startswith("Ja: ")
    answers = replace(
        Answers(), basis="flat_fee", amount_minor=123_450, territories=frozenset({"CH", "EU"})
    )
    english = " ".join(terms_sentence.sentences(answers))
    assert "1,234.50" in english
    assert "Switzerland" in english
    with viewing(Viewer("de", None, "de-DE")):
        german = " ".join(terms_sentence.sentences(answers))
    assert "1.234,50\xa0" in german
    assert "hier: EU und Schweiz, " in german
