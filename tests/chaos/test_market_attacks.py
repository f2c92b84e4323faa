"""What is noticed when a superuser changes grants, status roots, keys and generations.

By the second table of api_docs/ledger_threats.md, as test_attacks.py does by the first.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import proofs, receipts, sequencer, signer
from licensing.ledger.log import LedgerCorrupted
from licensing.models import Grant, LedgerEntry
from licensing.offline import __main__ as offline
from marketplace import access
from marketplace.models import Organization
from tests.chaos.anchors import Noticed, run
from tests.chaos.market_attacks import ATTACKS, LOG_ATTACKS, TABLES, Market
from tests.chaos.test_attacks import THREATS
from tests.chaos.watchers import watching
from tests.database import TestDatabase
from tests.frozen import World as Frozen
from tests.ledger import append_many, superuser_connection
from tests.licensing.test_rotation import Rotated
from tests.licensing.test_status import become, recorded
from tests.make import issue_grant, make_offer
from tests.people import ApiClient

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

ANCHORS = ("D", "S", "V", "P", "W")


@pytest.fixture
def market(
    test_database: TestDatabase,
    archive: Organization,
    lab: Organization,
    client_for: Callable[..., ApiClient],
    settings: Any,
    tmp_path: Path,
) -> Iterator[Market]:
    # An agreement that no grant is of, for who gives one by hand.
    spare, active, revoked = (issue_grant(lab, make_offer(archive)) for _each in range(3))
    recorded()
    become(revoked, "revoked")
    recorded()
    sequencer.run_once()
    with (
        watching(tmp_path, signer.load("test").verifier) as watched,
        superuser_connection(test_database) as opened,
    ):
        settings.LEDGER_WITNESSES = " ".join(f"{each.vkey} {each.url}" for each in watched)
        run("ledger_witness", once=True, log="test")
        for table in TABLES:
            opened.execute(f"ALTER TABLE licensing_{table} DISABLE TRIGGER ALL")
        held = {str(each.pk): newest_receipt(each) for each in (spare, active, revoked)}
        yield Market(
            super=opened,
            licensor=archive,
            licensee=lab,
            client=client_for(lab),
            active=active,
            revoked=revoked,
            receipts=held,
        )


def newest_receipt(grant: Grant) -> bytes:
    with access.system("a party takes a receipt"):
        rows = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("-seq")
        entry = rows.select_related("opening")[0]
        receipt = proofs.receipt(entry, entry.opening)
    assert receipt is not None
    return receipt


# --- anchors ----------------------------------------------------------------------------------


def noticed(market: Market, tmp_path: Path) -> dict[str, Noticed]:
    looks: dict[str, Callable[[], None]] = {
        "D": lambda: run("ledger_fsck", log="test"),
        "V": lambda: ask_how_they_stand(market, tmp_path),
        "P": lambda: compare_with_the_receipts(market),
        "W": lambda: run("ledger_witness", once=True, log="test"),
        # It writes: last.
        "S": go_on,
    }
    found = {}
    for anchor, look in looks.items():
        try:
            look()
        except Noticed as said:
            found[anchor] = said
    return found


def go_on() -> None:
    append_many(1)
    try:
        sequencer.run_once()
    except sequencer.STOPS as error:
        raise Noticed(str(error)) from error


def ask_how_they_stand(market: Market, tmp_path: Path) -> None:
    """What `verify --status` says of each newest receipt, by the proof that is given out now."""
    for grant, receipt in market.receipts.items():
        try:
            answer = market.client.get(f"/v1/grants/{grant}/status-proof")
        except LedgerCorrupted as error:
            raise Noticed(str(error)) from error
        if answer.status_code != 200:
            raise Noticed(f"no proof: HTTP {answer.status_code}")
        (tmp_path / "receipt").write_bytes(receipt)
        (tmp_path / "status").write_bytes(answer.content)
        files = [str(tmp_path / "receipt"), "--status", str(tmp_path / "status")]
        key = signer.load("test").verifier.vkey()
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = offline.main(["verify", *files, "--key", key, "--allow-test"])
        if code != (4 if grant == str(market.revoked.pk) else 0):
            raise Noticed(said.getvalue(), code)


def compare_with_the_receipts(market: Market) -> None:
    """What a party finds that lays its receipts beside what the market says of its grants."""
    listed = {each["id"] for each in market.client.get("/v1/grants").json()["data"]}
    if listed != set(market.receipts):
        raise Noticed(f"grants: {len(listed)} are listed, {len(market.receipts)} have receipts")
    for grant, receipt in market.receipts.items():
        shown = market.client.get(f"/v1/grants/{grant}").json()
        proven = receipts.verify(receipts.parse(receipt), [signer.load("test").verifier])
        if proven.body.kind == "grant.revoked":
            for what in ("status", "events"):
                if "revoked" not in json.dumps(shown[what]):
                    raise Noticed(f"{what}: the receipt is of a revocation")
            continue
        [period], values = shown["periods"], proven.values
        windows: Any = values["windows"]
        pairs = {
            "scope": (period["scope"], values["scope"]),
            "price": (period["price_basis"], values["price"]),
            "windows": (
                {
                    name: [moment(each[end]) for end in ("starts_at", "ends_at")]
                    for name, each in period["windows"].items()
                },
                {name: [moment(end) for end in each] for name, each in windows.items()},
            ),
            "coverage": (
                [each["citation"] for each in shown["coverage"]],
                [each["citation"] for each in values["coverage"]],  # type: ignore[union-attr]
            ),
            "document": (
                [shown["agreement"]["document_sha256"]],
                [each["sha256"] for each in values["documents"]],  # type: ignore[union-attr]
            ),
            "status": (shown["status"], "active"),
        }
        for what, (said, committed) in pairs.items():
            if said != committed:
                raise Noticed(f"{what}: {said}, and the receipt says {committed}")


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# --- the table --------------------------------------------------------------------------------


def table() -> dict[str, dict[str, str]]:
    rows = {}
    for line in THREATS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0][:1] in "MKF" and cells[0][1:].isdigit():
            rows[cells[0]] = dict(zip(ANCHORS, cells[2:], strict=True))
    return rows


def check(found: dict[str, Noticed], name: str) -> None:
    said = {anchor: cell for anchor, cell in table()[name].items() if cell}
    assert found.keys() == said.keys(), (said, found)
    for anchor, notice in found.items():
        assert said[anchor] in str(notice), (anchor, said[anchor], str(notice))
        if anchor in "DW":
            assert notice.code == 1


def test_without_an_attack_nobody_says_anything(market: Market, tmp_path: Path) -> None:
    assert noticed(market, tmp_path) == {}


@pytest.mark.parametrize("name", ATTACKS, ids=lambda name: f"{name}_{ATTACKS[name].__name__}")
def test_what_the_document_says_is_noticed(market: Market, tmp_path: Path, name: str) -> None:
    ATTACKS[name](market)

    check(noticed(market, tmp_path), name)


@pytest.mark.parametrize(
    "name", LOG_ATTACKS, ids=lambda name: f"{name}_{LOG_ATTACKS[name].__name__}"
)
def test_what_is_done_to_changes_of_keys_and_frozen_logs_is_noticed(
    name: str,
    test_database: TestDatabase,
    archive: Organization,
    lab: Organization,
    settings: Any,
    tmp_path: Path,
) -> None:
    frozen = Frozen(tmp_path, settings, test_database, archive, lab)
    if name.startswith("K"):
        Rotated()
    else:
        frozen.lose()
        frozen.applied()
        sequencer.run_once()
    run("ledger_fsck", log="test")
    with superuser_connection(test_database) as opened:
        for table in ("keychange", "continuation", "leaf"):
            opened.execute(f"ALTER TABLE licensing_ledger{table} DISABLE TRIGGER ALL")
        LOG_ATTACKS[name](opened)

    found = {}
    for anchor, look in (("D", lambda: run("ledger_fsck", log="test")), ("S", go_on)):
        try:
            look()
        except Noticed as said:
            found[anchor] = said
    check(found, name)


def test_every_attack_of_the_second_table_is_tried_here() -> None:
    assert list(table()) == [*ATTACKS, *LOG_ATTACKS]
