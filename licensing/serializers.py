"""Bodies that come in and resources that go out, for snapshots, terms, offers and grants."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Case, F, TextField, Value, When
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from licensing import asked_models, clauses, contradictions, prices, settree, terms, terms_schema
from licensing.duties import duties
from licensing.ledger import log
from licensing.models import Coverage, Grant, GrantEvent, Offer, Period, Snapshot, Terms
from licensing.vocabulary import (
    Attribution,
    Exclusivity,
    ModelScope,
    Redistribution,
    Use,
    WeightsOnExpiry,
)
from marketplace import json_sql
from marketplace.http import (
    Body,
    ObjectField,
    OnceEach,
    Resource,
    StrictCharField,
    StrictIntegerField,
    TypeIDSerializerField,
)
from marketplace.metadata_views import MetadataField, NotesField
from marketplace.serializers import HexField

# --- snapshots --------------------------------------------------------------------------------


class TotalsSerializer(serializers.Serializer[Any]):
    """What a snapshot adds up to."""

    works = serializers.IntegerField()
    bytes = serializers.IntegerField()
    pages = serializers.IntegerField(required=False, help_text="There where each work says it.")
    pixels = serializers.IntegerField(required=False, help_text="Likewise.")
    seconds = serializers.IntegerField(required=False, help_text="Likewise.")
    tokens = serializers.IntegerField(required=False, help_text="Likewise.")
    words = serializers.IntegerField(required=False, help_text="Likewise.")

    def as_sql_of(self, path: str) -> Any:
        return F(f"{path}{self.source}")


class SnapshotSerializer(Resource[Snapshot]):
    """A frozen version of a collection: the root of a set tree over its works."""

    object_name = "snapshot"
    tree = ObjectField(name=settree.TREE, help_text="How the root is made, and its version.")
    type = ObjectField(name="snapshot")
    root = HexField(read_only=True)  # type: ignore[assignment]
    totals = TotalsSerializer(read_only=True)
    citation = HexField(
        read_only=True,
        help_text=(
            "SHA-256 over the canonical JSON of tree, type, size, root and totals. Cite this, never"
            " the root alone."
        ),
    )

    class Meta:
        model = Snapshot
        fields = (
            "id",
            "collection",
            "number",
            "tree",
            "type",
            "size",
            "root",
            "totals",
            "citation",
            "finalized_at",
        )
        read_only_fields = fields


# --- terms ------------------------------------------------------------------------------------
# The serializers of typed terms document them and check nothing: `terms.parse` does, and names
# what is wrong by its place.

_USES = serializers.ListField(
    child=serializers.ChoiceField(choices=[use.value for use in Use]),
    min_length=1,
    max_length=terms_schema.CLAUSES_MAX,
)


# The stubs do not know that a list of serializers takes a length.
_CLAUSES: dict[str, Any] = {"max_length": terms_schema.CLAUSES_MAX}
_TIERS: dict[str, Any] = {"max_length": prices.TIERS_MAX}
_MILESTONES: dict[str, Any] = {"max_length": prices.MILESTONES_MAX}


class PermitClauseSerializer(serializers.Serializer[Any]):
    """What is permitted. The n-th is clause 2.n of the text."""

    uses = _USES
    territories = serializers.ListField(
        child=serializers.CharField(max_length=2),
        min_length=1,
        max_length=terms_schema.TERRITORIES_MAX,
        help_text="ISO 3166-1 alpha-2 codes, “EU”, or “*” for the whole world.",
    )
    model_scope = serializers.ChoiceField(choices=[scope.value for scope in ModelScope])
    model_name = serializers.CharField(
        required=False,
        max_length=terms_schema.NAME_LENGTH_MAX,
        help_text="With “named_model” only.",
    )


class DenyClauseSerializer(serializers.Serializer[Any]):
    """What is not permitted anywhere. The n-th is clause 3.n of the text."""

    uses = _USES


class TermSerializer(serializers.Serializer[Any]):
    """How long, in days of 24 hours from the start of the license."""

    access_days = serializers.IntegerField(help_text="Works may be fetched. Up to training_days.")
    training_days = serializers.IntegerField(help_text="Training may start.")
    use_days = serializers.IntegerField(
        allow_null=True, help_text="What was made may be used. Null: without an end."
    )


class OutputSerializer(serializers.Serializer[Any]):
    """What outputs may repeat."""

    max_verbatim_words = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")


class OnExpirySerializer(serializers.Serializer[Any]):
    """What happens to copies and models when the license ends."""

    raw_copies_delete_within_days = serializers.IntegerField()
    weights = serializers.ChoiceField(choices=[word.value for word in WeightsOnExpiry])


class TypedTerms1Serializer(serializers.Serializer[Any]):
    """License conditions, version 1. Every field is required: a contract has no silent defaults."""

    v = serializers.ChoiceField(choices=[1])
    permit = PermitClauseSerializer(many=True, **_CLAUSES)
    deny = DenyClauseSerializer(many=True, **_CLAUSES)
    exclusivity = serializers.ChoiceField(choices=[word.value for word in Exclusivity])
    term = TermSerializer()
    output = OutputSerializer()
    attribution = serializers.ChoiceField(choices=[word.value for word in Attribution])
    redistribution = serializers.ChoiceField(choices=[word.value for word in Redistribution])
    on_expiry = OnExpirySerializer()


class TypedField(serializers.JSONField):
    """Typed terms as they came, of either version. Their schema: `api_docs.schema`."""


class WarningSerializer(serializers.Serializer[Any]):
    """What is odd in terms, though it contradicts nothing. Act on `code`."""

    code = serializers.CharField()
    param = serializers.CharField(help_text="The place, such as `typed.permit[0].uses[1]`.")
    text = serializers.CharField()


class TermsSerializer(OnceEach, Resource[Terms]):
    """A version of license conditions: typed, and the exact text that they render to."""

    object_name = "terms"
    typed = serializers.SerializerMethodField()
    typed_sha256 = HexField(
        read_only=True, help_text="Of the typed conditions' canonical JSON (RFC 8785)."
    )
    text_url = serializers.SerializerMethodField(help_text="The exact bytes of the text.")
    text_sha256 = HexField(read_only=True, help_text="Of those bytes.")
    warnings = serializers.SerializerMethodField()
    duties = serializers.SerializerMethodField(
        help_text="What a licensee must keep to: `type`, `clause`, and parameters by type."
    )
    needs_human = serializers.SerializerMethodField(
        help_text="Some of it stands in free words: no quote without the seller's approval."
    )

    class Meta:
        model = Terms
        fields = (
            "id",
            "organization",
            "name",
            "version",
            "typed",
            "typed_sha256",
            "text",
            "text_url",
            "text_sha256",
            "template_version",
            "warnings",
            "duties",
            "needs_human",
            "created_at",
            "published_at",
        )
        read_only_fields = fields

    @extend_schema_field(TypedField)
    def get_typed(self, row: Terms) -> Any:
        return _read(row.typed).typed

    @extend_schema_field(WarningSerializer(many=True))
    def get_warnings(self, row: Terms) -> Any:
        return _read(row.typed).warnings

    def get_duties(self, row: Terms) -> list[dict[str, Any]]:
        return _read(row.typed).duties

    def get_needs_human(self, row: Terms) -> bool:
        return _read(row.typed).needs_human

    def get_text_url(self, row: Terms) -> str:
        return f"{settings.BASE_URL}/v1/terms/{row.pk}/text"


class _Read(NamedTuple):
    """What follows from typed terms."""

    typed: Any
    warnings: list[dict[str, Any]]
    duties: list[dict[str, Any]]
    needs_human: bool


@lru_cache(1_000)
def _read(typed: str) -> _Read:
    """Read once for all listings under the same terms; what is given out is never changed."""
    said = json.loads(typed)
    warned = [each._asdict() for each in contradictions.warnings(said)]
    return _Read(said, warned, duties(said), terms.parse(said).needs_human)


class DraftTerms(Body):
    """New terms, or the next version of those that have this name."""

    name = StrictCharField(max_length=200)
    typed = TypedField(required=False)
    template = StrictCharField(
        max_length=100,
        required=False,
        help_text="Instead of `typed`: the name of a template, such as “books-training”.",
    )
    changes = serializers.DictField(
        required=False,
        help_text="Parts of typed terms (`term`, `permit`, …) that replace the template's, whole.",
    )


# --- offers and listings ----------------------------------------------------------------------


class RightsSerializer(serializers.Serializer[Any]):
    """Why the seller may license the works, as attested."""

    basis = serializers.CharField(source="rights_basis")
    license_name = serializers.CharField(
        source="rights_license", help_text="Under the basis “open_license”: which."
    )
    statement = serializers.CharField(source="rights_statement")


_UNITS = [unit.value for unit in prices.Unit]


class RateSerializer(serializers.Serializer[Any]):
    """So much for so many: 250 for each 1,000,000. Integers, so that nothing is lost."""

    amount_minor = serializers.IntegerField()
    per = serializers.IntegerField()


class TierSerializer(RateSerializer):
    """What the units after the tier before, up to and including `up_to`, cost."""

    up_to = serializers.IntegerField()


class MilestoneSerializer(serializers.Serializer[Any]):
    """A sum that falls due once a goal is reached."""

    goal = serializers.CharField(max_length=prices.GOAL_MAX)
    amount_minor = serializers.IntegerField()


class PriceSerializer(serializers.Serializer[Any]):
    """A typed price. Which fields it has, its model says; `prices.parse` checks them.

    `free`; `flat` (amount_minor); `per_unit` (unit, rate; tiers, minimum_minor, cap_minor);
    `subscription` (amount_minor, every); `metered` (as per_unit, and every); `milestones`
    (milestones).
    """

    model = serializers.ChoiceField(choices=[model.value for model in prices.Model])
    amount_minor = serializers.IntegerField(required=False)
    unit = serializers.ChoiceField(
        choices=_UNITS, required=False, help_text="Counted by the snapshot's totals."
    )
    rate = RateSerializer(required=False, help_text="For each unit above the last tier.")
    tiers = TierSerializer(many=True, required=False, help_text="Graduated, ascending.", **_TIERS)
    minimum_minor = serializers.IntegerField(required=False, allow_null=True)
    cap_minor = serializers.IntegerField(required=False, allow_null=True)
    every = serializers.ChoiceField(choices=[every.value for every in prices.Every], required=False)
    milestones = MilestoneSerializer(many=True, required=False, **_MILESTONES)


@extend_schema_field(PriceSerializer)
class PriceField(serializers.JSONField):
    """A typed price as it came."""


class OfferPriceField(serializers.Field[Any, Any, Any, Any]):
    """An offer's typed price, also of one that was made before prices had models."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Offer) -> Any:
        return prices.load(value.price, value.price_minor).as_dict()

    def as_sql_of(self, path: str) -> Any:
        # As `prices.flat` has it.
        price, amount = f"{path}price", f"{path}price_minor"
        free, flat = (
            Cast(Value(each.value), TextField()) for each in (prices.Model.FREE, prices.Model.FLAT)
        )
        return Case(
            When(**{f"{price}__isnull": False}, then=json_sql.Json(F(price))),
            When(**{amount: 0}, then=json_sql.Object({"model": free})),
            default=json_sql.Object({"model": flat, "amount_minor": F(amount)}),
        )


