"""Decisions over HTTP."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import clauses, decision_requests, decisions, vocabulary
from licensing.decision_requests import WORKS_MAX
from licensing.models import Grant
from licensing.vocabulary import Use
from marketplace.access import Scope
from marketplace.http import (
    Body,
    StrictCharField,
    StrictIntegerField,
    TenantViewSet,
    TypeIDSerializerField,
    ZonedDateTimeField,
)

# --- the question -----------------------------------------------------------------------------


@extend_schema_field({"type": "string", "pattern": r"^([A-Z]{2,3}|\*)$"})
class TerritoryField(StrictCharField):
    """A country, a group of countries, or the whole world."""

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data)
        if not vocabulary.is_territory(code):
            raise serializers.ValidationError(
                _(
                    "“%(code)s” is unknown. Use an ISO 3166-1 alpha-2 code such as “DE”, “EU”, or"
                    " “*” for the whole world."
                )
                % {"code": code[:100]}
            )
        return code


class AskedModel(Body):
    """The model that the question is about, as far as it matters."""

    name = StrictCharField(required=False, max_length=200)
    version = StrictCharField(required=False, max_length=100)
    family = StrictCharField(required=False, max_length=200)
    release = serializers.ChoiceField(choices=clauses.RELEASES, required=False)


_OR_NONE = gettext_lazy("“none”: none of the others.")


class AskedQuestion(Body):
    """A point over what clauses can constrain. What you leave out is unknown."""

    use = serializers.ChoiceField(choices=[use.value for use in Use])
    territory = TerritoryField(
        required=False,
        help_text="Where the act happens. A group of countries: all of them must be permitted.",
    )
    availability = TerritoryField(
        required=False, help_text="Where what was made is offered; all of it must be permitted."
    )
    model = AskedModel(required=False)
    field = serializers.ChoiceField(
        choices=clauses.FIELDS, required=False, help_text="The field of use."
    )
    sector = serializers.ChoiceField(
        choices=(*clauses.SECTORS, clauses.NONE), required=False, help_text=_OR_NONE
    )
    lineage = serializers.ChoiceField(
        choices=(*clauses.LINEAGES, clauses.NONE),
        required=False,
        help_text=gettext_lazy("What the model is to another model. “none”: none of the others."),
    )
    at = ZonedDateTimeField(required=False, help_text="When the works are used. Default: now.")


@extend_schema_field({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})
class DigestField(serializers.CharField):
    """A SHA-256 in hex: bytes inside."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # At once, not in a character field's many steps: a thousand of them took longer than
        # everything else about a request.
        try:
            digest = bytes.fromhex(data)
        except (TypeError, ValueError):
            digest = b""
        # Python reads spaces between the digits, too.
        if len(digest) != 32 or len(data) != 64:
            raise serializers.ValidationError(_("Give a SHA-256 as 64 hexadecimal digits."))
        return digest


class DistinctListField(serializers.ListField):
    """A list in which nothing stands twice: a repeat is named by its place."""

    def to_internal_value(self, data: Any) -> list[Any]:
        values: list[Any] = super().to_internal_value(data)
        seen: set[Any] = set()
        for place, value in enumerate(values):
            if value in seen:
                # The handler of refusals reads a number as a place: `works[2]`.
                raise serializers.ValidationError(
                    {place: [_("This stands here twice.")]}  # type: ignore[dict-item]
                )
            seen.add(value)
        return values


class AskForDecisions(Body):
    """One question about up to 1,000 works, answered by the grants that you hold."""

    question = AskedQuestion()
    works = DistinctListField(
        child=DigestField(),
        max_length=WORKS_MAX,
        default=list,
        help_text="SHA-256 digests. Empty, with a grant or a collection: for anything of it.",
    )
    external_ids = DistinctListField(
        child=StrictCharField(max_length=1000),
        max_length=WORKS_MAX,
        default=list,
        help_text="Instead of digests: the licensor's own ids. Needs `licensor` or `grant`.",
    )
    grant = TypeIDSerializerField(prefix="grt", required=False, help_text="Ask this one alone.")
    collection = TypeIDSerializerField(
        prefix="col", required=False, help_text="Ask the grants that cover some of it."
    )
    licensor = TypeIDSerializerField(
        prefix="org", required=False, help_text="Ask the grants from this organization."
    )
    as_of = StrictIntegerField(
        required=False,
        min_value=0,
        help_text="The ledger's size to decide by. For now, only the newest.",
    )


