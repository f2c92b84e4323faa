"""Has witnesses cosign the logs' checkpoints (C2SP tlog-witness), and keeps what they sign."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from licensing.ledger import cosignatures, notes, signer, tiles, tree, witness_http
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerCheckpoint, LedgerCosignature
from marketplace import access

# A note has 16 signatures at most, and the log's own come first.
WITNESSES_MAX = 12

# Talks with one witness in one pass: from what was kept, from where it stands, and once more each
# time that another process had a newer checkpoint cosigned meanwhile.
_ATTEMPTS = 5

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


class WitnessesMisconfigured(Exception):
    """LICET_LEDGER_WITNESSES cannot be read; says what to do."""


@dataclass(frozen=True)
class Server:
    """A witness: the key that is trusted, and where checkpoints are submitted to it."""

    key: cosignatures.Witness
    # The submission prefix, without a slash at its end.
    url: str


class Result(Enum):
    WITNESSED = "witnessed"
    # The witness knows another history of this log, or a longer one.
    CONFLICT = "conflict"
    # It did not answer, or not as its specification says, or it does not know this log.
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Outcome:
    result: Result
    text: str


def servers() -> list[Server]:
    """The witnesses that the setting names. Raises WitnessesMisconfigured."""
    words = settings.LEDGER_WITNESSES.split()
    if len(words) % 2:
        raise _misconfigured(_("give a verifier key and an address for each witness"))
    found = [_server(vkey, url) for vkey, url in zip(words[::2], words[1::2], strict=True)]
    if len(found) > WITNESSES_MAX:
        raise _misconfigured(_("there are more than %(max)s") % {"max": WITNESSES_MAX})
    if len({(each.key.name, each.key.key_id) for each in found}) != len(found):
        raise _misconfigured(_("one key is named twice"))
    return found


def _server(vkey: str, url: str) -> Server:
    try:
        key = cosignatures.Witness.parse(vkey)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(_("not a web address"))
        if parts.query or parts.fragment or parts.port == 0:
            raise ValueError(_("an address that checkpoints cannot be sent to"))
    except ValueError as error:  # NoteError is one
        raise _misconfigured(f"{vkey[:100]} {url[:100]}: {error}") from None
    return Server(key, url.rstrip("/"))


def _misconfigured(reason: str) -> WitnessesMisconfigured:
    return WitnessesMisconfigured(
        _("LICET_LEDGER_WITNESSES cannot be read: %(reason)s. It is VKEY URL VKEY URL …")
        % {"reason": reason}
    )


# --- asking -----------------------------------------------------------------------------------


def witness(log: str, server: Server, *, confirm: bool = False) -> Outcome:
    """Have a witness cosign the newest checkpoint of a log, unless it did; keep what it signs.

    `confirm` asks it even so: a database that was restored holds what it cosigned of then. In no
    transaction. Raises LedgerCorrupted when the stored tree does not continue what the
    witness has cosigned before, or the newest checkpoint cannot be read.
    """
    old = _cosigned_size(log, server)
    for _attempt in range(_ATTEMPTS):
        newest = tiles.newest_checkpoint(log)
        if newest is None:
            return _unpublished(log, server, old)
        signed = _read(newest)
        if old == newest.size and not confirm and _is_kept(newest, server):
            return _witnessed(newest)
        if old > newest.size:
            return _conflict(log, server, signed, _("it has cosigned a tree of %s entries") % old)
        try:
            answer = witness_http.add_checkpoint(server.url, _request(newest, old))
        except witness_http.Unreachable as error:
            return _unclear(server, str(error))
        if answer.status == 200:
            return _keep_answer(newest, server, answer.body)
        if answer.status != 409:
            return _refused(log, server, signed, old, answer)
        told = _SIZE.fullmatch(answer.body)
        if old == newest.size and (told is None or int(told[1]) == old):
            return _conflict(log, server, signed, _("it has cosigned another root of this size"))
        if told is None or int(told[1]) == old:
            return _unclear(server, _("it answered 409 without the size that it has cosigned"))
        # A larger size is our own when another process submitted it: the next round looks.
        old = int(told[1])
    return _unclear(server, _("its size changes with every answer"))


def _read(checkpoint: LedgerCheckpoint) -> notes.Checkpoint:
    """What a stored note says. Raises LedgerCorrupted where it is not of its row's tree."""
    try:
        signed = notes.parse_checkpoint(notes.split_note(checkpoint.note)[0])
    except notes.NoteError as error:
        raise LedgerCorrupted(
            f"The newest checkpoint of the log “{checkpoint.log}” here cannot be read: {error}."
        ) from error
    if (signed.origin, signed.size) != (signer.origin(checkpoint.log), checkpoint.size):
        raise LedgerCorrupted(
            f"The newest checkpoint of the log “{checkpoint.log}” here, of {checkpoint.size}"
            f" entries, is a note over {signed.size} entries of {signed.origin}."
        )
    return signed


