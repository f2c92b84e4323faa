"""Dated versions of the API: which there are, which a request has, and how its answer says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import http_date

from marketplace.errors import ApiVersionUnknown

HEADER = "Licet-Version"
PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
GUIDE = "/docs/guide/versions/"
# What there was before versions had dates: of keys and answers that name none.
FIRST = "2026-11-28"


@dataclass(frozen=True, slots=True)
class Version:
    """What the API promises from one day on, until another version changes it."""

    # YYYY-MM-DD. Text, as clients send it: as such, dates are in their order, too.
    date: str
    # What it changed, for the changelog in the guide.
    summary: str
    # From then on, it may be gone. Only of those that a newer one stands beside.
    sunset: datetime | None = None


_VERSIONS = (Version(FIRST, "The first version."),)


def known() -> tuple[Version, ...]:
    """Every version that is answered, the newest last. All else here asks this."""
    return _VERSIONS


def newest() -> Version:
    """What whoever names none gets, and what the documents describe."""
    return known()[-1]


def find(date: str) -> Version | None:
    return next((each for each in known() if each.date == date), None)


def named() -> str:
    """The dates of all versions, for a sentence."""
    return ", ".join(each.date for each in known())


# --- a request's version ----------------------------------------------------------------------


def settle(request: HttpRequest, pinned: str | None) -> Version:
    """Find the version in which a request is answered, and note it for its answer.

    It is the one that its header names, else the one its key is `pinned` to, else the newest.
    Raises ApiVersionUnknown.
    """
    asked = request.headers.get(HEADER)
    wanted = pinned if asked is None else asked
    version = newest() if wanted is None else find(wanted)
    if version is None:
        says = f"There is no version “{wanted[:40]}” of the API" if wanted else "Name a version"
        whose = ": the key is pinned to one that is gone" if asked is None else ""
        way_out = "or leave it out for the version of your key" if whose == "" else "or make a key"
        raise ApiVersionUnknown(
            f"{says}{whose}. Send {HEADER} with one of these, {way_out}: {named()}.",
            param=HEADER,
            known=[each.date for each in known()],
        )
    return _note(request, version)


def given(request: HttpRequest, date: str) -> None:
    """Note that what answers a request was written before, in the version of this date."""
    _note(request, find(date) or Version(date, ""))


def of(request: HttpRequest) -> Version:
    """The version of a request's answer, also where nobody settled it: a refusal at the door."""
    settled: Version | None = getattr(request, "api_version", None)
    return settled or find(request.headers.get(HEADER, "")) or newest()


def _note(request: HttpRequest, version: Version) -> Version:
    request.api_version = version  # type: ignore[attr-defined]
    return version


# --- what older versions look like --------------------------------------------------------------

# Of serializers and bodies: what stands for them in a version, and in those before it as far as
# the entry with the next earlier date.
Older = Mapping[type[Any], Mapping[str, type[Any]]]


def shape(kind: type[Any], version: Version | None, older: Older) -> type[Any]:
    """What stands for a serializer, or a body, in a version; None is the newest."""
    dates = older.get(kind)
    if version is None or not dates:
        return kind
    last = min((date for date in dates if version.date <= date), default=None)
    return kind if last is None else dates[last]


# --- answers ----------------------------------------------------------------------------------


def say(request: HttpRequest, response: HttpResponseBase) -> None:
    """Put a request's version on its answer; and where it will end, until when it is there.

    Deprecation: RFC 9745; Sunset, and a link to what to do: RFC 8594.
    """
    version = of(request)
    response[HEADER] = version.date
    if version.sunset is None:
        return
    response["Deprecation"] = f"@{int(_succeeded_at(version).timestamp())}"
    response["Sunset"] = http_date(version.sunset.timestamp())
    before = f"{response['Link']}, " if response.has_header("Link") else ""
    response["Link"] = f'{before}<{GUIDE}>; rel="sunset"'


def _succeeded_at(version: Version) -> datetime:
    """When the next version came, which everybody new begins with."""
    following = min(each.date for each in known() if each.date > version.date)
    day = date.fromisoformat(following)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