class InvoiceDaysField(serializers.ListField):
    """Within how many days an invoice may be paid."""

    def __init__(self, **options: Any) -> None:
        options.setdefault(
            "help_text", "It can be bought on an invoice that is due in so many days. Empty: not."
        )
        super().__init__(child=StrictIntegerField(), **options)

    def as_sql_of(self, path: str) -> Any:
        return F(f"{path}{self.source}")


@extend_schema_field(RightsSerializer(allow_null=True))
class OfferRightsField(serializers.Field[Any, Any, Any, Any]):
    """What a seller attested for an offer, where it is attested."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Offer) -> Any:
        return RightsSerializer(value).data if value.rights_basis else None

    def as_sql_of(self, path: str) -> Any:
        shown = json_sql.written(RightsSerializer(), Offer, path)
        return Case(When(**{f"{path}rights_basis": ""}, then=Value(None)), default=shown)


class OfferSerializer(Resource[Offer]):
    """A snapshot under terms at a price, to everybody or to one organization."""

    object_name = "offer"
    price = extend_schema_field(PriceSerializer)(OfferPriceField)()
    invoice_days = InvoiceDaysField(read_only=True)
    rights = OfferRightsField(
        help_text="What buyers read about your rights. Null until the offer is published."
    )
    metadata = MetadataField()

    class Meta:
        model = Offer
        fields = (
            "id",
            "collection",
            "snapshot",
            "terms",
            "audience",
            "state",
            "price",
            "state_reason",
            "price_minor",
            "currency",
            "access",
            "invoice_days",
            "grants_on",
            "rights",
            "opens_at",
            "closes_at",
            "metadata",
            "created_at",
            "submitted_at",
            "published_at",
            "suspended_at",
            "withdrawn_at",
        )
        read_only_fields = fields


class MakeOffer(Body):
    """What to offer, under which terms, at which price, to whom and when."""

    snapshot = TypeIDSerializerField(prefix="snp")
    terms = TypeIDSerializerField(prefix="trm")
    price_minor = StrictIntegerField(
        required=False,
        help_text="A flat price in the currency's minor unit; 0 is free. Or give `price`.",
    )
    price = PriceField(required=False)
    currency = StrictCharField(max_length=3, help_text="ISO 4217, such as “USD”.")
    access = serializers.ChoiceField(
        choices=Offer.Access.choices,
        required=False,
        help_text="With “on_request”, only whom you approved may buy. Without it: “open”.",
    )
    audience = TypeIDSerializerField(
        prefix="org", required=False, allow_null=True, help_text="Only this organization may buy."
    )
    invoice_days = InvoiceDaysField(
        required=False,
        max_length=3,
        help_text="It can be bought on an invoice that is due in so many days: 14, 30 or 60.",
    )
    grants_on = serializers.ChoiceField(
        choices=Offer.GrantsOn.choices,
        required=False,
        help_text=(
            "When a license that is bought on invoice begins: with the “payment” (without it), or"
            " with the “issue” of the invoice, before it is paid."
        ),
    )
    opens_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="On sale from then on. Without it: at once."
    )
    closes_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="On sale until then. Without it: no end."
    )
    metadata = NotesField(required=False)


# --- what is asked for ------------------------------------------------------------------------


class AskedModelBody(Body):
    """Which model the works are wanted for."""

    name = StrictCharField(max_length=asked_models.NAME_LENGTH_MAX)
    version = StrictCharField(
        max_length=asked_models.VERSION_LENGTH_MAX, required=False, allow_blank=True
    )
    release = serializers.ChoiceField(
        choices=clauses.RELEASES, help_text=gettext_lazy("How the model is given out.")
    )


# --- grants -----------------------------------------------------------------------------------


class ScopeModelSerializer(serializers.Serializer[Any]):
    """The one model that a license is for."""

    name = serializers.CharField()
    version = serializers.CharField(required=False, help_text="Left out: every version of it.")
    release = serializers.ChoiceField(choices=clauses.RELEASES)


class ScopeSerializer(serializers.Serializer[Any]):
    """What a license is for, and where."""

    uses = serializers.ListField(child=serializers.CharField())
    territories = serializers.ListField(child=serializers.CharField())
    model = ScopeModelSerializer(
        required=False, help_text="Left out: for the models that the terms allow."
    )

    def as_sql_of(self, path: str) -> Any:
        # A quote keeps the start there, which is shown among its windows.
        return json_sql.Without(F(f"{path}{self.source}"), member="starts_at")


class WindowSerializer(serializers.Serializer[Any]):
    """A half-open interval of time."""

    starts_at = serializers.DateTimeField(source="lower")
    ends_at = serializers.DateTimeField(
        source="upper", allow_null=True, help_text="Not included. Null: without an end."
    )


class GrantWindowSerializer(WindowSerializer):
    """A period's window; null where it has none."""

    def to_representation(self, instance: Any) -> Any:
        return None if instance.isempty else super().to_representation(instance)

    def as_sql_of(self, path: str) -> Any:
        window = f"{path}{self.source}"
        ends = {"starts_at": F(f"{window}__startswith"), "ends_at": F(f"{window}__endswith")}
        shown = json_sql.Object({name: json_sql.Instant(end) for name, end in ends.items()})
        return Case(When(**{f"{window}__isempty": True}, then=Value(None)), default=shown)


