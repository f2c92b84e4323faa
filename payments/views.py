"""The API's views of quotes and orders, and where Stripe delivers its events."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from licensing.listing_views import ListingViewSet
from licensing.views import GrantViewSet, SnapshotViewSet, TermsViewSet
from marketplace.access import Scope
from marketplace.errors import DomainError, MethodNotAllowed
from marketplace.expand import Expanding, Expansion
from marketplace.http import TenantViewSet, as_domain_error, problem
from marketplace.metadata_views import Noted, sets_metadata
from marketplace.serializers import Nothing
from payments import orders, quotes, stripe_events
from payments.models import Order, Quote
from payments.serializers import MakeQuote, OrderSerializer, PlaceOrder, QuoteSerializer


@extend_schema_view(
    list=extend_schema(summary="List your quotes"),
    retrieve=extend_schema(summary="Get a quote, with the contract that it would make"),
)
class QuoteViewSet(Noted, Expanding, TenantViewSet):
    """Prices for a chosen scope, frozen for an hour with the contract that they would make."""

    model = Quote
    serializer_class = QuoteSerializer
    scopes = {
        "create": Scope.QUOTES_WRITE,
        "list": Scope.QUOTES_READ,
        "retrieve": Scope.QUOTES_READ,
        "set_metadata": Scope.QUOTES_WRITE,
    }
    expandable = {
        # A buyer sees a seller's offer as everybody does.
        "offer": Expansion(ListingViewSet, says="As the market shows it, while it is on sale."),
        "snapshot": Expansion(SnapshotViewSet),
        "terms": Expansion(TermsViewSet),
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().select(rows.select_related("terms"))

    @extend_schema(
        summary="Make a quote",
        description=(
            "Prices an offer for the uses and territories that you need. The answer holds the whole"
            " contract as `document`, and its SHA-256, which an order must name. Nothing is held"
            " until an order is placed: a quote can be overtaken by another buyer of exclusive"
            " rights."
        ),
        request=MakeQuote,
        responses={201: QuoteSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(quotes.make(self.caller, **self.read(MakeQuote)))

    @sets_metadata("a quote", QuoteSerializer)
    def set_metadata(self, request: Request, pk: str) -> Response:
        return super().set_metadata(request, pk)


@extend_schema_view(
    list=extend_schema(summary="List your orders"),
    retrieve=extend_schema(summary="Get an order, and how it is paid"),
)
class OrderViewSet(Noted, Expanding, TenantViewSet):
    """Buy a license: accept a quote, pay, and hold the grant."""

    model = Order
    serializer_class = OrderSerializer
    scopes = {
        "create": Scope.ORDERS_WRITE,
        "list": Scope.ORDERS_READ,
        "retrieve": Scope.ORDERS_READ,
        "cancel": Scope.ORDERS_WRITE,
        "set_metadata": Scope.ORDERS_WRITE,
    }
    expandable = {"quote": Expansion(QuoteViewSet), "grant": Expansion(GrantViewSet)}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().select(rows.select_related("invoice"))

    @extend_schema(
        summary="Place an order",
        description=(
            "Accepts a quote, and holds its rights until the pay page closes. Open `checkout_url`"
            " in a browser to pay. The grant follows the payment: `status` becomes `granted`, and"
            " `grant` names it. With the `method` “invoice”, an invoice is sent to your"
            " `contact_email`, and the rights are held until it is overdue. Send an"
            " Idempotency-Key, so that a repeat after a lost answer finds the same order. A free"
            " license is granted at once."
        ),
        request=PlaceOrder,
        responses={201: OrderSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(orders.place(self.caller, **self.read(PlaceOrder)))

    def resume(self, effect: str) -> Response:
        if self.action == "set_metadata":
            return super().resume(effect)
        return self.created(orders.resume(self.caller, effect))

    @extend_schema(
        summary="Cancel an order",
        description=(
            "Gives an order up that awaits its payment: its rights are free, and its pay page"
            " closes, or its invoice is void. Repeating it changes nothing."
        ),
        request=Nothing,
        responses={200: OrderSerializer},
    )
    def cancel(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(orders.cancel(self.caller, pk))

    @sets_metadata("an order", OrderSerializer)
    def set_metadata(self, request: Request, pk: str) -> Response:
        return super().set_metadata(request, pk)


@csrf_exempt
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Where Stripe delivers: 200 once the event is stored, 400 for what Stripe did not sign."""
    if request.method != "POST":
        refused = problem(request, MethodNotAllowed("Stripe delivers events here by POST."))
        refused["Allow"] = "POST"
        return refused
    try:
        event = stripe_events.receive(request.body, request.headers.get("Stripe-Signature", ""))
    except (DomainError, RequestDataTooBig) as refusal:
        return problem(request, as_domain_error(refusal))
    return JsonResponse({"received": event.pk})
