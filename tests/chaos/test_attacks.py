"""Which anchor of api_docs/ledger_threats.md notices which attack on a log, and what it says.

Each attack is tried on a log of its own; then every anchor looks, alone. The table of the document
says who notices what: a cell that is filled without one noticing fails here, and so does an empty
one where one does.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection

from licensing.ledger import commitments, proofs, sequencer, signer, tiles
from licensing.models import LedgerEntry, LedgerLeaf
from marketplace import access
from tests.chaos.anchors import ANCHORS, Noticed, ask_the_witnesses, noticed, run
from tests.chaos.attacks import (
    ATTACKS,
    EARLIER,
    PARTY,
    SIZE,
    TABLES,
    WAITING,
    N,
    World,
    blinded,
    rewrite_the_tree,
)
from tests.chaos.watchers import OURS, Watcher, watching
from tests.database import TestDatabase
from tests.ledger import append, append_many, grow, signed_sizes, superuser_connection
from tests.oracles import witness as others

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

THREATS = Path(__file__).parents[2] / "api_docs" / "ledger_threats.md"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[list[Watcher]]:
    directory = tmp_path / "witness"
    directory.mkdir()
    with watching(directory, signer.load("test").verifier) as watchers:
        yield watchers


@pytest.fixture
def world(
    test_database: TestDatabase,
    ledger_guard: Path,
    watched: list[Watcher],
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    export, earlier = tmp_path / "second place", tmp_path / "earlier"
    settings.LEDGER_EXPORT = str(export)
    settings.LEDGER_WITNESSES = " ".join(f"{each.vkey} {each.url}" for each in watched)
    grow(EARLIER, parties=[PARTY])
    run("ledger_witness", once=True, log="test")
    earlier_guard = (ledger_guard / "test.guard").read_bytes()
    shutil.copytree(export, earlier)
    grow(SIZE - EARLIER, parties=[PARTY])
    run("ledger_witness", once=True, log="test")
    append_many(WAITING, parties=[PARTY])
    with access.system("look in a test"):
        leaf = LedgerLeaf.objects.select_related("entry__opening").get(log="test", index=N)
        receipt = proofs.receipt(leaf.entry, leaf.entry.opening)
        note = tiles.newest_checkpoint("test")
    verifier = signer.verifier("test")
    assert receipt is not None
    assert note is not None
    assert verifier is not None
    with superuser_connection(test_database) as opened:
        # Whoever is superuser turns off what refuses him.
        for table in TABLES:
            opened.execute(f"ALTER TABLE licensing_ledger{table} DISABLE TRIGGER ALL")
        yield World(
            super=opened,
            patch=monkeypatch,
            earlier=earlier,
            export=export,
            guards=ledger_guard,
            earlier_guard=earlier_guard,
            verifier=verifier,
            remembered=note.note,
            receipt=receipt,
            witnesses=watched,
        )


# --- the table --------------------------------------------------------------------------------


def table() -> dict[int, dict[str, str]]:
    """What the document says of each attack that is numbered."""
    rows = {}
    for line in THREATS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            rows[int(cells[0])] = dict(zip(ANCHORS, cells[2:], strict=True))
    return rows


def test_every_attack_of_the_document_is_tried_here() -> None:
    assert list(table()) == list(ATTACKS)
    assert len(ATTACKS) >= 25


def test_without_an_attack_no_anchor_says_anything(world: World, tmp_path: Path) -> None:
    assert noticed(world, tmp_path) == {}


@pytest.mark.parametrize(
    "number", ATTACKS, ids=lambda number: f"{number}_{ATTACKS[number].__name__}"
)
def test_the_anchors_notice_what_the_document_says(
    world: World, tmp_path: Path, number: int
) -> None:
    ATTACKS[number](world)

    found = noticed(world, tmp_path)

    said = {anchor: cell for anchor, cell in table()[number].items() if cell}
    assert found.keys() == said.keys(), (said, found)
    for anchor, notice in found.items():
        text, cell = str(notice).lower(), said[anchor].replace("leaf n", f"leaf {N}").lower()
        # The first word of a cell is one of the anchor's own; a place that it names is named.
        for word in (cell.split()[0], *re.findall(r"leaf \d+", cell)):
            assert word.strip("“”,;`") in text, (anchor, cell, text)
        if anchor == "W":
            assert cell.removesuffix(" (2)") in text, (cell, text)
        if anchor in "DXCW" and cell != "refused":
            assert notice.code == (2 if "(2)" in cell else 1), (anchor, cell, text)


def test_a_rewritten_tree_that_blinded_anchors_let_be_signed_is_refused_by_the_witnesses(
    world: World,
) -> None:
    rewrite_the_tree(world)
    append_many(1)
    with blinded("S", "X", "G"):
        assert sequencer.run_once() == 1 + WAITING
        assert signed_sizes()[-1] == SIZE + WAITING + 1

        with pytest.raises(Noticed, match=f"first {SIZE} entries have another root") as said:
            ask_the_witnesses(world)

    assert said.value.code == 1


def test_a_witness_that_is_not_ours_watches_too(watched: list[Watcher]) -> None:
    if not others.is_installed():
        pytest.skip("not installed: the Python package aics-witness (make oracles installs it)")
    assert [each.name for each in watched] == [OURS, others.NAME]


# --- what broke elsewhere ---------------------------------------------------------------------

WRITERS, LINKS_EACH, CHAINS = 32, 6, 4


def test_chains_of_32_writers_at_once_neither_fork_nor_skip() -> None:
    failures, done = write_chains()
    assert failures == []
    assert len(done) == WRITERS * LINKS_EACH
    while sequencer.run_once():
        pass

    for ref, rows in chains().items():
        assert [seq for seq, _prev, _leaf in rows] == list(range(len(rows))), ref
        assert [prev for _seq, prev, _leaf in rows] == [
            None,
            *(leaf for _seq, _prev, leaf in rows[:-1]),
        ]
    indexes = LedgerLeaf.objects.filter(log="test").order_by("index")
    assert list(indexes.values_list("index", flat=True)) == list(range(len(done)))
    run("ledger_fsck", log="test")


def test_without_their_constraint_chains_fork_and_the_check_says_so(
    test_database: TestDatabase,
) -> None:
    with superuser_connection(test_database) as opened:
        opened.execute(
            "ALTER TABLE licensing_ledgerentry DROP CONSTRAINT ledger_chain_does_not_fork"
        )
    write_chains()

    assert any(len({seq for seq, *_ in rows}) < len(rows) for rows in chains().values())
    with pytest.raises(Noticed, match="BROKEN: entry") as said:
        run("ledger_fsck", log="test")
    assert said.value.code == 1


def write_chains() -> tuple[list[BaseException], list[int]]:
    """Have WRITERS go on with few chains at once; who is too late tries again from the new end."""
    failures: list[BaseException] = []
    done: list[int] = []
    refs = [bytes([number]) * 16 for number in range(CHAINS)]
    ready = threading.Barrier(WRITERS)

    def write(writer: int) -> None:
        try:
            ready.wait(60)
            for number in range(LINKS_EACH):
                done.append(go_on_with(refs[(writer + number) % CHAINS]))
                # Back to the pool: it has fewer connections than there are writers.
                connection.close()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures, done


def go_on_with(ref: bytes) -> int:
    while True:
        with suppress(IntegrityError), access.system("a test writes to the ledger"):
            last = LedgerEntry.objects.filter(subject_ref=ref).order_by("-seq").first()
            seq, prev = (0, None) if last is None else (last.seq + 1, bytes(last.leaf_hash))
            return append(subject_ref=ref, seq=seq, prev=prev).pk


def chains() -> dict[bytes, list[tuple[int, bytes | None, bytes]]]:
    """Of each subject (seq, prev, leaf hash), as the bodies say, in the order of seq."""
    found: dict[bytes, list[tuple[int, bytes | None, bytes]]] = {}
    for entry in LedgerEntry.objects.order_by("seq", "id"):
        body = commitments.parse_body(bytes(entry.body))
        found.setdefault(body.subject_ref, []).append((body.seq, body.prev, bytes(entry.leaf_hash)))
    return found
