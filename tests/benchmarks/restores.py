"""How long a large market's backup and restore take, and whether all of it is right afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from django.conf import settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from licensing.ledger import sequencer, signer
from marketplace import backups, contributors, devdb, organizations
from marketplace.models import Organization
from marketplace.typeid import uuid7
from payments import erasures
from tests.benchmarks import royalties
from tests.benchmarks.ledger_rows import ACTING, LOG, Rows
from tests.benchmarks.measure import Figure, app, owner, progress
from tests.people import caller_for, found

WORKS = 1_000_000
GRANTS = 10_000
TOGETHER = 500
ERASED = 5
NAME = "Zyxwvanna Quill"
SECONDS_GOAL = 900.0
ROOT = Path(__file__).resolve().parents[2]


def run(quick: bool) -> Iterator[Figure]:
    """Fill a market, back it up, erase people, restore it elsewhere, and look at what is there."""
    part = 10 if quick else 1
    works, grants = WORKS // part, GRANTS // part
    rows = _fill(works, grants)
    place = Path(settings.DATA_DIR) / "market.licet.zip"
    backing_up = _run(os.environ, "backup", str(place))
    with backups.Backup(place) as backup:
        manifest = backup.manifest
    bare_out = _bare_out(manifest.tables)
    progress(
        f"restore: {manifest.rows:,} rows, {place.stat().st_size:,} bytes,"
        f" {sum(table.bytes for table in manifest.tables):,} unpacked;"
        f" load {os.getloadavg()[0]:.1f}"
    )
    yield Figure(
        figure=f"backup of {works:,} works and {grants:,} grants",
        value=backing_up,
        unit="s",
        limit=bare_out,
        ratio=bare_out / backing_up,
    )
    for number in range(ERASED):
        erasures.erase(erasures.Person(email=f"quill{number}@example.org"))
    with _empty_database() as environment:
        restoring = _run(environment, "restore", str(place))
        bare_in = _bare_in(environment["DATABASE_URL"], place)
        goal = SECONDS_GOAL
        yield Figure(
            figure=f"restore of {works:,} works and {grants:,} grants into an empty database",
            value=restoring,
            unit="s",
            limit=bare_in,
            ratio=bare_in / restoring,
            goal=f"value <= {goal:g} s",
            holds=restoring <= goal,
        )
        yield _receipts(environment, grants)
        yield _erased(environment)
    del rows


def _run(environment: Any, *words: str) -> float:
    """How long a command takes, in a process of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    progress(done.stdout.rstrip())
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr}")
    return seconds


# --- the market -------------------------------------------------------------------------------


def _fill(works: int, grants: int) -> Rows:
    for name in ("test", "live"):
        signer.create(name)
    rows = Rows()
    seller = found("Archive of all", "platform")
    royalties._load(seller, 1, works)
    started = time.monotonic()
    _grants(rows, grants)
    progress(f"restore: {grants:,} grants in {time.monotonic() - started:.0f} s")
    for number in range(ERASED):
        _person(seller, number)
    return rows


def _grants(rows: Rows, count: int) -> None:
    """Grants with entries that open, as the market writes them, but for their contracts' texts."""
    with app() as connection:
        for first in range(0, count, TOGETHER):
            with connection.transaction():
                connection.execute(ACTING)
                for _grant in range(min(TOGETHER, count - first)):
                    _grant_row(rows, connection)
            sequencer.run_once()


def _grant_row(rows: Rows, connection: psycopg.Connection[Any]) -> None:
    ref, agreement = os.urandom(16), uuid7()
    own: dict[str, Any] = {
        "agreement": agreement,
        "made_by": f"ord_{agreement.hex}",
        "grant": uuid7(),
        "grant_ref": ref,
        "entry": rows.append(connection, ref, rows.seed, rows.at),
    }
    for statement, values in rows._ours:
        connection.execute(statement, values | own, prepare=True)


