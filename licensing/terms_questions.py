"""What a buyer may do under drafted terms: typical questions, each answered by the engine itself.

Nothing here knows an answer. A row says which question the engine is asked, and, where people ask
about something that is a duty and no use (imitating a style, reselling), which duty of a permit
forbids it. The words are the contract's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from licensing import clauses, decisions, terms_text
from licensing.clauses import Model
from licensing.decisions import Answer, Code, Decision, Reason
from licensing.dimensions import RightsLayer
from licensing.typed_terms import TypedTerms
from licensing.vocabulary import Use

Duty = Mapping[str, Any]
# The grant that a question about a draft is asked of.
DRAFT = "draft"
YES, NO, PERSON = "yes", "no", "person"


@dataclass(frozen=True, slots=True)
class Row:
    """A question, its answer, and the clause that it rests on in the contract's own words."""

    question: str
    # "yes", "no" or "person": a person must decide.
    answer: str
    why: str
    clause: str
    words: str
    # The last day on which a yes holds, as things stand.
    until: datetime | None = None

    @property
    def answer_in_words(self) -> str:
        return {YES: _("Yes"), NO: _("No"), PERSON: _("Ask a person")}[self.answer]


class Draft:
    """Checked terms, as if somebody held a license under them that began at `starts_at`."""

    def __init__(self, typed: TypedTerms, *, starts_at: datetime) -> None:
        self.typed, self.starts_at = typed, starts_at
        windows = typed.windows(starts_at)
        period = decisions.Period(
            clauses.compile_terms(typed.raw),
            training=(starts_at, windows.training.upper),
            use=(starts_at, windows.use.upper),
        )
        # One more for each right that is licensed: grants of today tell none apart, terms do.
        subject = typed.raw.get("subject", {"rights_layers": RightsLayer})
        layers = (decisions.ALL_LAYERS, *map(str, subject["rights_layers"]))
        self._candidates = [
            decisions.Candidate(decisions.Grant(DRAFT, (period,), layer), starts_at)
            for layer in layers
        ]
        self._texts = {number: said.text for number, said in terms_text.clauses(typed.raw)}

    def decide(self, *, layer: str = decisions.ALL_LAYERS, **asked: Any) -> Decision:
        """The engine's answer to `clauses.ask(**asked)`; without `at`, half a day after the start.

        `layer` is the right that it takes; left out: those that are licensed.
        """
        at = asked.pop("at", self.starts_at + timedelta(hours=12))
        question = clauses.ask(at=at, **asked)
        return decisions.decide(question, self._candidates, layers=[layer])

    def words(self, clause: str) -> str:
        return self._texts.get(clause, "")

    def usual(self, use: str) -> dict[str, Any]:
        """A usual case of a use: what the first clause about it names, and nothing odd."""
        permits = self.typed.raw["permit"]
        clause = next((each for each in permits if use in each["uses"]), permits[0])
        case: dict[str, Any] = {"use": use, "sector": clauses.NONE, "lineage": clauses.NONE}
        if self.typed.v == 1:
            place = clause["territories"][0]
            name = clause.get("model_name")
            return {**case, "territory": place, "availability": place, "model": Model(name)}
        places, models = clause["territories"], clause["models"]
        return {
            **case,
            "territory": places["training"][0],
            "availability": places["availability"][0],
            "release": models["release"][0],
            "field": clause["fields"][0],
            "model": _a_model(models),
        }


def _a_model(models: Mapping[str, Any]) -> Model | None:
    """Some model that a clause is for. None: it is for any, or counts them."""
    if not models.get("names"):
        return None
    name, at, version = models["names"][0].rpartition("@")
    if models["scope"] == "model_family":
        return Model(family=models["names"][0])
    if models["scope"] == "named_version" and at:
        return Model(name, version)
    return Model(models["names"][0])


# --- the questions ----------------------------------------------------------------------------

