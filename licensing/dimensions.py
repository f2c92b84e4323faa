"""The words of typed terms, version 2, that are stored by name: plain enums, no Django.

Uses and territories, which are stored by number, stand in `vocabulary`. A word, once published,
never changes its meaning: terms that were signed with it are read for ever.
"""

from __future__ import annotations

from enum import StrEnum

# --- what a clause can constrain (dimensions 4, 5 and 7) --------------------------------------


class ModelsScope(StrEnum):
    """Which models a permission is for."""

    ANY_MODEL_OF_LICENSEE = "any_model_of_licensee"
    NAMED_MODEL = "named_model"
    NAMED_VERSION = "named_version"
    MODEL_FAMILY = "model_family"
    UP_TO_N_MODELS = "up_to_n_models"


class Release(StrEnum):
    """How a model reaches those who use it."""

    CLOSED_API = "closed_api"
    OPEN_WEIGHTS = "open_weights"
    INTERNAL_ONLY = "internal_only"


class Successors(StrEnum):
    """Whether a permission for named models reaches those that follow them."""

    NONE = "none"
    MINOR_VERSIONS = "minor_versions"
    FAMILY = "family"


class Field(StrEnum):
    """For what kind of purpose."""

    COMMERCIAL = "commercial"
    NON_COMMERCIAL = "non_commercial"
    EDUCATION = "education"
    GOVERNMENT = "government"
    PERSONAL = "personal"


class Sector(StrEnum):
    """Lines of business that a licensor may not want to serve."""

    ADS_TARGETING = "ads_targeting"
    SURVEILLANCE = "surveillance"
    LAW_ENFORCEMENT = "law_enforcement"
    COMPETITOR_PRODUCT = "competitor_product"
    CREDIT_INSURANCE = "credit_insurance"
    MILITARY = "military"


class Edge(StrEnum):
    """How one model, or data, comes from another model."""

    FINETUNE_OF = "finetune_of"
    DISTILLED_FROM = "distilled_from"
    MERGED_FROM = "merged_from"
    SYNTHETIC_FROM = "synthetic_from"
    EMBEDDING_OF = "embedding_of"


class FlowDown(StrEnum):
    """Whether such a thing may be made, and whether these terms follow it."""

    PERMIT = "permit"
    PERMIT_WITH_TERMS = "permit_with_terms"
    DENY = "deny"


# --- who and what (dimensions 1 and 2) --------------------------------------------------------


class Affiliates(StrEnum):
    """Which companies of the licensee's group share the license."""

    NONE = "none"
    CONTROLLED = "controlled"
    NAMED = "named"


class Contractors(StrEnum):
    """Whether people who work for the licensee under contract may act for it."""

    NO = "no"
    YES_BOUND = "yes_bound"


class Processors(StrEnum):
    """Who may hold copies for the licensee, such as a cloud."""

    NONE = "none"
    ANY_BOUND = "any_bound"
    NAMED = "named"


class Selection(StrEnum):
    """What decides which works are licensed. The agreement's snapshot always lists them."""

    SNAPSHOT = "snapshot"
    QUERY = "query"
    MANIFEST = "manifest"
    REPERTOIRE = "repertoire"


class Additions(StrEnum):
    """Whether works that come later are licensed too."""

    NONE = "none"
    UNTIL_TERM_END = "until_term_end"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"


class Modality(StrEnum):
    """What kind of content."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO_RECORDING = "audio_recording"
    COMPOSITION = "composition"
    VIDEO = "video"
    THREE_D = "3d"
    CODE = "code"
    TABULAR = "tabular"
    SPEECH = "speech"
    MULTIMODAL = "multimodal"
    METADATA_ONLY = "metadata_only"
    TRANSCRIPT = "transcript"


class RightsLayer(StrEnum):
    """Which right in a work is licensed. Several people may hold the layers of one work."""

    COPYRIGHT = "copyright_reproduction"
    MASTER = "master"
    PUBLISHING = "publishing"
    DATABASE = "database_right"
    LIKENESS = "likeness_voice"
    PERSONAL_DATA = "personal_data_consent"


# --- models and outputs (dimensions 4 and 6) --------------------------------------------------


class CustomerFinetunes(StrEnum):
    """Whether the licensee's customers may fine-tune what it trained."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not_allowed"


