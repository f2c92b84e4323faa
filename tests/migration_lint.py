"""Lints the SQL of every migration of ours: `python -m tests.migration_lint` (in `make check`)."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from marketplace import devdb

BASE_DIR = Path(__file__).resolve().parent.parent
# PostgreSQL 15 is the oldest that is supported; a lock taken there is the one to judge.
POSTGRES_VERSION = "15.0"
# The last migrations before the first release. They meet an empty database only, so they are
# judged as one script, in which a table that an earlier one made holds no rows to lock or check.
# Every later migration is judged alone. Never moved forward once a release is out.
# These rules guard rows and writers of a table that is there already; a baseline has neither.
RULES_FOR_EXISTING_TABLES = [
    "adding-foreign-key-constraint",
    "adding-required-field",
    "disallowed-unique-constraint",
]
BASELINE = {"marketplace": "0002_walls", "licensing": "0002_walls", "payments": "0002_walls"}


def main() -> int:
    """Have squawk judge the SQL of the baseline and of each migration after it."""
    os.environ["LICET_DATABASE_ROLE"] = devdb.OWNER
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    database = devdb.where(os.environ, BASE_DIR)
    if database.data_dir is not None:
        devdb.ensure(database.data_dir)

    import django

    django.setup()
    squawk = Path(sys.executable).parent / "squawk"
    program = str(squawk) if squawk.exists() else shutil.which("squawk")
    if program is None:
        print("squawk is not installed: run `make .venv/.ready`.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        baseline, later = write_sql(Path(place))
        findings = _lint(program, [baseline], excluded=RULES_FOR_EXISTING_TABLES)
        if later:
            findings |= _lint(program, later, excluded=[])
    print(f"migration lint: the baseline and {len(later)} later migrations", flush=True)
    return findings


def _lint(program: str, files: list[Path], *, excluded: list[str]) -> int:
    config = BASE_DIR / ".squawk.toml"
    # A rule excluded on the command line replaces those of the file, so all of them go there.
    always: list[str] = tomllib.loads(config.read_text(encoding="utf-8"))["excluded_rules"]
    command = [
        program,
        f"--config={config}",
        f"--pg-version={POSTGRES_VERSION}",
        f"--exclude={','.join([*always, *excluded])}",
        *map(str, files),
    ]
    return subprocess.run(command, check=False).returncode


def write_sql(place: Path) -> tuple[Path, list[Path]]:
    """Our own apps' migrations as SQL: the baseline as one script, each later one by itself."""
    from django.apps import apps
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    ours = {config.label for config in apps.get_app_configs() if _is_ours(Path(config.path))}
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
    baseline = place / "baseline.sql"
    baseline.write_text("BEGIN;\n", encoding="utf-8")
    later = []
    for migration, _ in plan:
        label, name = migration.app_label, migration.name
        if label not in ours:
            continue
        text = _sql_of(label, name)
        if name <= BASELINE.get(label, ""):
            lines = [line for line in text.splitlines() if line not in {"BEGIN;", "COMMIT;"}]
            with baseline.open("a", encoding="utf-8") as file:
                file.write(f"-- {label}.{name}\n" + "\n".join(lines) + "\n")
        else:
            later.append(place / f"{label}.{name}.sql")
            later[-1].write_text(text, encoding="utf-8")
    with baseline.open("a", encoding="utf-8") as file:
        file.write("COMMIT;\n")
    return baseline, later


def _sql_of(label: str, name: str) -> str:
    from django.core.management import call_command

    said = io.StringIO()
    call_command("sqlmigrate", label, name, stdout=said, no_color=True)
    return said.getvalue()


def _is_ours(path: Path) -> bool:
    return path.resolve().parent == BASE_DIR


if __name__ == "__main__":
    sys.exit(main())
