"""The set tree has one root for one set, and its proofs show one item or none."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licensing import jcs, settree
from licensing.ledger import tree

VECTORS = json.loads((Path(__file__).parent / "vectors" / "set_tree.json").read_text())
SECRET = bytes(range(32))


def item(number: int) -> tuple[bytes, bytes]:
    key = number.to_bytes(32, "big")
    return key, hashlib.sha256(b"metadata %d" % number).digest()


def root_of(items: list[tuple[bytes, bytes]], type: str = "snapshot") -> settree.SetRoot:
    tree = settree.SetTree(type, SECRET)
    tree.extend(items)
    return tree.finish({"works": len(items)})


def defined_leaf(code: int, secret: bytes, key: bytes, metadata_sha256: bytes) -> bytes:
    """The leaf as api_docs/set_tree.md writes it, without our builder."""
    blind = hashlib.sha256(secret + key).digest()
    return b"licet/set/v1" + bytes([code]) + key + blind + metadata_sha256


@pytest.mark.parametrize("vector", VECTORS["sets"], ids=lambda vector: vector["name"])
def test_a_published_vector_has_its_root_and_citation(vector: dict[str, Any]) -> None:
    builder = settree.SetTree(vector["type"], bytes.fromhex(vector["secret"]))
    for entry in vector["items"]:
        builder.add(bytes.fromhex(entry["key"]), entry["metadata"])
    found = builder.finish(vector["totals"])
    assert found.root.hex() == vector["root"]
    assert found.citation().hex() == vector["citation"]
    assert found.size == len(vector["items"])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 1023, 1024, 1025, 2047, 3072, 5000])
def test_the_root_is_that_of_the_logs_tree_over_the_defined_leaves(size: int) -> None:
    items = [item(number) for number in range(1, size + 1)]
    frontier = tree.Frontier()
    for key, metadata in items:
        frontier.push(tree.leaf_hash(defined_leaf(1, SECRET, key, metadata)))
    found = root_of(items)
    assert found.root == frontier.root()
    assert found.size == size


def test_items_added_in_any_batches_give_the_same_root() -> None:
    items = [item(number) for number in range(1, 3001)]
    builder = settree.SetTree("snapshot", SECRET)
    rng, start = random.Random(1), 0
    while start < len(items):
        count = rng.randint(1, 900)
        builder.extend(items[start : start + count])
        start += count
    assert builder.finish({"works": 3000}) == root_of(items)


def test_another_type_secret_key_or_metadata_gives_another_root() -> None:
    items = [item(1), item(2)]
    other = settree.SetTree("snapshot", bytes(32))
    other.extend(items)
    roots = {
        root_of(items).root,
        root_of(items, "opt_outs").root,
        root_of([item(1), item(3)]).root,
        root_of([item(1), (item(2)[0], item(3)[1])]).root,
        root_of([item(1)]).root,
        other.finish({}).root,
    }
    assert len(roots) == 6


@pytest.mark.parametrize(("number", "said"), [(5, "stands twice"), (4, "does not follow")])
def test_a_repeated_or_descending_key_is_refused_and_the_rest_stands(
    number: int, said: str
) -> None:
    builder = settree.SetTree("snapshot", SECRET)
    with pytest.raises(settree.SetTreeError, match=said):
        builder.extend([item(1), item(5), item(number), item(9)])
    assert builder.size == 2
    with pytest.raises(settree.SetTreeError, match=said):
        builder.add(*item(number))
    builder.add(*item(6))
    assert builder.finish({"works": 3}) == root_of([item(1), item(5), item(6)])


def test_what_is_no_key_secret_type_or_total_is_refused() -> None:
    with pytest.raises(settree.SetTreeError, match="32 bytes"):
        settree.SetTree("snapshot", SECRET).extend([(b"k", bytes(32))])
    with pytest.raises(settree.SetTreeError, match="32 bytes"):
        settree.SetTree("snapshot", SECRET).extend([(b"k" * 32, b"")])
    with pytest.raises(ValueError, match="32 bytes"):
        settree.SetTree("snapshot", b"short")
    with pytest.raises(ValueError, match="unknown type"):
        settree.SetTree("collection", SECRET)
    for total in (-1, True, 1.5):
        with pytest.raises(ValueError, match="whole number"):
            settree.SetTree("snapshot", SECRET).finish({"works": total})  # type: ignore[dict-item]


def test_the_citation_fixes_type_size_root_and_totals() -> None:
    root = root_of([item(1), item(2)])
    changed = [
        replace(root, size=3),
        replace(root, type="manifest"),
        replace(root, root=bytes(32)),
        replace(root, totals={"works": 3}),
        replace(root, tree="licet/set/v2"),
    ]
    assert len({each.citation() for each in [root, *changed]}) == 6


@given(
    media_type=st.text(st.characters(exclude_categories=("Cs",))),
    canonicalization=st.text(st.characters(exclude_categories=("Cs",))),
    length=st.integers(0, jcs.INTEGER_MAX),
    contributor=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    rights_layers=st.lists(st.sampled_from(["text", "sound", "“pictures”"])),
    units=st.dictionaries(
        st.sampled_from(["tokens", "words", "pages", "seconds", 'a"\\\x7f', "é\n", "\ue000", "😀"]),
        st.integers(-1, jcs.INTEGER_MAX),
    ),
)
def test_the_fast_metadata_hash_is_that_of_the_object(**described: Any) -> None:
    slow = hashlib.sha256(jcs.dumps(settree.item_metadata(**described))).digest()
    assert settree.metadata_sha256(**described) == slow


@pytest.mark.parametrize("count", [2**53, 1.0, "\ud800"])
def test_a_count_without_canonical_form_is_refused(count: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        settree.metadata_sha256(media_type="text/plain", length=1, units={"tokens": count})


@pytest.mark.parametrize("bad", [{"length": -1}, {"length": 2**53}, {"contributor": "A" * 64}])
def test_metadata_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ, the class is promised
        settree.metadata_sha256(**{"media_type": "text/plain", "length": 1, **bad})


@pytest.mark.parametrize("size", range(1, 18))
def test_every_item_of_a_set_can_be_proven(size: int) -> None:
    items = [item(number) for number in range(1, size + 1)]
    root = root_of(items)
    for index, (key, metadata) in enumerate(items):
        proof = settree.prove("snapshot", SECRET, items, key)
        assert (proof.index, proof.key, proof.metadata_sha256) == (index, key, metadata)
        settree.verify_inclusion(proof, root)
        # The log's verifier, written apart from this one, agrees.
        leaf = tree.leaf_hash(defined_leaf(1, SECRET, key, metadata))
        tree.verify_inclusion(index, size, leaf, proof.path, root.root)


def wrong_proofs(proof: settree.ItemProof) -> Iterator[settree.ItemProof]:
    flip = bytes([1]) + bytes(31)
    yield replace(proof, index=proof.index + 1)
    yield replace(proof, index=-1)
    yield replace(proof, index=99)
    yield replace(proof, key=bytes(32))
    yield replace(proof, blind=bytes(32))
    yield replace(proof, metadata_sha256=bytes(32))
    yield replace(proof, key=proof.key + b"x")
    yield replace(proof, path=proof.path[:-1])
    yield replace(proof, path=(*proof.path, flip))
    yield replace(proof, path=(flip, *proof.path[1:]))
    yield replace(proof, path=())


def test_a_changed_proof_or_set_is_refused() -> None:
    items = [item(number) for number in range(1, 8)]
    root = root_of(items)
    proof = settree.prove("snapshot", SECRET, items, items[3][0])
    for wrong in wrong_proofs(proof):
        with pytest.raises(settree.SetTreeError):
            settree.verify_inclusion(wrong, root)
    for other in (
        replace(root, root=bytes(32)),
        replace(root, type="manifest"),
        replace(root, type="unknown"),
        replace(root, tree="other"),
    ):
        with pytest.raises(settree.SetTreeError):
            settree.verify_inclusion(proof, other)


def test_absence_is_proven_by_the_two_neighbors() -> None:
    items = [item(number) for number in (2, 4, 6, 8, 10)]
    root = root_of(items)
    for number in (1, 3, 5, 7, 9, 11):
        key = item(number)[0]
        proof = settree.prove_absence("snapshot", SECRET, items, key)
        settree.verify_absence(key, proof, root)
        for present in (2, 4, 6, 8, 10):
            with pytest.raises(settree.SetTreeError):
                settree.verify_absence(item(present)[0], proof, root)
    gap = settree.prove_absence("snapshot", SECRET, items, item(3)[0])
    for wrong in (
        replace(gap, before=None),
        replace(gap, after=None),
        replace(gap, after=settree.prove("snapshot", SECRET, items, item(6)[0])),
        settree.AbsenceProof(None, None),
    ):
        with pytest.raises(settree.SetTreeError):
            settree.verify_absence(item(3)[0], wrong, root)


def test_every_key_is_absent_from_the_empty_set() -> None:
    root = root_of([])
    assert root.root == settree.EMPTY_ROOT
    proof = settree.prove_absence("snapshot", SECRET, [], item(1)[0])
    settree.verify_absence(item(1)[0], proof, root)


def test_a_proof_is_refused_for_what_is_not_so() -> None:
    items = [item(2), item(4)]
    with pytest.raises(KeyError):
        settree.prove("snapshot", SECRET, items, item(3)[0])
    with pytest.raises(KeyError):
        settree.prove_absence("snapshot", SECRET, items, item(2)[0])
    with pytest.raises(settree.SetTreeError, match="ascend"):
        settree.prove("snapshot", SECRET, items[::-1], item(2)[0])


def test_a_hundred_thousand_items_stream_through_little_memory() -> None:
    tracemalloc.start()
    builder = settree.SetTree("snapshot", SECRET)
    builder.extend((number.to_bytes(32, "big"), SECRET) for number in range(1, 100_001))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert builder.size == 100_000
    assert peak < 512 * 1024
