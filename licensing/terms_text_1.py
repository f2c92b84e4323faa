"""The text of typed terms, version 1: wording “en-1”, which never changes again. No Django."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licensing import vocabulary
from licensing.sentences import Said, Section, days, joined, says
from licensing.vocabulary import Attribution, Exclusivity, Redistribution, Use, WeightsOnExpiry


def sections(typed: Mapping[str, Any]) -> list[Section]:
    """The titles, and what is said below each, in order."""
    deny = [Said(_deny_clause(clause)) for clause in typed["deny"]]
    return [
        ("Words", [Said(text) for text in WORDS]),
        ("What is permitted", [Said(_permit_clause(clause)) for clause in typed["permit"]]),
        ("What is not permitted", deny or [Said(NOTHING)]),
        ("How long", _term_clauses(typed["term"])),
        ("What others may get", [Said(_EXCLUSIVITY[Exclusivity(typed["exclusivity"])])]),
        ("Outputs", [_output_clause(typed["output"]["max_verbatim_words"])]),
        ("Naming the source", [_attribution_clause(Attribution(typed["attribution"]))]),
        ("Passing on", [_redistribution_clause(Redistribution(typed["redistribution"]))]),
        ("When the license ends", _expiry_clauses(typed["on_expiry"])),
    ]


WORDS = (
    "The agreement that cites these terms names the Licensor, the Licensee, the Works, and the"
    " start of the license.",
    "A day has 24 hours. Times are UTC.",
    "The European Union means the states that are its members when the license starts.",
    "What section 2 does not permit is not permitted.",
)


def _permit_clause(clause: Mapping[str, Any]) -> str:
    uses = joined([vocabulary.USE_WORDS[Use(use)] for use in clause["uses"]], "and")
    places = joined([vocabulary.territory_name(code) for code in clause["territories"]], "and")
    models = (
        "any model of its own"
        if clause["model_scope"] == "any_model_of_licensee"
        else f"the model “{clause['model_name']}” only"
    )
    return f"The Licensee may {uses} the Works, in {places}. It may do so for {models}."


NOTHING = "No use is named here. Clause 1.4 applies."


def _deny_clause(clause: Mapping[str, Any]) -> str:
    uses = joined([vocabulary.USE_WORDS[Use(use)] for use in clause["uses"]], "or")
    return f"The Licensee may not {uses} the Works, anywhere."


def _term_clauses(term: Mapping[str, Any]) -> list[Said]:
    kept = (
        "without an end"
        if term["use_days"] is None
        else f"for {days(term['use_days'])} from the start of the license"
    )
    return [
        Said(
            f"From the start of the license, the Licensee may fetch the Works for"
            f" {days(term['access_days'])}, and start training for"
            f" {days(term['training_days'])}."
        ),
        Said(f"The Licensee may use what it made from the Works {kept}."),
    ]


_EXCLUSIVITY = {
    Exclusivity.NON_EXCLUSIVE: "The license is not exclusive: the Licensor may license the same"
    " uses to others.",
    Exclusivity.EXCLUSIVE: "The license is exclusive: until the time to start training ends, the"
    " Licensor licenses the same uses in the same territories to nobody else.",
}


def _output_clause(words: int | None) -> Said:
    if words is None:
        return Said(
            "These terms set no limit to how many consecutive words of a Work an output repeats."
        )
    return says(
        f"An output repeats no more than {words:,} consecutive words of a Work.",
        "output_limit",
        max_verbatim_words=words,
    )


_ATTRIBUTION = {
    Attribution.NONE: "The Licensee need not name the Licensor.",
    Attribution.IN_MODEL_DOCS: "The Licensee names the Licensor in the documentation of each model"
    " that it trains on the Works.",
    Attribution.IN_OUTPUT_LINK: "An output that draws on a Work links to that Work or names the"
    " Licensor.",
}


def _attribution_clause(word: Attribution) -> Said:
    if word == Attribution.NONE:
        return Said(_ATTRIBUTION[word])
    return says(_ATTRIBUTION[word], "attribution", place=word.value)


_REDISTRIBUTION = {
    Redistribution.NONE: "The Licensee passes the Works on to nobody.",
    Redistribution.TO_PROCESSORS: "The Licensee passes the Works on only to those who process them"
    " for it, who are bound as it is.",
}


def _redistribution_clause(word: Redistribution) -> Said:
    return says(_REDISTRIBUTION[word], "passing_on", works=word.value)


_WEIGHTS = {
    WeightsOnExpiry.KEEP_AND_CONTINUE: "The Licensee may keep the models that it trained, use them"
    " as clause 4.2 says, and build on them.",
    WeightsOnExpiry.KEEP_FROZEN: "The Licensee may keep the models that it trained and use them as"
    " clause 4.2 says, but not train them further.",
    WeightsOnExpiry.DELETE: "The Licensee deletes the models that it trained on the Works when the"
    " time of clause 4.2 ends.",
}


def _expiry_clauses(expiry: Mapping[str, Any]) -> list[Said]:
    within = expiry["raw_copies_delete_within_days"]
    when = "at once" if within == 0 else f"within {days(within)}"
    weights = WeightsOnExpiry(expiry["weights"])
    return [
        says(
            "When the time to start training ends, the Licensee deletes its copies of the Works"
            f" {when}.",
            "retention",
            what="raw_copies",
            rule="delete_within",
            days=within,
        ),
        says(
            _WEIGHTS[weights],
            "retention",
            what="weights",
            **(
                {"rule": "delete_within", "days": 0}
                if weights == WeightsOnExpiry.DELETE
                else {"rule": weights.value}
            ),
        ),
    ]
