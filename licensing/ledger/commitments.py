"""The public body of a ledger entry, and the commitments that keep its facts private."""

from __future__ import annotations

import dataclasses
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from licensing import jcs

# Version 2 adds `parties`, and `public` for the kinds that have it. Everything that is recorded now
# is of it; version 1 stays readable.
VERSIONS = (1, 2)
VERSION = VERSIONS[-1]
LOGS = ("test", "live")
SEED_LENGTH = 32

# Changes the log's own key: see `keychain`.
KEY_CHANGED = "log.key_changed"
# Begins the log that continues a frozen one: see `generations`.
CONTINUED = "log.continued"

# C2SP tlog-tiles writes an entry's length in two bytes.
BODY_MAX = 65_535

# Who a grant binds, and which it is: of every later kind of its chain.
_OF_A_GRANT = ("licensor", "licensee", "grant")

# What a later period permits, when, for what price; whose act it was, and what led to it.
_OF_A_PERIOD = (
    "period",
    "version",
    "terms",
    "terms_text",
    "scope",
    "windows",
    "price",
    "by",
    "reference",
)

# What each published kind commits to: (always, sometimes). A published kind never gains or loses
# a field; whoever needs another publishes another kind.
FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "grant.issued": (
        frozenset(
            {
                "licensor",
                "licensee",
                "documents",
                "terms",
                "terms_text",
                "scope",
                "coverage",
                "windows",
                "price",
                "acceptance",
            }
        ),
        frozenset({"signatures"}),
    ),
    "optout.recorded": (
        frozenset({"licensor", "opt_out", "by", "reason", "reach", "works"}),
        frozenset(),
    ),
    "optout.notified": (
        frozenset({"licensor", "licensee", "grant", "opt_out", "by", "notice", "works"}),
        frozenset(),
    ),
    "optout.acknowledged": (
        frozenset({"licensor", "licensee", "notice", "acknowledgement"}),
        frozenset(),
    ),
    "grant.suspended": (
        frozenset({*_OF_A_GRANT, "by", "cause", "reason", "effective_at", "duties"}),
        frozenset(),
    ),
    "grant.reinstated": (
        frozenset({*_OF_A_GRANT, "by", "cause", "reason", "effective_at"}),
        frozenset(),
    ),
    "grant.revoked": (
        frozenset({*_OF_A_GRANT, "by", "cause", "reason", "effective_at", "effect", "duties"}),
        frozenset(),
    ),
    "grant.expired": (frozenset({*_OF_A_GRANT, "ended_at"}), frozenset()),
    KEY_CHANGED: (frozenset(), frozenset()),
    "status.root": (frozenset(), frozenset()),
    "snapshot.finalized": (
        frozenset({"licensor", "collection", "snapshot", "coverage"}),
        frozenset(),
    ),
    "terms.published": (
        frozenset({"licensor", "version", "terms", "terms_text"}),
        frozenset(),
    ),
    "audit.root": (frozenset(), frozenset()),
    "grant.coverage_added": (
        frozenset(
            {*_OF_A_GRANT, "coverage", "snapshot", "effective_from", "additions", "by", "reference"}
        ),
        frozenset({"price", "documents", "acceptance", "signatures"}),
    ),
    "grant.renewed": (
        frozenset({*_OF_A_GRANT, *_OF_A_PERIOD}),
        frozenset({"documents", "acceptance", "signatures"}),
    ),
    "grant.amended": (
        frozenset(
            {
                *_OF_A_GRANT,
                *_OF_A_PERIOD,
                "effective_at",
                "replaced",
                "documents",
                "acceptance",
            }
        ),
        frozenset({"signatures"}),
    ),
    CONTINUED: (frozenset(), frozenset()),
    "delivery.summarized": (
        frozenset({*_OF_A_GRANT, "day", "part", "coverage", "delivered"}),
        frozenset(),
    ),
}

# What each published kind shows to everybody; every other kind has no `public`. Held to as above.
PUBLIC: dict[str, frozenset[str]] = {
    KEY_CHANGED: frozenset({"old", "new"}),
    "status.root": frozenset({"tree", "size", "root", "as_of", "log_size"}),
    "audit.root": frozenset({"tree", "size", "root", "from", "to"}),
    CONTINUED: frozenset({"origin", "size", "root", "checkpoint", "known", "signed", "key"}),
}

# What a kind calls the sixteen bytes that name its subject; every other kind is about a grant.
_REFS = {
    "optout.recorded": "opt_out_ref",
    "optout.notified": "notice_ref",
    "optout.acknowledged": "notice_ref",
    KEY_CHANGED: "log_ref",
    "status.root": "status_ref",
    "snapshot.finalized": "snapshot_ref",
    "terms.published": "terms_ref",
    "audit.root": "audit_ref",
    "delivery.summarized": "delivery_ref",
    CONTINUED: "log_ref",
}

