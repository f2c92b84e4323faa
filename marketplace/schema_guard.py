"""Whether this Licet may work on this database: migrations are compared by name, at each start."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.db import connection
from django.utils.translation import gettext as _

# Of this code; the same as in pyproject.toml.
VERSION: Final = "0.1.0"
# The oldest release whose code runs on this code's tables. Migrations keep the release before
# working (they add, fill, and require in the release after), so this is that one; the first
# release has none before it.
SERVES_FROM: Final = "0.1.0"

# Stands in a database from the beginning of its restore until those who were erased since the
# backup are erased again.
RESTORE_TABLE: Final = "licet_restore"

Names = frozenset[str]

_LOOK = """
SELECT to_regclass('public.django_migrations') IS NOT NULL,
    to_regclass('public.licet_restore') IS NOT NULL,
    obj_description(to_regclass('public.django_migrations'), 'pg_class')
"""
_APPLIED = "SELECT app || '.' || name FROM django_migrations"


class SchemaRefused(Exception):
    """This code must not work on this database. Says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Stand:
    """The database's migrations beside this code's."""

    # Applied, and unknown to this code.
    ahead: tuple[str, ...]
    # Of this code, and not applied.
    behind: tuple[str, ...]
    # What the newest Licet that migrated it wrote about itself; {} where none did.
    said: dict[str, str]
    is_restoring: bool

    @property
    def runs_older(self) -> bool:
        """Whether the newer release that made these tables says that this one runs on them."""
        version = _numbers(self.said.get("version", ""))
        oldest = _numbers(self.said.get("serves_from", ""))
        # Without numbers it says nothing: an empty tuple would come before every release.
        if not version or not oldest:
            return False
        # Two unequal sets of migrations under one version are no releases.
        return oldest <= _numbers(VERSION) < version


def known() -> Names:
    """Every migration of this code, as “app.name”. Reads file names only: imports nothing."""
    return frozenset(
        f"{config.label}.{module.name}"
        for config in apps.get_app_configs()
        if (place := Path(config.path, "migrations")).is_dir()
        for module in pkgutil.iter_modules([str(place)])
        if module.name[0] not in "_~"
    )


def look() -> Stand:
    """Compare the database with this code. Two queries; changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK)
        has_table, is_restoring, text = cursor.fetchone() or (False, False, None)
        applied: Names = frozenset()
        if has_table:
            cursor.execute(_APPLIED)
            applied = frozenset(name for (name,) in cursor.fetchall())
    ours = known()
    return Stand(
        ahead=tuple(sorted(applied - ours)),
        behind=tuple(sorted(ours - applied)),
        said=_said(text),
        is_restoring=is_restoring,
    )


def check(*, serves: bool = False) -> Stand:
    """Raise SchemaRefused unless this code may work here; `serves`: on behalf of others, too.

    A database that a newer release has migrated is served only where that release says so:
    api_docs/decisions/0013-old-code-on-new-tables.md.
    """
    found = look()
    if found.is_restoring and serves:
        raise SchemaRefused(
            _(
                "The restore of this database was not finished, and people who were erased may be"
                " in it again: run manage.py restore FILE once more."
            )
        )
    if found.ahead and not found.runs_older:
        raise SchemaRefused(unknown(found.ahead))
    if found.behind:
        raise SchemaRefused(
            _(
                "The database lacks %(migration)s%(more)s, which this Licet (%(version)s) needs:"
                " run manage.py migrate."
            )
            % {
                "migration": found.behind[0],
                "more": _more(found.behind),
                "version": VERSION,
            }
        )
    return found


def unknown(migrations: Iterable[str]) -> str:
    """What is said of a database whose migrations this code does not know."""
    names = sorted(migrations)
    return _(
        "The database has %(migration)s%(more)s, which this Licet (%(version)s) does not know:"
        " start the newer one, or restore a backup made before it."
    ) % {"migration": names[-1], "more": _more(names), "version": VERSION}


def note_version() -> None:
    """Write into the database whose tables these are, once all migrations are applied. As owner.

    An older Licet that finds nothing to apply leaves the newer one's word alone.
    """
    found = look()
    if found.ahead or found.behind:
        return
    text = json.dumps({"version": VERSION, "serves_from": SERVES_FROM}, sort_keys=True)
    with connection.cursor() as cursor:
        # Not a row: a row would need a migration, and a restore would bring an old one back.
        cursor.execute(f"COMMENT ON TABLE django_migrations IS '{text}'")


def _more(names: Iterable[str]) -> str:
    count = len(list(names)) - 1
    return _(" (and %(count)s more)") % {"count": count} if count else ""


def _said(text: str | None) -> dict[str, str]:
    try:
        said: Any = json.loads(text or "{}")
        return {str(name): str(value) for name, value in said.items()}
    except (ValueError, AttributeError):
        return {}


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        return ()