class WeightsTransfer(StrEnum):
    """Whether a trained model may be handed to somebody else."""

    NO = "no"
    ON_CHANGE_OF_CONTROL = "on_change_of_control"
    YES = "yes"


class OutputRule(StrEnum):
    """What outputs must or must not do."""

    NO_SEQUELS = "no_sequels"
    NO_STYLE_IMITATION = "no_style_imitation"
    NO_SUBSTITUTES = "no_substitutes"
    NO_LIKENESS = "no_likeness"
    NO_NAMED_AUTHOR_PROMPTS = "no_named_author_prompts"
    NO_REPUTATION_HARM = "no_reputation_harm"
    NO_EXTERNAL_SHARING = "no_external_sharing"
    SUMMARIES_ONLY = "summaries_only"
    ATTRIBUTION = "attribution_in_output"
    LINK_BACK = "link_back"
    CITATION = "citation_required"
    INDEMNITY = "indemnity_for_output"


# --- time, copies, withdrawal (dimensions 9, 10 and 11) ---------------------------------------


class Renewal(StrEnum):
    """What happens when the time to start training ends."""

    NONE = "none"
    AUTOMATIC = "automatic"
    OPTION = "option"
    BY_AGREEMENT = "by_agreement"


class Termination(StrEnum):
    """Why the license may end early."""

    BREACH = "breach"
    INSOLVENCY = "insolvency"
    CHANGE_OF_CONTROL = "change_of_control"
    CONVENIENCE_LICENSOR = "convenience_licensor"
    CONVENIENCE_LICENSEE = "convenience_licensee"
    LAW = "law"


class CopiesRule(StrEnum):
    """What becomes of copies when the time to start training ends."""

    DELETE = "delete_within"
    KEEP_FOR_AUDIT = "keep_for_audit"
    KEEP_FROZEN = "keep_frozen"
    NOT_MADE = "not_made"


class MadeRule(StrEnum):
    """What becomes of embeddings when the time to use them ends."""

    DELETE = "delete_within"
    KEEP_FROZEN = "keep_frozen"
    KEEP_AND_CONTINUE = "keep_and_continue"
    NOT_MADE = "not_made"


class WeightsRule(StrEnum):
    """What becomes of trained models."""

    DELETE = "delete_within"
    KEEP_FROZEN = "keep_frozen"
    KEEP_AND_CONTINUE = "keep_and_continue"
    RETRAIN_WITHOUT = "retrain_without"
    SUPPRESS = "suppress"
    NOT_MADE = "not_made"


class Certificate(StrEnum):
    """Who signs that the deletion was done."""

    NONE = "none"
    LICENSEE = "licensee"
    OFFICER = "officer"
    THIRD_PARTY = "third_party"


class WithdrawalStep(StrEnum):
    """What the licensee does when one work is withdrawn during the license."""

    EXCLUDE_FUTURE_RUNS = "exclude_future_runs"
    PURGE_COPIES = "purge_copies"
    SUPPRESS_OUTPUTS = "suppress_outputs"
    RETRAIN_AT_NEXT_MAJOR = "retrain_at_next_major"
    FULL_RETRAIN = "full_retrain"


class CostBearer(StrEnum):
    """Who pays for training a model again."""

    LICENSOR = "licensor"
    LICENSEE = "licensee"
    SHARED = "shared"


class Channel(StrEnum):
    """How a notice reaches the licensee."""

    PLATFORM = "platform"
    FEED = "feed"
    EMAIL = "email"


# --- what others may get (dimensions 12 and 13) -----------------------------------------------


class ExclusivityKind(StrEnum):
    """Whether others may hold the same scope at the same time."""

    NON_EXCLUSIVE = "non_exclusive"
    EXCLUSIVE = "exclusive"
    SOLE = "sole"
    CATEGORY_EXCLUSIVE = "category_exclusive"
    FIRST_WINDOW = "first_window"


class Category(StrEnum):
    """Among which licensees a category exclusivity holds."""

    AI_DEVELOPERS = "ai_developers"
    SEARCH_ENGINES = "search_engines"
    SAME_PRODUCT = "same_product"
    RIGHTS_AGENTS = "rights_agents"


