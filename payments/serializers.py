"""Bodies of quotes and orders, in and out."""

from __future__ import annotations

from typing import Any

from django.db.models import (
    Case,
    DateTimeField,
    F,
    IntegerField,
    JSONField,
    TextField,
    Value,
    When,
)
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast, NullIf
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from licensing.serializers import AskedModelBody, RateSerializer, ScopeSerializer, WindowSerializer
from marketplace import json_sql
from marketplace.http import (
    Body,
    Resource,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictRegexField,
    TypeIDSerializerField,
)
from marketplace.metadata_views import MetadataField, NotesField
from marketplace.serializers import HexField
from payments import quotes
from payments.models import Invoice, Order, Quote
from payments.models.invoices import PURCHASE_ORDER_LENGTH_MAX

# --- in ---------------------------------------------------------------------------------------


class MakeQuote(Body):
    """What to price: an offer, for a scope within its terms."""

    offer = TypeIDSerializerField(prefix="off", help_text=_("A live offer: a listing's id."))
    uses = serializers.ListField(
        child=StrictCharField(max_length=60),
        min_length=1,
        max_length=50,
        help_text=_("Uses that the terms permit, such as “pretrain”."),
    )
    territories = serializers.ListField(
        child=StrictCharField(max_length=6),
        min_length=1,
        max_length=300,
        help_text=_("ISO 3166-1 codes, “EU”, or “*” for the whole world."),
    )
    model = AskedModelBody(
        required=False,
        help_text=_(
            "The one model that the license is for. On request: chooses among the models that the"
            " seller approved; without it, the one whose approval lasts longest. Else: left out,"
            " the license is for the models that the terms allow."
        ),
    )
    starts_at = serializers.DateTimeField(
        required=False, help_text=_("When the license begins. Without it: now.")
    )
    metadata = NotesField(
        required=False,
        help_text=_(
            "Your own references, as names and texts. Nobody but your organization sees them. The"
            " order has them too, unless it brings its own."
        ),
    )


class AcceptBody(Body):
    """A person's acceptance of the quoted contract."""

    document_sha256 = StrictRegexField(
        "^[0-9a-f]{64}$",
        help_text=_("SHA-256 of the document that was read, in hexadecimal, as the quote says."),
    )
    name = StrictCharField(max_length=200, help_text=_("Who accepts."))
    title = StrictCharField(max_length=200, help_text=_("As what, such as “General Counsel”."))
    authority = StrictBooleanField(
        help_text=_("True: this person has authority to bind the organization.")
    )


class PlaceOrder(Body):
    """The acceptance of a quote."""

    quote = TypeIDSerializerField(prefix="quo")
    accept = AcceptBody()
    method = serializers.ChoiceField(
        choices=[Order.Method.CHECKOUT.value, Order.Method.INVOICE.value],
        required=False,
        help_text=_("How to pay. Without it: on a pay page. By invoice where the listing says so."),
    )
    net_days = StrictIntegerField(
        required=False,
        help_text=_("Of an invoice: within how many days it is paid; one of its `invoice_days`."),
    )
    purchase_order = StrictCharField(
        max_length=PURCHASE_ORDER_LENGTH_MAX,
        required=False,
        allow_blank=True,
        help_text=_("Of an invoice: your own number for it, which it shows."),
    )
    metadata = NotesField(
        required=False,
        help_text=_(
            "Your own references, as names and texts. Nobody but your organization sees them. Left"
            " out: the quote's. The grant has them too."
        ),
    )


# --- out --------------------------------------------------------------------------------------


class LineSerializer(serializers.Serializer[Any]):
    """One line of a price. The lines add up to the total.

    A line of a price per unit can be computed again: quantity × amount / per, half to even.
    """

    kind = serializers.ChoiceField(
        choices=["license", "minimum", "cap", "tax_included", "tax", "opted_out"],
        help_text=_(
            "“minimum” adds what is missing to it, “cap” takes off what goes beyond it,"
            " “tax_included” takes out the tax that the price holds."
        ),
    )
    amount_minor = serializers.IntegerField()
    unit = serializers.CharField(required=False, help_text=_("What is counted, such as “work”."))
    quantity = serializers.IntegerField(required=False, help_text=_("How many, at this rate."))
    rate = RateSerializer(required=False)
    above = serializers.IntegerField(required=False, help_text=_("The tier begins after these."))
    up_to = serializers.IntegerField(
        required=False, help_text=_("The tier ends with this one. Left out: it does not end.")
    )
    country = serializers.CharField(required=False, help_text=_("Whose tax."))
    rate_basis_points = serializers.IntegerField(required=False)
    inclusive = serializers.BooleanField(
        required=False, help_text=_("Whether the price holds the tax, or it is added.")
    )
    reason = serializers.ChoiceField(
        choices=["standard", "reverse_charge", "exempt", "not_registered"],
        required=False,
        help_text=_("Why the tax is what it is. With “reverse_charge”, the buyer owes it."),
    )
    provider = serializers.ChoiceField(
        choices=["local", "stripe"], required=False, help_text=_("Who calculated it.")
    )
    works = serializers.IntegerField(
        required=False,
        help_text=_("Of “opted_out”: how many were taken out since the snapshot."),
    )

    class Meta:
        list_serializer_class = json_sql.ListAsKept


