"""Bodies of royalties, in and out."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from marketplace.http import (
    Body,
    ObjectField,
    Resource,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TypeIDSerializerField,
)
from payments.models import (
    RoyaltyAdvance,
    RoyaltyAllocation,
    RoyaltyPayment,
    RoyaltyPayout,
    RoyaltyRule,
)

_MICRO = _("In millionths of a minor unit.")

# --- in ---------------------------------------------------------------------------------------


class PartBody(Body):
    """One contributor's fixed part."""

    contributor = TypeIDSerializerField(prefix="ctr")
    parts = StrictIntegerField(min_value=1)


class RuleBody(Body):
    """Who gets how much of a collection's sales."""

    collection = TypeIDSerializerField(prefix="col")
    basis_points = StrictIntegerField(
        min_value=0,
        max_value=10_000,
        help_text=_("Of what is yours after the market's fee: hundredths of a percent."),
    )
    method = serializers.ChoiceField(choices=RoyaltyRule.Method.choices)
    unit = serializers.ChoiceField(
        choices=RoyaltyRule.UNITS, required=False, help_text=_("With “pro_rata”.")
    )
    parts = serializers.ListField(
        child=PartBody(), required=False, max_length=1_000, help_text=_("With “fixed”.")
    )
    minimum_minor = serializers.DictField(
        child=StrictIntegerField(min_value=1),
        required=False,
        help_text=_("Such as {“USD”: 1000}: less than this waits for more."),
    )
    holds_while_disputed = StrictBooleanField(
        required=False, help_text=_("What a disputed sale brought waits. Without it: true.")
    )


class SetRule(RuleBody):
    """A rule, from now on or from a later instant."""

    effective_from = serializers.DateTimeField(
        required=False, help_text=_("Without it: now. Never in the past.")
    )


class PreviewRule(RuleBody):
    """A rule, and a price to try it with."""

    price_minor = StrictIntegerField(min_value=0, help_text=_("Before tax."))
    currency = StrictCharField(max_length=3)


class PreviewPayout(Body):
    """Of which currency."""

    currency = StrictCharField(max_length=3)


class ConfirmPayout(PreviewPayout):
    """The figures of a preview."""

    contributors = StrictIntegerField(min_value=1)
    paid_minor = StrictIntegerField(min_value=0)
    recouped_minor = StrictIntegerField(min_value=0)


class PaidOutside(Body):
    """That you paid a contributor yourself."""

    reference = StrictCharField(max_length=200, help_text=_("Your own word for the payment."))


class RecordAdvance(PaidOutside):
    """What you paid to a contributor ahead of royalties."""

    amount_minor = StrictIntegerField(min_value=1)
    currency = StrictCharField(max_length=3)


# --- out --------------------------------------------------------------------------------------


class PartSerializer(serializers.Serializer[Any]):
    """One contributor's fixed part."""

    contributor = TypeIDSerializerField(prefix="ctr")
    parts = serializers.IntegerField()


class RoyaltyRuleSerializer(Resource[RoyaltyRule]):
    """One version of who gets how much of a collection's sales."""

    object_name = "royalty_rule"
    unit = serializers.SerializerMethodField(help_text=_("Null unless the method is “pro_rata”."))
    parts = PartSerializer(many=True, read_only=True)
    minimum_minor = serializers.DictField(child=serializers.IntegerField(), read_only=True)

    class Meta:
        model = RoyaltyRule
        fields = [
            "id",
            "collection",
            "version",
            "basis_points",
            "method",
            "unit",
            "parts",
            "minimum_minor",
            "holds_while_disputed",
            "effective_from",
            "created_at",
        ]
        read_only_fields = fields

    def build_relational_field(self, field_name: str, relation_info: Any) -> Any:
        if field_name == "collection":
            return TypeIDSerializerField, {
                "prefix": "col",
                "read_only": True,
                "source": "collection_id",
            }
        return super().build_relational_field(field_name, relation_info)

    def get_unit(self, rule: RoyaltyRule) -> str | None:
        return rule.unit or None


class PreviewedShareSerializer(serializers.Serializer[Any]):
    """What one contributor would get at least, and for what weight."""

    contributor = TypeIDSerializerField(prefix="ctr")
    weight = serializers.IntegerField()
    amount_micro = serializers.IntegerField(help_text=_MICRO)


class RoyaltyPreviewSerializer(serializers.Serializer[Any]):
    """What a sale would bring to the contributors of a collection as it is now."""

    object = ObjectField(name="royalty_preview")
    fee_minor = serializers.IntegerField(help_text=_("The market's."))
    pool_minor = serializers.IntegerField(help_text=_("The contributors'."))
    recouped_minor = serializers.IntegerField(
        help_text=_("Of the pool: it pays advances on the collection back.")
    )
    seller_minor = serializers.IntegerField(help_text=_("Yours."))
    currency = serializers.CharField()
    contributors = serializers.IntegerField()
    total_weight = serializers.IntegerField()
    unallocated_micro = serializers.IntegerField(
        help_text=_(
            "Of works whose contributor nobody knows, and fixed parts of who opted out. In"
            " millionths of a minor unit."
        )
    )
    largest = PreviewedShareSerializer(many=True)


