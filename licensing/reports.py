"""Reports: anybody says what is wrong with a listing, a collection or a work, and follows it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.models import Coverage, Offer, Report
from marketplace import audit, erasures, invitations, organizations, preferences
from marketplace.access import system
from marketplace.errors import InvalidInput, MailUnavailable, NotFound, TooManyReports
from marketplace.models import (
    Collection,
    CollectionItem,
    Organization,
    Representation,
    Work,
)
from marketplace.typeid import TypeID

logger = logging.getLogger(__name__)

Ground = Report.Ground
State = Report.State
# Field -> how long it may be, as the table has it.
LENGTHS = {"target": 2_000, "explanation": 5_000, "location": 2_000, "name": 200, "email": 254}
# Article 16(2)(c) of Regulation (EU) 2022/2065: these may be reported without a name.
NAMELESS = frozenset({Ground.CHILD_ABUSE})
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_OFFER = re.compile(r"off_[0-9a-z]{26}")
_COLLECTION = re.compile(r"col_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Target:
    """What a report is about: exactly what was found of it, and one name for it."""

    name: str
    offer: Offer | None = None
    collection: Collection | None = None
    digest: bytes | None = None

    @property
    def organization(self) -> Organization | None:
        found = self.offer or self.collection
        return None if found is None else found.organization


def make(
    *,
    target: str,
    ground: str,
    explanation: str,
    location: str,
    name: str = "",
    email: str = "",
    in_good_faith: bool,
    address: str,
) -> tuple[Report, str]:
    """Take a report, and mail its receipt. Returns it with its link's token, once.

    `target` is a listing (its id or address), a collection's id, a work's address or SHA-256. A
    work is not looked up: nobody learns here what is held and not on sale. One more report about
    the same thing joins the first that waits. `address` is the sender's, of which a hash is kept.
    Raises InvalidInput, TooManyReports.
    """
    said = {
        "target": target,
        "explanation": explanation,
        "location": location,
        "name": name,
        "email": email,
    }
    said = {param: _text(value, param) for param, value in said.items()}
    _check(ground, said, in_good_faith)
    token = secrets.token_urlsafe(32)
    with system("somebody who is of no organization reports something"):
        found = _find(said["target"])
        sender = _sender(address)
        _hold(sender, said["email"], found.name)
        _check_bounds(sender, said["email"])
        report = Report(
            target=said["target"],
            target_sha256=hashlib.sha256(found.name.encode()).digest(),
            organization=found.organization,
            offer=found.offer,
            collection=found.collection,
            digest=found.digest,
            ground=ground,
            explanation=said["explanation"],
            location=said["location"],
            reporter_name=said["name"],
            reporter_email=said["email"],
            in_good_faith=True,
            sender=sender,
            token_sha256=_hash(token),
        )
        report.joined_to = waiting_like(report)
        report.save(force_insert=True)
        owner = found.organization
        caller = audit.OfMarket("system") if owner is None else organizations.operator(owner)
        audit.record(caller, "report.received", subject=report, ground=ground)
    _mail_receipt(report, token)
    return report, token


def find(token: str) -> Report:
    """The report behind a receipt's link, with its decision. Raises NotFound."""
    with system("find the report of a receipt's link"):
        return by_token(token)


def by_token(token: str) -> Report:
    """The same, in a transaction that sees all tenants."""
    report = None
    if _TOKEN.fullmatch(token):
        rows = Report.objects.select_related("decision", "offer", "organization")
        report = rows.filter(token_sha256=_hash(token)).first()
    if report is None:
        raise NotFound(_("There is nothing at this address. Check that it is whole."))
    return report


def reported_by(email: str) -> list[UUID]:
    """The organizations that an address reported something of. Under `access.system`."""
    rows = Report.objects.filter(reporter_email__iexact=email, organization__isnull=False)
    return list(rows.order_by("organization").values_list("organization", flat=True).distinct())


def forget(email: str) -> erasures.Gone:
    """Erase who reported from an address; what they reported stays. Under `access.system`."""
    gone = erasures.Gone()
    rows = Report.objects.select_for_update().filter(reporter_email__iexact=email)
    ids = [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]
    return forget_again(ids) if ids else gone