class WindowsSerializer(serializers.Serializer[Any]):
    """When a license allows what."""

    access = WindowSerializer(help_text=_("When works may be fetched."))
    training = WindowSerializer(help_text=_("When training may be started."))
    use = WindowSerializer(help_text=_("When what was made may be used."))


@extend_schema_field(WindowsSerializer)
class QuotedWindowsField(serializers.Field[Any, Any, Any, Any]):
    """The windows of the license that a quote would make: as its terms say, from its start on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Quote) -> Any:
        return WindowsSerializer(quotes.windows(value)).data

    def as_sql_of(self, path: str) -> Any:
        start = Cast(KeyTextTransform("starts_at", f"{path}scope"), DateTimeField())
        term = KeyTransform("term", Cast(f"{path}terms__typed", JSONField()))

        def until(days: str) -> Any:
            number = Cast(KeyTextTransform(days, term), IntegerField())
            end = json_sql.Instant(json_sql.Later(start, number))
            return json_sql.Object({"starts_at": json_sql.Instant(start), "ends_at": end})

        return json_sql.Object(
            {name: until(f"{name}_days") for name in ("access", "training", "use")}
        )


class QuoteSerializer(Resource[Quote]):
    """An offer priced for a scope, and frozen with the contract that it would make."""

    object_name = "quote"
    scope = ScopeSerializer(read_only=True)
    windows = QuotedWindowsField()
    lines = LineSerializer(many=True, read_only=True)
    document_sha256 = HexField(
        read_only=True,
        help_text=_("SHA-256 of the document's UTF-8 bytes: an acceptance names it."),
    )
    document = serializers.CharField(
        read_only=True, help_text=_("The whole contract, exactly as an acceptance accepts it.")
    )
    metadata = MetadataField()

    class Meta:
        model = Quote
        fields = [
            "id",
            "livemode",
            "offer",
            "seller",
            "snapshot",
            "terms",
            "scope",
            "windows",
            "lines",
            "subtotal_minor",
            "tax_minor",
            "total_minor",
            "currency",
            "document",
            "document_sha256",
            "metadata",
            "created_at",
            "expires_at",
        ]
        read_only_fields = fields


class AcceptanceSerializer(serializers.Serializer[Any]):
    """Who accepted which document, when, and with which key."""

    document_sha256 = HexField(source="accepted_document_sha256", read_only=True)
    name = serializers.CharField(source="accepted_by_name")
    title = serializers.CharField(source="accepted_by_title")
    actor = serializers.CharField(source="accepted_by_actor")
    accepted_at = serializers.DateTimeField()


class InvoiceSerializer(serializers.ModelSerializer[Invoice]):
    """The invoice of an order."""

    number = serializers.CharField(allow_blank=True, help_text=_("Empty until it was sent."))
    hosted_url = serializers.CharField(
        allow_blank=True, help_text=_("Where it is seen and paid. Empty until it was sent.")
    )

    class Meta:
        model = Invoice
        fields = [
            "number",
            "status",
            "hosted_url",
            "net_days",
            "due_at",
            "purchase_order",
            "grants_on",
            "sent_at",
        ]
        read_only_fields = fields


@extend_schema_field(serializers.CharField(allow_null=True))
class CheckoutUrlField(serializers.Field[Any, Any, Any, Any]):
    """Where an order's open page is, on which it is paid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Order) -> Any:
        awaits = value.status == Order.Status.AWAITING_PAYMENT
        return value.checkout_url if awaits and value.checkout_url else None

    def as_sql_of(self, path: str) -> Any:
        return Case(
            When(
                **{f"{path}status": Order.Status.AWAITING_PAYMENT},
                then=NullIf(F(f"{path}checkout_url"), Value("", output_field=TextField())),
            ),
            default=Value(None),
        )


class RefusalField(serializers.CharField):
    """An error's code, or null: the row keeps "" there."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None

    def as_sql_of(self, path: str) -> Any:
        return NullIf(F(f"{path}{self.source}"), Value(""))


class OrderSerializer(Resource[Order]):
    """A quote's acceptance, and how it is paid."""

    object_name = "order"
    acceptance = AcceptanceSerializer(source="*", read_only=True)
    grant = TypeIDSerializerField(prefix="grt", source="grant_id", read_only=True, allow_null=True)
    checkout_url = CheckoutUrlField(
        help_text=_("Where to pay. Null unless the order awaits payment and its page is open.")
    )
    invoice = InvoiceSerializer(
        read_only=True,
        allow_null=True,
        help_text=_("Null where the order is not paid by invoice."),
    )
    refusal = RefusalField(
        help_text=_("Why the license could not be given, as an error code. The payment goes back.")
    )
    metadata = MetadataField()

    class Meta:
        model = Order
        fields = [
            "id",
            "livemode",
            "quote",
            "seller",
            "status",
            "method",
            "total_minor",
            "currency",
            "acceptance",
            "checkout_url",
            "checkout_expires_at",
            "invoice",
            "paid_at",
            "paid_minor",
            "refunded_minor",
            "grant",
            "granted_at",
            "refusal",
            "metadata",
        ]
        read_only_fields = fields
