"""The shape of typed terms, version 2: which fields there are, and what each may say. No Django.

One table: `typed_terms` reads by it, the reference page and the API's document are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from licensing import dimensions as words
from licensing.vocabulary import Use

DAYS_MAX = 36_500
HOURS_MAX = 8_760
CLAUSES_MAX = 50
NAMES_MAX = 100
TERRITORIES_MAX = 300
NAME_LENGTH_MAX = 200
OTHERS_MAX = 20
OTHER_LENGTH_MAX = 1_000
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Word:
    """One of some words."""

    words: type[StrEnum]


@dataclass(frozen=True, slots=True)
class Words:
    """A list of different words."""

    words: type[StrEnum]
    least: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two others; null where `null` says what that means."""

    least: int
    most: int
    null: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """A list of different names, each printable and on one line; `pattern` narrows them down."""

    least: int = 1
    length: int = NAME_LENGTH_MAX
    most: int = NAMES_MAX
    pattern: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Territories:
    """A list of different territories: ISO 3166-1 alpha-2, “EU”, or “*”."""

    least: int = 1


@dataclass(frozen=True, slots=True)
class Law:
    """A jurisdiction: ISO 3166-1 alpha-2, or ISO 3166-2 such as “US-NY”; null: none is chosen."""


@dataclass(frozen=True, slots=True)
class Object:
    """Named fields. `fields` are required, `optional` may be left out."""

    fields: Mapping[str, Member]
    optional: Mapping[str, Member]
    # True: it says something only if at least one field stands in it.
    is_nonempty: bool = False


@dataclass(frozen=True, slots=True)
class Objects:
    """A list of objects of one shape."""

    of: Object
    least: int = 0
    most: int = CLAUSES_MAX


Kind = Word | Words | Whole | Names | Territories | Law | Object | Objects


@dataclass(frozen=True, slots=True)
class Member:
    """One field: what it may be, what it says, and when it stands there."""

    kind: Kind
    says: str
    # (field, words): required beside one of these words of that field, refused beside others.
    beside: tuple[str, tuple[StrEnum, ...]] | None = None


OTHERS = Member(
    Names(length=OTHER_LENGTH_MAX, most=OTHERS_MAX),
    "What no other field can say, in the parties' own words. A human reads it, always.",
)


def _section(**fields: Member) -> Object:
    return Object(fields, {"other": OTHERS})


_USES = Words(Use, least=1)

MODELS_OF_CLAUSE = _section(
    scope=Member(Word(words.ModelsScope), "Which models of the licensee."),
    names=Member(
        Names(),
        "Their names; of versions, as “name@version”.",
        beside=(
            "scope",
            (
                words.ModelsScope.NAMED_MODEL,
                words.ModelsScope.NAMED_VERSION,
                words.ModelsScope.MODEL_FAMILY,
            ),
        ),
    ),
    count=Member(
        Whole(1, 10_000), "How many models.", beside=("scope", (words.ModelsScope.UP_TO_N_MODELS,))
    ),
    release=Member(Words(words.Release, least=1), "How the models reach those who use them."),
    successors=Member(Word(words.Successors), "Whether models that follow are meant, too."),
)

PERMIT = Object(
    {
        "uses": Member(_USES, "What may be done."),
        "territories": Member(
            Object(
                {
                    "training": Member(Territories(), "Where the works are copied and used."),
                    "availability": Member(
                        Territories(), "Where what was made with them is offered."
                    ),
                },
                {},
            ),
            "Where.",
        ),
        "models": Member(Object(MODELS_OF_CLAUSE.fields, {}), "For which models."),
        "fields": Member(Words(words.Field, least=1), "For what kind of purpose."),
    },
    {"other": OTHERS},
)

DENY = Object(
    {},
    {
        "uses": Member(_USES, "What may not be done. Left out: anything."),
        "territories": Member(
            Object(
                {},
                {
                    "training": Member(Territories(), "Where works are copied and used."),
                    "availability": Member(Territories(), "Where what was made is offered."),
                },
                is_nonempty=True,
            ),
            "Where. Left out: anywhere.",
        ),
        "models": Member(
            Object(
                {"release": Member(Words(words.Release, least=1), "How they are released.")}, {}
            ),
            "With which models. Left out: with any.",
        ),
        "fields": Member(Words(words.Field, least=1), "For which purposes. Left out: for any."),
        "sectors": Member(Words(words.Sector, least=1), "In which lines of business."),
        "lineage": Member(Words(words.Edge, least=1), "For what comes from a model in which way."),
        "other": OTHERS,
    },
    is_nonempty=True,
)


