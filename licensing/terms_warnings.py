"""What is wrong or odd in answers and in terms: at which card, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from licensing import contradictions, prices, terms_cards, typed_terms
from licensing.contradictions import TRAINING_USES
from licensing.prices import NOT_CHARGED_YET
from licensing.terms_cards import Answers
from marketplace import money, preferences
from marketplace.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to look at. `is_refused`: no terms, or no offer, can be made of it as it is."""

    card: str
    code: str
    text: str
    way_out: str
    is_refused: bool = False

    @property
    def question(self) -> str:
        """The question of its card."""
        return next(str(card.question) for card in terms_cards.CARDS if card.name == self.card)


@dataclass(frozen=True, slots=True)
class Collection:
    """What is known of the works that the terms are for; None: nothing is."""

    # Kinds of content, in the words of typed terms: text, image, …
    modalities: frozenset[str] | None = None
    # When an offer under these terms ends.
    closes_at: datetime | None = None


def of_answers(
    given: Answers, collection: Collection | None = None, *, now: datetime | None = None
) -> list[Remark]:
    """What to look at in answers, the refused first."""
    found = list(_of_answers(given, collection or Collection(), now or datetime.now(UTC)))
    return sorted(found, key=lambda remark: not remark.is_refused)


def of_terms(typed: Mapping[str, Any]) -> list[Remark]:
    """What is odd in checked terms of version 2, whoever wrote them."""
    found = [
        Remark(
            terms_cards.card_of(warned.param).name,
            warned.code,
            warned.text,
            _WAYS.get(warned.code, _ask)(),
        )
        for warned in contradictions.warnings(dict(typed))
    ]
    return found + [remark for rule in _OMISSIONS for remark in rule(typed)]


def _of_answers(given: Answers, collection: Collection, now: datetime) -> Iterator[Remark]:
    yield from _price(given)
    yield from _about_the_works(given, collection, now)
    if not given.uses:
        yield Remark(
            "uses",
            "nothing_permitted",
            _("Nothing is permitted, and there is nothing to license."),
            _("Choose at least one thing that they may do."),
            is_refused=True,
        )
        return
    typed = terms_cards.terms(given)
    try:
        typed_terms.parse(typed)
    except InvalidInput as refused:
        yield _refused(refused)
        return
    yield from of_terms(typed)


def _refused(refused: InvalidInput) -> Remark:
    param = str(refused.data.get("param", ""))
    card = terms_cards.card_of(param).name
    texts = {
        "length": (
            _("Results could not be used for as long as training may start."),
            _("Let results be used for as long as training, or longer, or without end."),
        ),
        "ending": (
            _("Models are to be deleted, and they cannot be."),
            _(
                "Let models be kept; or give the use of results an end, and do not allow open"
                " weights: what was published cannot be called back."
            ),
        ),
        "models": (
            _("Only one model is meant, and it has no name that a contract can use."),
            _("Name the model on one line, or permit any model."),
        ),
    }
    text, way_out = texts.get(card, (str(refused.detail), _ask()))
    return Remark(card, "refused", text, way_out, is_refused=True)


def _ask() -> str:
    return _("Change the answer, or ask somebody who knows such contracts.")


# --- the price --------------------------------------------------------------------------------

# Which kinds of content have no such unit.
_COUNTED: Mapping[str, frozenset[str]] = {
    "per_minute": frozenset({"music", "video", "speech"}),
    "per_megapixel": frozenset({"photos", "video"}),
    "per_token": frozenset({"news", "books", "code", "posts", "papers", "speech", "tables"}),
}


def _price(given: Answers) -> Iterator[Remark]:
    amount = given.amount_minor
    if given.basis == "free":
        if amount:
            yield Remark(
                "price",
                "free_with_price",
                _("The license is free, and a price of %(price)s stands beside it.")
                % {"price": preferences.amount(amount, given.currency)},
                _("Empty the amount, or choose what the price is counted by."),
                is_refused=True,
            )
        return
    if not amount:
        yield Remark(
            "price",
            "price_missing",
            _("It costs something, and nothing says how much."),
            _("Give an amount; or choose “free”. An offer can say it later, too."),
        )
    else:
        yield from _chargeable(given)
    counted = _COUNTED.get(given.basis)
    if counted is not None and given.content not in counted:
        yield Remark(
            "price",
            "unit_not_in_content",
            _("The price counts what this kind of content does not have."),
            _("Choose a price per item, or one for everything together."),
        )


def _chargeable(given: Answers) -> Iterator[Remark]:
    typed = terms_cards.price(given)
    assert typed is not None
    try:
        price = prices.parse(typed)
        if price.amount_minor is not None:
            money.check_price(price.amount_minor, given.currency)
    except InvalidInput as refused:
        yield Remark(
            "price",
            "price_not_chargeable",
            str(refused.detail),
            _("Give an amount that can be charged."),
            is_refused=True,
        )
        return
    if price.model in NOT_CHARGED_YET:
        yield Remark(
            "price",
            "price_not_charged_yet",
            _("This market cannot charge a yearly fee yet, so it does not sell such offers."),
            _("Ask for one amount for everything, or for a price per item."),
        )


