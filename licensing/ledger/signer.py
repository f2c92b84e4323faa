"""The keys that sign the logs: files of their own, outside the database."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from licensing.ledger import generations, notes

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
    _write_once(path, _made(log), mode=0o600)
    made = load(log).verifier
    _write_once(path.with_suffix(".vkey"), f"{made.vkey()}\n".encode(), mode=0o644)
    return made


def load(log: str) -> notes.Signer:
    """Read a log's key. In development the test log gets one on its first use."""
    found = _load(log, _path(log))
    if found is not None:
        return found
    if settings.DEVELOPMENT and log == "test":
        create(log)
        return load(log)
    if generations.before(log) is not None:
        raise KeyUnusable(
            _(
                "The log “%(log)s” has no key here. Copy %(file)s from the host where the log was"
                " frozen, or from its backup."
            )
            % {"log": log, "file": _path(log).name}
        )
    raise KeyUnusable(
        _("The log “%(log)s” has no key. Make it once: manage.py ledger_key --log %(log)s")
        % {"log": log}
    )


def load_next(log: str) -> notes.Signer | None:
    """Read the key that is to follow a log's key; None where none was made."""
    return _load(log, _next_path(log))


def load_all(log: str) -> list[notes.Signer]:
    """The keys that this host can sign with: the next one, if there is one, and the log's.

    Read anew for each signature: another process may change them at any time.
    """
    # In this order: the next one may become the key meanwhile, and is then read twice.
    following = load_next(log)
    current = load(log)
    return [current] if following is None else [following, current]


def verifier(log: str) -> notes.Verifier | None:
    """The public half of a log's key; None as long as nobody made one.

    Read from its own file where that is all that this host has: who serves need not sign.
    """
    path = _path(log)
    public = path.with_suffix(".vkey")
    if not path.exists() and public.exists():
        return _parse_public(log, public)[0]
    try:
        return load(log).verifier
    except KeyUnusable:
        if path.exists():
            raise
        return None


def is_there(log: str) -> bool:
    """Whether this host has a log's key, or its public half. Makes none, unlike `load`.

    Raises KeyUnusable for one that cannot be used.
    """
    path = _path(log)
    public = path.with_suffix(".vkey")
    return _load(log, path) is not None or (public.exists() and bool(_parse_public(log, public)))


def verifiers(log: str) -> list[notes.Verifier]:
    """Every key of a log that this host knows: the next one, the log's, and former ones.

    The newest first. None is trusted for every tree: see `rotation.Keys`.
    """
    following = load_next(log)
    current = verifier(log)
    found = [] if following is None else [following.verifier]
    found += [] if current is None else [current]
    return list(dict.fromkeys([*found, *retired(log)]))


def retired(log: str) -> list[notes.Verifier]:
    """A log's former keys, the newest first."""
    path = _path(log).with_suffix(".retired")
    return _parse_public(log, path) if path.exists() else []


# --- another key ------------------------------------------------------------------------------


def create_next(log: str) -> notes.Verifier:
    """Make the key that is to follow, unless it is there. It signs nothing before it is announced.

    Raises KeyUnusable where the log has no key yet.
    """
    load(log)
    _write_once(_next_path(log), _made(log), mode=0o600)
    made = load_next(log)
    if made is None:
        raise KeyUnusable(_("The key was taken away while it was made. Run this again."))
    return made.verifier


def promote_next(log: str) -> notes.Verifier:
    """Have the next key be the log's, and list the former one. Done again, it changes nothing.

    The private half of the former one is gone from this host then.
    """
    path = _path(log)
    if load_next(log) is not None:
        former = load(log).verifier
        known = list(dict.fromkeys([former, *retired(log)]))
        _replace(path.with_suffix(".retired"), "".join(f"{each.vkey()}\n" for each in known))
        os.replace(_next_path(log), path)
        _sync(path.parent)
    current = load(log).verifier
    _replace(path.with_suffix(".vkey"), f"{current.vkey()}\n")
    return current


# --- files ------------------------------------------------------------------------------------


def _made(log: str) -> bytes:
    """A new key, as its file holds it."""
    seed = os.urandom(_SEED_LENGTH)
    verifier = notes.Signer(origin(log), seed).verifier
    encoded = notes.encode_base64(bytes([notes.ED25519]) + seed)
    return f"{_PREFIX}+{verifier.name}+{verifier.key_id.hex()}+{encoded}\n".encode()


def _load(log: str, path: Path) -> notes.Signer | None:
    """Read a private key; None where there is no such file."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode()
    except FileNotFoundError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        raise KeyUnusable(
            _("Others may read the key “%(name)s”. Run chmod 600 on it, if it is still secret.")
            % {"name": path.name}
        )
    return _parse(log, text)


def _parse_public(log: str, path: Path) -> list[notes.Verifier]:
    """Read verifier keys, one a line; at least one."""
    found = [notes.Verifier.parse(line) for line in path.read_text().splitlines()]
    if not found:
        raise KeyUnusable(_("%(name)s holds no key.") % {"name": path.name})
    if any(each.name != origin(log) for each in found):
        raise _made_for_another(log)
    return found


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
    return Path(settings.LEDGER_KEY_DIR) / f"{generations.file_name(log)}.key"


def _next_path(log: str) -> Path:
    return _path(log).with_suffix(".next.key")


def _write_once(path: Path, data: bytes, *, mode: int) -> None:
    """Put a file in its place whole and durable; or leave the one that is there."""
    draft = _draft(path, data, mode)
    try:
        # A link, unlike a rename, never replaces what stands there.
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    _sync(path.parent)


def _replace(path: Path, text: str) -> None:
    """Put a public file in its place, whole and durable, instead of the one that is there."""
    _draft(path, text.encode(), 0o644).replace(path)
    _sync(path.parent)


def _draft(path: Path, data: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
