"""Every rule that the tables of marketplace keep by themselves, broken on purpose, by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, JSONField, UniqueConstraint, Value
from django.db.utils import ProgrammingError
from django.utils import timezone

from marketplace import access
from marketplace.models import (
    COUNT_MAX,
    EXCERPT_LENGTH_MAX,
    UNITS,
    ApiKey,
    Attestation,
    Audit,
    BulkEdit,
    Collection,
    CollectionItem,
    CollectionShare,
    ColumnTemplate,
    Contributor,
    ContributorIdentity,
    EmbeddedRights,
    Event,
    Excerpt,
    IdempotencyKey,
    ImportJob,
    ImportRejection,
    Invitation,
    LegalHold,
    Membership,
    Metadata,
    Organization,
    RemoteBucket,
    Representation,
    ReservedDigest,
    RightsOverride,
    Trader,
    Upload,
    User,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    Work,
    WorkIdentifier,
)
from marketplace.models.collections import permission_for
from tests.people import found

pytestmark = pytest.mark.django_db


class Tenant:
    """One valid row of everything that an organization owns."""

    def __init__(self, organization: Organization, user: User) -> None:
        self.organization = organization
        self.membership = Membership.objects.create(
            organization=organization, user=user, role="owner"
        )
        self.key = self.api_key(digest=organization.pk.bytes * 2)
        self.contributor = Contributor.objects.create(organization=organization, external_id="c")
        self.identity = ContributorIdentity.objects.create(
            contributor=self.contributor, organization=organization, name="Con"
        )
        self.collection = Collection.objects.create(organization=organization, name="Letters")
        self.collection.refresh_from_db()
        self.attestation = self.attest()
        self.work = Work.objects.create(organization=organization, external_id="w")
        self.form = self.represent()
        self.item = self.add()
        self.override = self.answer()
        self.said = self.say()
        self.job = ImportJob.objects.create(
            organization=organization, collection=self.collection, source="s"
        )
        self.rejection = ImportRejection.objects.create(
            organization=organization, job=self.job, name="n", code="empty", detail="d"
        )
        self.audit = Audit.objects.create(
            organization=organization, actor="system", action="a", subject="s"
        )
        self.idempotency = self.idempotency_key()

    def api_key(self, **fields: Any) -> ApiKey:
        values = {"livemode": False, "name": "k", "digest": b"\x01" * 32, "scopes": []}
        return ApiKey.objects.create(organization=self.organization, **{**values, **fields})

    def attest(self, **fields: Any) -> Attestation:
        values = {
            "collection": self.collection,
            "basis": "own",
            "statement": "Ours.",
            "person_name": "Ada",
            "person_title": "Head",
            "actor": "system",
        }
        return Attestation.objects.create(organization=self.organization, **{**values, **fields})

    def represent(self, **fields: Any) -> Representation:
        values = {
            "work": self.work,
            "digest": b"\x02" * 32,
            "length": 1,
            "media_type": "text/plain",
            "custody": "reference",
        }
        return Representation.objects.create(organization=self.organization, **{**values, **fields})

    def represented(self) -> bytes:
        """The digest of one more representation, of which no file has said anything."""
        return bytes(self.represent(digest=b"\x08" * 32).digest)

    def answer(self, **fields: Any) -> RightsOverride:
        values = {
            "collection": self.collection,
            "statement": "Ours.",
            "person_name": "Ada",
            "person_title": "Head",
            "actor": "system",
            "works": 1,
        }
        return RightsOverride.objects.create(organization=self.organization, **{**values, **fields})

    def say(self, **fields: Any) -> EmbeddedRights:
        values = {"digest": bytes(self.form.digest), "is_prohibited": True}
        return EmbeddedRights.objects.create(organization=self.organization, **{**values, **fields})

    def add(self, **fields: Any) -> CollectionItem:
        values = {
            "collection": self.collection,
            "work": self.work,
            "representation": self.form,
            "added_in": 1,
        }
        return CollectionItem.objects.create(organization=self.organization, **{**values, **fields})

    def idempotency_key(self, **fields: Any) -> IdempotencyKey:
        values = {"livemode": False, "key": "k", "fingerprint": b"", "locked_until": timezone.now()}
        return IdempotencyKey.objects.create(organization=self.organization, **{**values, **fields})

    def note(self, **fields: Any) -> Metadata:
        values = {"livemode": False, "kind": "col", "data": {"po": "4711"}}
        values["subject"] = self.collection.pk
        return Metadata.objects.create(organization=self.organization, **{**values, **fields})


class World(Tenant):
    """One tenant's rows, and another's beside them; each case breaks one thing."""

    def __init__(self, archive: Organization, stranger: Organization) -> None:
        self.user = User.objects.create(email="a@example.org", name="A")
        super().__init__(archive, self.user)
        self.other = Tenant(stranger, self.user)

    def organize(self, **fields: Any) -> None:
        values = {"kind": "lab", "name": "N", "legal_name": "N", "jurisdiction": "IE"}
        Organization.objects.create(**{**values, **fields})

    def contribute(self, **fields: Any) -> None:
        Contributor.objects.create(
            **{"organization": self.organization, "external_id": "c2", **fields}
        )

    def identify(self, contributor: Contributor) -> None:
        ContributorIdentity.objects.create(
            contributor=contributor, organization=self.organization, name="x"
        )

    def nameless(self) -> Contributor:
        """Another tenant's contributor who has no identity yet."""
        return Contributor.objects.create(
            organization=self.other.organization, external_id="nameless"
        )

    def collect(self, **fields: Any) -> None:
        Collection.objects.create(**{"organization": self.organization, "name": "N", **fields})

    def work_again(self, **fields: Any) -> Work:
        return Work.objects.create(
            **{"organization": self.organization, "external_id": "w2", **fields}
        )

    def import_again(self, **fields: Any) -> None:
        values = {"organization": self.organization, "collection": self.collection, "source": "s"}
        ImportJob.objects.create(**{**values, **fields})

    def edit(self, **fields: Any) -> None:
        values = {"organization": self.organization, "collection": self.collection, "change": {}}
        BulkEdit.objects.create(**{**values, **fields})

    def show(self, **fields: Any) -> None:
        values = {
            "organization": self.organization,
            "digest": bytes(self.form.digest),
            "kind": "text",
        }
        Excerpt.objects.create(**{**values, **fields})

    def show_twice(self) -> None:
        self.show()
        self.show()

    def read_header(self, **fields: Any) -> None:
        values = {"organization": self.organization, "header": b"\x02" * 32}
        ColumnTemplate.objects.create(**{**values, **fields})

    def read_header_twice(self) -> None:
        self.read_header()
        self.read_header()

    def reserve(self, **fields: Any) -> None:
        values = {"organization": None, "digest": b"\x02" * 32, "reason": "held", "cause": "c"}
        ReservedDigest.objects.create(**{**values, **fields})

    def connect(self, **fields: Any) -> RemoteBucket:
        values = {
            "organization": self.organization,
            "endpoint": "https://s3.example.org",
            "name": "works",
            "key": "{digest}",
            "access_key_id": "a",
            "secret_access_key": b"s",
        }
        return RemoteBucket.objects.create(**{**values, **fields})

    def connect_twice(self) -> None:
        self.connect()
        self.connect()

    def upload(self, **fields: Any) -> None:
        Upload.objects.create(**{"organization": self.organization, "length": 2, **fields})

    def identify_work(self, **fields: Any) -> None:
        values = {
            "organization": self.organization,
            "work": self.work,
            "scheme": "isbn",
            "value": "9780306406157",
        }
        WorkIdentifier.objects.create(**{**values, **fields})

    def identify_work_twice(self) -> None:
        self.identify_work()
        self.identify_work()

    def share(self, **fields: Any) -> CollectionShare:
        values = {
            "organization": self.organization,
            "content_object": self.collection,
            "user": self.user,
            "permission": permission_for("view"),
            "created_by": "system",
        }
        return CollectionShare.objects.create(**{**values, **fields})

    def share_twice(self) -> None:
        self.share()
        self.share()

    def invite(self, **fields: Any) -> Invitation:
        values = {
            "organization": self.organization,
            "email": "g@example.org",
            "role": "viewer",
            "token_digest": b"\x02" * 32,
            "created_by": "system",
            "expires_at": timezone.now(),
        }
        return Invitation.objects.create(**{**values, **fields})

    def invite_twice(self) -> None:
        self.invite()
        self.invite()

    def reject(self, job: ImportJob) -> None:
        ImportRejection.objects.create(
            organization=self.organization, job=job, name="n", code="c", detail="d"
        )