class WorksPassing(StrEnum):
    """Whether the works may be passed on."""

    NONE = "none"
    TO_PROCESSORS = "to_processors"
    AS_PART_OF_PRODUCT = "as_part_of_product"
    DATASET_RESALE = "dataset_resale"


class Sublicense(StrEnum):
    """Whether the licensee may pass its permission on."""

    NONE = "none"
    AFFILIATES = "affiliates"
    CUSTOMERS = "customers"


class Publication(StrEnum):
    """Whether the licensee may publish the works as a dataset."""

    NO = "no"
    WITH_CONSENT = "with_consent"


# --- names, reports, audits (dimensions 14, 15 and 16) ----------------------------------------


class AttributionPlace(StrEnum):
    """Where the licensee names the source."""

    IN_MODEL_DOCS = "in_model_docs"
    IN_OUTPUT_LINK = "in_output_link"
    PER_ANSWER = "per_answer"


class Naming(StrEnum):
    """Whether one party may name the other in public."""

    YES = "yes"
    WITH_CONSENT = "with_consent"
    NO = "no"


class Cadence(StrEnum):
    """How often the licensee reports."""

    NONE = "none"
    PER_EVENT = "per_event"
    PER_TRAINING_RUN = "per_training_run"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


class ReportField(StrEnum):
    """What a report says."""

    WORKS_USED = "works_used"
    MODELS_TRAINED = "models_trained"
    TOKENS = "tokens"
    OUTPUTS_SHOWN = "outputs_shown"
    REVENUE = "revenue"
    WITHDRAWALS = "withdrawals"
    ATTRIBUTION = "attribution"


class AttributionProvider(StrEnum):
    """Whether somebody else must measure which works an output draws on."""

    NONE = "none"
    REQUIRED = "required"


class AuditKind(StrEnum):
    """How the licensor may check."""

    NONE = "none"
    SELF_CERTIFY = "self_certify"
    LOGS_ON_REQUEST = "logs_on_request"
    THIRD_PARTY = "third_party"
    ON_SITE = "on_site"


# --- promises, people, safety (dimensions 17, 18 and 19) --------------------------------------


class LicensorWarranty(StrEnum):
    """What the licensor promises."""

    OWNERSHIP = "ownership"
    AUTHORITY = "authority"
    NO_INFRINGEMENT = "no_infringement"
    PRIVACY_CONSENT = "privacy_consent"
    NO_MALWARE = "no_malware"
    LAWFUL_ACQUISITION = "lawful_acquisition"
    NO_CSAM = "no_csam"
    MODEL_RELEASES = "model_releases"


class LicenseeWarranty(StrEnum):
    """What the licensee promises."""

    LAWFUL_USE = "lawful_use"
    NO_PIRATE_SOURCES = "no_pirate_sources"
    NO_CIRCUMVENTION = "no_circumvention"


class Disclaimer(StrEnum):
    """What nobody promises."""

    AS_IS = "as_is"
    NO_FITNESS = "no_fitness"
    NO_AVAILABILITY = "no_availability"


class Indemnity(StrEnum):
    """Who makes good the other's loss where a promise is broken."""

    NONE = "none"
    LICENSOR = "licensor"
    LICENSEE = "licensee"
    MUTUAL = "mutual"


class LiabilityCap(StrEnum):
    """How much a party pays at most."""

    NONE = "none"
    FEES_PAID = "fees_paid"
    FEES_MULTIPLE = "fees_multiple"


class ChainOfTitle(StrEnum):
    """Whether the licensor shows from whom its rights come."""

    NONE = "none"
    ON_REQUEST = "on_request"
    ATTACHED = "attached"


class PersonalDataKind(StrEnum):
    """What the works say about living people."""

    NONE = "none"
    PSEUDONYMOUS = "pseudonymous"
    CONTAINS_PERSONAL_DATA = "contains_personal_data"
    SPECIAL_CATEGORY = "special_category"


class LawfulBasis(StrEnum):
    """Why such data may be processed."""

    NONE = "none"
    CONSENT = "consent"
    CONTRACT = "contract"
    LEGITIMATE_INTERESTS = "legitimate_interests"
    LEGAL_OBLIGATION = "legal_obligation"
    PUBLIC_INTEREST = "public_interest"
    RESEARCH = "research"