_OUTPUT_USES = (Use.PRETRAIN, Use.FINETUNE, Use.GROUND_DISPLAY, Use.RETRIEVE_RAG)
_ANY_USE = tuple(Use)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question in words; the uses that it may be about; what it says beside the usual case."""

    text: str
    uses: Sequence[str]
    changes: Mapping[str, Any]
    # Whether a duty of the permit forbids just this.
    forbids: Callable[[Duty], bool] | None = None


def rows(typed: TypedTerms, *, now: datetime | None = None) -> list[Row]:
    """What people ask most, answered for a license that begins now."""
    draft = Draft(typed, starts_at=now or datetime.now(UTC))
    return [_row(draft, asked) for asked in (*_about_training(draft), *_about_the_rest(draft))]


def _about_training(draft: Draft) -> Iterator[_Asked]:
    year = draft.starts_at.year + 1
    next_year = datetime(year, 1, 15, tzinfo=UTC)
    general = {"model": Model(_("General model"))}
    yield _Asked(
        _("Pre-train a general model in Germany in %(year)s") % {"year": year},
        [Use.PRETRAIN],
        {**general, "territory": "DE", "availability": "DE", "at": next_year},
    )
    yield _Asked(
        _("Fine-tune a model in the United States and offer it as a service"),
        [Use.FINETUNE],
        {"territory": "US", "availability": "US", "release": "closed_api"},
    )
    yield _Asked(
        _("Fine-tune a model and publish its weights"),
        [Use.FINETUNE],
        {"release": "open_weights"},
    )
    yield _Asked(
        _("Start another training run in five years"),
        [Use.PRETRAIN, Use.FINETUNE, Use.CLASSIFY],
        {"at": draft.starts_at + timedelta(days=5 * 365)},
    )
    yield _Asked(
        _("Teach another model with it, or make synthetic data from it"),
        [Use.DISTILL, Use.SYNTHETIC_DATA],
        {},
    )
    yield _Asked(_("Test how good a model is with it"), [Use.EVALUATE], {})


def _about_the_rest(draft: Draft) -> Iterator[_Asked]:
    def rule(*words: str) -> Callable[[Duty], bool]:
        return lambda duty: duty["type"] == "output_rule" and duty["rule"] in words

    yield _Asked(_("Look passages up to answer questions (retrieval)"), [Use.RETRIEVE_RAG], {})
    yield _Asked(
        _("Quote a whole work in an answer"),
        [Use.GROUND_DISPLAY],
        {},
        lambda duty: duty["type"] == "output_limit" or rule("summaries_only")(duty),
    )
    yield _Asked(
        _("Offer to imitate the author’s style"),
        _OUTPUT_USES,
        {},
        rule("no_style_imitation", "no_named_author_prompts"),
    )
    yield _Asked(
        _("Show the face or use the voice of a person in it"),
        _OUTPUT_USES,
        {"layer": RightsLayer.LIKENESS.value},
        rule("no_likeness"),
    )
    yield _Asked(
        _("Hand copies to a cloud or a contractor that works for the buyer"),
        _ANY_USE,
        {},
        lambda duty: duty["type"] in _HANDING_ON and duty.get("rule", duty.get("works")) in _NOBODY,
    )
    yield _Asked(
        _("Resell the works"),
        _ANY_USE,
        {},
        lambda duty: duty["type"] == "passing_on" and duty["works"] != "dataset_resale",
    )
    yield _Asked(_("Use it to watch people (surveillance)"), _ANY_USE, {"sector": "surveillance"})


_HANDING_ON = frozenset({"contractors", "processors", "passing_on"})
_NOBODY = frozenset({"no", "none"})


# --- the answers ------------------------------------------------------------------------------


def _row(draft: Draft, asked: _Asked) -> Row:
    decision = _best(draft, asked)
    reason = decision.reasons[0]
    if decision.answer is Answer.PERMIT:
        for duty in decision.duties:
            if asked.forbids is not None and asked.forbids(duty):
                clause = str(duty["clause"])
                why = _("The license has a condition that rules it out.")
                return Row(asked.text, NO, why, clause, draft.words(clause))
        clause = decision.clause or ""
        why = _("The terms permit it.")
        if asked.forbids is not None:
            why = _("The terms permit the use, and no condition rules this out.")
        return Row(asked.text, YES, why, clause, draft.words(clause), decision.valid_until)
    clause = reason.clause or _CLAUSES.get(reason.code, "")
    answer = NO if decision.answer is Answer.DENY else PERSON
    return Row(asked.text, answer, in_words(reason), clause, draft.words(clause))


# Where the text says what the engine found without a clause: what is not permitted is not allowed;
# the time to start training; the rights that are licensed. Of both versions, but for the last.
_CLAUSES = {Code.NOT_PERMITTED: "1.4", Code.OUTSIDE_WINDOW: "4.1", Code.NOT_COVERED: "6.4"}


def _best(draft: Draft, asked: _Asked) -> Decision:
    """Of the uses that a question may be about, the one that the engine answers best."""
    found: Decision | None = None
    for use in asked.uses:
        decision = draft.decide(**{**draft.usual(use), **asked.changes})
        if found is None or decision.answer > found.answer:
            found = decision
    assert found is not None
    return found


def in_words(reason: Reason) -> str:
    """A reason of the engine's, in words."""
    dimensions = {
        "use": _("No clause permits this use."),
        "territory": _("The terms permit it elsewhere only."),
        "availability": _("What was made may be offered elsewhere only."),
        "release": _("The terms permit it only where models are released in another way."),
        "field": _("The terms permit it for other purposes only."),
        "model": _("The terms permit it for other models only."),
    }
    match reason.code:
        case Code.DENIED_BY_CLAUSE:
            return _("A clause forbids it.")
        case Code.NOT_PERMITTED:
            return dimensions.get(reason.dimension or "", dimensions["use"])
        case Code.OUTSIDE_WINDOW:
            return _("The time for it is over by then.")
        case Code.NOT_COVERED:
            return _("The license covers no such right.")
        case Code.NEEDS_A_HUMAN:
            return _("Free text stands in the terms, which only a person can read.")
        case Code.QUESTION_INCOMPLETE:
            return _("It depends on something that the question leaves open.")
    return _("The terms do not permit it.")
