"""Terms in plain words: about ten questions that a creator understands, and what they come to.

Answers become typed terms (`terms`), and typed terms become answers again (`answers`), or the
clauses that no card asks about. What the cards do not ask stands as in the library's template for
that kind of content. A draft is made of the typed terms; the cards themselves are stored nowhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext_lazy as _

from licensing import terms_templates, terms_text, vocabulary
from licensing.contradictions import TRAINING_USES
from licensing.dimensions import RightsLayer
from licensing.vocabulary import WORLDWIDE, Use

DAYS_PER_YEAR = 365


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of content: whose template says what the cards do not ask, and what one item is."""

    label: Any
    template: str
    # What a price per item is per.
    each: Any


CONTENTS: dict[str, Content] = {
    "photos": Content(_("Photos and illustrations"), "images-training", _("an image")),
    "news": Content(_("News"), "news-archive", _("an article")),
    "books": Content(_("Books"), "books-training", _("a book")),
    "music": Content(_("Music"), "music-training", _("a track")),
    "video": Content(_("Video"), "video-training", _("a video")),
    "code": Content(_("Code"), "code-training", _("a file")),
    "posts": Content(_("Forum posts"), "social-posts", _("a post")),
    "speech": Content(_("Speech"), "speech-training", _("a recording")),
    "papers": Content(_("Research papers"), "scientific-articles", _("a paper")),
    "tables": Content(_("Tables of data"), "tabular-training", _("a table")),
    "objects": Content(_("3D models"), "3d-training", _("a 3D model")),
}

# What may be done, as people call it, and the uses that this means.
USES: dict[str, tuple[Use, ...]] = {
    "pretrain": (Use.PRETRAIN, Use.CONTINUED_PRETRAIN),
    "finetune": (Use.FINETUNE, Use.INSTRUCTION_TUNE),
    "classify": (Use.CLASSIFY,),
    "retrieve": (Use.EMBED, Use.RETRIEVE_RAG),
    "evaluate": (Use.EVALUATE,),
}
# Of these, the template says which finer uses are meant: image models are not trained on.
_FINER = ("pretrain", "finetune")

# How a model reaches people: what each answer allows, the narrowest first.
RELEASES: dict[str, tuple[str, ...]] = {
    "internal": ("internal_only",),
    "service": ("closed_api", "internal_only"),
    "open": ("closed_api", "open_weights", "internal_only"),
}
OFFERED = ("anywhere", "there")
MODELS_AFTER = {"keep": "keep_and_continue", "frozen": "keep_frozen", "delete": "delete_within"}
# What a buyer does when a work is taken out; each step beside those before it.
OPT_OUTS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "exclude": ("exclude_future_runs",),
    "purge": ("exclude_future_runs", "purge_copies"),
    "suppress": ("exclude_future_runs", "purge_copies", "suppress_outputs"),
    "retrain": ("exclude_future_runs", "purge_copies", "retrain_at_next_major"),
}
ATTRIBUTIONS = {"docs": "in_model_docs", "answers": "in_output_link"}
# By basis: the unit of an offer's price, and for how many of it the amount is.
UNITS: dict[str, tuple[str, int]] = {
    "per_item": ("work", 1),
    "per_minute": ("minute", 1),
    "per_megapixel": ("megapixel", 1),
    "per_token": ("token", 1_000_000),
    "per_gigabyte": ("byte", 1_000_000_000),
}
BASES = ("free", "flat_fee", "annual_fee", *UNITS)
LIKENESS = RightsLayer.LIKENESS.value
_STYLE_RULES = ("no_style_imitation", "no_named_author_prompts")
DAYS_TO_PAY = 30


@dataclass(frozen=True, slots=True)
class Card:
    """One question, and the names of the answers that it asks for."""

    name: str
    question: Any
    asks: tuple[str, ...]
    # The parts of typed terms that come from it: a contradiction there is shown at the card.
    parts: tuple[str, ...]


