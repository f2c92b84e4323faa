"""Verify a ledger receipt with nothing but a trusted key, and say what it proves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from licensing import jcs, settree
from licensing.ledger import commitments, cosignatures, keychain, notes, receipts
from licensing.offline import following, remember
from licensing.offline.logs import LogUnavailable

Key = TypeVar("Key")

SOUND, NOT_SOUND, USAGE, SOUND_TEST = 0, 1, 2, 3

OPT_OUT_KINDS = frozenset({"optout.recorded", "optout.notified", "optout.acknowledged"})
# What became of a grant after it was issued.
STEPS = frozenset({"grant.suspended", "grant.reinstated", "grant.revoked", "grant.expired"})
# What a seller states by itself: nobody has a license by it.
CATALOGUE_KINDS = frozenset({"snapshot.finalized", "terms.published"})
# What left under a grant on a day.
DELIVERIES = frozenset({"delivery.summarized"})
# What issues no grant.
NO_ISSUE_KINDS = OPT_OUT_KINDS | STEPS | CATALOGUE_KINDS | DELIVERIES | commitments.PUBLIC.keys()
# What a grant became beyond what was issued: for longer, under other terms, over more works.
CHANGES = frozenset({"grant.renewed", "grant.amended", "grant.coverage_added"})

TEST_BANNER = "TEST LICENSE, no money moved"

# ISO 4217 currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
    "RWF": 0, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}  # fmt: skip


class UsageError(ValueError):
    """The command cannot start as it was called; the message says what to do."""


@dataclass(frozen=True)
class Standing:
    """What else is known of a sound receipt: who saw its tree, and how that stands to others."""

    # Of the witnesses that were named, earliest first.
    cosignatures: Sequence[cosignatures.Cosignature] = ()
    # None when it was not asked for.
    consistency: remember.Consistency | None = None
    # The log that continues this one, since it was frozen.
    onward: following.Onward | None = None


NOTHING_MORE = Standing()


def read_keys(given: Sequence[str]) -> list[notes.Verifier]:
    """Read trusted keys, each a verifier key or a file with one per line. Raises UsageError."""
    keys = _read_keys(given, "--key", notes.Verifier.parse)
    if not keys:
        raise UsageError(
            "Without a key a receipt proves nothing. Give the log's verifier key with --key, as "
            "text or as a file. The server publishes it at /ledger/live/vkey and "
            "/ledger/test/vkey; get it once, over a way that you trust, and keep it."
        )
    return keys


def followed(place: str, keys: Sequence[notes.Verifier]) -> list[notes.Verifier]:
    """The trusted keys, and those that have followed them by the log that stands there."""
    try:
        return following.known(place, keys)
    except LogUnavailable:
        return list(keys)  # the receipt may be sound all the same; comparing says what is wrong


def read_witnesses(given: Sequence[str]) -> list[cosignatures.Witness]:
    """Read the keys of witnesses, as `read_keys` does those of logs. Raises UsageError."""
    return _read_keys(given, "--witness", cosignatures.Witness.parse)


def _read_keys(given: Sequence[str], option: str, parse: Callable[[str], Key]) -> list[Key]:
    keys: list[Key] = []
    for value in given:
        lines = [value]
        # Every verifier key holds two plus signs; a path may too, so look for the file first.
        try:
            if Path(value).is_file():
                lines = Path(value).read_text(encoding="utf-8", errors="replace").splitlines()
            elif value.count("+") < 2:
                raise UsageError(f"{option} {value[:200]}: no such file, and no verifier key")
        except (OSError, ValueError) as error:
            # A key may be longer than a file's name can be; anything else is no key.
            if value.count("+") < 2:
                raise UsageError(f"{option} {value[:200]}: {error}") from None
        try:
            keys += [
                parse(line.strip()) for line in lines if line.strip() and not line.startswith("#")
            ]
        except notes.NoteError as error:
            raise UsageError(f"{option} {value}: {error}") from None
    return keys


def check(data: bytes, keys: Sequence[notes.Verifier]) -> receipts.Verified:
    """Check a receipt and the facts in it that can be recomputed. Raises ReceiptError."""
    proven = _proven(receipts.parse(data), keys)
    for field in ("coverage", "works"):
        for cited in _sets(proven.values, field):
            if (_citation(cited) or "") != cited.get("citation"):
                raise receipts.ReceiptError(
                    "openings", f"a citation in “{field}” is not the one of its set", field
                )
    return proven


def _proven(receipt: receipts.Receipt, keys: Sequence[notes.Verifier]) -> receipts.Verified:
    try:
        return receipts.verify(receipt, keys)
    except receipts.ReceiptError as error:
        _text, signatures = notes.split_note(receipt.checkpoint)
        known = {(each.name, each.key_id) for each in keys}
        others = [each for each in signatures if (each.name, each.key_id) not in known]
        if (
            error.part != "signature"
            or len(others) != len(signatures)
            or not {each.name for each in others} & {each.name for each in keys}
        ):
            raise
        raise receipts.ReceiptError(
            "signature",
            f"{error}. It has another key than yours: if the log has changed its key since, the"
            " log proves it; give it with --log URL|DIR. If it was changed before, fetch the"
            " receipt again",
        ) from None


def stand(
    data: bytes,
    proven: receipts.Verified,
    keys: Sequence[notes.Verifier],
    *,
    witnesses: Sequence[cosignatures.Witness] = (),
    file: Path | None = None,
    place: str | None = None,
) -> Standing:
    """Find out who saw a sound receipt's tree, and compare it with others of its log.

    Raises ReceiptError, MemoryUnusable.
    """
    note = receipts.parse(data).checkpoint
    try:
        seen = cosignatures.verified(proven.checkpoint.text(), proven.unverified, witnesses)
    except notes.SignatureError as error:
        raise receipts.ReceiptError("signature", str(error)) from None
    shown = remember.Seen("receipt’s", note, proven.checkpoint)
    onward = None if place is None else _onward(place, proven.checkpoint, keys)
    return Standing(seen, remember.check(shown, keys, file=file, place=place), onward)


def _onward(
    place: str, shown: notes.Checkpoint, keys: Sequence[notes.Verifier]
) -> following.Onward | None:
    """What continues the receipt's log, if it was frozen. Raises ReceiptError.

    The log says there how much its key has signed: a receipt of more contradicts it.
    """
    try:
        onward = following.onward_of(place, shown.origin, keys)
    except (LogUnavailable, notes.NoteError):
        return None  # comparing says what is wrong
    if onward is None:
        return None
    try:
        following.check_frozen(onward.successor.continuation, shown)
    except keychain.KeyChangeError as error:
        raise receipts.ReceiptError("consistency", f"{error}. Keep both: they prove it") from None
    return onward


def cited(proven: receipts.Verified) -> frozenset[str]:
    """The citations of the sets that a receipt licenses."""
    if proven.body.kind in CATALOGUE_KINDS | DELIVERIES:
        return frozenset()
    return frozenset(str(each["citation"]) for each in _sets(proven.values, "coverage"))


def report(proven: receipts.Verified, standing: Standing = NOTHING_MORE) -> dict[str, Any]:
    """What a sound receipt proves, for programs."""
    body = proven.body
    seen = [{"name": each.name, "at": _moment(each)} for each in standing.cosignatures]
    compared = standing.consistency
    return {
        "sound": True,
        "test": body.log == "test",
        "kind": body.kind,
        "issued_at": commitments.timestamp(body.at),
        commitments.ref_name(body.kind): body.subject_ref.hex(),
        "log": {
            "origin": proven.checkpoint.origin,
            "index": proven.index,
            "size": proven.checkpoint.size,
            "leaf_hash": proven.leaf_hash.hex(),
            "root": proven.checkpoint.root.hex(),
        },
        "signatures": {
            "verified": [signature.name for signature in proven.verified],
            "unverified": _unknown(proven, standing),
        },
        "witnesses": seen,
        # Until null: the moment at which whoever asks got hold of the receipt.
        "recorded": {
            "from": commitments.timestamp(body.at),
            "until": seen[0]["at"] if seen else None,
        },
        "consistency": (
            None if compared is None else {"result": compared.result, "text": compared.text}
        ),
        "continued_by": None if standing.onward is None else standing.onward.report(),
        "values": dict(proven.values),
        # Whose receipt it is, and the entry's number among theirs.
        "party": (
            None
            if proven.party is None
            else {
                "organization": proven.party.organization,
                "sequence": proven.party.sequence,
            }
        ),
        "undisclosed": list(proven.undisclosed),
    }


def failure(error: receipts.ReceiptError) -> dict[str, Any]:
    """What broke, for programs."""
    return {"sound": False, "broken": error.part, "field": error.field, "reason": str(error)}


def describe(
    proven: receipts.Verified, standing: Standing = NOTHING_MORE, *, with_status: bool = False
) -> str:
    """What a sound receipt proves, for people."""
    body, values, checkpoint = proven.body, proven.values, proven.checkpoint
    lines = [TEST_BANNER] if body.log == "test" else []
    lines.append(f"sound: {body.kind}, entry {proven.index} of {checkpoint.origin}")
    rows = [
        ("issued", "" if body.kind in NO_ISSUE_KINDS | CHANGES else commitments.timestamp(body.at)),
        ("licensor", _party(values.get("licensor"))),
        ("licensee", _party(values.get("licensee"))),
        *_scope(values.get("scope")),
        *_windows(values.get("windows")),
        ("price", _price(values.get("price"))),
        *[("coverage", _set(cited)) for cited in _sets(values, "coverage")],
        *_terms(values),
        *(_opt_out(values) if body.kind in OPT_OUT_KINDS else []),
        *(_step(values) if body.kind in STEPS else []),
        *(_continued(body) if body.kind == keychain.CONTINUED else _public(body)),
        *(_catalogue(values) if body.kind in CATALOGUE_KINDS else []),
        *(_changed(values) if body.kind in CHANGES else []),
        *(_delivered(values) if body.kind in DELIVERIES else []),
        ("log position", f"{proven.index} in a tree of {checkpoint.size} entries"),
        ("entry number", _number(proven.party)),
        *[("verified", signature.name) for signature in proven.verified],
        *[("unverified", f"{name} (key not known here)") for name in _unknown(proven, standing)],
        ("witnesses", _witnesses(standing)),
        ("recorded", f"between {commitments.timestamp(body.at)} and {_until(standing)}"),
        ("consistency", standing.consistency.text if standing.consistency else ""),
        ("frozen", standing.onward.describe() if standing.onward else ""),
        ("not shown", ", ".join(proven.undisclosed)),
    ]
    lines += [f"  {name:<15} {text}" for name, text in rows if text]
    if body.kind not in NO_ISSUE_KINDS and not with_status:
        what = "how the grant was changed" if body.kind in CHANGES else "what was issued"
        lines.append(f"This proves {what} and logged, not that it is still in force.")
    return "\n".join(map(printable, lines))


def describe_failure(error: receipts.ReceiptError) -> str:
    where = f"{error.part}, field “{error.field}”" if error.field else error.part
    return printable(f"NOT SOUND: {where}: {error}")


def exit_code(
    proven: receipts.Verified, standing: Standing = NOTHING_MORE, *, allow_test: bool
) -> int:
    if standing.consistency is not None and not standing.consistency.is_checked:
        return USAGE
    return SOUND if proven.body.log == "live" or allow_test else SOUND_TEST


def _unknown(proven: receipts.Verified, standing: Standing) -> list[str]:
    """Who is named as a signer, and is not known here."""
    seen = {each.name for each in standing.cosignatures}
    return [each.name for each in proven.unverified if each.name not in seen]


def _witnesses(standing: Standing) -> str:
    shown = [f"{each.name} at {_moment(each)}" for each in standing.cosignatures]
    return f"{len(shown)}: {', '.join(shown)}" if shown else "0"


def _until(standing: Standing) -> str:
    """The latest that an entry can have been recorded, as others vouch for it."""
    seen = standing.cosignatures
    return f"{_moment(seen[0])} (cosigned)" if seen else "the time of your download"


def _moment(cosignature: cosignatures.Cosignature) -> str:
    try:
        return datetime.fromtimestamp(cosignature.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        # A witness's clock may say anything.
        return f"{cosignature.seconds} seconds after 1970"


def _number(slot: commitments.Slot | None) -> str:
    return "" if slot is None else f"{slot.sequence} of {slot.organization} in this log"


def _party(value: Any) -> str:
    if not isinstance(value, dict):
        return _json(value)
    facts = [value.get(key) for key in ("legal_name", "jurisdiction", "registration_number", "id")]
    return ", ".join(str(fact) for fact in facts if fact)


def _scope(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [("scope", _json(value))]
    names = {"uses": "use", "territories": "territory"}
    return [
        (names.get(key, key), _model(value[key]) if key == "model" else _list(value[key]))
        for key in sorted(value, reverse=True)
    ]


def _model(value: Any) -> str:
    if not isinstance(value, dict) or not value.keys() <= {"name", "version", "release"}:
        return _json(value)
    version = f"version {value['version']}" if "version" in value else "any version"
    return f"{value.get('name')}, {version}, {value.get('release')}"


def _windows(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [("windows", _json(value))]
    rows = []
    for name, window in sorted(value.items()):
        text = _json(window)
        if isinstance(window, list) and len(window) == 2:
            until = f"until {window[1]}" if window[1] else "without end"
            text = f"from {window[0]} {until}"
        rows.append((f"{name} window", text))
    return rows


def _price(value: Any) -> str:
    if not isinstance(value, dict) or type(value.get("amount_minor")) is not int:
        return _json(value)
    amount, currency = value["amount_minor"], str(value.get("currency", ""))
    exponent = _EXPONENTS.get(currency, 2)
    whole, rest = divmod(abs(amount), 10**exponent)
    shown = f"{whole:,}" + (f".{rest:0{exponent}d}" if exponent else "")
    sign = "-" if amount < 0 else ""
    return f"{currency} {sign}{shown} ({amount} in minor units)"


def _sets(values: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The cited sets of a field that holds one or many; [] where it is not shown or no set."""
    found = values.get(field)
    return [
        each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)
    ]


