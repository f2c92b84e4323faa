"""Contradictions in typed terms: those that are refused, and those that are shown as warnings.

Refused is what cannot both be kept, whatever happens. Shown is what may be meant, and is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from licensing import denials, vocabulary
from licensing.vocabulary import Use
from marketplace.errors import InvalidInput


class Warned(NamedTuple):
    """What is odd, and where: `code` is a promise to clients, `text` is for people."""

    code: str
    param: str
    text: str


# Uses that make or change a model's weights; that make embeddings.
TRAINING_USES = frozenset(
    {
        Use.PRETRAIN,
        Use.CONTINUED_PRETRAIN,
        Use.FINETUNE,
        Use.INSTRUCTION_TUNE,
        Use.PREFERENCE_TUNE,
        Use.CLASSIFY,
    }
)
EMBEDDING_USES = frozenset({Use.EMBED, Use.RETRIEVE_RAG})
# Which use makes what a lineage edge describes.
_MAKERS = {
    "distilled_from": Use.DISTILL,
    "synthetic_from": Use.SYNTHETIC_DATA,
    "embedding_of": Use.EMBED,
}


def refuse(typed: dict[str, Any]) -> None:
    """Raise InvalidInput at the place of the first contradiction. The shape was checked before."""
    for rule in _RULES:
        for param, text in rule(typed):
            raise InvalidInput(text, param=param)


def warnings(typed: dict[str, Any]) -> list[Warned]:
    """What is odd in typed conditions that were checked. Version 1 has no warnings."""
    if typed["v"] == 1:
        return []
    return [warned for rule in _WARNINGS for warned in rule(typed)]


def refuse_windows(access: int, training: int, use: int | None) -> None:
    """Access lasts no longer than training, and training no longer than use. Both versions."""
    if access > training:
        raise InvalidInput(
            _(
                "Works could be fetched after training with them ends. Give access_days up to"
                " training_days."
            ),
            param="typed.term.access_days",
        )
    if use is not None and training > use:
        raise InvalidInput(
            _(
                "Training would end after the use of what was trained. Give use_days from"
                " training_days on, or null for no end."
            ),
            param="typed.term.use_days",
        )


def permitted_and_denied(use: str, param: str) -> InvalidInput:
    return InvalidInput(
        _("“%(use)s” is permitted above and denied here. Keep one of the two.") % {"use": use},
        param=param,
    )


Found = Iterator[tuple[str, str]]


# --- what is refused --------------------------------------------------------------------------


def _windows(typed: dict[str, Any]) -> Found:
    term = typed["term"]
    refuse_windows(term["access_days"], term["training_days"], term["use_days"])
    use_days = term["use_days"]
    if use_days is not None and term["sunset_days"] > use_days:
        yield (
            "typed.term.sunset_days",
            _("Use would go on longer after an early end than without one. Give up to use_days."),
        )
    notice = term.get("notice_days")
    if notice is not None and notice >= term["training_days"]:
        yield (
            "typed.term.notice_days",
            _("The notice would be due before the license starts. Give less than training_days."),
        )


def _permits_that_never_hold(typed: dict[str, Any]) -> Found:
    """A use that is denied wherever a clause permits it: nobody could ever do it."""
    for found in denials.lost(typed):
        use = typed["permit"][found.permit]["uses"][found.use]
        if found.deny is None:
            yield (
                f"typed.permit[{found.permit}].uses[{found.use}]",
                _(
                    "“%(use)s” is permitted here, and the clauses of deny forbid it together in"
                    " every such case. Leave it out, or narrow what is denied."
                )
                % {"use": use},
            )
            continue
        place = f"typed.deny[{found.deny}]"
        denied = typed["deny"][found.deny].get("uses")
        if denied is not None:
            place += f".uses[{denied.index(use)}]"
        yield place, permitted_and_denied(use, place).detail


def _clauses(typed: dict[str, Any]) -> Found:
    for number, permit in enumerate(typed["permit"]):
        place = f"typed.permit[{number}]"
        models = permit["models"]
        if models["scope"] == "named_version":
            for index, name in enumerate(models["names"]):
                model, at, version = name.rpartition("@")
                if not (model and at and version):
                    yield (
                        f"{place}.models.names[{index}]",
                        _("Name a version as “name@version”."),
                    )
        if models["scope"] == "named_version" and models["successors"] != "none":
            yield (
                f"{place}.models.successors",
                _("One version is licensed, so that no successor is. Say “none”."),
            )
        if "research_noncommercial" in permit["uses"] and permit["fields"] == ["commercial"]:
            yield (
                f"{place}.fields",
                _("Non-commercial research is permitted for commercial purposes only."),
            )


def _open_weights(typed: dict[str, Any]) -> Found:
    for number, permit in enumerate(typed["permit"]):
        if "open_weights" not in permit["models"]["release"]:
            continue
        place = f"typed.permit[{number}].models.release"
        if typed["models"]["weights_transfer"] != "yes":
            yield (
                place,
                _(
                    "Open weights are handed to everybody, and models.weights_transfer does not"
                    " allow it. Say “yes” there, or leave “open_weights” out here."
                ),
            )
        if typed["retention"]["weights"]["rule"] == "delete_within":
            yield (
                "typed.retention.weights.rule",
                _("Weights that were published cannot be deleted. Keep one of the two."),
            )


def _derivatives(typed: dict[str, Any]) -> Found:
    denied: dict[str, str] = {}
    for number, deny in enumerate(typed["deny"]):
        if set(deny) == {"lineage"}:
            for place, edge in enumerate(deny["lineage"]):
                denied.setdefault(edge, f"typed.deny[{number}].lineage[{place}]")
    for edge, flow in typed["derivatives"].items():
        if edge == "other":
            continue
        if flow == "deny" and edge not in denied:
            yield (
                f"typed.derivatives.{edge}",
                _('Decisions look in deny: put {"lineage": ["%(edge)s"]} there, too.')
                % {"edge": edge},
            )
        if flow != "deny" and edge in denied:
            yield (
                denied[edge],
                _("derivatives.%(edge)s permits this. Say “deny” there, too.") % {"edge": edge},
            )


def _retention(typed: dict[str, Any]) -> Found:
    retention = typed["retention"]
    for name in ("embeddings", "weights"):
        if retention[name]["rule"] == "delete_within" and typed["term"]["use_days"] is None:
            yield (
                f"typed.retention.{name}.rule",
                _("This is deleted when its use ends, and that has no end. Give term.use_days."),
            )
    permitted = {use for permit in typed["permit"] for use in permit["uses"]}
    for name, makers in (("weights", TRAINING_USES), ("embeddings", EMBEDDING_USES)):
        is_made = bool(makers & permitted)
        rule = retention[name]["rule"]
        place = f"typed.retention.{name}.rule"
        if is_made and rule == "not_made":
            yield place, _("A use is permitted that makes this. Say what becomes of it.")
        if name == "weights" and not is_made and rule != "not_made":
            yield place, _("No use is permitted that trains a model. Say “not_made”.")
    logs = retention["logs"]
    lookback = typed["audit"].get("lookback_days")
    if lookback is not None and typed["audit"]["kind"] != "self_certify":
        is_short = logs.get("days", lookback) < lookback
        if logs["rule"] == "not_made" or is_short:
            yield (
                "typed.retention.logs.rule",
                _("Audits look back %(days)s days, and no log is kept for so long.")
                % {"days": lookback},
            )
    if retention["certificate"] != "none" and "delete_within" not in {
        retention[name]["rule"] for name in retention if name not in {"certificate", "other"}
    }:
        yield (
            "typed.retention.certificate",
            _("Nothing is deleted, so that nobody can certify it. Say “none”."),
        )


def _withdrawal(typed: dict[str, Any]) -> Found:
    withdrawal = typed["withdrawal"]
    steps = [step["do"] for step in withdrawal["steps"]]
    for place, step in enumerate(steps):
        if step in steps[:place]:
            yield (
                f"typed.withdrawal.steps[{place}].do",
                _("“%(value)s” stands here twice.") % {"value": step},
            )
    if {"retrain_at_next_major", "full_retrain"} <= set(steps):
        yield (
            f"typed.withdrawal.steps[{steps.index('retrain_at_next_major')}].do",
            _("Models are trained again at once, or at the next major version. Keep one."),
        )
    if steps and not withdrawal["channels"]:
        yield (
            "typed.withdrawal.channels",
            _("A duty begins with a notice. Say how it comes."),
        )
    if withdrawal["acknowledge_hours"] is not None and not withdrawal["channels"]:
        yield (
            "typed.withdrawal.acknowledge_hours",
            _("No notice comes that could be acknowledged. Give channels, or null."),
        )


def _passing_on(typed: dict[str, Any]) -> Found:
    parties, passing = typed["parties"], typed["redistribution"]
    if passing["works"] == "to_processors" and parties["processors"] == "none":
        yield (
            "typed.redistribution.works",
            _("The works go to processors, and parties.processors allows none."),
        )
    if passing["works"] == "none" and parties["processors"] != "none":
        yield (
            "typed.redistribution.works",
            _("parties.processors may hold copies. Say “to_processors” here."),
        )
    if passing["sublicense"] == "affiliates" and parties["affiliates"] == "none":
        yield (
            "typed.redistribution.sublicense",
            _("Affiliates get a sublicense, and parties.affiliates allows none."),
        )
    if passing["works"] == "dataset_resale" and typed["exclusivity"]["kind"] == "sole":
        yield (
            "typed.redistribution.works",
            _("Who buys the resold works holds them, too, and the license is sole."),
        )


def _names(typed: dict[str, Any]) -> Found:
    attribution, contract = typed["attribution"], typed["contract"]
    if attribution["places"] and attribution["licensee_may_name_licensor"] == "no":
        yield (
            "typed.attribution.licensee_may_name_licensor",
            _("The source is named in attribution.places. Say “yes” or “with_consent”."),
        )
    if contract["confidentiality"] == "existence":
        for who in ("licensee_may_name_licensor", "licensor_may_name_licensee"):
            if attribution[who] == "yes":
                yield (
                    f"typed.attribution.{who}",
                    _("That the contract exists is secret. Say “no” or “with_consent”."),
                )
        if attribution["places"]:
            yield (
                "typed.attribution.places",
                _("That the contract exists is secret, and the source is named here."),
            )


def _outputs(typed: dict[str, Any]) -> Found:
    output = typed["output"]
    permitted = {use for permit in typed["permit"] for use in permit["uses"]}
    if "ground_display" in permitted and output["max_verbatim_words"] == 0:
        yield (
            "typed.output.max_verbatim_words",
            _("Passages may be shown, and no word of them. Give at least 1, or null."),
        )
    if "ground_display" in permitted and "no_external_sharing" in output["rules"]:
        releases = {word for permit in typed["permit"] for word in permit["models"]["release"]}
        if releases - {"internal_only"}:
            yield (
                f"typed.output.rules[{output['rules'].index('no_external_sharing')}]",
                _("Answers leave the licensee through the models' release. Say “internal_only”."),
            )


def _people(typed: dict[str, Any]) -> Found:
    people = typed["personal_data"]
    if people["kind"] != "none":
        return
    if people["lawful_basis"] != "none":
        yield (
            "typed.personal_data.lawful_basis",
            _("There are no personal data, so that none are processed. Say “none”."),
        )
    if people["reidentification"] == "allowed":
        yield (
            "typed.personal_data.reidentification",
            _("There are no personal data to find a person by. Say “forbidden”."),
        )
    if "personal_data_consent" in typed["subject"]["rights_layers"]:
        place = typed["subject"]["rights_layers"].index("personal_data_consent")
        yield (
            f"typed.subject.rights_layers[{place}]",
            _("Consent to the use of personal data is licensed, and there are none."),
        )


def _regions(typed: dict[str, Any]) -> Found:
    kept = vocabulary.countries(typed["security"]["regions"])
    for number, permit in enumerate(typed["permit"]):
        for place, code in enumerate(permit["territories"]["training"]):
            missing = sorted(vocabulary.countries([code]) - kept)
            if missing:
                yield (
                    f"typed.permit[{number}].territories.training[{place}]",
                    _("Training needs copies, and security.regions allows none in %(missing)s.")
                    % {"missing": ", ".join(missing[:10])},
                )


def _price(typed: dict[str, Any]) -> Found:
    price = typed["price"]
    models = [part["model"] for part in price["parts"]]
    if "free" in models and (len(models) > 1 or price["modifiers"]):
        yield (
            f"typed.price.parts[{models.index('free')}].model",
            _("What is free has no other price. Keep one of the two."),
        )
    if ("free" in models) != (price["settlement"] == "none"):
        yield (
            "typed.price.settlement",
            _("Say “none” where the license is free, and nowhere else."),
        )


def _subject(typed: dict[str, Any]) -> Found:
    subject = typed["subject"]
    if subject["selection"] == "manifest" and subject["additions"] != "none":
        yield (
            "typed.subject.additions",
            _("A manifest lists its works for good. Say “none”, or select otherwise."),
        )
    both = set(subject.get("only", [])) & set(subject.get("except", []))
    for name in sorted(both):
        yield (
            f"typed.subject.except[{subject['except'].index(name)}]",
            _("“%(name)s” is meant above and excepted here.") % {"name": name},
        )


def _promises(typed: dict[str, Any]) -> Found:
    warranties = typed["warranties"]
    if warranties["indemnity"] == "none" and "indemnity_for_output" in typed["output"]["rules"]:
        yield (
            "typed.warranties.indemnity",
            _("output.rules has an indemnity for outputs. Say “licensee” or “mutual”."),
        )


_RULES: tuple[Callable[[dict[str, Any]], Found], ...] = (
    _windows,
    _permits_that_never_hold,
    _clauses,
    _open_weights,
    _derivatives,
    _retention,
    _withdrawal,
    _passing_on,
    _names,
    _outputs,
    _people,
    _regions,
    _price,
    _subject,
    _promises,
)


# --- what is shown ----------------------------------------------------------------------------


def _odd_outputs(typed: dict[str, Any]) -> Iterator[Warned]:
    denied = {use for deny in typed["deny"] for use in deny.get("uses", [])}
    if typed["output"]["max_verbatim_words"] is None and "ground_display" in denied:
        yield Warned(
            "output_unlimited_but_display_denied",
            "typed.output.max_verbatim_words",
            _("Passages may not be shown, and outputs may repeat any number of words."),
        )


def _odd_people(typed: dict[str, Any]) -> Iterator[Warned]:
    people = typed["personal_data"]
    if people["kind"] in {"contains_personal_data", "special_category"}:
        if people["lawful_basis"] == "none":
            yield Warned(
                "personal_data_without_lawful_basis",
                "typed.personal_data.lawful_basis",
                _("The works have personal data, and nothing says why they may be processed."),
            )
        if people["erase_within_days"] is None:
            yield Warned(
                "personal_data_without_erasure",
                "typed.personal_data.erase_within_days",
                _("A person who asks for erasure gets it from nobody."),
            )


def _odd_exclusivity(typed: dict[str, Any]) -> Iterator[Warned]:
    kind, favored = typed["exclusivity"]["kind"], typed["contract"]["most_favored"]
    if kind in {"exclusive", "sole"} and favored.startswith("licensee"):
        yield Warned(
            "most_favored_without_others",
            "typed.contract.most_favored",
            _("Nobody else gets this scope, so that nobody gets it on better terms."),
        )
    if kind in {"category_exclusive", "first_window"}:
        yield Warned(
            "exclusivity_held_wider",
            "typed.exclusivity.kind",
            _(
                "The market keeps the whole scope from everybody until training_days end. That is"
                " more than these terms promise."
            ),
        )


def _odd_price(typed: dict[str, Any]) -> Iterator[Warned]:
    models = {part["model"] for part in typed["price"]["parts"]}
    counted = models & {
        "revenue_share",
        "attribution_share",
        "per_training_run",
        "per_epoch",
        "per_model",
        "per_answer",
        "per_query",
    }
    if counted and typed["reporting"]["cadence"] == "none":
        yield Warned(
            "price_needs_reports",
            "typed.reporting.cadence",
            _("The price counts what only the licensee sees (%(counted)s), and nothing reports it.")
            % {"counted": ", ".join(sorted(counted))},
        )
    splits = typed["split"]["rule"] == "attribution" or "attribution_share" in models
    if splits and typed["reporting"]["attribution_provider"] == "none":
        yield Warned(
            "attribution_measured_by_nobody",
            "typed.reporting.attribution_provider",
            _("Money is shared by attribution, and nobody is named who measures it."),
        )


def _odd_withdrawal(typed: dict[str, Any]) -> Iterator[Warned]:
    if not typed["withdrawal"]["steps"]:
        yield Warned(
            "withdrawal_without_effect",
            "typed.withdrawal.steps",
            _("A withdrawn work changes nothing for the licensee."),
        )
    released = {word for permit in typed["permit"] for word in permit["models"]["release"]}
    steps = {step["do"] for step in typed["withdrawal"]["steps"]}
    if "open_weights" in released and steps & {"retrain_at_next_major", "full_retrain"}:
        yield Warned(
            "open_weights_cannot_be_recalled",
            "typed.withdrawal.steps",
            _("Weights that others hold stay as they are, whatever is trained again."),
        )


def _odd_models(typed: dict[str, Any]) -> Iterator[Warned]:
    released = {word for permit in typed["permit"] for word in permit["models"]["release"]}
    if "open_weights" in released and (
        typed["models"]["customer_finetunes"] == "not_allowed"
        or typed["derivatives"]["finetune_of"] == "deny"
    ):
        yield Warned(
            "open_weights_but_no_finetunes",
            "typed.models.customer_finetunes",
            _("Whoever has open weights can fine-tune them."),
        )


def _odd_lineage(typed: dict[str, Any]) -> Iterator[Warned]:
    permitted = {use for permit in typed["permit"] for use in permit["uses"]}
    for number, deny in enumerate(typed["deny"]):
        for place, edge in enumerate(deny.get("lineage", [])):
            use = _MAKERS.get(edge)
            if use in permitted and use in deny.get("uses", [use]):
                yield Warned(
                    "use_makes_what_lineage_denies",
                    f"typed.deny[{number}].lineage[{place}]",
                    _("“%(use)s” is permitted, and may well make just this.") % {"use": use},
                )


def _odd_promises(typed: dict[str, Any]) -> Iterator[Warned]:
    warranties = typed["warranties"]
    if warranties["indemnity"] in {"licensor", "mutual"} and not warranties["licensor"]:
        yield Warned(
            "indemnity_without_promise",
            "typed.warranties.indemnity",
            _("The licensor pays for a broken promise, and promises nothing."),
        )


def _human(typed: dict[str, Any]) -> Iterator[Warned]:
    def has_other(value: Any) -> bool:
        if isinstance(value, dict):
            return "other" in value or any(has_other(each) for each in value.values())
        return isinstance(value, list) and any(has_other(each) for each in value)

    for name, value in typed.items():
        if has_other(value):
            yield Warned(
                "needs_human",
                f"typed.{name}",
                _("Free text stands here. A person decides what it means, never this market."),
            )


_WARNINGS: tuple[Callable[[dict[str, Any]], Iterator[Warned]], ...] = (
    _odd_outputs,
    _odd_people,
    _odd_exclusivity,
    _odd_price,
    _odd_withdrawal,
    _odd_models,
    _odd_lineage,
    _odd_promises,
    _human,
)
