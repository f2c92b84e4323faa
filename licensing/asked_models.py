"""Asked models: the one model that works are licensed for, where buyer and seller name one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

from django.utils.translation import gettext as _

from licensing import clauses, decisions, reading
from licensing.clauses import Compiled
from licensing.decisions import Answer
from licensing.typed_terms import TypedTerms
from marketplace.errors import InvalidInput

NAME_LENGTH_MAX = 200
VERSION_LENGTH_MAX = 100

# As a contract says it, in English whatever the reader's language.
_RELEASED = {
    "closed_api": "served through an interface only",
    "open_weights": "released as open weights only",
    "internal_only": "used inside the Licensee's organization only",
}


class AskedModel(TypedDict):
    """A model of a licensee: without `version`, every version of it."""

    name: str
    version: NotRequired[str]
    release: str


def clean(model: Mapping[str, str]) -> AskedModel:
    """What a client named, with `version` left out where it is blank. Raises InvalidInput."""
    name, version = model["name"].strip(), model.get("version", "").strip()
    if not name:
        raise InvalidInput(_("Name the model."), param="model.name")
    for field, text, length in (
        ("name", name, NAME_LENGTH_MAX),
        ("version", version, VERSION_LENGTH_MAX),
    ):
        # It stands between quotation marks in a line of the contract.
        if text and not reading.is_line(text, length):
            raise InvalidInput(
                _(
                    "Give up to %(max)s printable characters on one line, without curly quotation"
                    " marks."
                )
                % {"max": length},
                param=f"model.{field}",
            )
    reading.check_word(model["release"], clauses.RELEASES, "model.release")
    return made(name, version, model["release"])


def made(name: str, version: str, release: str) -> AskedModel:
    """A model of its three facts; `version` may be blank."""
    if version:
        return {"name": name, "version": version, "release": release}
    return {"name": name, "release": release}


def check(
    model: AskedModel, typed: TypedTerms, *, uses: Sequence[str], territories: Sequence[str]
) -> None:
    """Raise InvalidInput where the terms are sure to deny a use of this model.

    Within what `check_scope` let pass. What depends on more than the scope says, such as whose
    successor a model is, is for decisions: they need a review.
    """
    compiled = clauses.compile_terms(typed.raw, has_duties=False)
    for use in uses:
        asked = {"use": use, "territory": territories, "release": model["release"]}
        if _is_denied(compiled, clauses.Model(), asked):
            raise InvalidInput(
                _("The terms do not permit “%(use)s” there for a model that is “%(release)s”.")
                % {"use": use, "release": model["release"]},
                param="model.release",
            )
        if _is_denied(compiled, clauses.Model(model["name"], model.get("version")), asked):
            raise InvalidInput(
                _("The terms do not permit “%(use)s” there for the model %(model)s.")
                % {"use": use, "model": named(model)},
                param="model",
            )


def _is_denied(compiled: Compiled, model: clauses.Model, asked: Mapping[str, Any]) -> bool:
    """What terms alone say, at any time in one of the places asked about."""
    at = datetime(2000, 1, 1, tzinfo=UTC)
    period = decisions.Period(compiled, training=(at, None), use=(at, None))
    candidate = decisions.Candidate(decisions.Grant("", (period,)), covered_from=at)
    question = clauses.ask(**asked, at=at, model=model)
    return decisions.decide(question, [candidate]).answer is Answer.DENY


def named(model: AskedModel) -> str:
    """The model in a refusal, such as “Atlas 2 (open_weights)”."""
    return f"{' '.join(filter(None, (model['name'], model.get('version'))))} ({model['release']})"


def in_words(model: AskedModel) -> str:
    """The model as a line of a contract. These words are hashed and accepted: not translated."""
    version = f", version “{model['version']}”" if "version" in model else ""
    return f"Model: “{model['name']}”{version}, {_RELEASED[model['release']]}."
