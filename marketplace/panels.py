"""Panels: what dashboards show. Apps register theirs in `AppConfig.ready()`; sites show them.

A panel reads plain numbers in at most two queries, in the transaction of who looks: a tenant's
under row-level security, or one that sees all tenants, which operators' pages open. What is made of
the numbers (a sentence, a chart, a table, files) is made here, the same for all.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db import connection
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from marketplace import charts, csv_cells, preferences
from marketplace.access import Caller, Scope
from marketplace.errors import NotFound
from marketplace.money import CURRENCIES

MONTHS = 12


class Section(StrEnum):
    """Whose pages a panel is on."""

    STUDIO = "studio"  # who licenses out
    LICENSES = "licenses"  # who licenses in
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Period:
    """Whole months of a time zone, the last one still running. `months`: when each begins."""

    months: tuple[datetime, ...]
    ends_at: datetime

    @property
    def begins_at(self) -> datetime:
        return self.months[0]

    @property
    def days(self) -> tuple[date, ...]:
        """The first day of each month, as the zone has it."""
        return tuple(month.date() for month in self.months)


def last_months(
    count: int = MONTHS, *, zone: tzinfo | None = None, now: datetime | None = None
) -> Period:
    """This month and those before it, as they begin where the viewer is."""
    zone = zone or timezone.get_current_timezone()
    here = (now or timezone.now()).astimezone(zone)
    number = here.year * 12 + here.month - 1
    begins = [
        datetime(one // 12, one % 12 + 1, 1, tzinfo=zone)
        for one in range(number - count + 1, number + 2)
    ]
    return Period(tuple(begins[:-1]), begins[-1])


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks (None: an operator), in which mode, about when. `now` is when it was asked."""

    caller: Caller | None
    livemode: bool
    period: Period
    now: datetime

    @property
    def values(self) -> dict[str, Any]:
        """Names for a panel's query. `months` are for `width_bucket`."""
        return {
            "organization": None if self.caller is None else self.caller.organization.pk,
            "livemode": self.livemode,
            "log": "live" if self.livemode else "test",
            "now": self.now,
            "begins_at": self.period.begins_at,
            "ends_at": self.period.ends_at,
            "months": list(self.period.months),
        }


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of its currency."""

    minor: int
    currency: str


# What stands in a table: text, a count, an amount, an instant, a day, an age, or nothing.
Cell = str | int | Money | datetime | date | timedelta | None


@dataclass(frozen=True, slots=True)
class Line:
    """A value for each month. `unit`: a currency, whose minor units they are in; "" for counts."""

    label: str
    unit: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Lines over the months of a period. No more than two of one unit."""

    sentence: str
    months: tuple[date, ...]
    lines: tuple[Line, ...]

    @property
    def is_empty(self) -> bool:
        return not any(any(line.values) for line in self.lines)


@dataclass(frozen=True, slots=True)
class Figure:
    """One named number; `unit` as in lines."""

    label: str
    value: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Stat:
    """Named numbers. `heading` says what the names are of."""

    sentence: str
    heading: str
    figures: tuple[Figure, ...]

    @property
    def is_empty(self) -> bool:
        return not any(figure.value for figure in self.figures)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to read. No chart is made of it. `is_cut`: there are more than are shown."""

    sentence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_cut: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.rows


Answer = Series | Stat | Table


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of a dashboard. `empty` says what to do where there is nothing to show yet."""

    key: str
    title: Any
    section: Section
    # What a member's role must let them read; None: an operator's, whom the site has let in.
    scope: Scope | None
    empty: Any
    read: Callable[[Question], Answer]
    # The order; those below FIRST_PAGE are on a site's first page, all are on the page of panels.
    place: int


# Places below this one are on the first page: at most six of each section.
FIRST_PAGE = 100
_PANELS: dict[tuple[Section, str], Panel] = {}


def register(*panels: Panel) -> None:
    """Take panels in. In `AppConfig.ready()`; the same key again is refused."""
    for panel in panels:
        assert (panel.scope is None) == (panel.section is Section.OPERATOR), panel.key
        assert (panel.section, panel.key) not in _PANELS, f"There are two panels “{panel.key}”."
        _PANELS[panel.section, panel.key] = panel


def of(section: Section, caller: Caller | None, *, first_page: bool = False) -> list[Panel]:
    """The panels of a section that a caller may see, in their order."""
    return [
        panel
        for panel in sorted(_PANELS.values(), key=lambda one: (one.place, one.key))
        if panel.section is section
        and _is_seen(panel, caller)
        and (not first_page or panel.place < FIRST_PAGE)
    ]


