"""Answers as one or two sentences in the reader's language, each part with what it claims.

The contract stays in one language; these sentences are for the person who writes it. They say
nothing that the engine would not: each part carries its claims, and a test asks the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from licensing import vocabulary
from licensing.clauses import Model
from licensing.decisions import Answer
from licensing.terms_cards import CONTENTS, DAYS_PER_YEAR, USES, Answers, uses_of
from licensing.vocabulary import Use, Window
from marketplace import preferences

DAY = "day"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a part says of the terms: what the engine answers to a question, or has as a duty.

    `asked` changes the usual case of its use; a `day` in it counts from the start of the license.
    """

    asked: Mapping[str, Any]
    answer: Answer = Answer.PERMIT
    # A duty of the permit with at least these fields, or none such.
    duty: Mapping[str, Any] = field(default_factory=dict)
    is_absent: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Some words of the sentences, the card that they come from, and what they claim."""

    card: str
    text: str
    claims: tuple[Claim, ...] = ()


def sentences(given: Answers) -> list[str]:
    """What the terms say, in two sentences: what is licensed, and what comes with it."""
    given = given.tidied()
    if not given.uses:
        return [_("No: nothing is permitted yet. Choose what they may do.")]
    first = "; ".join(
        [
            ", ".join(part.text for part in permitted(given)),
            *(part.text for part in limits(given)),
        ]
    )
    then = "; ".join(part.text for part in duties(given))
    return [
        _("Yes: %(what)s.") % {"what": first},
        _("With it: %(what)s.") % {"what": then},
    ]


def parts(given: Answers) -> list[Part]:
    """Every part of the sentences, in their order."""
    given = given.tidied()
    return [*permitted(given), *limits(given), *duties(given)]


# --- what is permitted ------------------------------------------------------------------------

_USES: dict[str, tuple[Any, Any]] = {
    "pretrain": (gettext_lazy("train"), gettext_lazy("no training of new models")),
    "finetune": (gettext_lazy("fine-tune"), gettext_lazy("no fine-tuning")),
    "classify": (gettext_lazy("train filters"), gettext_lazy("no training of filters")),
    "retrieve": (gettext_lazy("look passages up"), gettext_lazy("no looking up of passages")),
    "evaluate": (gettext_lazy("test models"), gettext_lazy("no testing of models")),
}


def permitted(given: Answers) -> Iterator[Part]:
    chosen = [name for name in USES if name in given.uses]
    every = _uses(given)
    yield Part(
        "uses",
        joined([str(_USES[name][0]) for name in chosen]),
        tuple(Claim({"use": use}) for use in every),
    )
    timed = [use for use in every if vocabulary.USE_WINDOWS[Use(use)] is Window.TRAINING]
    yield Part(
        "length",
        _("for %(time)s") % {"time": span(given.training_days)},
        tuple(
            claim
            for use in timed
            for claim in (
                Claim({"use": use, DAY: given.training_days - 1}),
                Claim({"use": use, DAY: given.training_days}, Answer.DENY),
            )
        ),
    )
    yield _where(given, every)
    yield _models(given, every)


def _uses(given: Answers) -> list[str]:
    return [use.value for name in given.uses for use in uses_of(given.content, name)]


def _where(given: Answers, every: Sequence[str]) -> Part:
    codes = sorted(given.territories, key=lambda code: (code not in vocabulary.GROUPS, code))
    places = joined([country(code) for code in codes])
    claims = [Claim({"use": use, "territory": codes}) for use in every]
    left = sorted(vocabulary.COUNTRY_NUMBERS.keys() - vocabulary.countries(codes))
    if left:
        claims += [Claim({"use": use, "territory": left[0]}, Answer.DENY) for use in every]
    if vocabulary.WORLDWIDE in codes:
        return Part("where", _("worldwide"), tuple(claims))
    if given.offered == "there":
        claims += [Claim({"use": use, "availability": codes}) for use in every]
        claims += [Claim({"use": use, "availability": left[0]}, Answer.DENY) for use in every]
        return Part("where", _("only in %(places)s") % {"places": places}, tuple(claims))
    claims += [Claim({"use": use, "availability": vocabulary.WORLDWIDE}) for use in every]
    text = _("in %(places)s, with results offered worldwide") % {"places": places}
    return Part("where", text, tuple(claims))


def _models(given: Answers, every: Sequence[str]) -> Part:
    other = Model("Some other model")
    if given.model_name is None:
        text, answer = _("for any model of theirs"), Answer.PERMIT
    else:
        text = _("only for the model “%(name)s”") % {"name": given.model_name}
        answer = Answer.DENY
    return Part("models", text, tuple(Claim({"use": use, "model": other}, answer) for use in every))


# --- what is not, and what it costs -----------------------------------------------------------


def limits(given: Answers) -> Iterator[Part]:
    every = _uses(given)
    for name, (_yes, no) in _USES.items():
        if name not in given.uses:
            claims = tuple(Claim({"use": use.value}, Answer.DENY) for use in USES[name])
            yield Part("uses", str(no), claims)
    yield _release(given, every)
    if given.sectors:
        yield Part(
            "never",
            _("never for %(sectors)s")
            % {"sectors": joined([str(SECTORS[each]) for each in sorted(given.sectors)], _or())},
            tuple(
                Claim({"use": use, "sector": sector}, Answer.DENY)
                for use in every
                for sector in given.sectors
            ),
        )
    yield _rule(
        given.style,
        "no_style_imitation",
        _("imitating the style is allowed"),
        _("no style imitation"),
        every[0],
    )
    yield _likeness(given, every[0])
    yield _quotes(given, every[0])
    yield _price(given, every[0])


def _release(given: Answers, every: Sequence[str]) -> Part:
    says = {
        "internal": _("only inside their own business"),
        "service": _("no open weights"),
        "open": _("open weights are allowed"),
    }
    allowed = {
        "internal_only": True,
        "closed_api": given.release != "internal",
        "open_weights": given.release == "open",
    }
    return Part(
        "models",
        says[given.release],
        tuple(
            Claim({"use": use, "release": word}, Answer.PERMIT if is_ok else Answer.DENY)
            for use in every
            for word, is_ok in allowed.items()
        ),
    )


def _rule(is_allowed: bool, rule: str, yes: str, no: str, use: str) -> Part:
    claim = Claim({"use": use}, duty={"type": "output_rule", "rule": rule}, is_absent=is_allowed)
    return Part("likeness", yes if is_allowed else no, (claim,))


def _likeness(given: Answers, use: str) -> Part:
    likeness = {"use": use, "layer": "likeness_voice"}
    duty = {"type": "output_rule", "rule": "no_likeness"}
    if given.likeness:
        text = _("faces and voices may be shown and used")
        return Part("likeness", text, (Claim(likeness, duty=duty, is_absent=True),))
    # Forbidden, or not licensed in the first place: the engine says which.
    return Part("likeness", _("no faces or voices"), (Claim(likeness, Answer.DENY, duty=duty),))


def _quotes(given: Answers, use: str) -> Part:
    words = given.quote_words
    limit = {"type": "output_limit"}
    shown = Claim(
        {"use": Use.GROUND_DISPLAY.value},
        Answer.PERMIT if given.shows_passages else Answer.DENY,
    )
    if words is None:
        text = _("no limit to what outputs repeat")
        return Part("quotes", text, (shown, Claim({"use": use}, duty=limit, is_absent=True)))
    duty = Claim({"use": use}, duty={**limit, "max_verbatim_words": words})
    if words == 0:
        return Part("quotes", _("no quotes"), (shown, duty))
    counted = ngettext("%(n)s word", "%(n)s words", words) % {"n": preferences.number(words)}
    return Part(
        "quotes",
        _("outputs repeat no more than %(words)s in a row") % {"words": counted},
        (shown, duty),
    )


def _price(given: Answers, use: str) -> Part:
    paid = {"type": "payment"}
    is_free = given.basis == "free"
    return Part("price", price(given), (Claim({"use": use}, duty=paid, is_absent=is_free),))


def price(given: Answers) -> str:
    """What it costs, as one says it: “0.05 EUR an image”."""
    if given.basis == "free":
        return _("free")
    each = {
        "flat_fee": _("for everything together"),
        "annual_fee": _("a year"),
        "per_item": str(CONTENTS[given.content].each),
        "per_minute": _("a minute"),
        "per_megapixel": _("a megapixel"),
        "per_token": _("for a million tokens"),
        "per_gigabyte": _("a gigabyte"),
    }[given.basis]
    if given.amount_minor is None:
        return _("at a price that is still to be said (%(each)s)") % {"each": each}
    return f"{preferences.amount(given.amount_minor, given.currency)} {each}"


# --- what comes with it -----------------------------------------------------------------------


def duties(given: Answers) -> Iterator[Part]:
    use = _uses(given)[0]
    copies = {"type": "retention", "what": "raw_copies", "days": given.copies_days}
    yield Part(
        "ending",
        _("copies are deleted %(within)s of the end") % {"within": within(given.copies_days)}
        if given.copies_days
        else _("copies are deleted at the end, at once"),
        (Claim({"use": use}, duty=copies),),
    )
    yield _kept(given)
    if given.makes_models:
        yield _weights(given, use)
    yield _opt_out(given, use)
    yield from _names(given, use)
    yield from _sharing(given, use)


def _kept(given: Answers) -> Part:
    """How long what was made serves: asked of a use that serves, where one is permitted."""
    serves = "retrieve" in given.uses and Use.RETRIEVE_RAG in uses_of(given.content, "retrieve")
    use = {"use": Use.RETRIEVE_RAG.value}
    if given.use_days is None:
        ever = (Claim({**use, DAY: 100 * DAYS_PER_YEAR}),)
        return Part("length", _("results may be used without end"), ever if serves else ())
    claims = (
        Claim({**use, DAY: given.use_days - 1}),
        Claim({**use, DAY: given.use_days}, Answer.DENY),
    )
    text = _("results may be used for %(time)s") % {"time": span(given.use_days)}
    return Part("length", text, claims if serves else ())


def _weights(given: Answers, use: str) -> Part:
    weights = {"type": "retention", "what": "weights"}
    if given.models_after == "keep":
        claim = Claim({"use": use}, duty=weights, is_absent=True)
        return Part("ending", _("models may be kept and built on"), (claim,))
    if given.models_after == "frozen":
        claim = Claim({"use": use}, duty={**weights, "rule": "keep_frozen"})
        text = _("models may be kept as they are after the training ends")
        return Part("ending", text, (claim,))
    duty = {**weights, "rule": "delete_within", "days": given.copies_days}
    text = _("models are deleted when the use of results ends")
    return Part("ending", text, (Claim({"use": use}, duty=duty),))


def _opt_out(given: Answers, use: str) -> Part:
    steps = {
        "nothing": _("a work that you take out stays with those who have it"),
        "exclude": _("a work that you take out leaves new training %(within)s"),
        "purge": _("a work that you take out leaves new training and their copies %(within)s"),
        "suppress": _(
            "a work that you take out leaves new training, their copies and outputs %(within)s"
        ),
        "retrain": _(
            "a work that you take out leaves new training and their copies %(within)s, and each"
            " next major version"
        ),
    }
    told = steps[given.opt_out] % {"within": within(given.opt_out_days)}
    found: dict[str, dict[str, Any]] = {
        "exclude": {"do": "exclude_future_runs", "within_days": given.opt_out_days},
        "purge": {"do": "purge_copies", "within_days": given.opt_out_days},
        "suppress": {"do": "suppress_outputs", "within_days": given.opt_out_days},
        "retrain": {"do": "retrain_at_next_major"},
    }
    last = found.get(given.opt_out, {})
    duty = {"type": "withdrawal", **last}
    return Part("opt_outs", told, (Claim({"use": use}, duty=duty, is_absent=not last),))


def _names(given: Answers, use: str) -> Iterator[Part]:
    says = {
        "docs": ("in_model_docs", _("they name you in the papers of each model")),
        "answers": ("in_output_link", _("outputs that draw on a work name you or link to it")),
    }
    named = [name for name in says if name in given.attribution]
    for name in named:
        place, text = says[name]
        duty = {"type": "attribution", "place": place}
        yield Part("naming", text, (Claim({"use": use}, duty=duty),))
    if not named:
        claim = Claim({"use": use}, duty={"type": "attribution"}, is_absent=True)
        yield Part("naming", _("they need not name you"), (claim,))


def _sharing(given: Answers, use: str) -> Iterator[Part]:
    if given.contractors:
        text = _("contractors and clouds may handle it for them")
        duty = {"type": "contractors", "rule": "yes_bound"}
    else:
        text = _("no contractor or cloud may handle it")
        duty = {"type": "contractors", "rule": "no"}
    yield Part("sharing", text, (Claim({"use": use}, duty=duty),))
    yield Part(
        "sharing",
        _("companies that they control share the license")
        if given.affiliates
        else _("no other company shares the license"),
    )


# --- words ------------------------------------------------------------------------------------

SECTORS = {
    "ads_targeting": gettext_lazy("aiming ads at people"),
    "surveillance": gettext_lazy("surveillance"),
    "law_enforcement": gettext_lazy("the police"),
    "competitor_product": gettext_lazy("a product that competes with you"),
    "credit_insurance": gettext_lazy("credit and insurance"),
    "military": gettext_lazy("the military"),
}


def country(code: str) -> str:
    """A place as people call it; in English, countries have the names of contracts."""
    if code == vocabulary.EUROPEAN_UNION:
        return _("the EU")
    if code == vocabulary.WORLDWIDE:
        return _("the whole world")
    return preferences.country(code, vocabulary.territory_name(code))


def span(days: int) -> str:
    """How long: in years, where it is whole years."""
    years, rest = divmod(days, DAYS_PER_YEAR)
    if rest:
        return ngettext("%(n)s day", "%(n)s days", days) % {"n": preferences.number(days)}
    return ngettext("%(n)s year", "%(n)s years", years) % {"n": preferences.number(years)}


def within(days: int) -> str:
    if days == 0:
        return _("at once")
    return ngettext("within %(n)s day", "within %(n)s days", days) % {"n": preferences.number(days)}


def joined(words: Sequence[str], last: str = "") -> str:
    """A list in words: “a, b and c”."""
    if len(words) == 1:
        return words[0]
    return _("%(first)s %(and)s %(last)s") % {
        "first": ", ".join(words[:-1]),
        "and": last or _("and"),
        "last": words[-1],
    }


def _or() -> str:
    return _("or")
