"""What opens an entry is packed for good: every version unpacks what it ever packed."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from licensing import packing
from licensing.ledger import proofs, receipts, sequencer, signer
from licensing.models import LedgerOpening
from marketplace import access
from marketplace.models import Organization
from tests.ledger import append
from tests.make import issue_grant, make_offer
from tests.people import caller_for

# Never changed: a dictionary's digest, and something that its version has packed.
DICTIONARIES = {
    1: "7d4e4884e2f025ba2351e497daa209589e36f71733035b3740eb4f41706f0723",
    2: "bef5954e31aa6ab6784c8bba480dc578d27b6e688a2394bb1869c2dc1af53026",
}
DIGEST = "c3255d52db3ad1dd99a210fd78c7a5eea21dc440beb9e525672d45cafd757280"
PACKED = {
    1: (
        "01abc69543cc89c81c9020533abc52a91600",
        b'{"price":{"amount_minor":7,"currency":"USD","model":"flat"},"text":"\xc3\xa9"}',
    ),
    # A digest twice, another, the key of a TypeID, and a reference.
    2: (
        f"0203ba1eead724901e100398d763755033216239362498940eaf54aa0500{DIGEST}{'ab' * 32}"
        "01a218acbed57788b356ee3c2bca67ea00112233445566778899aabbccddeeff",
        f'{{"a":"{DIGEST}","b":["{"ab" * 32}","{DIGEST}"],"id":"org_01m8casfpney4b6nqe7gnwmsza",'
        '"ref":"00112233445566778899aabbccddeeff","text":"é"}'.encode(),
    ),
}
PACK = importlib.import_module("licensing.migrations.0074_pack_ledger_openings")


@contextmanager
def as_owner() -> Iterator[None]:
    """Who migrates; the application may not change what is stored."""
    with access.system("migrate as its owner"), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE licet_owner")
        yield
        cursor.execute("RESET ROLE")


def test_a_versions_dictionary_never_changes() -> None:
    files = Path(packing.__file__).parent.glob("packing_*.txt")
    found = {
        int(path.stem.removeprefix("packing_")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == DICTIONARIES
    assert set(found) == packing._VERSIONS


@pytest.mark.parametrize("version", PACKED)
def test_what_a_version_has_packed_unpacks_for_ever(version: int) -> None:
    packed, text = PACKED[version]
    assert packing.unpack(bytes.fromhex(packed)) == text


@given(st.binary(max_size=5_000))
def test_everything_unpacks_to_what_was_packed(text: bytes) -> None:
    assert packing.unpack(packing.pack(text)) == text


ALPHABETS = ("0123456789abcdef", "0123456789abcdefghjkmnpqrstvwxyz", '"_\x01\x02\x03\x040~é')


@given(
    st.lists(
        st.one_of(
            st.sampled_from([DIGEST, "0" * 64, "00" * 16, "7" + "z" * 25, "8" + "z" * 25, '"_"']),
            st.integers(0, 200).map(lambda number: f'"{number:064x}"'),
            st.sampled_from(ALPHABETS).flatmap(lambda each: st.text(each, max_size=70)),
        ),
        max_size=20,
    ).map("".join)
)
def test_what_only_looks_random_unpacks_to_itself(text: str) -> None:
    """Digests, keys and references, too long, too short, again, and marks that are the text's."""
    packed = packing.pack(text.encode())
    assert packing.unpack(packed).decode() == text


def test_more_digests_than_can_be_named_again_unpack() -> None:
    text = ",".join(f'"{number:064x}"' for _twice in range(2) for number in range(200)).encode()
    assert packing.unpack(packing.pack(text)) == text


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda _packed: b"", "in an unknown way"),
        (lambda packed: b"\x00" + packed[1:], "in an unknown way"),
        (lambda packed: packed[:-1], "does not end"),
        (lambda packed: packed + b"\x00", "does not end"),
        (lambda packed: packed[:1] + b"\xff" + packed[2:], "does not unpack"),
    ],
    ids=["empty", "version", "truncated", "followed", "spoiled"],
)
@pytest.mark.parametrize("text", [b"something", f'"{DIGEST}"'.encode()], ids=["text", "digest"])
def test_what_nobody_packed_is_refused(spoil: object, why: str, text: bytes) -> None:
    with pytest.raises(packing.PackingError, match=why):
        packing.unpack(spoil(packing.pack(text)))  # type: ignore[operator]


def test_a_digest_before_the_first_is_refused() -> None:
    packed = b"\x02" + packing._deflate(b'"\x020"', 2)
    with pytest.raises(packing.PackingError, match="before the first"):
        packing.unpack(packed)


@pytest.mark.django_db
def test_a_grants_opening_takes_a_fifth_of_its_text(
    archive: Organization, lab: Organization
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    with access.acting(caller_for(lab), writing=False):
        opening = LedgerOpening.objects.get(entry=grant.issued_entry)

    assert len(opening.packed or b"") < len(opening.values) / 5


@pytest.mark.django_db
def test_a_row_from_before_is_read_and_packed_in_place(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PACK, "BATCH", 2)
    caller = caller_for(archive)
    with access.acting(caller):
        entries = [append(parties=[archive.pk]) for _number in range(5)]
    sequencer.run_once()
    schema_editor = SimpleNamespace(connection=connection)

    def stored() -> list[tuple[bool, str]]:
        rows = LedgerOpening.objects.order_by("entry")
        return [(row.packed is not None, row.values) for row in rows]

    def opened() -> set[str]:
        with access.acting(caller, writing=False):
            found = [proofs.receipt_for(caller, entry) or b"" for entry in entries]
        verifier = signer.load("test").verifier
        return {
            str(receipts.verify(receipts.parse(receipt), [verifier]).values["text"])
            for receipt in found
        }

    with as_owner():
        PACK.unpack(None, schema_editor)
        before = stored()
    assert opened() == {"noted"}
    with as_owner():
        for _twice in range(2):
            PACK.pack(None, schema_editor)
        after = stored()

    text = '{"text":"noted"}'
    assert (before, after) == ([(False, text)] * 5, [(True, text)] * 5)
    assert opened() == {"noted"}
