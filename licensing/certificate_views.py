"""Certificates over HTTP: as JSON, and as the PDF that people keep."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import certificate_pages, certificate_pdf, certificate_words, certificates
from licensing.certificates import Certificate
from licensing.ledger import commitments
from licensing.models import Grant
from marketplace.access import Scope
from marketplace.errors import InvalidInput
from marketplace.http import InstantField, ObjectField, TenantViewSet


class CertificatePartySerializer(serializers.Serializer[Any]):
    """Who an organization was when the license was recorded."""

    id = serializers.CharField()
    legal_name = serializers.CharField()
    jurisdiction = serializers.CharField()
    registration_number = serializers.CharField(allow_blank=True)


class CertificateClauseSerializer(serializers.Serializer[Any]):
    """A line of the exact text: a heading (“2”) or a clause (“2.1”)."""

    number = serializers.CharField(allow_blank=True)
    text = serializers.CharField()


class CertificateTermsSerializer(serializers.Serializer[Any]):
    """A published version of terms, word by word."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    text_sha256 = serializers.CharField()
    typed_sha256 = serializers.CharField()
    clauses = CertificateClauseSerializer(many=True)


class CertificateWindowSerializer(serializers.Serializer[Any]):
    """A half-open window."""

    name = serializers.ChoiceField(choices=["access", "training", "use"])
    begins = InstantField()
    ends = InstantField(allow_null=True)


class CertificatePeriodSerializer(serializers.Serializer[Any]):
    """A period of the grant: under which terms, and when."""

    number = serializers.IntegerField()
    kind = serializers.CharField(help_text="`issued`, `renewed`, `amended`.")
    terms = CertificateTermsSerializer()
    windows = CertificateWindowSerializer(many=True)
    scope = serializers.JSONField(
        help_text=gettext_lazy("Uses, territories and, where it is for one, the model.")
    )
    price = serializers.CharField(
        allow_null=True, help_text=gettext_lazy("In words; null where it was asked to be hidden.")
    )


class CertificateDocumentSerializer(serializers.Serializer[Any]):
    """A contract that somebody accepted for the licensee."""

    period = serializers.IntegerField()
    sha256 = serializers.CharField()
    accepted_by_name = serializers.CharField()
    accepted_by_title = serializers.CharField()
    accepted_at = InstantField()


class CertificateCoverageSerializer(serializers.Serializer[Any]):
    """A snapshot that the grant covers."""

    collection = serializers.CharField()
    number = serializers.IntegerField()
    size = serializers.IntegerField()
    root = serializers.CharField()  # type: ignore[assignment]
    totals = serializers.DictField(child=serializers.IntegerField())
    citation = serializers.CharField()
    effective_from = InstantField()


class CertificateRecordSerializer(serializers.Serializer[Any]):
    """Where the grant's issue stands in the log."""

    log = serializers.ChoiceField(choices=commitments.LOGS)
    origin = serializers.CharField()
    index = serializers.IntegerField()
    leaf_hash = serializers.CharField()
    at = InstantField()
    checkpoint_size = serializers.IntegerField()
    checkpoint_root = serializers.CharField()


class CertificateProofSerializer(serializers.Serializer[Any]):
    """How the grant stood by the newest signed status root."""

    state = serializers.CharField(help_text="`active`, `suspended`, `revoked`, `expired`.")
    as_of = InstantField()
    number = serializers.IntegerField()
    origin = serializers.CharField()
    index = serializers.IntegerField()
    checkpoint_size = serializers.IntegerField()
    last_leaf = serializers.CharField()


class CertificateStepSerializer(serializers.Serializer[Any]):
    """What was recorded of the grant after its issue."""

    kind = serializers.CharField(help_text="As in a grant's `events`.")
    effective_at = InstantField()
    effect = serializers.CharField(allow_blank=True)
    by = serializers.CharField(allow_blank=True)
    cause = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)


class CertificateStateSerializer(serializers.Serializer[Any]):
    """How the grant stands: by this market's records, and by what is proven."""

    now = serializers.CharField(
        help_text=gettext_lazy("By this market's records: a grant's `status`.")
    )
    is_in_force = serializers.BooleanField(
        help_text=gettext_lazy("By the records and by the newest status proof alike.")
    )
    headline = serializers.CharField()
    sentences = serializers.ListField(child=serializers.CharField())
    step = CertificateStepSerializer(allow_null=True)
    announced = CertificateStepSerializer(allow_null=True)
    proven = CertificateProofSerializer(allow_null=True)
    next_due = InstantField(allow_null=True)