def forget_again(ids: list[str]) -> erasures.Gone:
    """Erase who made some reports, also those that a restored backup has again."""
    gone = erasures.Gone()
    rows = Report.objects.filter(pk__in=[TypeID.parse("rpt", id) for id in ids])
    count = rows.exclude(reporter_name="", reporter_email="").update(
        reporter_name="", reporter_email="", erased_at=timezone.now()
    )
    gone.add("reports", count, ids if count else [])
    return gone


# --- the operator's ---------------------------------------------------------------------------


def waiting() -> QuerySet[Report]:
    """What waits for a decision, each thing once, the longest-waiting first; with how many joined.

    Under `access.system`.
    """
    rows = Report.objects.filter(state=State.RECEIVED, joined_to__isnull=True)
    rows = rows.select_related("organization", "offer", "collection")
    return rows.annotate(more=Count("joined")).order_by("received_at", "pk")


def waiting_like(report: Report) -> Report | None:
    """The report about the same thing that others join until it is decided.

    Locked: it is not decided before what joins it has committed.
    """
    return (
        Report.objects.select_for_update(of=("self",))
        .filter(target_sha256=report.target_sha256, state=State.RECEIVED, joined_to__isnull=True)
        .order_by("pk")
        .first()
    )


def holders(report: Report, most: int = 50) -> list[tuple[Organization, list[str]]]:
    """Who has what was reported, and which works that is (SHA-256 in hex), for the operator.

    By the digest, or by the address that a work says it is from. Under `access.system`.
    """
    found: dict[Any, tuple[Organization, list[str]]] = {}
    for form in _forms(report)[:most]:
        row = found.setdefault(form.organization_id, (form.organization, []))
        row[1].append(bytes(form.digest).hex())
    return list(found.values())


def licensed(report: Report, most: int = 50) -> list[Coverage]:
    """Which grants cover what was reported, the newest first: of both modes, whatever their state.

    Of a listing or a collection, those of any of its snapshots; of a work, those of a snapshot
    that it is in, in any form. One coverage for each grant; at most one more than `most`. Under
    `access.system`.
    """
    rows = Coverage.objects.select_related("grant__licensee", "snapshot__collection")
    collection = report.collection_id if report.offer is None else report.offer.collection_id
    if collection is not None:
        rows = rows.filter(snapshot__collection=collection)
    else:
        works = [form.work_id for form in _forms(report)[:most]]
        # All of it must hold of one and the same item.
        lives = CollectionItem.objects.filter(
            Q(removed_in__isnull=True) | Q(removed_in__gt=OuterRef("snapshot__number")),
            collection=OuterRef("snapshot__collection__number"),
            work__in=works,
            added_in__lte=OuterRef("snapshot__number"),
        )
        rows = rows.filter(Exists(lives))
    first = rows.order_by("grant", "pk").distinct("grant").values("pk")
    return list(rows.filter(pk__in=first).order_by("-grant")[: most + 1])


def _forms(report: Report) -> QuerySet[Representation]:
    """The bytes that a digest, or the address that a work says it is from, is about."""
    forms = Representation.objects.select_related("organization").order_by("organization", "pk")
    if report.digest is not None:
        return forms.filter(digest=bytes(report.digest))
    if report.offer_id is None and report.collection_id is None:
        works = Work.objects.filter(source_url=report.target).values("pk")
        return forms.filter(work__in=works)
    return forms.none()


# --- the parts --------------------------------------------------------------------------------


def _text(value: str, param: str) -> str:
    """Text without what no reader could read. HTML stays the text that it is."""
    value = value.strip().replace("\r\n", "\n")
    if "\x00" in value or len(value) > LENGTHS[param]:
        raise InvalidInput(
            _("Use up to %(max)s characters of plain text.") % {"max": f"{LENGTHS[param]:,}"},
            param=param,
        )
    return value


def _check(ground: str, said: dict[str, str], in_good_faith: bool) -> None:
    if ground not in Ground.values:
        raise InvalidInput(_("Choose what is wrong."), param="ground")
    required = {
        "target": _("Say what it is about."),
        "explanation": _("Say why it is wrong: a person must understand it without asking."),
        "location": _("Say where exactly it is."),
    }
    is_nameless = ground in NAMELESS and not said["name"] and not said["email"]
    if not is_nameless:
        required |= {"name": _("Say who you are."), "email": _("Give an email address.")}
    for param, what in required.items():
        if not said[param]:
            raise InvalidInput(what, param=param)
    if said["email"]:
        said["email"] = invitations.check_email(said["email"])
    if not in_good_faith:
        raise InvalidInput(
            _("Confirm that you believe what you say to be true and complete."),
            param="in_good_faith",
        )