def find(section: Section, caller: Caller | None, key: str) -> Panel:
    """One of them. Raises NotFound, also for what the caller may not see."""
    panel = _PANELS.get((section, key))
    if panel is None or not _is_seen(panel, caller):
        raise NotFound(_("There is no panel “%(key)s”.") % {"key": key})
    return panel


def ask(
    caller: Caller | None, *, livemode: bool | None = None, period: Period | None = None
) -> Question:
    """A question about the last twelve months, in the caller's mode; operators say which mode."""
    if caller is not None:
        assert livemode is None or livemode == caller.livemode, "A caller is of one mode."
        livemode = caller.livemode
    return Question(caller, bool(livemode), period or last_months(), timezone.now())


def fetch(sql: str, question: Question, **more: Any) -> list[tuple[Any, ...]]:
    """Run one query of a panel, in the transaction that is open: whoever shows it has opened it."""
    assert connection.in_atomic_block, "A panel reads inside the transaction of who looks."
    with connection.cursor() as cursor:
        cursor.execute(sql, {**question.values, **more})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def by_month(question: Question, found: Iterable[tuple[int, str, int]]) -> dict[str, list[int]]:
    """Values by unit and month, of (number of the month from 1, unit, value): 0 where none is."""
    values: dict[str, list[int]] = {}
    for month, unit, value in found:
        line = values.setdefault(unit, [0] * len(question.period.months))
        line[month - 1] += int(value)
    return dict(sorted(values.items()))


def _is_seen(panel: Panel, caller: Caller | None) -> bool:
    if panel.scope is None:
        return caller is None
    return caller is not None and caller.may(panel.scope)


# --- in words ---------------------------------------------------------------------------------


def money_text(minor: int, currency: str) -> str:
    """An amount as the viewer writes it: `1,250.00 USD`, `1.250,00 $`."""
    return preferences.amount(minor, currency)


def count_text(value: int) -> str:
    return preferences.number(value)


def sums_text(sums: Iterable[tuple[str, int]]) -> str:
    """Amounts of several currencies, each by itself: they are never added up."""
    written = [money_text(minor, currency) for currency, minor in sums]
    if len(written) < 2:
        return "".join(written)
    return _("%(most)s and %(last)s") % {"most": ", ".join(written[:-1]), "last": written[-1]}