class CertificateSerializer(serializers.Serializer[Any]):
    """One license, as its certificate says it."""

    object = ObjectField(name="certificate")
    id = serializers.CharField(help_text=gettext_lazy("The grant."))
    grant_ref = serializers.CharField(help_text=gettext_lazy("Names the grant in the public log."))
    livemode = serializers.BooleanField()
    licensor = CertificatePartySerializer()
    licensee = CertificatePartySerializer()
    is_opened = serializers.BooleanField(
        help_text=gettext_lazy(
            "False where what opens the ledger entry was erased: the parties are as of today."
        )
    )
    documents = CertificateDocumentSerializer(many=True)
    period = CertificatePeriodSerializer(help_text=gettext_lazy("The period in force."))
    others = CertificatePeriodSerializer(many=True)
    coverage = CertificateCoverageSerializer(many=True)
    record = CertificateRecordSerializer()
    state = serializers.SerializerMethodField()
    verify_url = serializers.CharField(
        help_text=gettext_lazy("Where anybody checks it; it does not name the parties.")
    )

    @extend_schema_field(CertificateStateSerializer)
    def get_state(self, of: Certificate) -> Any:
        stand = certificate_words.stand(of.state)
        said = {
            "is_in_force": stand.is_in_force,
            "headline": stand.headline,
            "sentences": stand.sentences,
        }
        known = {name: getattr(of.state, name) for name in of.state.__slots__}
        return CertificateStateSerializer({**known, **said}).data


class PdfRenderer(BaseRenderer):
    """Lets clients ask for application/pdf; the file itself leaves as its exact bytes."""

    media_type = certificate_pdf.MEDIA_TYPE
    format = "pdf"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        # What else there is to say, such as a refusal, is said in JSON all the same.
        return JSONRenderer().render(data)


_PRICE = OpenApiParameter(
    "with_price",
    OpenApiTypes.BOOL,
    description="Whether the price is shown. Default: true.",
)
_PENDING = OpenApiResponse(
    inline_serializer(
        "PendingCertificate",
        {
            "object": serializers.ChoiceField(choices=["certificate"]),
            "status": serializers.ChoiceField(choices=["pending"]),
        },
    ),
    description="Recorded, and not signed yet: nothing can be certified. Ask again after"
    " Retry-After.",
)
_PDF = OpenApiResponse(OpenApiTypes.BINARY, description="The PDF.")
_CERTIFIED = (
    "Who licensed what to whom, under which words, where that is recorded, and whether it was in"
    " force as of the newest signed status root. Both parties get it. The parties are those of the"
    " verified ledger entry; what is newer than the status root is marked as the market's word."
)


class CertificateViewSet(TenantViewSet):
    """Show a license to people."""

    model = Grant
    scopes = {"retrieve": Scope.GRANTS_READ, "pdf": Scope.GRANTS_READ}
    renderer_classes = [JSONRenderer, PdfRenderer]

    @extend_schema(
        summary="Fetch a grant's certificate",
        description=_CERTIFIED,
        parameters=[_PRICE],
        responses={
            (200, "application/json"): CertificateSerializer,
            (200, certificate_pdf.MEDIA_TYPE): _PDF,
            (202, "application/json"): _PENDING,
        },
    )
    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        if isinstance(request.accepted_renderer, PdfRenderer):
            return self.pdf(request, pk)
        found = self._found(request, pk)
        if found is None:
            return _pending()
        answer = Response(CertificateSerializer(found).data)
        answer["Cache-Control"] = "private, no-store"
        return answer

    @extend_schema(
        summary="Fetch a grant's certificate as a PDF",
        description=(
            "The same words on paper, A4, with a QR code that leads to its public verification."
            " The same facts give the same bytes. `Accept: application/pdf` at `/certificate` gives"
            " it, too."
        ),
        parameters=[_PRICE],
        responses={
            (200, certificate_pdf.MEDIA_TYPE): _PDF,
            (202, "application/json"): _PENDING,
        },
    )
    def pdf(self, request: Request, pk: str) -> HttpResponseBase:
        found = self._found(request, pk)
        return _pending() if found is None else certificate_pages.pdf_file(found)

    def _found(self, request: Request, pk: str) -> Certificate | None:
        return certificates.of(self.caller, pk, with_price=_with_price(request))


def _with_price(request: Request) -> bool:
    text = request.query_params.get("with_price", "true")
    if text not in {"true", "false"}:
        raise InvalidInput(_("Use true or false."), param="with_price")
    return text == "true"


def _pending() -> JsonResponse:
    # JSON whatever was asked for: what is no certificate must not look like a file of one.
    pending = {"object": "certificate", "status": "pending"}
    return JsonResponse(pending, status=202, headers={"Retry-After": "1"})
