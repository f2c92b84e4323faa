"""Excerpts of hosted works, for pages: small pictures or first words, made by the worker."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from marketplace import storage
from marketplace.access import Caller, acting, system
from marketplace.errors import NotFound
from marketplace.models import EXCERPT_LENGTH_MAX, Excerpt, Representation, Work

logger = logging.getLogger(__name__)

PICTURES = frozenset(
    {"image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff", "image/bmp"}
)
# Shown as what is written in them, whatever it would mean to a browser.
TEXTS = frozenset({"application/json", "application/x-ndjson", "application/xml"})
# Larger pictures are not opened: a page of them would read gigabytes.
PICTURE_LENGTH_MAX = 32 << 20
CHARACTERS = 600
_TEXT_BYTES = 4 * CHARACTERS
_AT_ONCE = 20
# A file that fells its worker is not tried for ever.
ATTEMPTS_MAX = 3
# By the clock: a busy machine may take long to start a process that has a second of its own.
_PROCESS_SECONDS = 15.0


def kind_of(media_type: str) -> str:
    """What an excerpt of such bytes would be; "" where there is none."""
    if media_type in PICTURES:
        return Excerpt.Kind.PICTURE
    if media_type.startswith("text/") or media_type in TEXTS:
        return Excerpt.Kind.TEXT
    return ""


def ask(caller: Caller, digests: Iterable[bytes]) -> int:
    """Have the excerpts made that are not there of the caller's hosted bytes. Returns how many.

    In the caller's transaction. Bytes that are kept elsewhere have none: nobody fetches them.
    """
    assert connection.in_atomic_block, "What is asked for is asked with what it is for."
    forms = Representation.objects.visible_to(caller).filter(
        digest__in=list(digests), custody=Representation.Custody.HOSTED
    )
    rows = [
        Excerpt(organization=caller.organization, digest=form.digest, kind=kind)
        for form in forms
        if (kind := kind_of(form.media_type))
    ]
    known = Excerpt.objects.visible_to(caller).filter(digest__in=[row.digest for row in rows])
    there = {bytes(digest) for digest in known.values_list("digest", flat=True)}
    new = [row for row in rows if bytes(row.digest) not in there]
    Excerpt.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def of(caller: Caller, work: Any) -> Excerpt:
    """The excerpt of one of the caller's own works. Raises NotFound where there is none (yet)."""
    with acting(caller, writing=False):
        # Not those that were shared: whoever may read a work's name may not see its bytes.
        own = Work.objects.filter(organization=caller.organization).get_visible(caller, work)
        forms = Representation.objects.visible_to(caller).filter(
            work=own, custody=Representation.Custody.HOSTED
        )
        made = Excerpt.objects.visible_to(caller).filter(
            digest__in=forms.values("digest"), status=Excerpt.Status.MADE
        )
        found = made.order_by("-id").first()
    if found is None:
        raise NotFound(_("There is no excerpt of “%(work)s”.") % {"work": work})
    return found


def make_due() -> int:
    """Make excerpts that are due, the oldest first. Returns how many were looked at."""
    with system("make the excerpts that everybody's pages ask for"):
        due = Excerpt.objects.filter(status=Excerpt.Status.DUE, attempts__lt=ATTEMPTS_MAX)
        rows = list(due.select_for_update(skip_locked=True).order_by("id")[:_AT_ONCE])
        for row in rows:
            row.attempts += 1
        # Counted before: whoever dies of one has tried it.
        Excerpt.objects.bulk_update(rows, ["attempts"])
    for row in rows:
        _make(row)
    return len(rows)


def _make(row: Excerpt) -> None:
    try:
        content = _content(row)
    except OSError:
        # The store's fault: it is tried again, and not for ever.
        logger.exception("an excerpt's bytes could not be read")
        content = None
        if row.attempts < ATTEMPTS_MAX:
            return
    status = Excerpt.Status.NONE if content is None else Excerpt.Status.MADE
    with system("keep an excerpt that somebody asked for"):
        Excerpt.objects.filter(pk=row.pk, status=Excerpt.Status.DUE).update(
            status=status, content=content
        )


def _content(row: Excerpt) -> bytes | None:
    digest = bytes(row.digest)
    length = storage.length(digest)
    if not length:
        return None
    if row.kind == Excerpt.Kind.TEXT:
        return _text(_bytes(digest, min(length, _TEXT_BYTES)))
    return _picture(_bytes(digest, length)) if length <= PICTURE_LENGTH_MAX else None


def _bytes(digest: bytes, length: int) -> bytes:
    with closing(storage.chunks(digest, 0, length)) as chunks:
        return b"".join(chunks)


def _text(begin: bytes) -> bytes | None:
    if b"\x00" in begin:
        return None
    # Cut after so many bytes, perhaps within a character.
    text = begin.decode("utf-8", "ignore")
    shown = "".join(one if one.isprintable() or one == "\n" else " " for one in text)
    return shown.strip()[:CHARACTERS].encode() or None


def _picture(data: bytes) -> bytes | None:
    """A thumbnail, made in a process of its own, which bombs and loops end without harm."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "marketplace.excerpt_process"],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PROCESS_SECONDS,
            cwd=settings.BASE_DIR,
            # Nothing of ours: no address of the database, no key.
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0 or not 0 < len(done.stdout) <= EXCERPT_LENGTH_MAX:
        return None
    return done.stdout
