"""Embedded rights: what image files say of their creator, copyright and data mining."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from PIL import Image, IptcImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from marketplace import audit, collections, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import CollectionNotAttested, InvalidInput, NothingToOverride
from marketplace.models import (
    Collection,
    CollectionItem,
    EmbeddedRights,
    EmbeddedRightsQuerySet,
    RightsOverride,
)

logger = logging.getLogger(__name__)

# Only headers are read and no pixel is decoded, so a picture's size is no danger here.
Image.MAX_IMAGE_PIXELS = None

MEDIA_TYPES = frozenset({"image/jpeg", "image/png", "image/tiff", "image/webp", "image/avif"})
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")

# IPTC IIM, record 2: https://www.iptc.org/std/photometadata/specification/IPTC-PhotoMetadata
_IPTC_BYLINE, _IPTC_COPYRIGHT = (2, 80), (2, 116)
_EXIF_ARTIST, _EXIF_COPYRIGHT = 0x013B, 0x8298
# The PLUS vocabulary of data mining: https://ns.useplus.org/LDF/ldf-XMPSpecification
_DATA_MINING = re.compile(r"(?:.*[/:#])?(DMI-[A-Z-]{1,90})", re.IGNORECASE)
_PROHIBITED = "DMI-PROHIBITED"


@dataclass(frozen=True, slots=True)
class Embedded:
    """What one file says."""

    creator: str = ""
    copyright_notice: str = ""
    # The PLUS vocabulary's word; "" where the file has none that we know.
    data_mining: str = ""

    @property
    def is_prohibited(self) -> bool:
        # Each kind of prohibition keeps training out; those that point to a constraint do, too.
        return self.data_mining.startswith(_PROHIBITED)


def read(file: IO[bytes], media_type: str) -> Embedded | None:
    """What an image says of its rights (IPTC IIM, Exif, XMP with PLUS); None where nothing.

    XMP counts before IPTC, and IPTC before Exif (Metadata Working Group). A file that cannot be
    read as an image says nothing.
    """
    if media_type not in MEDIA_TYPES:
        return None
    try:
        with Image.open(file, formats=_FORMATS) as image:
            return _said(image)
    except (UnidentifiedImageError, OSError):
        return None
    except Exception:  # a parser's answer to hostile bytes; the work itself is not to blame
        logger.exception("an image's metadata could not be read")
        return None


def note(organization: UUID, found: Mapping[bytes, Embedded]) -> None:
    """Keep what files say, in the transaction that recorded their works.

    What is known of the same bytes stands. Digests of which no work was made are left out.
    """
    assert connection.in_atomic_block, "What a file says commits with its work."
    if not found:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO marketplace_embeddedrights
                (organization_id, digest, creator, copyright_notice, data_mining, is_prohibited,
                 read_at)
            SELECT form.organization_id, form.digest, said.creator, said.copyright_notice,
                said.data_mining, said.is_prohibited, %s
            FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::boolean[])
                AS said (digest, creator, copyright_notice, data_mining, is_prohibited)
            JOIN marketplace_representation form
                ON form.digest = said.digest AND form.organization_id = %s
            ON CONFLICT (organization_id, digest) DO NOTHING
            """,
            [
                timezone.now(),
                list(found),
                [one.creator for one in found.values()],
                [one.copyright_notice for one in found.values()],
                [one.data_mining for one in found.values()],
                [one.is_prohibited for one in found.values()],
                organization,
            ],
        )


def prohibiting(caller: Caller, collection_id: str) -> EmbeddedRightsQuerySet:
    """What keeps one of the caller's collections from being listed. Raises NotFound."""
    collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
    return _prohibiting(collection)


def blocking(collection: Collection) -> int:
    """How many works keep a collection from being listed, as its owner, in its transaction."""
    return _prohibiting(collection).count()