class GrantWindowsSerializer(serializers.Serializer[Any]):
    """When a license allows what. Null in a later period that has no such window of its own."""

    access = GrantWindowSerializer(
        source="access_window", allow_null=True, help_text="Works may be fetched."
    )
    training = GrantWindowSerializer(
        source="training_window", allow_null=True, help_text="Training may start."
    )
    use = GrantWindowSerializer(
        source="use_window", allow_null=True, help_text="What was made may be used."
    )


class PriceBasisSerializer(PriceSerializer):
    """What the price was for: the typed price, and what it came to."""

    amount_minor = serializers.IntegerField(help_text="What it came to, before tax.")
    currency = serializers.CharField()
    quantity = serializers.IntegerField(required=False, help_text="How many units there were.")


@extend_schema_field(PriceBasisSerializer)
class PriceBasisField(serializers.JSONField):
    """A price basis as it was recorded."""


class AgreementSerializer(serializers.Serializer[Any]):
    """The contract, and who accepted it."""

    id = TypeIDSerializerField(prefix="agr", source="pk")
    controlling = serializers.ChoiceField(
        choices=["typed", "document"], help_text="Which text controls where the two differ."
    )
    document = serializers.CharField(help_text="The whole contract, exactly as it was accepted.")
    document_sha256 = HexField(help_text="Of the document's UTF-8 bytes.")
    accepted_by_name = serializers.CharField()
    accepted_by_title = serializers.CharField()
    accepted_at = serializers.DateTimeField()


