"""How a person reads pages: in which language, in whose time, with amounts written how."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache

from babel import Locale, UnknownLocaleError, dates, numbers
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation.trans_real import parse_accept_lang_header

from marketplace import account_acts, money
from marketplace.errors import InvalidInput
from marketplace.models import User

# What machines read, and the reference that tells of it: in English, whoever asks.
ENGLISH_PREFIXES = ("/v1/", "/ledger/", "/stripe/", "/docs/", "/static/", "/openapi.json")
ENGLISH_PATHS = frozenset({"/health"})
# In whose manner dates and amounts are written (CLDR's names), beside the language's own.
FORMATS = (
    "de-AT",
    "de-CH",
    "de-DE",
    "en-AU",
    "en-CA",
    "en-GB",
    "en-IE",
    "en-IN",
    "en-US",
    "en-ZA",
    "es-ES",
    "es-MX",
    "fr-CA",
    "fr-CH",
    "fr-FR",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "nl-NL",
    "pl-PL",
    "pt-BR",
    "pt-PT",
    "sv-SE",
    "zh-CN",
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads. `language`: one of LANGUAGES. `formats`: CLDR's name; empty: as in the API."""

    language: str = "en"
    zone: zoneinfo.ZoneInfo | None = None
    formats: str = ""


NOBODY = Viewer()
_viewer: ContextVar[Viewer] = ContextVar("viewer", default=NOBODY)

# --- who reads --------------------------------------------------------------------------------


class ViewerMiddleware:
    """Answer pages as their reader has it, and machines in English, the same for everybody."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_english(request.path_info):
            with viewing(NOBODY):
                return self.get_response(request)
        viewer = of_request(request)
        with viewing(viewer):
            response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Content-Language", viewer.language)
            patch_vary_headers(response, ("Accept-Language",))
        return response


def is_english(path: str) -> bool:
    """Whether what is at this address is never translated."""
    return path in ENGLISH_PATHS or path.startswith(ENGLISH_PREFIXES)


@contextmanager
def viewing(viewer: Viewer) -> Iterator[None]:
    """Speak to this reader until the block ends."""
    token = _viewer.set(viewer)
    try:
        with translation.override(viewer.language), timezone.override(viewer.zone or UTC):
            yield
    finally:
        _viewer.reset(token)


def of_request(request: HttpRequest) -> Viewer:
    """What the person chose; else what the browser asks for; else English, UTC, the API's forms."""
    asked = request.headers.get("Accept-Language", "")
    # Whoever brings no session is nobody: no question to the database.
    user = request.user if settings.SESSION_COOKIE_NAME in request.COOKIES else None
    if not isinstance(user, User):
        return Viewer(_asked_language(asked), None, _asked_formats(asked))
    language = user.language or _asked_language(asked)
    formats = user.formats or (user.language or _asked_formats(asked))
    return Viewer(language, zone_of(user.time_zone), formats)


@contextmanager
def writing_to(address: str) -> Iterator[None]:
    """Write a mail as its recipient reads; whom we do not know, as who causes it.

    Who has an account and chose no language is written to in English, whoever causes it.
    """
    user = User.objects.filter(email=address.strip().lower(), is_active=True).first()
    if user is None:
        yield
        return
    formats = user.formats or user.language
    with viewing(Viewer(user.language or "en", zone_of(user.time_zone), formats)):
        yield


def _asked_language(header: str) -> str:
    offered = {code for code, _name in settings.LANGUAGES}
    for tag, _quality in parse_accept_lang_header(header):
        base = tag.split("-")[0]
        if base in offered:
            return base
    return "en"


def _asked_formats(header: str) -> str:
    for tag, _quality in parse_accept_lang_header(header):
        if tag != "*" and _locale(tag) is not None:
            return tag
    return ""


@cache
def zones() -> frozenset[str]:
    """The names of time zones that people choose from."""
    return frozenset(name for name in zoneinfo.available_timezones() if "/" in name) | {"UTC"}


def zone_of(name: str) -> zoneinfo.ZoneInfo | None:
    """A zone by its name; one that this machine does not know (any more) is none."""
    try:
        return zoneinfo.ZoneInfo(name) if name else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None


# --- what a person chooses --------------------------------------------------------------------


