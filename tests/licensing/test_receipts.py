"""A ledger receipt proves its entry, and no changed receipt proves anything."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from licensing import jcs
from licensing.ledger import commitments, notes, receipts, tree
from licensing.ledger.commitments import CommitmentError
from licensing.ledger.receipts import ReceiptError
from tests.licensing import receipt_samples
from tests.licensing.receipt_samples import SEED, VECTOR

RECEIPT: bytes = VECTOR["receipt"].encode()
KEYS = [notes.Verifier.parse(VECTOR["vkey"])]
KIND = "grant.issued"


def verify(data: bytes) -> receipts.Verified:
    return receipts.verify(receipts.parse(data), KEYS)


# --- the published vector ---------------------------------------------------------------------


def test_the_published_vector_comes_out_of_the_same_facts() -> None:
    made = commitments.commit(KIND, SEED, VECTOR["values"])
    assert made == VECTOR["commitments"]
    openings = commitments.openings(KIND, SEED, VECTOR["values"], v=1)
    assert openings["salts"] == VECTOR["salts"]
    entry = commitments.entry_body(
        KIND,
        log="test",
        at=datetime(2026, 11, 24, 10, tzinfo=UTC),
        subject_ref=bytes(range(16)),
        seq=0,
        prev=None,
        commitments=made,
        parties=None,
    )
    assert entry.decode() == VECTOR["entry"]
    assert tree.leaf_hash(entry).hex() == VECTOR["leaf_hash"]
    proof = [bytes.fromhex(step) for step in VECTOR["proof"]]
    unknown = RECEIPT.decode().splitlines(keepends=True)[-1]
    note = VECTOR["checkpoint"] + unknown
    assert receipts.build(entry, openings, VECTOR["index"], proof, note) == RECEIPT
    root = notes.parse_checkpoint(VECTOR["checkpoint"].partition("\n\n")[0] + "\n")
    assert notes.sign(root.text(), receipt_samples.signer()) == VECTOR["checkpoint"]


def test_a_sound_receipt_tells_what_it_proves() -> None:
    proven = verify(RECEIPT)
    assert proven.body.kind == KIND
    assert proven.body.log == "test"
    assert proven.body.at == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert proven.body.subject_ref == bytes(range(16))
    assert proven.values == VECTOR["values"]
    assert proven.undisclosed == ()
    assert (proven.index, proven.checkpoint.size) == (3, 5)
    assert proven.checkpoint.origin == "licet.example/ledger/test"
    assert [signature.name for signature in proven.verified] == ["licet.example/ledger/test"]
    assert [signature.name for signature in proven.unverified] == ["witness.example/w1"]


# --- any single byte --------------------------------------------------------------------------


def changed(byte: int, ways: int) -> list[int]:
    return [byte ^ 1, byte ^ 0x20, byte ^ 2, byte ^ 0x80, ord("A"), ord("\n")][:ways]


@pytest.mark.parametrize("ways", [2, pytest.param(6, marks=pytest.mark.oracle)])
def test_no_single_byte_can_change_outside_the_unknown_signature(ways: int) -> None:
    """Tries every byte of the file, and lists where a change went unnoticed.

    Only the unknown key's signature may be there: nobody here can check it, so it is reported
    as unverified and says nothing.
    """
    unnoticed: set[int] = set()
    for place, byte in enumerate(RECEIPT):
        for other in changed(byte, ways):
            if other == byte:
                continue
            data = RECEIPT[:place] + bytes([other]) + RECEIPT[place + 1 :]
            try:
                proven = verify(data)
            except ReceiptError:
                continue
            assert [signature.name for signature in proven.verified] == [KEYS[0].name]
            unnoticed.add(place)
    unknown = "— witness.example/w1 "
    start = RECEIPT.index(unknown.encode()) + len("— ".encode())
    assert unnoticed <= set(range(start, len(RECEIPT) - 1)), sorted(unnoticed)
    print(f"unnoticed: {len(unnoticed)} of {len(RECEIPT)} positions: {sorted(unnoticed)}")
    # Seen to find something: the name and most of the 68 signature bytes.
    assert len(unnoticed) > 80


@pytest.mark.oracle
def test_without_unknown_signatures_no_byte_at_all_can_change() -> None:
    data = receipt_samples.make(values={**VECTOR["values"], "terms": {}, "coverage": []})
    verify(data)
    for place, byte in enumerate(data):
        for other in (byte ^ 1, byte ^ 0x20):
            with pytest.raises(ReceiptError):
                verify(data[:place] + bytes([other]) + data[place + 1 :])


def repacked(change: Callable[[dict[str, Any]], None], data: bytes = RECEIPT) -> bytes:
    """The receipt with other extra data, encoded as it should be."""
    lines = data.split(b"\n")
    extra = json.loads(base64.b64decode(lines[1].removeprefix(b"extra ")))
    change(extra)
    lines[1] = b"extra " + base64.b64encode(jcs.dumps(extra))
    return b"\n".join(lines)


@pytest.mark.oracle
@pytest.mark.parametrize("leaf_hash_is_adjusted", [False, True])
def test_no_byte_of_the_entry_can_change_below_a_sound_container(
    leaf_hash_is_adjusted: bool,
) -> None:
    entry = VECTOR["entry"]
    for place, character in enumerate(entry):
        for other in {chr(ord(character) ^ 1), "0", " "} - {character}:
            wrong = entry[:place] + other + entry[place + 1 :]

            def change(extra: dict[str, Any], wrong: str = wrong) -> None:
                extra["entry"] = wrong
                if leaf_hash_is_adjusted:
                    extra["leaf_hash"] = tree.leaf_hash(wrong.encode()).hex()

            with pytest.raises(ReceiptError) as refused:
                verify(repacked(change))
            parts = {"entry", "openings", "proof", "checkpoint"}
            assert refused.value.part in (parts if leaf_hash_is_adjusted else {"entry"})


@pytest.mark.oracle
def test_no_byte_of_the_openings_can_change_below_a_sound_container() -> None:
    openings = jcs.dumps(
        json.loads(jcs.dumps(commitments.openings(KIND, SEED, VECTOR["values"], v=1)))
    )
    text, readable = openings.decode(), 0
    for place, character in enumerate(text):
        for other in {chr(ord(character) ^ 1), "0"} - {character}:
            try:
                wrong = jcs.loads_strict(f"{text[:place]}{other}{text[place + 1 :]}".encode())
            except ValueError:
                continue  # No receipt could carry these bytes: loads_strict refuses them.
            readable += 1

            def change(extra: dict[str, Any], wrong: Any = wrong) -> None:
                extra["openings"] = wrong

            with pytest.raises(ReceiptError) as refused:
                verify(repacked(change))
            assert refused.value.part == "openings"
    assert readable > 1000


# --- what broke is named ----------------------------------------------------------------------


def set_salt(extra: dict[str, Any]) -> None:
    extra["openings"]["salts"]["price"] = "00" * 32


def set_price(extra: dict[str, Any]) -> None:
    extra["openings"]["values"]["price"]["amount_minor"] = 1


def add_opening(extra: dict[str, Any]) -> None:
    extra["openings"]["values"]["discount"] = 1
    extra["openings"]["salts"]["discount"] = "00" * 32


def drop_salt(extra: dict[str, Any]) -> None:
    del extra["openings"]["salts"]["price"]


def set_kind(extra: dict[str, Any]) -> None:
    extra["openings"]["kind"] = "grant.revoked"


def set_true_version(extra: dict[str, Any]) -> None:
    extra["openings"]["v"] = True


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (set_salt, "price"),
        (set_price, "price"),
        (add_opening, "discount"),
        (drop_salt, None),
        (set_kind, None),
        (set_true_version, None),
    ],
)
def test_a_false_opening_is_named(change: Callable[[dict[str, Any]], None], field: str) -> None:
    with pytest.raises(ReceiptError) as refused:
        verify(repacked(change))
    assert (refused.value.part, refused.value.field) == ("openings", field)


def replaced(old: str, new: str) -> bytes:
    assert RECEIPT.count(old.encode()) == 1
    return RECEIPT.replace(old.encode(), new.encode())


ROOT_LINE = VECTOR["checkpoint"].split("\n")[2]
STEPS = [base64.b64encode(bytes.fromhex(step)).decode() for step in VECTOR["proof"]]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "container"),
        (b"\xff", "container"),
        (RECEIPT.replace(b"\n", b"\r\n"), "container"),
        (RECEIPT[1:], "container"),
        (b"\xef\xbb\xbf" + RECEIPT, "container"),
        (RECEIPT.partition(b"\n\n")[0], "container"),
        (replaced("extra ", "extra  "), "container"),
        (replaced("index 3", "index 03"), "proof"),
        (replaced("index 3", "index 2"), "proof"),
        (replaced("index 3", "index 18446744073709551615"), "proof"),
        (replaced("index 3", "index 3 "), "proof"),
        (replaced(STEPS[0] + "\n", ""), "proof"),
        (replaced(STEPS[0], STEPS[1] + "\n" + STEPS[0] + "x"), "proof"),
        (replaced("index 3\n", f"index 3\n{STEPS[0]}\n"), "proof"),
        (replaced(STEPS[0], "AAAA"), "proof"),
        (replaced(STEPS[0], "\n".join([STEPS[0]] * 65)), "proof"),
        (replaced("\n5\n", "\n6\n"), "signature"),
        (replaced(ROOT_LINE, STEPS[0]), "signature"),
        (replaced(f"{ROOT_LINE}\n\n— licet", f"{ROOT_LINE}\n— licet"), "checkpoint"),
        (RECEIPT + b"\n", "checkpoint"),
        (RECEIPT[:-1], "checkpoint"),
        (RECEIPT + b" ", "checkpoint"),
        (b"x" * (receipts.SIZE_MAX + 1), "container"),
    ],
)
def test_the_broken_part_is_named(data: bytes, part: str) -> None:
    with pytest.raises(ReceiptError) as refused:
        verify(data)
    assert refused.value.part == part


def test_a_signature_by_another_key_of_the_same_name_is_not_enough() -> None:
    stranger = notes.Signer(KEYS[0].name, b"\x01" * 32)
    with pytest.raises(ReceiptError, match="no known key signed") as refused:
        receipts.verify(receipts.parse(RECEIPT), [stranger.verifier])
    assert refused.value.part == "signature"


@pytest.mark.parametrize(("log", "signed_as"), [("test", "live"), ("live", "test")])
def test_an_entry_of_one_log_proves_nothing_in_the_other(log: str, signed_as: str) -> None:
    data = receipt_samples.make(log=log, signed_as=signed_as)
    key = receipt_samples.signer(signed_as).verifier
    with pytest.raises(ReceiptError, match="is not the entry's") as refused:
        receipts.verify(receipts.parse(data), [key])
    assert refused.value.part == "checkpoint"


# --- disclosure -------------------------------------------------------------------------------


def test_a_party_can_open_some_fields_and_keep_the_others() -> None:
    data = receipt_samples.make(disclosed=frozenset({"licensor", "scope"}))
    proven = verify(data)
    assert proven.values == {name: VECTOR["values"][name] for name in ("licensor", "scope")}
    assert len(proven.undisclosed) == 8
    assert "Example Lab" not in base64.b64decode(data.split(b"\n")[1][6:]).decode()


def test_a_receipt_without_openings_still_proves_its_entry() -> None:
    proven = verify(receipt_samples.make(with_openings=False))
    assert proven.values == {}
    assert len(proven.undisclosed) == 10


def test_a_log_of_one_entry_takes_an_empty_proof() -> None:
    data = receipt_samples.make(others=0, index=0)
    assert b"\nindex 0\n\nlicet.example/" in data
    assert verify(data).checkpoint.size == 1


def test_the_same_value_in_two_entries_or_fields_has_unlike_commitments() -> None:
    values = {**VECTOR["values"], "licensee": VECTOR["values"]["licensor"]}
    one, two = (commitments.commit(KIND, seed, values) for seed in (SEED, bytes(32)))
    assert one["licensor"] != one["licensee"]
    assert not set(one.values()) & set(two.values())


# --- the entry's body -------------------------------------------------------------------------


def body(**change: Any) -> bytes:
    return jcs.dumps({**json.loads(VECTOR["entry"]), **change})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 3}, "v"),
        ({"v": 2}, None),
        ({"parties": []}, None),
        ({"v": True}, "v"),
        ({"kind": "Grant"}, "kind"),
        ({"kind": 1}, "kind"),
        ({"log": "prod"}, "log"),
        ({"log": []}, "log"),
        ({"at": "2026-11-24T10:00:00Z"}, None),
        ({"at": "2026-11-24T10:00:00.0Z"}, None),
        ({"at": "2026-11-24T10:00:00.000000+00:00"}, None),
        ({"at": 1}, None),
        ({"grant_ref": "00" * 15}, "grant_ref"),
        ({"grant_ref": "AB" * 16}, "grant_ref"),
        ({"seq": -1}, "seq"),
        ({"seq": False}, "seq"),
        ({"seq": 1}, "prev"),
        ({"prev": "00" * 32}, "prev"),
        ({"seq": 1, "prev": "0" * 63}, "prev"),
        ({"commitments": []}, "commitments"),
        ({"commitments": {}}, "acceptance"),
        ({"commitments": {**VECTOR["commitments"], "price": "00"}}, "price"),
        ({"commitments": {**VECTOR["commitments"], "discount": "00" * 32}}, "discount"),
        ({"extra": 1}, None),
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, Any], field: str | None) -> None:
    with pytest.raises(CommitmentError) as refused:
        commitments.parse_body(body(**change))
    assert refused.value.field == field


def test_a_later_entry_names_the_one_before_it() -> None:
    parsed = commitments.parse_body(body(seq=1, prev=VECTOR["leaf_hash"]))
    assert (parsed.seq, parsed.prev) == (1, bytes.fromhex(VECTOR["leaf_hash"]))


def test_signatures_of_the_parties_are_the_one_optional_field() -> None:
    values = {**VECTOR["values"], "signatures": []}
    assert len(commitments.commit(KIND, SEED, values)) == 11
    with pytest.raises(CommitmentError, match="which is missing"):
        commitments.commit(KIND, SEED, {})
    with pytest.raises(CommitmentError, match="does not commit to"):
        commitments.commit(KIND, SEED, {**values, "note": ""})


def test_a_kind_that_is_not_published_yet_is_free_in_its_fields() -> None:
    made = commitments.commit("some.kind", SEED, {"root": "00"})
    assert set(made) == {"root"}


def test_an_entry_fits_a_tile_or_is_not_written() -> None:
    many = {f"field{number}": "00" * 32 for number in range(1000)}
    with pytest.raises(CommitmentError, match="65535"):
        commitments.entry_body(
            "some.kind",
            log="test",
            at=datetime.now(UTC),
            subject_ref=bytes(16),
            seq=0,
            prev=None,
            commitments=many,
            parties=[],
        )
    with pytest.raises(CommitmentError, match="time zone"):
        commitments.entry_body(
            "some.kind",
            log="test",
            at=datetime(2026, 1, 1),
            subject_ref=bytes(16),
            seq=0,
            prev=None,
            commitments={},
            parties=[],
        )