class RoyaltyAllocationSerializer(Resource[RoyaltyAllocation]):
    """A pool shared out among contributors: of one sale, or taken back of it."""

    object_name = "royalty_allocation"
    order = TypeIDSerializerField(prefix="ord", source="order_id", read_only=True)
    cause = serializers.SerializerMethodField(
        help_text=_("The refund or dispute that it follows from. Null: the sale itself.")
    )
    excluded_works = serializers.IntegerField(source="base.excluded", default=None, allow_null=True)
    sharers = serializers.IntegerField(source="base.sharers", default=None, allow_null=True)
    total_weight = serializers.IntegerField(
        source="base.total_weight", default=None, allow_null=True
    )

    class Meta:
        model = RoyaltyAllocation
        fields = [
            "id",
            "livemode",
            "order",
            "cause",
            "rule",
            "snapshot",
            "sold_at",
            "currency",
            "kept_before_minor",
            "pool_minor",
            "state",
            "excluded_works",
            "sharers",
            "total_weight",
            "created_at",
            "done_at",
        ]
        read_only_fields = fields

    def get_cause(self, allocation: RoyaltyAllocation) -> str | None:
        return allocation.cause or None


class RoyaltyStatementLineSerializer(serializers.Serializer[Any]):
    """What one sale brought, or what was lost of it again; with all it takes to compute it."""

    allocation = TypeIDSerializerField(prefix="ral")
    order = TypeIDSerializerField(prefix="ord")
    cause = serializers.CharField(help_text=_("The refund or dispute; “” for the sale."))
    sold_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField()
    rule = TypeIDSerializerField(prefix="rrl")
    rule_version = serializers.IntegerField()
    method = serializers.CharField()
    unit = serializers.CharField()
    basis_points = serializers.IntegerField()
    tie = TypeIDSerializerField(prefix="ral", help_text=_("Decides between equal remainders."))
    kept_before_minor = serializers.IntegerField()
    pool_minor = serializers.IntegerField()
    recoups_minor = serializers.IntegerField(
        help_text=_("Of the whole sale's pool: it paid advances on the collection back, first.")
    )
    weight = serializers.IntegerField()
    total_weight = serializers.IntegerField()
    cut_before_remainder = serializers.CharField(allow_null=True)
    cut_before_hash = serializers.CharField(allow_null=True)
    cut_after_remainder = serializers.CharField(allow_null=True)
    cut_after_hash = serializers.CharField(allow_null=True)
    amount_micro = serializers.IntegerField(help_text=_MICRO)


class RoyaltyStatementSerializer(serializers.Serializer[Any]):
    """What a contributor earned, paid back and was paid, in one period and currency."""

    object = ObjectField(name="royalty_statement")
    contributor = TypeIDSerializerField(prefix="ctr")
    currency = serializers.CharField()
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    opening_micro = serializers.IntegerField(help_text=_MICRO)
    accrued_micro = serializers.IntegerField(help_text=_MICRO)
    recouped_minor = serializers.IntegerField(help_text=_("Paid advances back."))
    paid_minor = serializers.IntegerField()
    returned_minor = serializers.IntegerField(help_text=_("Could not be paid: owed again."))
    closing_micro = serializers.IntegerField(help_text=_MICRO)
    held_micro = serializers.IntegerField(
        help_text=_("Of it now: of disputed sales, or about to be taken back.")
    )
    advances_open_minor = serializers.IntegerField(help_text=_("Not paid back yet, now."))
    lines = RoyaltyStatementLineSerializer(many=True)


class RoyaltyAdvanceSerializer(Resource[RoyaltyAdvance]):
    """What was paid to a contributor ahead of royalties."""

    object_name = "royalty_advance"

    class Meta:
        model = RoyaltyAdvance
        fields = [
            "id",
            "livemode",
            "contributor",
            "amount_minor",
            "currency",
            "reference",
            "created_at",
        ]
        read_only_fields = fields


class PayableSerializer(serializers.Serializer[Any]):
    """What one contributor would get now."""

    contributor = TypeIDSerializerField(prefix="ctr")
    amount_minor = serializers.IntegerField()
    recouped_minor = serializers.IntegerField()


class RoyaltyPayoutPreviewSerializer(serializers.Serializer[Any]):
    """What a payout would move now."""

    object = ObjectField(name="royalty_payout_preview")
    currency = serializers.CharField()
    contributors = serializers.IntegerField()
    paid_minor = serializers.IntegerField()
    recouped_minor = serializers.IntegerField()
    largest = PayableSerializer(many=True)


class RoyaltyPayoutSerializer(Resource[RoyaltyPayout]):
    """A batch of payments to contributors."""

    object_name = "royalty_payout"

    class Meta:
        model = RoyaltyPayout
        fields = [
            "id",
            "livemode",
            "currency",
            "contributors",
            "paid_minor",
            "recouped_minor",
            "state",
            "written",
            "created_at",
            "done_at",
        ]
        read_only_fields = fields
        extra_kwargs = {"written": {"help_text": _("How many of the payments are written by now.")}}


class RoyaltyPaymentSerializer(Resource[RoyaltyPayment]):
    """What one contributor gets of a payout."""

    object_name = "royalty_payment"
    payout = TypeIDSerializerField(prefix="rpo", source="payout_id", read_only=True)

    class Meta:
        model = RoyaltyPayment
        fields = [
            "id",
            "livemode",
            "payout",
            "contributor",
            "currency",
            "amount_minor",
            "recouped_minor",
            "state",
            "reference",
            "refusal",
            "created_at",
            "settled_at",
        ]
        read_only_fields = fields
