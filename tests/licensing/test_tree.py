"""The log's Merkle tree agrees with the recursive definition of RFC 6962, and refuses the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing.ledger import tree

# Every tree up to this size is tried whole.
SMALL = 300
LARGE = 2**64 - 1
LEAVES = [tree.leaf_hash(b"entry %d" % number) for number in range(2000)]


def split(size: int) -> int:
    """The definition's k, found by counting up."""
    found = 1
    while found * 2 < size:
        found *= 2
    return found


@cache
def naive_root(low: int, high: int) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if low == high:
        return hashlib.sha256(b"").digest()
    if high - low == 1:
        return LEAVES[low]
    middle = low + split(high - low)
    return hashlib.sha256(b"\x01" + naive_root(low, middle) + naive_root(middle, high)).digest()


def naive_inclusion(index: int, low: int, high: int) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if high - low == 1:
        return []
    middle = low + split(high - low)
    if index < middle:
        return [*naive_inclusion(index, low, middle), naive_root(middle, high)]
    return [*naive_inclusion(index, middle, high), naive_root(low, middle)]


def naive_consistency(size: int, low: int, high: int, known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if size == high:
        return [] if known else [naive_root(low, high)]
    middle = low + split(high - low)
    if size <= middle:
        return [*naive_consistency(size, low, middle, known), naive_root(middle, high)]
    return [*naive_consistency(size, middle, high, False), naive_root(low, middle)]


def node(level: int, index: int) -> bytes:
    return naive_root(index << level, (index + 1) << level)


def frontier_of(size: int) -> tree.Frontier:
    frontier = tree.Frontier()
    for leaf in LEAVES[:size]:
        frontier.push(leaf)
    return frontier


def check_inclusion(index: int, size: int) -> None:
    root = naive_root(0, size)
    proof = tree.inclusion_proof(index, size, node)
    assert proof == naive_inclusion(index, 0, size)
    tree.verify_inclusion(index, size, LEAVES[index], proof, root)


def check_consistency(size1: int, size2: int) -> None:
    proof = tree.consistency_proof(size1, size2, node)
    assert proof == naive_consistency(size1, 0, size2, True)
    tree.verify_consistency(size1, size2, proof, naive_root(0, size1), naive_root(0, size2))


def test_a_known_tree_has_its_published_root() -> None:
    # The eight entries and root of the Certificate Transparency reference tests.
    entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    frontier = tree.Frontier()
    assert frontier.root().hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    for entry in entries:
        frontier.push(tree.leaf_hash(bytes.fromhex(entry)))
    assert frontier.root().hex() == (
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


def test_every_small_root_is_the_definitions() -> None:
    for size in range(SMALL + 1):
        assert tree.subtree_root(0, size, node) == naive_root(0, size)
        assert frontier_of(size).root() == naive_root(0, size)


def test_every_small_inclusion_proof_is_the_definitions_and_verifies() -> None:
    """All indexes of all sizes up to 300: 45,150 proofs."""
    for size in range(1, SMALL + 1):
        for index in range(size):
            check_inclusion(index, size)


def test_every_small_consistency_proof_is_the_definitions_and_verifies() -> None:
    """All m <= n up to 300: 45,150 proofs."""
    for size2 in range(1, SMALL + 1):
        for size1 in range(1, size2 + 1):
            check_consistency(size1, size2)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_larger_proofs_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(LEAVES)))
    check_inclusion(data.draw(st.integers(0, size - 1)), size)
    check_consistency(data.draw(st.integers(1, size)), size)