CARDS: tuple[Card, ...] = (
    Card("content", _("What is it?"), ("content",), ("subject", "personal_data", "warranties")),
    Card(
        "uses",
        _("What may they do with it?"),
        ("uses",),
        ("permit.uses", "deny.uses", "retention.embeddings"),
    ),
    Card("length", _("For how long?"), ("training_days", "use_days"), ("term",)),
    Card(
        "where",
        _("Where?"),
        ("territories", "offered"),
        ("permit.territories", "deny.territories", "security"),
    ),
    Card(
        "models",
        _("For which models?"),
        ("model_name", "release"),
        ("permit.models", "deny.models", "models", "derivatives", "deny.lineage"),
    ),
    Card("never", _("What is it never for?"), ("sectors",), ("deny.sectors", "permit.fields")),
    Card("likeness", _("May it imitate people?"), ("style", "likeness"), ("output.rules",)),
    Card("quotes", _("May answers repeat it?"), ("quote_words",), ("output",)),
    Card(
        "sharing",
        _("Who else may handle it?"),
        ("affiliates", "contractors"),
        ("parties", "redistribution"),
    ),
    Card("naming", _("Do they name you?"), ("attribution",), ("attribution", "contract")),
    Card(
        "ending",
        _("What happens when it ends?"),
        ("copies_days", "models_after"),
        ("retention",),
    ),
    Card(
        "opt_outs",
        _("What if you take a work out?"),
        ("opt_out", "opt_out_days"),
        ("withdrawal",),
    ),
    Card(
        "price",
        _("What does it cost?"),
        ("basis", "amount_minor", "currency"),
        ("price", "split", "reporting", "audit", "exclusivity"),
    ),
)


def card_of(param: str) -> Card:
    """The card that a place in typed terms belongs to, such as `typed.permit[0].uses[1]`."""
    path = ".".join(part.partition("[")[0] for part in param.split("."))
    path = path.removeprefix("typed.")
    fits = [
        (len(part), card)
        for card in CARDS
        for part in card.parts
        if path == part or path.startswith(f"{part}.")
    ]
    return max(fits, key=lambda each: each[0])[1] if fits else CARDS[1]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a creator answered. Days are of 24 hours; amounts in minor units.

    `model_name`: None is any model of the buyer. `use_days`: None is without end. `quote_words`: 0
    is none, None any number. `amount_minor`: for each of the basis's unit (see UNITS); None is not
    said yet.
    """

    content: str = "photos"
    uses: frozenset[str] = frozenset({"pretrain", "finetune"})
    training_days: int = 3 * DAYS_PER_YEAR
    use_days: int | None = None
    territories: frozenset[str] = frozenset({WORLDWIDE})
    offered: str = "anywhere"
    model_name: str | None = None
    release: str = "service"
    sectors: frozenset[str] = frozenset()
    style: bool = False
    likeness: bool = False
    quote_words: int | None = 0
    affiliates: bool = True
    contractors: bool = True
    attribution: frozenset[str] = frozenset({"docs"})
    copies_days: int = 30
    models_after: str = "keep"
    opt_out: str = "purge"
    opt_out_days: int = 30
    basis: str = "flat_fee"
    amount_minor: int | None = None
    currency: str = "USD"

    @property
    def makes_models(self) -> bool:
        """Whether some permitted use trains a model."""
        return any(use in TRAINING_USES for name in self.uses for use in USES[name])

    @property
    def shows_passages(self) -> bool:
        return "retrieve" in self.uses and self.quote_words != 0

    def tidied(self) -> Answers:
        """The same, with what does not matter as everybody has it: terms come back as this."""
        worldwide = WORLDWIDE in self.territories
        return replace(
            self,
            territories=frozenset({WORLDWIDE}) if worldwide else self.territories,
            offered="anywhere" if worldwide else self.offered,
            models_after=self.models_after if self.makes_models else "keep",
            opt_out_days=self.opt_out_days if OPT_OUTS[self.opt_out] else 30,
            amount_minor=None if self.basis == "free" else self.amount_minor,
        )


# --- from answers to terms --------------------------------------------------------------------


def template_of(content: str) -> Mapping[str, Any]:
    """The typed terms that say what the cards do not ask."""
    return terms_templates.find(CONTENTS[content].template).typed


def uses_of(content: str, name: str) -> tuple[Use, ...]:
    """The uses that an answer means for a kind of content."""
    meant = USES[name]
    if name in _FINER:
        permitted = {use for clause in template_of(content)["permit"] for use in clause["uses"]}
        meant = tuple(use for use in meant if use in permitted) or meant
    return meant


def terms(given: Answers) -> dict[str, Any]:
    """Typed terms of version 2. Not checked yet: `typed_terms.parse` refuses contradictions."""
    given = given.tidied()
    base = copy.deepcopy(dict(template_of(given.content)))
    places = _in_order(given.territories)
    return {
        **base,
        "permit": [_permit(given, base)],
        "deny": _denies(given, base),
        "parties": {
            "affiliates": "controlled" if given.affiliates else "none",
            "contractors": "yes_bound" if given.contractors else "no",
            "processors": "any_bound" if given.contractors else "none",
        },
        "subject": _subject(given, base),
        "models": {
            **base["models"],
            "weights_transfer": "yes"
            if given.release == "open"
            else base["models"]["weights_transfer"],
        },
        "output": _output(given, base),
        "term": _term(given, base),
        "retention": _retention(given, base),
        "withdrawal": {
            **base["withdrawal"],
            "steps": [_step(step, given.opt_out_days) for step in OPT_OUTS[given.opt_out]],
        },
        "redistribution": {
            **base["redistribution"],
            "works": "to_processors" if given.contractors else "none",
        },
        "attribution": {
            **base["attribution"],
            "places": [word for name, word in ATTRIBUTIONS.items() if name in given.attribution],
        },
        "security": {
            **base["security"],
            "regions": base["security"]["regions"]
            if _covers(base["security"]["regions"], places)
            else places,
        },
        "price": {"parts": [{"model": given.basis}], "modifiers": [], **_settled(given.basis)},
    }


def price(given: Answers) -> dict[str, Any] | None:
    """What an offer under such terms costs, as `prices.parse` reads it; None: no amount is said."""
    if given.basis == "free":
        return {"model": "free"}
    if given.amount_minor is None:
        return None
    if given.basis == "flat_fee":
        return {"model": "flat", "amount_minor": given.amount_minor}
    if given.basis == "annual_fee":
        return {"model": "subscription", "amount_minor": given.amount_minor, "every": "year"}
    unit, per = UNITS[given.basis]
    return {
        "model": "per_unit",
        "unit": unit,
        "rate": {"amount_minor": given.amount_minor, "per": per},
    }


def _permit(given: Answers, base: Mapping[str, Any]) -> dict[str, Any]:
    places = _in_order(given.territories)
    models: dict[str, Any] = {"scope": "any_model_of_licensee", "successors": "family"}
    if given.model_name is not None:
        models = {"scope": "named_model", "names": [given.model_name], "successors": "none"}
    return {
        "uses": _permitted(given),
        "territories": {
            "training": places,
            "availability": places if given.offered == "there" else [WORLDWIDE],
        },
        "models": {**models, "release": list(RELEASES[given.release])},
        "fields": base["permit"][0]["fields"],
    }


def _permitted(given: Answers) -> list[str]:
    named = {use for name in given.uses for use in uses_of(given.content, name)}
    if given.shows_passages:
        named.add(Use.GROUND_DISPLAY)
    return [use.value for use in Use if use in named]


def _denies(given: Answers, base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each “no” as a clause of its own, though what is not permitted is not allowed anyway."""
    asked = {use for meant in USES.values() for use in meant} | {Use.GROUND_DISPLAY}
    said_yes = {use for name in given.uses for use in USES[name]} | set(_permitted(given))
    uses = [use.value for use in Use if use in asked and use not in said_yes]
    releases = [word for word in RELEASES["open"] if word not in RELEASES[given.release]]
    clauses: list[dict[str, Any]] = []
    if uses:
        clauses.append({"uses": uses})
    if releases:
        clauses.append({"models": {"release": releases}})
    if given.sectors:
        clauses.append({"sectors": sorted(given.sectors)})
    return clauses + [deny for deny in base["deny"] if set(deny) == {"lineage"}]


