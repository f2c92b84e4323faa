"""What pages show of hosted works: small, harmless, its owner's alone, and never of other bytes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from marketplace import collections, excerpt_process, excerpts, uploads, works
from marketplace.access import acting, system
from marketplace.excerpt_process import SIDE, thumbnail
from marketplace.models import Excerpt, Organization
from marketplace.works import Record
from tests.marketplace.test_browser_upload import person
from tests.marketplace.test_import_preview import sent
from tests.people import caller_for

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.marketplace.import_urls")]


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_DIR = tmp_path / "works"
    settings.UPLOAD_DIR = tmp_path / "uploads"


def hosted(organization: Organization, data: bytes, media_type: str) -> str:
    caller = caller_for(organization)
    into = str(collections.create(caller, name="Letters").pk)
    upload = sent(organization, data)
    made = uploads.host(caller, into, upload=upload, external_id="x", media_type=media_type)
    return str(made.pk)


def picture(width: int = 900, height: int = 300, kind: str = "JPEG", **how: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, format=kind, **how)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has a hundred thousand pixels each way."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def status() -> list[str]:
    with system("look at a test's excerpts"):
        return list(Excerpt.objects.order_by("id").values_list("status", flat=True))


def test_a_picture_is_shown_small_and_bare(archive: Organization) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    exif[0x013B] = "Ada Lovelace"
    work = hosted(archive, picture(exif=exif), "image/jpeg")
    assert status() == ["due"]
    ada = person(archive)
    assert ada.get(f"/files/works/{work}/excerpt/").status_code == 404
    assert excerpts.make_due() == 1
    answer = ada.get(f"/files/works/{work}/excerpt/")
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    with Image.open(io.BytesIO(answer.content)) as made:
        assert (made.format, made.height) == ("PNG", SIDE)
        assert made.width < SIDE
        assert made.info == {}
    assert b"Lovelace" not in answer.content
    assert excerpts.make_due() == 0


@pytest.mark.parametrize("media_type", ["text/plain", "text/html", "application/json"])
def test_text_is_shown_as_what_is_written(archive: Organization, media_type: str) -> None:
    data = ("<script>alert(1)</script> Größe\x07" + "ä" * 3000).encode()
    work = hosted(archive, data, media_type)
    assert excerpts.make_due() == 1
    answer = person(archive).get(f"/files/works/{work}/excerpt/")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    text = answer.content.decode()
    assert text.startswith("<script>alert(1)</script> Größe ä")
    assert len(text) == excerpts.CHARACTERS


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (bomb(), "image/png"),
        (b"GIF89a" + bytes(20), "image/gif"),
        (b"no picture", "image/jpeg"),
        (picture()[:200], "image/jpeg"),
        (b"\x00\x01", "text/plain"),
        # What says that it is a picture of another kind is asked by its bytes alone.
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png"),
    ],
)
def test_hostile_and_broken_files_show_nothing(
    archive: Organization, data: bytes, media_type: str
) -> None:
    work = hosted(archive, data, media_type)
    assert excerpts.make_due() == 1
    assert status() == ["none"]
    assert person(archive).get(f"/files/works/{work}/excerpt/").status_code == 404
    assert excerpts.make_due() == 0


def test_svg_and_other_files_have_no_excerpt(archive: Organization) -> None:
    hosted(archive, b"<svg/>", "image/svg+xml")
    assert status() == []


def test_a_picture_of_too_many_pixels_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="pixels"):
        thumbnail(bomb())
    monkeypatch.setattr(excerpt_process, "PIXELS_MAX", 9_999)
    with pytest.raises(ValueError, match="100 × 100 pixels"):
        thumbnail(picture(100, 100, kind="PNG"))


@pytest.mark.oracle
def test_the_process_ends_what_takes_longer_than_a_second() -> None:
    program = "from marketplace import excerpt_process as p; p.limit()\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert ended.returncode < 0  # by a signal


def test_bytes_that_are_kept_elsewhere_are_never_asked_for(archive: Organization) -> None:
    caller = caller_for(archive)
    into = collections.create(caller, name="Letters")
    record = Record("r", b"\x07" * 32, 5, "image/png", "reference")
    with acting(caller):
        assert works.add(caller, into, [record]) == {}
        assert excerpts.ask(caller, [record.digest]) == 0
    assert status() == []


def test_an_excerpt_is_its_owners_alone(archive: Organization, stranger: Organization) -> None:
    work = hosted(archive, b"Dear Ada", "text/plain")
    assert excerpts.make_due() == 1
    address = f"/files/works/{work}/excerpt/"
    assert person(stranger).get(address).status_code == 404
    assert Client().get(address).status_code == 302
    assert person(archive).get("/files/works/nonsense/excerpt/").status_code == 404
    assert person(archive).get(address).content == b"Dear Ada"


def test_a_store_that_fails_is_asked_again_and_not_for_ever(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted(archive, b"Dear Ada", "text/plain")

    def fails(_digest: bytes) -> int:
        raise OSError(5, "The store is away")

    monkeypatch.setattr("marketplace.storage.length", fails)
    for _time in range(excerpts.ATTEMPTS_MAX - 1):
        assert excerpts.make_due() == 1
        assert status() == ["due"]
    assert excerpts.make_due() == 1
    assert status() == ["none"]
    assert excerpts.make_due() == 0