@pytest.fixture
def world(archive: Organization, stranger: Organization) -> Iterator[World]:
    with access.system("test the tables"):
        yield World(archive, stranger)


def rotated_twice(world: World) -> None:
    world.api_key(digest=b"\x03" * 32, rotated_from=world.key)
    world.api_key(digest=b"\x04" * 32, rotated_from=world.key)


def trader(world: World, **changes: Any) -> Trader:
    fields = {"legal_name": "A Ltd", "address": "1 Main Street", "email": "a@example.org"}
    more = {"phone": "+353 1 234567", "certified_by": "key_1"}
    return Trader.objects.create(organization=world.organization, **{**fields, **more, **changes})


def hold(world: World, **changes: Any) -> LegalHold:
    fields = {"reason": "A court asked.", "matter": "4 O 17/26", "placed_by": "usr_1"}
    named = {"subject": str(world.organization.pk)}
    return LegalHold.objects.create(**{**fields, **named, **changes})


def event(world: World | Tenant, **changes: Any) -> Event:
    values = {"livemode": False, "type": "import.finished", "data": {}}
    return Event.objects.create(organization=world.organization, **{**values, **changes})


def endpoint(world: World | Tenant, **changes: Any) -> WebhookEndpoint:
    values = {"livemode": False, "url": "https://example.org/", "secret": b"s"}
    return WebhookEndpoint.objects.create(organization=world.organization, **{**values, **changes})