def _output(given: Answers, base: Mapping[str, Any]) -> dict[str, Any]:
    output = base["output"]
    rules = [rule for rule in output["rules"] if rule not in {*_STYLE_RULES, "no_likeness"}]
    if not given.style:
        rules += [
            rule for rule in _STYLE_RULES if rule == "no_style_imitation" or rule in output["rules"]
        ]
    # Where no right in faces and voices is licensed, there is nothing to forbid.
    licensed = LIKENESS in base["subject"]["rights_layers"]
    if not given.likeness and (licensed or "no_likeness" in output["rules"]):
        rules.append("no_likeness")
    fraction = output["max_fraction_basis_points"]
    if given.quote_words is None:
        fraction = None
    elif given.quote_words == 0:
        fraction = 0
    return {
        **output,
        "max_verbatim_words": given.quote_words,
        "max_fraction_basis_points": fraction,
        "rules": rules,
    }


def _subject(given: Answers, base: Mapping[str, Any]) -> dict[str, Any]:
    layers = list(base["subject"]["rights_layers"])
    if given.likeness and LIKENESS not in layers:
        layers.append(LIKENESS)
    return {**base["subject"], "rights_layers": layers}


def _term(given: Answers, base: Mapping[str, Any]) -> dict[str, Any]:
    term = base["term"]
    use = given.use_days
    return {
        **term,
        "access_days": min(term["access_days"], given.training_days),
        "training_days": given.training_days,
        "use_days": use,
        "sunset_days": term["sunset_days"] if use is None else min(term["sunset_days"], use),
    }