def choose(user: User, *, language: str, time_zone: str, formats: str) -> bool:
    """Keep what a person chose; empty is “as the browser says”. Whether anything changed.

    Raises InvalidInput naming the field.
    """
    if language and language not in dict(settings.LANGUAGES):
        raise InvalidInput(_("Choose one of the languages."), param="language")
    if time_zone and time_zone not in zones():
        raise InvalidInput(
            _("There is no such time zone. Write its name, such as Europe/Berlin."),
            param="time_zone",
        )
    if formats and formats not in FORMATS:
        raise InvalidInput(_("Choose one of the formats."), param="formats")
    chosen = {"language": language, "time_zone": time_zone, "formats": formats}
    with transaction.atomic():
        kept = User.objects.select_for_update(of=("self",)).get(pk=user.pk)
        changed = sorted(name for name, value in chosen.items() if getattr(kept, name) != value)
        if not changed:
            return False
        for name in changed:
            setattr(kept, name, chosen[name])
        kept.save(update_fields=changed)
        account_acts.record(kept, "preferences.changed", fields=changed)
    return True


def format_choices() -> list[tuple[str, str]]:
    """The manners to choose from, each named in the reader's language, with an example."""
    reader = Locale.parse(translation.get_language() or "en", sep="-")
    found = []
    for tag in FORMATS:
        locale = _locale(tag)
        assert locale is not None
        name = locale.get_display_name(reader) or tag
        with viewing(Viewer(formats=tag)):
            found.append((tag, f"{name}: {amount(123_450, 'EUR')}"))
    return sorted(found, key=lambda each: each[1].casefold())


# --- how it is written ------------------------------------------------------------------------


def amount(amount_minor: int, code: str) -> str:
    """Write an amount for the reader: `1.234,50 €`. Exact: decimal digits, never a float."""
    locale = _locale(_viewer.get().formats)
    if locale is None:
        return money.show(amount_minor, code)
    exponent = money.CURRENCIES[code].exponent
    pattern = numbers.parse_pattern(locale.currency_formats["standard"].pattern)
    # As many digits as we count in, whatever the locale thinks of the currency.
    pattern.frac_prec = (exponent, exponent)
    value = Decimal(amount_minor).scaleb(-exponent)
    text = str(pattern.apply(value, locale, currency=code, currency_digits=False))
    # A code of letters keeps its distance from the digits.
    return re.sub(rf"{code}(?=\d)", f"{code}\xa0", text)


def number(value: Decimal | int, places: int = 0) -> str:
    """Write a number for the reader: `1.234,5`."""
    locale = _locale(_viewer.get().formats)
    if locale is None:
        return f"{value:,.{places}f}"
    pattern = "#,##0" + ("." + "0" * places if places else "")
    return str(numbers.format_decimal(value, format=pattern, locale=locale))


def moment(at: datetime) -> str:
    """Write an instant in the reader's zone, which is named: `27.11.2026, 15:04 CET`."""
    local = at.astimezone(timezone.get_current_timezone())
    locale = _locale(_viewer.get().formats)
    if locale is None:
        return f"{local:%Y-%m-%d %H:%M} {zone_name(local)}"
    text = dates.format_datetime(local.replace(tzinfo=None), "short", locale=locale)
    return f"{text} {zone_name(local)}"


def day(at: datetime) -> str:
    """Write the day of an instant in the reader's zone."""
    return date_text(at.astimezone(timezone.get_current_timezone()).date())


def date_text(of: date) -> str:
    """Write a date, which is in no zone."""
    locale = _locale(_viewer.get().formats)
    if locale is None:
        return of.isoformat()
    return dates.format_date(of, "medium", locale=locale)


def country(code: str, english: str) -> str:
    """What a country is called in the reader's language."""
    language = _viewer.get().language
    if language == "en":
        return english
    locale = _locale(language)
    return english if locale is None else locale.territories.get(code, english)


def zone_name(local: datetime) -> str:
    """What a zone is called at an instant: `CET`, or `UTC+03` where it has no name."""
    name = local.tzname() or "UTC"
    return f"UTC{name}" if name[0] in "+-" else name


@cache
def _parsed(tag: str) -> Locale | None:
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def _locale(tag: str) -> Locale | None:
    # What a browser sends is not remembered without a bound: a tag is short, or none of ours.
    return _parsed(tag.lower()) if tag and len(tag) <= 12 and tag.isascii() else None