def other_steps(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The proof with a step dropped, added or swapped with another, in every place."""
    extra = hashlib.sha256(b"a step of no proof").digest()
    for place in range(len(proof)):
        yield [*proof[:place], *proof[place + 1 :]]
        for later in range(place + 1, len(proof)):
            swapped = list(proof)
            swapped[place], swapped[later] = swapped[later], swapped[place]
            yield swapped
    for place in range(len(proof) + 1):
        yield [*proof[:place], extra, *proof[place:]]
        if proof:
            # A step that the proof already has, once more.
            yield [*proof[:place], proof[place - 1], *proof[place:]]


def other_bits(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The proof with one bit flipped: every bit of every step."""
    for place, step in enumerate(proof):
        for bit in range(256):
            flipped = (int.from_bytes(step) ^ (1 << bit)).to_bytes(32)
            yield [*proof[:place], flipped, *proof[place + 1 :]]


def includes(index: int, size: int, proof: Sequence[bytes]) -> bool:
    try:
        tree.verify_inclusion(index, size, LEAVES[index], proof, naive_root(0, size))
    except tree.ProofError:
        return False
    return True


def continues(size1: int, size2: int, proof: Sequence[bytes]) -> bool:
    roots = naive_root(0, size1), naive_root(0, size2)
    try:
        tree.verify_consistency(size1, size2, proof, *roots)
    except tree.ProofError:
        return False
    return True


def test_no_step_of_a_proof_can_be_dropped_added_or_swapped() -> None:
    accepted = []
    for size in [*range(1, 50), 255, 256, 257, 300]:
        for place in range(size) if size < 50 else (0, 1, 127, 254, size - 1):
            sound = tree.inclusion_proof(place, size, node)
            accepted += [
                (place, size, wrong) for wrong in other_steps(sound) if includes(place, size, wrong)
            ]
            sound = tree.consistency_proof(place + 1, size, node)
            accepted += [
                (place + 1, size, wrong)
                for wrong in other_steps(sound)
                if continues(place + 1, size, wrong)
            ]
    assert accepted == []


def test_no_bit_of_a_proof_can_be_flipped() -> None:
    accepted = []
    for size in (2, 3, 4, 5, 6, 7, 8, 11, 300):
        for place in range(size) if size < 300 else (0, 255, 256, 299):
            sound = tree.inclusion_proof(place, size, node)
            accepted += [wrong for wrong in other_bits(sound) if includes(place, size, wrong)]
            sound = tree.consistency_proof(place + 1, size, node)
            accepted += [wrong for wrong in other_bits(sound) if continues(place + 1, size, wrong)]
    assert accepted == []


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    root = naive_root(0, size)
    proof = tree.inclusion_proof(index, size, node)
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    for wrong in (
        proof[:-1],
        [*proof, root],
        [root, *proof],
        [*proof[:place], flipped, *proof[place + 1 :]],
        [*proof[:place], b"", *proof[place + 1 :]],
    ):
        with pytest.raises(tree.ProofError):
            tree.verify_inclusion(index, size, LEAVES[index], wrong, root)
    with pytest.raises(tree.ProofError):
        tree.verify_inclusion(index, size, LEAVES[index - 1], proof, root)
    with pytest.raises(tree.ProofError):
        tree.verify_inclusion((index + 1) % size, size, LEAVES[index], proof, root)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_consistency_proof_is_refused(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(2, 300))
    size1 = data.draw(st.integers(1, size2 - 1))
    root1, root2 = naive_root(0, size1), naive_root(0, size2)
    proof = tree.consistency_proof(size1, size2, node)
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    for wrong in (
        [],
        proof[:-1],
        [*proof, root1],
        [root1, *proof],
        [*proof[:place], flipped, *proof[place + 1 :]],
        [*proof[:place], b"", *proof[place + 1 :]],
    ):
        with pytest.raises(tree.ProofError):
            tree.verify_consistency(size1, size2, wrong, root1, root2)
    for roots in ((root2, root1), (root1, root1), (root2, root2)):
        with pytest.raises(tree.ProofError):
            tree.verify_consistency(size1, size2, proof, *roots)


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (1, 1), (LARGE, 1), (LARGE, LARGE), (-1, 4), (5, 4)]
)
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(tree.ProofError, match="outside"):
        tree.verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])
    with pytest.raises(tree.ProofError, match="outside"):
        tree.inclusion_proof(index, size, node)


def test_sizes_of_64_bits_end_without_overflow() -> None:
    with pytest.raises(tree.ProofError, match="too short"):
        tree.verify_inclusion(LARGE - 1, LARGE, LEAVES[0], [LEAVES[1]], LEAVES[2])
    with pytest.raises(tree.ProofError, match="too short"):
        tree.verify_consistency(LARGE - 1, LARGE, [LEAVES[1]], LEAVES[2], LEAVES[3])
    with pytest.raises(tree.ProofError, match="too long"):
        tree.verify_inclusion(LARGE - 1, LARGE, LEAVES[0], [LEAVES[1]] * 65, LEAVES[2])


def test_trees_of_64_bits_are_proven_as_small_ones_are() -> None:
    """In a tree of equal leaves every node of a level is the same: one fits into memory."""
    uniform = [LEAVES[0]]
    for _level in range(64):
        uniform.append(tree.node_hash(uniform[-1], uniform[-1]))

    def same(level: int, index: int) -> bytes:
        return uniform[level]

    def root(size: int) -> bytes:
        return tree.subtree_root(0, size, same)

    assert root(2**64) == uniform[64]
    for index, size in [(0, LARGE), (2**63, LARGE), (LARGE - 1, LARGE), (LARGE, 2**64)]:
        proof = tree.inclusion_proof(index, size, same)
        tree.verify_inclusion(index, size, LEAVES[0], proof, root(size))
        assert len(proof) <= 64
        for wrong in (proof[:-1], [*proof, LEAVES[1]]):
            with pytest.raises(tree.ProofError):
                tree.verify_inclusion(index, size, LEAVES[0], wrong, root(size))
    for size1, size2 in [(1, LARGE), (2**63, LARGE), (LARGE - 1, LARGE), (LARGE, 2**64)]:
        proof = tree.consistency_proof(size1, size2, same)
        tree.verify_consistency(size1, size2, proof, root(size1), root(size2))
        for wrong in (proof[:-1], [*proof, LEAVES[1]]):
            with pytest.raises(tree.ProofError):
                tree.verify_consistency(size1, size2, wrong, root(size1), root(size2))


