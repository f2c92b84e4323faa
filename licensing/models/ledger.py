"""The tables of the ledger: they know no business noun, and only licensing.ledger writes them."""

from __future__ import annotations

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact, LessThanOrEqual
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing import packing
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH


class BodyField(models.BinaryField):  # type: ignore[type-arg]
    """The exact bytes that were hashed, stored packed (`licensing.packing`).

    A row of a release before the packing holds them as they are. What does not unpack is given as
    it stands: it is not what was hashed.
    """

    def from_db_value(self, value: bytes | None, *_context: Any) -> bytes | None:
        return None if value is None else packing.unpack_body(bytes(value))

    def get_prep_value(self, value: Any) -> bytes | None:
        return None if value is None else packing.pack_body(bytes(value))


class LedgerEntry(models.Model):
    """One recorded fact: the exact bytes that were hashed. Written by `ledger.log.append`.

    Updates: cannot. Deletion: cannot. Guarantees: commits with the row whose creation it records,
    and `(log, subject_ref, seq)` is unique, so the chain of one subject cannot fork.
    """

    id = models.BigAutoField(primary_key=True)
    log = models.CharField(max_length=4)
    kind = models.CharField(max_length=40)
    # Sixteen random bytes that name the subject in public, and are no key of ours.
    subject_ref = models.BinaryField(max_length=16)
    seq = models.IntegerField()
    body = BodyField()
    # RFC 6962: SHA-256(0x00 || body). Computed again from the stored body before integration.
    leaf_hash = models.BinaryField(max_length=DIGEST_LENGTH)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        constraints = [
            models.UniqueConstraint(
                name="ledger_chain_does_not_fork", fields=["log", "subject_ref", "seq"]
            ),
            models.CheckConstraint(
                name="ledger_entry_is_in_a_known_log", condition=Q(log__in=["test", "live"])
            ),
            models.CheckConstraint(
                name="ledger_entry_fits_a_tile",
                condition=LessThanOrEqual(Length("body"), 65_535),
            ),
            models.CheckConstraint(
                name="ledger_entry_subject_is_16_bytes", condition=Exact(Length("subject_ref"), 16)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} {self.kind} #{self.pk}"


class LedgerPending(models.Model):
    """An entry that waits for its place in the log.

    A queue, not a watermark on ids: an id is taken before its transaction commits, so a watermark
    would skip whoever commits late.
    """

    entry = models.OneToOneField(LedgerEntry, models.PROTECT, primary_key=True, related_name="+")
    log = models.CharField(max_length=4)
    # It gets its place no sooner, nor does what follows it in its chain. Null: at once.
    not_before = models.DateTimeField(null=True)


class LedgerAwaited(models.Model):
    """An entry whose receipt somebody waits for: its log is signed at once.

    Written by whoever looks for a receipt in vain, deleted with the note that contains the entry
    (`ledger.sequencer`). A row of its own for each entry: one for all would be lost to who comes
    while it is being deleted.
    """

    entry = models.OneToOneField(LedgerEntry, models.PROTECT, primary_key=True, related_name="+")
    log = models.CharField(max_length=4)


class LedgerRecovered(models.Model):
    """An entry that came back from the log's copy, after the database had lost it. Insert-only.

    Stands in for the entry's subject, which the copy does not hold: `ledger.recovery` alone writes
    it, together with the entry's place.
    """

    entry = models.OneToOneField(
        LedgerEntry, models.PROTECT, primary_key=True, related_name="recovered"
    )
    recovered_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("recovered ledger entry")
        verbose_name_plural = _("recovered ledger entries")

    def __str__(self) -> str:
        return f"recovered #{self.pk}"


class LedgerLeaf(models.Model):
    """The place of an entry in its log: gapless, from 0. Insert-only. Written by the sequencer."""

    pk = models.CompositePrimaryKey("log", "index")
    # A generation of a log: `live`, or `live/2`. See `ledger.generations`.
    log = models.CharField(max_length=9)
    index = models.BigIntegerField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="leaf")
    leaf_hash = models.BinaryField(max_length=DIGEST_LENGTH)


class LedgerTile(models.Model):
    """A full tile: 256 hashes of one level (C2SP tlog-tiles). Insert-only.

    Partial tiles are prefixes of what stands in leaves and lower tiles; no row is ever updated.
    """

    pk = models.CompositePrimaryKey("log", "level", "index")
    # A generation of a log: `live`, or `live/2`. See `ledger.generations`.
    log = models.CharField(max_length=9)
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    hashes = models.BinaryField(max_length=256 * DIGEST_LENGTH)
    # What the tile folds to: one hash of the tile above, read without reading this one.
    root = models.BinaryField(max_length=DIGEST_LENGTH)


