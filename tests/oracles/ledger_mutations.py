"""What somebody could change in a proof, a signed tree or an exported log."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from licensing.ledger import notes
from tests.logs import MemoryLog
from tests.oracles.ledger_verifiers import Claim, Growth

STRANGER = notes.Signer("licet.example/ledger/test", b"a stranger's seed of 32 bytes ok!"[:32])


def flip(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def steps_of(proof: tuple[bytes, ...]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """The proof with something else in it."""
    for place in {0, len(proof) - 1} if proof else ():
        step = proof[place]
        yield "a bit of a step", (*proof[:place], flip(step, 7), *proof[place + 1 :])
        yield "a step dropped", (*proof[:place], *proof[place + 1 :])
        yield "a step doubled", (*proof[:place], step, *proof[place:])
        yield "a step cut short", (*proof[:place], step[:31], *proof[place + 1 :])
    yield "a step added", (*proof, bytes(32))
    if len(proof) > 1:
        yield "two steps swapped", (proof[1], proof[0], *proof[2:])
        yield "steps in reverse", tuple(reversed(proof))


def notes_of(note: str) -> Iterator[tuple[str, str]]:
    """The note with something in it that its signature does not cover."""
    origin, size, root, blank, *signatures = note.split("\n")
    rest = "\n".join([blank, *signatures])
    yield "another size", f"{origin}\n{int(size) + 1}\n{root}\n{rest}"
    other = base64.b64encode(flip(base64.b64decode(root))).decode()
    yield "another root", f"{origin}\n{size}\n{other}\n{rest}"
    yield "another origin", f"{origin}x\n{size}\n{root}\n{rest}"
    yield "a line more", f"{origin}\n{size}\n{root}\nmore\n{rest}"
    head, encoded = signatures[0].rsplit(" ", 1)
    signature = base64.b64decode(encoded)
    for what, wrong in [
        ("a bit of the signature", flip(signature, 20)),
        ("a bit of the key's id", flip(signature, 1)),
        ("a signature cut short", signature[:-1]),
    ]:
        line = f"{head} {base64.b64encode(wrong).decode()}"
        yield what, f"{origin}\n{size}\n{root}\n\n{line}\n"
    yield "no signature", f"{origin}\n{size}\n{root}\n\n"
    yield "a stranger's signature", notes.sign(f"{origin}\n{size}\n{root}\n", STRANGER)


def of_claim(claim: Claim, log: MemoryLog, fork: MemoryLog) -> Iterator[tuple[str, Claim]]:
    """(What was changed, the changed claim), none of them true."""
    size = int(claim.note.split("\n")[1])
    yield "a bit of the entry", replace(claim, entry=flip(claim.entry, 40))
    yield "an entry cut short", replace(claim, entry=claim.entry[:-1])
    yield "no entry", replace(claim, entry=b"")
    yield "the next index", replace(claim, index=claim.index + 1)
    yield "an index outside", replace(claim, index=size)
    if claim.index:
        yield "the index before", replace(claim, index=claim.index - 1)
        yield "another entry", replace(claim, entry=log.entries[claim.index - 1])
    for what, proof in steps_of(claim.proof):
        yield what, replace(claim, proof=proof)
    for what, note in notes_of(claim.note):
        yield what, replace(claim, note=note)
    # Signed by the log itself, and not what the proof is of.
    yield "a fork's tree", replace(claim, note=fork.note(size))
    if size > 1:
        yield "an older tree", replace(claim, note=log.note(size - 1))


def of_growth(growth: Growth, log: MemoryLog, fork: MemoryLog) -> Iterator[tuple[str, Growth]]:
    size1, size2 = (int(note.split("\n")[1]) for note in (growth.old, growth.new))
    for what, proof in steps_of(growth.proof):
        yield what, replace(growth, proof=proof)
    yield "no proof", replace(growth, proof=())
    for what, note in notes_of(growth.old):
        yield f"old: {what}", replace(growth, old=note)
    for what, note in notes_of(growth.new):
        yield f"new: {what}", replace(growth, new=note)
    yield "old and new exchanged", replace(growth, old=growth.new, new=growth.old)
    yield "old of a fork", replace(growth, old=fork.note(size1))
    yield "new of a fork", replace(growth, new=fork.note(size2))
    if size1 > 1:
        yield (
            "the proof of another size",
            replace(growth, proof=tuple(log.consistency(size1 - 1, size2))),
        )


def of_export(directory: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Ways to spoil an exported log of at least 257 entries; each is undone by its caller."""

    def spoil(path: str, change: Callable[[bytes], bytes]) -> Callable[[], None]:
        file = directory / path
        return lambda: (file.write_bytes(change(file.read_bytes())), None)[1]

    def swap(first: str, second: str) -> None:
        one, other = (directory / path for path in (first, second))
        held = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(held)

    partial = next(path.name for path in (directory / "tile/0/001.p").iterdir())
    tile, entries = f"tile/0/001.p/{partial}", f"tile/entries/001.p/{partial}"
    yield "a bit of a full tile", spoil("tile/0/000", lambda data: flip(data, 4000))
    yield "a bit of a partial tile", spoil(tile, flip)
    yield "a bit of an upper tile", spoil("tile/1/000.p/1", flip)
    yield "a tile cut short", spoil("tile/0/000", lambda data: data[:-32])
    yield "a tile too long", spoil("tile/0/000", lambda data: data + bytes(32))
    yield "an empty tile", spoil(tile, lambda data: b"")
    yield "a tile missing", lambda: (directory / "tile/0/000").unlink()
    yield "an upper tile missing", lambda: (directory / "tile/1/000.p/1").unlink()
    yield "a bit of an entry", spoil("tile/entries/000", lambda data: flip(data, 100))
    yield "a bit of a length", spoil("tile/entries/000", lambda data: flip(data, 1))
    yield "entries cut short", spoil(entries, lambda data: data[:-5])
    yield "an entry more", spoil(entries, lambda data: data + b"\x00\x01x")
    yield "entries missing", lambda: (directory / entries).unlink()
    yield (
        "two hashes swapped",
        spoil("tile/0/000", lambda data: data[32:64] + data[:32] + data[64:]),
    )
    yield "tile and entries swapped", lambda: swap("tile/0/000", "tile/entries/000")
    yield "no checkpoint", lambda: (directory / "checkpoint").unlink()
    yield "another key", spoil("vkey", lambda data: flip(data, 30))
    for what, note in notes_of((directory / "checkpoint").read_text()):
        yield f"checkpoint: {what}", spoil("checkpoint", _always(note.encode()))


def _always(data: bytes) -> Callable[[bytes], bytes]:
    return lambda _before: data
