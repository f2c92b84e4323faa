"""The question of `decide`, read off the command line. Needs no package."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from licensing import clauses, vocabulary
from licensing.ledger import commitments
from licensing.vocabulary import Use


class QuestionError(ValueError):
    """No question that can be answered; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, as the command line gives it."""

    question: clauses.Question
    # Empty: anything of the grant.
    works: tuple[str, ...]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipt", metavar="RECEIPT", help="the grant's receipt, or - for input")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="VKEY",
        help="the log's verifier key, as text or as a file; may be given again",
    )
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="the grant's manifest")
    parser.add_argument(
        "--work", action="append", default=[], metavar="SHA256", help="a work; may be given again"
    )
    parser.add_argument("--works", type=Path, metavar="FILE", help="works, one digest a line")
    parser.add_argument("--use", required=True, choices=[use.value for use in Use], metavar="USE")
    parser.add_argument("--territory", metavar="CODE", help="where the act happens: DE, EU, *")
    parser.add_argument("--availability", metavar="CODE", help="where what is made is offered")
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--model-version", metavar="VERSION")
    parser.add_argument("--model-family", metavar="FAMILY")
    parser.add_argument("--release", choices=clauses.RELEASES)
    parser.add_argument("--field", choices=clauses.FIELDS)
    parser.add_argument("--sector", choices=(*clauses.SECTORS, clauses.NONE))
    parser.add_argument("--lineage", choices=(*clauses.LINEAGES, clauses.NONE))
    parser.add_argument("--at", metavar="INSTANT", help="2027-03-01T00:00:00Z; default: now")
    parser.add_argument(
        "--allow-test", action="store_true", help="let a test license permit something"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def asked(options: argparse.Namespace) -> Asked:
    """Read the question off the command line. Raises QuestionError."""
    for name in ("territory", "availability"):
        code = getattr(options, name)
        if code is not None and not vocabulary.is_territory(code):
            raise QuestionError(f"--{name} {code}: give an ISO 3166-1 code such as DE, or EU, or *")
    question = clauses.ask(
        use=options.use,
        at=datetime.now(UTC) if options.at is None else _instant(options.at),
        territory=options.territory,
        availability=options.availability,
        model=clauses.Model(options.model, options.model_version, options.model_family),
        release=options.release,
        field=options.field,
        sector=options.sector,
        lineage=options.lineage,
    )
    works = tuple(_digest(text) for text in [*options.work, *_lines(options.works)])
    if len(set(works)) < len(works):
        twice = next(work for work, count in Counter(works).items() if count > 1)
        raise QuestionError(f"the work {twice} stands there twice")
    if works and options.manifest is None:
        raise QuestionError("Only a manifest says which works a grant covers: give --manifest")
    return Asked(question, works)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise QuestionError(f"--at {text}: give an instant such as 2027-03-01T00:00:00Z")
    return at


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise QuestionError(f"{path}: {error.strerror}") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise QuestionError(f"{path}: there is no work in it")
    return found


def _digest(text: str) -> str:
    digest = text.lower()
    if not commitments.is_sha256_hex(digest):
        raise QuestionError(f"{text[:100]}: give a work's SHA-256 as 64 hexadecimal digits")
    return digest
