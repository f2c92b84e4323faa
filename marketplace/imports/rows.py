"""Rows of tables: which column is which field, and what a row must be to become a work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from marketplace import identifiers
from marketplace.contributors import Person
from marketplace.errors import InvalidInput, printable
from marketplace.feeds import Deletion
from marketplace.imports.engine import NAME_LENGTH_MAX, Rejected
from marketplace.models import COUNT_MAX, Contributor
from marketplace.money import round_half_even
from marketplace.works import EXTERNAL_ID_LENGTH_MAX, LENGTH_MAX, Record, can_be_stored


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a row: how long it may be, and the other names that its column goes by."""

    name: str
    length_max: int
    aliases: tuple[str, ...] = ()
    # For these: the scheme of WorkIdentifier.
    scheme: str = ""


FIELDS = (
    Field("external_id", EXTERNAL_ID_LENGTH_MAX, ("id", "work_id", "identifier")),
    Field("sha256", 100, ("digest", "hash", "checksum", "sha-256", "sha256sum")),
    Field("length", 100, ("bytes", "size", "byte_length", "content_length", "file_size")),
    Field("media_type", 255, ("mime", "mime_type", "mimetype", "content_type", "mediatype")),
    Field("title", 1000, ("name",)),
    Field("source_url", 2000, ("url", "source", "link")),
    Field("language", 35, ("lang", "locale")),
    Field("revision", 200, ("version", "rev")),
    Field("contributor", 200, ("contributor_id", "creator_id", "author_id")),
    Field("contributor_name", 200, ("creator", "author", "creator_name", "author_name")),
    Field("contributor_email", 254, ("creator_email", "author_email", "email")),
    Field("consent", 20, ("contributor_consent",)),
    Field("text_nfc_lf_v1", 1000, ("text-nfc-lf/v1",), identifiers.Scheme.TEXT_NFC_LF),
    Field("iscc", 1000, (), identifiers.Scheme.ISCC),
    Field("identifier_url", 1000, (), identifiers.Scheme.URL),
    Field("isbn", 1000, ("isbn13", "isbn10"), identifiers.Scheme.ISBN),
    Field("isrc", 1000, (), identifiers.Scheme.ISRC),
    Field("pages", 40, ("page_count",)),
    Field("pixels", 40),
    Field("seconds", 40, ("duration_seconds",)),
    Field("tokens", 40, ("token_count",)),
    Field("words", 40, ("word_count",)),
    # For who has no finer count: made pixels and seconds, and passed over beside them.
    Field("megapixels", 40),
    Field("minutes", 40),
    Field("op", 20, ("operation", "action")),
)
NAMES = tuple(field.name for field in FIELDS)
REQUIRED = ("external_id", "sha256", "length")
REQUIRED_OF_A_FEED = ("external_id", "op")
# What tells works from each other, or is of one change alone.
NEVER_CONSTANT = frozenset({"external_id", "sha256", "length", "op"})
_OF_PEOPLE = frozenset({"contributor_name", "contributor_email", "consent"})
# Where nobody says what the bytes are.
MEDIA_TYPE = "application/octet-stream"

