"""The API's views of sales, refunds, disputes, and of how sellers are paid."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.access import Scope
from marketplace.errors import InvalidInput
from marketplace.http import Listing, Retrieving, TenantViewSet
from marketplace.serializers import Nothing
from payments import connect, refunds, statements
from payments.models import (
    Account,
    ConnectedAccount,
    Dispute,
    Refund,
    Remittance,
    Sale,
    Transfer,
)
from payments.seller_serializers import (
    AskStatement,
    BalancesSerializer,
    DisputeSerializer,
    OpenContributorAccount,
    OpenPayoutAccount,
    PayoutAccountLinkSerializer,
    PayoutAccountSerializer,
    RefundSerializer,
    RemittanceSerializer,
    RequestRefund,
    SaleSerializer,
    StatementSerializer,
    TransferSerializer,
)


class PayoutAccountViewSet(TenantViewSet):
    """The account at Stripe that your organization is paid with."""

    model = ConnectedAccount
    serializer_class = PayoutAccountSerializer
    scopes = {"retrieve": Scope.PAYOUTS_READ, "create": Scope.PAYOUTS_WRITE}

    @extend_schema(summary="Get the account that you are paid with")
    def retrieve(self, request: Request) -> Response:
        return self.answered(connect.own(self.caller))

    @extend_schema(
        summary="Open an account to be paid with",
        description=(
            "Opens one at Stripe, or finds the one that was opened. Who you are, and your bank, is"
            " told to Stripe alone: ask for a link next. `state` becomes `active` once you can be"
            " paid; until then `requirements` says what is missing. Your shares of sales wait for"
            " it in test mode; in live mode nothing of yours is sold before."
        ),
        request=OpenPayoutAccount,
        responses={200: PayoutAccountSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.answered(connect.open(self.caller, **self.read(OpenPayoutAccount)))


class PayoutAccountLinkViewSet(TenantViewSet):
    """The way to Stripe's pages about your account."""

    model = ConnectedAccount
    serializer_class = PayoutAccountLinkSerializer
    scopes = {"create": Scope.PAYOUTS_WRITE}
    only_asks = True

    @extend_schema(
        summary="Get a link to Stripe's pages about your account",
        description="Each answer has another one. It works once, for some minutes.",
        request=Nothing,
        responses={200: PayoutAccountLinkSerializer},
    )
    def create(self, request: Request) -> Response:
        self.read(Nothing)
        return _links(connect.own(self.caller))


