"""The tables of terms, snapshots, offers, grants, and the ledger."""

from licensing.models.access_requests import AccessRequest
from licensing.models.audit_roots import AuditLeaf, AuditRoot
from licensing.models.deliveries import DeliveryCount, DeliverySummary
from licensing.models.grant_events import GrantEvent, GrantEventQuerySet
from licensing.models.ledger import (
    LedgerAwaited,
    LedgerCheckpoint,
    LedgerCosignature,
    LedgerCounter,
    LedgerEntry,
    LedgerLeaf,
    LedgerOpening,
    LedgerParty,
    LedgerPending,
    LedgerRecovered,
    LedgerTile,
    LedgerTree,
)
from licensing.models.ledger_continuations import LedgerContinuation
from licensing.models.ledger_keys import LedgerKeyChange
from licensing.models.licenses import (
    Agreement,
    Coverage,
    CoverageQuerySet,
    Grant,
    GrantQuerySet,
    HeldAgreement,
    HeldGrant,
    Offer,
    Period,
    Snapshot,
    Terms,
)
from licensing.models.moderation import Appeal, ModerationDecision, Report
from licensing.models.optouts import (
    Acknowledgement,
    ContributorLink,
    Notice,
    NoticeQuerySet,
    OptOut,
    OptOutItem,
    OptOutQuerySet,
)
from licensing.models.samples import Sample, TakenSample
from licensing.models.scope_claims import LaneField, MultiRangeField, ScopeClaim
from licensing.models.search_documents import SearchDocument, SearchScope, SearchWord
from licensing.models.status import StatusChange, StatusLeaf, StatusRoot

__all__ = [
    "AccessRequest",
    "Acknowledgement",
    "Agreement",
    "Appeal",
    "AuditLeaf",
    "AuditRoot",
    "ContributorLink",
    "Coverage",
    "CoverageQuerySet",
    "DeliveryCount",
    "DeliverySummary",
    "Grant",
    "GrantEvent",
    "GrantEventQuerySet",
    "GrantQuerySet",
    "HeldAgreement",
    "HeldGrant",
    "LaneField",
    "LedgerAwaited",
    "LedgerCheckpoint",
    "LedgerContinuation",
    "LedgerCosignature",
    "LedgerCounter",
    "LedgerEntry",
    "LedgerKeyChange",
    "LedgerLeaf",
    "LedgerOpening",
    "LedgerParty",
    "LedgerPending",
    "LedgerRecovered",
    "LedgerTile",
    "LedgerTree",
    "ModerationDecision",
    "MultiRangeField",
    "Notice",
    "NoticeQuerySet",
    "Offer",
    "OptOut",
    "OptOutItem",
    "OptOutQuerySet",
    "Period",
    "Report",
    "Sample",
    "ScopeClaim",
    "SearchDocument",
    "SearchScope",
    "SearchWord",
    "Snapshot",
    "StatusChange",
    "StatusLeaf",
    "StatusRoot",
    "TakenSample",
    "Terms",
]
