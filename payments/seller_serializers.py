"""Bodies of sales, transfers, refunds, disputes and the account to be paid with, in and out."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from licensing.models import GrantEvent
from marketplace.http import (
    Body,
    ObjectField,
    Resource,
    StrictCharField,
    StrictIntegerField,
    StrictRegexField,
    TypeIDSerializerField,
)
from payments import connect, settlements
from payments.models import (
    ConnectedAccount,
    Dispute,
    Refund,
    RefundApproval,
    Remittance,
    Sale,
    Transfer,
)

# --- in ---------------------------------------------------------------------------------------


class OpenPayoutAccount(Body):
    """Where the account is to be."""

    country = StrictRegexField(
        "^[A-Z]{2}$",
        required=False,
        help_text=_("ISO 3166-1. Without it: where the organization is established."),
    )


class OpenContributorAccount(Body):
    """Where the account is to be."""

    country = StrictRegexField(
        "^[A-Z]{2}$", help_text=_("ISO 3166-1: where the contributor lives, or is established.")
    )


class RequestRefund(Body):
    """What to give back, and why."""

    order = TypeIDSerializerField(prefix="ord")
    amount_minor = StrictIntegerField(
        min_value=1, required=False, help_text=_("Without it: all that is left.")
    )
    reason = StrictCharField(max_length=1000)
    effect = serializers.ChoiceField(
        choices=GrantEvent.Effect.values,
        default=GrantEvent.Effect.PROSPECTIVE,
        help_text=_("What becomes of the license once all was given back."),
    )


class AskStatement(Body):
    """Of which currency and time a statement is asked for."""

    currency = StrictRegexField("^[A-Z]{3}$")
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    after = serializers.IntegerField(min_value=1, required=False)


# --- out --------------------------------------------------------------------------------------


class RequirementSerializer(serializers.Serializer[Any]):
    """Something that Stripe still wants before it pays."""

    what = serializers.CharField(help_text=_("Stripe's own word for it."))
    in_words = serializers.SerializerMethodField()
    awaited_from = serializers.ChoiceField(choices=["them", "stripe"], source="from_whom")
    deadline = serializers.ChoiceField(choices=["past_due", "currently_due", "eventually_due"])
    problems = serializers.ListField(
        child=serializers.CharField(),
        help_text=_("Why what was given is not enough, in Stripe's words."),
    )

    def get_in_words(self, requirement: dict[str, Any]) -> str:
        return connect.in_words(requirement["what"])


class PayoutAccountSerializer(Resource[ConnectedAccount]):
    """An account at Stripe that an organization, or one of its contributors, is paid with."""

    object_name = "payout_account"
    requirements = serializers.SerializerMethodField()

    class Meta:
        model = ConnectedAccount
        fields = [
            "id",
            "livemode",
            "contributor",
            "country",
            "state",
            "requirements",
            "clearance",
            "synced_at",
            "created_at",
        ]
        read_only_fields = fields

    @extend_schema_field(RequirementSerializer(many=True))
    def get_requirements(self, account: ConnectedAccount) -> Any:
        shown = [
            {**each, "from_whom": each["from"], "problems": each["errors"]}
            for each in account.requirements
        ]
        return RequirementSerializer(shown, many=True).data


class PayoutAccountLinkSerializer(serializers.Serializer[Any]):
    """An address of Stripe's, where the account's details are given."""

    object = ObjectField(name="payout_account_link")
    url = serializers.URLField(help_text=_("Works once, for some minutes. Open it in a browser."))
    lasting_url = serializers.URLField(
        help_text=_("Leads on to a new one each time, as long as something is missing.")
    )


class SharesSerializer(serializers.Serializer[Any]):
    """Who gets what of a sale. The parts add up to its total."""

    seller_minor = serializers.IntegerField()
    royalties_minor = serializers.IntegerField(help_text=_("Shared out among contributors."))
    fee_minor = serializers.IntegerField(help_text=_("The market's."))
    tax_minor = serializers.IntegerField()


class TransferSerializer(Resource[Transfer]):
    """A seller's share of one sale on its way to the seller's account."""

    object_name = "transfer"

    class Meta:
        model = Transfer
        fields = [
            "id",
            "livemode",
            "order",
            "state",
            "share_minor",
            "currency",
            "withheld_minor",
            "sent_minor",
            "settled_minor",
            "settled_currency",
            "reversed_minor",
            "refusal",
            "created_at",
            "sent_at",
        ]
        read_only_fields = fields


class RemittanceSerializer(Resource[Remittance]):
    """One sum of what a seller is owed beside its shares of sales: less what it owes."""

    object_name = "remittance"

    class Meta:
        model = Remittance
        fields = [
            "id",
            "livemode",
            "state",
            "currency",
            "withheld_minor",
            "amount_minor",
            "refusal",
            "created_at",
            "ended_at",
        ]
        read_only_fields = fields


class SaleSerializer(Resource[Sale]):
    """A sale: an order as its seller sees it, with who gets what of it."""

    object_name = "sale"
    buyer = TypeIDSerializerField(prefix="org", source="organization_id", read_only=True)
    grant = TypeIDSerializerField(prefix="grt", source="grant_id", read_only=True, allow_null=True)
    shares = serializers.SerializerMethodField()
    transfer = serializers.SerializerMethodField()

    class Meta:
        model = Sale
        fields = [
            "id",
            "livemode",
            "buyer",
            "status",
            "method",
            "total_minor",
            "currency",
            "shares",
            "paid_at",
            "paid_minor",
            "refunded_minor",
            "lost_minor",
            "grant",
            "granted_at",
            "transfer",
        ]
        read_only_fields = fields

    @extend_schema_field(SharesSerializer(allow_null=True))
    def get_shares(self, sale: Sale) -> Any:
        # Nothing is split of what is given for nothing.
        return SharesSerializer(settlements.of(sale)).data if sale.settlement else None

    @extend_schema_field(TransferSerializer(allow_null=True))
    def get_transfer(self, sale: Sale) -> Any:
        transfer = getattr(sale, "transfer", None)
        return None if transfer is None else TransferSerializer(transfer).data


class BalanceSerializer(serializers.Serializer[Any]):
    """How a seller stands in one currency."""

    currency = serializers.CharField()
    owed_to_you_minor = serializers.IntegerField(
        help_text=_(
            "Not sent yet: your shares of sales, royalties that paid back your advances, and"
            " royalties that you paid yourself."
        )
    )
    you_owe_minor = serializers.IntegerField(
        help_text=_(
            "What could not be taken back from your account: what you are owed later pays it."
        )
    )


class BalancesSerializer(serializers.Serializer[Any]):
    """How a seller stands, by currency, as the journal says."""

    object = ObjectField(name="balances")
    data = BalanceSerializer(many=True)  # type: ignore[assignment]


class StatementLineSerializer(serializers.Serializer[Any]):
    """One movement of what a seller is owed."""

    id = serializers.IntegerField()
    occurred_at = serializers.DateTimeField()
    kind = serializers.CharField(help_text=_("What happened, such as “sale” or “refund”."))
    order = TypeIDSerializerField(prefix="ord", allow_null=True)
    reference = serializers.CharField(help_text=_("The refund, dispute or reversal, if it is one."))
    amount_minor = serializers.IntegerField(help_text=_("Positive: you are owed more."))
    balance_minor = serializers.IntegerField(help_text=_("What you are owed after it."))


class StatementSerializer(serializers.Serializer[Any]):
    """A seller's movements in one currency. Opening and the lines' amounts add up to closing."""

    object = ObjectField(name="statement")
    currency = serializers.CharField()
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    opening_minor = serializers.IntegerField()
    closing_minor = serializers.IntegerField()
    lines = StatementLineSerializer(many=True)
    has_more = serializers.BooleanField(
        help_text=_("Ask again with `after` as the last line's id.")
    )


class RefundApprovalSerializer(serializers.ModelSerializer[RefundApproval]):
    """Who agreed to a refund, and when."""

    class Meta:
        model = RefundApproval
        fields = ["actor", "is_operator", "created_at"]
        read_only_fields = fields


class RefundSerializer(Resource[Refund]):
    """A part or all of a payment that is given back, or is asked for."""

    object_name = "refund"
    buyer = TypeIDSerializerField(prefix="org", source="organization_id", read_only=True)
    approvals = RefundApprovalSerializer(many=True, read_only=True)

    class Meta:
        model = Refund
        fields = [
            "id",
            "livemode",
            "order",
            "buyer",
            "seller",
            "amount_minor",
            "currency",
            "cause",
            "reason",
            "effect",
            "state",
            "needs_seller",
            "needs_two",
            "approvals",
            "failure",
            "created_at",
            "sent_at",
        ]
        read_only_fields = fields


class DisputeSerializer(Resource[Dispute]):
    """That a buyer's bank wants a payment back."""

    object_name = "dispute"
    buyer = TypeIDSerializerField(prefix="org", source="organization_id", read_only=True)

    class Meta:
        model = Dispute
        fields = [
            "id",
            "livemode",
            "order",
            "buyer",
            "seller",
            "amount_minor",
            "currency",
            "reason",
            "status",
            "evidence_due_at",
            "evidence_sent_at",
            "opened_at",
            "closed_at",
        ]
        read_only_fields = fields
