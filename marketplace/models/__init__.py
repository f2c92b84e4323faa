"""The tables of tenants and their works."""

from marketplace.models.collections import Attestation, Collection
from marketplace.models.contributors import Contributor, ContributorIdentity
from marketplace.models.digests import DIGEST_LENGTH, Sha256
from marketplace.models.imports import ImportJob, ImportRejection
from marketplace.models.records import Audit, IdempotencyKey
from marketplace.models.reservations import ReservedDigest
from marketplace.models.tenants import ApiKey, Membership, Organization, User
from marketplace.models.uploads import Upload
from marketplace.models.works import CollectionItem, Representation, Work

__all__ = [
    "DIGEST_LENGTH",
    "ApiKey",
    "Attestation",
    "Audit",
    "Collection",
    "CollectionItem",
    "Contributor",
    "ContributorIdentity",
    "IdempotencyKey",
    "ImportJob",
    "ImportRejection",
    "Membership",
    "Organization",
    "Representation",
    "ReservedDigest",
    "Sha256",
    "Upload",
    "User",
    "Work",
]