class LedgerTree(models.Model):
    """An integrated state of a log: everything up to `size` has its place. Insert-only."""

    pk = models.CompositePrimaryKey("log", "size")
    # A generation of a log: `live`, or `live/2`. See `ledger.generations`.
    log = models.CharField(max_length=9)
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    integrated_at = models.DateTimeField(default=timezone.now, editable=False)


class LedgerCheckpoint(models.Model):
    """A signed note over an integrated state, made after that state was committed. Insert-only."""

    pk = models.CompositePrimaryKey("log", "size")
    # A generation of a log: `live`, or `live/2`. See `ledger.generations`.
    log = models.CharField(max_length=9)
    size = models.BigIntegerField()
    # The exact note (C2SP tlog-checkpoint), ASCII and ends of line included.
    note = models.TextField()
    signed_at = models.DateTimeField(default=timezone.now, editable=False)


class LedgerCosignature(models.Model):
    """A witness's signature over a checkpoint, verified before it was kept. Insert-only.

    Updates: cannot. Deletion: cannot. Guarantees: its checkpoint is there, and each witness's key
    has one line for it. Written by `ledger.witnessing`.
    """

    id = models.BigAutoField(primary_key=True)
    # With `size`, a foreign key to the checkpoint (migration 0080).
    log = models.CharField(max_length=9)
    size = models.BigIntegerField()
    # The witness's key, whole: it stays checkable when the settings name the witness no more.
    vkey = models.TextField()
    # Seconds since 1970 by the witness's clock, which may say anything.
    cosigned_at = models.BigIntegerField()
    # The signature line (C2SP tlog-cosignature), its newline included.
    line = models.TextField()
    kept_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("ledger cosignature")
        verbose_name_plural = _("ledger cosignatures")
        constraints = [
            models.UniqueConstraint(
                name="ledger_witness_cosigns_once", fields=["log", "size", "vkey"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} {self.size} {self.vkey.partition('+')[0]}"


class LedgerOpeningQuerySet(TenantQuerySet["LedgerOpening"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(parties__contains=[caller.organization.pk])


class LedgerOpening(models.Model):
    """What an entry's commitments commit to, for its parties only. Deletable: that is erasure."""

    entry = models.OneToOneField(
        LedgerEntry, models.PROTECT, primary_key=True, related_name="opening"
    )
    parties = ArrayField(models.UUIDField())
    # The one secret of the entry: every field's salt derives from it.
    seed = models.BinaryField(max_length=32)
    # See `licensing.packing`.
    packed = models.BinaryField(null=True)
    # The same not packed, in a row of a release before the packing; "" in others.
    plain = models.TextField(db_default="", db_column="values")

    objects = LedgerOpeningQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="ledger_opening_is_packed_or_plain",
                condition=Q(packed__isnull=False, plain="") | Q(packed__isnull=True) & ~Q(plain=""),
            ),
        ]

    @property
    def values(self) -> str:
        """Canonical JSON (RFC 8785) of {field: value}, as it was committed to."""
        if self.packed is None:
            return self.plain
        return packing.unpack(bytes(self.packed)).decode()


class LedgerCounter(models.Model):
    """How many entries of a log an organization is a party of, recorded or being recorded.

    Updates: only upwards and only by the database's function `ledger_advance`, which locks the row
    until the recording commits: numbers have no gaps, and commit in their order. Deletion: cannot.
    """

    pk = models.CompositePrimaryKey("log", "organization_id")
    log = models.CharField(max_length=4)
    organization_id = models.UUIDField()
    last = models.BigIntegerField()


class LedgerPartyQuerySet(TenantQuerySet["LedgerParty"]):
    def visible_to(self, caller: Caller) -> Self:
        log = "live" if caller.livemode else "test"
        return self.filter(log=log, organization_id=caller.organization.pk)


class LedgerParty(models.Model):
    """A party's number of an entry: gapless for each log and organization, from 1. Insert-only.

    The entry commits to it (`commitments.Slot`), so whoever keeps the numbers finds what was left
    out. Written by `ledger.log.append` with the entry; of version 1 there are none.
    """

    pk = models.CompositePrimaryKey("log", "organization_id", "sequence")
    log = models.CharField(max_length=4)
    organization_id = models.UUIDField()
    sequence = models.BigIntegerField()
    entry = models.ForeignKey(LedgerEntry, models.PROTECT, related_name="numbered", db_index=False)

    objects = LedgerPartyQuerySet.as_manager()

    class Meta:
        verbose_name = _("party of a ledger entry")
        verbose_name_plural = _("parties of ledger entries")
        constraints = [
            models.UniqueConstraint(
                name="ledger_party_has_one_number", fields=["entry", "organization_id"]
            ),
            models.CheckConstraint(name="ledger_numbers_begin_at_1", condition=Q(sequence__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.log} #{self.sequence} of {self.organization_id}"
