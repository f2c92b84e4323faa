"""What a request must be before a view reads it: nothing that a client sends is silently ignored.

REST framework's settings name the parser, so this module must not import its views.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote_to_bytes

from rest_framework.parsers import BaseParser

from marketplace.errors import (
    InvalidQuery,
    LengthRequired,
    MalformedRequest,
    RequestTooLarge,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from marketplace.http import TenantViewSet

# What a view reads of a body, unless it says otherwise: a thousand ids of a thousand characters.
BODY_LENGTH_MAX = 1 << 20
# Deeper than anything that we take, and far from where a reader of JSON gives up.
NESTING_MAX = 32


def known_words(name: str, known: Iterable[str]) -> str:
    """The way out for whoever named what there is not: the likeliest name, else all there are."""
    names = list(known)
    if not names:
        return "None are known here."
    # Of a name that fills a body, the beginning: comparing takes its length squared.
    if likely := difflib.get_close_matches(name[:100], names, n=1):
        return f"Did you mean “{likely[0]}”?"
    return f"Known: {', '.join(names)}."


# --- the address ------------------------------------------------------------------------------

# Of each view, action and method: the parameters that its description names.
_parameters: dict[tuple[type, str, str], frozenset[str]] = {}


def check_query(view: TenantViewSet) -> None:
    """Refuse what the address says and the view does not read.

    Known is what the API's document says of the operation, so the two cannot part.
    """
    request = view.request
    if "\x00" in request.path_info:
        raise MalformedRequest("The null character is not allowed.", param="path")
    written = request.META.get("QUERY_STRING", "")
    if not written:
        return
    known = _known(view)
    seen: set[str] = set()
    for part in filter(None, written.encode("latin-1").split(b"&")):
        raw_name, _sign, raw_value = part.partition(b"=")
        name = _text(raw_name, "query")
        _text(raw_value, name)
        if name not in known:
            raise InvalidQuery(
                f"This parameter is unknown here. {known_words(name, sorted(known))}",
                param=name,
            )
        if name == "format" and not raw_value:
            raise InvalidQuery("Give a value, or leave it out.", param=name)
        if name in seen:
            raise InvalidQuery("Give this parameter once.", param=name)
        seen.add(name)


def _known(view: TenantViewSet) -> frozenset[str]:
    method = "GET" if view.request.method == "HEAD" else str(view.request.method)
    key = type(view), view.action, method
    if view.action in {None, "metadata"}:  # a method that there is not
        return frozenset()
    if key not in _parameters:
        # What `extend_schema` left at the action, else what the view has for all of them.
        of_action = getattr(getattr(type(view), view.action), "kwargs", {}).get("schema")
        described: Any = of_action or type(view.schema)
        _parameters[key] = described.query_names(*key)
    return _parameters[key]


def _text(raw: bytes, param: str) -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise MalformedRequest("Encode text in the address as UTF-8.", param=param) from None
    if "\x00" in text:
        raise MalformedRequest("The null character is not allowed.", param=param)
    return text


# --- the body ---------------------------------------------------------------------------------


def check_body(view: TenantViewSet) -> None:
    """Refuse a body that the view would not read, or not whole, before a byte of it is read."""
    meta = view.request.META
    length = meta.get("CONTENT_LENGTH") or "0"
    is_in_chunks = "HTTP_TRANSFER_ENCODING" in meta and not meta.get("CONTENT_LENGTH")
    if not is_in_chunks and (not length.isdecimal() or int(length) == 0):
        return
    if view.request.method not in {"POST", "PATCH"}:
        raise MalformedRequest("This method takes no body: leave it out.", param="body")
    if is_in_chunks:
        # Django takes it for none.
        raise LengthRequired("Send Content-Length: a body in chunks is not read.")
    if meta.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType(
            "Send the body as it is, without Content-Encoding.", param="Content-Encoding"
        )
    longest = view.body_length_max
    # A piece of an upload (PATCH) is not read at once: its announced length limits it.
    if view.request.method == "POST" and int(length) > longest:
        raise RequestTooLarge(f"Send at most {longest:,} bytes at once.", length_max=longest)


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it, in UTF-8, each member once: readers agree on what it says."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        charset = (media_type or "").lower().partition("charset=")[2].partition(";")[0]
        if charset.strip('" ') not in {"", "utf-8", "utf8"}:
            raise UnsupportedMediaType("Send JSON in UTF-8.", param="Content-Type")
        raw = stream.read()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"Byte {error.start} is not UTF-8.", param="body") from None
        return loads(text)


def loads(text: str) -> Any:
    """Read JSON. Raises MalformedRequest, naming the member."""
    repeated: list[str] = []

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                repeated.append(name)
            found[name] = value
        return found

    try:
        value = json.loads(
            text, object_pairs_hook=once_each, parse_constant=_constant, parse_float=_finite
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise MalformedRequest(f"This is not JSON: {error}.", param="body") from None
    if repeated:
        raise MalformedRequest("Give this member once.", param=repeated[0])
    if text.count("[") + text.count("{") > NESTING_MAX and _depth(value) > NESTING_MAX:
        raise _too_deep()
    return value


def _constant(name: str) -> NoReturn:
    raise MalformedRequest(f"“{name}” is no JSON number.", param="body")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise MalformedRequest(f"{digits[:40]} is too large a number.", param="body")
    return number


def _too_deep() -> MalformedRequest:
    return MalformedRequest(f"Nest objects and lists at most {NESTING_MAX} deep.", param="body")


def _depth(value: Any) -> int:
    """How deeply lists and objects are nested. Without recursion: the depth is the client's."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
