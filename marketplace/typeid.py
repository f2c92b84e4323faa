"""Identifiers: UUIDv7 in the database, TypeIDs (`grt_01j…`) wherever somebody looks."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext_lazy as _

# Crockford's base32 in lower case, as the TypeID specification (jetify-com/typeid, v0.3) asks.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
# Two digits at a time: a page of listings holds hundreds of ids.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
SUFFIX_LENGTH = 26
SUFFIX_PATTERN = "[0-7][0-9a-hjkmnp-tv-z]{25}"


class TypeID(uuid.UUID):
    """A UUID that prints with the prefix of what it names. Equals the UUID of the same bits."""

    __slots__ = ("prefix",)
    prefix: str

    def __init__(self, prefix: str, value: uuid.UUID) -> None:
        super().__init__(int=value.int)
        # UUID forbids assignment, so that its hash cannot change; the prefix is no part of it.
        object.__setattr__(self, "prefix", prefix)

    @classmethod
    def new(cls, prefix: str) -> TypeID:
        return cls(prefix, uuid7())

    @classmethod
    def parse(cls, prefix: str, text: str) -> TypeID:
        """Read `prefix_…`. Raises ValueError for another prefix or a malformed suffix."""
        head, _separator, suffix = text.rpartition("_")
        if head != prefix or len(suffix) != SUFFIX_LENGTH or suffix[0] > "7":
            raise ValueError(f"not a {prefix}_ id")
        number = 0
        for character in suffix:
            if character not in _VALUES:
                raise ValueError(f"not a {prefix}_ id")
            number = number << 5 | _VALUES[character]
        return cls(prefix, uuid.UUID(int=number))

    def __str__(self) -> str:
        number, suffix = self.int, ""
        for _position in range(SUFFIX_LENGTH // 2):
            suffix = _PAIRS[number & 1023] + suffix
            number >>= 10
        return f"{self.prefix}_{suffix}"

    def __repr__(self) -> str:
        return f"TypeID({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (TypeID, (self.prefix, uuid.UUID(int=self.int)))


def uuid7() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, 12 of their fraction, 62 random.

    The fraction (6.2, method 3) keeps the order of what one process makes within a millisecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)


def first_at(prefix: str, at: datetime) -> TypeID:
    """What every id that is made from an instant on (to the millisecond) is not smaller than."""
    milliseconds = int(at.timestamp() * 1000)
    return TypeID(prefix, uuid.UUID(int=milliseconds << 80))


@deconstructible
class _New:
    """The default of a primary key: a row knows its id before it is saved."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self) -> TypeID:
        return TypeID.new(self.prefix)


class TypeIDField(models.UUIDField):  # type: ignore[type-arg]
    """A `uuid` column whose Python value is a TypeID. A primary key defaults to a fresh UUIDv7."""

    default_error_messages = {"invalid": _("“%(value)s” is not an id of this kind.")}

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        if kwargs.get("primary_key"):
            kwargs["default"] = _New(prefix)
            kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs["prefix"] = self.prefix
        if self.primary_key:
            kwargs.pop("default", None)
            kwargs.pop("editable", None)
        return name, path, args, kwargs

    def from_db_value(self, value: uuid.UUID | None, *_context: Any) -> TypeID | None:
        return None if value is None else TypeID(self.prefix, value)

    def to_python(self, value: Any) -> TypeID | None:
        if value is None or (isinstance(value, TypeID) and value.prefix == self.prefix):
            return value
        try:
            if isinstance(value, TypeID):
                raise ValueError("an id of another kind")
            if isinstance(value, uuid.UUID):
                return TypeID(self.prefix, value)
            return TypeID.parse(self.prefix, str(value))
        except ValueError as error:
            raise ValidationError(
                self.error_messages["invalid"], code="invalid", params={"value": value}
            ) from error
