"""Signed notes and checkpoints are read in one spelling only."""

from __future__ import annotations

import pytest

from licensing.ledger import notes
from licensing.ledger.notes import Checkpoint, NoteError, SignatureError, Signer, Verifier

LOG = Signer("licet.example/ledger/test", bytes(range(32)))
WITNESS = Signer("witness.example/w1", bytes(32))
# From the C2SP specification of Go's checksum database.
GO_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
TEXT = "first line\n\nthird line\n"
SIGNED = notes.sign(TEXT, LOG, WITNESS)
LOG_LINE = LOG.signature_line(TEXT)
WITNESS_LINE = WITNESS.signature_line(TEXT)


def test_a_published_key_is_read_and_written_alike() -> None:
    verifier = Verifier.parse(GO_VKEY)
    assert verifier.name == "sum.golang.org"
    assert verifier.key_id.hex() == "033de0ae"
    assert verifier.vkey() == GO_VKEY


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        GO_VKEY + "\n",
        " " + GO_VKEY,
        GO_VKEY.replace("033de0ae", "033DE0AE"),
        GO_VKEY.replace("033de0ae", "033de0af"),
        GO_VKEY.replace("sum.", "sun."),
        GO_VKEY.replace("OuAn8", "OuAn9"),
        GO_VKEY[:-4],
        "sum.golang.org+033de0ae+BM4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    ],
)
def test_a_wrong_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        Verifier.parse(vkey)


def test_a_note_tells_known_signatures_from_unknown() -> None:
    opened = notes.open_note(SIGNED, [LOG.verifier])
    assert opened.text == TEXT
    assert [signature.name for signature in opened.verified] == ["licet.example/ledger/test"]
    assert [signature.name for signature in opened.unverified] == ["witness.example/w1"]
    both = notes.open_note(SIGNED, [LOG.verifier, WITNESS.verifier])
    assert len(both.verified) == 2
    assert both.unverified == ()


def test_a_note_that_nobody_known_signed_is_refused() -> None:
    with pytest.raises(SignatureError, match="no known key"):
        notes.open_note(SIGNED, [])
    # The same name with another key is another signer.
    with pytest.raises(SignatureError, match="no known key"):
        notes.open_note(SIGNED, [Signer(LOG.verifier.name, b"x" * 32).verifier])


def test_one_wrong_known_signature_condemns_the_note() -> None:
    wrong = Signer(WITNESS.verifier.name, bytes(32)).signature_line("another text\n")
    with pytest.raises(SignatureError, match=r"witness\.example/w1 is wrong"):
        notes.open_note(f"{TEXT}\n{LOG_LINE}{wrong}", [LOG.verifier, WITNESS.verifier])
    # As an unknown one it says nothing.
    opened = notes.open_note(f"{TEXT}\n{LOG_LINE}{wrong}", [LOG.verifier])
    assert len(opened.unverified) == 1


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n" + LOG_LINE,
        TEXT,
        TEXT + "\n",
        TEXT + LOG_LINE,
        TEXT + "\n" + LOG_LINE.rstrip("\n"),
        TEXT + "\n" + LOG_LINE + "\n",
        TEXT + "\n" + LOG_LINE.replace("\n", "\r\n"),
        TEXT + "\n" + LOG_LINE.replace("— ", "- "),
        TEXT + "\n" + LOG_LINE.replace("— ", "—  "),
        TEXT + "\n" + LOG_LINE.replace("=\n", "\n"),
        TEXT + "\n" + LOG_LINE.replace("\n", " \n"),
        TEXT + "\n" + LOG_LINE + LOG_LINE,
        TEXT + "\n" + LOG_LINE + WITNESS_LINE + WITNESS_LINE,
        TEXT + "\n" + "— name AAAA\n" + LOG_LINE,
        TEXT.replace("\n", "\r\n") + "\n" + LOG_LINE,
        "nul \x00\n\n" + LOG_LINE,
        "tab \t\n\n" + LOG_LINE,
        "surrogate \ud800\n\n" + LOG_LINE,
        TEXT
        + "\n"
        + "".join(Signer(f"w{number}", bytes(32)).signature_line(TEXT) for number in range(17)),
    ],
)
def test_anything_but_the_exact_form_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        notes.open_note(note, [LOG.verifier, WITNESS.verifier])


