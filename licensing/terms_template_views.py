"""The API's views of the terms to begin with."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import terms_templates
from licensing.models import Terms
from licensing.serializers import TypedField
from licensing.terms_templates import Template
from marketplace.access import Scope
from marketplace.errors import InvalidInput, NotFound
from marketplace.http import TenantViewSet


class AnchorSerializer(serializers.Serializer[Any]):
    """A real deal of this kind: what such terms were worth to somebody."""

    deal = serializers.CharField()
    price = serializers.CharField()
    source = serializers.CharField(help_text="Who reported it.")  # type: ignore[assignment]


class TermsTemplateSerializer(serializers.Serializer[Template]):
    """Typed conditions to begin with. It binds nobody: draft terms from it and publish those."""

    object = serializers.SerializerMethodField()
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    modalities = serializers.ListField(child=serializers.CharField())
    anchors = AnchorSerializer(many=True)
    typed = TypedField()

    def get_object(self, template: Template) -> str:
        return "terms_template"


@extend_schema_serializer(many=False)
class TermsTemplatesSerializer(serializers.Serializer[Any]):
    """The whole library, by title."""

    data = TermsTemplateSerializer(many=True)  # type: ignore[assignment]


class TermsTemplateViewSet(TenantViewSet):
    """Terms to begin with, by kind of content."""

    model = Terms
    pagination_class = None  # type: ignore[assignment]
    scopes = {"list": Scope.TERMS_READ, "retrieve": Scope.TERMS_READ}

    @extend_schema(summary="List templates of terms", responses=TermsTemplatesSerializer)
    def list(self, request: Request) -> Response:
        return Response(
            {"data": [TermsTemplateSerializer(one).data for one in terms_templates.library()]}
        )

    @extend_schema(summary="Fetch a template of terms", responses=TermsTemplateSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        try:
            found = terms_templates.find(pk)
        except InvalidInput:
            raise NotFound(_("There is no such template: GET /v1/terms-templates.")) from None
        return Response(TermsTemplateSerializer(found).data)