def _request(checkpoint: LedgerCheckpoint, old: int) -> bytes:
    """What is submitted (C2SP tlog-witness, add-checkpoint), proven before it is sent."""
    signed = _read(checkpoint)
    proof: list[bytes] = []
    if 0 < old < signed.size:
        stored = tiles.StoredTree(checkpoint.log, signed.size)
        try:
            proof = tree.consistency_proof(old, signed.size, stored.node)
            root = tiles.StoredTree(checkpoint.log, old).root()
            tree.verify_consistency(old, signed.size, proof, root, signed.root)
        except (LookupError, tree.ProofError) as error:
            raise LedgerCorrupted(
                f"The log “{checkpoint.log}” of size {signed.size}, signed with the root"
                f" {_shown_root(signed)}, does not continue its first {old} entries: {error}."
            ) from error
    steps = "".join(f"{notes.encode_base64(step)}\n" for step in proof)
    return f"old {old}\n{steps}\n{checkpoint.note}".encode()


def _keep_answer(checkpoint: LedgerCheckpoint, server: Server, body: bytes) -> Outcome:
    text, _own = notes.split_note(checkpoint.note)
    try:
        _text, signatures = notes.split_note(f"{text}\n{body.decode()}")
        rows = valid(checkpoint, signatures, [server.key])
    except (notes.NoteError, UnicodeDecodeError) as error:
        return _unclear(server, _("its cosignature cannot be used: %s") % error)
    if not rows:
        return _unclear(server, _("it cosigned with another key than the one that is trusted"))
    with access.system("keep a checkpoint's cosignatures"):
        keep(rows)
    if not _is_kept(checkpoint, server):
        return _unclear(
            server,
            _("what is kept of its cosignature of %s entries is spoiled. Run manage.py ledger_fsck")
            % checkpoint.size,
        )
    return _witnessed(checkpoint)


def _unpublished(log: str, server: Server, old: int) -> Outcome:
    """Nothing can be submitted. Whoever emptied the database did not empty the witness."""
    nothing = notes.Checkpoint(signer.origin(log), 0, tree.EMPTY_ROOT)
    theirs = _theirs(log, server)
    known = max(old, 0 if theirs is None else theirs[0].size)
    if known:
        return _conflict(log, server, nothing, _("it has cosigned a tree of %s entries") % known)
    return Outcome(Result.WITNESSED, _("nothing is published yet"))


def _refused(
    log: str, server: Server, signed: notes.Checkpoint, old: int, answer: witness_http.Answer
) -> Outcome:
    if answer.status == 422:
        return _conflict(
            log, server, signed, _("its first %s entries have another root than ours") % old
        )
    reasons = {
        403: _("it does not trust this log's key"),
        404: _("it does not know this log's origin, or the address is not its own"),
    }
    said = answer.body[:200].decode(errors="replace")
    shown = "".join(character if character.isprintable() else " " for character in said).strip()
    reason = reasons.get(answer.status, _("this is no answer of a witness"))
    return _unclear(server, f"{reason} (HTTP {answer.status}{': ' if shown else ''}{shown})")


def _witnessed(checkpoint: LedgerCheckpoint) -> Outcome:
    return Outcome(Result.WITNESSED, _("%s entries") % checkpoint.size)


def _conflict(log: str, server: Server, ours: notes.Checkpoint, reason: str) -> Outcome:
    theirs = _theirs(log, server)
    if theirs is None:
        proof = _("Ask the witness for the checkpoint that it has, and keep it.")
    else:
        proof = _(
            "It shows this checkpoint, of %(size)s entries and the root %(root)s. Keep it:"
            "\n%(note)s"
        ) % {"size": theirs[0].size, "root": _shown_root(theirs[0]), "note": theirs[1]}
    return Outcome(
        Result.CONFLICT,
        _(
            "%(witness)s refuses the tree of %(size)s entries of %(origin)s, with the root"
            " %(root)s: %(reason)s. Either this database was restored to an earlier state, or the"
            " log has shown two histories. Stop the sequencer. %(proof)s"
        )
        % {
            "witness": server.key.name,
            "size": ours.size,
            "origin": ours.origin,
            "root": _shown_root(ours),
            "reason": reason,
            "proof": proof,
        },
    )