# --- the works --------------------------------------------------------------------------------


def _about_the_works(given: Answers, collection: Collection, now: datetime) -> Iterator[Remark]:
    meant = frozenset(terms_cards.template_of(given.content)["subject"]["modalities"])
    held = collection.modalities
    if held is not None and not held & meant:
        label = terms_cards.CONTENTS[given.content]
        yield Remark(
            "content",
            "other_content",
            _("The terms are for “%(content)s”, and the collection holds something else.")
            % {"content": label.label},
            _("Choose the kind of content that the collection has."),
        )
        if given.basis == "per_item":
            yield Remark(
                "price",
                "item_not_in_collection",
                _("The price is said per item (%(each)s), and the collection has none.")
                % {"each": label.each},
                _("Choose the kind of content first; the price per item goes with it."),
            )
    if collection.closes_at is not None and collection.closes_at <= now:
        yield Remark(
            "length",
            "window_ended",
            _("The offer ended on %(day)s: nobody can buy under these terms any more.")
            % {"day": preferences.day(collection.closes_at)},
            _("Give the offer a later end, or none."),
        )


# --- what is not said -------------------------------------------------------------------------


def _uses(typed: Mapping[str, Any]) -> set[str]:
    return {use for permit in typed["permit"] for use in permit["uses"]}


def _released(typed: Mapping[str, Any]) -> set[str]:
    return {word for permit in typed["permit"] for word in permit["models"]["release"]}


def _open_weights(typed: Mapping[str, Any]) -> Iterator[Remark]:
    is_denied = any(
        "open_weights" in deny.get("models", {}).get("release", []) for deny in typed["deny"]
    )
    is_made = bool(_uses(typed) & TRAINING_USES)
    if "open_weights" in _released(typed):
        yield Remark(
            "models",
            "open_weights_for_good",
            _("Weights that were published stay with everybody, also when the license ends."),
            _("Do not allow open weights, unless you mean this."),
        )
    elif is_made and not is_denied:
        yield Remark(
            "models",
            "open_weights_unsaid",
            _("Training is permitted, and no clause speaks of open weights."),
            _("Say “no open weights” in a clause: then nobody needs to infer it."),
        )


def _passages(typed: Mapping[str, Any]) -> Iterator[Remark]:
    output = typed["output"]
    limits = (output["max_verbatim_words"], output["max_fraction_basis_points"])
    if "ground_display" in _uses(typed) and limits == (None, None):
        yield Remark(
            "quotes",
            "passages_without_limit",
            _("Answers may show passages, and nothing limits how long these are."),
            _("Give a number of words."),
        )
    if "retrieve_rag" in _uses(typed) and not typed["attribution"]["places"]:
        yield Remark(
            "naming",
            "answers_without_source",
            _("Answers are made from passages, and nobody is told whose they are."),
            _("Have outputs name you or link to the work."),
        )


def _times(typed: Mapping[str, Any]) -> Iterator[Remark]:
    term = typed["term"]
    if term["use_days"] is None and "retrieve_rag" in _uses(typed):
        yield Remark(
            "length",
            "retrieval_without_end",
            _("Looking passages up goes on without end: it counts as a use of results."),
            _("Give the use of results an end."),
        )


_OMISSIONS: tuple[Callable[[Mapping[str, Any]], Iterator[Remark]], ...] = (
    _open_weights,
    _passages,
    _times,
)

# What to do about what `contradictions` warns of, by its code.
_WAYS: Mapping[str, Callable[[], str]] = {
    "output_unlimited_but_display_denied": lambda: _("Give a number of words, or no quotes."),
    "personal_data_without_lawful_basis": lambda: _("Say why the data may be processed."),
    "personal_data_without_erasure": lambda: _("Say how soon a person’s data are erased."),
    "most_favored_without_others": lambda: _("Leave one of the two out."),
    "exclusivity_held_wider": lambda: _("Sell it exclusively, or to everybody."),
    "price_needs_reports": lambda: _("Have the buyer report what the price counts."),
    "attribution_measured_by_nobody": lambda: _("Name somebody who measures it."),
    "withdrawal_without_effect": lambda: _("Have such a work at least left out of new training."),
    "open_weights_cannot_be_recalled": lambda: _("Do not allow open weights."),
    "open_weights_but_no_finetunes": lambda: _("Do not allow open weights, or allow fine-tunes."),
    "use_makes_what_lineage_denies": lambda: _("Permit one of the two only."),
    "indemnity_without_promise": lambda: _("Promise something, or pay for nothing."),
    "needs_human": lambda: _("Leave the free text out where a field can say the same."),
}
