"""The API's view of who your organization is as a trader."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import traders
from marketplace.access import Scope
from marketplace.http import Body, Resource, StrictBooleanField, StrictCharField, TenantViewSet
from marketplace.models import Trader


class SubmitTrader(Body):
    """What the law asks of a trader beside the legal identity of its organization."""

    phone = StrictCharField(max_length=40, help_text=_("With the country's code: “+353 …”."))
    trade_register = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text=_("The register that your registration number is of."),
    )
    certified = StrictBooleanField(
        help_text=_("You certify that you offer only what the law allows.")
    )


class TraderSerializer(Resource[Trader]):
    """Who sells, as submitted and as an operator looked at it. Buyers see it once verified."""

    object_name = "trader"

    class Meta:
        model = Trader
        fields = (
            "id",
            "state",
            "legal_name",
            "address",
            "registration_number",
            "trade_register",
            "email",
            "phone",
            "submitted_at",
            "decided_at",
            "reason",
        )
        read_only_fields = fields


class TraderViewSet(TenantViewSet):
    """Who your organization is as a trader: verified before anything is sold in live mode."""

    model = Trader
    serializer_class = TraderSerializer
    scopes = {"retrieve": Scope.ORGANIZATION_READ, "create": Scope.ORGANIZATION_WRITE}

    @extend_schema(summary="Show what you submitted as a trader")
    def retrieve(self, request: Request) -> Response:
        return self.answered(traders.own(self.caller))

    @extend_schema(
        summary="Submit who you are as a trader",
        description=(
            "The legal identity of your organization is part of it, and is complete before: POST"
            " /v1/organization. An operator verifies it, or refuses it with the reason. Another"
            " identity is looked at anew, and nothing is sold in live mode meanwhile. The same"
            " again changes nothing."
        ),
        request=SubmitTrader,
        responses={200: TraderSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.answered(traders.submit(self.caller, **self.read(SubmitTrader)))