def delivery(world: World, **changes: Any) -> WebhookDelivery:
    named = {"endpoint": changes.pop("endpoint", None) or endpoint(world)}
    named |= {"event": changes.pop("event", None) or event(world)}
    values = {"organization": world.organization, "livemode": False}
    return WebhookDelivery.objects.create(**{**values, **named, **changes})


def attempt(world: World, **changes: Any) -> WebhookAttempt:
    named = {"delivery": changes.pop("delivery", None) or delivery(world)}
    values = {"number": 1, "started_at": timezone.now(), "duration_ms": 1, "status": 200}
    values |= {"organization": world.organization}
    return WebhookAttempt.objects.create(**{**values, **named, **changes})


def sent_twice(world: World) -> None:
    first = delivery(world)
    delivery(world, endpoint=first.endpoint, event=first.event)


def tried_twice(world: World) -> None:
    attempt(world, delivery=attempt(world).delivery)


BREAKS: dict[str, Callable[[World], Any]] = {
    # events and webhooks
    "event_position_is_given_once": lambda w: [event(w, position=1), event(w, position=1)],
    "event_position_counts_from_1": lambda w: event(w, position=0),
    "event_data_is_small": lambda w: event(w, data={"a": "a" * 16_384}),
    "webhook_endpoint_is_disabled_for_a_reason": lambda w: endpoint(w, disabled_at=timezone.now()),
    "webhook_endpoint_previous_secret_has_an_end": lambda w: endpoint(w, previous_secret=b"s"),
    "webhook_endpoint_fails_since_its_first_failure": lambda w: endpoint(w, failures=1),
    "webhook_delivery_is_one_per_endpoint": sent_twice,
    "webhook_delivery_is_due_iff_pending": lambda w: delivery(w, state="failed"),
    "webhook_delivery_counts_its_attempts": lambda w: delivery(w, attempts_before=1),
    "webhookdelivery_endpoint_id_same_organization": lambda w: delivery(
        w, endpoint=endpoint(w.other)
    ),
    "webhookdelivery_event_id_same_organization": lambda w: delivery(
        w, event=event(w, livemode=True)
    ),
    "webhook_attempt_is_numbered_once": tried_twice,
    "webhook_attempt_was_answered_or_says_why_not": lambda w: attempt(w, error="lost"),
    "webhook_attempt_answer_is_short": lambda w: attempt(w, answer="a" * 1025),
    "webhookattempt_delivery_id_same_organization": lambda w: attempt(
        w, organization=w.other.organization
    ),
    # traders and legal holds
    "marketplace_trader_organization_id_key": lambda w: [trader(w), trader(w)],
    "trader_state_matches_its_decision": lambda w: trader(w, state="verified"),
    "trader_says_who_it_is": lambda w: trader(w, phone=""),
    "legal_hold_says_why": lambda w: hold(w, matter=""),
    "legal_hold_is_lifted_with_a_reason": lambda w: hold(w, lifted_by="usr_2"),
    "legal_hold_is_lifted_by_another": lambda w: hold(
        w, lifted_by="usr_1", lifted_at=timezone.now(), lift_reason="Over."
    ),
    "legal_hold_ends_after_it_begins": lambda w: hold(w, until=timezone.now() - timedelta(days=1)),
    "legal_hold_subject_is_known": lambda w: hold(w, subject="Rae"),
    # organizations and people
    "organization_kind_is_known": lambda w: w.organize(kind="guild"),
    "organization_has_a_name": lambda w: w.organize(legal_name=""),
    "organization_jurisdiction_is_iso_3166": lambda w: w.organize(jurisdiction="Eire"),
    "marketplace_user_email_key": lambda w: User.objects.create(email="a@example.org", name="B"),
    "user_email_is_lower_case": lambda w: User.objects.create(email="B@example.org", name="B"),
    "membership_is_one_per_user": lambda w: Membership.objects.create(
        organization=w.organization, user=w.user, role="viewer"
    ),
    "membership_role_is_known": lambda w: Membership.objects.create(
        organization=found("Third", "lab"), user=w.user, role="king"
    ),
    # keys
    "api_key_digest_is_unique": lambda w: w.api_key(digest=bytes(w.key.digest)),
    "api_key_digest_is_sha256": lambda w: w.api_key(digest=b"\x01" * 31),
    "api_key_expires_after_creation": lambda w: w.api_key(
        expires_at=timezone.now() - timedelta(seconds=1)
    ),
    "api_key_version_is_a_date": lambda w: w.api_key(version="newest"),
    "marketplace_apikey_rotated_from_id_key": rotated_twice,
    # contributors
    "contributor_external_id_is_unique": lambda w: w.contribute(external_id="c"),
    "contributor_consent_is_known": lambda w: w.contribute(
        consent="perhaps", consent_changed_at=timezone.now()
    ),
    "contributor_consent_is_dated_iff_known": lambda w: w.contribute(consent="granted"),
    "contributoridentity_contributor_id_same_organization": lambda w: w.identify(w.nameless()),
    # collections
    "marketplace_collection_number_key": lambda w: w.collect(number=w.collection.number),
    "collection_external_id_is_unique": lambda w: [w.collect(external_id="x") for _ in "12"],
    "collection_has_a_name": lambda w: w.collect(name=""),
    "collection_snapshots_count_from_one": lambda w: w.collect(next_snapshot=0),
    "attestation_basis_is_known": lambda w: w.attest(basis="because"),
    "attestation_names_its_open_license": lambda w: w.attest(basis="open_license"),
    "attestation_is_signed": lambda w: w.attest(person_name=""),
    "attestation_collection_id_same_organization": lambda w: w.attest(
        collection=w.other.collection
    ),
    # works
    "work_external_id_is_unique": lambda w: w.work_again(external_id="w"),
    "work_has_an_external_id": lambda w: w.work_again(external_id=""),
    "work_contributor_id_same_organization": lambda w: w.work_again(
        contributor=w.other.contributor
    ),
    "representation_digest_is_unique": lambda w: w.represent(),
    "representation_digest_is_sha256": lambda w: w.represent(digest=b"\x02" * 33),
    "representation_length_is_known_of_kept_bytes": lambda w: w.represent(
        digest=b"\x03" * 32, length=0, custody="hosted"
    ),
    "representation_custody_is_known": lambda w: w.represent(digest=b"\x03" * 32, custody="lost"),
    "representation_work_id_same_organization": lambda w: w.represent(
        digest=b"\x03" * 32, work=w.other.work
    ),
    # what files say of themselves
    "embedded_rights_are_read_once": lambda w: w.say(),
    "embedded_rights_override_a_prohibition": lambda w: w.say(
        digest=w.represented(), is_prohibited=False, override=w.override
    ),
    "embedded_rights_of_a_representation": lambda w: w.say(digest=b"\x09" * 32),
    "embedded_rights_override_same_organization": lambda w: w.say(
        digest=w.represented(), override=w.other.override
    ),
    "rights_override_is_signed": lambda w: w.answer(person_title=""),
    "rights_override_stands_for_works": lambda w: w.answer(works=0),
    "rights_override_collection_same_organization": lambda w: w.answer(
        collection=w.other.collection
    ),
    # items
    "item_is_removed_after_it_was_added": lambda w: w.add(added_in=2, removed_in=1),
    "item_units_are_known_and_counted": lambda w: w.add(removed_in=1, units={"minutes": 1}),
    "collectionitem_collection_number_same_organization": lambda w: w.add(
        collection=w.other.collection
    ),
    "collectionitem_work_id_same_organization": lambda w: w.add(
        work=w.other.work, representation=w.other.form
    ),
    "item_representation_same_work": lambda w: w.add(representation=w.other.form),
    # imports
    "import_status_is_known": lambda w: w.import_again(status="lost", finished_at=timezone.now()),
    "import_waits_only_for_an_upload": lambda w: w.import_again(status="queued"),
    "bulk_edit_is_ended_iff_dated": lambda w: w.edit(status="finished"),
    "bulk_edit_changes_no_more_than_it_saw": lambda w: w.edit(changed=1),
    "bulkedit_collection_id_same_organization": lambda w: w.edit(collection=w.other.collection),
    "excerpt_is_made_once": lambda w: w.show_twice(),
    "excerpt_kind_is_known": lambda w: w.show(kind="film"),
    "excerpt_has_content_iff_made": lambda w: w.show(status="made"),
    "excerpt_is_small": lambda w: w.show(status="made", content=bytes(EXCERPT_LENGTH_MAX + 1)),
    "excerpt_of_a_representation": lambda w: w.show(digest=b"\x09" * 32),
    "column_template_is_one_per_header": lambda w: w.read_header_twice(),
    "column_template_header_is_sha256": lambda w: w.read_header(header=b"\x02" * 31),
    "identifier_is_said_once": lambda w: w.identify_work_twice(),
    "identifier_fits_its_scheme": lambda w: w.identify_work(value="978030640615X"),
    "workidentifier_work_id_same_organization": lambda w: w.identify_work(work=w.other.work),
    "import_is_ended_iff_dated": lambda w: w.import_again(finished_at=timezone.now()),
    "importjob_collection_id_same_organization": lambda w: w.import_again(
        collection=w.other.collection
    ),
    "importrejection_job_id_same_organization": lambda w: w.reject(w.other.job),
    # remote buckets and uploads
    "remote_bucket_is_one_at_a_time": lambda w: w.connect_twice(),
    "remote_bucket_key_names_the_work": lambda w: w.connect(key="works/"),
    "upload_status_is_known": lambda w: w.upload(status="lost"),
    "upload_is_not_empty": lambda w: w.upload(length=0),
    "upload_receives_no_more_than_its_length": lambda w: w.upload(received=3),
    "upload_expected_is_sha256": lambda w: w.upload(expected=b"\x02" * 31),
    "upload_digest_is_sha256": lambda w: w.upload(
        received=2, status="finished", digest=b"\x02" * 31, finished_at=timezone.now()
    ),
    "upload_is_whole_iff_digested": lambda w: w.upload(
        received=1, status="finished", digest=b"\x02" * 32, finished_at=timezone.now()
    ),
    "upload_is_finished_only_if_digested": lambda w: w.upload(received=2, status="finished"),
    # shares and invitations
    "collection_share_is_one_per_user": lambda w: w.share_twice(),
    "collection_share_collection_same_organization": lambda w: w.share(
        content_object=w.other.collection
    ),
    "invitation_token_is_unique": lambda w: w.invite_twice(),
    "invitation_token_is_sha256": lambda w: w.invite(token_digest=b"\x02" * 31),
    "invitation_email_is_lower_case": lambda w: w.invite(email="G@example.org"),
    "invitation_is_to_a_role_or_to_a_collection": lambda w: w.invite(role=""),
    "invitation_collection_same_organization": lambda w: w.invite(
        role="", collection=w.other.collection, right="view"
    ),
    "invitation_is_accepted_by_somebody": lambda w: w.invite(accepted_at=timezone.now()),
    "invitation_ends_once": lambda w: w.invite(
        accepted_at=timezone.now(), accepted_by=w.user, revoked_at=timezone.now()
    ),
    # reserved digests
    "reserved_digest_is_sha256": lambda w: w.reserve(digest=b"\x02" * 31),
    "reserved_digest_reason_is_known": lambda w: w.reserve(reason="lost"),
    # metadata
    "metadata_of_an_object_is_one": lambda w: [w.note() for _ in "12"],
    "metadata_kind_is_known": lambda w: w.note(kind="wrk"),
    "metadata_is_few_named_texts": lambda w: w.note(data={"po": ""}),
    # idempotency
    "idempotency_key_is_unique": lambda w: w.idempotency_key(),
}
# Keys that only serve as targets of composite foreign keys: each holds the primary key, which
# no row can break alone.
TARGETS = {
    "membership_of_organization",
    "collection_share_of_organization",
    "invitation_of_organization",
    "api_key_of_organization",
    "contributor_of_organization",
    "collection_of_organization",
    "collection_number_of_organization",
    "work_of_organization",
    "representation_of_work",
    "import_of_organization",
    "bulk_edit_of_organization",
    "remote_bucket_of_organization",
    "upload_of_organization",
    "rights_override_of_organization",
    "audit_of_organization",
    "event_of_organization",
    "webhook_endpoint_of_organization",
    "webhook_delivery_of_organization",
    "webhook_attempt_of_organization",
    "erasure_of_organization",
}
# A unique constraint with a condition is an index to PostgreSQL.
CONDITIONAL = {
    "remote_bucket_is_one_at_a_time",
    "item_lives_once_at_a_time",
    "collection_external_id_is_unique",
    "reserved_digest_is_reserved_once",
}
# Broken in tests of their own, below: some are indexes, one refuses changes.
ELSEWHERE = {
    "item_lives_once_at_a_time",
    "reserved_digest_is_reserved_once",
    "item_ends_once",
    # test_events
    "event_keeps_its_position",
}


