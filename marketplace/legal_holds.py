"""Legal holds: records that nobody erases while a matter is open. A second person lifts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, erasures
from marketplace.access import system
from marketplace.errors import (
    AnotherOperatorNeeded,
    InvalidInput,
    LegallyHeld,
    MissingScope,
    NotFound,
)
from marketplace.models import Contributor, LegalHold, Membership, Organization, User
from marketplace.typeid import TypeID

REASON_LENGTH_MAX = 2_000
MATTER_LENGTH_MAX = 100
# Prefix -> whose records a subject's are, for the audit. Other apps add what they know of.
OWNERS: dict[str, Callable[[TypeID], list[Organization] | None]] = {}


def place(
    operator: User, subject: str, *, reason: str, matter: str, until: datetime | None = None
) -> LegalHold:
    """Hold the records of an organization, an account, a contributor or an order.

    Open-ended, or until an instant. The same matter again changes nothing. An erasure that is
    under way is waited for. Raises MissingScope for who is no operator, InvalidInput, NotFound.
    """
    _check_operator(operator)
    reason = _text(reason, "reason", REASON_LENGTH_MAX)
    matter = _text(matter, "matter", MATTER_LENGTH_MAX)
    if until is not None and until <= timezone.now():
        raise InvalidInput(_("The end of the hold is past."), param="until")
    with system(f"operator {operator.pk} holds records for a matter"):
        # Whoever erases holds this, too: it is over, or it sees the hold.
        erasures.lock()
        owners = _owners(subject)
        hold = in_force().filter(subject=subject, matter=matter, until=until).first()
        if hold is not None:
            return hold
        hold = LegalHold(
            subject=subject,
            reason=reason,
            matter=matter,
            until=until,
            placed_by=str(operator.pk),
        )
        hold.save(force_insert=True)
        for owner in owners:
            caller = audit.by_operator(operator, owner)
            audit.record(
                caller, "legal_hold.placed", subject=hold, held=subject, matter=matter, why=reason
            )
    return hold


def lift(operator: User, id: str, *, reason: str) -> LegalHold:
    """Let records be erased again. Never by who placed the hold. Repeating it changes nothing.

    Raises MissingScope for who is no operator, AnotherOperatorNeeded, InvalidInput, NotFound.
    """
    _check_operator(operator)
    reason = _text(reason, "reason", REASON_LENGTH_MAX)
    with system(f"operator {operator.pk} lifts a hold"):
        try:
            hold = LegalHold.objects.select_for_update().get(pk=id)
        except (LegalHold.DoesNotExist, ValidationError):
            raise NotFound(_("There is no legal hold “%(id)s”.") % {"id": id}) from None
        if hold.lifted_at is not None:
            return hold
        if hold.placed_by == str(operator.pk):
            raise AnotherOperatorNeeded(
                _("You placed this hold: another operator lifts it."), hold=str(hold.pk)
            )
        hold.lifted_by, hold.lifted_at = str(operator.pk), timezone.now()
        hold.lift_reason = reason
        hold.save(update_fields=["lifted_by", "lifted_at", "lift_reason"])
        for owner in _owners(hold.subject):
            caller = audit.by_operator(operator, owner)
            audit.record(caller, "legal_hold.lifted", subject=hold, why=reason)
    return hold


def check(subjects: Iterable[object]) -> None:
    """Refuse to erase what is held, by the hold's name. Raises LegallyHeld.

    In the transaction that erases, under `erasures.lock`; a tenant's, too.
    """
    hold = over(subjects)
    if hold is not None:
        raise LegallyHeld(
            _("These records are kept for an open matter (%(hold)s): nothing is erased.")
            % {"hold": hold},
            hold=str(hold),
        )


def over(subjects: Iterable[object]) -> TypeID | None:
    """The first hold over any of some subjects (TypeIDs) that is in force."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM marketplace_held(%s)", [[str(each) for each in subjects]])
        row = cursor.fetchone()
    return None if row is None else TypeID("lgh", row[0])


def in_force() -> QuerySet[LegalHold]:
    """Those that hold something now, the newest first. Under `access.system`."""
    is_open = Q(until__isnull=True) | Q(until__gt=timezone.now())
    return LegalHold.objects.filter(is_open, lifted_at__isnull=True).order_by("-pk")


def held_organizations() -> list[TypeID]:
    """The organizations whose records are all held now. Under `access.system`."""
    rows = in_force().filter(subject__startswith="org_")
    return [TypeID.parse("org", subject) for subject in rows.values_list("subject", flat=True)]


def _owners(subject: str) -> list[Organization | None]:
    """The organizations that a subject's records are of, or None alone. Raises as `place` does."""
    prefix = subject.rpartition("_")[0]
    if prefix not in OWNERS:
        raise InvalidInput(
            _("Name an organization, an account, a contributor or an order by its id."),
            param="subject",
        )
    try:
        owners = OWNERS[prefix](TypeID.parse(prefix, subject))
    except ValueError:
        owners = None
    if owners is None:
        raise NotFound(_("There is no “%(id)s”.") % {"id": subject})
    # An account may be of no organization: an operator's, or somebody's who left.
    return [*owners] or [None]


def _organization(id: TypeID) -> list[Organization] | None:
    return list(Organization.objects.filter(pk=id)) or None


def _account(id: TypeID) -> list[Organization] | None:
    if not User.objects.filter(pk=id).exists():
        return None
    roles = Membership.objects.filter(user=id).select_related("organization").order_by("pk")
    return [role.organization for role in roles]


def _contributor(id: TypeID) -> list[Organization] | None:
    rows = Contributor.objects.filter(pk=id).select_related("organization")
    return [row.organization for row in rows] or None


OWNERS |= {"org": _organization, "usr": _account, "ctr": _contributor}


def _check_operator(operator: User) -> None:
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market holds records."))


def _text(text: str, param: str, most: int) -> str:
    text = text.strip()
    if not text or len(text) > most or "\x00" in text:
        raise InvalidInput(_("Say it in up to %(max)s characters.") % {"max": most}, param=param)
    return text
