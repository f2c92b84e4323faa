"""The tables of terms, snapshots, offers, grants, and the ledger."""

from licensing.models.ledger import (
    LedgerCheckpoint,
    LedgerEntry,
    LedgerLeaf,
    LedgerOpening,
    LedgerPending,
    LedgerTile,
    LedgerTree,
)
from licensing.models.licenses import (
    Agreement,
    Coverage,
    CoverageQuerySet,
    Grant,
    GrantQuerySet,
    Offer,
    Period,
    Snapshot,
    Terms,
)
from licensing.models.scope_claims import LaneField, MultiRangeField, ScopeClaim
from licensing.models.search_documents import SearchDocument, SearchScope, SearchWord

__all__ = [
    "Agreement",
    "Coverage",
    "CoverageQuerySet",
    "Grant",
    "GrantQuerySet",
    "LaneField",
    "LedgerCheckpoint",
    "LedgerEntry",
    "LedgerLeaf",
    "LedgerOpening",
    "LedgerPending",
    "LedgerTile",
    "LedgerTree",
    "MultiRangeField",
    "Offer",
    "Period",
    "ScopeClaim",
    "SearchDocument",
    "SearchScope",
    "SearchWord",
    "Snapshot",
    "Terms",
]