def broken_by(act: Callable[[], Any]) -> str | None:
    """The name of the constraint that refuses an act, now or at the end of its transaction."""
    cause = None
    try:
        with transaction.atomic():
            act()
            connection.check_constraints()
    except IntegrityError as error:
        cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


@pytest.mark.parametrize("name", BREAKS)
def test_the_database_refuses_what_breaks(name: str, world: World) -> None:
    assert broken_by(lambda: BREAKS[name](world)) == name


def test_an_item_lives_once_at_a_time(world: World) -> None:
    assert broken_by(world.add) == "item_lives_once_at_a_time"
    world.item.removed_in = 2
    world.item.save(update_fields=["removed_in"])
    world.add(added_in=2)


@pytest.mark.parametrize("is_of_one", [True, False])
def test_a_digest_is_reserved_once_for_a_reason(world: World, is_of_one: bool) -> None:
    where = {"organization": world.organization if is_of_one else None}
    world.reserve(**where)
    assert broken_by(lambda: world.reserve(**where)) == "reserved_digest_is_reserved_once"
    world.reserve(**where, reason="claimed")


def test_every_named_constraint_has_a_case() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conname FROM pg_constraint
            WHERE conrelid::regclass::text LIKE 'marketplace\\_%'
              AND conrelid::regclass::text NOT LIKE 'marketplace\\_user\\_%'
              AND (contype IN ('u', 'x', 'c') OR conname LIKE '%\\_same\\_%'
                   OR conname LIKE '%\\_of\\_a\\_representation')
            UNION SELECT tgname FROM pg_trigger
            WHERE tgrelid::regclass::text LIKE 'marketplace\\_%' AND NOT tgisinternal
              AND tgname NOT LIKE 'insert\\_only%'
            """
        )
        named = {name for (name,) in cursor.fetchall()}
    declared = {
        constraint.name
        for model in apps.get_app_config("marketplace").get_models()
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    }
    assert declared - CONDITIONAL <= named
    assert named | CONDITIONAL == set(BREAKS) | TARGETS | ELSEWHERE


@pytest.mark.parametrize(
    "data",
    [[], "po", None, {"po": 4711}, {"po": None}, {"": "4711"}, {"po": {"job": "7"}},
     {str(n): "x" for n in range(51)}, {str(n): "x" * 6_000 for n in range(50)}],
)  # fmt: skip
def test_metadata_is_a_few_named_texts(world: World, data: Any) -> None:
    written = Value(data, JSONField())
    assert broken_by(lambda: world.note(data=written)) == "metadata_is_few_named_texts"


@pytest.mark.parametrize(
    "change",
    [
        {"removed_in": None},
        {"removed_in": 3},
        {"removed_in": 2, "added_in": 2},
    ],
)
def test_an_items_numbers_are_set_once(world: World, change: dict[str, int | None]) -> None:
    """Refused to the owner, too."""
    values = ", ".join(f"{name} = {'NULL' if n is None else n}" for name, n in change.items())
    if "added_in" not in change:
        world.item.removed_in = 2
        world.item.save(update_fields=["removed_in"])
    with pytest.raises(IntegrityError, match="an item's numbers are set once"):
        owner_changes(f"UPDATE marketplace_collectionitem SET {values} WHERE id = {world.item.pk}")


@pytest.mark.parametrize(
    "units",
    [
        '{"tokens": 0}',
        '{"tokens": -1}',
        '{"tokens": 1.0}',
        '{"tokens": 1.5}',
        '{"tokens": 9007199254740992}',
        '{"tokens": 1e300}',
        '{"tokens": "1"}',
        '{"tokens": null}',
        '{"tokens": [1]}',
        '{"tokens": {"words": 1}}',
        '{"tokens": 1, "Words": 1}',
        '{"": 1}',
        "[]",
        "1",
        "null",
        '"{}"',
    ],
)
def test_an_items_units_are_known_and_whole(world: World, units: str) -> None:
    before = CollectionItem.objects.count()
    with (
        pytest.raises(IntegrityError, match="item_units_are_known_and_counted"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO marketplace_collectionitem (organization_id, collection_number, work_id,"
            " representation_id, added_in, removed_in, units)"
            " SELECT organization_id, collection_number, work_id, representation_id, 1, 1, %s"
            " FROM marketplace_collectionitem WHERE id = %s",
            [units, world.item.pk],
        )
    assert CollectionItem.objects.count() == before


def test_an_item_may_count_every_unit_up_to_what_json_can_say(world: World) -> None:
    most = dict.fromkeys(UNITS, COUNT_MAX)
    item = world.add(removed_in=1, units=most)
    item.refresh_from_db()
    assert (item.units, world.item.units) == (most, {})


def owner_changes(statement: str) -> None:
    """Run one statement as the owner, in the test's own transaction; undone if it fails."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE licet_owner")
        cursor.execute(statement)
        cursor.execute("SET LOCAL ROLE licet_app")