class PayoutAccountsViewSet(Listing, TenantViewSet):
    """Your account, and those of your contributors."""

    model = ConnectedAccount
    serializer_class = PayoutAccountSerializer
    scopes = {"list": Scope.PAYOUTS_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        state = self.request.query_params.get("state")
        if state is None:
            return rows
        if state not in ConnectedAccount.State.values:
            raise InvalidInput(
                _("Use one of: %(known)s.") % {"known": ", ".join(ConnectedAccount.State.values)},
                param="state",
            )
        return rows.filter(state=state)

    @extend_schema(
        summary="List the accounts that you and your contributors are paid with",
        parameters=[
            OpenApiParameter(
                "state", str, enum=ConnectedAccount.State.values, description="In this state only."
            )
        ],
    )
    def list(self, request: Request) -> Response:
        return super().list(request)


class ContributorAccountViewSet(TenantViewSet):
    """The account at Stripe that one of your contributors is paid with."""

    model = ConnectedAccount
    serializer_class = PayoutAccountSerializer
    scopes = {"retrieve": Scope.PAYOUTS_READ, "create": Scope.PAYOUTS_WRITE}

    @extend_schema(summary="Get the account that a contributor is paid with")
    def retrieve(self, request: Request, pk: str) -> Response:
        return self.answered(connect.of_contributor(self.caller, pk))

    @extend_schema(
        summary="Open an account that a contributor is paid with",
        description=(
            "Opens one at Stripe, or finds the one that was opened. Stripe asks the person who they"
            " are, and for their bank: ask for a link next, and hand it to them. Once `state` is"
            " `active`, what payouts owe them is sent. An erased contributor gets none."
        ),
        request=OpenContributorAccount,
        responses={200: PayoutAccountSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        opened = connect.open_for(self.caller, pk, **self.read(OpenContributorAccount))
        return self.answered(opened)


class ContributorAccountLinkViewSet(TenantViewSet):
    """The way to Stripe's pages about a contributor's account."""

    model = ConnectedAccount
    serializer_class = PayoutAccountLinkSerializer
    scopes = {"create": Scope.PAYOUTS_WRITE}
    only_asks = True

    @extend_schema(
        summary="Get a link to Stripe's pages about a contributor's account",
        description=(
            "Hand `lasting_url` to the person: who needs no login here, and is led on to Stripe"
            " whenever they come back. Whoever holds it stands for them: send it to nobody else."
        ),
        request=Nothing,
        responses={200: PayoutAccountLinkSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return _links(connect.of_contributor(self.caller, pk))


def _links(account: ConnectedAccount) -> Response:
    links = {"url": connect.onboarding_url(account), "lasting_url": connect.lasting_url(account)}
    return Response(PayoutAccountLinkSerializer(links).data)


@extend_schema_view(
    list=extend_schema(summary="List your sales"),
    retrieve=extend_schema(summary="Get a sale, and who gets what of it"),
)
class SaleViewSet(Listing, Retrieving, TenantViewSet):
    """What was bought of you."""

    model = Sale
    serializer_class = SaleSerializer
    scopes = {"list": Scope.SALES_READ, "retrieve": Scope.SALES_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("transfer")


@extend_schema_view(
    list=extend_schema(summary="List the transfers to you"),
    retrieve=extend_schema(summary="Get a transfer"),
)
class TransferViewSet(Listing, Retrieving, TenantViewSet):
    """Your shares of sales, on their way to your account."""

    model = Transfer
    serializer_class = TransferSerializer
    scopes = {"list": Scope.SALES_READ, "retrieve": Scope.SALES_READ}


@extend_schema_view(
    list=extend_schema(summary="List what you were sent beside your sales"),
    retrieve=extend_schema(summary="Get a remittance"),
)
class RemittanceViewSet(Listing, Retrieving, TenantViewSet):
    """What you are owed beside your sales, on its way to your account."""

    model = Remittance
    serializer_class = RemittanceSerializer
    scopes = {"list": Scope.SALES_READ, "retrieve": Scope.SALES_READ}


class BalanceViewSet(TenantViewSet):
    """What you are owed as a seller, and what you owe."""

    model = Account
    serializer_class = BalancesSerializer
    scopes = {"retrieve": Scope.SALES_READ}

    @extend_schema(
        summary="Get what you are owed, by currency", responses={200: BalancesSerializer}
    )
    def retrieve(self, request: Request) -> Response:
        return Response(BalancesSerializer({"data": statements.balances(self.caller)}).data)


class StatementViewSet(TenantViewSet):
    """Every movement of what you are owed."""

    model = Account
    serializer_class = StatementSerializer
    scopes = {"retrieve": Scope.SALES_READ}

    @extend_schema(
        summary="Get a statement",
        description=(
            "Every movement of what you are owed in one currency, as the market's journal says, at"
            " most 1,000 lines. Opening and the lines' amounts add up to closing."
        ),
        parameters=[
            OpenApiParameter("currency", str, required=True, description="Such as USD."),
            OpenApiParameter("begins_at", OpenApiTypes.DATETIME, required=True),
            OpenApiParameter(
                "ends_at", OpenApiTypes.DATETIME, required=True, description="Not included."
            ),
            OpenApiParameter("after", int, description="A line's id: what follows on it."),
        ],
        responses={200: StatementSerializer},
    )
    def retrieve(self, request: Request) -> Response:
        asked = AskStatement(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        return Response(
            StatementSerializer(statements.of(self.caller, **asked.validated_data)).data
        )


@extend_schema_view(
    list=extend_schema(summary="List refunds of your purchases and sales"),
    retrieve=extend_schema(summary="Get a refund"),
)
class RefundViewSet(Listing, Retrieving, TenantViewSet):
    """Payments that are given back."""

    model = Refund
    serializer_class = RefundSerializer
    scopes = {
        "create": Scope.REFUNDS_WRITE,
        "list": Scope.REFUNDS_READ,
        "retrieve": Scope.REFUNDS_READ,
        "approve": Scope.REFUNDS_WRITE,
        "decline": Scope.REFUNDS_WRITE,
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return refunds.whole(rows)

    @extend_schema(
        summary="Ask for a refund, or give one",
        description=(
            "Buyer and seller may. Sent at once, unless somebody must agree before: the seller, if"
            " the buyer asks after something was delivered; two people, above the market's limit."
            " The tax goes back in proportion. Once all is back, the license ends."
        ),
        request=RequestRefund,
        responses={201: RefundSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(refunds.request(self.caller, **self.read(RequestRefund)))

    @extend_schema(
        summary="Approve a refund",
        description="The seller's. Repeating it changes nothing.",
        request=Nothing,
        responses={200: RefundSerializer},
    )
    def approve(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(refunds.approve(self.caller, pk))

    @extend_schema(
        summary="Decline a refund",
        description="The seller's, or the buyer's own request. Repeating it changes nothing.",
        request=Nothing,
        responses={200: RefundSerializer},
    )
    def decline(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(refunds.decline(self.caller, pk))


@extend_schema_view(
    list=extend_schema(summary="List disputes of your purchases and sales"),
    retrieve=extend_schema(summary="Get a dispute"),
)
class DisputeViewSet(Listing, Retrieving, TenantViewSet):
    """Payments that a buyer's bank wants back. While one is open, its license is suspended."""

    model = Dispute
    serializer_class = DisputeSerializer
    scopes = {"list": Scope.REFUNDS_READ, "retrieve": Scope.REFUNDS_READ}
