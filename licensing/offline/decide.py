"""Decide by an exported grant: its receipt and a manifest. The engine is the server's."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from licensing import clauses, decisions
from licensing.decisions import Answer, Candidate, Decision, Grant, Period
from licensing.ledger import commitments, receipts
from licensing.offline import manifest as manifests
from licensing.offline import verify
from licensing.offline.question import Asked
from licensing.offline.verify import UsageError

ALL_PERMITTED, NOT_SOUND, USAGE, TEST, NOT_ALL_PERMITTED = 0, 1, 2, 3, 4

# What these answers rest on, and what nobody can know from files.
LIMITS = (
    "By what was issued and logged. Not known here: whether the grant was renewed, amended,"
    " suspended or revoked since, and which works were opted out since the manifest was made. Ask"
    " the market for that."
)


class ExportError(Exception):
    """The receipt and the manifest do not make an exported grant."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A decision for each work, and the receipt that they rest on."""

    proven: receipts.Verified
    asked: Asked
    decisions: tuple[Decision, ...]

    @property
    def is_test(self) -> bool:
        return self.proven.body.log == "test"

    def exit_code(self, *, allow_test: bool) -> int:
        if self.is_test and not allow_test:
            return TEST
        permitted = all(each.answer is Answer.PERMIT for each in self.decisions)
        return ALL_PERMITTED if permitted else NOT_ALL_PERMITTED

    def report(self) -> dict[str, Any]:
        """For programs: `at`, `summary` and `data` are what `POST /v1/decisions` answers."""
        counted = Counter(decision.answer for decision in self.decisions)
        return {
            "sound": True,
            "test": self.is_test,
            "issued_at": commitments.timestamp(self.proven.body.at),
            "limits": LIMITS,
            "at": decisions.instant(self.asked.question.at),
            "summary": {answer.word: counted[answer] for answer in reversed(Answer)},
            "data": [
                {"work": work, **decision.as_dict()} for work, decision in self._works_answered()
            ],
        }

    def describe(self) -> str:
        """For people: one line for each work, with its clause or its reason."""
        lines = [verify.TEST_BANNER] if self.is_test else []
        for work, decision in self._works_answered():
            parts = [f"{decision.answer.word:<12}", work or "anything of the grant"]
            if decision.clause is not None:
                parts.append(f"clause {decision.clause}")
            parts += [_said(reason) for reason in decision.reasons]
            if decision.valid_until is not None:
                parts.append(f"until {decisions.instant(decision.valid_until)}")
            lines.append("  ".join(parts))
        return "\n".join(map(verify.printable, [*lines, LIMITS]))

    def _works_answered(self) -> Iterator[tuple[str | None, Decision]]:
        return zip(self.asked.works or (None,), self.decisions, strict=True)


def decide(proven: receipts.Verified, asked: Asked, manifest: Path | None) -> Answers:
    """Answer a question for each work. Raises ExportError.

    `proven` is a receipt that was checked. A work counts as covered when the manifest lists it
    and makes exactly a set that the receipt cites; as reserved when its line says `excluded`.
    """
    listed: dict[str, str | None] = {}
    # A receipt calls its grant by a reference that tells outsiders nothing.
    name = proven.body.subject_ref.hex()
    if manifest is not None:
        name, listed = _read_manifest(manifest, proven, frozenset(asked.works))
    since, grant = _grant(proven, name)
    works = asked.works or (None,)
    given: dict[Any, Decision] = {}
    for fact in {_fact(work, listed) for work in works}:
        candidates = [] if fact is _NOT_LISTED else [Candidate(grant, since, fact)]
        given[fact] = decisions.decide(asked.question, candidates, holds_grants=True)
    return Answers(proven, asked, tuple(given[_fact(work, listed)] for work in works))


_NOT_LISTED = "not listed"


def _fact(work: str | None, listed: Mapping[str, str | None]) -> str | None:
    """All that tells one work from another: why it is reserved, or that it is not covered."""
    return None if work is None else listed.get(work, _NOT_LISTED)


def _grant(proven: receipts.Verified, id: str) -> tuple[datetime, Grant]:
    """The grant as it was issued, and since when it covers its works."""
    values = proven.values
    if proven.body.kind != "grant.issued":
        raise ExportError(f"the receipt is of “{proven.body.kind}”, not of a grant that was issued")
    for name in ("terms", "scope", "windows", "coverage"):
        if name not in values:
            raise ExportError(f"the receipt does not disclose “{name}”: ask for one that does")
    try:
        access, training, use = (
            _interval(values["windows"][name]) for name in ("access", "training", "use")
        )
        compiled = clauses.compile_terms(values["terms"], values["scope"])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ExportError(
            f"the receipt's terms, scope or windows cannot be read by this version: {error!r}"
        ) from None
    period = Period(compiled, training=training, use=use)
    return access[0], Grant(id=id, periods=(period,))


def _interval(window: Sequence[Any]) -> decisions.Interval:
    starts, ends = window
    return (
        commitments.parse_timestamp(starts),
        None if ends is None else commitments.parse_timestamp(ends),
    )


# --- the manifest -----------------------------------------------------------------------------


def _read_manifest(
    path: Path, proven: receipts.Verified, works: frozenset[str]
) -> tuple[str, dict[str, str | None]]:
    """The grant's id, and of the works asked for those that are listed: why each is excluded."""
    with tempfile.TemporaryDirectory(prefix="licet-offline-") as directory:
        checked = Path(directory, "manifest.ndjson")
        try:
            with path.open("rb") as source:
                manifest = manifests.receive(source, checked, lambda _count: None)
        except manifests.ManifestError as error:
            raise ExportError(f"{path}: {error}") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        manifest.close()
        if manifest.root.citation().hex() not in verify.cited(proven):
            raise ExportError(f"{path}: the receipt does not cover the manifest's set of works")
        if manifest.livemode != (proven.body.log == "live"):
            raise ExportError(f"{path}: the manifest and the receipt are not of the same mode")
        return manifest.grant, dict(_listed(checked, works))


def _listed(path: Path, works: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            if record.get("digest") in works:
                yield record["digest"], _reserved(record.get("excluded"))


def _reserved(said: Any) -> str | None:
    """What a work's line says about it. A reason that is new to this version stops it, too."""
    if said is None:
        return None
    return said if said in decisions.RESERVED else "held"


def _said(reason: decisions.Reason) -> str:
    place = f" ({reason.dimension})" if reason.dimension else ""
    return f"{reason.code.value}{place}"