def override(
    caller: Caller,
    collection_id: str,
    *,
    statement: str,
    person_name: str,
    person_title: str,
    authority: bool,
) -> RightsOverride:
    """Answer for the works in a collection whose files prohibit data mining, on record.

    For those that are in it now: what is imported later needs an answer of its own. Raises
    NotFound, InvalidInput, CollectionNotAttested, NothingToOverride.
    """
    for param, text in (
        ("statement", statement),
        ("person_name", person_name),
        ("person_title", person_title),
    ):
        if not text.strip():
            raise InvalidInput(_("This may not be blank."), param=param)
    if authority is not True:
        raise InvalidInput(
            _("Only somebody with authority to bind the organization can override."),
            param="authority",
        )
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(
            caller, collection_id, lock=True
        )
        if collections.attestation(collection) is None:
            raise CollectionNotAttested(
                _("Attest the rights first: POST /v1/collections/%(id)s/attestations.")
                % {"id": collection.pk},
                collection=str(collection.pk),
            )
        blocked = _prohibiting(collection)
        works = blocked.count()
        if not works:
            raise NothingToOverride(
                _("No file in this collection prohibits data mining, or each was overridden."),
                collection=str(collection.pk),
            )
        made = RightsOverride(
            organization=caller.organization,
            collection=collection,
            statement=statement.strip(),
            person_name=person_name.strip(),
            person_title=person_title.strip(),
            actor=caller.actor,
            works=works,
        )
        made.save(force_insert=True)
        blocked.update(override=made)
        audit.record(caller, "collection.rights_overridden", subject=collection, works=works)
        idempotency.names(caller, made)
    return made


def overrides(caller: Caller, collection_id: str) -> QuerySet[RightsOverride]:
    """Who answered for a collection's prohibitions. Raises NotFound."""
    collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
    return RightsOverride.objects.visible_to(caller).filter(collection=collection)


def _prohibiting(collection: Collection) -> EmbeddedRightsQuerySet:
    live = CollectionItem.objects.filter(
        organization=collection.organization_id,
        collection=collection,
        removed_in__isnull=True,
        representation__digest=OuterRef("digest"),
    )
    rows = EmbeddedRights.objects.filter(organization=collection.organization_id).prohibiting()
    return rows.filter(Exists(live))


# --- reading ----------------------------------------------------------------------------------


def _said(image: ImageFile) -> Embedded | None:
    descriptions = _descriptions(image)
    iptc = IptcImagePlugin.getiptcinfo(image) or {}
    exif = image.getexif()
    found = Embedded(
        creator=_first(
            [
                *(_flat(one.get("creator")) for one in descriptions),
                _bytes(iptc.get(_IPTC_BYLINE)),
                _bytes(exif.get(_EXIF_ARTIST)),
            ],
            500,
        ),
        copyright_notice=_first(
            [
                *(_flat(one.get("rights")) for one in descriptions),
                _bytes(iptc.get(_IPTC_COPYRIGHT)),
                _bytes(exif.get(_EXIF_COPYRIGHT)),
            ],
            2000,
        ),
        data_mining=_mining(_flat(one.get("DataMining")) for one in descriptions),
    )
    return found if found != Embedded() else None


def _descriptions(image: ImageFile) -> list[dict[str, Any]]:
    """The XMP packet's rdf:Description blocks, their names without namespaces."""
    packet: Any = image.getxmp()
    for name in ("xmpmeta", "xapmeta", "RDF"):
        if isinstance(packet, dict) and name in packet:
            packet = packet[name]
    blocks = packet.get("Description", []) if isinstance(packet, dict) else []
    several = blocks if isinstance(blocks, list) else [blocks]
    return [one for one in several if isinstance(one, dict)]


def _flat(value: Any) -> str:
    """The text in an XMP value: plain, an rdf:Alt, Bag or Seq, or a resource's address."""
    if isinstance(value, dict):
        for name in ("Alt", "Seq", "Bag", "li", "text", "resource", "value"):
            if name in value:
                return _flat(value[name])
        return ""
    if isinstance(value, list):
        return ", ".join(text for text in map(_flat, value) if text)
    return value if isinstance(value, str) else ""


def _bytes(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(text for text in map(_bytes, value) if text)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _mining(texts: Iterable[str]) -> str:
    """The PLUS word among what several blocks say: a prohibition counts before anything else."""
    words = [match[1].upper() for text in texts if (match := _DATA_MINING.fullmatch(text.strip()))]
    prohibited = [word for word in words if word.startswith(_PROHIBITED)]
    return next(iter(prohibited or words), "")


def _first(texts: Iterable[str], length_max: int) -> str:
    """The first text that is not blank, fit for a column and a page."""
    for text in texts:
        shown = "".join(each if each.isprintable() else " " for each in text).strip()
        if shown:
            return shown[:length_max]
    return ""