# --- the answer -------------------------------------------------------------------------------


class ReasonSerializer(serializers.Serializer[Any]):
    """Why, and where to look."""

    code = serializers.ChoiceField(choices=[code.value for code in decisions.Code])
    clause = serializers.CharField(required=False)
    grant = serializers.CharField(required=False)
    dimension = serializers.CharField(required=False)


class DutySerializer(serializers.Serializer[Any]):
    """What a permit obliges to. What else stands in it depends on its type."""

    has_more_members = True
    type = serializers.CharField()
    clause = serializers.CharField()
    grant = TypeIDSerializerField(prefix="grt")


class DecisionSerializer(serializers.Serializer[Any]):
    """The answer for one work."""

    work = serializers.CharField(allow_null=True, help_text="As you named it; null for anything.")
    decision = serializers.ChoiceField(choices=[answer.word for answer in decisions.Answer])
    grant = TypeIDSerializerField(prefix="grt", allow_null=True)
    clause = serializers.CharField(allow_null=True, help_text="Of the text of the grant's terms.")
    duties = DutySerializer(many=True)
    valid_until = serializers.DateTimeField(
        allow_null=True, help_text="How long a permit holds as things stand. Null: no end is known."
    )
    reasons = ReasonSerializer(many=True)
    engine = serializers.CharField(help_text="Which semantics answered.")


class SummarySerializer(serializers.Serializer[Any]):
    """How many works got which answer."""

    permit = serializers.IntegerField()
    deny = serializers.IntegerField()
    needs_review = serializers.IntegerField()


class DecisionsSerializer(serializers.Serializer[Any]):
    """Decisions in the order of the works asked about."""

    object = serializers.ChoiceField(choices=["decisions"])
    at = serializers.DateTimeField(help_text="The instant that was decided for.")
    summary = SummarySerializer()
    data = DecisionSerializer(many=True)  # type: ignore[assignment]


class DecisionViewSet(TenantViewSet):
    """Ask whether works may be used so."""

    model = Grant
    scopes = {"create": Scope.DECISIONS_READ}
    only_asks = True

    @extend_schema(
        summary="Decide for up to 1,000 works",
        description=(
            "May these works be used so? By the grants that you hold, opt-outs and holds included:"
            " permit, deny or needs_review for each work, with the clause and what it obliges to."
            " Nothing is written. What the answers mean: the page on decision semantics."
        ),
        request=AskForDecisions,
        responses={200: DecisionsSerializer},
    )
    def create(self, request: Request) -> Response:
        body = self.read(AskForDecisions)
        question = _question(body["question"])
        asked = decision_requests.Asked(
            digests=body["works"],
            external_ids=body["external_ids"],
            grant=body.get("grant"),
            collection=body.get("collection"),
            licensor=body.get("licensor"),
        )
        found = decision_requests.decide(self.caller, question, asked, as_of=body.get("as_of"))
        return Response(_shown(question, asked, found), headers={"Cache-Control": "no-store"})


def _question(body: dict[str, Any]) -> clauses.Question:
    model = dict(body.pop("model", {}))
    release = model.pop("release", None)
    at = body.pop("at", None) or timezone.now()
    return clauses.ask(**body, at=at, model=clauses.Model(**model), release=release)


def _shown(
    question: clauses.Question,
    asked: decision_requests.Asked,
    found: list[decisions.Decision],
) -> dict[str, Any]:
    works: list[str | None] = [digest.hex() for digest in asked.digests]
    works = works or list(asked.external_ids) or [None]
    counted = Counter(decision.answer for decision in found)
    return {
        "object": "decisions",
        "at": decisions.instant(question.at),
        "summary": {answer.word: counted[answer] for answer in reversed(decisions.Answer)},
        "data": [
            {"work": work, **decision.as_dict()}
            for work, decision in zip(works, found, strict=True)
        ],
    }
