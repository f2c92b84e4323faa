"""Bodies that come in and resources that go out, for opt-outs, notices and contributors' links."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from licensing import settree
from licensing.ledger import log
from licensing.models import Acknowledgement, ContributorLink, LedgerEntry, Notice, OptOut
from licensing.notices import STATEMENT_LENGTH_MAX, Work
from licensing.optouts import NAMED_MAX, REASON_LENGTH_MAX
from marketplace import bulk
from marketplace.http import (
    Body,
    Resource,
    StrictCharField,
    StrictRegexField,
    TypeIDSerializerField,
)
from marketplace.serializers import HexField

# --- in ---------------------------------------------------------------------------------------


class DigestField(StrictRegexField):
    """A SHA-256 in hexadecimal, as bytes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("^[0-9a-f]{64}$", **kwargs)

    def run_validation(self, data: Any = empty) -> Any:
        # After the pattern, which is one of text.
        return bytes.fromhex(super().run_validation(data))


class RecordOptOut(Body):
    """Which works to take out, named in exactly one way, and why."""

    digests = serializers.ListField(
        child=DigestField(),
        required=False,
        min_length=1,
        max_length=NAMED_MAX,
        help_text=_("SHA-256 of the bytes. A work goes out with all its representations."),
    )
    works = serializers.ListField(
        child=TypeIDSerializerField(prefix="wrk"),
        required=False,
        min_length=1,
        max_length=NAMED_MAX,
    )
    external_ids = serializers.ListField(
        child=StrictCharField(max_length=1000), required=False, min_length=1, max_length=NAMED_MAX
    )
    collection = TypeIDSerializerField(
        prefix="col", required=False, help_text=_("Everything that is, or ever was, in it.")
    )
    contributor = TypeIDSerializerField(
        prefix="ctr", required=False, help_text=_("All works of this contributor.")
    )
    reason = StrictCharField(
        max_length=REASON_LENGTH_MAX,
        help_text=_("For you, and for whoever opens the ledger entry with your openings."),
    )


class AcknowledgeNotice(Body):
    """What was done, and by whom it is stated."""

    statement = StrictCharField(
        max_length=STATEMENT_LENGTH_MAX,
        help_text=_("In your words, such as “Deleted from all stores; left out of new runs.”"),
    )
    name = StrictCharField(max_length=200)
    title = StrictCharField(max_length=200)


class RecordOptOuts(Body):
    """Opt-outs, each with its works and its reason."""

    items = bulk.Each(RecordOptOut())


class AcknowledgeOneNotice(AcknowledgeNotice):
    """Which notice, what was done, and by whom it is stated."""

    notice = TypeIDSerializerField(prefix="ntc")


class AcknowledgeNotices(Body):
    """Notices, each with what was done."""

    items = bulk.Each(AcknowledgeOneNotice())


# --- out --------------------------------------------------------------------------------------


class CitedSetSerializer(serializers.Serializer[Any]):
    """A set of works as it is cited, and the secret that opens its leaves (see set_tree.md)."""

    tree = serializers.CharField()
    type = serializers.ChoiceField(choices=["opt_outs"])
    size = serializers.IntegerField()
    root = HexField()  # type: ignore[assignment]
    totals = serializers.DictField(child=serializers.IntegerField())
    citation = HexField()
    secret = HexField()


class RecordedSerializer(serializers.Serializer[Any]):
    """Where a fact is recorded."""

    log = serializers.ChoiceField(choices=list(log.LOGS))
    leaf_hash = HexField()
    index = serializers.IntegerField(
        allow_null=True, help_text=_("The entry's place; null until the log has integrated it.")
    )


class OptOutSerializer(Resource[OptOut]):
    """Works that were taken out of licensing, for good."""

    object_name = "opt_out"
    works = serializers.SerializerMethodField()
    notices = serializers.SerializerMethodField(
        help_text=_("How many licensees' grants are affected, and how many acknowledged it.")
    )
    opt_out_ref = HexField(read_only=True, help_text=_("Names it in the public logs."))
    ledger = serializers.SerializerMethodField()

    class Meta:
        model = OptOut
        fields = (
            "id",
            "organization",
            "by",
            "reason",
            "is_everywhere",
            "works",
            "notices",
            "opt_out_ref",
            "ledger",
            "recorded_at",
        )
        read_only_fields = fields

    @extend_schema_field(CitedSetSerializer)
    def get_works(self, row: OptOut) -> Any:
        return _set(row)

    @extend_schema_field(
        {
            "type": "object",
            "properties": {
                "queued": {"type": "integer"},
                "acknowledged": {"type": "integer"},
            },
            "required": ["queued", "acknowledged"],
        }
    )
    def get_notices(self, row: Any) -> Any:
        return {"queued": row.notified, "acknowledged": row.acknowledged}

    @extend_schema_field(RecordedSerializer(many=True))
    def get_ledger(self, row: OptOut) -> Any:
        entries = [row.entry, row.other_entry]
        return [_recorded(entry) for entry in entries if entry is not None]


