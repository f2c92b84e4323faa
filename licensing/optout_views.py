"""The API's views of opt-outs, notices, and the links of contributors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import notices, optout_links, optouts
from licensing.ledger import log
from licensing.ledger_views import ReceiptViewSet
from licensing.models import ContributorLink, LedgerEntry, Notice, OptOut
from licensing.optout_serializers import (
    AcknowledgeNotice,
    AcknowledgeNotices,
    NoticeResultsSerializer,
    NoticeSerializer,
    OptedOutWorkSerializer,
    OptOutLinkSerializer,
    OptOutLinkWithSecretSerializer,
    OptOutResultsSerializer,
    OptOutSerializer,
    RecordOptOut,
    RecordOptOuts,
)
from licensing.views import GrantViewSet
from marketplace import bulk, cursors
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput, NotFound
from marketplace.expand import Expanding, Expansion
from marketplace.http import Listing, Retrieving, TenantViewSet, this_list
from marketplace.serializers import Nothing
from marketplace.typeid import TypeID

WORKS_PAGE_LENGTH = WORKS_PAGE_LENGTH_MAX = 1_000

_PAGED = [
    OpenApiParameter("limit", int, description="Works a page: 1 to 1,000; 1,000 unless given."),
    OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
]


class _SetViewSet(Listing, Retrieving, TenantViewSet):
    """Rows that commit to a set of works, which is listed by itself: it may be long."""

    def _works_page(
        self, request: Request, row: OptOut | Notice, covering: Sequence[UUID] | None
    ) -> Response:
        limit = _limit(request.query_params.get("limit"))
        cursor, this = request.query_params.get("cursor"), this_list(request)
        after = cursors.read(cursor, of=this) if cursor else b""
        opt_out = row.pk if isinstance(row, OptOut) else row.opt_out_id
        found = notices.works(opt_out, covering, after=after, limit=limit + 1)
        has_more, found = len(found) > limit, found[:limit]
        context = {"secret": bytes(row.secret)}
        return Response(
            {
                "data": OptedOutWorkSerializer(found, many=True, context=context).data,
                "has_more": has_more,
                "next_cursor": cursors.write(found[-1].digest, of=this) if has_more else None,
            }
        )


@extend_schema_view(
    list=extend_schema(summary="List your opt-outs"),
    retrieve=extend_schema(
        summary="Show an opt-out",
        description="With how many licensees were told, and how many acknowledged it.",
    ),
)
class OptOutViewSet(_SetViewSet):
    """Works that you took out of licensing, or that were taken out at your organization."""

    model = OptOut
    serializer_class = OptOutSerializer
    # Ten thousand works, each by an id of the owner's own.
    body_length_max = 2 << 20
    scopes = {
        "list": Scope.OPT_OUTS_READ,
        "retrieve": Scope.OPT_OUTS_READ,
        "works": Scope.OPT_OUTS_READ,
        "create": Scope.OPT_OUTS_WRITE,
        "create_many": Scope.OPT_OUTS_WRITE,
    }

    def select(self, rows: Any) -> Any:
        return optouts.counted(rows.select_related("entry__leaf", "other_entry__leaf"))

    @extend_schema(
        summary="Take works out of licensing",
        description=(
            "At once and for good, in both modes. From the next request on, quotes, deliveries and"
            " decisions refuse these works, and every licensee whose grant covers one has its"
            " notice. What is out already stays out: where nothing new is named, the first opt-out"
            " is answered, with 200. Models that were trained before are not changed by it."
        ),
        request=RecordOptOut,
        responses={200: OptOutSerializer, 201: OptOutSerializer},
    )
    def create(self, request: Request) -> Response:
        body = self.read(RecordOptOut)
        opt_out, is_new = optouts.record_once(self.caller, by=OptOut.By.OWNER, **body)
        return self.created(opt_out) if is_new else self.answered(opt_out)

    @extend_schema(
        summary="Take works out of licensing, several times",
        description=(
            f"Up to {bulk.ITEMS_MAX} opt-outs, one after the other, each with a result of its own."
            " One transaction: a refused one leaves no trace and the others stand."
        ),
        request=RecordOptOuts,
        responses={200: OptOutResultsSerializer},
    )
    def create_many(self, request: Request) -> Response:
        def record(caller: Caller, item: bulk.Item) -> bulk.Done:
            opt_out, is_new = optouts.record_once(caller, by=OptOut.By.OWNER, **item)
            return opt_out, 201 if is_new else 200

        def hold(_items: list[bulk.Item]) -> None:
            optouts.hold_all([self.caller.organization.pk])

        return bulk.answered(self, RecordOptOuts, record, hold=hold)

    @extend_schema(
        summary="List the works of an opt-out",
        description="Ascending by digest, each with what its leaf in the set is made of.",
        parameters=_PAGED,
        responses=OptedOutWorkSerializer(many=True),
    )
    def works(self, request: Request, pk: str) -> Response:
        with acting(self.caller, writing=False):
            return self._works_page(request, self.get_object(), None)


@extend_schema_view(
    retrieve=extend_schema(
        summary="Show a notice",
        description="For both parties: which grant, how many works, and what was acknowledged.",
    ),
)
class NoticeViewSet(Expanding, _SetViewSet):
    """What licensees were told about works that were taken out."""

    model = Notice
    serializer_class = NoticeSerializer
    scopes = {
        "list": Scope.OPT_OUTS_READ,
        "retrieve": Scope.OPT_OUTS_READ,
        "works": Scope.OPT_OUTS_READ,
        "acknowledge": Scope.OPT_OUTS_WRITE,
        "acknowledge_many": Scope.OPT_OUTS_WRITE,
    }
    expandable = {"grant": Expansion(GrantViewSet), "opt_out": Expansion(OptOutViewSet)}

    def select(self, rows: Any) -> Any:
        return rows.select_related("entry__leaf", "acknowledgement__entry__leaf")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.request.query_params
        return notices.of_grant(
            queryset, state=asked.get("state", ""), grant=_grant(asked.get("grant", ""))
        )

    @extend_schema(
        summary="List notices",
        description="Those that you received as licensee, and those sent for you as licensor.",
        parameters=[
            OpenApiParameter("state", str, enum=list(Notice.State.values)),
            OpenApiParameter("grant", str, description="Only those of this grant."),
        ],
    )
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(
        summary="List the works of a notice",
        description=(
            "Those that the grant covers, ascending by digest, each with what its leaf in the set"
            " is made of."
        ),
        parameters=_PAGED,
        responses=OptedOutWorkSerializer(many=True),
    )
    def works(self, request: Request, pk: str) -> Response:
        with acting(self.caller, writing=False):
            notice = self.get_object()
            return self._works_page(request, notice, notice.snapshots)

    @extend_schema(
        summary="Acknowledge a notice",
        description=(
            "A named person states, for the licensee, what was done. It is recorded in the ledger."
            " The first statement stands: repeating it changes nothing."
        ),
        request=AcknowledgeNotice,
        responses={200: NoticeSerializer},
    )
    def acknowledge(self, request: Request, pk: str) -> Response:
        return self.answered(notices.acknowledge(self.caller, pk, **self.read(AcknowledgeNotice)))

    @extend_schema(
        summary="Acknowledge notices",
        description=(
            f"Up to {bulk.ITEMS_MAX}, one after the other, each with a result of its own. One"
            " transaction: a refused one leaves no trace and the others stand."
        ),
        request=AcknowledgeNotices,
        responses={200: NoticeResultsSerializer},
    )
    def acknowledge_many(self, request: Request) -> Response:
        def acknowledge(caller: Caller, item: bulk.Item) -> bulk.Done:
            said = {name: text for name, text in item.items() if name != "notice"}
            return notices.acknowledge(caller, item["notice"], **said), 200

        def hold(items: list[bulk.Item]) -> None:
            notices.hold(self.caller, [item["notice"] for item in items])

        return bulk.answered(self, AcknowledgeNotices, acknowledge, hold=hold)


@extend_schema_view(
    retrieve=extend_schema(
        summary="Fetch an opt-out's ledger receipt",
        description=(
            "One text file that proves the opt-out without this server, for its owner: who did it,"
            " when and why, and the set of its works. Where both logs have it: from the log of the"
            " key's mode."
        ),
    )
)
class OptOutReceiptViewSet(ReceiptViewSet):
    """Prove an opt-out without us."""

    model = OptOut
    scopes = {"retrieve": Scope.OPT_OUTS_READ}

    def select(self, rows: Any) -> Any:
        return rows.select_related("entry", "other_entry")

    def recorded(self) -> tuple[TypeID, LedgerEntry]:
        opt_out = self.get_object()
        own = log.name(livemode=self.caller.livemode)
        if opt_out.other_entry is not None and opt_out.other_entry.log == own:
            return opt_out.pk, opt_out.other_entry
        return opt_out.pk, opt_out.entry


@extend_schema_view(
    retrieve=extend_schema(
        summary="Fetch a notice's ledger receipt",
        description=(
            "One text file that proves, for both parties, what the licensee was told and when."
        ),
    )
)
class NoticeReceiptViewSet(ReceiptViewSet):
    """Prove what a licensee was told."""

    model = Notice
    scopes = {"retrieve": Scope.OPT_OUTS_READ}

    def select(self, rows: Any) -> Any:
        return rows.select_related("entry", "acknowledgement__entry")

    def recorded(self) -> tuple[TypeID, LedgerEntry]:
        notice = self.get_object()
        return notice.pk, notice.entry


@extend_schema_view(
    retrieve=extend_schema(
        summary="Fetch an acknowledgement's ledger receipt",
        description=(
            "One text file that proves, for both parties, what the licensee stated to have done."
            " 404 until the notice is acknowledged."
        ),
    )
)
class AcknowledgementReceiptViewSet(NoticeReceiptViewSet):
    """Prove what a licensee stated."""

    def recorded(self) -> tuple[TypeID, LedgerEntry]:
        stated = getattr(self.get_object(), "acknowledgement", None)
        if stated is None:
            raise NotFound(_("The licensee has not acknowledged this notice yet."))
        return stated.pk, stated.entry


class OptOutLinkViewSet(Listing, TenantViewSet):
    """Addresses with which contributors take all their works out, once."""

    model = ContributorLink
    serializer_class = OptOutLinkSerializer
    scopes = {
        "list": Scope.OPT_OUTS_READ,
        "create": Scope.OPT_OUTS_WRITE,
        "revoke": Scope.OPT_OUTS_WRITE,
    }

    def get_queryset(self) -> QuerySet[Any]:
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        # The 404 of a contributor who is not the caller's, not an empty list.
        return optout_links.of_contributor(self.caller, self.kwargs["pk"])

    @extend_schema(summary="List a contributor's opt-out links")
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Make an opt-out link for a contributor",
        description=(
            "The answer holds the address, this once. Send it to the contributor: whoever opens it"
            " may, after a confirmation and without signing in, withdraw the consent and take all"
            " of this contributor's works out. It works once and expires."
        ),
        request=Nothing,
        responses={201: OptOutLinkWithSecretSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        link, address = optout_links.make(self.caller, pk)
        return self._made(link, address)

    @extend_schema(
        summary="Revoke an opt-out link",
        description="Repeating it changes nothing; nor does revoking one that was used.",
        request=Nothing,
        responses={200: OptOutLinkSerializer},
    )
    def revoke(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(optout_links.revoke(self.caller, pk))

    def _made(self, link: ContributorLink, address: str | None) -> Response:
        response = self.created(link)
        response["Location"] = self.collection_url()
        return self.with_secret(response, address)

    def resume(self, effect: str) -> Response:
        """The first answer was lost before it was stored, and its address with it."""
        if self.action == "revoke":
            return super().resume(effect)
        return self._made(self._effect(effect), None)


def _limit(text: str | None) -> int:
    if text is None:
        return WORKS_PAGE_LENGTH
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= WORKS_PAGE_LENGTH_MAX):
        raise InvalidInput(_("Use 1 to %(max)s.") % {"max": WORKS_PAGE_LENGTH_MAX}, param="limit")
    return int(text)


def _grant(text: str) -> TypeID | None:
    if not text:
        return None
    try:
        return TypeID.parse("grt", text)
    except ValueError:
        raise InvalidInput(_("Give a grant's id."), param="grant") from None
