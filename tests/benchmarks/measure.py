"""What every figure needs: clocks, rounds, connections to the scratch database, and its line."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import django
import psycopg
from django.conf import settings
from django.db import connection

from marketplace import devdb


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside its limit, which was measured in the same run.

    `ratio` is the share of the limit that was reached (1: as good as the limit); goals that are
    no ratio name their unit. Without a goal, `holds` is null.
    """

    figure: str
    value: float
    unit: str
    limit: float
    ratio: float
    goal: str | None = None
    holds: bool | None = None

    def line(self) -> str:
        return json.dumps(
            {
                name: round(value, 4) if isinstance(value, float) else value
                for name, value in asdict(self).items()
            }
        )


def set_up() -> None:
    """Start Django as production runs it: in debug mode it keeps every statement, with its time."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    # For the embedded database and the fixed development secrets.
    os.environ.setdefault("LICET_DEBUG", "1")
    settings.DEBUG = False
    django.setup()


def progress(text: str) -> None:
    """Say on the side what is being done: standard output carries the figures alone."""
    print(text, file=sys.stderr, flush=True)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def connect(role: str) -> psycopg.Connection[Any]:
    """A plain connection to the scratch database; every statement commits."""
    url = os.environ["DATABASE_URL"]
    return psycopg.connect(url, options=f"-c role={role} -c timezone=UTC", autocommit=True)


def owner() -> psycopg.Connection[Any]:
    """A connection that may load and change anything."""
    return connect(devdb.OWNER)


def app() -> psycopg.Connection[Any]:
    """A connection that is held by the same walls as the server."""
    return connect(devdb.APP)


def django_backend() -> int:
    """The process that serves Django's connection of this thread."""
    connection.ensure_connection()
    return int(connection.connection.info.backend_pid)


@dataclass(frozen=True, slots=True)
class CpuClock:
    """Processor seconds of this process and of its PostgreSQL backend: neighbors don't count."""

    backend: int

    def read(self) -> float:
        return time.process_time() + process_cpu_seconds(self.backend)


def peak_resident_mib() -> float:
    """The most memory that this process ever held.

    Not `ru_maxrss`, which a new process inherits from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not say how much memory a process held")


def process_cpu_seconds(pid: int) -> float:
    """Used by a process so far: nanoseconds where the kernel counts them, else ticks of 10 ms."""
    process = Path("/proc", str(pid))
    if not process.exists():
        raise RuntimeError("the database's processes must run here for their time to be read")
    exact = Path(process, "schedstat")
    if exact.exists():
        return int(exact.read_text().split()[0]) / 1e9
    # After the name, which may contain spaces: user and system time are fields 14 and 15.
    fields = Path(process, "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
