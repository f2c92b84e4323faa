"""What a certificate says, in words and rows: the same on its page and in its PDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import asked_models
from licensing.certificates import Certificate, Party, Proof, Span, State, Step, Terming
from licensing.models import Grant, GrantEvent, Period
from licensing.offline.verify import TEST_BANNER, printable


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    text: str
    # A hash, an id, an address: shown so that each character can be told apart.
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Stand:
    """How the license stands: one bold line, and what is known, sentence by sentence."""

    headline: str
    is_in_force: bool
    sentences: tuple[str, ...]


def banner(livemode: bool) -> str:
    """What a test license says first. In English, too: it is what the offline verifier prints."""
    return "" if livemode else TEST_BANNER


def sections(of: Certificate) -> list[Section]:
    """Everything but the terms and how the license stands."""
    return [
        Section(_("Parties"), tuple(_parties(of))),
        Section(_("Scope"), tuple(_scope(of.period))),
        Section(_("Time"), tuple(_time(of))),
        Section(_("Works"), tuple(_works(of))),
        Section(_("Contract"), tuple(_contract(of))),
        Section(_("Record"), tuple(_record(of))),
    ]


def stand(state: State) -> Stand:
    """How a license stands, honestly: what is recorded, what is proven, and as of when."""
    sentences = [
        _("The record says that the license was issued. It does not say that it is still in force.")
    ]
    if state.proven is not None:
        sentences.append(_proven(state.proven))
    elif state.next_due is not None:
        sentences.append(
            _(
                "No signed status root holds this license yet, so that nothing proves how it"
                " stands. The next one comes by %(at)s at the latest."
            )
            % {"at": instant(state.next_due)}
        )
    if state.step is not None:
        sentences.append(_step(state.step))
    if state.proven is not None and state.proven.state != state.now:
        sentences.append(
            _("That is newer than the status root, and by this market's records only: %(state)s.")
            % {"state": STATES[state.now]}
        )
    if state.announced is not None:
        sentences.append(_("Announced: %(step)s") % {"step": _step(state.announced)})
    return Stand(_headline(state), state.is_in_force, tuple(sentences))


# How each state of a status root is called.
STATES = {
    Grant.Status.ACTIVE.value: gettext_lazy("in force"),
    Grant.Status.SUSPENDED.value: gettext_lazy("suspended"),
    Grant.Status.REVOKED.value: gettext_lazy("revoked"),
    Grant.Status.EXPIRED.value: gettext_lazy("ended"),
}


def as_of(state: str, at: datetime) -> str:
    """How a license stood, and when: “in force as of …”."""
    return _("%(state)s as of %(at)s") % {"state": STATES[state], "at": instant(at)}


def instant(at: datetime) -> str:
    """An instant in UTC, to the second; with what is below it where there is something."""
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return f"{text}{f'.{at.microsecond:06d}' if at.microsecond else ''} UTC"


def line(text: str) -> str:
    """A name of somebody else's as part of one line: nothing in it moves other characters."""
    return printable(" ".join(text.split()))


# --- how it stands ----------------------------------------------------------------------------


def _headline(state: State) -> str:
    if state.is_void:
        return _("REVOKED, AS IF IT HAD NEVER BEEN GIVEN. Not in force.")
    if state.now != Grant.Status.ACTIVE:
        at = "" if state.step is None else instant(state.step.effective_at)
        return _("%(state)s with effect from %(at)s. Not in force.") % {
            "state": str(STATES[state.now]).upper(),
            "at": at,
        }
    if state.proven is None:
        return _("Issued. Whether it is in force is not proven yet.")
    said = as_of(state.proven.state, state.proven.as_of)
    return said[:1].upper() + said[1:]


def _proven(proof: Proof) -> str:
    return _(
        "The status proof says: %(stands)s, by status root %(number)s, entry %(index)s of"
        " %(origin)s. It proves nothing of later."
    ) % {
        "stands": as_of(proof.state, proof.as_of),
        "number": proof.number,
        "index": proof.index,
        "origin": proof.origin,
    }


def _step(step: Step) -> str:
    what = GrantEvent.Kind(step.kind).label
    at = instant(step.effective_at)
    if not step.cause:
        return _("%(what)s: all its windows are over since %(at)s.") % {"what": what, "at": at}
    parts = [
        _("%(what)s with effect from %(at)s, by: %(by)s. Cause: %(cause)s.")
        % {
            "what": what,
            "at": at,
            "by": GrantEvent.By(step.by).label,
            "cause": GrantEvent.Cause(step.cause).label,
        }
    ]
    if step.effect:
        effect = GrantEvent.Effect(step.effect).label
        parts.append(_("Effect: %(effect)s.") % {"effect": effect})
    if step.reason:
        parts.append(_("Reason: %(reason)s") % {"reason": line(step.reason)})
    return " ".join(map(str, parts))