class PeriodSerializer(Resource[Period]):
    """What a grant permits, and when: the first period, a renewal, or an amendment.

    Of those whose window holds an instant, the one with the highest number counts.
    """

    object_name = "period"
    scope = ScopeSerializer(read_only=True)
    windows = GrantWindowsSerializer(source="*", read_only=True)
    price_basis = PriceBasisField(read_only=True)
    agreement = AgreementSerializer(
        read_only=True,
        allow_null=True,
        help_text="What was accepted for it; null for what the grant's own contract says.",
    )
    recorded_at = serializers.DateTimeField(source="created_at", read_only=True)

    class Meta:
        model = Period
        fields = (
            "id",
            "number",
            "kind",
            "terms",
            "scope",
            "windows",
            "price_basis",
            "agreement",
            "reference",
            "recorded_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "reference": {"help_text": "What led to a renewal or an amendment; empty of the first."}
        }


class CoverageSerializer(Resource[Coverage]):
    """A snapshot that a grant covers."""

    object_name = "coverage"
    citation = HexField(source="snapshot.citation", read_only=True)
    size = serializers.IntegerField(source="snapshot.size", read_only=True)

    class Meta:
        model = Coverage
        fields = ("snapshot", "citation", "size", "effective_from")
        read_only_fields = fields


