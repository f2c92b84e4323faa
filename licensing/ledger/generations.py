"""The names of a log's generations: `live`, and `live/2`, which continues it since it was frozen.

What an entry says is its log; where it has its place is a generation of that log. The name is the
end of the generation's origin, and its address below /ledger/.
"""

from __future__ import annotations

import re

from licensing.ledger.commitments import LOGS

# Four digits: nobody will freeze a log more often.
_NAME = re.compile(rf"({'|'.join(LOGS)})(?:/([2-9]|[1-9][0-9]{{1,3}}))?")
_NUMBER = re.compile(r"[2-9]|[1-9][0-9]{1,3}")

# The name's longest, as the tables have room for it.
NAME_MAX = 9


def name(log: str, number: int) -> str:
    """The name of a log's generation, from 1."""
    return log if number == 1 else f"{log}/{number}"


def parse(name: str) -> tuple[str, int] | None:
    """The log and the generation's number; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return None if found is None else (found[1], int(found[2] or 1))


def log_of(name: str) -> str:
    """The log, as its entries say it."""
    return name.partition("/")[0]


def number_of(name: str) -> int:
    return int(name.partition("/")[2] or 1)


def next_of(name: str) -> str:
    """The name of the generation that continues this one once it is frozen."""
    return f"{log_of(name)}/{number_of(name) + 1}"


def before(name: str) -> str | None:
    """The name of the generation that this one continues; None of the first."""
    log, number = log_of(name), number_of(name)
    return None if number == 1 else log if number == 2 else f"{log}/{number - 1}"


def file_name(name: str) -> str:
    """How files are named that lie beside each other: keys and guards."""
    return name.replace("/", "-")


def of_origin(origin: str) -> tuple[str, int] | None:
    """The origin of the first generation, and the number: of `…/<log>` or `…/<log>/<number>`.

    None where it is of no log.
    """
    head, _slash, last = origin.rpartition("/")
    if last in LOGS:
        return origin, 1
    is_later = head.rpartition("/")[2] in LOGS and _NUMBER.fullmatch(last)
    return (head, int(last)) if is_later else None


def next_origin(origin: str) -> str:
    """The origin of the generation that continues the one of this origin."""
    first, number = of_origin(origin) or (origin, 1)
    return f"{first}/{number + 1}"


def log_of_origin(origin: str) -> str | None:
    """The log whose generation has this origin; None where it is of no log."""
    found = of_origin(origin)
    return None if found is None else found[0].rpartition("/")[2]