def _person(seller: Organization, number: int) -> None:
    email = f"quill{number}@example.org"
    organizations.admit(
        seller, email=email, name=NAME, password="correct horse battery", role="viewer"
    )
    contributors.add(
        caller_for(seller), external_id=f"q{number}", name=NAME, email=email, consent="granted"
    )


# --- where it goes ----------------------------------------------------------------------------


@contextmanager
def _empty_database() -> Iterator[dict[str, str]]:
    """The environment of processes on a new database without tables."""
    url = os.environ["DATABASE_URL"]
    parts = conninfo_to_dict(url)
    name = f"{parts['dbname']}_restored"
    admin_url = os.environ.get("DATABASE_ADMIN_URL") or make_conninfo(
        url, user=devdb.ADMINISTRATOR, dbname=devdb.ADMINISTRATOR
    )
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        # As `TestDatabase` does: whose lock is free, that database was left behind.
        admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
        admin.execute(drop)
        devdb.create_database(admin, name)
        with psycopg.connect(admin_url, dbname=name, autocommit=True) as inside:
            devdb.grant_defaults(inside)
        try:
            there = urlunsplit(urlsplit(url)._replace(path="/" + quote(name)))
            yield {**os.environ, "DATABASE_URL": there}
        finally:
            admin.execute(drop)


# --- the limits -------------------------------------------------------------------------------


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


def _bare_out(tables: Sequence[backups.Table]) -> float:
    """Every row out of the database, to nowhere: nothing hashed or packed by us."""
    started = time.monotonic()
    with owner() as opened:
        opened.execute("SELECT set_config('licet.system', 'measure', false)")
        for table in tables:
            statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table.name))
            with opened.cursor().copy(statement) as copy:
                for _block in copy:
                    pass
    return time.monotonic() - started


def _bare_in(url: str, place: Path) -> float:
    """Every row of the backup into bare tables: no index, no check, no comparison."""
    started = time.monotonic()
    with (
        backups.Backup(place) as backup,
        psycopg.connect(url, options=f"-c role={devdb.OWNER}") as opened,
    ):
        for table in backup.manifest.tables:
            columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            bare = sql.Identifier(f"bare_{table.name}")
            opened.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                    bare, columns, sql.Identifier(table.name)
                )
            )
            with opened.cursor().copy(
                sql.SQL("COPY {} ({}) FROM STDIN").format(bare, columns)
            ) as copy:
                for chunk in backup.read(table):
                    copy.write(chunk)
        opened.rollback()
    return time.monotonic() - started


# --- afterwards -------------------------------------------------------------------------------


def _receipts(environment: dict[str, str], grants: int) -> Figure:
    verifier = signer.verifier(LOG)
    assert verifier is not None
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.restored_receipts", verifier.vkey(), str(grants)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    progress(
        f"restore: {result['verified']:,} receipts verified in {time.monotonic() - started:.0f} s;"
        f" broken: {result['broken']}"
    )
    return Figure(
        figure=f"receipts of {grants:,} grants that the restore broke, verified as offline",
        value=float(result["count"] + grants - result["verified"]),
        unit="receipts",
        limit=0.0,
        ratio=result["verified"] / grants,
        goal="0",
        holds=result["verified"] == grants and not result["count"],
    )


def _erased(environment: dict[str, str]) -> Figure:
    """Those who were erased after the backup, looked for in every row of the restored database."""
    back = 0
    with psycopg.connect(
        environment["DATABASE_URL"],
        options=f"-c role={devdb.OWNER} -c licet.system=look",
        autocommit=True,
    ) as opened:
        for table in ("marketplace_user", "marketplace_contributoridentity"):
            found_rows = opened.execute(
                sql.SQL("SELECT count(*) FROM {} t WHERE t::text ILIKE '%quill%'").format(
                    sql.Identifier(table)
                )
            ).fetchone()
            assert found_rows is not None
            back += found_rows[0]
    return Figure(
        figure=f"of {ERASED} people erased after the backup, rows that the restore brought back",
        value=float(back),
        unit="rows",
        limit=0.0,
        ratio=1.0 if back == 0 else 0.0,
        goal="0",
        holds=back == 0,
    )
