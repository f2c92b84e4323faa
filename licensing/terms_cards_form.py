"""The cards as a form: what a person ticks, as answers, and answers as what is ticked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import reading, terms_cards, terms_warnings, vocabulary
from licensing.terms import NAME_LENGTH_MAX
from licensing.terms_cards import CARDS, CONTENTS, DAYS_PER_YEAR, Answers, Card
from licensing.terms_schema import DAYS_MAX
from licensing.terms_schema import NAME_LENGTH_MAX as MODEL_NAME_LENGTH_MAX
from licensing.terms_sentence import SECTORS
from licensing.vocabulary import EUROPEAN_UNION, WORLDWIDE
from marketplace import money, preferences
from marketplace.errors import InvalidInput

_UNITS = (("years", gettext_lazy("years")), ("days", gettext_lazy("days")))
# The places that are asked for by name; any other is written by its code.
_PLACES = (
    (EUROPEAN_UNION, gettext_lazy("European Union")),
    ("US", gettext_lazy("United States")),
    ("GB", gettext_lazy("United Kingdom")),
    ("CH", gettext_lazy("Switzerland")),
    ("CA", gettext_lazy("Canada")),
    ("JP", gettext_lazy("Japan")),
)
_NO_YES = (("no", gettext_lazy("No")), ("yes", gettext_lazy("Yes")))


def _one(label: Any, choices: Any, help_text: Any = "") -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label, choices=choices, widget=forms.RadioSelect, help_text=help_text
    )


def _several(label: Any, choices: Any, help_text: Any = "") -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=label,
        choices=choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=help_text,
    )


def _number(
    label: Any, most: int, *, least: int = 0, required: bool = True, help_text: Any = ""
) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, min_value=least, max_value=most, required=required, help_text=help_text
    )


class CardsForm(forms.Form):
    """All cards. `answers` after `is_valid()`; `initial_of(answers)` to show some.

    A host asks for `refusals()`, too, before it hands `drafted()` to `terms.draft`.
    """

    name = forms.CharField(
        label=gettext_lazy("Name of these terms"),
        max_length=NAME_LENGTH_MAX,
        required=False,
        help_text=gettext_lazy("Buyers see it. The same name again makes its next version."),
    )
    content = forms.ChoiceField(
        label=gettext_lazy("Kind of content"),
        choices=[(name, content.label) for name, content in CONTENTS.items()],
        help_text=gettext_lazy(
            "What the cards do not ask stands as is usual for it: warranties, reports, audits."
        ),
    )
    uses = _several(
        gettext_lazy("They may"),
        (
            ("pretrain", gettext_lazy("Train new models on it")),
            ("finetune", gettext_lazy("Fine-tune models with it")),
            ("classify", gettext_lazy("Train filters that sort or moderate")),
            ("retrieve", gettext_lazy("Look passages up to answer questions (retrieval)")),
            ("evaluate", gettext_lazy("Test how good models are with it")),
        ),
    )
    training = _number(gettext_lazy("They may use the works for"), DAYS_MAX, least=1)
    training_unit = forms.ChoiceField(label=gettext_lazy("Counted in"), choices=_UNITS)
    use = _number(
        gettext_lazy("They may use what they made for"),
        DAYS_MAX,
        least=1,
        required=False,
        help_text=gettext_lazy("Empty: without end."),
    )
    use_unit = forms.ChoiceField(label=gettext_lazy("Counted in"), choices=_UNITS)
    where = _one(
        gettext_lazy("They may work with it"),
        (
            ("world", gettext_lazy("Anywhere in the world")),
            ("some", gettext_lazy("Only in these places")),
        ),
    )
    places = _several(gettext_lazy("Places"), _PLACES)
    more_places = forms.CharField(
        label=gettext_lazy("Other countries"),
        required=False,
        max_length=400,
        help_text=gettext_lazy("Codes of two letters, such as BR, IN."),
    )
    offered = _one(
        gettext_lazy("What they make of it may be offered"),
        (("anywhere", gettext_lazy("Anywhere")), ("there", gettext_lazy("Only there, too"))),
    )
    models = _one(
        gettext_lazy("They may use it for"),
        (
            ("any", gettext_lazy("Any model of theirs")),
            ("named", gettext_lazy("One model only")),
        ),
    )
    model_name = forms.CharField(
        label=gettext_lazy("Name of the model"),
        required=False,
        max_length=MODEL_NAME_LENGTH_MAX,
    )
    release = _one(
        gettext_lazy("Such a model may be"),
        (
            ("internal", gettext_lazy("Used inside their own business only")),
            ("service", gettext_lazy("Offered as a service: no open weights")),
            ("open", gettext_lazy("Published with its weights, too")),
        ),
    )
    sectors = _several(
        gettext_lazy("Never for"), [(name, capfirst(words)) for name, words in SECTORS.items()]
    )
    style = _one(gettext_lazy("May they offer to imitate the style of a maker?"), _NO_YES)
    likeness = _one(
        gettext_lazy("May outputs show the faces or use the voices of people in it?"), _NO_YES
    )
    quotes = _one(
        gettext_lazy("Outputs may repeat"),
        (
            ("none", gettext_lazy("Nothing of a work word for word")),
            ("some", gettext_lazy("Up to a number of words in a row")),
            ("any", gettext_lazy("Any length")),
        ),
    )
    quote_words = _number(gettext_lazy("Words in a row"), 1_000_000, least=1, required=False)
    sharing = _several(
        gettext_lazy("Beside the buyer, it may be handled by"),
        (
            ("affiliates", gettext_lazy("Companies that the buyer controls")),
            ("contractors", gettext_lazy("Contractors and clouds that work for it")),
        ),
    )
    attribution = _several(
        gettext_lazy("They name you"),
        (
            ("docs", gettext_lazy("In the papers of each model")),
            ("answers", gettext_lazy("In outputs that draw on a work, or with a link to it")),
        ),
    )
    copies_days = _number(gettext_lazy("Days until copies of the works are deleted"), DAYS_MAX)
    models_after = _one(
        gettext_lazy("Trained models"),
        (
            ("keep", gettext_lazy("May be kept and built on")),
            ("frozen", gettext_lazy("May be kept as they are")),
            ("delete", gettext_lazy("Are deleted when the use of results ends")),
        ),
    )
    opt_out = _one(
        gettext_lazy("They then"),
        (
            ("nothing", gettext_lazy("Need do nothing")),
            ("exclude", gettext_lazy("Leave it out of new training")),
            ("purge", gettext_lazy("Also delete their copies")),
            ("suppress", gettext_lazy("Also stop outputs that draw on it")),
            ("retrain", gettext_lazy("Delete copies, and train the next version without it")),
        ),
    )
    opt_out_days = _number(gettext_lazy("Days that they have for it"), DAYS_MAX)
    basis = forms.ChoiceField(
        label=gettext_lazy("Counted by"),
        choices=(
            ("free", gettext_lazy("Nothing: it is free")),
            ("flat_fee", gettext_lazy("One amount for everything")),
            ("annual_fee", gettext_lazy("An amount for each year")),
            ("per_item", gettext_lazy("Item: image, article, book, …")),
            ("per_minute", gettext_lazy("Minute")),
            ("per_megapixel", gettext_lazy("Megapixel")),
            ("per_token", gettext_lazy("Million tokens")),
            ("per_gigabyte", gettext_lazy("Gigabyte")),
        ),
    )
    amount = forms.DecimalField(
        label=gettext_lazy("Amount"),
        required=False,
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy(
            "Such as 0.05. Terms say what is counted, and offers how much it is."
        ),
    )
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency"), choices=[(code, code) for code in money.CURRENCIES]
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("where") == "some" and not self._codes():
            self.add_error("places", _("Choose a place, or let them work anywhere."))
        if data.get("models") == "named" and not reading.is_line(
            data.get("model_name"), MODEL_NAME_LENGTH_MAX
        ):
            self.add_error("model_name", _("Name the model, without quotation marks."))
        if data.get("quotes") == "some" and not data.get("quote_words"):
            self.add_error("quote_words", _("Say how many words."))
        for name in ("training", "use"):
            days = self._days(name)
            if days is not None and days > DAYS_MAX:
                self.add_error(name, _("Give up to %(most)s years.") % {"most": DAYS_MAX // 365})
        try:
            self.amount_minor = self._amount()
        except InvalidInput as refused:
            self.amount_minor = None
            self.add_error("amount", str(refused.detail))
        return data

    def clean_more_places(self) -> str:
        text: str = self.cleaned_data["more_places"]
        for code in _codes_in(text):
            if code not in vocabulary.COUNTRY_NUMBERS:
                raise forms.ValidationError(
                    _("“%(code)s” is no country. Write its two letters (ISO 3166-1).")
                    % {"code": code[:20]}
                )
        return text

    def _codes(self) -> frozenset[str]:
        chosen = self.cleaned_data.get("places", [])
        return frozenset([*chosen, *_codes_in(self.cleaned_data.get("more_places", ""))])

    def _days(self, name: str) -> int | None:
        number: int | None = self.cleaned_data.get(name)
        if number is None:
            return None
        return number * (DAYS_PER_YEAR if self.cleaned_data.get(f"{name}_unit") == "years" else 1)

    def _amount(self) -> int | None:
        amount: Decimal | None = self.cleaned_data.get("amount")
        code = self.cleaned_data.get("currency")
        if amount is None or code is None:
            return None
        found = money.minor(amount, code, param="amount")
        if found > money.STRIPE_MAXIMUM_MINOR:
            most = preferences.amount(money.STRIPE_MAXIMUM_MINOR, code)
            raise InvalidInput(_("Give up to %(most)s.") % {"most": most}, param="amount")
        return found

    @property
    def answers(self) -> Answers:
        """What was answered. After `is_valid()`."""
        data = self.cleaned_data
        quotes = {"none": 0, "any": None}
        training = self._days("training")
        assert training is not None
        return Answers(
            content=data["content"],
            uses=frozenset(data["uses"]),
            training_days=training,
            use_days=self._days("use"),
            territories=self._codes() if data["where"] == "some" else frozenset({WORLDWIDE}),
            offered=data["offered"],
            model_name=data["model_name"] if data["models"] == "named" else None,
            release=data["release"],
            sectors=frozenset(data["sectors"]),
            style=data["style"] == "yes",
            likeness=data["likeness"] == "yes",
            quote_words=quotes.get(data["quotes"], data["quote_words"]),
            affiliates="affiliates" in data["sharing"],
            contractors="contractors" in data["sharing"],
            attribution=frozenset(data["attribution"]),
            copies_days=data["copies_days"],
            models_after=data["models_after"],
            opt_out=data["opt_out"],
            opt_out_days=data["opt_out_days"],
            basis=data["basis"],
            amount_minor=self.amount_minor,
            currency=data["currency"],
        )

    def refusals(self) -> list[str]:
        """Why no terms come of the answers, each with a way out. After `is_valid()`."""
        return [
            f"{remark.text} {remark.way_out}"
            for remark in terms_warnings.of_answers(self.answers)
            if remark.is_refused
        ]

    def drafted(self) -> dict[str, Any]:
        """What `terms.draft` takes, after `is_valid()`."""
        return {"name": self.cleaned_data["name"], "typed": terms_cards.terms(self.answers)}

    def cards(self) -> list[tuple[Card, list[forms.BoundField]]]:
        """Each card with its fields, in order."""
        return [(card, [self[name] for name in FIELDS[card.name]]) for card in CARDS]


# Which fields stand on which card.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "content": ("content",),
    "uses": ("uses",),
    "length": ("training", "training_unit", "use", "use_unit"),
    "where": ("where", "places", "more_places", "offered"),
    "models": ("models", "model_name", "release"),
    "never": ("sectors",),
    "likeness": ("style", "likeness"),
    "quotes": ("quotes", "quote_words"),
    "sharing": ("sharing",),
    "naming": ("attribution",),
    "ending": ("copies_days", "models_after"),
    "opt_outs": ("opt_out", "opt_out_days"),
    "price": ("basis", "amount", "currency"),
}


def initial_of(given: Answers) -> dict[str, Any]:
    """What the form shows for some answers."""
    known = {code for code, _label in _PLACES}
    is_world = WORLDWIDE in given.territories
    training, training_unit = _in_units(given.training_days)
    use, use_unit = ("", "years") if given.use_days is None else _in_units(given.use_days)
    shared = {"affiliates": given.affiliates, "contractors": given.contractors}
    amount = given.amount_minor
    exponent = money.CURRENCIES[given.currency].exponent
    return {
        "content": given.content,
        "uses": sorted(given.uses),
        "training": training,
        "training_unit": training_unit,
        "use": use,
        "use_unit": use_unit,
        "where": "world" if is_world else "some",
        "places": sorted(given.territories & known),
        "more_places": "" if is_world else ", ".join(sorted(given.territories - known)),
        "offered": given.offered,
        "models": "any" if given.model_name is None else "named",
        "model_name": given.model_name or "",
        "release": given.release,
        "sectors": sorted(given.sectors),
        "style": "yes" if given.style else "no",
        "likeness": "yes" if given.likeness else "no",
        "quotes": {None: "any", 0: "none"}.get(given.quote_words, "some"),
        "quote_words": given.quote_words or "",
        "sharing": [name for name, is_so in shared.items() if is_so],
        "attribution": sorted(given.attribution),
        "copies_days": given.copies_days,
        "models_after": given.models_after,
        "opt_out": given.opt_out,
        "opt_out_days": given.opt_out_days,
        "basis": given.basis,
        "amount": "" if amount is None else Decimal(amount).scaleb(-exponent),
        "currency": given.currency,
    }


def _codes_in(text: str) -> list[str]:
    return [code.upper() for code in re.split(r"[\s,;]+", text) if code]


def _in_units(days: int) -> tuple[int, str]:
    years, rest = divmod(days, DAYS_PER_YEAR)
    return (days, "days") if rest or not years else (years, "years")
