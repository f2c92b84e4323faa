"""Agreements: the contract, as text that a person accepts and as the row that keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from licensing import asked_models
from licensing.asked_models import AskedModel
from licensing.models import Agreement, Snapshot, Terms
from licensing.terms import Windows
from licensing.vocabulary import USE_WORDS, Use
from marketplace import money
from marketplace.models import Collection, Organization

if TYPE_CHECKING:
    from licensing.grants import Acceptance

TEST_NOTICE = "TEST LICENSE. No money moves, and no rights are given."


def render(
    *,
    licensor: Organization,
    licensee: Organization,
    livemode: bool,
    collection: Collection,
    snapshot: Snapshot,
    opted_out: int,
    terms: Terms,
    uses: Sequence[str],
    territories: Sequence[str],
    model: AskedModel | None,
    windows: Windows,
    price_words: Sequence[str],
    subtotal_minor: int,
    tax_minor: int,
    tax_words: str,
    total_minor: int,
    currency: str,
) -> str:
    """Write the whole contract: who, what, for what, when, at which price, and the terms.

    In English whatever the reader's language: these words are hashed and accepted, so they are
    not translated. `price_words` are of `prices.in_words`; `tax_words` say why the tax is what it
    is, or nothing. The same arguments give the same bytes.
    """
    lines = [] if livemode else [TEST_NOTICE, ""]
    lines += [
        "LICENSE AGREEMENT",
        "",
        "A. Parties",
        f"Licensor: {_party(licensor)}",
        f"Licensee: {_party(licensee)}",
        "",
        "B. Works",
        f"“{_line(collection.name)}”, snapshot {snapshot.number}: {snapshot.size:,} works.",
        f"The exact set is the one cited as {bytes(snapshot.citation).hex()}.",
        *_opted_out(opted_out),
        "",
        "C. Scope",
        *(f"Use: {use} (to {USE_WORDS[Use(use)]} the works)" for use in uses),
        f"Territories: {', '.join(territories)}",
        *([] if model is None else [_line(asked_models.in_words(model))]),
        *_windows(windows),
        "",
        "D. Price",
        *price_words,
        f"License fee: {money.show(subtotal_minor, currency)}",
        f"Tax: {money.show(tax_minor, currency)}{', ' if tax_words else ''}{_line(tax_words)}",
        f"Total: {money.show(total_minor, currency)}",
        "",
        "E. What controls",
        *_controls(terms),
        "",
        f"F. Terms: {terms.name}, version {terms.version}",
        "",
        terms.text,
    ]
    return "\n".join(lines)


def _controls(terms: Terms) -> list[str]:
    return [
        "The scope above is within the terms below. Where the typed form of the terms"
        f" (SHA-256 {bytes(terms.typed_sha256).hex()}) and this text differ, the typed form"
        " controls.",
        "The person who accepts states to have the authority to bind the Licensee.",
    ]


def make(
    *,
    licensor: Organization,
    licensee: Organization,
    livemode: bool,
    document: str,
    acceptance: Acceptance,
    made_by: str,
) -> Agreement:
    """Keep an accepted contract, in the transaction of its grant. Only `grants` calls it."""
    assert connection.in_atomic_block, "An agreement commits with its grant."
    agreement = Agreement(
        licensor=licensor,
        licensee=licensee,
        livemode=livemode,
        controlling=Agreement.Controlling.TYPED,
        document=document,
        document_sha256=hashlib.sha256(document.encode()).digest(),
        accepted_by_name=acceptance.name,
        accepted_by_title=acceptance.title,
        accepted_by_actor=acceptance.actor,
        accepted_at=acceptance.accepted_at,
        made_by=made_by,
    )
    agreement.save(force_insert=True)
    return agreement


def _windows(windows: Windows) -> list[str]:
    return [
        f"Works may be fetched {_window(windows.access)}.",
        f"Training runs may start {_window(windows.training)}.",
        f"What was made may be used {_window(windows.use)}.",
    ]


def _opted_out(works: int) -> list[str]:
    if not works:
        return []
    subject = "1 work was" if works == 1 else f"{works:,} works were"
    return [f"{subject} opted out since the snapshot and will not be delivered."]


def _party(organization: Organization) -> str:
    number = _line(organization.registration_number)
    registered = f", registration number {number}" if number else ""
    name = _line(organization.legal_name)
    return f"{name}, {organization.jurisdiction}{registered} ({organization.pk})"


def _line(text: str) -> str:
    """A name as part of one line: with a line break of its own, it could pass for a clause."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())


def _window(window: DateTimeTZRange) -> str:
    begins = f"from {_instant(window.lower)}"
    return f"{begins} until {_instant(window.upper)}" if window.upper else f"{begins}, without end"


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
