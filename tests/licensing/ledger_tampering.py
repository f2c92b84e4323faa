"""What a superuser may do to the tables of a log of 300 entries, for test_ledger_fsck.py."""

from __future__ import annotations

from licensing import packing

LEAF_9 = "(SELECT entry_id FROM licensing_ledgerleaf WHERE log = 'test' AND index = 9)"
OTHER_HASH = "sha256('another')"
FORGED, NO_JSON = (
    f"'\\x{packing.pack(text).hex()}'::bytea" for text in (b'{"text":"forged"}', b"[")
)

# Table without prefix, statement without the update's head, where it is found, leaf.
TAMPERED: dict[str, tuple[str, str, str, int | None]] = {
    "a flipped stored leaf hash of a leaf": (
        "leaf",
        f"SET leaf_hash = {OTHER_HASH} WHERE log = 'test' AND index = 9",
        "leaf 9",
        9,
    ),
    "a flipped stored leaf hash of an entry": (
        "entry",
        f"SET leaf_hash = {OTHER_HASH} WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "a body": (
        "entry",
        f"SET body = set_bit(body, 99, 1 - get_bit(body, 99)) WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "a body that does not unpack": (
        "entry",
        f"SET body = substr(body, 1, octet_length(body) - 1) WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "a body that is empty": ("entry", f"SET body = '' WHERE id = {LEAF_9}", "leaf 9", 9),
    "a body that is text, and another": (
        "entry",
        f"SET body = '{{}}' WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "nanoseconds hashed but microseconds stored": (
        "entry",
        "SET body = convert_to(replace(convert_from(body, 'UTF8'), 'Z\"', '123Z\"'), 'UTF8'),"
        " leaf_hash = sha256('\\x00'::bytea || convert_to(replace(convert_from(body, 'UTF8'),"
        " 'Z\"', '123Z\"'), 'UTF8')) WHERE id = (SELECT max(id) FROM licensing_ledgerentry)",
        "entry",
        None,
    ),
    "the time of an entry": (
        "entry",
        f"SET created_at = created_at + interval '1 microsecond' WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "the kind of an entry": ("entry", f"SET kind = 'note.other' WHERE id = {LEAF_9}", "leaf 9", 9),
    "the log of an entry": ("entry", f"SET log = 'live' WHERE id = {LEAF_9}", "leaf 9", 9),
    "the subject of an entry": (
        "entry",
        f"SET subject_ref = '\\x{'ab' * 16}' WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "the number of an entry": ("entry", f"SET seq = 1 WHERE id = {LEAF_9}", "leaf 9", 9),
    "a body and every hash of it": (
        "entry",
        "SET body = convert_to(replace(convert_from(body, 'UTF8'), 'note.made', 'note.make'),"
        " 'UTF8'), kind = 'note.make', leaf_hash = sha256('\\x00'::bytea || convert_to(replace("
        f"convert_from(body, 'UTF8'), 'note.made', 'note.make'), 'UTF8')) WHERE id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "a tile": (
        "tile",
        f"SET hashes = overlay(hashes placing {OTHER_HASH} from 9 * 32 + 1)",
        "tile 0/0",
        9,
    ),
    "a tile's root": ("tile", f"SET root = {OTHER_HASH}", "tile 0/0", None),
    "a tile's place": ("tile", "SET index = 1", "tile 0/1", None),
    "a tile's level": ("tile", "SET level = 1", "tile 1/0", None),
    "a tree's root": ("tree", f"SET root = {OTHER_HASH} WHERE size = 259", "tree 259", None),
    "a tree's size": ("tree", "SET size = 258 WHERE size = 259", "tree 258", None),
    "the last tree's size, down": ("tree", "SET size = 299 WHERE size = 300", "leaf 299", 299),
    "the last tree's size, up": ("tree", "SET size = 301 WHERE size = 300", "checkpoint 300", None),
    "a checkpoint's size": (
        "checkpoint",
        "SET size = 258 WHERE size = 259",
        "checkpoint 258",
        None,
    ),
    "a checkpoint beyond the log": (
        "checkpoint",
        "SET size = 999 WHERE size = 300",
        "checkpoint 999",
        None,
    ),
    "a checkpoint's note": (
        "checkpoint",
        "SET note = overlay(note placing 'AAAA' from length(note) - 20 for 4) WHERE size = 259",
        "checkpoint 259",
        None,
    ),
    "a checkpoint's note, replaced by an older one": (
        "checkpoint",
        "SET note = (SELECT note FROM licensing_ledgercheckpoint WHERE size = 2) WHERE size = 259",
        "checkpoint 259",
        None,
    ),
    "an opened value": ("opening", f"SET packed = {FORGED} WHERE entry_id = {LEAF_9}", "leaf 9", 9),
    "an opening's seed": (
        "opening",
        f"SET seed = {OTHER_HASH} WHERE entry_id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "an opening that is no JSON": (
        "opening",
        f"SET packed = {NO_JSON} WHERE entry_id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "an opening that nobody packed": (
        "opening",
        f"SET packed = substr(packed, 2) WHERE entry_id = {LEAF_9}",
        "leaf 9",
        9,
    ),
    "the log of a leaf": ("leaf", "SET log = 'live', index = 0 WHERE index = 9", "leaf 9", 9),
    "the queue of a pending entry": ("pending", "SET log = 'live'", "entry", None),
}

REMOVED = {
    "a leaf": ("leaf", "index = 9", "leaf 9"),
    "the last leaf": ("leaf", "index = 299", "leaf 299"),
    "an entry": ("entry", f"id = {LEAF_9}", "leaf 9"),
    "a tile": ("tile", "true", "tile 0/0"),
    "a tree": ("tree", "size = 259", "checkpoint 259"),
    "a pending row": ("pending", "true", "entry"),
    "the entry before in a chain": ("entry", "seq = 1", "leaf 1"),
}