_POSITION = {name: n for n, name in enumerate(NAMES)}
_LENGTHS_MAX = tuple(field.length_max for field in FIELDS)
_IDENTIFIERS = tuple(
    (n, field.name, field.scheme) for n, field in enumerate(FIELDS) if field.scheme
)
_FIRST_IDENTIFIER, _LAST_IDENTIFIER = _IDENTIFIERS[0][0], _IDENTIFIERS[-1][0]
_NO_IDENTIFIERS = [""] * len(_IDENTIFIERS)
# What is counted, each by the columns that say it, the finest first, and how many one of them is.
_UNITS = {
    "pages": (("pages", 1),),
    "pixels": (("pixels", 1), ("megapixels", 1_000_000)),
    "seconds": (("seconds", 1), ("minutes", 60)),
    "tokens": (("tokens", 1),),
    "words": (("words", 1),),
}
COUNTED = frozenset(name for columns in _UNITS.values() for name, _scale in columns)
# Where a number may stand for text.
WHOLE_NUMBERS = COUNTED | {"length", "external_id", "revision"}
_FIRST_UNIT, _LAST_UNIT = _POSITION["pages"], _POSITION["minutes"]
_NO_UNITS = [""] * len(COUNTED)

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,18}))?")
# RFC 5646, without the irregular tags of old.
_LANGUAGE = re.compile(
    r"(?:(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4}|[a-z]{5,8})"
    r"(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:-[a-wy-z0-9](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?|x(?:-[a-z0-9]{1,8})+)",
    re.IGNORECASE | re.ASCII,
)
_TOKEN = r"[a-z0-9][a-z0-9!#$&^_.+-]*"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?: ?;[ -~]+)?", re.IGNORECASE | re.ASCII)
_URL = re.compile(r"https?://[^\s/?#\x00-\x20\x7f-\x9f]+[^\s\x00-\x20\x7f-\x9f]*", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_CONSENTS = frozenset(Contributor.Consent.values)

_is_language = lru_cache(4096)(lambda text: _LANGUAGE.fullmatch(text) is not None)
_is_media_type = lru_cache(4096)(lambda text: _MEDIA_TYPE.fullmatch(text) is not None)


class Refused(Exception):
    """A row cannot become a work: the field, the code, and more about it."""

    def __init__(self, field: str, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.field = field
        self.code = code
        self.detail = detail


def known_columns(said: Mapping[str, str], constants: Mapping[str, str] = {}) -> dict[str, str]:
    """Which field each column's name stands for, in order of preference. Raises InvalidInput.

    No column stands for a field that is constant.
    """
    _check_fields(said, "columns")
    _check_constants(constants)
    twice = sorted(set(said) & set(constants))
    if twice:
        raise InvalidInput(
            _("“%(field)s” cannot be a column and a constant.") % {"field": twice[0]},
            param="constants",
        )
    names = {column: field for field, column in said.items()}
    if len(names) < len(said):
        raise InvalidInput(_("One column cannot stand for two fields."), param="columns")
    rest = [field for field in FIELDS if field.name not in {*said, *constants}]
    for field in rest:
        names.setdefault(field.name, field.name)
    for field in rest:
        for alias in field.aliases:
            names.setdefault(alias, field.name)
    return names


def _check_fields(said: Iterable[str], param: str) -> None:
    unknown = sorted(set(said) - set(NAMES))
    if unknown:
        raise InvalidInput(
            _("There is no field “%(name)s”. Use: %(known)s.")
            % {"name": printable(unknown[0][:100]), "known": ", ".join(NAMES)},
            param=param,
        )


def _check_constants(constants: Mapping[str, str]) -> None:
    """Raise InvalidInput for what would be refused in each row, or would make all rows one."""
    _check_fields(constants, "constants")
    own = sorted(set(constants) & NEVER_CONSTANT)
    if own:
        raise InvalidInput(
            _("“%(field)s” is each work's own, and cannot be a constant.") % {"field": own[0]},
            param="constants",
        )
    if not constants:
        return
    row = {"external_id": "x", "sha256": "0" * 64, "length": "1", "op": "upsert"}
    if _OF_PEOPLE & set(constants):
        row |= {"contributor": "x", "contributor_name": "x"}
    row |= constants
    try:
        _read(1, [row.get(name, "") for name in NAMES], feed=False)
    except Refused as refused:
        raise InvalidInput(
            _("“%(value)s” cannot stand for “%(field)s” (%(code)s).")
            % {
                "value": printable(constants.get(refused.field, "")[:100]),
                "field": refused.field,
                "code": refused.code,
            },
            param="constants",
        ) from None


def place(
    header: Sequence[str],
    said: Mapping[str, str],
    *,
    feed: bool,
    constants: Mapping[str, str] = {},
    ignored: Iterable[str] = (),
) -> list[int]:
    """For each of FIELDS, where it stands in the header; -1 where it does not, or is constant.

    Columns in `ignored` stand for nothing, whatever they are called. Raises InvalidInput naming
    the column that is missing, or there twice.
    """
    passed_over = {name.strip() for name in ignored}
    columns = [name.strip() for name in header]
    both = sorted(passed_over & {name.strip() for name in said.values()})
    if both:
        raise InvalidInput(
            _("The column “%(name)s” cannot be ignored and stand for a field.")
            % {"name": printable(both[0][:100])},
            param="ignored",
        )
    # A name that no column has, so that nothing is found there.
    columns = ["\0" if name in passed_over else name for name in columns]
    lowered = [name.lower() for name in columns]
    places = [-1] * len(FIELDS)
    for name, field in known_columns(said, constants).items():
        within, sought = (columns, name) if field in said else (lowered, name.lower())
        if places[_POSITION[field]] >= 0 or sought not in within:
            continue
        if within.count(sought) > 1:
            raise InvalidInput(
                _("The column “%(name)s” is there twice.") % {"name": printable(name[:100])},
                param="columns",
            )
        places[_POSITION[field]] = within.index(sought)
    shown = printable(", ".join(name.strip() for name in header)[:500])
    for field, name in said.items():
        if places[_POSITION[field]] < 0:
            raise InvalidInput(
                _("There is no column “%(name)s”. The file has: %(columns)s.")
                % {"name": printable(name[:100]), "columns": shown},
                param="columns",
                missing=field,
            )
    for field in REQUIRED_OF_A_FEED if feed else REQUIRED:
        if places[_POSITION[field]] < 0:
            raise InvalidInput(
                _(
                    "The column “%(field)s” is missing. The file has: %(columns)s."
                    " Where another one stands for it, say so: --column %(field)s=NAME."
                )
                % {"field": field, "columns": shown},
                param="columns",
                missing=field,
            )
    return places


def entry(line: int, values: list[Any], *, feed: bool) -> Record | Rejected | Deletion:
    """What a row stands for. `values` are text in the order of FIELDS; "" is absent."""
    try:
        return _read(line, values, feed)
    except Refused as refused:
        return Rejected(
            _shown(values[0]), refused.code, refused.detail, field=refused.field, line=line
        )


def _read(line: int, values: list[str], feed: bool) -> Record | Deletion:
    for n, text in enumerate(values):
        if text:
            if len(text) > _LENGTHS_MAX[n]:
                raise Refused(NAMES[n], "field_too_long", f"{len(text)} > {_LENGTHS_MAX[n]}")
            if not text.isprintable():
                _check_characters(NAMES[n], text)
    (external_id, sha256, length, media_type, title, source_url, language, revision) = values[:8]
    if not external_id:
        raise Refused("external_id", "missing")
    if feed:
        operation = values[-1].strip().lower()
        if operation == "delete":
            return Deletion(external_id, line=line)
        if operation != "upsert":
            raise Refused("op", "operation_unknown" if operation else "missing")
    if language and not _is_language(language):
        raise Refused("language", "language_invalid")
    if source_url and not _URL.fullmatch(source_url):
        raise Refused("source_url", "url_invalid")
    if media_type and not _is_media_type(media_type):
        raise Refused("media_type", "media_type_invalid")
    found = values[_FIRST_IDENTIFIER : _LAST_IDENTIFIER + 1]
    counted = values[_FIRST_UNIT : _LAST_UNIT + 1]
    return Record(
        external_id=external_id,
        digest=_digest(sha256),
        length=_length(length),
        media_type=media_type or MEDIA_TYPE,
        custody="reference",
        title=title,
        source_url=source_url,
        language=language,
        revision=revision,
        contributor=values[8],
        person=_person(*values[8:12]),
        identifiers=() if found == _NO_IDENTIFIERS else _identifiers(values),
        units=() if counted == _NO_UNITS else _units(values),
        line=line,
    )


def _check_characters(field: str, text: str) -> None:
    if not can_be_stored(text):
        code = "not_utf8" if _NOT_UTF8.search(text) else "characters_not_allowed"
        raise Refused(field, code)


def _digest(text: str) -> bytes:
    text = text.strip().removeprefix("sha256:")
    if not text:
        raise Refused("sha256", "no_digest")
    if not _HEX.fullmatch(text):
        raise Refused("sha256", "digest_invalid", f"{len(text)} characters")
    return bytes.fromhex(text)


def _length(text: str) -> int:
    text = text.strip()
    if not text:
        raise Refused("length", "missing")
    if not _NUMBER.fullmatch(text):
        raise Refused("length", "not_a_number")
    number = int(text)
    if not 0 < number <= LENGTH_MAX:
        raise Refused("length", "out_of_range", f"not 1 to {LENGTH_MAX}")
    return number


def _person(contributor: str, name: str, email: str, consent: str) -> Person | None:
    if not contributor:
        if name or email or consent:
            raise Refused("contributor", "missing", "what is said needs the contributor's own id")
        return None
    if email and not _EMAIL.fullmatch(email):
        raise Refused("contributor_email", "email_invalid")
    if email and not name:
        raise Refused("contributor_name", "missing", "an email needs a name beside it")
    consent = consent.strip().lower()
    if consent and consent not in _CONSENTS:
        raise Refused("consent", "consent_invalid")
    return Person(name, email, consent)


def _identifiers(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for n, name, scheme in _IDENTIFIERS:
        if values[n]:
            try:
                found.append((scheme, identifiers.normalized(scheme, values[n])))
            except ValueError as error:
                raise Refused(name, "identifier_invalid", str(error)) from None
    return tuple(found)


def _units(values: Sequence[str]) -> tuple[tuple[str, int], ...]:
    found = []
    for unit, columns in _UNITS.items():
        for name, scale in columns:
            text = values[_POSITION[name]].strip()
            if text:
                found.append((unit, _count(name, text, scale)))
                break
    return tuple(found)


def _count(field: str, text: str, scale: int) -> int:
    """A count in whole numbers of the finest unit: 1.5 minutes are 90 seconds, half to even."""
    match = _DECIMAL.fullmatch(text)
    whole, fraction = match.groups(default="") if match else ("", "")
    # Spreadsheets write 250.0; 250.5 tokens there are none.
    if match is None or (scale == 1 and fraction.strip("0")):
        raise Refused(field, "not_a_number")
    number = round_half_even(int(whole + fraction) * scale, 10 ** len(fraction))
    if not 0 < number <= COUNT_MAX:
        raise Refused(field, "out_of_range", f"not 1 to {COUNT_MAX}")
    return number


def _shown(external_id: str) -> str:
    """An external id as the report can hold it."""
    return printable(external_id[:NAME_LENGTH_MAX])
