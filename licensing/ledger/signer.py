"""The keys that sign the logs: files of their own, outside the database."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from licensing.ledger import notes

# The private counterpart of a vkey, as Go's note package writes it:
# PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>.
_PREFIX = "PRIVATE+KEY"
_SEED_LENGTH = 32


class KeyUnusable(Exception):
    """A log's key is missing, readable by others, or not this log's. Says what to do."""


def origin(log: str) -> str:
    """The log's name for good; its key carries the same one."""
    return f"{settings.LEDGER_ORIGIN}/{log}"


def create(log: str) -> notes.Verifier:
    """Make a log's key. Never touches an existing one: a second key would fork the log.

    Two that create at once both end with the same key.
    """
    path = _path(log)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = os.urandom(_SEED_LENGTH)
    verifier = notes.Signer(origin(log), seed).verifier
    encoded = notes.encode_base64(bytes([notes.ED25519]) + seed)
    line = f"{_PREFIX}+{verifier.name}+{verifier.key_id.hex()}+{encoded}\n"
    _write_once(path, line.encode(), mode=0o600)
    made = load(log).verifier
    _write_once(path.with_suffix(".vkey"), f"{made.vkey()}\n".encode(), mode=0o644)
    return made


def load(log: str) -> notes.Signer:
    """Read a log's key. In development the test log gets one on its first use."""
    path = _path(log)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode()
    except FileNotFoundError:
        if settings.DEVELOPMENT and log == "test":
            create(log)
            return load(log)
        raise KeyUnusable(
            _("The log “%(log)s” has no key. Make it once: manage.py ledger_key --log %(log)s")
            % {"log": log}
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise KeyUnusable(
            _("Others may read the key “%(name)s”. Run chmod 600 on it, if it is still secret.")
            % {"name": path.name}
        )
    return _parse(log, text)


def verifier(log: str) -> notes.Verifier | None:
    """The public half of a log's key; None as long as nobody made one.

    Read from its own file where that is all that this host has: who serves need not sign.
    """
    path = _path(log)
    public = path.with_suffix(".vkey")
    if not path.exists() and public.exists():
        found = notes.Verifier.parse(public.read_text().removesuffix("\n"))
        if found.name != origin(log):
            raise _made_for_another(log)
        return found
    try:
        return load(log).verifier
    except KeyUnusable:
        if path.exists():
            raise
        return None


def _parse(log: str, text: str) -> notes.Signer:
    # The name is hashed into the key's id, so a key says for which log it was made.
    head = f"{_PREFIX}+{origin(log)}+"
    if not text.startswith(head):
        raise _made_for_another(log)
    key_id, _plus, encoded = text.removeprefix(head).removesuffix("\n").partition("+")
    try:
        key = notes.decode_base64(encoded)
        if len(key) != 1 + _SEED_LENGTH or key[0] != notes.ED25519:
            raise notes.NoteError("it is not an Ed25519 key")
        signer = notes.Signer(origin(log), key[1:])
        if signer.verifier.key_id.hex() != key_id:
            raise notes.NoteError("its id is not the one of its name and public key")
    except notes.NoteError as error:
        raise KeyUnusable(
            _("The key of the log “%(log)s” cannot be read: %(error)s.")
            % {"log": log, "error": error}
        ) from None
    return signer


def _made_for_another(log: str) -> KeyUnusable:
    return KeyUnusable(
        _("The key was made for another log than “%(name)s”. Was LICET_LEDGER_ORIGIN changed?")
        % {"name": origin(log)}
    )


def _path(log: str) -> Path:
    return Path(settings.LEDGER_KEY_DIR) / f"{log}.key"


def _write_once(path: Path, data: bytes, *, mode: int) -> None:
    """Put a file in its place whole and durable; or leave the one that is there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, unlike a rename, never replaces what stands there.
            os.link(draft, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()
