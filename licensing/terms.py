"""Terms: typed license conditions, the exact text that they render to, and their versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import jcs, vocabulary
from licensing.models import Terms
from licensing.vocabulary import (
    Attribution,
    Exclusivity,
    ModelScope,
    Redistribution,
    Use,
    WeightsOnExpiry,
)
from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, TermsAlreadyPublished
from marketplace.models import Organization

# The typed conditions, by example. Every field is required: a contract has no silent defaults,
# but for `model_name`, which goes with the model scope "named_model" and with no other.
EXAMPLE: dict[str, Any] = {
    "v": 1,
    "permit": [
        {
            "uses": ["pretrain", "finetune"],
            "territories": ["EU", "US"],
            "model_scope": "any_model_of_licensee",
        }
    ],
    "deny": [{"uses": ["retrieve_rag"]}],
    "exclusivity": "non_exclusive",
    "term": {"access_days": 90, "training_days": 365, "use_days": None},
    "output": {"max_verbatim_words": 200},
    "attribution": "in_model_docs",
    "redistribution": "none",
    "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_and_continue"},
}

# Which wording renders the text. A change of a single character is a new version.
TEMPLATE_VERSION = "en-1"

DAYS_MAX = 36_500
CLAUSES_MAX = 50
NAME_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Windows:
    """When a license allows what: half-open UTC intervals; `use` may have no end."""

    access: DateTimeTZRange
    training: DateTimeTZRange
    use: DateTimeTZRange


@dataclass(frozen=True, slots=True)
class Permit:
    """What one clause allows. `permit[i]` is clause 2.(i + 1) of the text."""

    uses: tuple[Use, ...]
    territories: tuple[str, ...]
    model_scope: ModelScope
    model_name: str | None


@dataclass(frozen=True, slots=True)
class Deny:
    """What one clause forbids everywhere. `deny[i]` is clause 3.(i + 1) of the text."""

    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class TypedTerms:
    """Typed conditions, version 1, that were checked."""

    permit: tuple[Permit, ...]
    deny: tuple[Deny, ...]
    exclusivity: Exclusivity
    access_days: int
    training_days: int
    # None: what was made may be kept in use without an end.
    use_days: int | None
    max_verbatim_words: int | None
    attribution: Attribution
    redistribution: Redistribution
    raw_copies_delete_within_days: int
    weights_on_expiry: WeightsOnExpiry

    @property
    def exclusive(self) -> bool:
        return self.exclusivity == Exclusivity.EXCLUSIVE

    def windows(self, starts_at: datetime) -> Windows:
        """When a license that begins at `starts_at` allows what. A day has 24 hours."""

        def until(days: int | None) -> DateTimeTZRange:
            end = None if days is None else starts_at + timedelta(days=days)
            return DateTimeTZRange(starts_at, end)

        return Windows(until(self.access_days), until(self.training_days), until(self.use_days))

    def check_scope(self, uses: Sequence[str], territories: Sequence[str]) -> None:
        """Raise InvalidInput unless every use is permitted in every territory."""
        _check_words(uses, [use.value for use in Use], "uses")
        for place, code in enumerate(_several(territories, "territories")):
            if not vocabulary.is_territory(code):
                raise InvalidInput(_unknown_territory(code), param=f"territories[{place}]")
        for place, use in enumerate(uses):
            self._check_use(Use(use), territories, f"uses[{place}]")

    def permits(self, use: str = "", territory: str = "") -> bool:
        """Whether a use (or any use) is permitted in a territory (or anywhere)."""
        asked = vocabulary.countries([territory] if territory else [])
        uses = [Use(use)] if use else [word for clause in self.permit for word in clause.uses]
        return any(self._where(word) and asked <= self._where(word) for word in uses)

    def _where(self, use: Use) -> frozenset[str]:
        """The countries in which some clause permits a use. What is denied, no clause permits."""
        return vocabulary.countries(
            code for clause in self.permit if use in clause.uses for code in clause.territories
        )

    def _check_use(self, use: Use, territories: Sequence[str], param: str) -> None:
        permitted = self._where(use)
        if not permitted:
            everything = sorted({word.value for permit in self.permit for word in permit.uses})
            raise InvalidInput(
                _("The terms do not permit “%(use)s”. They permit: %(permitted)s.")
                % {"use": use.value, "permitted": ", ".join(everything)},
                param=param,
            )
        for place, code in enumerate(territories):
            missing = sorted(vocabulary.countries([code]) - permitted)
            if missing:
                raise InvalidInput(
                    _("The terms do not permit “%(use)s” in %(missing)s.")
                    % {"use": use.value, "missing": _some(missing)},
                    param=f"territories[{place}]",
                )


# --- verbs ------------------------------------------------------------------------------------


def draft(caller: Caller, *, name: str, typed: Any) -> Terms:
    """Write terms down, with the text that they render to: the next version under this name.

    Raises InvalidInput naming what is wrong, such as `typed.permit[0].uses[1]`.
    """
    name = name.strip()
    if not name.isprintable() or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise InvalidInput(
            _("Give the terms a name of up to %(max)s printable characters.")
            % {"max": NAME_LENGTH_MAX},
            param="name",
        )
    conditions = parse(typed)
    canonical = jcs.dumps(typed).decode()
    with acting(caller):
        version = _next_version(caller, name)
        text = render(conditions, name=name, version=version)
        terms = Terms(
            organization=caller.organization,
            name=name,
            version=version,
            typed=canonical,
            typed_sha256=hashlib.sha256(canonical.encode()).digest(),
            text=text,
            text_sha256=hashlib.sha256(text.encode()).digest(),
            template_version=TEMPLATE_VERSION,
        )
        terms.save(force_insert=True)
        audit.record(caller, "terms.drafted", subject=terms, version=version)
        idempotency.names(caller, terms)
    return terms


def publish(caller: Caller, id: str) -> Terms:
    """Fix a version for good: from now on offers may use it, and nothing changes it.

    Raises NotFound, TermsAlreadyPublished.
    """
    with acting(caller):
        terms = Terms.objects.owned_by(caller).get_visible(caller, id, lock=True)
        if terms.published_at is not None:
            raise TermsAlreadyPublished(
                _(
                    "These terms are published. A new draft under the same name is the next"
                    " version."
                ),
                terms=str(terms.pk),
            )
        terms.published_at = timezone.now()
        terms.save(update_fields=["published_at"])
        audit.record(caller, "terms.published", subject=terms)
        idempotency.names(caller, terms)
    return terms


def load(terms: Terms) -> TypedTerms:
    """Read a version's typed conditions."""
    return parse(json.loads(terms.typed))


