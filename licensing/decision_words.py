"""What a decision about a license held says to people: its answer, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import terms_questions
from licensing.decisions import Answer, Code, Decision, Reason

# What a question may leave open, and what it is asked for then.
OPEN = {
    "model": gettext_lazy("It depends on which model it is."),
    "territory": gettext_lazy("It depends on where it happens."),
    "availability": gettext_lazy("It depends on where what was made is offered."),
    "release": gettext_lazy("It depends on how the model is released."),
    "field": gettext_lazy("It depends on whom it serves."),
    "sector": gettext_lazy("It depends on what the product is for."),
    "lineage": gettext_lazy("It depends on what the model is to another model."),
}
_NOT_BOUGHT = {
    "use": gettext_lazy("The terms would permit this use, and it was not bought."),
    "territory": gettext_lazy("The terms would permit it there; it was bought for elsewhere."),
    "release": gettext_lazy("It was bought for a model that is released in another way."),
    "model": gettext_lazy("It was bought for another model."),
}
_WHY = {
    Code.PERMITTED: gettext_lazy("A clause of your license permits it."),
    Code.NOT_IN_SCOPE: gettext_lazy("The terms would permit it, and it was not bought."),
    Code.OUTSIDE_WINDOW: gettext_lazy("The license is not for that time."),
    Code.OPTED_OUT: gettext_lazy("The work was taken out: stop using it."),
    Code.HELD: gettext_lazy("The work is held back until a claim about it is settled."),
    Code.GRANT_SUSPENDED: gettext_lazy("The license is suspended then."),
    Code.GRANT_REVOKED: gettext_lazy("The license is revoked by then."),
    Code.GRANT_EXPIRED: gettext_lazy("The license has ended by then."),
    Code.NOT_COVERED: gettext_lazy("The license does not cover this work then."),
    Code.NO_GRANT: gettext_lazy("You hold no license that covers it."),
}


def answer(decision: Decision) -> str:
    """The answer in a word or two."""
    words = {
        Answer.PERMIT: _("Yes"),
        Answer.DENY: _("No"),
        Answer.NEEDS_REVIEW: _("Ask a person"),
    }
    return words[decision.answer]


def to_do(decision: Decision) -> str:
    """What follows from the answer."""
    if decision.answer is Answer.PERMIT:
        return _("Use it so, keep to the duties below, and ask again before each run.")
    if decision.answer is Answer.DENY:
        return _("Do not use it so. The reason says what stands in the way.")
    if asks_for(decision):
        return _("Say more in the form below, and ask again: what is left open is not guessed.")
    return _("Have counsel read the clause: it holds words that no machine reads.")


def asks_for(decision: Decision) -> set[str]:
    """The dimensions that the question would have to say more about."""
    return {
        str(reason.dimension)
        for reason in decision.reasons
        if reason.code is Code.QUESTION_INCOMPLETE
    }


def whys(decision: Decision) -> Iterator[tuple[str, str]]:
    """Each reason once: in words, and the number of its clause, which may be empty."""
    seen: set[tuple[str, str]] = set()
    for reason in decision.reasons:
        said = (why(reason), reason.clause or "")
        if said not in seen:
            seen.add(said)
            yield said


def why(reason: Reason) -> str:
    """One reason in words."""
    by_dimension: dict[str, Any] = {}
    if reason.code is Code.QUESTION_INCOMPLETE:
        by_dimension = OPEN
    elif reason.code is Code.NOT_IN_SCOPE:
        by_dimension = _NOT_BOUGHT
    elif reason.code is Code.NEEDS_A_HUMAN and reason.dimension == "document":
        return _("The contract’s own words control: a person must read them.")
    words = by_dimension.get(reason.dimension or "") or _WHY.get(reason.code)
    return terms_questions.in_words(reason) if words is None else str(words)
