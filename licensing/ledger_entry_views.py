"""A party's own entries over HTTP: a feed whose numbers have no gaps."""

from __future__ import annotations

import base64
import re
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request

from licensing.ledger import commitments, proofs
from licensing.models import LedgerParty
from marketplace.access import Scope
from marketplace.errors import InvalidInput
from marketplace.http import KeysetPagination, Listing, ObjectField, TenantViewSet

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


class NumberedPagination(KeysetPagination):
    """Ascending by number: what is recorded later comes last, so a client goes on where it is."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        limit = self._limit(request)
        page = list(queryset.filter(sequence__gt=_after(request)).order_by("sequence")[: limit + 1])
        self.has_more = len(page) > limit
        page = page[:limit]
        self.next_cursor = str(page[-1].sequence) if self.has_more else None
        return page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit, cursor = super().get_schema_operation_parameters(view)
        after = {
            "name": "after",
            "in": "query",
            "schema": {"type": "integer", "minimum": 0, "default": 0},
            "description": "The last number that you have: the page begins behind it.",
        }
        return [limit, after, cursor]


def _after(request: Request) -> int:
    """Both say the same: `cursor` as in every list, `after` for who keeps numbers."""
    given = [name for name in ("after", "cursor") if request.query_params.get(name)]
    if len(given) > 1:
        raise InvalidInput(_("Give `after` or `cursor`, not both."), param="cursor")
    text = request.query_params[given[0]] if given else "0"
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(_("Give the number of the last entry that you have."), param=given[0])
    return int(text)


class OpeningsSerializer(serializers.Serializer[Any]):
    """What opens an entry's commitments: see the formats of the ledger."""

    v = serializers.IntegerField()
    kind = serializers.CharField()
    salts = serializers.DictField(child=serializers.CharField())
    values = serializers.DictField()
    party = serializers.DictField(allow_null=True)


class OwnEntrySerializer(serializers.Serializer[LedgerParty]):
    """An entry that you are a party of."""

    object = ObjectField(name="ledger_entry")
    sequence = serializers.IntegerField(
        help_text=gettext_lazy(
            "Your number of it in this log: 1, 2, 3 … without gaps. The entry commits to it."
        )
    )
    log = serializers.ChoiceField(choices=commitments.LOGS)
    kind = serializers.CharField(source="entry.kind")
    subject_ref = serializers.SerializerMethodField(
        help_text=gettext_lazy("Names the grant, opt-out or notice in the public log.")
    )
    index = serializers.SerializerMethodField(
        help_text=gettext_lazy("Its place in the log; null until it has one.")
    )
    entry = serializers.SerializerMethodField(
        help_text=gettext_lazy("The exact bytes that are hashed and published, in base64.")
    )
    leaf_hash = serializers.SerializerMethodField(help_text="SHA-256(0x00 ‖ entry).")
    openings = serializers.SerializerMethodField(
        help_text=gettext_lazy("What opens it for you; null when it was erased.")
    )

    @extend_schema_field(serializers.CharField())
    def get_subject_ref(self, row: LedgerParty) -> str:
        return bytes(row.entry.subject_ref).hex()

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_index(self, row: LedgerParty) -> int | None:
        leaf = getattr(row.entry, "leaf", None)
        return None if leaf is None else leaf.index

    @extend_schema_field(serializers.CharField())
    def get_entry(self, row: LedgerParty) -> str:
        return base64.b64encode(row.entry.body).decode()

    @extend_schema_field(serializers.CharField())
    def get_leaf_hash(self, row: LedgerParty) -> str:
        return bytes(row.entry.leaf_hash).hex()

    @extend_schema_field(OpeningsSerializer(allow_null=True))
    def get_openings(self, row: LedgerParty) -> Any:
        return proofs.openings(row.entry, getattr(row.entry, "opening", None), row)


@extend_schema_view(
    list=extend_schema(
        summary="List your own ledger entries",
        description=(
            "Everything that is recorded with you as a party, in the log of your key's mode,"
            " ascending by your own number: 1, 2, 3 … without gaps. Each entry commits to its"
            " number, so a number that is missing, comes twice or in another order is a fault of"
            " the market, and `licet-offline.pyz entries` finds it in saved pages. Nothing ever"
            " appears behind what you have read: keep the last `sequence`, and go on with it as"
            " `after`. Entries of before numbers were given (version 1) are not listed."
        ),
    )
)
class LedgerEntryViewSet(Listing, TenantViewSet):
    """Your own entries of the ledger."""

    model = LedgerParty
    serializer_class = OwnEntrySerializer
    pagination_class = NumberedPagination
    scopes = {"list": Scope.GRANTS_READ}

    def select(self, rows: Any) -> Any:
        return rows.select_related("entry__leaf", "entry__opening")
