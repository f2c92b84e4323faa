"""Signed notes and checkpoints are read in one spelling only."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing.ledger import notes
from licensing.ledger.notes import (
    Checkpoint,
    NoteError,
    Signature,
    SignatureError,
    Signer,
    Verifier,
)

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
        f"lo\rg\n1\n{ROOT}\n",
        f"lo\0g\n1\n{ROOT}\n",
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


# --- any text at all --------------------------------------------------------------------------
# A reader that accepts a second spelling of anything lets two people hold different files for the
# same proof. So: what is read, written again, is what was read.

# Control characters below U+0020 but newline, and halves of surrogate pairs, stand in no note.
WRITABLE = st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))))
# A text that is one empty line is refused: who would have signed it?
TEXTS = (
    st.lists(st.text(WRITABLE, max_size=12), min_size=1, max_size=4)
    .map(lambda lines: "\n".join(lines) + "\n")
    .filter(lambda text: text != "\n")
)
NAMES = st.text(WRITABLE, min_size=1, max_size=12).filter(
    lambda name: "+" not in name and not any(character.isspace() for character in name)
)
SIGNATURES = st.builds(
    Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
LISTS = st.lists(
    SIGNATURES, min_size=1, max_size=16, unique_by=lambda each: (each.name, each.key_id)
)
CHECKPOINTS = st.builds(
    Checkpoint,
    st.text(WRITABLE, min_size=1, max_size=20),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
)
# What readers have tripped over, and enough else to reach what nobody thought of.
HOSTILE = st.sampled_from(
    [*"\n\r\t\0 0+-=/_A—\x1f\x7f\x85\ufeff\u00a0\u0661\u200b\u2028", "\n\n", "\r\n", "— ", "\ud800"]
) | st.text(max_size=3)


@st.composite
def edited(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with up to three places of it cut, doubled or written over."""
    text = draw(texts)
    for _edit in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 6)))
        text = (
            text[:start] + draw(st.just("") | st.just(text[start:end] * 2) | HOSTILE) + text[end:]
        )
    return text


def write(text: str, signatures: list[Signature]) -> str:
    """A note by its specification, with a writer of its own."""
    lines = [
        f"\u2014 {each.name} {base64.b64encode(each.key_id + each.value).decode()}\n"
        for each in signatures
    ]
    return f"{text}\n{''.join(lines)}"


@given(TEXTS, LISTS)
@settings(max_examples=100, deadline=None)
def test_any_note_is_read_as_it_was_written(text: str, signatures: list[Signature]) -> None:
    assert notes.split_note(write(text, signatures)) == (text, signatures)


@pytest.mark.oracle
@given(edited(st.builds(write, TEXTS, LISTS) | st.just(SIGNED)))
@settings(max_examples=100, deadline=None)
def test_no_note_is_read_in_a_second_spelling(note: str) -> None:
    try:
        text, signatures = notes.split_note(note)
    except NoteError:
        return
    assert write(text, signatures) == note
    assert len(signatures) <= 16
    assert "\r" not in note
    assert "\0" not in note


@given(CHECKPOINTS)
@settings(max_examples=100, deadline=None)
def test_any_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert notes.parse_checkpoint(checkpoint.text()) == checkpoint


@given(edited(CHECKPOINTS.map(Checkpoint.text)))
@settings(max_examples=100, deadline=None)
def test_no_checkpoint_is_read_in_a_second_spelling(text: str) -> None:
    try:
        checkpoint = notes.parse_checkpoint(text)
    except NoteError:
        return
    assert checkpoint.text() == text


@given(NAMES, st.binary(min_size=32, max_size=32))
@settings(max_examples=100, deadline=None)
def test_any_key_is_read_as_it_was_written(name: str, key: bytes) -> None:
    assert Verifier.parse(Verifier(name, key).vkey()) == Verifier(name, key)


@given(edited(st.just(GO_VKEY) | st.builds(Verifier, NAMES, st.just(bytes(32))).map(Verifier.vkey)))
@settings(max_examples=100, deadline=None)
def test_no_key_is_read_in_a_second_spelling(vkey: str) -> None:
    try:
        verifier = Verifier.parse(vkey)
    except NoteError:
        return
    assert verifier.vkey() == vkey


@given(st.binary(max_size=70), edited(st.binary(max_size=70).map(notes.encode_base64)))
@settings(max_examples=100, deadline=None)
def test_bytes_have_one_base64(data: bytes, text: str) -> None:
    assert notes.decode_base64(base64.b64encode(data).decode()) == data
    try:
        decoded = notes.decode_base64(text)
    except NoteError:
        return
    assert base64.b64encode(decoded).decode() == text


@pytest.mark.parametrize(
    "digits", ["00", "01", "007", "+1", "-0", "1_0", " 1", "1 ", "0x1", "1e3", "²"]
)
def test_a_number_has_one_spelling(digits: str) -> None:
    with pytest.raises(NoteError):
        notes.parse_number(digits)
    for number in (0, 1, 2**63, 2**64 - 1):
        assert notes.parse_number(str(number)) == number
    with pytest.raises(NoteError):
        notes.parse_number(str(2**64))


# --- two keys with one id ---------------------------------------------------------------------
# Found by trying 32-byte seeds: ids have four bytes, so a hundred thousand keys hold two alike.
TWIN = Signer("log", (16_018).to_bytes(32))
OTHER_TWIN = Signer("log", (63_453).to_bytes(32))


def test_a_key_that_only_shares_name_and_id_has_signed_nothing() -> None:
    assert TWIN.verifier.key_id == OTHER_TWIN.verifier.key_id
    assert TWIN.verifier != OTHER_TWIN.verifier
    with pytest.raises(SignatureError, match="is wrong"):
        notes.open_note(notes.sign(TEXT, OTHER_TWIN), [TWIN.verifier])
    # Nor do both lines stand in one note, though each would verify.
    with pytest.raises(NoteError, match="stands twice"):
        notes.open_note(notes.sign(TEXT, TWIN, OTHER_TWIN), [TWIN.verifier])


def test_two_trusted_keys_with_one_name_and_id_are_refused() -> None:
    """Which of them counts would depend on their order."""
    for trusted in ([TWIN, OTHER_TWIN], [OTHER_TWIN, TWIN]):
        with pytest.raises(NoteError, match="same id"):
            notes.open_note(notes.sign(TEXT, TWIN), [each.verifier for each in trusted])
    # The same key given twice is one key.
    opened = notes.open_note(notes.sign(TEXT, TWIN), [TWIN.verifier, TWIN.verifier])
    assert len(opened.verified) == 1