def _find(target: str) -> Target:
    """What is meant. Raises InvalidInput."""
    plain = target.strip()
    digest = _DIGEST.fullmatch(plain.lower())
    if digest:
        return Target(f"digest {digest[1]}", digest=bytes.fromhex(digest[1]))
    if _OFFER.fullmatch(_last_part(plain)):
        return _listing(_last_part(plain))
    if _COLLECTION.fullmatch(plain):
        rows = Offer.objects.select_related("collection__organization")
        offer = _shown(rows).filter(collection=TypeID.parse("col", plain)).first()
        if offer is None:
            raise InvalidInput(_("There is no such collection on sale."), param="target")
        return Target(f"collection {plain}", collection=offer.collection)
    parts = urlsplit(plain)
    if parts.scheme not in {"http", "https"} or not parts.netloc or re.search(r"\s", plain):
        raise InvalidInput(
            _("Give a listing's address or id, a work's address, or its SHA-256."), param="target"
        )
    return Target(f"url {plain}")


def _last_part(text: str) -> str:
    """A listing's id out of its address at this market; else the text itself."""
    begin = f"{settings.BASE_URL}/listings/"
    return text[len(begin) :].rstrip("/") if text.startswith(begin) else text


def _listing(id: str) -> Target:
    try:
        offer = _shown(Offer.objects.select_related("organization")).get(pk=id)
    except (Offer.DoesNotExist, ValidationError):
        raise InvalidInput(_("There is no such listing."), param="target") from None
    return Target(f"offer {offer.pk}", offer=offer)


def _shown(rows: Any) -> Any:
    """What everybody may have seen: a draft and a private offer are not told apart from nothing."""
    return rows.filter(audience__isnull=True, published_at__isnull=False)


def _sender(address: str) -> bytes:
    """Who sends, for a day. Without the server's key nobody finds the address by trying all."""
    said = f"{timezone.now():%Y-%m-%d} {address}".encode()
    return hmac.digest(f"reports {settings.SECRET_KEY}".encode(), said, "sha256")


def _hold(sender: bytes, email: str, target: str) -> None:
    """Have reports of one sender, of one address, and about one thing follow one another."""
    keys = {f"report by {sender.hex()}", f"report of {target}"}
    if email:
        keys.add(f"report from {email}")
    with connection.cursor() as cursor:
        # Sorted, so that two who hold the same keys wait and never deadlock.
        for key in sorted(keys):
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _check_bounds(sender: bytes, email: str) -> None:
    since = timezone.now() - timedelta(days=1)
    recent = Report.objects.filter(received_at__gt=since)
    counts = [recent.filter(sender=sender).count()]
    if email:
        # A receipt goes to an address that nobody proved: few of them.
        counts.append(recent.filter(reporter_email=email).count())
    if max(counts) >= settings.REPORTS_A_DAY:
        raise TooManyReports(
            _("You sent %(max)s reports within a day. Go on tomorrow, or write to the operator.")
            % {"max": settings.REPORTS_A_DAY}
        )


def _mail_receipt(report: Report, token: str) -> None:
    """Confirm the receipt. A mail that could not be sent does not undo the report."""
    if not report.reporter_email:
        return
    try:
        with preferences.writing_to(report.reporter_email):
            invitations.send_mail(
                _("Your report %(id)s") % {"id": report.pk},
                _(
                    "We received your report on %(when)s. A person will look at it.\n\n"
                    "About: %(target)s\n\nFollow it here, and keep the address to yourself:\n"
                    "%(url)s"
                )
                % {
                    "when": preferences.moment(report.received_at),
                    "target": report.target,
                    "url": f"{settings.BASE_URL}/report/{token}",
                },
                report.reporter_email,
            )
    except MailUnavailable:
        logger.warning("the receipt of %s was not mailed", report.pk)


def _hash(token: str) -> bytes:
    """Plain SHA-256: the token has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(token.encode()).digest()