def test_size_zero_is_consistent_with_nothing() -> None:
    for size2 in (0, 1, 8):
        with pytest.raises(tree.ProofError, match="no consistency"):
            tree.verify_consistency(0, size2, [], tree.EMPTY_ROOT, naive_root(0, size2))
        with pytest.raises(tree.ProofError, match="no consistency"):
            tree.consistency_proof(0, size2, node)


def test_a_larger_tree_is_not_consistent_with_a_smaller() -> None:
    with pytest.raises(tree.ProofError, match="no consistency"):
        tree.verify_consistency(8, 7, [], naive_root(0, 8), naive_root(0, 7))


def test_equal_sizes_compare_roots_byte_by_byte_whatever_their_length() -> None:
    tree.verify_consistency(1, 1, [], b"don't care 1", b"don't care 1")
    with pytest.raises(tree.ProofError, match="different roots"):
        tree.verify_consistency(1, 1, [], b"don't care 1", b"don't care 2")
    with pytest.raises(tree.ProofError, match="empty"):
        tree.verify_consistency(1, 1, [LEAVES[0]], LEAVES[0], LEAVES[0])


def test_hashes_that_are_not_32_bytes_are_refused() -> None:
    with pytest.raises(tree.ProofError, match="32 bytes"):
        tree.verify_inclusion(0, 1, b"", [], b"")
    with pytest.raises(tree.ProofError, match="32 bytes"):
        tree.verify_inclusion(0, 1, LEAVES[0][:31], [], LEAVES[0][:31])
    with pytest.raises(tree.ProofError, match="32 bytes"):
        tree.verify_consistency(1, 2, [b"x"], LEAVES[0], LEAVES[1])
    leaf, sibling = LEAVES[:2]
    root = tree.node_hash(leaf, sibling)
    tree.verify_inclusion(0, 2, leaf, [sibling], root)
    for length in (0, 31, 33, 64):
        for wrong in (
            (leaf, [resized(sibling, length)], root),
            (resized(leaf, length), [sibling], root),
            (leaf, [sibling], resized(root, length)),
        ):
            with pytest.raises(tree.ProofError, match="32 bytes"):
                tree.verify_inclusion(0, 2, *wrong)


def test_two_hashes_in_one_step_do_not_pass_for_one() -> None:
    """Hashing only concatenates: without the check of lengths this would lead to the root."""
    first, second, third = LEAVES[:3]
    root = tree.node_hash(tree.node_hash(first, second), third)
    short = tree.node_hash(first, second)[:16]
    rest = tree.node_hash(first, second)[16:] + third
    assert tree.node_hash(short, rest) == root
    with pytest.raises(tree.ProofError, match="32 bytes"):
        tree.verify_inclusion(0, 2, short, [rest], root)


def resized(data: bytes, length: int) -> bytes:
    return (data * 2)[:length]


def test_a_frontier_has_every_trees_root_and_names_each_subtree_once() -> None:
    frontier = tree.Frontier()
    completed: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(LEAVES[:600], start=1):
        for level, index, root in frontier.push(leaf):
            assert (level, index) not in completed
            completed[level, index] = root
        assert frontier.size == size
        assert frontier.root() == naive_root(0, size)
    assert completed == {
        (level, index): node(level, index)
        for level in range(1, 10)
        for index in range(600 >> level)
    }


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 600])
def test_a_frontier_is_taken_up_where_it_was_left(size: int) -> None:
    kept = frontier_of(size)
    for again in (tree.Frontier(size, kept.hashes()), tree.Frontier.load(size, node)):
        assert again.hashes() == kept.hashes()
        again.push(LEAVES[size])
        assert again.root() == naive_root(0, size + 1)


def test_a_frontier_refuses_the_subtrees_of_another_size() -> None:
    with pytest.raises(ValueError, match="other subtrees"):
        tree.Frontier(5, frontier_of(4).hashes())
    with pytest.raises(ValueError, match="32 bytes"):
        tree.Frontier(1, [b"x"])
    with pytest.raises(ValueError, match="32 bytes"):
        tree.Frontier().push(b"x")


def test_every_node_comes_out_of_its_tile() -> None:
    tiles = {
        (0, index): [node(0, index * 256 + place) for place in range(256)] for index in range(7)
    }
    tiles[1, 0] = [node(8, place) for place in range(7)]

    def from_tiles(level: int, index: int) -> bytes:
        part = tree.tile_part(level, index)
        return tree.fold(tiles[part.level, part.index][part.start : part.start + part.count])

    size = 7 * 256
    for index in (0, 1, 255, 256, 1000, size - 1):
        assert tree.inclusion_proof(index, size, from_tiles) == naive_inclusion(index, 0, size)
    assert tree.consistency_proof(700, size, from_tiles) == naive_consistency(700, 0, size, True)
    assert tree.tile_part(9, 3) == tree.TilePart(level=1, index=0, start=6, count=2)
    assert tree.tile_part(16, 300) == tree.TilePart(level=2, index=1, start=44, count=1)


def test_only_a_power_of_two_of_nodes_folds() -> None:
    for count in (0, 3, 6):
        with pytest.raises(ValueError, match="power of two"):
            tree.fold(LEAVES[:count])
