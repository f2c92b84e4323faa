"""What opens an entry is packed for good: every version unpacks what it ever packed."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from licensing import jcs, packing
from licensing.ledger import (
    commitments,
    export,
    fsck,
    proofs,
    receipts,
    sequencer,
    signer,
    tiles,
    tree,
)
from licensing.ledger.log import LedgerCorrupted
from licensing.ledger.stores import open_store
from licensing.models import LedgerEntry, LedgerLeaf, LedgerOpening
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import (
    append,
    append_many,
    enable_triggers,
    grow,
    store_plainly,
    superuser_connection,
)
from tests.make import issue_grant, make_offer
from tests.people import caller_for

# Never changed: a dictionary's digest, and something that its version has packed.
DICTIONARIES = {
    1: "7d4e4884e2f025ba2351e497daa209589e36f71733035b3740eb4f41706f0723",
    2: "bef5954e31aa6ab6784c8bba480dc578d27b6e688a2394bb1869c2dc1af53026",
    3: "ca22220b7d126ec443b6ea88e91e3ec558a26c02a5ac589826d1a91cf9f41a66",
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
# What was packed as a body: a digest twice, a reference, an instant.
PACKED_BODY = (
    "03c31316b0e626294ea9050000066137290bd201c3255d52db3ad1dd99a210fd78c7a5eea21dc440"
    "beb9e525672d45cafd757280c3255d52db3ad1dd99a210fd78c7a5eea21dc440beb9e525672d45ca"
    "fd75728000112233445566778899aabbccddeeff",
    f'{{"at":"2026-11-27T00:30:00.000001Z","commitments":{{"a":"{DIGEST}","b":"{DIGEST}"}},'
    '"grant_ref":"00112233445566778899aabbccddeeff","kind":"grant.issued"}'.encode(),
)
VECTOR_FILES = sorted((Path(__file__).parent / "vectors").glob("*.json"))
PACK = importlib.import_module("licensing.migrations.0074_pack_ledger_openings")


@contextmanager
def as_owner() -> Iterator[None]:
    """Who migrates; the application may not change what is stored."""
    with access.system("migrate as its owner"), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE licet_owner")
        yield
        cursor.execute("RESET ROLE")


def bodies_of(path: Path) -> Iterator[bytes]:
    """Every entry in a file of vectors."""

    def within(value: Any) -> Iterator[bytes]:
        if isinstance(value, list):
            for each in value:
                yield from within(each)
        elif isinstance(value, dict):
            for name, each in value.items():
                if name == "entry" and isinstance(each, str):
                    yield each.encode()
                else:
                    yield from within(each)

    yield from within(json.loads(path.read_text()))


def test_a_versions_dictionary_never_changes() -> None:
    files = Path(packing.__file__).parent.glob("packing_*.txt")
    found = {
        int(path.stem.removeprefix("packing_")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == DICTIONARIES
    assert set(found) == packing._VERSIONS | {packing._BODY[0]}


def test_what_was_packed_as_a_body_unpacks_for_ever() -> None:
    packed, body = PACKED_BODY
    assert packing.unpack_body(bytes.fromhex(packed)) == body


@pytest.mark.parametrize("version", PACKED)
def test_what_a_version_has_packed_unpacks_for_ever(version: int) -> None:
    packed, text = PACKED[version]
    assert packing.unpack(bytes.fromhex(packed)) == text


# Of every kind, and of version 1, too.
BODIES = [body for name in VECTOR_FILES for body in bodies_of(name)]


def test_there_is_a_body_of_every_kind() -> None:
    kinds = {commitments.parse_body(body).kind for body in BODIES}
    assert kinds == commitments.FIELDS.keys()


@pytest.mark.parametrize("body", BODIES, ids=[body[:40].decode() for body in BODIES])
def test_a_body_takes_little_more_than_its_digests(body: bytes) -> None:
    packed = packing.pack_body(body)
    assert packing.unpack_body(packed) == body
    parsed = commitments.parse_body(body)
    digests = len(parsed.commitments) + len(parsed.parties) + (parsed.prev is not None)
    assert len(packed) < 32 * digests + 120


@pytest.mark.parametrize("body", BODIES, ids=[body[:40].decode() for body in BODIES])
def test_a_body_is_the_same_packed_around_its_parties(body: bytes) -> None:
    """As the database puts them in, whose numbers are known to it alone."""
    text = json.loads(body)
    if "parties" not in text:
        return  # version 1: nothing records it any more
    inner = json.dumps(text["parties"], separators=(",", ":"))[1:-1].encode()
    before, _head, after = body.partition(b'"parties":[' + inner)
    head, tail = packing.pack_body_around(before + b'"parties":[', after, len(text["parties"]))
    digests = b"".join(map(bytes.fromhex, text["parties"]))
    assert head + digests + tail == packing.pack_body(body)


INSTANTS = st.datetimes().map(lambda at: at.isoformat(timespec="microseconds") + "Z")


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.one_of(
            st.text(max_size=70),
            INSTANTS,
            st.sampled_from(
                [
                    DIGEST,
                    "00" * 16,
                    "2026-02-31T00:00:00.000000Z",
                    "2026-01-01T24:00:00.000000Z",
                    "0000-01-01T00:00:00.000000Z",
                    "2026-01-01T00:00:00.000000+00:00Z",
                    "2026-01-01T00:00:00.00000Z",
                ]
            ),
            st.integers(-(2**53) + 1, 2**53 - 1),
            st.none(),
            st.lists(st.sampled_from([DIGEST, "ab" * 32, "ab" * 16])),
        ),
        max_size=12,
    )
)
def test_every_body_unpacks_to_what_was_packed(value: dict[str, Any]) -> None:
    for body in (jcs.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        assert packing.unpack_body(packing.pack_body(body)) == body


@given(st.binary(max_size=500).filter(lambda stored: not stored.startswith(b"{")))
def test_what_is_no_body_is_given_as_it_stands(stored: bytes) -> None:
    """Whatever a superuser puts there: it has no hash that was recorded, and nothing breaks."""
    assert packing.pack_body(stored) == stored
    found = packing.unpack_body(b"\x03" + stored)
    assert found == b"\x03" + stored or packing.unpack_body(packing.pack_body(found)) == found


def test_a_body_that_would_unpack_to_more_than_an_entry_is_not_unpacked() -> None:
    stored = b"\x03" + packing._deflate(b"{" + b" " * 5_000_000 + b"}", 3)
    assert len(stored) < 6_000
    assert packing.unpack_body(stored) == stored


def of_digests(length: int) -> bytes:
    """A body of so many bytes, most of them digests: it is stored in half of them."""
    head, tail = b'{"a":["', b'"]}'
    digests, rest = divmod(length - len(head + tail), len(DIGEST) + 3)
    body = head + b'","'.join([*[DIGEST.encode()] * digests, b"." * rest]) + tail
    assert len(body) == length
    return body


def test_a_body_as_long_as_a_tile_takes_is_unpacked_and_no_longer_one() -> None:
    for length in (packing._BODY_MAX - 1, packing._BODY_MAX):
        for body in (of_digests(length), b'{"a":"' + b"x" * (length - 8) + b'"}'):
            assert len(body) == length
            assert packing.unpack_body(packing.pack_body(body)) == body
    for length in (packing._BODY_MAX + 1, 2 * packing._BODY_MAX - 5_000):
        too_long = packing.pack_body(of_digests(length))
        assert len(too_long) <= packing._BODY_MAX, "the database's check lets it in"
        assert packing.unpack_body(too_long) == too_long


@pytest.mark.django_db
def test_a_body_is_stored_packed_and_read_as_it_was_hashed(archive: Organization) -> None:
    with access.system("a test records"):
        alone = append(parties=[archive.pk])
        [many] = append_many(1, parties=[archive.pk])
    for entry in (alone, many):
        read = LedgerEntry.objects.get(pk=entry.pk)
        assert bytes(read.body) == bytes(entry.body)
        assert tree.leaf_hash(bytes(read.body)) == bytes(read.leaf_hash)
        assert stored(entry) == packing.pack_body(bytes(entry.body))
        assert LedgerEntry.objects.get(body=bytes(entry.body)).pk == entry.pk


@pytest.mark.django_db(transaction=True)
def test_a_body_from_before_the_packing_is_read_proven_and_copied(
    test_database: TestDatabase, tmp_path: Path
) -> None:
    grow(3)
    packed = append_many(1)[0]
    with superuser_connection(test_database) as opened:
        store_plainly(opened)
    assert stored(packed) == bytes(packed.body)

    sequencer.run_once()
    assert fsck.check_database("test").size == 4
    assert proofs.receipt(packed, None) is not None
    export.push("test", open_store(str(tmp_path)), 4)
    assert bytes(packed.body) in (tmp_path / "test/tile/entries/000.p/4").read_bytes()


@pytest.mark.django_db(transaction=True)
def test_a_body_that_unpacks_to_more_than_a_tile_takes_gets_no_place(
    test_database: TestDatabase,
) -> None:
    """Its length stands in two bytes: in the log, neither a copy nor a bundle could be made."""
    grow(3)
    entry = append_many(1)[0]
    body = of_digests(100_000)
    store(test_database, entry, packing.pack_body(body), tree.leaf_hash(body))

    with pytest.raises(LedgerCorrupted, match=f"Entry {entry.pk} of the log “test”"):
        sequencer.run_once()
    assert LedgerLeaf.objects.filter(log="test").count() == 3
    bundle = tiles.entry_bundle("test", 0, 3)
    assert bundle is not None
    assert body not in bundle


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("spoiled", [b"", b"\x03", b"\x03\x00", b"\x04{}", b"{}", None])
def test_a_body_that_does_not_unpack_has_no_receipt_and_no_copy(
    test_database: TestDatabase, tmp_path: Path, spoiled: bytes | None
) -> None:
    grow(3)
    entry = LedgerEntry.objects.order_by("pk")[1]
    assert proofs.receipt(entry, None) is not None
    packed = stored(entry)
    changed = packed[:-1] if spoiled is None else spoiled
    store(test_database, entry, changed, bytes(entry.leaf_hash))

    read = LedgerEntry.objects.get(pk=entry.pk)
    assert bytes(read.body) == changed
    with pytest.raises(LedgerCorrupted, match=f"Entry {entry.pk} cannot be proven"):
        proofs.receipt(read, None)
    with pytest.raises(LedgerCorrupted, match="Leaf 1 of the log"):
        export.push("test", open_store(str(tmp_path)), 3)
    assert not list(tmp_path.rglob("entries/*"))


def store(database: TestDatabase, entry: LedgerEntry, body: bytes, leaf_hash: bytes) -> None:
    with superuser_connection(database) as owner:
        owner.execute("ALTER TABLE licensing_ledgerentry DISABLE TRIGGER USER")
        owner.execute(
            "UPDATE licensing_ledgerentry SET body = %s, leaf_hash = %s WHERE id = %s",
            [body, leaf_hash, entry.pk],
        )
        enable_triggers(owner, "licensing_ledgerentry")


def stored(entry: LedgerEntry) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM licensing_ledgerentry WHERE id = %s", [entry.pk])
        return bytes(cursor.fetchone()[0])


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
