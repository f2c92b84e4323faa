"""License certificates: what a grant says and how it stands, from its proven entry, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.utils import timezone

from licensing import grants, prices, status, status_proofs, windows
from licensing.ledger import log as ledger
from licensing.ledger import notes, proofs, receipts, rotation, succession
from licensing.ledger.log import LedgerCorrupted
from licensing.models import Agreement, Coverage, Grant, GrantEvent, Period, Terms
from licensing.parties import party
from marketplace import money
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput

# A heading of the published text, “2 Permitted use”, or one of its clauses, “2.1 …”.
_LINE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) (?P<text>.*)")
# What a price basis says beside the price itself (`prices.basis`).
_BESIDE_PRICE = frozenset({"currency", "quantity"})


@dataclass(frozen=True, slots=True)
class Party:
    """Who an organization was when the license was recorded."""

    legal_name: str
    jurisdiction: str
    registration_number: str
    id: str


@dataclass(frozen=True, slots=True)
class Clause:
    """A line of the exact text: a heading (“2”), a clause (“2.1”), or the title without number."""

    number: str
    text: str

    @property
    def is_heading(self) -> bool:
        return self.number != "" and "." not in self.number


@dataclass(frozen=True, slots=True)
class TermsInWords:
    """A published version of terms: its exact text, line by line, and what it hashes to."""

    name: str
    version: int
    text: str
    text_sha256: str
    typed_sha256: str

    @property
    def clauses(self) -> list[Clause]:
        return [_clause(line) for line in self.text.splitlines() if line.strip()]


@dataclass(frozen=True, slots=True)
class Document:
    """A contract that somebody accepted for the licensee."""

    # The period that it is the contract of: 1 is the license as it was issued.
    period: int
    sha256: str
    accepted_by_name: str
    accepted_by_title: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """One window, half-open: `access`, `training` or `use`. No end: None."""

    name: str
    begins: datetime
    ends: datetime | None


@dataclass(frozen=True, slots=True)
class Terming:
    """A period of the grant: under which terms, and when."""

    number: int
    kind: str
    terms: TermsInWords
    windows: tuple[Span, ...]
    scope: Mapping[str, Any]
    # None where whoever looks chose to hide it.
    price: str | None


@dataclass(frozen=True, slots=True)
class Covered:
    """A snapshot that the grant covers, from an instant on."""

    collection: str
    number: int
    size: int
    root: str
    totals: Mapping[str, int]
    citation: str
    effective_from: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """Where the grant's issue stands in the log, as its verified receipt says."""

    log: str
    origin: str
    index: int
    leaf_hash: str
    at: datetime
    checkpoint_size: int
    checkpoint_root: str


@dataclass(frozen=True, slots=True)
class Proof:
    """How the grant stood by a status root: what a verified status proof says, and no more."""

    state: str
    as_of: datetime
    number: int
    origin: str
    index: int
    checkpoint_size: int
    last_leaf: str


@dataclass(frozen=True, slots=True)
class Step:
    """What was recorded of the grant after its issue."""

    kind: str
    effective_at: datetime
    # `prospective`, `void_from_start`; "" of what is no revocation.
    effect: str
    by: str
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """How the grant stands: by this market's records, and by what is proven."""

    # By the records, now.
    now: str
    # What led to it; None of a grant that nothing has happened to.
    step: Step | None
    # Recorded, and to count later.
    announced: Step | None
    # By the newest signed status root that holds the grant; None before there is one.
    proven: Proof | None
    # Without a proof: when there is one at the latest.
    next_due: datetime | None

    @property
    def is_in_force(self) -> bool:
        """Only what the records and the proof both say."""
        active = Grant.Status.ACTIVE.value
        return self.now == active and self.proven is not None and self.proven.state == active

    @property
    def is_void(self) -> bool:
        return self.step is not None and self.step.effect == GrantEvent.Effect.VOID_FROM_START


