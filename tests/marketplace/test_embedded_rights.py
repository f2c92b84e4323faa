"""What image files say of their rights: read by a library, and kept from being listed."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from marketplace import collections, embedded_rights, imports
from marketplace.access import acting
from marketplace.embedded_rights import Embedded
from marketplace.models import Audit, EmbeddedRights, Organization, Representation, RightsOverride
from tests.make import make_collection, make_offer
from tests.people import caller_for

VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
OVERRIDE = {
    "statement": "The photographer licensed mining to us in writing.",
    "person_name": "Ada",
    "person_title": "Head of rights",
    "authority": True,
}


def xmp(mining: str = "", *, creator: str = "", rights: str = "", element: bool = False) -> bytes:
    """An XMP packet as image editors write it."""
    attribute = f' plus:DataMining="{mining}"' if mining and not element else ""
    inside = f"<plus:DataMining>{mining}</plus:DataMining>" if mining and element else ""
    if creator:
        inside += f"<dc:creator><rdf:Seq><rdf:li>{creator}</rdf:li></rdf:Seq></dc:creator>"
    if rights:
        inside += f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{rights}</rdf:li></rdf:Alt>'
        inside += "</dc:rights>"
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
        f' xmlns:dc="http://purl.org/dc/elements/1.1/"{attribute}>{inside}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def image(kind: str = "JPEG", packet: bytes = b"", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    if packet and kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options["pnginfo"] = info
    elif packet and kind == "TIFF":
        options["tiffinfo"] = {700: packet}
    elif packet:
        options["xmp"] = packet
    Image.new("RGB", (8, 8)).save(file, kind, **options)
    file.seek(0)
    return file


def with_iptc(creator: bytes, notice: bytes) -> io.BytesIO:
    """A JPEG with an IPTC IIM block, which Pillow reads and never writes."""
    records = b"".join(
        b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text
        for number, text in ((80, creator), (116, notice))
    )
    block = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(records)) + records
    block += b"\x00" * (len(records) % 2)
    segment = b"Photoshop 3.0\x00" + block
    plain = image().getvalue()
    marker = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    return io.BytesIO(plain[:2] + marker + plain[2:])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("element", [False, True])
def test_a_prohibition_is_read_from_every_kind_of_image(kind: str, element: bool) -> None:
    packet = xmp(
        VOCABULARY + "DMI-PROHIBITED-AIMLTRAINING",
        creator="Ada",
        rights="© Ada",
        element=element,
    )
    said = embedded_rights.read(image(kind, packet), f"image/{kind.lower()}")
    assert said == Embedded("Ada", "© Ada", "DMI-PROHIBITED-AIMLTRAINING")
    assert said.is_prohibited


@pytest.mark.parametrize(
    ("word", "is_prohibited"),
    [
        ("DMI-UNSPECIFIED", False),
        ("DMI-ALLOWED", False),
        ("DMI-PROHIBITED", True),
        ("DMI-PROHIBITED-GENAIMLTRAINING", True),
        ("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", True),
        ("DMI-PROHIBITED-SEECONSTRAINT", True),
    ],
)
def test_each_word_of_the_vocabulary_is_told_apart(word: str, is_prohibited: bool) -> None:
    said = embedded_rights.read(image(packet=xmp(VOCABULARY + word)), "image/jpeg")
    assert said is not None
    assert (said.data_mining, said.is_prohibited) == (word, is_prohibited)


def test_iptc_and_exif_are_read_where_xmp_is_silent() -> None:
    said = embedded_rights.read(with_iptc("Zoë".encode(), b"(c) 2026"), "image/jpeg")
    assert said == Embedded("Zoë", "(c) 2026", "")
    exif = Image.Exif()
    exif[0x013B], exif[0x8298] = "Ada", "(c) Ada"
    assert embedded_rights.read(image(exif=exif), "image/jpeg") == Embedded("Ada", "(c) Ada", "")


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>&b;</x:xmpmeta>"
)


@pytest.mark.parametrize(
    "make",
    [
        lambda: io.BytesIO(b""),
        lambda: io.BytesIO(b"\xff\xd8\xff" + b"\x00" * 100),
        lambda: io.BytesIO(image().getvalue()[:200]),
        lambda: image(packet=b"<broken"),
        lambda: image(packet=BOMB),
        lambda: image(packet=xmp("nonsense")),
        lambda: image(),
    ],
)
def test_a_broken_or_silent_image_says_nothing(make: Callable[[], io.BytesIO]) -> None:
    assert embedded_rights.read(make(), "image/jpeg") is None


def test_other_media_are_not_looked_into() -> None:
    packet = xmp(VOCABULARY + "DMI-PROHIBITED")
    assert embedded_rights.read(image(packet=packet), "text/plain") is None


def prohibited(organization: Organization, *, count: int = 1) -> Any:
    """A collection in which the files of `count` works prohibit mining."""
    caller = caller_for(organization)
    collection = make_collection(organization)
    with acting(caller):
        forms = Representation.objects.filter(organization=organization).order_by("id")[:count]
        said = Embedded("Ada", "© Ada", "DMI-PROHIBITED")
        embedded_rights.note(organization.pk, {bytes(form.digest): said for form in forms})
    return collection


@pytest.mark.django_db
def test_a_prohibition_blocks_listing_until_the_owner_overrides_it_on_record(
    archive: Organization, client_for: Any
) -> None:
    collection = prohibited(archive, count=2)
    offer = make_offer(archive, collection=collection, is_published=False)
    client = client_for(archive)
    address = f"/v1/collections/{collection.pk}"

    refused = client.post(f"/v1/offers/{offer.pk}/publish")
    assert (refused.status_code, refused.json()["code"]) == (409, "works_prohibit_mining")
    assert refused.json()["works"] == 2
    offer.refresh_from_db()
    assert offer.state == "draft"

    shown = client.get(f"{address}/prohibitions").json()["data"]
    assert [one["data_mining"] for one in shown] == ["DMI-PROHIBITED"] * 2

    answer = client.post(f"{address}/rights-overrides", OVERRIDE)
    assert (answer.status_code, answer.json()["works"]) == (201, 2)
    assert client.get(f"{address}/prohibitions").json()["data"] == []
    assert client.get(f"{address}/rights-overrides").json()["data"] == [answer.json()]
    assert client.post(f"/v1/offers/{offer.pk}/publish").status_code == 200
    with acting(caller_for(archive), writing=False):
        assert Audit.objects.filter(action="collection.rights_overridden").count() == 1


@pytest.mark.django_db
def test_an_override_answers_for_what_is_there_and_for_nothing_later(
    archive: Organization,
) -> None:
    caller = caller_for(archive)
    collection = prohibited(archive)
    embedded_rights.override(caller, str(collection.pk), **OVERRIDE)
    with acting(caller):
        later = Representation.objects.filter(organization=archive).order_by("id").last()
        assert later is not None
        said = Embedded(data_mining="DMI-PROHIBITED")
        embedded_rights.note(archive.pk, {bytes(later.digest): said})
        assert embedded_rights.blocking(collection) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"authority": False}, {"statement": " "}, {"person_name": " "}])
def test_an_override_is_signed(
    archive: Organization, client_for: Any, change: dict[str, Any]
) -> None:
    collection = prohibited(archive)
    address = f"/v1/collections/{collection.pk}/rights-overrides"
    refused = client_for(archive).post(address, {**OVERRIDE, **change})
    assert (refused.status_code, refused.json()["param"]) == (422, next(iter(change)))
    with acting(caller_for(archive), writing=False):
        assert RightsOverride.objects.count() == 0
        assert EmbeddedRights.objects.filter(override__isnull=False).count() == 0


@pytest.mark.django_db
def test_an_override_needs_an_attestation_and_something_to_override(
    archive: Organization, client_for: Any
) -> None:
    client = client_for(archive)
    bare = collections.create(caller_for(archive), name="Bare")
    refused = client.post(f"/v1/collections/{bare.pk}/rights-overrides", OVERRIDE)
    assert (refused.status_code, refused.json()["code"]) == (409, "collection_not_attested")
    silent = make_collection(archive)
    refused = client.post(f"/v1/collections/{silent.pk}/rights-overrides", OVERRIDE)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_override")


@pytest.mark.django_db
def test_the_same_override_sent_again_is_made_once(archive: Organization, client_for: Any) -> None:
    collection = prohibited(archive)
    client = client_for(archive)
    address = f"/v1/collections/{collection.pk}/rights-overrides"
    first = client.post(address, OVERRIDE, Idempotency_Key="once")
    again = client.post(address, OVERRIDE, Idempotency_Key="once")
    assert first.json() == again.json()
    with acting(caller_for(archive), writing=False):
        assert RightsOverride.objects.count() == 1


@pytest.mark.django_db
def test_a_folder_s_images_are_read_as_they_are_imported(
    archive: Organization, tmp_path: Path, settings: Any, client_for: Any
) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    folder = tmp_path / "photographs"
    folder.mkdir()
    packet = xmp(f"{VOCABULARY}DMI-PROHIBITED", creator="Ada")
    (folder / "kept.jpg").write_bytes(image(packet=packet).getvalue())
    (folder / "free.jpg").write_bytes(image().getvalue())
    (folder / "broken.jpg").write_bytes(packet)
    caller = caller_for(archive)
    collection = collections.create(caller, name="Photographs")
    job = imports.run(caller, str(collection.pk), imports.Directory(folder))
    assert (job.imported, job.rejected) == (3, 0)
    with acting(caller, writing=False):
        [said] = EmbeddedRights.objects.filter(organization=archive)
    assert (said.creator, said.data_mining, said.is_prohibited) == ("Ada", "DMI-PROHIBITED", True)
    [shown] = (
        client_for(archive).get(f"/v1/collections/{collection.pk}/prohibitions").json()["data"]
    )
    assert shown["data_mining"] == "DMI-PROHIBITED"