def test_sixteen_signatures_are_accepted() -> None:
    signers = [Signer(f"w{number}", bytes(32)) for number in range(16)]
    opened = notes.open_note(notes.sign(TEXT, *signers), [signers[7].verifier])
    assert len(opened.unverified) == 15
    with pytest.raises(NoteError, match="1 to 16"):
        notes.sign(TEXT, *signers, LOG)


def test_every_changed_character_of_text_or_known_signature_is_refused() -> None:
    note = notes.sign(TEXT, LOG)
    for place, character in enumerate(note):
        for other in {"A", "b", "+", "/", "=", "\n", " ", chr(ord(character) ^ 1)} - {character}:
            with pytest.raises(NoteError):
                notes.open_note(note[:place] + other + note[place + 1 :], [LOG.verifier])


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    checkpoint = Checkpoint(LOG.verifier.name, 20852163, bytes(range(32)))
    assert checkpoint.text() == (
        "licet.example/ledger/test\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    note = notes.sign(checkpoint.text(), LOG, WITNESS)
    opened, signed = notes.open_checkpoint(note, [LOG.verifier])
    assert opened == checkpoint
    assert len(signed.verified) == 1
    empty = Checkpoint("log", 0, bytes(32))
    assert notes.parse_checkpoint(empty.text()) == empty


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    note = notes.sign(Checkpoint(LOG.verifier.name, 1, bytes(32)).text(), LOG, WITNESS)
    with pytest.raises(SignatureError, match="has not signed"):
        notes.open_checkpoint(note, [WITNESS.verifier])


ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log\n1\n{ROOT}",
        f"log\n1\n{ROOT}\n\n",
        f"log\n1\n{ROOT}\nextension\n",
        f"\n1\n{ROOT}\n",
        f"log\n01\n{ROOT}\n",
        f"log\n+1\n{ROOT}\n",
        f"log\n-1\n{ROOT}\n",
        f"log\n1 \n{ROOT}\n",
        f"log\n\u0661\n{ROOT}\n",
        f"log\n\n{ROOT}\n",
        f"log\n18446744073709551616\n{ROOT}\n",
        f"log\n1\n{ROOT[:-1]}\n",
        f"log\n1\n{ROOT[:-2]}9=\n",
        "log\n1\nAAAA\n",
        "log\n1\n\n",
    ],
)
def test_any_other_spelling_of_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        notes.parse_checkpoint(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, bytes(32)),
        ("a\nb", 1, bytes(32)),
        ("a\tb", 1, bytes(32)),
        ("a", -1, bytes(32)),
        ("a", 2**64, bytes(32)),
        ("a", 1, b"x"),
    ],
)
def test_a_wrong_checkpoint_is_never_written(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(NoteError):
        Checkpoint(origin, size, root).text()


@pytest.mark.parametrize("text", ["AA==\n", "AB==", "AA=", "AA", "A A=", "-_8=", "é", "=AAA"])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(NoteError):
        notes.decode_base64(text)
    assert notes.decode_base64("AA==") == b"\x00"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x7f\x01"])
def test_a_key_name_is_one_plain_word(name: str) -> None:
    with pytest.raises(NoteError):
        Verifier(name, bytes(32))


def test_a_text_that_cannot_be_a_note_is_not_signed() -> None:
    for text in ("no newline", "tab\t\n"):
        with pytest.raises(NoteError):
            notes.sign(text, LOG)
    with pytest.raises(NoteError):
        notes.sign(TEXT)