def _next_version(caller: Caller, name: str) -> int:
    # Locked, so that two drafts at once become two versions and not one refusal.
    Organization.objects.select_for_update(no_key=True).get(pk=caller.organization.pk)
    mine = Terms.objects.owned_by(caller).filter(name=name)
    return (mine.aggregate(newest=Max("version"))["newest"] or 0) + 1


# --- typed conditions -------------------------------------------------------------------------


def parse(typed: Any) -> TypedTerms:
    """Check typed conditions, version 1 (see EXAMPLE). Raises InvalidInput naming the field."""
    root = _object(typed, "typed", list(EXAMPLE))
    if type(root["v"]) is not int or root["v"] != 1:
        raise InvalidInput(_("This market reads version 1 of typed terms."), param="typed.v")
    permits = tuple(
        _permit(item, f"typed.permit[{place}]")
        for place, item in enumerate(_list(root["permit"], "typed.permit", least=1))
    )
    denies = tuple(
        Deny(_uses(_object(item, path, ["uses"])["uses"], f"{path}.uses"))
        for path, item in _places(root["deny"], "typed.deny")
    )
    _refuse_contradictions(permits, denies)
    access_days, training_days, use_days = _term(root["term"])
    output = _object(root["output"], "typed.output", ["max_verbatim_words"])
    expiry = _object(
        root["on_expiry"], "typed.on_expiry", ["raw_copies_delete_within_days", "weights"]
    )
    weights = _word(expiry["weights"], WeightsOnExpiry, "typed.on_expiry.weights")
    if weights == WeightsOnExpiry.DELETE and use_days is None:
        raise InvalidInput(
            _("Models are deleted when their use ends, and it has no end. Give use_days."),
            param="typed.on_expiry.weights",
        )
    return TypedTerms(
        permit=permits,
        deny=denies,
        exclusivity=_word(root["exclusivity"], Exclusivity, "typed.exclusivity"),
        access_days=access_days,
        training_days=training_days,
        use_days=use_days,
        max_verbatim_words=_optional_integer(
            output["max_verbatim_words"], "typed.output.max_verbatim_words", 0, 1_000_000
        ),
        attribution=_word(root["attribution"], Attribution, "typed.attribution"),
        redistribution=_word(root["redistribution"], Redistribution, "typed.redistribution"),
        raw_copies_delete_within_days=_integer(
            expiry["raw_copies_delete_within_days"],
            "typed.on_expiry.raw_copies_delete_within_days",
            0,
            DAYS_MAX,
        ),
        weights_on_expiry=weights,
    )


