"""The tables of tenants and their works."""

from marketplace.models.account_acts import AccountAct
from marketplace.models.bulk_edits import BulkEdit
from marketplace.models.collections import (
    EDIT,
    VIEW,
    Attestation,
    Collection,
    CollectionShare,
)
from marketplace.models.contributors import Contributor, ContributorIdentity
from marketplace.models.digests import DIGEST_LENGTH, Sha256
from marketplace.models.embedded_rights import (
    EmbeddedRights,
    EmbeddedRightsQuerySet,
    RightsOverride,
)
from marketplace.models.erasures import Erasure
from marketplace.models.events import Event
from marketplace.models.excerpts import EXCERPT_LENGTH_MAX, Excerpt
from marketplace.models.identifiers import WorkIdentifier
from marketplace.models.imports import ColumnTemplate, ImportJob, ImportRejection
from marketplace.models.invitations import Invitation
from marketplace.models.legal_holds import LegalHold
from marketplace.models.metadata import Metadata
from marketplace.models.records import Audit, IdempotencyKey
from marketplace.models.remote_buckets import RemoteBucket
from marketplace.models.reservations import ReservedDigest
from marketplace.models.tenants import ApiKey, Membership, Organization, User
from marketplace.models.traders import Trader
from marketplace.models.units import COUNT_MAX, UNITS
from marketplace.models.uploads import Upload
from marketplace.models.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from marketplace.models.works import CollectionItem, CollectionItemQuerySet, Representation, Work

__all__ = [
    "COUNT_MAX",
    "DIGEST_LENGTH",
    "EDIT",
    "EXCERPT_LENGTH_MAX",
    "UNITS",
    "VIEW",
    "AccountAct",
    "ApiKey",
    "Attestation",
    "Audit",
    "BulkEdit",
    "Collection",
    "CollectionItem",
    "CollectionItemQuerySet",
    "CollectionShare",
    "ColumnTemplate",
    "Contributor",
    "ContributorIdentity",
    "EmbeddedRights",
    "EmbeddedRightsQuerySet",
    "Erasure",
    "Event",
    "Excerpt",
    "IdempotencyKey",
    "ImportJob",
    "ImportRejection",
    "Invitation",
    "LegalHold",
    "Membership",
    "Metadata",
    "Organization",
    "RemoteBucket",
    "Representation",
    "ReservedDigest",
    "RightsOverride",
    "Sha256",
    "Trader",
    "Upload",
    "User",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Work",
    "WorkIdentifier",
]