def _after(rules: type[StrEnum], made: str) -> Member:
    timed = tuple(word for word in rules if word.value in {"delete_within", "keep_for_audit"})
    shape = Object(
        {
            "rule": Member(Word(rules), "What becomes of them."),
            "days": Member(Whole(0, DAYS_MAX), "Within, or for, how long.", ("rule", timed)),
        },
        {},
    )
    return Member(shape, made)


_WITHDRAWAL_STEP = Object(
    {
        "do": Member(Word(words.WithdrawalStep), "What the licensee does."),
        "within_days": Member(
            Whole(0, DAYS_MAX),
            "From the notice on.",
            beside=(
                "do",
                (
                    words.WithdrawalStep.EXCLUDE_FUTURE_RUNS,
                    words.WithdrawalStep.PURGE_COPIES,
                    words.WithdrawalStep.SUPPRESS_OUTPUTS,
                    words.WithdrawalStep.FULL_RETRAIN,
                ),
            ),
        ),
        "cost": Member(
            Word(words.CostBearer),
            "Who pays for it.",
            beside=("do", (words.WithdrawalStep.FULL_RETRAIN,)),
        ),
    },
    {},
)

_PRICE_PART = Object(
    {
        "model": Member(Word(words.PriceModel), "What this part is counted by."),
        "basis_points": Member(
            Whole(1, BASIS_POINTS),
            "The share, in hundredths of a percent.",
            beside=(
                "model",
                (words.PriceModel.REVENUE_SHARE, words.PriceModel.ATTRIBUTION_SHARE),
            ),
        ),
        "of": Member(
            Word(words.RevenueBase),
            "Of which money.",
            beside=("model", (words.PriceModel.REVENUE_SHARE, words.PriceModel.ATTRIBUTION_SHARE)),
        ),
    },
    {},
)

