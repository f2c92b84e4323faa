"""Real deals, as far as they are public, encoded as typed terms.

Facts and sources: the press and the parties' own pages, named at each deal. Each fact that is
known of a deal names the place in the typed terms that says it, and what stands there; what no
field can say stands in `other`. What is not known of a deal is its template's, and is not counted.
Sums and counts stand in offers and snapshots. A settlement of past acts (Bartz) is no license, and
has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from licensing import terms_templates

# The hash of no real paper.
STATEMENT_OF_WORK = "0" * 64
PRETRAIN = ["pretrain", "continued_pretrain", "finetune", "instruction_tune"]
WORLD = {"training": ["*"], "availability": ["*"]}
ANY_MODEL = {
    "scope": "any_model_of_licensee",
    "release": ["closed_api", "internal_only"],
    "successors": "family",
}


def permit(uses: list[str], **changes: Any) -> dict[str, Any]:
    """A permission for the whole world, any model and any purpose, with some of it changed."""
    clause = {"uses": uses, "territories": WORLD, "models": ANY_MODEL}
    return {**clause, "fields": ["commercial", "non_commercial"], **changes}


@dataclass(frozen=True)
class Deal:
    """One deal: a template, the parts that differ, and where each known fact stands."""

    name: str
    source: str
    template: str
    # Part → the whole part, or a mapping that is laid over the template's.
    parts: Mapping[str, Any] = field(default_factory=dict)
    # Known fact → where it stands, and what says it (one of them, in a list), such as
    # "output.max_verbatim_words=200", "withdrawal.steps=[]". Nothing after "=": anything at all.
    says: Mapping[str, str] = field(default_factory=dict)

    def typed(self) -> dict[str, Any]:
        base = terms_templates.find(self.template).typed
        whole = {
            part: {**base[part], **value} if isinstance(value, dict) else value
            for part, value in self.parts.items()
        }
        return terms_templates.fill(self.template, whole)


DEALS = [
    Deal(
        "HarperCollins and Microsoft, 2024",
        "emarketer.com; authorsguild.org",
        "books-training",
        {
            "term": {"training_days": 1095, "access_days": 1095},
            "price": {"parts": [{"model": "per_item"}]},
            "split": {"rule": "fixed", "makers_basis_points": 5000},
            "subject": {"other": ["Only works whose author has agreed."]},
        },
        {
            "three years": "term.training_days=1095",
            "$5,000 a title": "price.parts[0].model=per_item",
            "half to the author": "split.makers_basis_points=5000",
            "at most 200 consecutive words": "output.max_verbatim_words=200",
            "at most 5 % of a work": "output.max_fraction_basis_points=500",
            "no pirate sites": "warranties.licensee=no_pirate_sources",
            "selected backlist titles only": "subject.selection=snapshot",
            "each author opts in": "subject.other",
        },
    ),
    Deal(
        "Wiley, 2024",
        "thebookseller.com",
        "scientific-articles",
        {
            "permit": [permit(PRETRAIN)],
            "deny": [{"uses": ["retrieve_rag", "ground_display"]}],
            "term": {
                "renewal": "option",
                "renewal_days": 365,
                "renewals_max": 1,
                "notice_days": 60,
            },
            "price": {"parts": [{"model": "flat_fee"}]},
            "output": {"rules": ["no_substitutes"]},
            "attribution": {"places": ["in_model_docs"]},
            "withdrawal": {"steps": [], "channels": ["platform"]},
            "subject": {"other": ["Mostly works that are three years old or older."]},
        },
        {
            "limited duration": "term.training_days=",
            "model training only": "permit[0].uses=pretrain",
            "non-exclusive": "exclusivity.kind=non_exclusive",
            "can be extended": "term.renewal=option",
            "a fixed fee": "price.parts[0].model=flat_fee",
            "no opt-out by authors": "withdrawal.steps=[]",
            "mostly three years old and older": "subject.other",
        },
    ),
    Deal(
        "Taylor & Francis and Microsoft, 2024",
        "thebookseller.com",
        "scientific-articles",
        {
            "term": {"training_days": 1095, "access_days": 1095},
            "price": {"parts": [{"model": "flat_fee"}, {"model": "annual_fee"}]},
        },
        {
            "non-exclusive": "exclusivity.kind=non_exclusive",
            "initial access for $10 million": "price.parts[0].model=flat_fee",
            "recurring payments": "price.parts[1].model=annual_fee",
            "three years": "term.training_days=1095",
            "verbatim limits": "output.max_verbatim_words=",
        },
    ),
    Deal(
        "News Corp and OpenAI, 2024",
        "cityam.com; techeconomy.ng",
        "news-archive",
        {
            "permit": [permit([*PRETRAIN, "retrieve_rag", "ground_display"])],
            "deny": [{"sectors": ["competitor_product"]}],
            "subject": {
                "additions": "daily",
                "only": ["consumer news brands"],
                "except": ["other businesses of News Corp"],
            },
            "term": {"training_days": 1826, "access_days": 1826, "use_days": 1826},
            "price": {"parts": [{"model": "annual_fee"}, {"model": "credits_in_kind"}]},
            "retention": {"embeddings": {"rule": "delete_within", "days": 30}},
        },
        {
            "five years": "term.training_days=1826",
            "cash": "price.parts[0].model=annual_fee",
            "credits": "price.parts[1].model=credits_in_kind",
            "training": "permit[0].uses=pretrain",
            "answering questions": "permit[0].uses=retrieve_rag",
            "current articles too": "subject.additions=daily",
            "consumer brands only": "subject.only=consumer news brands",
            "other businesses excluded": "subject.except=other businesses of News Corp",
        },
    ),
    Deal(
        "Dotdash Meredith and OpenAI, 2024",
        "Adweek, as relayed by heise.de",
        "news-answers",
        {
            "permit": [permit([*PRETRAIN, "retrieve_rag", "ground_display"])],
            "deny": [{"sectors": ["surveillance"]}],
            "output": {"rules": ["link_back"]},
            "term": {"use_days": 1826},
            "retention": {"weights": {"rule": "keep_and_continue"}},
            "price": {
                "parts": [
                    {"model": "annual_fee"},
                    {"model": "minimum_guarantee"},
                    {"model": "per_answer"},
                ],
                "settlement": "in_arrears",
                "net_days": 30,
            },
        },
        {
            "at least $16 million a year": "price.parts[1].model=minimum_guarantee",
            "variable by appearance": "price.parts[2].model=per_answer",
            "training": "permit[0].uses=pretrain",
            "display": "permit[0].uses=ground_display",
            "with links": "output.rules=link_back",
        },
    ),
    Deal(
        "The New York Times and Amazon, 2025",
        "voice.lapaas.com",
        "news-archive",
        {
            "permit": [permit([*PRETRAIN, "retrieve_rag", "ground_display"])],
            "deny": [{"sectors": ["surveillance"]}],
            "subject": {"except": ["Wirecutter"]},
            "term": {"use_days": 1826},
            "output": {"rules": ["summaries_only"]},
            "retention": {"embeddings": {"rule": "delete_within", "days": 30}},
        },
        {
            "$20 to 25 million a year": "price.parts[0].model=annual_fee",
            "training": "permit[0].uses=pretrain",
            "summaries": "output.rules=summaries_only",
            "Wirecutter excluded": "subject.except=Wirecutter",
        },
    ),
    Deal(
        "Reddit and Google, 2024",
        "the-decoder.com; redditinc.com",
        "social-posts",
        {
            "subject": {"additions": "quarterly"},
            "price": {"parts": [{"model": "annual_fee"}]},
        },
        {
            "continuous access and quarterly transfers": "subject.additions=quarterly",
            "$60 million a year": "price.parts[0].model=annual_fee",
            "no deleted content": "withdrawal.steps[1].do=purge_copies",
            "no re-identification": "personal_data.reidentification=forbidden",
            "no targeting of advertisements": "deny[0].sectors=ads_targeting",
            "no supply to law enforcement": "deny[0].sectors=law_enforcement",
            "no competing product": "deny[0].sectors=competitor_product",
            "a feed of deletions": "withdrawal.channels=feed",
        },
    ),
    Deal(
        "X, terms of its interface, 2025",
        "docs.x.com; opentermsarchive.org",
        "social-posts",
        {
            "permit": [permit(["evaluate", "search_index"], fields=["commercial"])],
            "deny": [{"uses": PRETRAIN}],
            "term": {"use_days": 365},
            "retention": {
                "embeddings": {"rule": "delete_within", "days": 30},
                "weights": {"rule": "not_made"},
            },
            "contract": {
                "other": ["$15,000 in damages for each million posts above a million a day."]
            },
        },
        {
            "no training of foundation or frontier models": "deny[0].uses=pretrain",
            "liquidated damages by volume": "contract.other",
            "no re-identification": "personal_data.reidentification=forbidden",
        },
    ),
    Deal(
        "Shutterstock, by reports of contributors",
        "microstockgroup.com",
        "images-training",
        {"split": {"rule": "pro_rata_items", "makers_basis_points": 2500}},
        {
            "20 to 30 % to contributors": "split.makers_basis_points=2500",
            "by the images that were licensed": "split.rule=pro_rata_items",
            "releases of persons": "warranties.licensor=model_releases",
        },
    ),
    Deal(
        "Photobucket, 2024",
        "diyphotography.net",
        "images-training",
        {"price": {"parts": [{"model": "per_item"}], "modifiers": ["volume_tiers"]}},
        {
            "5 cents to $1 a photo": "price.parts[0].model=per_item",
            "by volume": "price.modifiers=volume_tiers",
        },
    ),
    Deal(
        "Troveo, 2025",
        "New York Post, as relayed by manhattandaily.com",
        "video-training",
        {
            "exclusivity": {"kind": "exclusive"},
            "output": {"rules": ["no_likeness", "no_substitutes", "no_reputation_harm"]},
        },
        {
            "$0.75 to 3 a minute": "price.parts[0].model=per_minute",
            "exclusive for AI": "exclusivity.kind=exclusive",
            "no replica of persons": "output.rules=no_likeness",
            "no scene again": "output.rules=no_substitutes",
            "no harm to reputation": "output.rules=no_reputation_harm",
        },
    ),
    Deal(
        "STIM license, 2025",
        "stim.se",
        "music-training",
        {
            "permit": [
                permit(
                    ["pretrain", "finetune"],
                    models={
                        "scope": "named_version",
                        "names": ["Songbird@1.0"],
                        "release": ["closed_api"],
                        "successors": "none",
                    },
                )
            ],
            "price": {
                "parts": [
                    {"model": "flat_fee"},
                    {"model": "subscription"},
                    {"model": "revenue_share", "basis_points": 1000, "of": "gross"},
                ]
            },
            "redistribution": {
                "other": ["Subscription services may carry it; no TV, ads or film."]
            },
            "split": {"other": ["The fixed fee is shared in equal parts, one for each work."]},
        },
        {
            "one version of a model": "permit[0].models.scope=named_version",
            "training again is a new license": "permit[0].models.successors=none",
            "masters bundled": "subject.rights_layers=master",
            "no TV, advertisements or film": "redistribution.other",
            "the fixed fee in equal parts": "split.other",
            "a fixed fee": "price.parts[0].model=flat_fee",
            "a share of revenue": "price.parts[2].model=revenue_share",
            "split by attribution": "split.rule=attribution",
            "monthly analysis": "reporting.cadence=monthly",
            "attribution is measured by a provider": "reporting.attribution_provider=required",
        },
    ),
    Deal(
        "GEMA license model, 2024",
        "gema.de",
        "music-training",
        {
            "permit": [
                permit(
                    ["pretrain", "finetune"],
                    territories={"training": ["*"], "availability": ["DE"]},
                )
            ],
            "price": {"other": ["A second share falls due where its music is used later."]},
        },
        {
            "30 % of the model's net income": "price.parts[1].basis_points=3000",
            "net income": "price.parts[1].of=net_income",
            "a minimum": "price.parts[2].model=minimum_guarantee",
            "a second pillar downstream": "price.other",
            "in Germany": "permit[0].territories.availability=DE",
            "wherever it was trained": "permit[0].territories.training=*",
        },
    ),
    Deal(
        "Kobalt and ElevenLabs, 2025",
        "Music Business Worldwide, as relayed",
        "music-training",
        {
            "contract": {"most_favored": "licensor_price"},
            "split": {"other": ["Songs and recordings get about half each."]},
            "subject": {"other": ["Only songs whose writers have agreed."]},
        },
        {
            "opt-in by writers": "subject.other",
            "about half each to songs and recordings": "split.other",
            "most-favored terms": "contract.most_favored=licensor_price",
            "songs": "subject.rights_layers=publishing",
            "recordings": "subject.rights_layers=master",
        },
    ),
    Deal(
        "CCC annual copyright license, 2024",
        "copyright.com",
        "scientific-articles",
        {
            "permit": [
                permit(
                    ["retrieve_rag", "workplace_prompting"],
                    models={
                        "scope": "any_model_of_licensee",
                        "release": ["internal_only"],
                        "successors": "family",
                    },
                )
            ],
            "deny": [{"models": {"release": ["closed_api", "open_weights"]}}],
            "output": {"rules": ["no_external_sharing"]},
            "term": {
                "training_days": 365,
                "access_days": 365,
                "use_days": 365,
                "renewal": "automatic",
                "renewal_days": 365,
                "renewals_max": None,
                "notice_days": 30,
            },
            "price": {"parts": [{"model": "annual_fee"}]},
            "retention": {
                "embeddings": {"rule": "delete_within", "days": 30},
                "weights": {"rule": "not_made"},
            },
        },
        {
            "non-exclusive": "exclusivity.kind=non_exclusive",
            "annual": "term.renewal_days=365",
            "inside the company only": "permit[0].models.release=internal_only",
            "no external sharing of outputs": "output.rules=no_external_sharing",
            "no external products": "deny[0].models.release=closed_api",
        },
    ),
    Deal(
        "CLA generative AI license, 2025",
        "cla.co.uk",
        "books-training",
        {
            "permit": [
                permit(
                    [*PRETRAIN, "retrieve_rag"],
                    territories={"training": ["GB"], "availability": ["*"]},
                )
            ],
            "deny": [{"sectors": ["military"]}],
            "term": {"use_days": 1826},
            "retention": {"embeddings": {"rule": "delete_within", "days": 30}},
        },
        {
            "opt-in at the work": "subject.selection=snapshot",
            "train and fine-tune": "permit[0].uses=finetune",
            "retrieval": "permit[0].uses=retrieve_rag",
            "text": "subject.modalities=text",
            "the United Kingdom": "permit[0].territories.training=GB",
        },
    ),
    Deal(
        "Protege Media, terms of 2025",
        "withprotege.ai",
        "video-training",
        {
            "parties": {"processors": "none"},
            "redistribution": {"works": "none", "sublicense": "none"},
            "output": {"max_verbatim_words": 0, "rules": ["no_sequels"]},
            "models": {"weights_transfer": "no"},
            "contract": {"documents": [STATEMENT_OF_WORK]},
        },
        {
            "non-exclusive": "exclusivity.kind=non_exclusive",
            "not transferable": "models.weights_transfer=no",
            "no sublicense": "redistribution.sublicense=none",
            "no sequels": "output.rules=no_sequels",
            "nothing verbatim": "output.max_verbatim_words=0",
            "the use cases of a statement of work": f"contract.documents={STATEMENT_OF_WORK}",
            "models of the customer": "permit[0].models.scope=any_model_of_licensee",
        },
    ),
    Deal(
        "ProRata, 2025",
        "pressgazette.co.uk; presenc.ai",
        "news-answers",
        {
            "price": {
                "parts": [{"model": "attribution_share", "basis_points": 5000, "of": "gross"}],
                "settlement": "in_arrears",
                "net_days": 30,
            },
        },
        {
            "half of the revenue": "price.parts[0].basis_points=5000",
            "by the share in each answer": "price.parts[0].model=attribution_share",
            "retrieval only": "permit[0].uses=retrieve_rag",
            "no training": "deny[0].uses=pretrain",
        },
    ),
    Deal(
        "Created by Humans, 2025",
        "createdbyhumans.ai; authorsguild.org",
        "books-training",
        {
            "permit": [permit([*PRETRAIN, "embed", "retrieve_rag"])],
            "deny": [{"sectors": ["military"]}],
            "term": {"use_days": 1826},
            "retention": {"embeddings": {"rule": "delete_within", "days": 30}},
            "split": {
                "deductions": ["platform_fee", "agent_fee"],
                "other": ["The guild takes 1 % of the fees that it brings."],
            },
        },
        {
            "training": "permit[0].uses=pretrain",
            "reference": "permit[0].uses=retrieve_rag",
            "the fee of a guild": "split.deductions=agent_fee",
            "1 % of the fees that it brings": "split.other",
        },
    ),
]