def _theirs(log: str, server: Server) -> tuple[notes.Checkpoint, str] | None:
    """What the witness cosigned last of a log, and its note, where it shows that to monitors.

    Only what it signed itself, and a key of the log that is known here: together they prove what
    the log has shown.
    """
    origin = signer.origin(log)
    try:
        answer = witness_http.latest_checkpoint(server.url, origin)
        if answer.status != 200:
            return None
        keys = signer.verifiers(log)
        checkpoint, opened = notes.open_checkpoint(answer.body.decode(), keys)
        mine = [each for each in opened.unverified if each.key_id == server.key.key_id]
        if not cosignatures.verified(opened.text, mine, [server.key]):
            return None
    except (witness_http.Unreachable, ValueError, signer.KeyUnusable):
        return None
    if checkpoint.origin != origin:
        return None
    lines = "".join(each.line() for each in (*opened.verified, *mine))
    return checkpoint, f"{opened.text}\n{lines}"


def _shown_root(checkpoint: notes.Checkpoint) -> str:
    return notes.encode_base64(checkpoint.root)


def _unclear(server: Server, reason: str) -> Outcome:
    return Outcome(Result.UNCLEAR, f"{server.key.name}: {reason}")


# --- keeping ----------------------------------------------------------------------------------


def keep(rows: Iterable[LedgerCosignature]) -> None:
    """Write verified cosignatures. Each witness's first one stays: two that ask keep one line."""
    LedgerCosignature.objects.bulk_create(rows, ignore_conflicts=True)


def valid(
    checkpoint: LedgerCheckpoint,
    signatures: Iterable[notes.Signature],
    witnesses: Iterable[cosignatures.Witness],
) -> list[LedgerCosignature]:
    """Those of a note's signatures that the witnesses made, not written yet.

    Raises SignatureError when one of a named witness is wrong.
    """
    text, _own = notes.split_note(checkpoint.note)
    known = {(each.name, each.key_id): each for each in witnesses}
    rows = []
    for signature in signatures:
        cosigner = known.get((signature.name, signature.key_id))
        if cosigner is not None:
            rows.append(
                LedgerCosignature(
                    log=checkpoint.log,
                    size=checkpoint.size,
                    vkey=cosigner.vkey(),
                    cosigned_at=cosigner.cosigned_at(text, signature.value),
                    line=signature.line(),
                )
            )
    return rows


def _kept(log: str, server: Server) -> QuerySet[LedgerCosignature]:
    return LedgerCosignature.objects.filter(log=log, vkey=server.key.vkey())


def _cosigned_size(log: str, server: Server) -> int:
    """The size of the newest tree that the witness is known to have cosigned, or 0."""
    return _kept(log, server).order_by("-size").values_list("size", flat=True).first() or 0


def _is_kept(checkpoint: LedgerCheckpoint, server: Server) -> bool:
    """Whether a cosignature of this very tree is kept: the note may have been signed again."""
    row = _kept(checkpoint.log, server).filter(size=checkpoint.size).first()
    try:
        if row is not None:
            check_kept(row, checkpoint.note)
    except ValueError:  # NoteError is one
        return False
    return row is not None


# --- showing ----------------------------------------------------------------------------------


def cosigned_note(checkpoint: LedgerCheckpoint) -> str:
    """A checkpoint as it is published: the log's own note, and what witnesses signed of it."""
    _text, own = notes.split_note(checkpoint.note)
    lines = (
        LedgerCosignature.objects.filter(log=checkpoint.log, size=checkpoint.size)
        .order_by("id")
        .values_list("line", flat=True)[: notes.SIGNATURES_MAX - len(own)]
    )
    return checkpoint.note + "".join(lines)


def check_kept(row: LedgerCosignature, note: str) -> None:
    """Verify once more what was kept of a checkpoint's note. Raises NoteError."""
    text, _own = notes.split_note(note)
    _text, [signature] = notes.split_note(f"{text}\n{row.line}")
    found = cosignatures.verified(text, [signature], [cosignatures.Witness.parse(row.vkey)])
    if [each.seconds for each in found] != [row.cosigned_at]:
        raise notes.SignatureError("a cosignature is not of the witness or time beside it")


def earliest_cosigned(log: str, index: int) -> LedgerCheckpoint | None:
    """The smallest cosigned tree that holds a leaf: it says best when the leaf was there."""
    size = (
        LedgerCosignature.objects.filter(log=log, size__gt=index)
        .order_by("size")
        .values_list("size", flat=True)
        .first()
    )
    if size is None:
        return None
    return LedgerCheckpoint.objects.get(log=log, size=size)