def _citation(cited: Mapping[str, Any]) -> str | None:
    """Compute the citation again from what it cites; None when that is no set."""
    named = {key: cited.get(key) for key in ("tree", "type", "size", "root", "totals")}
    if named["tree"] != settree.TREE or named["type"] not in settree.TYPES:
        return None
    return hashlib.sha256(jcs.dumps(named)).hexdigest()


def _set(cited: Mapping[str, Any]) -> str:
    totals = cited.get("totals")
    shown = ""
    if isinstance(totals, dict):
        shown = f" ({', '.join(f'{total:,} {name}' for name, total in sorted(totals.items()))})"
    return f"{cited['type']} of {cited['size']} items{shown}, citation {cited['citation']}"


def _terms(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    text = values.get("terms_text")
    if isinstance(text, dict):
        rows.append(("terms text", f"SHA-256 {text.get('sha256')}"))
    if "terms" in values:
        typed = hashlib.sha256(jcs.dumps(values["terms"])).hexdigest()
        rows.append(("typed terms", f"SHA-256 {typed}"))
    documents = values.get("documents")
    for document in documents if isinstance(documents, list) else []:
        if isinstance(document, dict):
            rows.append(("document", f"{document.get('role')}, SHA-256 {document.get('sha256')}"))
    accepted = values.get("acceptance")
    if isinstance(accepted, dict):
        rows.append(("accepted by", f"{accepted.get('name')}, {accepted.get('title')}"))
    return rows


def _opt_out(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the three kinds about opt-outs say, in the order of their acts."""
    rows = [
        ("taken out by", _json_or_text(values.get("by"))),
        ("reason", _json_or_text(values.get("reason"))),
        ("reach", _json_or_text(values.get("reach"))),
        *[("works", _set(cited)) for cited in _sets(values, "works")],
    ]
    for name in ("opt_out", "grant", "notice"):
        value = values.get(name)
        text = value.get("id") if isinstance(value, dict) else value
        rows.append((name.replace("_", "-"), _json_or_text(text)))
    stated = values.get("acknowledgement")
    if isinstance(stated, dict):
        rows.append(("stated", _json_or_text(stated.get("statement"))))
        rows.append(("by", f"{stated.get('name')}, {stated.get('title')}"))
    return rows


def _step(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What became of a grant, by whom, why, and from when on."""
    grant, cause = values.get("grant"), values.get("cause")
    code = cause.get("code") if isinstance(cause, dict) else cause
    duties = [
        f"{duty.get('do')} within {duty.get('within_days')} days"
        for duty in values.get("duties") or []
        if isinstance(duty, dict)
    ]
    return [
        ("grant", _json_or_text(grant.get("id") if isinstance(grant, dict) else grant)),
        ("counts from", _json_or_text(values.get("effective_at"))),
        ("ended", _json_or_text(values.get("ended_at"))),
        ("effect", _json_or_text(values.get("effect"))),
        ("by", _json_or_text(values.get("by"))),
        ("cause", _json_or_text(code)),
        ("reason", _json_or_text(values.get("reason"))),
        ("duties", ", ".join(duties)),
    ]


def _public(body: commitments.EntryBody) -> list[tuple[str, str]]:
    # A bare “old” or “new” would not say that it is a key.
    name = "log’s {} key" if body.kind == keychain.KIND else "{}"
    return [
        (name.format(each.replace("_", " ")), _json_or_text(shown))
        for each, shown in body.public.items()
    ]


def _continued(body: commitments.EntryBody) -> list[tuple[str, str]]:
    said = body.public
    return [
        ("continues", f"{said.get('origin')}, frozen at {said.get('size')} entries"),
        ("root then", _json_or_text(said.get("root"))),
        ("kept of it", f"{said.get('known')} entries, of {said.get('signed')} signed"),
        ("log’s key", _json_or_text(said.get("key"))),
    ]


def _catalogue(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a seller froze or published, by its own names."""
    rows = [("collection", _json_or_text(values.get("collection")))]
    for name in ("snapshot", "version"):
        value = values.get(name)
        if isinstance(value, dict):
            named = f"“{value['name']}”, " if "name" in value else ""
            rows.append((name, f"{named}number {value.get('number')}, {value.get('id')}"))
    return rows


def _delivered(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What left on which day, by sort: at least that, as the market counted."""
    grant, delivered = values.get("grant"), values.get("delivered")
    rows = [("grant", str(grant.get("id")) if isinstance(grant, dict) else _json(grant))]
    if "day" in values:
        rows.append(("day", f"{values['day']} by UTC, part {values.get('part')}"))
    if not isinstance(delivered, dict):
        return [*rows, ("delivered", _json(delivered))]
    for what, each in sorted(delivered.items()):
        known = isinstance(each, dict) and each.keys() == {"answers", "bytes"}
        if not known or not all(type(count) is int for count in each.values()):
            rows.append((what, _json(each)))
        elif each["answers"]:
            rows.append((what, f"at least {each['answers']:,} answers, {each['bytes']:,} bytes"))
    return rows


def _changed(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which period or snapshot came to a grant, from when on, and what it took over from."""
    rows = []
    for name in ("grant", "period", "snapshot", "version"):
        value = values.get(name)
        if not isinstance(value, dict):
            rows.append((name, _json(value)))
            continue
        named = f"“{value['name']}”, " if "name" in value else ""
        number = f"number {value['number']}, " if "number" in value else ""
        rows.append((name, f"{named}{number}{value.get('id')}"))
    for each in values.get("replaced") or []:
        if isinstance(each, dict) and isinstance(each.get("period"), dict):
            rows.append(
                (
                    "takes over from",
                    f"period {each['period'].get('number')}, typed terms SHA-256"
                    f" {each.get('terms_sha256')}",
                )
            )
    return [
        *rows,
        ("counts from", _json_or_text(values.get("effective_at", values.get("effective_from")))),
        ("additions", _json_or_text(values.get("additions"))),
        ("by", _json_or_text(values.get("by"))),
        ("reference", _json_or_text(values.get("reference"))),
    ]


def _list(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else _json(value)


def _json_or_text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def printable(text: str) -> str:
    """Names come from other people: no control sequence of theirs may reach a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
