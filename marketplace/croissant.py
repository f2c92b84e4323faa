"""Croissant: a description of a data set as a source of works by reference (1.0 and 1.1)."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from marketplace import collections, imports
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.imports import Entry, Rejected, Source
from marketplace.models import ImportJob, Representation
from marketplace.works import Record

# A description, never the data: the largest real ones have some thousand record fields.
SIZE_MAX = 16 * 1024 * 1024
_TEXT_LENGTH_MAX = 2_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Only a whole number of bytes is a length: "4.698 MB" was rounded.
_SIZE = re.compile(r"([0-9]{1,15})\s*B")
_LOCAL = re.compile(r"^(?:cr:|sc:|schema:|https?://[^#]*[/#])")


@dataclass(frozen=True)
class Document:
    """What a Croissant document says of its data set, and of the files that make it up.

    https://docs.mlcommons.org/croissant/docs/croissant-spec.html
    """

    name: str
    description: str
    url: str
    license: str
    creators: tuple[str, ...]
    languages: tuple[str, ...]
    files: tuple[dict[str, Any], ...]
    # Named by a pattern ("*.parquet"), so that no single file has a digest here.
    file_sets: int

    @property
    def external_id(self) -> str:
        """What tells this data set from the owner's others: its address, else its name."""
        return f"croissant:{self.url or self.name}"

    @property
    def about(self) -> str:
        """The description with what else a searcher asks for, as a collection shows it."""
        parts = [self.description]
        for label, text in (
            ("Creators", ", ".join(self.creators)),
            ("Languages", ", ".join(self.languages)),
            ("License", self.license),
        ):
            if text:
                parts.append(f"{label}: {text}")
        return "\n\n".join(part for part in parts if part)


def read(path: Path) -> Document:
    """Read a Croissant document. Raises InvalidInput saying what is wrong with it."""
    document = _object(path)
    if _local(document.get("@type", "Dataset")) != "Dataset":
        raise InvalidInput(
            _("This is no Croissant document: its “@type” is not sc:Dataset."), param="@type"
        )
    distribution = document.get("distribution", [])
    if not isinstance(distribution, list) or not all(isinstance(o, dict) for o in distribution):
        raise InvalidInput(_("“distribution” is not a list of objects."), param="distribution")
    kinds = [_local(one.get("@type", "")) for one in distribution]
    return Document(
        # One of MLCommons' own examples has no name: its file has.
        name=_text(document.get("name"))[:200] or path.stem[:200],
        description=_text(document.get("description")),
        url=_address(document.get("url")),
        license=", ".join(_texts(document.get("license"))),
        creators=tuple(_texts(document.get("creator"))),
        languages=tuple(_texts(document.get("inLanguage"))),
        files=tuple(
            one for one, kind in zip(distribution, kinds, strict=True) if kind == "FileObject"
        ),
        file_sets=kinds.count("FileSet"),
    )


@dataclass(frozen=True)
class Imported:
    """What became of a document."""

    document: Document
    job: ImportJob


def run(caller: Caller, path: Path) -> Imported:
    """Import a document into the collection of its data set, made where there is none yet.

    The collection is kept also where no file of it becomes a work. Raises InvalidInput.
    """
    document = read(path)
    with acting(caller):
        collection = collections.by_external_id(caller, document.external_id)
        if collection is None:
            collection = collections.create(
                caller,
                name=document.name,
                description=document.about[:10_000],
                external_id=document.external_id,
                source_url=document.url,
            )
    return Imported(document, imports.run(caller, str(collection.pk), Files(document)))


def bring_in(caller: Caller, collection_id: str, path: Path) -> ImportJob:
    """Import a document's files into a collection that is there. Raises NotFound, InvalidInput."""
    return imports.run(caller, collection_id, Files(read(path)))


class Files(Source):
    """The FileObjects of a document: those with a SHA-256 are works, the others say why not."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._mark = ""
        self.name = f"croissant {document.name}"[:500]

    def check(self) -> None:
        """`read` found it sound; no files at all is a collection without works."""

    def entries(self, after: str) -> Iterator[Entry]:
        seen: set[str] = set()
        is_due = not after
        for place, file in enumerate(self._document.files):
            # Many documents call a file "repo": with its data set's name before it, it is one work.
            entry = _entry(file, f"{self._document.name}/{_id(file, place)}", seen)
            seen.add(entry.name)
            self._mark = entry.name
            if is_due:
                yield entry
            is_due = is_due or entry.name == after

    def mark(self) -> str:
        return self._mark


def _id(file: dict[str, Any], place: int) -> str:
    return _text(file.get("@id")) or _text(file.get("name")) or f"distribution[{place}]"


def _entry(file: dict[str, Any], name: str, seen: set[str]) -> Entry:
    """A file as a work by reference, or why it is none."""
    if name in seen:
        return Rejected(name, "name_taken", "@id: stands here twice")
    digest = file.get("sha256")
    if digest is None or digest == "":
        other = ", ".join(key for key in ("md5", "sha1", "sha512") if file.get(key))
        return Rejected(name, "no_digest", f"sha256: missing{f'; it has {other}' if other else ''}")
    # Some write an address here where the format wants a digest that they do not have.
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest.lower()):
        return Rejected(name, "digest_invalid", f"sha256: {str(digest)[:200]}")
    return Record(
        external_id=name,
        digest=bytes.fromhex(digest.lower()),
        length=_size(file.get("contentSize")),
        media_type=_media_type(file),
        custody=Representation.Custody.REFERENCE,
        title=(_text(file.get("name")) or name)[:1000],
        source_url=_address(file.get("contentUrl")),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise InvalidInput(
            _("The file cannot be read: %(why)s.") % {"why": error.strerror}, param="file"
        ) from None
    if len(data) > SIZE_MAX:
        raise InvalidInput(
            _("A Croissant document has at most %(max)s bytes.") % {"max": SIZE_MAX}, param="file"
        )
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            _("The file is no JSON: %(why)s.") % {"why": error}, param="file"
        ) from None
    if not isinstance(document, dict):
        raise InvalidInput(_("The file holds no JSON object."), param="file")
    return document


def _local(kind: Any) -> str:
    """The last part of a JSON-LD type: "sc:Dataset" and its whole address are both Dataset."""
    kinds = kind if isinstance(kind, list) else [kind]
    names = [_LOCAL.sub("", one) for one in kinds if isinstance(one, str)]
    known = [name for name in names if name in {"Dataset", "FileObject", "FileSet"}]
    return known[0] if known else ""


def _text(value: Any) -> str:
    """A JSON-LD text: plain, or the first of several, or one with a language."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("name") or value.get("@value") or value.get("@id") or value.get("url")
    if not isinstance(value, str):
        return ""
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in value)
    return shown.strip()[:_TEXT_LENGTH_MAX]


def _texts(value: Any) -> list[str]:
    found = [_text(one) for one in (value if isinstance(value, list) else [value])]
    return [text for text in found if text]


def _address(value: Any) -> str:
    text = _text(value)
    return text if re.match(r"https?://", text) and len(text) < _TEXT_LENGTH_MAX else ""


def _size(value: Any) -> int:
    """`contentSize` in bytes; 0 where the document does not say it exactly."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(match[1]) if match else 0


def _media_type(file: dict[str, Any]) -> str:
    said = _text(file.get("encodingFormat"))
    if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", said, re.IGNORECASE) and len(said) <= 255:
        return said.lower()
    return mimetypes.guess_type(_text(file.get("contentUrl")))[0] or "application/octet-stream"