# What stands beside permit and deny, in the order of the text. Every section is required: a
# contract has no silent defaults. Most have a short form that says “none”.
SECTIONS: dict[str, Member] = {
    "parties": Member(
        _section(
            affiliates=Member(Word(words.Affiliates), "Which companies of its group share it."),
            affiliate_names=Member(
                Names(), "Their names.", beside=("affiliates", (words.Affiliates.NAMED,))
            ),
            contractors=Member(Word(words.Contractors), "Whether contractors may act for it."),
            processors=Member(Word(words.Processors), "Who may hold copies for it."),
            processor_names=Member(
                Names(), "Their names.", beside=("processors", (words.Processors.NAMED,))
            ),
        ),
        "Who else may act under the license.",
    ),
    "subject": Member(
        Object(
            {
                "selection": Member(Word(words.Selection), "What decides which works."),
                "additions": Member(Word(words.Additions), "Whether later works are licensed too."),
                "modalities": Member(Words(words.Modality, least=1), "What kind of content."),
                "rights_layers": Member(
                    Words(words.RightsLayer, least=1), "Which rights in the works."
                ),
            },
            {
                "only": Member(Names(), "The only parts (brands, titles) that are meant, by name."),
                "except": Member(Names(), "Parts that are not meant, by name."),
                "other": OTHERS,
            },
        ),
        "Which works. The exact set is the offer's snapshot.",
    ),
    "models": Member(
        _section(
            customer_finetunes=Member(
                Word(words.CustomerFinetunes), "Whether customers may fine-tune the models."
            ),
            weights_transfer=Member(
                Word(words.WeightsTransfer), "Whether models may be handed to somebody else."
            ),
            max_parameters_millions=Member(
                Whole(1, 1_000_000_000, null="no limit"), "The largest model, in parameters."
            ),
            max_training_exaflop=Member(
                Whole(1, 1_000_000_000_000, null="no limit"), "The largest training run."
            ),
            makes=Member(
                Words(words.Modality), "The only kinds of content the models make. Empty: any."
            ),
        ),
        "What holds for every model that is trained on the works.",
    ),
    "derivatives": Member(
        _section(
            **{
                edge.value: Member(Word(words.FlowDown), says)
                for edge, says in {
                    words.Edge.FINETUNE_OF: "Fine-tunes of such a model.",
                    words.Edge.DISTILLED_FROM: "Models that such a model taught.",
                    words.Edge.MERGED_FROM: "Merges of such a model with others.",
                    words.Edge.SYNTHETIC_FROM: "Synthetic data that such a model made.",
                    words.Edge.EMBEDDING_OF: "Embeddings of the works, or by such a model.",
                }.items()
            }
        ),
        "What comes from a model, and whether these terms follow it. “deny” needs the same edge,"
        " alone, in a clause of `deny`: that is where decisions look.",
    ),
    "output": Member(
        _section(
            max_verbatim_words=Member(
                Whole(0, 1_000_000, null="no limit"), "Consecutive words of a work in an output."
            ),
            max_fraction_basis_points=Member(
                Whole(0, BASIS_POINTS, null="no limit"),
                "The part of a work in an output, in hundredths of a percent.",
            ),
            rules=Member(Words(words.OutputRule), "What outputs must and must not do."),
        ),
        "What models may put out.",
    ),
    "term": Member(
        _section(
            access_days=Member(Whole(1, DAYS_MAX), "Works may be fetched. Up to training_days."),
            training_days=Member(Whole(1, DAYS_MAX), "Training may start. Up to use_days."),
            use_days=Member(
                Whole(1, DAYS_MAX, null="without end"), "What was made may be kept in use."
            ),
            renewal=Member(Word(words.Renewal), "What happens at the end of training_days."),
            renewal_days=Member(
                Whole(1, DAYS_MAX),
                "How much longer each time.",
                beside=("renewal", (words.Renewal.AUTOMATIC, words.Renewal.OPTION)),
            ),
            renewals_max=Member(
                Whole(1, 1_000, null="no limit"),
                "How many times.",
                beside=("renewal", (words.Renewal.AUTOMATIC, words.Renewal.OPTION)),
            ),
            notice_days=Member(
                Whole(0, DAYS_MAX),
                "How long before the end a party says that it renews, or does not.",
                beside=("renewal", (words.Renewal.AUTOMATIC, words.Renewal.OPTION)),
            ),
            termination=Member(Words(words.Termination), "Why the license may end early."),
            sunset_days=Member(
                Whole(0, DAYS_MAX), "After an early end, how long use may still go on."
            ),
        ),
        "How long, in days of 24 hours from the start of the license.",
    ),
    "retention": Member(
        _section(
            raw_copies=_after(words.CopiesRule, "The works as delivered."),
            processed_copies=_after(words.CopiesRule, "Cleaned, split or tokenized copies."),
            embeddings=_after(words.MadeRule, "Embeddings and indexes."),
            eval_sets=_after(words.CopiesRule, "Sets for evaluation."),
            weights=_after(words.WeightsRule, "Trained models."),
            logs=_after(words.CopiesRule, "Logs of training and use."),
            certificate=Member(Word(words.Certificate), "Who signs for the deletion."),
        ),
        "What becomes of each thing when training_days end. Only the deletion of embeddings and"
        " models waits until use_days end.",
    ),
    "withdrawal": Member(
        _section(
            steps=Member(Objects(_WITHDRAWAL_STEP, most=5), "What the licensee does. Empty: none."),
            channels=Member(Words(words.Channel), "How the notice comes."),
            acknowledge_hours=Member(
                Whole(1, HOURS_MAX, null="no duty"), "How soon the licensee says that it has it."
            ),
        ),
        "What happens when one work is withdrawn during the license.",
    ),
    "exclusivity": Member(
        _section(
            kind=Member(Word(words.ExclusivityKind), "Whether others may hold the same scope."),
            days=Member(
                Whole(1, DAYS_MAX),
                "How long the first window is.",
                beside=("kind", (words.ExclusivityKind.FIRST_WINDOW,)),
            ),
            category=Member(
                Word(words.Category),
                "Among whom it is exclusive.",
                beside=("kind", (words.ExclusivityKind.CATEGORY_EXCLUSIVE,)),
            ),
        ),
        "What others may get.",
    ),
    "redistribution": Member(
        _section(
            works=Member(Word(words.WorksPassing), "Whether the works may be passed on."),
            sublicense=Member(Word(words.Sublicense), "Whether the permission may be passed on."),
            dataset_publication=Member(
                Word(words.Publication), "Whether the works may be published as a dataset."
            ),
        ),
        "What may be passed on.",
    ),
    "attribution": Member(
        _section(
            places=Member(Words(words.AttributionPlace), "Where the source is named."),
            licensee_may_name_licensor=Member(Word(words.Naming), "Whether it may, in public."),
            licensor_may_name_licensee=Member(Word(words.Naming), "Whether it may, in public."),
        ),
        "Who is named where.",
    ),
    "reporting": Member(
        _section(
            cadence=Member(Word(words.Cadence), "How often."),
            fields=Member(
                Words(words.ReportField, least=1),
                "What a report says.",
                beside=("cadence", tuple(word for word in words.Cadence if word != "none")),
            ),
            within_hours=Member(
                Whole(1, HOURS_MAX),
                "How soon after the event, the run or the period.",
                beside=("cadence", tuple(word for word in words.Cadence if word != "none")),
            ),
            attribution_provider=Member(
                Word(words.AttributionProvider), "Whether somebody else measures attribution."
            ),
        ),
        "What the licensee reports.",
    ),
    "audit": Member(
        _section(
            kind=Member(Word(words.AuditKind), "How the licensor may check."),
            times_per_year=Member(
                Whole(1, 366),
                "How often at most.",
                beside=("kind", tuple(word for word in words.AuditKind if word != "none")),
            ),
            lookback_days=Member(
                Whole(1, DAYS_MAX),
                "How far back.",
                beside=("kind", tuple(word for word in words.AuditKind if word != "none")),
            ),
            cost_shift_basis_points=Member(
                Whole(1, BASIS_POINTS, null="never"),
                "From which shortfall on the licensee pays for the audit.",
                beside=(
                    "kind",
                    (words.AuditKind.THIRD_PARTY, words.AuditKind.ON_SITE),
                ),
            ),
        ),
        "How the licensor may check.",
    ),
    "warranties": Member(
        _section(
            licensor=Member(Words(words.LicensorWarranty), "What the licensor promises."),
            licensee=Member(Words(words.LicenseeWarranty), "What the licensee promises."),
            disclaimers=Member(Words(words.Disclaimer), "What is not promised."),
            indemnity=Member(Word(words.Indemnity), "Who makes good what a broken promise costs."),
            cap=Member(Word(words.LiabilityCap), "How much at most."),
            cap_multiple=Member(
                Whole(2, 100),
                "How many times the fees.",
                beside=("cap", (words.LiabilityCap.FEES_MULTIPLE,)),
            ),
            chain_of_title=Member(Word(words.ChainOfTitle), "Whether papers of title are shown."),
        ),
        "What the parties promise each other.",
    ),
    "personal_data": Member(
        _section(
            kind=Member(Word(words.PersonalDataKind), "What the works say about living people."),
            lawful_basis=Member(Word(words.LawfulBasis), "Why such data may be processed."),
            reidentification=Member(
                Word(words.Reidentification), "Whether persons may be identified."
            ),
            erase_within_days=Member(
                Whole(0, DAYS_MAX, null="no duty"), "How soon a person's data are erased on demand."
            ),
        ),
        "People in the works.",
    ),
    "security": Member(
        _section(
            regions=Member(Territories(), "Where copies may be kept."),
            encryption=Member(Word(words.Encryption), "How copies are protected."),
            access_list=Member(Word(words.AccessList), "Whether a list of persons is kept."),
        ),
        "Where and how copies are kept.",
    ),
    "price": Member(
        _section(
            parts=Member(Objects(_PRICE_PART, least=1, most=20), "What the price is made of."),
            modifiers=Member(Words(words.PriceModifier), "What changes it."),
            settlement=Member(Word(words.Settlement), "When it is paid."),
            net_days=Member(
                Whole(0, 366),
                "How soon.",
                beside=("settlement", (words.Settlement.INVOICE, words.Settlement.IN_ARREARS)),
            ),
        ),
        "What the price is counted by. The offer says how much.",
    ),
    "split": Member(
        _section(
            rule=Member(Word(words.SplitRule), "How the licensor shares what it gets."),
            makers_basis_points=Member(
                Whole(1, BASIS_POINTS, null="not said here"),
                "The makers' share, in hundredths of a percent.",
                beside=("rule", tuple(word for word in words.SplitRule if word != "none")),
            ),
            on_dispute=Member(
                Word(words.OnDispute),
                "What becomes of a share that several people claim.",
                beside=("rule", tuple(word for word in words.SplitRule if word != "none")),
            ),
            deductions=Member(Words(words.Deduction), "What is taken off before."),
        ),
        "How the licensor shares the price with those who made the works.",
    ),
    "contract": Member(
        _section(
            governing_law=Member(Law(), "Whose law decides."),
            amendment=Member(Word(words.Amendment), "How the contract is changed."),
            most_favored=Member(Word(words.MostFavored), "Whether better terms reach a party."),
            confidentiality=Member(Word(words.Confidentiality), "What is secret."),
            documents=Member(
                Names(least=0, length=64, pattern="[0-9a-f]{64}", example="0" * 64),
                "SHA-256 of documents that belong to the contract, in hex.",
            ),
        ),
        "How the contract itself is run.",
    ),
}

ROOT = Object(
    {
        "permit": Member(Objects(PERMIT, least=1), "What is permitted. The n-th is clause 2.n."),
        "deny": Member(Objects(DENY), "What is not permitted. The n-th is clause 3.n."),
        **SECTIONS,
    },
    {},
)
