"""The text of typed terms, version 2: wording “en-2”, section by section. No Django."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from licensing import phrases, vocabulary
from licensing.sentences import Said, Section, days, hours, joined, percent, quoted, says
from licensing.vocabulary import Use

Given = Mapping[str, Any]


def sections(typed: Given) -> list[Section]:
    """The titles, and what is said below each, in order. Free text stands last in each."""
    told = [
        ("Words", [Said(text) for text in phrases.WORDS]),
        ("What is permitted", [Said(_permit(clause)) for clause in typed["permit"]]),
        (
            "What is not permitted",
            [Said(_deny(each)) for each in typed["deny"]] or [Said(phrases.NOTHING)],
        ),
    ]
    for name, (title, tell) in _SECTIONS.items():
        section = typed[name]
        told.append((title, [*tell(section), *(Said(_human(text)) for text in _other(section))]))
    return told


def _other(section: Given) -> list[str]:
    return list(section.get("other", []))


def _human(text: str) -> str:
    return f"“{text}” (needs a human)."


def _ruled(texts: Given, word: str, type: str, *, free: str = "none", key: str = "rule") -> Said:
    """A clause chosen by one word. It makes a duty, unless the word leaves everybody free."""
    return says(texts[word], type, is_duty=word != free, **{key: word})


def _places(codes: list[str], word: str = "and") -> str:
    return joined([vocabulary.territory_name(code) for code in codes], word)


# --- sections 2 and 3 -------------------------------------------------------------------------


def _permit(clause: Given) -> str:
    parts = [
        f"{'It' if place else 'The Licensee'} may {vocabulary.USE_WORDS[Use(use)]} the Works."
        for place, use in enumerate(clause["uses"])
    ]
    parts.append(f"It may do so in {_places(clause['territories']['training'])}.")
    parts.append(f"It may offer what it made in {_places(clause['territories']['availability'])}.")
    parts.append(_models_of(clause["models"]))
    release = clause["models"]["release"]
    parts += (
        [phrases.RELEASE[word] for word in release]
        if len(release) > 1
        else [phrases.ONLY_RELEASE[release[0]]]
    )
    parts.append(
        f"All this is for {joined([phrases.FIELDS[word] for word in clause['fields']], 'or')}."
    )
    parts += [_human(text) for text in _other(clause)]
    return " ".join(parts)


def _models_of(models: Given) -> str:
    scope = models["scope"]
    after = phrases.SUCCESSORS.get(scope, phrases.SUCCESSORS[""])[models["successors"]]
    if scope == "any_model_of_licensee":
        return f"It may do so for any model of its own, now or later.{after}"
    if scope == "up_to_n_models":
        count = models["count"]
        return f"It may do so for up to {count:,} {'model' if count == 1 else 'models'}.{after}"
    kind = {
        "named_model": "model",
        "named_version": "model version",
        "model_family": "model family",
    }[scope]
    names = models["names"]
    if len(names) > 1:
        kind = {"model family": "model families"}.get(kind, f"{kind}s")
    return f"It may do so only for the {kind} {quoted(names)}.{after}"


def _deny(clause: Given) -> str:
    if "uses" in clause:
        parts = [
            f"{'It' if place else 'The Licensee'} may not {vocabulary.USE_WORDS[Use(use)]} the"
            " Works."
            for place, use in enumerate(clause["uses"])
        ]
    else:
        parts = ["The Licensee may not use the Works or the Models."]
    narrowed = _narrowed(clause)
    if len(narrowed) == 1:
        parts.append(f"This holds only if {narrowed[0]}.")
    elif narrowed:
        parts.append("This holds only if all of this is so.")
        parts += [f"{each[0].upper()}{each[1:]}." for each in narrowed]
    elif "other" not in clause:
        parts.append("This holds everywhere.")
    parts += [_human(text) for text in _other(clause)]
    return " ".join(parts)


def _narrowed(clause: Given) -> list[str]:
    """What else must be so for a deny to hold, each as a part of a sentence."""
    places = clause.get("territories", {})
    parts = []
    if "training" in places:
        parts.append(f"the Works are used in {_places(places['training'], 'or')}")
    if "availability" in places:
        parts.append(f"what was made is offered in {_places(places['availability'], 'or')}")
    if "models" in clause:
        released = [phrases.RELEASED[word] for word in clause["models"]["release"]]
        parts.append(f"the models are {joined(released, 'or')}")
    if "fields" in clause:
        fields = joined([phrases.FIELDS[word] for word in clause["fields"]], "or")
        parts.append(f"it is for {fields}")
    if "sectors" in clause:
        sectors = joined([phrases.SECTORS[word] for word in clause["sectors"]], "or")
        parts.append(f"it is done {sectors}")
    if "lineage" in clause:
        made = joined([phrases.LINEAGE[word] for word in clause["lineage"]], "or")
        parts.append(f"it makes {made}")
    return parts


# --- who, what, which models ------------------------------------------------------------------


def _parties(given: Given) -> list[Said]:
    names = quoted(given.get("affiliate_names", [""]))
    affiliates = {
        "none": "No other company of the Licensee's group shares the license.",
        "controlled": "Companies that the Licensee controls share the license. The Licensee answers"
        " for them.",
        "named": f"These companies share the license: {names}. The Licensee answers for them.",
    }
    contractors = {
        "no": "No contractor may act for the Licensee.",
        "yes_bound": "Contractors may act for the Licensee. It binds them to these terms.",
    }
    holders = quoted(given.get("processor_names", [""]))
    processors = {
        "none": "Nobody else may hold copies of the Works for the Licensee.",
        "any_bound": "Others may hold and process copies for the Licensee, such as a cloud. It"
        " binds them to these terms.",
        "named": f"Only these may hold and process copies for the Licensee: {holders}.",
    }
    return [
        Said(affiliates[given["affiliates"]]),
        says(contractors[given["contractors"]], "contractors", rule=given["contractors"]),
        says(
            processors[given["processors"]],
            "processors",
            rule=given["processors"],
            **({"names": given["processor_names"]} if "processor_names" in given else {}),
        ),
    ]


def _subject(given: Given) -> list[Said]:
    kinds = joined([phrases.MODALITIES[word] for word in given["modalities"]], "and")
    layers = joined([phrases.LAYERS[word] for word in given["rights_layers"]], "and")
    parts = [
        Said(phrases.SELECTION[given["selection"]]),
        Said(phrases.ADDITIONS[given["additions"]]),
        Said(f"The Works are {kinds}."),
        Said(f"The license covers {layers}. It covers no other right."),
    ]
    if "only" in given:
        parts.append(Said(f"Only these parts are meant: {quoted(given['only'])}."))
    if "except" in given:
        parts.append(Said(f"These parts are not meant: {quoted(given['except'])}."))
    return parts


def _models(given: Given) -> list[Said]:
    parts = [
        _ruled(phrases.CUSTOMERS, given["customer_finetunes"], "customers", free="allowed"),
        _ruled(phrases.TRANSFER, given["weights_transfer"], "weights", free="yes"),
    ]
    size, effort = given["max_parameters_millions"], given["max_training_exaflop"]
    if size is None and effort is None:
        parts.append(Said("These terms set no limit to the size of the Models."))
    if size is not None:
        parts.append(
            says(
                f"A Model has no more than {size:,} million parameters.",
                "model_size",
                max_parameters_millions=size,
            )
        )
    if effort is not None:
        parts.append(
            says(
                f"The training of a Model takes no more than {effort:,} exaflop.",
                "model_size",
                max_training_exaflop=effort,
            )
        )
    if given["makes"]:
        kinds = joined([phrases.MODALITIES[word] for word in given["makes"]], "or")
        parts.append(says(f"The Models make only {kinds}.", "model_makes", only=given["makes"]))
    else:
        parts.append(Said("The Models may make any kind of content."))
    return parts


def _derivatives(given: Given) -> list[Said]:
    return [
        says(
            phrases.FLOW[given[edge]].format(what),
            "flow_down",
            is_duty=given[edge] != "permit",
            edge=edge,
            rule=given[edge],
        )
        for edge, what in phrases.DERIVED.items()
    ]


def _output(given: Given) -> list[Said]:
    words, part = given["max_verbatim_words"], given["max_fraction_basis_points"]
    parts = []
    if words is None and part is None:
        parts.append(Said("These terms set no limit to how much of a Work an output repeats."))
    if words is not None:
        text = (
            "An output repeats no words of a Work in a row."
            if words == 0
            else f"An output repeats no more than {words:,} words of a Work in a row."
        )
        parts.append(says(text, "output_limit", max_verbatim_words=words))
    if part is not None:
        parts.append(
            says(
                f"An output repeats no more than {percent(part)} of a Work.",
                "output_limit",
                max_fraction_basis_points=part,
            )
        )
    return parts + [says(phrases.RULES[rule], "output_rule", rule=rule) for rule in given["rules"]]


# --- time, copies, withdrawal -----------------------------------------------------------------


def _term(given: Given) -> list[Said]:
    use = given["use_days"]
    kept = "without an end" if use is None else f"for {days(use)} from the start of the license"
    parts = [
        Said(
            "The times run from the start of the license. The Licensee may fetch the Works for"
            f" {days(given['access_days'])}. It may start training for"
            f" {days(given['training_days'])}."
        ),
        Said(f"The Licensee may use what it made from the Works {kept}."),
        Said(_renewal(given)),
    ]
    if given["termination"]:
        parts.append(Said(" ".join(phrases.TERMINATION[word] for word in given["termination"])))
        sunset = given["sunset_days"]
        parts.append(
            Said(
                "After an early end, the Licensee stops all use at once."
                if sunset == 0
                else f"After an early end, the Licensee may go on for {days(sunset)}."
            )
        )
    else:
        parts.append(Said("No party may end the license early, but as the law says."))
    return parts


def _renewal(given: Given) -> str:
    renewal = given["renewal"]
    if renewal == "none":
        return "The license is not renewed."
    if renewal == "by_agreement":
        return "The parties may agree to renew the license."
    longer, most = days(given["renewal_days"]), given["renewals_max"]
    often = (
        ""
        if most is None
        else f" This happens {'once' if most == 1 else f'{most:,} times'} at most."
    )
    notice = days(given["notice_days"])
    if renewal == "automatic":
        return (
            f"The license is renewed for {longer} each time.{often} A party may stop that: it says"
            f" so {notice} before the end."
        )
    return (
        f"The Licensee may renew the license for {longer} each time.{often} It says so {notice}"
        " before the end."
    )


def _retention(given: Given) -> list[Said]:
    parts = [
        says(
            _rule(f"its {phrases.KEPT[what]}", what, given[what]),
            "retention",
            is_duty=given[what]["rule"] != "keep_and_continue",
            what=what,
            **given[what],
        )
        for what in phrases.KEPT
    ]
    certificate = given["certificate"]
    return [*parts, _ruled(phrases.CERTIFICATE, certificate, "deletion_certificate", key="signer")]


def _rule(its: str, what: str, given: Given) -> str:
    is_made = what in {"embeddings", "weights"}
    after = (
        phrases.AFTER_USE
        if is_made and given["rule"] == "delete_within"
        else phrases.AFTER_TRAINING
    )
    number = given.get("days", 0)
    texts = {
        "delete_within": f"{after} deletes {its} {_within(number)}.",
        "keep_for_audit": f"{after} keeps {its} for {days(number)}, for audits only. Then it"
        " deletes them.",
        "keep_frozen": f"{after} may keep {its}. It trains nothing new with them.",
        "keep_and_continue": f"{after} may keep {its}, and build on them.",
        "retrain_without": f"{after} trains the Models again without the Works, or stops using"
        " them.",
        "suppress": f"{after} may keep {its}. It stops outputs that draw on the Works.",
        "not_made": f"The Licensee makes and keeps no {phrases.KEPT[what]}.",
    }
    return texts[given["rule"]]


def _within(number: int) -> str:
    return "at once" if number == 0 else f"within {days(number)}"


def _withdrawal(given: Given) -> list[Said]:
    parts = []
    if given["channels"]:
        come = joined([phrases.CHANNELS[word] for word in given["channels"]], "or")
        parts.append(Said(f"The Licensor may withdraw a Work. The notice comes {come}."))
    if not given["steps"]:
        parts.append(Said("The withdrawal of a Work changes nothing for the Licensee."))
    for step in given["steps"]:
        parts.append(says(_step(step), "withdrawal", **step))
    within = given["acknowledge_hours"]
    if within is not None:
        parts.append(
            says(
                f"The Licensee confirms each notice within {hours(within)}.",
                "acknowledge",
                within_hours=within,
            )
        )
    return parts


def _step(step: Given) -> str:
    number = step.get("within_days", 0)
    by = "At once" if number == 0 else f"Within {days(number)} of the notice"
    texts = {
        "exclude_future_runs": f"{by}, the Licensee leaves the Work out of new training.",
        "purge_copies": f"{by}, the Licensee deletes its copies of the Work.",
        "suppress_outputs": f"{by}, the Licensee stops outputs that draw on the Work.",
        "retrain_at_next_major": "The next major version of each Model is trained without the"
        " Work.",
        "full_retrain": f"{by}, the Licensee trains each Model again without the Work."
        f" {phrases.COST.get(step.get('cost', ''), '')}",
    }
    return texts[step["do"]].strip()


# --- what others get, names, reports, audits --------------------------------------------------


def _exclusivity(given: Given) -> list[Said]:
    kind = given["kind"]
    if kind == "first_window":
        return [
            Said(
                f"The license is exclusive for the first {days(given['days'])}. Until then, nobody"
                " else gets the same uses in the same places."
            )
        ]
    if kind == "category_exclusive":
        return [
            Said(
                "The license is exclusive in its field. Until the time to start training ends, the"
                " Licensor gives the same uses in the same places to nobody else"
                f" {phrases.CATEGORIES[given['category']]}."
            )
        ]
    return [Said(phrases.EXCLUSIVITY[kind])]


def _redistribution(given: Given) -> list[Said]:
    return [
        _ruled(phrases.PASSING, given["works"], "passing_on", free="", key="works"),
        _ruled(phrases.SUBLICENSE, given["sublicense"], "sublicense", free="", key="to"),
        _ruled(phrases.PUBLICATION, given["dataset_publication"], "dataset_publication"),
    ]


def _attribution(given: Given) -> list[Said]:
    places = [
        says(phrases.ATTRIBUTION[word], "attribution", place=word) for word in given["places"]
    ]
    licensee, licensor = given["licensee_may_name_licensor"], given["licensor_may_name_licensee"]
    return [
        *(places or [Said("The Licensee need not name its source.")]),
        says(
            phrases.NAMING[licensee].format("Licensee", "Licensor"),
            "naming",
            is_duty=licensee != "yes",
            by="licensee",
            rule=licensee,
        ),
        says(
            phrases.NAMING[licensor].format("Licensor", "Licensee"),
            "naming",
            is_duty=licensor != "yes",
            by="licensor",
            rule=licensor,
        ),
    ]


def _reporting(given: Given) -> list[Said]:
    parts = [Said("The Licensee need not report.")]
    if given["cadence"] != "none":
        what = joined([phrases.REPORTED[word] for word in given["fields"]], "and")
        parts = [
            says(
                f"The Licensee reports {phrases.CADENCE[given['cadence']]}, within"
                f" {hours(given['within_hours'])}. It says {what}.",
                "report",
                cadence=given["cadence"],
                fields=given["fields"],
                within_hours=given["within_hours"],
            )
        ]
    if given["attribution_provider"] == "required":
        parts.append(
            says(
                "An outside service, on which both parties agree, measures which Works an output"
                " draws on.",
                "attribution_provider",
            )
        )
    return parts


def _audit(given: Given) -> list[Said]:
    kind = given["kind"]
    if kind == "none":
        return [Said("The Licensor has no right to an audit.")]
    times = given["times_per_year"]
    often = "once" if times == 1 else f"up to {times:,} times"
    text = (
        f"{phrases.AUDITS[kind]} This happens {often} a year. It looks back"
        f" {days(given['lookback_days'])} at most."
    )
    shift = given.get("cost_shift_basis_points")
    if shift is not None:
        text += f" If {percent(shift)} or more was not reported, the Licensee pays for the audit."
    return [says(text, "audit", **{name: given[name] for name in given if name != "other"})]


# --- promises, people, safety -----------------------------------------------------------------


def _warranties(given: Given) -> list[Said]:
    def promised(who: str, words: Given, chosen: list[str]) -> Said:
        if not chosen:
            return Said(f"The {who} promises nothing more.")
        text = " ".join(f"The {who} promises {words[word]}." for word in chosen)
        return says(text, "warranty", by=who.lower(), promises=chosen)

    parts = [
        promised("Licensor", phrases.LICENSOR_WARRANTS, given["licensor"]),
        promised("Licensee", phrases.LICENSEE_WARRANTS, given["licensee"]),
    ]
    parts += [Said(phrases.DISCLAIMED[word]) for word in given["disclaimers"]]
    parts.append(_ruled(phrases.INDEMNITY, given["indemnity"], "indemnity", key="by"))
    cap = given["cap"]
    parts.append(
        Said(f"A party pays no more than {given['cap_multiple']} times the price of the license.")
        if cap == "fees_multiple"
        else Said(phrases.CAP[cap])
    )
    return [*parts, _ruled(phrases.TITLE, given["chain_of_title"], "chain_of_title")]


def _personal_data(given: Given) -> list[Said]:
    parts = [Said(phrases.DATA[given["kind"]])]
    if given["kind"] != "none":
        parts.append(Said(phrases.BASIS[given["lawful_basis"]]))
    word = given["reidentification"]
    parts.append(_ruled(phrases.REIDENTIFICATION, word, "reidentification", free="allowed"))
    within = given["erase_within_days"]
    if within is not None:
        parts.append(
            says(
                "If a person asks for it, the Licensee deletes that person's data"
                f" {_within(within)}.",
                "erase_person",
                within_days=within,
            )
        )
    return parts


def _security(given: Given) -> list[Said]:
    regions = given["regions"]
    is_anywhere = vocabulary.WORLDWIDE in regions
    return [
        Said("Copies may be kept anywhere.")
        if is_anywhere
        else says(f"Copies are kept only in {_places(regions)}.", "storage", regions=regions),
        _ruled(phrases.ENCRYPTION, given["encryption"], "encryption"),
        _ruled(phrases.ACCESS, given["access_list"], "access_list"),
    ]


# --- money and the contract -------------------------------------------------------------------


def _price(given: Given) -> list[Said]:
    parts = [Said(_part(part)) for part in given["parts"]]
    parts += [Said(phrases.MODIFIERS[word]) for word in given["modifiers"]]
    settlement = given["settlement"]
    net = days(given.get("net_days", 0))
    texts = {
        **phrases.SETTLEMENT,
        "invoice": f"The price is paid within {net} of an invoice.",
        "in_arrears": f"The price is paid within {net} after the use that it counts.",
    }
    parts.append(
        Said(texts[settlement])
        if settlement == "none"
        else says(
            texts[settlement],
            "payment",
            settlement=settlement,
            **({"net_days": given["net_days"]} if "net_days" in given else {}),
        )
    )
    if settlement != "none":
        parts.append(Said("The offer says how much it is."))
    return parts


def _part(part: Given) -> str:
    if part["model"] == "revenue_share":
        return f"The Licensor gets {percent(part['basis_points'])} of {phrases.OF[part['of']]}."
    if part["model"] == "attribution_share":
        return (
            f"The sources share {percent(part['basis_points'])} of {phrases.OF[part['of']]}. Each"
            " gets its part by how far answers draw on it."
        )
    return phrases.PARTS[part["model"]]


def _split(given: Given) -> list[Said]:
    parts = [Said(phrases.SPLITS[given["rule"]])]
    share = given.get("makers_basis_points")
    if share is not None:
        parts.append(Said(f"The makers get {percent(share)}."))
    if "on_dispute" in given:
        parts.append(
            Said(
                "A share that several people claim is held until that is settled."
                if given["on_dispute"] == "hold"
                else "A share that several people claim is paid at once to the first of them."
            )
        )
    if given["deductions"]:
        taken = joined([phrases.DEDUCTED[word] for word in given["deductions"]], "and")
        parts.append(Said(f"Before that, {taken} may be taken off."))
    return parts


def _contract(given: Given) -> list[Said]:
    law = given["governing_law"]
    parts = [
        Said("These terms choose no law." if law is None else _law(law)),
        Said(phrases.AMENDMENT[given["amendment"]]),
        Said(phrases.FAVORED[given["most_favored"]]),
        _ruled(phrases.SECRET, given["confidentiality"], "confidentiality", free="public"),
    ]
    if given["documents"]:
        digests = joined(given["documents"], "and")
        parts.append(
            Said(f"The files with these SHA-256 hashes belong to the contract: {digests}.")
        )
    return parts


def _law(code: str) -> str:
    country = vocabulary.territory_name(code[:2])
    part = f" ({code})" if "-" in code else ""
    return f"The law of {country}{part} decides."


# In the order of the text: the fourth section is the first of these.
_SECTIONS: dict[str, tuple[str, Callable[[Given], list[Said]]]] = {
    "term": ("How long", _term),
    "parties": ("Who else may act", _parties),
    "subject": ("The Works", _subject),
    "models": ("The Models", _models),
    "derivatives": ("What comes from the Models", _derivatives),
    "output": ("Outputs", _output),
    "exclusivity": ("What others may get", _exclusivity),
    "redistribution": ("Passing on", _redistribution),
    "attribution": ("Naming each other", _attribution),
    "withdrawal": ("When a Work is withdrawn", _withdrawal),
    "retention": ("What becomes of copies and Models", _retention),
    "reporting": ("Reports", _reporting),
    "audit": ("Audits", _audit),
    "warranties": ("Promises", _warranties),
    "personal_data": ("People in the Works", _personal_data),
    "security": ("Safety", _security),
    "price": ("The price", _price),
    "split": ("Who gets the money", _split),
    "contract": ("The contract", _contract),
}