_KIND = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")
_FIELD = re.compile(r"[a-z][a-z0-9_]*")
_HEX_16 = re.compile(r"[0-9a-f]{32}")
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_AT = "%Y-%m-%dT%H:%M:%S.%fZ"
# By version, what openings and bodies hold.
_OPENINGS_KEYS = {1: frozenset({"v", "kind", "salts", "values"})}
_OPENINGS_KEYS[2] = _OPENINGS_KEYS[1] | {"party"}
_KEYS = {1: frozenset({"v", "kind", "log", "at", "seq", "prev", "commitments"})}
_KEYS[2] = _KEYS[1] | {"parties"}
_SLOT_KEYS = frozenset({"organization", "sequence", "salt"})

# What a commitment to a party is of, and HMAC's padding (RFC 2104, 2).
_PARTIES = b"licet/v2/parties\x00"
_SHA256_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class CommitmentError(ValueError):
    """An entry or its openings are malformed or do not belong together. `field` says where."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class EntryBody:
    """What everybody can read in an entry."""

    v: int
    kind: str
    log: str
    at: datetime
    # Sixteen random bytes that name the subject in public and tell nothing.
    subject_ref: bytes
    seq: int
    # The leaf hash of the same subject's previous entry; None for its first.
    prev: bytes | None
    # Field -> HMAC-SHA256.
    commitments: Mapping[str, bytes]
    # To each party and its number of this entry, ascending. None has any in version 1.
    parties: tuple[bytes, ...] = ()
    # What is committed to nobody, and meant for all: of the kinds in PUBLIC.
    public: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """An entry's place among those of one party: of one log, gapless, from 1."""

    # The organization's TypeID, as text.
    organization: str
    sequence: int


def salt(seed: bytes, kind: str, field: str) -> bytes:
    """Derive a field's salt. Handing it out opens this field and no other."""
    if len(seed) != SEED_LENGTH:
        raise CommitmentError("an entry's seed has 32 bytes")
    return hmac.digest(seed, f"licet/salt/v1/{kind}/{field}".encode(), "sha256")


def commitment(salt: bytes, kind: str, field: str, value: Any) -> bytes:
    """Commit to a field's value."""
    return commitment_of_text(salt, kind, field, jcs.dumps(value))


def commitment_of_text(salt: bytes, kind: str, field: str, text: bytes) -> bytes:
    """Commit to canonical JSON; the 0x00 keeps a name from flowing into its value."""
    message = f"licet/v1/{kind}/{field}".encode() + b"\x00" + text
    return hmac.digest(salt, message, "sha256")


def party_salt(seed: bytes, organization: str) -> bytes:
    """Derive a party's salt. Handing it out tells nothing of another party's number."""
    if len(seed) != SEED_LENGTH:
        raise CommitmentError("an entry's seed has 32 bytes")
    return hmac.digest(seed, f"licet/salt/v2/parties/{organization}".encode(), "sha256")


def party_commitment(salt: bytes, slot: Slot) -> bytes:
    """Commit to a party and its number of the entry."""
    value = {"organization": slot.organization, "sequence": slot.sequence}
    message = _PARTIES + jcs.dumps(value)
    return hmac.digest(salt, message, "sha256")


def party_key(seed: bytes, organization: str) -> tuple[bytes, bytes]:
    """Prepare a party's commitment for one who has SHA-256 alone: what comes around its number.

    `party_commitment` is SHA-256(outer, SHA-256(inner, the number in decimal digits, "}")), the two
    halves of HMAC (RFC 2104) with the value's canonical JSON up to the number.
    """
    key = party_salt(seed, organization).ljust(_SHA256_BLOCK, b"\x00")
    value = jcs.dumps({"organization": organization, "sequence": 0}).removesuffix(b"0}")
    return key.translate(_INNER) + _PARTIES + value, key.translate(_OUTER)


def commit_parties(seed: bytes, slots: Sequence[Slot]) -> list[str]:
    """Commit to every party: in hex, ascending, so that the order tells nothing of who is who."""
    return sorted(
        party_commitment(party_salt(seed, slot.organization), slot).hex() for slot in slots
    )


def commit(kind: str, seed: bytes, values: Mapping[str, Any]) -> dict[str, str]:
    """Commit to every value: field -> commitment in hex, as an entry's body carries them."""
    _check_kind(kind)
    _check_fields(kind, values.keys())
    return {
        field: commitment(salt(seed, kind, field), kind, field, value).hex()
        for field, value in values.items()
    }