class AcknowledgementSerializer(Resource[Acknowledgement]):
    """What a licensee stated about a notice."""

    object_name = "acknowledgement"
    name = serializers.CharField(source="person_name", read_only=True)
    title = serializers.CharField(source="person_title", read_only=True)
    ledger = serializers.SerializerMethodField()

    class Meta:
        model = Acknowledgement
        fields = ("id", "statement", "name", "title", "acknowledged_at", "ledger")
        read_only_fields = fields

    @extend_schema_field(RecordedSerializer)
    def get_ledger(self, row: Acknowledgement) -> Any:
        return _recorded(row.entry)


class NoticeSerializer(Resource[Notice]):
    """What a licensee is told: works that its grant covers were taken out."""

    object_name = "notice"
    state = serializers.SerializerMethodField()
    by = serializers.ChoiceField(
        choices=OptOut.By.choices, read_only=True, help_text=_("Who did it.")
    )
    works = serializers.SerializerMethodField(
        help_text=_("Those that this grant covers. GET …/works lists them.")
    )
    notice_ref = HexField(read_only=True, help_text=_("Names it in the public log."))
    ledger = serializers.SerializerMethodField()
    acknowledgement = serializers.SerializerMethodField()

    class Meta:
        model = Notice
        fields = (
            "id",
            "livemode",
            "licensor",
            "licensee",
            "grant",
            "opt_out",
            "by",
            "state",
            "works",
            "notice_ref",
            "ledger",
            "queued_at",
            "acknowledgement",
        )
        read_only_fields = fields

    @extend_schema_field({"type": "string", "enum": list(Notice.State.values)})
    def get_state(self, row: Notice) -> str:
        has = getattr(row, "acknowledgement", None) is not None
        return str(Notice.State.ACKNOWLEDGED if has else Notice.State.QUEUED)

    @extend_schema_field(CitedSetSerializer)
    def get_works(self, row: Notice) -> Any:
        return _set(row)

    @extend_schema_field(RecordedSerializer)
    def get_ledger(self, row: Notice) -> Any:
        return _recorded(row.entry)

    @extend_schema_field(AcknowledgementSerializer(allow_null=True))
    def get_acknowledgement(self, row: Notice) -> Any:
        found = getattr(row, "acknowledgement", None)
        return None if found is None else AcknowledgementSerializer(found).data


class OptOutResultSerializer(bulk.Result):
    """What came of one opt-out."""

    item = OptOutSerializer(allow_null=True)


class OptOutResultsSerializer(bulk.Results):
    """What came of all opt-outs, in their order."""

    results = bulk.all_of(OptOutResultSerializer())


class NoticeResultSerializer(bulk.Result):
    """What came of one notice."""

    item = NoticeSerializer(allow_null=True)


class NoticeResultsSerializer(bulk.Results):
    """What came of all notices, in their order."""

    results = bulk.all_of(NoticeResultSerializer())


class OptedOutWorkSerializer(serializers.Serializer[Any]):
    """One representation that was taken out: the key and the metadata of its leaf."""

    digest = HexField()
    external_id = serializers.CharField()
    metadata = serializers.SerializerMethodField()

    @extend_schema_field({"type": "object"})
    def get_metadata(self, work: Work) -> Any:
        return work.metadata(self.context["secret"])


class OptOutLinkSerializer(Resource[ContributorLink]):
    """An address with which a contributor takes all their works out, once."""

    object_name = "opt_out_link"

    class Meta:
        model = ContributorLink
        fields = (
            "id",
            "contributor",
            "opt_out",
            "created_at",
            "expires_at",
            "used_at",
            "revoked_at",
        )
        read_only_fields = fields


class OptOutLinkWithSecretSerializer(OptOutLinkSerializer):
    """A link just made, with its address: shown this once."""

    secret = serializers.URLField(
        read_only=True,
        allow_null=True,
        help_text=_("The address. Send it to the contributor now: it is stored nowhere."),
    )
    secret_already_shown = serializers.BooleanField(
        read_only=True, help_text="True in a replayed answer: the secret is null there."
    )

    class Meta:
        model = ContributorLink
        fields = (*OptOutLinkSerializer.Meta.fields, "secret", "secret_already_shown")
        read_only_fields = fields


def _set(row: OptOut | Notice) -> dict[str, Any]:
    return CitedSetSerializer(
        {
            "tree": settree.TREE,
            "type": "opt_outs",
            "size": row.size,
            "root": row.root,
            "totals": {"works": row.size},
            "citation": row.citation,
            "secret": row.secret,
        }
    ).data


def _recorded(entry: LedgerEntry) -> dict[str, Any]:
    leaf = getattr(entry, "leaf", None)
    return {
        "log": entry.log,
        "leaf_hash": bytes(entry.leaf_hash).hex(),
        "index": None if leaf is None else leaf.index,
    }