def _permit(value: Any, path: str) -> Permit:
    fields = ["uses", "territories", "model_scope"]
    clause = _object(value, path, fields, optional=["model_name"])
    territories = _list(clause["territories"], f"{path}.territories", least=1, most=300)
    for place, code in enumerate(territories):
        if not isinstance(code, str) or not vocabulary.is_territory(code):
            raise InvalidInput(_unknown_territory(code), param=f"{path}.territories[{place}]")
    _refuse_repeats(territories, f"{path}.territories")
    scope = _word(clause["model_scope"], ModelScope, f"{path}.model_scope")
    name = clause.get("model_name")
    if scope == ModelScope.NAMED_MODEL:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.strip()) <= 200:
            raise InvalidInput(_("Name the model."), param=f"{path}.model_name")
    elif "model_name" in clause:
        raise InvalidInput(
            _("A model is named under the model scope “named_model” only."),
            param=f"{path}.model_name",
        )
    return Permit(_uses(clause["uses"], f"{path}.uses"), tuple(territories), scope, name)


def _term(value: Any) -> tuple[int, int, int | None]:
    path = "typed.term"
    term = _object(value, path, ["access_days", "training_days", "use_days"])
    access = _integer(term["access_days"], f"{path}.access_days", 1, DAYS_MAX)
    training = _integer(term["training_days"], f"{path}.training_days", 1, DAYS_MAX)
    use = _optional_integer(term["use_days"], f"{path}.use_days", 1, DAYS_MAX)
    if access > training:
        raise InvalidInput(
            _(
                "Works could be fetched after training with them ends. Give access_days up to"
                " training_days."
            ),
            param=f"{path}.access_days",
        )
    if use is not None and training > use:
        raise InvalidInput(
            _(
                "Training would end after the use of what was trained. Give use_days from"
                " training_days on, or null for no end."
            ),
            param=f"{path}.use_days",
        )
    return access, training, use


def _refuse_contradictions(permits: tuple[Permit, ...], denies: tuple[Deny, ...]) -> None:
    permitted = {use for permit in permits for use in permit.uses}
    for number, deny in enumerate(denies):
        for place, use in enumerate(deny.uses):
            if use in permitted:
                raise InvalidInput(
                    _("“%(use)s” is permitted above and denied here. Keep one of the two.")
                    % {"use": use.value},
                    param=f"typed.deny[{number}].uses[{place}]",
                )