def age_text(age: timedelta) -> str:
    """How long, in its largest whole unit."""
    seconds = max(0, int(age.total_seconds()))
    if seconds >= 2 * 86_400:
        return ngettext("%(n)d day", "%(n)d days", seconds // 86_400) % {"n": seconds // 86_400}
    if seconds >= 2 * 3_600:
        return ngettext("%(n)d hour", "%(n)d hours", seconds // 3_600) % {"n": seconds // 3_600}
    if seconds >= 2 * 60:
        return ngettext("%(n)d minute", "%(n)d minutes", seconds // 60) % {"n": seconds // 60}
    return ngettext("%(n)d second", "%(n)d seconds", seconds) % {"n": seconds}


def cell_text(cell: Cell) -> str:
    """A cell as people read it, times in their zone."""
    match cell:
        case None:
            return "–"
        case Money(minor=minor, currency=currency):
            return money_text(minor, currency)
        case int():
            return count_text(cell)
        case datetime():
            return preferences.moment(cell)
        case date():
            return preferences.date_text(cell)
        case timedelta():
            return age_text(cell)
        case _:
            return cell


def _short(unit: str) -> Callable[[int], str]:
    """Writes values on charts: without digits that do not matter there."""

    def write(value: int) -> str:
        exponent = CURRENCIES[unit].exponent if unit else 0
        amount = Decimal(value).scaleb(-exponent)
        for reach, word in ((10**9, _("%(number)sB")), (10**6, _("%(number)sM"))):
            if abs(amount) >= reach:
                digits = preferences.number(amount / reach, 1)
                return word % {"number": digits}
        is_whole = abs(amount) >= 100 or amount == amount.to_integral_value()
        places = 0 if is_whole else exponent
        return preferences.number(round(amount, places), places)

    return write


def _full(unit: str) -> Callable[[int], str]:
    return (lambda value: money_text(value, unit)) if unit else count_text


# --- what is shown ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chart:
    """The drawing of one unit; two currencies never share an axis."""

    unit: str
    title: str
    description: str
    drawing: charts.Drawing
    svg: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel with its answer, as `panels/panel.html` reads it."""

    panel: Panel
    answer: Answer
    charts: tuple[Chart, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def is_table(self) -> bool:
        return isinstance(self.answer, Table)


def show(panel: Panel, question: Question) -> Shown:
    """Read a panel, and make of it what a page shows."""
    answer = panel.read(question)
    columns, rows = table(answer)
    written = tuple(tuple(cell_text(cell) for cell in row) for row in rows)
    return Shown(panel, answer, drawn(panel, answer), columns, written)


def table(answer: Answer) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    """The same numbers as a table: its columns, and its rows."""
    match answer:
        case Table(columns=columns, rows=rows):
            return columns, rows
        case Stat(heading=heading, figures=figures):
            cells = tuple((one.label, _cell(one.value, one.unit)) for one in figures)
            return (heading, _("Value")), cells
        case Series(months=months, lines=lines):
            names = (_("Month"), *(line.label for line in lines))
            return names, tuple(
                (
                    str(date_format(month, "YEAR_MONTH_FORMAT")),
                    *(_cell(line.values[n], line.unit) for line in lines),
                )
                for n, month in enumerate(months)
            )


def drawn(panel: Panel, answer: Answer) -> tuple[Chart, ...]:
    """A chart for each unit; none of a table, or of nothing."""
    if isinstance(answer, Table) or answer.is_empty:
        return ()
    found = []
    if isinstance(answer, Series):
        labels = [str(date_format(month, "M")) for month in answer.months]
        for unit in dict.fromkeys(line.unit for line in answer.lines):
            of_it = [(line.label, line.values) for line in answer.lines if line.unit == unit]
            drawing = charts.columns(labels, of_it, write=_short(unit))
            found.append(_chart(panel, answer, unit, drawing))
    else:
        for unit in dict.fromkeys(figure.unit for figure in answer.figures):
            figures = [(one.label, one.value) for one in answer.figures if one.unit == unit]
            found.append(_chart(panel, answer, unit, charts.rows(figures, write=_full(unit))))
    return tuple(found)


def file_drawing(chart: Chart) -> charts.Drawing:
    """A chart as an image of its own, with its title."""
    return charts.headed(chart.drawing, chart.title)


def csv_text(answer: Answer) -> str:
    """The table as CSV (RFC 4180): amounts in whole currency units beside their currency, months
    as 2026-11, instants as ISO 8601 in UTC.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    columns, rows = table(answer)
    if isinstance(answer, Series):
        rows = tuple(
            (f"{month:%Y-%m}", *row[1:]) for month, row in zip(answer.months, rows, strict=True)
        )
    amounts = {n for row in rows for n, cell in enumerate(row) if isinstance(cell, Money)}
    target = io.StringIO()
    writer = csv_cells.Writer(target)
    heading = []
    for n, name in enumerate(columns):
        heading += [name, _("Currency")] if n in amounts else [name]
    writer.row(heading)
    for row in rows:
        written = []
        for n, cell in enumerate(row):
            written += _csv_cell(cell, has_currency=n in amounts)
        writer.row(written)
    return target.getvalue()


def _csv_cell(cell: Cell, *, has_currency: bool) -> list[str]:
    match cell:
        case Money(minor=minor, currency=currency):
            amount = f"{Decimal(minor).scaleb(-CURRENCIES[currency].exponent):f}"
            return [csv_cells.Number(amount), currency]
        case None:
            text = ""
        case datetime():
            text = f"{cell.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case date():
            text = cell.isoformat()
        case timedelta():
            text = str(max(0, int(cell.total_seconds())))
        case int():
            text = csv_cells.Number(cell)
        case _:
            text = cell
    return [text, ""] if has_currency else [text]


def _cell(value: int, unit: str) -> Cell:
    return Money(value, unit) if unit else value


def _chart(panel: Panel, answer: Answer, unit: str, drawing: charts.Drawing) -> Chart:
    title = f"{panel.title}, {unit}" if unit else str(panel.title)
    description = _("%(sentence)s The table below has the same numbers.") % {
        "sentence": answer.sentence
    }
    id = f"{panel.section}-{panel.key}" + (f"-{unit.lower()}" if unit else "")
    return Chart(
        unit, title, description, drawing,
        charts.svg(drawing, id=id, title=title, description=description),
    )  # fmt: skip