# --- rows -------------------------------------------------------------------------------------


def _parties(of: Certificate) -> list[Row]:
    rows = [Row(_("Licensor"), _party(of.licensor)), Row(_("Licensee"), _party(of.licensee))]
    if not of.is_opened:
        rows.append(
            Row(
                _("Note"),
                _(
                    "What opens the ledger entry was erased. The parties are shown as this market"
                    " has them today."
                ),
            )
        )
    return rows


def _party(party: Party) -> str:
    parts = [line(party.legal_name), line(party.jurisdiction)]
    if party.registration_number:
        number = line(party.registration_number)
        parts.append(_("registration number %(number)s") % {"number": number})
    return ", ".join([*parts, party.id])


def _scope(period: Terming) -> list[Row]:
    scope: Mapping[str, Any] = period.scope
    territories = [_("worldwide") if each == "*" else each for each in scope["territories"]]
    rows = [
        Row(_("Uses"), ", ".join(each.replace("_", " ") for each in scope["uses"])),
        Row(_("Territories"), ", ".join(territories)),
    ]
    if "model" in scope:
        rows.append(Row(_("Model"), line(asked_models.in_words(scope["model"]))))
    else:
        rows.append(Row(_("Model"), _("as the terms say")))
    if period.price is not None:
        rows.append(Row(_("Price"), period.price))
    return rows


def _time(of: Certificate) -> list[Row]:
    rows = [Row(_("Period"), _named(of.period))]
    rows += [Row(_window_label(each), _span(each)) for each in of.period.windows]
    for other in of.others:
        spans = "; ".join(f"{_window_label(each)}: {_span(each)}" for each in other.windows)
        rows.append(Row(_("Another period"), f"{_named(other)}. {spans}".strip()))
    return rows


def _named(period: Terming) -> str:
    return _("%(number)s (%(kind)s), under “%(terms)s”, version %(version)s") % {
        "number": period.number,
        "kind": str(Period.Kind(period.kind).label).lower(),
        "terms": line(period.terms.name),
        "version": period.terms.version,
    }


def _window_label(span: Span) -> str:
    return {
        "access": _("Works may be fetched"),
        "training": _("Training may start"),
        "use": _("Results may be used"),
    }[span.name]


def _span(span: Span) -> str:
    if span.ends is None:
        return _("from %(begins)s, without end") % {"begins": instant(span.begins)}
    return _("from %(begins)s until %(ends)s") % {
        "begins": instant(span.begins),
        "ends": instant(span.ends),
    }


def _works(of: Certificate) -> list[Row]:
    rows = []
    for each in of.coverage:
        totals = ", ".join(f"{total:,} {name}" for name, total in sorted(each.totals.items()))
        rows += [
            Row(
                _("Snapshot"),
                _("“%(name)s”, snapshot %(number)s: %(size)s items (%(totals)s), from %(at)s")
                % {
                    "name": line(each.collection),
                    "number": each.number,
                    "size": f"{each.size:,}",
                    "totals": totals,
                    "at": instant(each.effective_from),
                },
            ),
            Row(_("Root"), each.root, is_code=True),
            Row(_("Cited as"), each.citation, is_code=True),
        ]
    return rows


def _contract(of: Certificate) -> list[Row]:
    terms = of.period.terms
    rows = [
        Row(
            _("Terms"),
            _("“%(name)s”, version %(version)s")
            % {"name": line(terms.name), "version": terms.version},
        ),
        Row(_("Text, SHA-256"), terms.text_sha256, is_code=True),
        Row(_("Typed, SHA-256"), terms.typed_sha256, is_code=True),
    ]
    for each in of.documents:
        accepted = _("by %(name)s, %(title)s, at %(at)s (period %(period)s)") % {
            "name": line(each.accepted_by_name),
            "title": line(each.accepted_by_title),
            "at": instant(each.accepted_at),
            "period": each.period,
        }
        rows.append(Row(_("Agreement accepted"), accepted))
        rows.append(Row(_("Document, SHA-256"), each.sha256, is_code=True))
    return rows


def _record(of: Certificate) -> list[Row]:
    record = of.record
    return [
        Row(_("License"), of.id, is_code=True),
        Row(_("Reference in the log"), of.grant_ref, is_code=True),
        Row(_("Mode"), _("live") if of.livemode else _("test")),
        Row(_("Log"), record.origin, is_code=True),
        Row(
            _("Entry"),
            _("%(index)s, recorded at %(at)s, in a signed tree of %(size)s entries")
            % {
                "index": record.index,
                "at": instant(record.at),
                "size": f"{record.checkpoint_size:,}",
            },
        ),
        Row(_("Leaf hash"), record.leaf_hash, is_code=True),
        Row(_("Root of the tree"), record.checkpoint_root, is_code=True),
        Row(_("Check it at"), of.verify_url, is_code=True),
    ]