@pytest.mark.parametrize("column", ["added_in", "collection_number", "representation_id", "units"])
def test_the_application_may_only_end_an_item(world: World, column: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE marketplace_collectionitem SET {column} = {column}")
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        world.item.delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["attestation", "importrejection", "rightsoverride", "audit"])
def test_what_was_written_stays(
    table: str,
    archive: Organization,
    stranger: Organization,
    owner_connection: psycopg.Connection[Any],
) -> None:
    with access.system("write one of each"):
        World(archive, stranger)
    for verb in (f"UPDATE marketplace_{table} SET id = id", f"DELETE FROM marketplace_{table}"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            as_application(verb)
        with pytest.raises(psycopg.errors.RestrictViolation):
            as_owner(owner_connection, verb)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner_connection.execute(f"TRUNCATE marketplace_{table} CASCADE")
    with access.system("count them"), connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM marketplace_{table}")
        assert cursor.fetchone() == (2,)


def as_application(statement: str) -> None:
    with access.system("try it as the application"), connection.cursor() as cursor:
        cursor.execute(statement)


def as_owner(owner: psycopg.Connection[Any], statement: str) -> None:
    with owner.transaction():
        # The owner, too, sees the rows only as all-tenant work.
        owner.execute("SELECT set_config('licet.system', 'test', true)")
        owner.execute(statement)
