"""Reading a client's JSON strictly: each refusal names the place of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from django.utils.translation import gettext as _

from licensing import terms_schema as schema
from licensing import vocabulary
from marketplace.errors import InvalidInput

W = TypeVar("W", bound=StrEnum)

# How much of an unknown field's name a refusal repeats.
NAME_SHOWN_MAX = 100


def read(value: Any, kind: schema.Kind, path: str) -> None:
    """Check a value against the schema. Raises InvalidInput naming the place."""
    match kind:
        case schema.Word(words):
            word(value, words, path)
        case schema.Words(words, least):
            _words(value, words, path, least=least)
        case schema.Whole(least, most, null):
            if not (null and value is None):
                whole(value, path, least, most)
        case schema.Names():
            _names(value, kind, path)
        case schema.Territories(least):
            territories(value, path, least=least)
        case schema.Law():
            _law(value, path)
        case schema.Objects(of, least, most):
            for place, item in enumerate(listed(value, path, least=least, most=most)):
                read(item, of, f"{path}[{place}]")
        case schema.Object():
            _object(value, kind, path)


def fields(
    value: Any, path: str, required: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """An object that has every required field, and none that is unknown."""
    if not isinstance(value, dict):
        raise InvalidInput(_("Give an object."), param=path)
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join([*required, *optional])
            raise InvalidInput(
                _("This field is unknown. Known: %(known)s.") % {"known": known},
                param=f"{path}.{str(name)[:NAME_SHOWN_MAX]}",
            )
    for name in required:
        if name not in value:
            raise InvalidInput(_("This field is required."), param=f"{path}.{name}")
    return value


def listed(value: Any, path: str, *, least: int = 0, most: int = schema.CLAUSES_MAX) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise InvalidInput(
            _("Give a list of %(least)s to %(most)s.") % {"least": least, "most": most}, param=path
        )
    return value


def word(value: Any, kind: type[W], path: str) -> W:
    check_word(value, [word.value for word in kind], path)
    return kind(value)


def uses(value: Any, path: str) -> tuple[vocabulary.Use, ...]:
    return _words(value, vocabulary.Use, path, least=1)


def territories(value: Any, path: str, *, least: int = 1) -> tuple[str, ...]:
    found = listed(value, path, least=least, most=schema.TERRITORIES_MAX)
    for place, code in enumerate(found):
        check_territory(code, f"{path}[{place}]")
    refuse_repeats(found, path)
    return tuple(found)


def whole(value: Any, path: str, least: int, most: int) -> int:
    # bool is an int to Python: true is not a number of days.
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(
            _("Give a whole number from %(least)s to %(most)s.") % {"least": least, "most": most},
            param=path,
        )
    return value


def optional_whole(value: Any, path: str, least: int, most: int) -> int | None:
    return None if value is None else whole(value, path, least, most)


def check_word(value: Any, known: Sequence[str], path: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(
            _("“%(value)s” is unknown. Use one of: %(known)s.")
            % {"value": str(value)[:100], "known": ", ".join(known)},
            param=path,
        )


def check_words(values: Sequence[str], known: Sequence[str], path: str) -> None:
    for place, value in enumerate(several(values, path)):
        check_word(value, known, f"{path}[{place}]")


def check_territory(code: Any, path: str) -> None:
    if not isinstance(code, str) or not vocabulary.is_territory(code):
        raise InvalidInput(
            _(
                "“%(code)s” is unknown. Use an ISO 3166-1 alpha-2 code such as “DE”, “EU”, or “*”"
                " for the whole world. Known: %(known)s."
            )
            % {
                "code": str(code)[:100],
                "known": " ".join([*vocabulary.GROUPS, *vocabulary.COUNTRY_NUMBERS]),
            },
            param=path,
        )


def several(values: Sequence[str], path: str) -> Sequence[str]:
    if not values:
        raise InvalidInput(_("Give at least one."), param=path)
    refuse_repeats(values, path)
    return values


def refuse_repeats(values: Sequence[str], path: str) -> None:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise InvalidInput(
                _("“%(value)s” stands here twice.") % {"value": value}, param=f"{path}[{place}]"
            )


def is_line(value: Any, length: int) -> bool:
    """Whether a value is text that stays on its line, and inside its quotation marks."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= length
        and value.isprintable()
        and value == value.strip()
        and not {"“", "”"} & set(value)
    )


def _words(value: Any, kind: type[W], path: str, *, least: int) -> tuple[W, ...]:
    given = listed(value, path, least=least)
    found = tuple(word(each, kind, f"{path}[{place}]") for place, each in enumerate(given))
    refuse_repeats(given, path)
    return found


def _names(value: Any, kind: schema.Names, path: str) -> None:
    given = listed(value, path, least=kind.least, most=kind.most)
    for place, name in enumerate(given):
        if not is_line(name, kind.length):
            raise InvalidInput(
                _(
                    "Give up to %(max)s printable characters on one line, without curly quotation"
                    " marks or spaces around them."
                )
                % {"max": kind.length},
                param=f"{path}[{place}]",
            )
        if kind.pattern and not re.fullmatch(kind.pattern, name):
            raise InvalidInput(
                _("Write it as in “%(example)s”.") % {"example": kind.example},
                param=f"{path}[{place}]",
            )
    refuse_repeats(given, path)


def _law(value: Any, path: str) -> None:
    if value is None:
        return
    known = isinstance(value, str) and re.fullmatch("[A-Z]{2}(-[A-Z0-9]{1,3})?", value)
    if not known or value[:2] not in vocabulary.COUNTRY_NUMBERS:
        raise InvalidInput(
            _(
                "“%(value)s” is no jurisdiction. Use ISO 3166-1 alpha-2 such as “DE”, ISO 3166-2"
                " such as “US-NY”, or null."
            )
            % {"value": str(value)[:100]},
            param=path,
        )


def _object(value: Any, kind: schema.Object, path: str) -> None:
    known = [*kind.fields, *kind.optional]
    always = [name for name, member in kind.fields.items() if member.beside is None]
    given = fields(value, path, always, optional=[name for name in known if name not in always])
    if kind.is_nonempty and not given:
        raise InvalidInput(
            _("Say something: one of %(known)s.") % {"known": ", ".join(known)}, param=path
        )
    for name, member in {**kind.fields, **kind.optional}.items():
        if member.beside is not None:
            _beside(given, name, member.beside, path)
        if name in given:
            read(given[name], member.kind, f"{path}.{name}")


def _beside(
    given: dict[str, Any], name: str, beside: tuple[str, tuple[StrEnum, ...]], path: str
) -> None:
    other, words = beside
    is_due = given[other] in [word.value for word in words]
    if is_due == (name in given):
        return
    where = ", ".join(f"“{word.value}”" for word in words)
    said = (
        _("This field is required beside “%(other)s” %(given)s.")
        if is_due
        else _("This field stands only where “%(other)s” is one of: %(where)s.")
    )
    raise InvalidInput(
        said % {"other": other, "given": f"“{given[other]}”", "where": where},
        param=f"{path}.{name}",
    )