class GrantLedgerSerializer(serializers.Serializer[Any]):
    """Where the grant is recorded."""

    log = serializers.ChoiceField(choices=list(log.LOGS))
    grant_ref = serializers.CharField(help_text="Names the grant in the public log.")
    index = serializers.IntegerField(
        allow_null=True, help_text="The entry's place; null until the log has integrated it."
    )


@extend_schema_field(GrantLedgerSerializer)
class GrantLedgerField(serializers.Field[Any, Any, Any, Any]):
    """Where a grant is recorded."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Grant) -> Any:
        leaf = getattr(value.issued_entry, "leaf", None)
        return {
            "log": value.issued_entry.log,
            "grant_ref": bytes(value.grant_ref).hex(),
            "index": None if leaf is None else leaf.index,
        }

    def as_sql_of(self, path: str) -> Any:
        return json_sql.Object(
            {
                "log": F(f"{path}issued_entry__log"),
                "grant_ref": json_sql.Hex(F(f"{path}grant_ref")),
                "index": F(f"{path}issued_entry__leaf__index"),
            }
        )


class GrantEventDutySerializer(serializers.Serializer[Any]):
    """What the licensee has to do, and within how many days of the event's effect."""

    do = serializers.CharField()
    within_days = serializers.IntegerField()

    class Meta:
        list_serializer_class = json_sql.ListAsKept


class GrantEventSerializer(Resource[GrantEvent]):
    """That a grant was suspended, reinstated, revoked, or has expired."""

    object_name = "grant_event"
    recorded_at = serializers.DateTimeField(source="created_at", read_only=True)
    duties = GrantEventDutySerializer(many=True, read_only=True)

    class Meta:
        model = GrantEvent
        fields = (
            "id",
            "number",
            "kind",
            "effective_at",
            "effect",
            "by",
            "cause",
            "reference",
            "reason",
            "duties",
            "recorded_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "number": {"help_text": "Its entry's `seq` in the grant's chain."},
            "effective_at": {
                "help_text": "Counts from then on. Of those in effect, the last one counts."
            },
            "effect": {"help_text": "Of a revocation; empty of others."},
        }


class GrantSerializer(Resource[Grant]):
    """A license: who may do what with which works, and the contract and record of it."""

    object_name = "grant"
    reference = serializers.CharField(
        source="agreement.made_by", read_only=True, help_text="The order that led to it."
    )
    agreement = AgreementSerializer(read_only=True)
    periods = PeriodSerializer(many=True, read_only=True)
    coverage = CoverageSerializer(many=True, read_only=True)
    events = GrantEventSerializer(many=True, read_only=True)
    ledger = GrantLedgerField()
    metadata = MetadataField()

    class Meta:
        model = Grant
        fields = (
            "id",
            "livemode",
            "licensor",
            "licensee",
            "status",
            "reference",
            "agreement",
            "periods",
            "coverage",
            "events",
            "ledger",
            "metadata",
            "issued_at",
            "ended_at",
        )
        read_only_fields = fields
