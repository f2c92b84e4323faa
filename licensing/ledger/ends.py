"""Where each log ends: its size and root, and whether its newest part is what they say."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from licensing import packing
from licensing.ledger import succession, tiles, tree
from licensing.models import LedgerLeaf

# Of a log's newest leaves, so many are hashed again from their entries' bodies.
_LEAVES = 1_024


class EndBroken(Exception):
    """The newest part of a log is not what its root says. Says which."""


def stand() -> list[dict[str, Any]]:
    """Every generation of every log that has entries: {"log", "size", "root"} (hexadecimal)."""
    found = []
    for name in succession.all_names():
        newest = tiles.newest_tree(name)
        if newest is not None:
            found.append({"log": name, "size": newest.size, "root": bytes(newest.root).hex()})
    return found


def check(log: str, *, size: int, root: str) -> int:
    """Check that a log ends as it did: tree and newest entries. How many leaves were hashed again.

    All of it is checked by `fsck`, in the time of one reading. Raises EndBroken.
    """
    newest = tiles.newest_tree(log)
    if newest is None or (newest.size, bytes(newest.root).hex()) != (size, root):
        raise EndBroken(_("The log “%(log)s” does not end as it did.") % {"log": log})
    try:
        grown = tiles.StoredTree(log, size).root()
    except LookupError as error:
        raise EndBroken(str(error)) from error
    if grown.hex() != root:
        raise EndBroken(_("The tiles of the log “%(log)s” make another root.") % {"log": log})
    leaves = LedgerLeaf.objects.filter(log=log, index__gte=size - _LEAVES, index__lt=size)
    rows = leaves.order_by("index").values_list("index", "leaf_hash", "entry__body")
    found = 0
    for index, leaf_hash, body in rows:
        hashed = tree.leaf_hash(packing.unpack_body(bytes(body)))
        if hashed != bytes(leaf_hash):
            raise EndBroken(
                _("The leaf %(index)s of the log “%(log)s” is not the hash of its entry.")
                % {"index": index, "log": log}
            )
        found += 1
    if found != min(size, _LEAVES):
        raise EndBroken(_("The log “%(log)s” lacks leaves.") % {"log": log})
    return found