# --- reading strictly -------------------------------------------------------------------------

Word = TypeVar("Word", bound=StrEnum)


def _object(
    value: Any, path: str, required: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(_("Give an object."), param=path)
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join([*required, *optional])
            raise InvalidInput(
                _("This field is unknown. Known: %(known)s.") % {"known": known},
                param=f"{path}.{name}",
            )
    for name in required:
        if name not in value:
            raise InvalidInput(_("This field is required."), param=f"{path}.{name}")
    return value


def _list(value: Any, path: str, *, least: int = 0, most: int = CLAUSES_MAX) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise InvalidInput(
            _("Give a list of %(least)s to %(most)s.") % {"least": least, "most": most}, param=path
        )
    return value


def _places(value: Any, path: str) -> list[tuple[str, Any]]:
    return [(f"{path}[{place}]", item) for place, item in enumerate(_list(value, path))]


def _uses(value: Any, path: str) -> tuple[Use, ...]:
    words = _list(value, path, least=1)
    found = tuple(_word(word, Use, f"{path}[{place}]") for place, word in enumerate(words))
    _refuse_repeats(words, path)
    return found


def _refuse_repeats(values: Sequence[str], path: str) -> None:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise InvalidInput(
                _("“%(value)s” stands here twice.") % {"value": value}, param=f"{path}[{place}]"
            )


def _word(value: Any, kind: type[Word], path: str) -> Word:
    _check_word(value, [word.value for word in kind], path)
    return kind(value)


def _check_word(value: Any, known: Sequence[str], path: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(
            _("“%(value)s” is unknown. Use one of: %(known)s.")
            % {"value": str(value)[:100], "known": ", ".join(known)},
            param=path,
        )


def _check_words(values: Sequence[str], known: Sequence[str], path: str) -> None:
    for place, value in enumerate(_several(values, path)):
        _check_word(value, known, f"{path}[{place}]")


def _several(values: Sequence[str], path: str) -> Sequence[str]:
    if not values:
        raise InvalidInput(_("Give at least one."), param=path)
    _refuse_repeats(values, path)
    return values


def _integer(value: Any, path: str, least: int, most: int) -> int:
    # bool is an int to Python: true is not a number of days.
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(
            _("Give a whole number from %(least)s to %(most)s.") % {"least": least, "most": most},
            param=path,
        )
    return value


def _optional_integer(value: Any, path: str, least: int, most: int) -> int | None:
    return None if value is None else _integer(value, path, least, most)


def _unknown_territory(code: Any) -> str:
    return _(
        "“%(code)s” is unknown. Use an ISO 3166-1 alpha-2 code such as “DE”, “EU”, or “*” for the"
        " whole world."
    ) % {"code": str(code)[:100]}


def _some(codes: Sequence[str]) -> str:
    shown = ", ".join(codes[:10])
    return shown if len(codes) <= 10 else f"{shown} … ({len(codes)})"


# --- the text ---------------------------------------------------------------------------------
# A contract is written in one language and never translated: no gettext here.


def render(typed: TypedTerms, *, name: str, version: int) -> str:
    """Write the conditions out as numbered clauses, each one line of short sentences."""
    sections = [
        ("Words", _words()),
        ("What is permitted", [_permit_clause(permit) for permit in typed.permit]),
        ("What is not permitted", [_deny_clause(deny) for deny in typed.deny] or [_NOTHING]),
        ("How long", _term_clauses(typed)),
        ("What others may get", [_EXCLUSIVITY[typed.exclusivity]]),
        ("Outputs", [_output_clause(typed.max_verbatim_words)]),
        ("Naming the source", [_ATTRIBUTION[typed.attribution]]),
        ("Passing on", [_REDISTRIBUTION[typed.redistribution]]),
        ("When the license ends", _expiry_clauses(typed)),
    ]
    lines = [f"License terms “{name}”, version {version}"]
    for number, (title, clauses) in enumerate(sections, start=1):
        lines += ["", f"{number} {title}"]
        lines += [f"{number}.{place} {clause}" for place, clause in enumerate(clauses, start=1)]
    return "\n".join(lines) + "\n"


def _words() -> list[str]:
    return [
        "The agreement that cites these terms names the Licensor, the Licensee, the Works, and"
        " the start of the license.",
        "A day has 24 hours. Times are UTC.",
        "The European Union means the states that are its members when the license starts.",
        "What section 2 does not permit is not permitted.",
    ]


def _permit_clause(permit: Permit) -> str:
    uses = _joined([vocabulary.USE_WORDS[use] for use in permit.uses], "and")
    places = _joined([vocabulary.territory_name(code) for code in permit.territories], "and")
    models = (
        "any model of its own"
        if permit.model_scope == ModelScope.ANY_MODEL_OF_LICENSEE
        else f"the model “{permit.model_name}” only"
    )
    return f"The Licensee may {uses} the Works, in {places}. It may do so for {models}."


_NOTHING = "No use is named here. Clause 1.4 applies."


def _deny_clause(deny: Deny) -> str:
    uses = _joined([vocabulary.USE_WORDS[use] for use in deny.uses], "or")
    return f"The Licensee may not {uses} the Works, anywhere."


def _term_clauses(typed: TypedTerms) -> list[str]:
    kept = (
        "without an end"
        if typed.use_days is None
        else f"for {_days(typed.use_days)} from the start of the license"
    )
    return [
        f"From the start of the license, the Licensee may fetch the Works for"
        f" {_days(typed.access_days)}, and start training for {_days(typed.training_days)}.",
        f"The Licensee may use what it made from the Works {kept}.",
    ]


_EXCLUSIVITY = {
    Exclusivity.NON_EXCLUSIVE: "The license is not exclusive: the Licensor may license the same"
    " uses to others.",
    Exclusivity.EXCLUSIVE: "The license is exclusive: until the time to start training ends, the"
    " Licensor licenses the same uses in the same territories to nobody else.",
}


def _output_clause(words: int | None) -> str:
    if words is None:
        return "These terms set no limit to how many consecutive words of a Work an output repeats."
    return f"An output repeats no more than {words:,} consecutive words of a Work."


_ATTRIBUTION = {
    Attribution.NONE: "The Licensee need not name the Licensor.",
    Attribution.IN_MODEL_DOCS: "The Licensee names the Licensor in the documentation of each model"
    " that it trains on the Works.",
    Attribution.IN_OUTPUT_LINK: "An output that draws on a Work links to that Work or names the"
    " Licensor.",
}

_REDISTRIBUTION = {
    Redistribution.NONE: "The Licensee passes the Works on to nobody.",
    Redistribution.TO_PROCESSORS: "The Licensee passes the Works on only to those who process them"
    " for it, who are bound as it is.",
}

_WEIGHTS = {
    WeightsOnExpiry.KEEP_AND_CONTINUE: "The Licensee may keep the models that it trained, use them"
    " as clause 4.2 says, and build on them.",
    WeightsOnExpiry.KEEP_FROZEN: "The Licensee may keep the models that it trained and use them as"
    " clause 4.2 says, but not train them further.",
    WeightsOnExpiry.DELETE: "The Licensee deletes the models that it trained on the Works when the"
    " time of clause 4.2 ends.",
}


def _expiry_clauses(typed: TypedTerms) -> list[str]:
    within = typed.raw_copies_delete_within_days
    when = "at once" if within == 0 else f"within {_days(within)}"
    return [
        "When the time to start training ends, the Licensee deletes its copies of the Works"
        f" {when}.",
        _WEIGHTS[typed.weights_on_expiry],
    ]


def _days(number: int) -> str:
    return f"{number:,} day" if number == 1 else f"{number:,} days"


def _joined(parts: Sequence[str], word: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"
