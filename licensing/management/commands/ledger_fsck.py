"""Checks whole logs: in the database, or as they were copied elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from licensing.ledger import (
    fsck,
    fsck_tiles,
    generations,
    guard,
    notes,
    stores,
    succession,
    tiles,
)
from licensing.ledger.fsck import Broken, CannotTell, Sound
from licensing.ledger.log import LOGS
from licensing.ledger.signer import KeyUnusable
from licensing.management.progress import Meter

SOUND, BROKEN, CANNOT_TELL = 0, 1, 2

Check = Callable[[fsck.Progress], Sound]


class Command(BaseCommand):
    help = (
        "Recompute every hash of the logs from their entries upward, and compare it with what is"
        " stored and signed: in the database, and then with the guard; or with --tiles in a copy,"
        " by its files and a key alone. Exit code 0: sound; 1: broken, and the first bad leaf,"
        " entry, tile, tree or checkpoint is named; 2: cannot tell (no key, unreadable, nothing"
        " there)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=[*LOGS, "all"], default="all", help="default: all")
        parser.add_argument(
            "--tiles",
            metavar="DIR",
            help="check this copy (a directory, or s3://bucket/prefix) instead of the database",
        )
        parser.add_argument(
            "--key",
            metavar="VKEY",
            help="with --tiles and one log: the verifier key to trust, or a file with it, instead"
            " of the copy's own",
        )
        parser.add_argument("--json", action="store_true", help="one JSON array on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        results = []
        for log, check in self._checks(options).items():
            result = self._result(log, check)
            results.append(result)
            if not options["json"]:
                self.stdout.write(_line(result))
        if options["json"]:
            self.stdout.write(json.dumps(results, indent=2))
        verdicts = {result["sound"] for result in results}
        code = BROKEN if False in verdicts else CANNOT_TELL if None in verdicts else SOUND
        if code:
            wrong = [_line(result) for result in results if result["sound"] is not True]
            raise CommandError("\n".join(wrong), returncode=code)

    def _checks(self, options: dict[str, Any]) -> dict[str, Check]:
        wanted = list(LOGS) if options["log"] == "all" else [options["log"]]
        if options["tiles"] is None:
            if options["key"] is not None:
                raise CommandError("--key goes with --tiles.", returncode=CANNOT_TELL)
            names = [name for log in wanted for name in succession.names(log)]
            return {name: _of_database(name) for name in names}
        try:
            store = stores.open_store(options["tiles"])
            found = fsck_tiles.logs_in(store)
        except stores.StoreUnavailable as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        logs = [log for log in found if generations.log_of(log) in wanted or log == ""]
        if not logs:
            raise CommandError(
                f"There is no copy of the log “{options['log']}” in {store}.",
                returncode=CANNOT_TELL,
            )
        keys = [] if options["key"] is None else _keys(options["key"])
        if keys and len({generations.log_of(log) for log in logs}) > 1:
            raise CommandError("--key is of one log: name it with --log.", returncode=CANNOT_TELL)
        return {log: _of_copy(store, log, keys) for log in logs}

    def _result(self, log: str, check: Check) -> dict[str, Any]:
        result: dict[str, Any] = {"log": log, "sound": None}
        try:
            with Meter(self.stderr, log or "log", "entries") as meter:
                checked = check(meter.show)
        except Broken as error:
            where = {"where": error.place, "leaf": error.leaf, "reason": error.reason}
            return result | {"sound": False} | where
        except (CannotTell, stores.StoreUnavailable, KeyUnusable, DatabaseError) as error:
            return result | {"reason": str(error).strip()}
        return result | {"sound": True} | asdict(checked)


def _of_database(log: str) -> Check:
    def check(progress: fsck.Progress) -> Sound:
        checked = fsck.check_database(log, progress)
        _check_guard(log)
        return checked

    return check


def _check_guard(log: str) -> None:
    """A restored backup is sound in itself: only the guard knows what was signed after it."""
    try:
        if not succession.is_current(log):
            state, is_frozen = guard.open_guard(log).look()
            if state is not None and not is_frozen:
                raise Broken("guard", f"the log “{log}” was continued, and its guard not frozen")
        elif guard.open_guard(log).read() is not None:
            guard.check(log)
        elif tiles.newest_checkpoint(log) is not None:
            raise CannotTell(
                f"the log “{log}” has no guard here, so a restored backup would not be noticed;"
                " all else is sound"
            )
    except guard.GuardUnreadable as error:
        raise CannotTell(str(error)) from error
    except guard.GuardRefused as error:
        raise Broken("guard", str(error)) from error


def _of_copy(store: stores.Store, log: str, keys: Sequence[notes.Verifier]) -> Check:
    return lambda progress: fsck_tiles.check_tiles(store, log, keys, progress)


def _keys(given: str) -> list[notes.Verifier]:
    try:
        text = given if given.count("+") >= 2 else Path(given).read_text()
        return [notes.Verifier.parse(line) for line in text.strip().splitlines() or [""]]
    except (OSError, ValueError) as error:
        raise CommandError(f"--key: {error}", returncode=CANNOT_TELL) from error


def _line(result: dict[str, Any]) -> str:
    name = result["log"] or "the log"
    if result["sound"] is None:
        return f"{name}: cannot tell: {result['reason']}"
    if not result["sound"]:
        return f"{name}: BROKEN: {result['where']}: {result['reason']}"
    more = [
        f"{result[counted]:,} {counted}"
        for counted in ("pending", "checkpoints", "openings", "ahead")
        if result[counted]
    ]
    return f"{name}: sound: " + ", ".join([f"{result['size']:,} entries", *more])