def _retention(given: Answers, base: Mapping[str, Any]) -> dict[str, Any]:
    deleted = {"rule": "delete_within", "days": given.copies_days}
    embeddings: dict[str, Any] = {"rule": "not_made"}
    if "retrieve" in given.uses:
        embeddings = deleted if given.use_days is not None else {"rule": "keep_frozen"}
    weights: dict[str, Any] = {"rule": "not_made"}
    if given.makes_models:
        rule = MODELS_AFTER[given.models_after]
        weights = deleted if rule == "delete_within" else {"rule": rule}
    return {
        **base["retention"],
        "raw_copies": deleted,
        "processed_copies": deleted,
        "embeddings": embeddings,
        "weights": weights,
    }


def _step(step: str, days: int) -> dict[str, Any]:
    return {"do": step} if step == "retrain_at_next_major" else {"do": step, "within_days": days}


def _settled(basis: str) -> dict[str, Any]:
    if basis == "annual_fee":
        return {"settlement": "invoice", "net_days": DAYS_TO_PAY}
    return {"settlement": "none" if basis == "free" else "prepaid"}


def _in_order(codes: frozenset[str]) -> list[str]:
    """Groups first, so that a text begins with what is best known."""
    return sorted(codes, key=lambda code: (code not in vocabulary.GROUPS, code))


def _covers(regions: list[str], places: list[str]) -> bool:
    return vocabulary.countries(places) <= vocabulary.countries(regions)


# --- from terms to answers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beyond:
    """A clause that the cards cannot say; or, if `is_added`, one that they would add."""

    clause: str
    # The contract's own words.
    words: str
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class Inexpressible:
    """Terms that say something that no card asks about."""

    clauses: tuple[Beyond, ...]
    # The answers that come nearest; None for terms of version 1, which say too little.
    closest: Answers | None = field(default=None)


def answers(
    typed: Mapping[str, Any],
    *,
    price: Mapping[str, Any] | None = None,
    currency: str = "USD",
) -> Answers | Inexpressible:
    """The answers that checked typed terms come from, or which clauses keep them from having any.

    `price` and `currency` are an offer's: terms say what is counted, and offers how much. Lists
    are read as sets, and a prohibition of what no clause permits as nothing new: the answers' own
    terms decide each question alike, though their text may have its clauses in another order.
    """
    if typed["v"] != 2:
        every = tuple(Beyond(number, said.text) for number, said in terms_text.clauses(typed))
        return Inexpressible(every)
    best: tuple[Answers, tuple[Beyond, ...]] | None = None
    for content in sorted(CONTENTS, key=lambda content: not _is_about(typed, content)):
        found = _read(typed, content, price, currency)
        beyond = tuple(_beyond(typed, terms(found)))
        if best is None or len(beyond) < len(best[1]):
            best = found, beyond
        if not beyond:
            break
    assert best is not None
    closest, clauses = best
    return Inexpressible(clauses, closest) if clauses else closest


def _is_about(typed: Mapping[str, Any], content: str) -> bool:
    """Whether terms have a template's kind of content and its view of the people in it."""
    base = template_of(content)
    return bool(
        typed["subject"]["modalities"] == base["subject"]["modalities"]
        and typed["personal_data"] == base["personal_data"]
    )


def _read(
    typed: Mapping[str, Any], content: str, price: Mapping[str, Any] | None, currency: str
) -> Answers:
    """The answers that come nearest, if it is this kind of content."""
    first = typed["permit"][0]
    uses = frozenset(name for name in USES if set(uses_of(content, name)) & set(first["uses"]))
    places = first["territories"]
    models, retention, rules = first["models"], typed["retention"], typed["output"]["rules"]
    steps = typed["withdrawal"]["steps"]
    after = {word: name for name, word in MODELS_AFTER.items()}
    parts = [part["model"] for part in typed["price"]["parts"]]
    basis = next((model for model in parts if model in BASES), "flat_fee")
    is_there = set(places["availability"]) == set(places["training"])
    found = Answers(
        content=content,
        uses=uses,
        training_days=typed["term"]["training_days"],
        use_days=typed["term"]["use_days"],
        territories=frozenset(places["training"]),
        offered="there" if is_there else "anywhere",
        model_name=models["names"][0] if models["scope"] == "named_model" else None,
        release=_nearest_release(set(models["release"])),
        sectors=frozenset(
            sector
            for deny in typed["deny"]
            if set(deny) == {"sectors"}
            for sector in deny["sectors"]
        ),
        style="no_style_imitation" not in rules,
        likeness="no_likeness" not in rules and LIKENESS in typed["subject"]["rights_layers"],
        quote_words=typed["output"]["max_verbatim_words"],
        affiliates=typed["parties"]["affiliates"] != "none",
        contractors=typed["parties"]["contractors"] != "no",
        attribution=frozenset(
            name for name, word in ATTRIBUTIONS.items() if word in typed["attribution"]["places"]
        ),
        copies_days=retention["raw_copies"].get("days", 30),
        models_after=after.get(retention["weights"]["rule"], "keep"),
        opt_out=_nearest_opt_out({step["do"] for step in steps}),
        opt_out_days=next((step["within_days"] for step in steps if "within_days" in step), 30),
        basis=basis,
        amount_minor=_amount(price),
        currency=currency,
    )
    return found.tidied()