def openings(
    kind: str,
    seed: bytes,
    values: Mapping[str, Any],
    fields: frozenset[str] | None = None,
    *,
    v: int,
    slot: Slot | None = None,
) -> dict[str, Any]:
    """Make what a party hands out so that others can read and check `fields` (None: all).

    `v` is the entry's version. `slot` opens one party's commitment, from version 2 on.
    """
    shown = [field for field in values if fields is None or field in fields]
    made: dict[str, Any] = {
        "v": v,
        "kind": kind,
        "salts": {field: salt(seed, kind, field).hex() for field in shown},
        "values": {field: values[field] for field in shown},
    }
    if v >= 2:
        made["party"] = slot and {
            "organization": slot.organization,
            "sequence": slot.sequence,
            "salt": party_salt(seed, slot.organization).hex(),
        }
    return made


def check_openings(body: EntryBody, openings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the opened values once each is proven to be what the entry commits to.

    Fields that the openings leave out stay private. Raises CommitmentError naming the field.
    """
    _check_openings_are_of(body, openings)
    if openings["kind"] != body.kind:
        raise CommitmentError("the openings are for another kind of entry")
    salts, values = openings["salts"], openings["values"]
    if not isinstance(salts, dict) or not isinstance(values, dict) or salts.keys() != values.keys():
        raise CommitmentError("the openings do not have one salt for each value")
    for field, value in values.items():
        expected = body.commitments.get(field)
        if expected is None:
            raise CommitmentError(f"the entry commits to no field “{field}”", field)
        if not is_sha256_hex(salts[field]):
            raise CommitmentError(f"the salt of “{field}” is not 32 bytes in hex", field)
        found = commitment(bytes.fromhex(salts[field]), body.kind, field, value)
        if not hmac.compare_digest(found, expected):
            raise CommitmentError(f"“{field}” is not what the entry commits to", field)
    return dict(values)


def check_party(body: EntryBody, openings: Mapping[str, Any]) -> Slot | None:
    """Give the opened party and its number once they are proven to be what the entry commits to.

    None where the openings keep them private, or the entry has none. Raises CommitmentError.
    """
    _check_openings_are_of(body, openings)
    party = openings.get("party")
    if party is None:
        return None
    if not isinstance(party, dict) or party.keys() != _SLOT_KEYS:
        raise CommitmentError("the party is not opened by organization, sequence and salt", "party")
    organization, sequence, salt = party["organization"], party["sequence"], party["salt"]
    if not isinstance(organization, str) or not _is_number(sequence) or sequence < 1:
        raise CommitmentError("the party has no number from 1 on", "party")
    if not is_sha256_hex(salt):
        raise CommitmentError("the salt of the party is not 32 bytes in hex", "party")
    slot = Slot(organization, sequence)
    try:
        found = party_commitment(bytes.fromhex(salt), slot)
    except ValueError as error:
        raise CommitmentError(f"the party has no canonical form: {error}", "party") from None
    if not any(hmac.compare_digest(found, expected) for expected in body.parties):
        raise CommitmentError("the party and its number are not what the entry commits to", "party")
    return slot


def ref_name(kind: str) -> str:
    """The member of an entry that names its subject."""
    return _REFS.get(kind, "grant_ref")


def entry_body(
    kind: str,
    *,
    log: str,
    at: datetime,
    subject_ref: bytes,
    seq: int,
    prev: bytes | None,
    commitments: Mapping[str, str],
    parties: Sequence[str] | None,
    public: Mapping[str, Any] | None = None,
) -> bytes:
    """Write an entry's body: the exact bytes that are hashed, stored and published.

    `parties` is of `commit_parties`; None writes version 1, which has none. `public` is what the
    kind shows to everybody, and only where PUBLIC says so.
    """
    if at.tzinfo is None:
        raise CommitmentError("an entry's time has a time zone", "at")
    written: dict[str, Any] = {
        "v": 1 if parties is None else 2,
        "kind": kind,
        "log": log,
        "at": timestamp(at),
        ref_name(kind): subject_ref.hex(),
        "seq": seq,
        "prev": None if prev is None else prev.hex(),
        "commitments": dict(commitments),
    }
    if parties is not None:
        written["parties"] = list(parties)
    if public:
        written["public"] = dict(public)
    body = jcs.dumps(written)
    # Nothing is ever written that our own strict reader would refuse.
    parse_body(body)
    return body


def parse_body(data: bytes) -> EntryBody:
    """Read an entry's body strictly. Raises CommitmentError."""
    if len(data) > BODY_MAX:
        raise CommitmentError(f"an entry has at most {BODY_MAX} bytes")
    try:
        body = jcs.loads_strict(data)
    except ValueError as error:
        raise CommitmentError(f"the entry is no canonical JSON: {error}") from None
    if not isinstance(body, dict):
        raise CommitmentError("the entry is no object")
    v: Any = body.get("v")
    ref = ref_name(_kind_of(body))
    if not _is_version(v):
        raise CommitmentError("the entry is of no version that is known here", "v")
    if body.keys() - {"public"} != _KEYS[v] | {ref}:
        raise CommitmentError(f"the entry has other fields than version {v}")
    _check_kind(body["kind"])
    if body["log"] not in LOGS:
        raise CommitmentError("the entry names no known log", "log")
    seq, prev = body["seq"], body["prev"]
    if not _is_number(seq) or seq < 0:
        raise CommitmentError("the entry's number is not a whole number", "seq")
    if (prev is None) != (seq == 0) or (prev is not None and not is_sha256_hex(prev)):
        raise CommitmentError("the entry does not follow from a previous one", "prev")
    if not _is_hex(_HEX_16, body[ref]):
        raise CommitmentError("the subject's reference is not 16 bytes in hex", ref)
    commitments = body["commitments"]
    if not isinstance(commitments, dict):
        raise CommitmentError("the entry has no commitments", "commitments")
    for field, value in commitments.items():
        if not _FIELD.fullmatch(field) or not is_sha256_hex(value):
            raise CommitmentError(f"“{field}” is no commitment", field)
    _check_fields(body["kind"], commitments.keys())
    public = _parse_public(v, body)
    return EntryBody(
        v=v,
        kind=body["kind"],
        log=body["log"],
        at=parse_timestamp(body["at"]),
        subject_ref=bytes.fromhex(body[ref]),
        seq=seq,
        prev=None if prev is None else bytes.fromhex(prev),
        commitments={field: bytes.fromhex(value) for field, value in commitments.items()},
        parties=_parse_parties(body.get("parties", [])),
        public=public,
    )


def timestamp(at: datetime) -> str:
    """Write an instant as everything hashed does: RFC 3339, UTC, always six decimals."""
    return at.astimezone(UTC).strftime(_AT)


def parse_timestamp(text: Any) -> datetime:
    try:
        at = datetime.strptime(text, _AT).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise CommitmentError("a time is not written as in 2027-01-31T12:00:00.000000Z") from None
    # strptime also takes shorter spellings.
    if timestamp(at) != text:
        raise CommitmentError("a time is not written as in 2027-01-31T12:00:00.000000Z")
    return at


def is_sha256_hex(value: Any) -> bool:
    return _is_hex(_HEX_32, value)


def _check_openings_are_of(body: EntryBody, openings: Mapping[str, Any]) -> None:
    if not _is_number(openings.get("v")) or openings["v"] != body.v:
        raise CommitmentError(f"the openings are not of version {body.v}, as the entry is")
    if openings.keys() != _OPENINGS_KEYS[body.v]:
        raise CommitmentError(f"the openings have other members than version {body.v}")


def _parse_parties(parties: Any) -> tuple[bytes, ...]:
    if not isinstance(parties, list) or not all(map(is_sha256_hex, parties)):
        raise CommitmentError("the entry's parties are no commitments", "parties")
    if any(one >= other for one, other in pairwise(parties)):
        raise CommitmentError("the entry's parties do not ascend", "parties")
    return tuple(map(bytes.fromhex, parties))


def _parse_public(v: int, body: Mapping[str, Any]) -> dict[str, Any]:
    public, kind = body.get("public", {}), body["kind"]
    if not isinstance(public, dict) or ("public" in body and (v < 2 or not public)):
        raise CommitmentError("the entry shows nothing that version 2 could show", "public")
    if public.keys() != PUBLIC.get(kind, public.keys() if kind not in FIELDS else frozenset()):
        raise CommitmentError(f"{kind} shows other members than it does elsewhere", "public")
    return public


def _kind_of(body: Mapping[str, Any]) -> str:
    kind = body.get("kind")
    return kind if isinstance(kind, str) else ""


def _is_version(value: Any) -> bool:
    # In Python, but not in JSON, true equals 1.
    return _is_number(value) and value in VERSIONS


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_hex(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_kind(kind: Any) -> None:
    if not _is_hex(_KIND, kind):
        raise CommitmentError("the entry names no kind of fact", "kind")


def _check_fields(kind: str, fields: Any) -> None:
    """Hold a published kind to its fields; a kind that is not known here is left alone."""
    if kind not in FIELDS:
        return
    always, sometimes = FIELDS[kind]
    missing, unknown = always - set(fields), set(fields) - always - sometimes
    for field in sorted(missing):
        raise CommitmentError(f"{kind} commits to “{field}”, which is missing", field)
    for field in sorted(unknown):
        raise CommitmentError(f"{kind} does not commit to “{field}”", field)