@dataclass(frozen=True, slots=True)
class Certificate:
    """One license, for its parties: what was agreed, where it is recorded, how it stands."""

    id: str
    grant_ref: str
    livemode: bool
    licensor: Party
    licensee: Party
    # False where the entry's openings were erased: then the parties are as the market has them now.
    is_opened: bool
    documents: tuple[Document, ...]
    # The period in force; before the first, that one; after the last, that one.
    period: Terming
    others: tuple[Terming, ...]
    coverage: tuple[Covered, ...]
    record: Record
    state: State

    @property
    def verify_url(self) -> str:
        return verify_url(self.grant_ref)


def of(caller: Caller, grant_id: str, *, with_price: bool = True) -> Certificate | None:
    """The certificate of a grant of the caller's, whose receipt and status proof are verified here.

    None while its entry is not signed yet: then nothing can be certified. Raises NotFound for who
    is not a party; LedgerCorrupted where the log does not prove what it holds.
    """
    with acting(caller, writing=False):
        seen = Grant.objects.get_visible(caller, grant_id)
        grant = grants.whole(Grant.objects.filter(pk=seen.pk)).get()
        prefetch_related_objects([grant], "periods__terms", "coverage__snapshot__collection")
        receipt = proofs.receipt_for(caller, grant.issued_entry)
        if receipt is None:
            return None
        try:
            proven = receipts.verify(receipts.parse(receipt), keys(grant.issued_entry.log))
        except receipts.ReceiptError as error:
            raise LedgerCorrupted(f"The receipt of {grant.pk} is not sound: {error}.") from error
        now = timezone.now()
        licensor, licensee, is_opened = _parties(grant, proven.values)
        periods = list(grant.periods.all())
        shown = _in_force(periods, now)
        termed = _termings(periods, with_price)
        return Certificate(
            id=str(grant.pk),
            grant_ref=bytes(grant.grant_ref).hex(),
            livemode=grant.livemode,
            licensor=licensor,
            licensee=licensee,
            is_opened=is_opened,
            documents=tuple(_documents(grant, periods)),
            period=termed.pop(shown.number),
            others=tuple(termed.values()),
            coverage=tuple(_covered(each) for each in grant.coverage.all()),
            record=_record(proven),
            state=_state(grant, now),
        )


def verify_url(grant_ref: str) -> str:
    """Where anybody checks a license by the reference that the log names it by."""
    return f"{settings.BASE_URL}/verify/{grant_ref}"


# --- what was agreed --------------------------------------------------------------------------


def _parties(grant: Grant, values: Mapping[str, Any]) -> tuple[Party, Party, bool]:
    is_opened = "licensor" in values and "licensee" in values
    if not is_opened:
        values = {"licensor": party(grant.licensor), "licensee": party(grant.licensee)}
    return Party(**values["licensor"]), Party(**values["licensee"]), is_opened


def _documents(grant: Grant, periods: Sequence[Period]) -> list[Document]:
    found = [_document(1, grant.agreement)]
    found += [_document(each.number, each.agreement) for each in periods if each.agreement]
    return found


def _document(period: int, agreement: Agreement) -> Document:
    return Document(
        period=period,
        sha256=bytes(agreement.document_sha256).hex(),
        accepted_by_name=agreement.accepted_by_name,
        accepted_by_title=agreement.accepted_by_title,
        accepted_at=agreement.accepted_at,
    )


def _in_force(periods: Sequence[Period], now: datetime) -> Period:
    """The period that counts now, by training before use before access."""
    for name in ("training_window", "use_window", "access_window"):
        found = windows.counting(periods, name, now)
        if found is not None:
            return found
    begun = [each for each in periods if windows.begins([each]) <= now]
    return begun[-1] if begun else periods[0]


def _termings(periods: Sequence[Period], with_price: bool) -> dict[int, Terming]:
    """Each period by its number, with its windows as far as no later period takes over."""
    turns = {
        name: windows.in_turn([getattr(period, name) for period in periods])
        for name in windows.NAMES
    }
    return {
        period.number: Terming(
            number=period.number,
            kind=str(period.kind),
            terms=_in_words(period.terms),
            windows=tuple(
                Span(name.removesuffix("_window"), *interval)
                for name, of_each in turns.items()
                if (interval := of_each[place]) is not None
            ),
            scope=period.scope,
            price=_price(period.price_basis) if with_price else None,
        )
        for place, period in enumerate(periods)
    }


