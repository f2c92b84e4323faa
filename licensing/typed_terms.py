"""Typed terms: the conditions as data, read strictly, and what they permit when and where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils.translation import gettext as _

from licensing import contradictions, reading, vocabulary
from licensing import terms_schema as schema
from licensing.dimensions import ExclusivityKind
from licensing.terms_schema import DAYS_MAX
from licensing.vocabulary import (
    Attribution,
    Exclusivity,
    ModelScope,
    Redistribution,
    Use,
    WeightsOnExpiry,
)
from marketplace.errors import InvalidInput

# The fields of version 1. Every one is required, but for `model_name` (see `_permit_1`).
_ROOT_1 = (
    "v",
    "permit",
    "deny",
    "exclusivity",
    "term",
    "output",
    "attribution",
    "redistribution",
    "on_expiry",
)


@dataclass(frozen=True, slots=True)
class Windows:
    """When a license allows what: half-open UTC intervals; `use` may have no end."""

    access: DateTimeTZRange
    training: DateTimeTZRange
    use: DateTimeTZRange


@dataclass(frozen=True, slots=True)
class Permit:
    """What one clause allows, as far as uses and the territories of training go.

    `permit[i]` is clause 2.(i + 1) of the text.
    """

    uses: tuple[Use, ...]
    territories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """What one clause forbids. `deny[i]` is clause 3.(i + 1) of the text.

    None: it does not depend on that. `is_narrowed`: it depends on something else, too, so that it
    forbids no use as such.
    """

    uses: tuple[Use, ...] | None
    territories: tuple[str, ...] | None = None
    is_narrowed: bool = False


@dataclass(frozen=True, slots=True)
class TypedTerms:
    """Typed conditions that were checked, of version 1 or 2: what quotes and grants need of them.

    Everything else is in `raw`, the conditions as they came, which `terms_schema` describes.
    """

    v: int
    permit: tuple[Permit, ...]
    deny: tuple[Deny, ...]
    exclusive: bool
    access_days: int
    training_days: int
    # None: what was made may be kept in use without an end.
    use_days: int | None
    # Where free text stands, such as "typed.output.other[0]", and the text: a human reads it.
    others: tuple[tuple[str, str], ...]
    raw: dict[str, Any] = field(repr=False)

    @property
    def needs_human(self) -> bool:
        """Whether some condition stands in free text, which no machine decides."""
        return bool(self.others)

    @property
    def is_free(self) -> bool:
        """Whether the text says that nothing is paid. Version 1 says nothing of the price."""
        return self.v == 2 and self.raw["price"]["settlement"] == "none"

    def windows(self, starts_at: datetime) -> Windows:
        """When a license that begins at `starts_at` allows what. A day has 24 hours."""

        def until(days: int | None) -> DateTimeTZRange:
            end = None if days is None else starts_at + timedelta(days=days)
            return DateTimeTZRange(starts_at, end)

        return Windows(until(self.access_days), until(self.training_days), until(self.use_days))

    def check_scope(self, uses: Sequence[str], territories: Sequence[str]) -> None:
        """Raise InvalidInput unless every use is permitted in every (training) territory."""
        reading.check_words(uses, [use.value for use in Use], "uses")
        for place, code in enumerate(reading.several(territories, "territories")):
            reading.check_territory(code, f"territories[{place}]")
        for place, use in enumerate(uses):
            self._check_use(Use(use), territories, f"uses[{place}]")

    def permits(self, use: str = "", territory: str = "") -> bool:
        """Whether a use (or any use) is permitted in a territory (or anywhere)."""
        asked = vocabulary.countries([territory] if territory else [])
        uses = [Use(use)] if use else [word for clause in self.permit for word in clause.uses]
        return any(self._where(word) and asked <= self._where(word) for word in uses)

    def _where(self, use: Use) -> frozenset[str]:
        """The countries in which some clause permits a use, and none forbids it as such."""
        permitted = vocabulary.countries(
            code for clause in self.permit if use in clause.uses for code in clause.territories
        )
        for clause in self.deny:
            if not clause.is_narrowed and (clause.uses is None or use in clause.uses):
                everywhere = (vocabulary.WORLDWIDE,)
                permitted -= vocabulary.countries(clause.territories or everywhere)
        return permitted

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


def parse(typed: Any) -> TypedTerms:
    """Check typed conditions of any version. Raises InvalidInput naming the place."""
    version = typed.get("v") if isinstance(typed, dict) else None
    if type(version) is int and version == 2:
        return _parse_2(typed)
    return _parse_1(typed)


@lru_cache(maxsize=256)
def read(text: str) -> TypedTerms:
    """The conditions of a version that was checked when it was drafted, for whoever only reads.

    Versions never change, and are read several times in each request that sells under them.
    """
    return parse(json.loads(text))


def _parse_2(typed: dict[str, Any]) -> TypedTerms:
    reading.read({name: typed[name] for name in typed if name != "v"}, schema.ROOT, "typed")
    contradictions.refuse(typed)
    term = typed["term"]
    return TypedTerms(
        v=2,
        permit=tuple(
            Permit(
                tuple(Use(use) for use in clause["uses"]), tuple(clause["territories"]["training"])
            )
            for clause in typed["permit"]
        ),
        deny=tuple(_deny_2(clause) for clause in typed["deny"]),
        # The market holds the whole scope for every kind that excludes anybody: perhaps more than
        # was promised, never less. `contradictions.warnings` says so.
        exclusive=typed["exclusivity"]["kind"] != ExclusivityKind.NON_EXCLUSIVE,
        access_days=term["access_days"],
        training_days=term["training_days"],
        use_days=term["use_days"],
        others=tuple(_others(typed, "typed")),
        raw=typed,
    )


def _deny_2(clause: dict[str, Any]) -> Deny:
    uses = clause.get("uses")
    places = clause.get("territories", {})
    training = places.get("training")
    return Deny(
        None if uses is None else tuple(Use(use) for use in uses),
        None if training is None else tuple(training),
        is_narrowed="availability" in places or bool(set(clause) - {"uses", "territories"}),
    )


def _others(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, list):
        return [
            found for place, item in enumerate(value) for found in _others(item, f"{path}[{place}]")
        ]
    if not isinstance(value, dict):
        return []
    here = [(f"{path}.other[{place}]", text) for place, text in enumerate(value.get("other", []))]
    inside = (_others(item, f"{path}.{name}") for name, item in value.items() if name != "other")
    return here + [found for each in inside for found in each]


# --- version 1 --------------------------------------------------------------------------------


def _parse_1(typed: Any) -> TypedTerms:
    if isinstance(typed, dict) and (type(typed.get("v")) is not int or typed["v"] != 1):
        raise InvalidInput(_("This market reads versions 1 and 2 of typed terms."), param="typed.v")
    root = reading.fields(typed, "typed", _ROOT_1)
    permits = tuple(
        _permit_1(item, f"typed.permit[{place}]")
        for place, item in enumerate(reading.listed(root["permit"], "typed.permit", least=1))
    )
    denies = tuple(
        Deny(
            reading.uses(
                reading.fields(item, f"typed.deny[{place}]", ["uses"])["uses"],
                f"typed.deny[{place}].uses",
            )
        )
        for place, item in enumerate(reading.listed(root["deny"], "typed.deny"))
    )
    _refuse_contradictions_1(permits, denies)
    access_days, training_days, use_days = _term_1(root["term"])
    output = reading.fields(root["output"], "typed.output", ["max_verbatim_words"])
    _expiry_1(root["on_expiry"], use_days)
    exclusivity = reading.word(root["exclusivity"], Exclusivity, "typed.exclusivity")
    reading.optional_whole(
        output["max_verbatim_words"], "typed.output.max_verbatim_words", 0, 1_000_000
    )
    reading.word(root["attribution"], Attribution, "typed.attribution")
    reading.word(root["redistribution"], Redistribution, "typed.redistribution")
    return TypedTerms(
        v=1,
        permit=permits,
        deny=denies,
        exclusive=exclusivity == Exclusivity.EXCLUSIVE,
        access_days=access_days,
        training_days=training_days,
        use_days=use_days,
        others=(),
        raw=typed,
    )


def _permit_1(value: Any, path: str) -> Permit:
    names = ["uses", "territories", "model_scope"]
    clause = reading.fields(value, path, names, optional=["model_name"])
    territories = reading.territories(clause["territories"], f"{path}.territories")
    scope = reading.word(clause["model_scope"], ModelScope, f"{path}.model_scope")
    name = clause.get("model_name")
    if scope == ModelScope.NAMED_MODEL:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.strip()) <= 200:
            raise InvalidInput(_("Name the model."), param=f"{path}.model_name")
    elif "model_name" in clause:
        raise InvalidInput(
            _("A model is named under the model scope “named_model” only."),
            param=f"{path}.model_name",
        )
    return Permit(reading.uses(clause["uses"], f"{path}.uses"), territories)


def _term_1(value: Any) -> tuple[int, int, int | None]:
    path = "typed.term"
    term = reading.fields(value, path, ["access_days", "training_days", "use_days"])
    access = reading.whole(term["access_days"], f"{path}.access_days", 1, DAYS_MAX)
    training = reading.whole(term["training_days"], f"{path}.training_days", 1, DAYS_MAX)
    use = reading.optional_whole(term["use_days"], f"{path}.use_days", 1, DAYS_MAX)
    contradictions.refuse_windows(access, training, use)
    return access, training, use


def _expiry_1(value: Any, use_days: int | None) -> None:
    path = "typed.on_expiry"
    expiry = reading.fields(value, path, ["raw_copies_delete_within_days", "weights"])
    weights = reading.word(expiry["weights"], WeightsOnExpiry, f"{path}.weights")
    if weights == WeightsOnExpiry.DELETE and use_days is None:
        raise InvalidInput(
            _("Models are deleted when their use ends, and it has no end. Give use_days."),
            param=f"{path}.weights",
        )
    days = f"{path}.raw_copies_delete_within_days"
    reading.whole(expiry["raw_copies_delete_within_days"], days, 0, DAYS_MAX)


def _refuse_contradictions_1(permits: tuple[Permit, ...], denies: tuple[Deny, ...]) -> None:
    permitted = {use for permit in permits for use in permit.uses}
    for number, deny in enumerate(denies):
        for place, use in enumerate(deny.uses or ()):
            if use in permitted:
                raise contradictions.permitted_and_denied(
                    use, f"typed.deny[{number}].uses[{place}]"
                )


def _some(codes: Sequence[str]) -> str:
    shown = ", ".join(codes[:10])
    return shown if len(codes) <= 10 else f"{shown} … ({len(codes)})"