class Reidentification(StrEnum):
    """Whether the licensee may find out who a person is."""

    FORBIDDEN = "forbidden"
    ALLOWED = "allowed"


class Encryption(StrEnum):
    """How copies are protected."""

    NONE = "none"
    AT_REST = "at_rest"
    AT_REST_AND_IN_TRANSIT = "at_rest_and_in_transit"


class AccessList(StrEnum):
    """Whether the licensee keeps a list of who can reach the copies."""

    NONE = "none"
    KEPT = "kept"


# --- money and the contract (dimensions 20, 21 and 22) ----------------------------------------


class PriceModel(StrEnum):
    """What a part of the price is counted by. The amounts stand in the offer."""

    FREE = "free"
    FLAT_FEE = "flat_fee"
    ANNUAL_FEE = "annual_fee"
    SUBSCRIPTION = "subscription"
    PER_ITEM = "per_item"
    PER_TOKEN = "per_token"
    PER_MINUTE = "per_minute"
    PER_MEGAPIXEL = "per_megapixel"
    PER_GIGABYTE = "per_gigabyte"
    PER_TRAINING_RUN = "per_training_run"
    PER_EPOCH = "per_epoch"
    PER_MODEL = "per_model"
    PER_FETCH = "per_fetch"
    PER_ANSWER = "per_answer"
    PER_QUERY = "per_query"
    REVENUE_SHARE = "revenue_share"
    ATTRIBUTION_SHARE = "attribution_share"
    MINIMUM_GUARANTEE = "minimum_guarantee"
    ADVANCE_RECOUPABLE = "advance_recoupable"
    MILESTONES = "milestones"
    CREDITS_IN_KIND = "credits_in_kind"


class PriceModifier(StrEnum):
    """What changes the price of the parts."""

    CAP = "cap"
    VOLUME_TIERS = "volume_tiers"
    FRESHNESS_PREMIUM = "freshness_premium"
    CPI_ESCALATOR = "cpi_escalator"


class RevenueBase(StrEnum):
    """Of which money a share is taken."""

    GROSS = "gross"
    NET_INCOME = "net_income"
    PRODUCT_LINE = "product_line"


class Settlement(StrEnum):
    """When the price is paid."""

    NONE = "none"
    PREPAID = "prepaid"
    INVOICE = "invoice"
    SCHEDULE = "schedule"
    IN_ARREARS = "in_arrears"
    AUTO_DEBIT = "auto_debit"


class SplitRule(StrEnum):
    """How the licensor shares what it gets with those who made the works."""

    NONE = "none"
    FIXED = "fixed"
    EQUAL_PER_WORK = "equal_per_work"
    PRO_RATA_ITEMS = "pro_rata_items"
    PRO_RATA_TOKENS = "pro_rata_tokens"
    PRO_RATA_MINUTES = "pro_rata_minutes"
    METADATA_WEIGHTED = "metadata_weighted"
    DOWNLOADS = "downloads"
    KARMA = "karma"
    ATTRIBUTION = "attribution"


class OnDispute(StrEnum):
    """What becomes of a share while several people claim it."""

    HOLD = "hold"
    PAY = "pay"


class Deduction(StrEnum):
    """What is taken off before the makers are paid."""

    PLATFORM_FEE = "platform_fee"
    AGENT_FEE = "agent_fee"
    SOCIETY_FEE = "society_fee"
    WITHHOLDING_TAX = "withholding_tax"
    RECOUPMENT = "recoupment"


class Amendment(StrEnum):
    """How the contract is changed."""

    NEW_VERSION = "new_version"
    AMEND = "amend"
    REPLACE = "replace"


class MostFavored(StrEnum):
    """Whether the licensee gets what a later licensee gets on better terms, or the licensor."""

    NONE = "none"
    LICENSEE_PRICE = "licensee_price"
    LICENSEE_ALL = "licensee_all"
    LICENSOR_PRICE = "licensor_price"
    LICENSOR_ALL = "licensor_all"


class Confidentiality(StrEnum):
    """How much of the deal is secret."""

    PUBLIC = "public"
    PRICE = "price"
    TERMS = "terms"
    EXISTENCE = "existence"