def _in_words(terms: Terms) -> TermsInWords:
    return TermsInWords(
        name=terms.name,
        version=terms.version,
        text=terms.text,
        text_sha256=bytes(terms.text_sha256).hex(),
        typed_sha256=bytes(terms.typed_sha256).hex(),
    )


def _clause(line: str) -> Clause:
    found = _LINE.fullmatch(line)
    return Clause("", line) if found is None else Clause(found["number"], found["text"])


def _price(basis: Mapping[str, Any]) -> str:
    amount, currency = basis["amount_minor"], basis["currency"]
    beside = set(_BESIDE_PRICE)
    if basis["model"] not in {prices.Model.FLAT, prices.Model.SUBSCRIPTION}:
        # What the lines came to; such a price itself names no one amount.
        beside.add("amount_minor")
    try:
        price = prices.parse({name: each for name, each in basis.items() if name not in beside})
    except InvalidInput:
        # Of an older release, or imported: what it came to is sure.
        return money.show(amount, currency)
    return prices.shown(price, amount, currency)


def _covered(row: Coverage) -> Covered:
    snapshot = row.snapshot
    return Covered(
        collection=snapshot.collection.name,
        number=snapshot.number,
        size=snapshot.size,
        root=bytes(snapshot.root).hex(),
        totals=dict(snapshot.totals),
        citation=bytes(snapshot.citation).hex(),
        effective_from=row.effective_from,
    )


# --- where it is recorded, and how it stands --------------------------------------------------


def _record(proven: receipts.Verified) -> Record:
    return Record(
        log=proven.body.log,
        origin=proven.checkpoint.origin,
        index=proven.index,
        leaf_hash=proven.leaf_hash.hex(),
        at=proven.body.at,
        checkpoint_size=proven.checkpoint.size,
        checkpoint_root=proven.checkpoint.root.hex(),
    )


def _state(grant: Grant, now: datetime) -> State:
    events = list(grant.events.all())
    in_effect = [event for event in events if event.effective_at <= now]
    last = in_effect[-1] if in_effect else None
    later = [each for each in events if each.effective_at > now]
    # What was recorded after an announcement took its place.
    announced = later[-1] if later and later[-1] is events[-1] else None
    log = ledger.name(livemode=grant.livemode)
    proof = proven_state(log, bytes(grant.grant_ref))
    return State(
        now=str(GrantEvent.STATUS[last.kind] if last is not None else Grant.Status.ACTIVE),
        step=_step(last),
        announced=_step(announced),
        proven=proof,
        next_due=None if proof is not None else status.next_due(log),
    )


def _step(event: GrantEvent | None) -> Step | None:
    if event is None:
        return None
    return Step(
        kind=str(event.kind),
        effective_at=event.effective_at,
        effect=str(event.effect),
        by=str(event.by),
        cause=str(event.cause),
        reason=event.reason,
    )


def proven_state(log: str, grant_ref: bytes) -> Proof | None:
    """How a grant stood by the newest signed status root of its log, verified here.

    None where that root does not hold it. Raises LedgerCorrupted.
    """
    data = status.newest_proof(log, grant_ref)
    if data is None:
        return None
    try:
        proven = status_proofs.verify(status_proofs.parse(data), keys(log))
    except receipts.ReceiptError as error:
        raise LedgerCorrupted(f"A status proof of “{log}” is not sound: {error}.") from error
    return Proof(
        state=proven.state,
        as_of=proven.as_of,
        number=proven.number,
        origin=proven.root.checkpoint.origin,
        index=proven.root.index,
        checkpoint_size=proven.root.checkpoint.size,
        last_leaf=proven.last_leaf.hex(),
    )


def keys(log: str) -> list[notes.Verifier]:
    """The published keys of a log, in all its generations: a root may stand in a later one."""
    found = [key for name in succession.names(log) for key in rotation.published(name)]
    return list(dict.fromkeys(found))