def _nearest_release(words: set[str]) -> str:
    """The narrowest answer that allows no less, but open weights only where they are allowed."""
    return next(name for name, allowed in RELEASES.items() if words <= set(allowed))


def _nearest_opt_out(steps: set[str]) -> str:
    """The answer that has the most of the steps in common, and the fewest besides."""
    return max(
        OPT_OUTS,
        key=lambda name: (
            len(steps & set(OPT_OUTS[name])) - len(set(OPT_OUTS[name]) - steps),
            -len(OPT_OUTS[name]),
        ),
    )


def _amount(price: Mapping[str, Any] | None) -> int | None:
    if price is None:
        return None
    found = price.get("amount_minor", (price.get("rate") or {}).get("amount_minor"))
    return None if found is None else int(found)


def _beyond(typed: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Beyond]:
    """Where terms differ from those that the cards come to, clause by clause."""
    texts = {number: clause.text for number, clause in terms_text.clauses(typed)}
    ours = {number: clause.text for number, clause in terms_text.clauses(said)}
    for place, clause in enumerate(typed["permit"]):
        number = f"2.{place + 1}"
        if place or _as_sets(clause) != _as_sets(said["permit"][0]):
            yield Beyond(number, texts[number])
    for number in _new_denies(typed, said):
        yield Beyond(number, texts[number])
    for number in _new_denies(said, typed):
        yield Beyond(number, ours[number], is_added=True)
    known = _by_section(texts, from_section=4)
    added = _by_section(ours, from_section=4)
    for section, clauses in known.items():
        for number, text in clauses.items():
            if text not in added[section].values():
                yield Beyond(number, text)
        for number, text in added[section].items():
            if text not in clauses.values():
                yield Beyond(number, text, is_added=True)


def _as_sets(clause: Mapping[str, Any]) -> dict[str, Any]:
    models = dict(clause["models"])
    if models["scope"] == "any_model_of_licensee":
        # Of any model, every successor is one, too.
        models["successors"] = "none"
    return {
        "uses": set(clause["uses"]),
        "training": vocabulary.countries(clause["territories"]["training"]),
        "availability": vocabulary.countries(clause["territories"]["availability"]),
        "models": {**models, "release": set(models["release"])},
        "fields": set(clause["fields"]),
        "other": clause.get("other"),
    }


def _new_denies(of: Mapping[str, Any], beside: Mapping[str, Any]) -> Iterator[str]:
    """The prohibitions that forbid something that the other terms leave free."""
    permitted = {use for clause in beside["permit"] for use in clause["uses"]}
    released = {word for clause in beside["permit"] for word in clause["models"]["release"]}
    denied = {
        name: {word for deny in beside["deny"] if set(deny) == {name} for word in deny[name]}
        for name in ("sectors", "lineage")
    }
    idle: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "uses": lambda deny: not set(deny["uses"]) & permitted,
        "models": lambda deny: not set(deny["models"]["release"]) & released,
        "sectors": lambda deny: set(deny["sectors"]) <= denied["sectors"],
        "lineage": lambda deny: set(deny["lineage"]) <= denied["lineage"],
    }
    for place, deny in enumerate(of["deny"], start=1):
        name = next(iter(deny)) if len(deny) == 1 else ""
        if name not in idle or not idle[name](deny):
            yield f"3.{place}"


def _by_section(texts: Mapping[str, str], *, from_section: int) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for number, text in texts.items():
        section = number.partition(".")[0]
        if int(section) >= from_section:
            found.setdefault(section, {})[number] = text
    return found
