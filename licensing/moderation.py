"""Moderation: what an operator decides about reports, told with its reasons, appealed, undone."""

from __future__ import annotations

import calendar
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import moderation_mails, offers, optouts, reports
from licensing.models import Appeal, ModerationDecision, Offer, Report
from marketplace import audit, idempotency, organizations, preferences, reservations
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    AnotherOperatorNeeded,
    AppealTooLate,
    DecisionWrongState,
    DomainError,
    InvalidInput,
    MissingScope,
    NotFound,
    ReportWrongState,
)
from marketplace.models import User

Measure = ModerationDecision.Measure
State = ModerationDecision.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.IN_FORCE: frozenset({State.REVERSED, State.LIFTED, State.EXPIRED}),
    # The others are final: another decision may follow.
}
APPEAL_TRANSITIONS: dict[str, frozenset[str]] = {
    Appeal.State.OPEN: frozenset({Appeal.State.UPHELD, Appeal.State.REVERSED}),
    # An answer is final.
}
# Article 20(1) of Regulation (EU) 2022/2065.
APPEAL_MONTHS = 6
# One whose time is over was right or wrong all the same: six months are six months.
_APPEALABLE = frozenset({State.IN_FORCE, State.EXPIRED})
# Named one by one in one decision; a whole listing has no limit (`taken_down`).
DIGESTS_MAX = 1_000
_SUSPENDING = (Measure.LISTING_SUSPENDED, Measure.TAKEN_DOWN)
_HOLDING = (Measure.WORK_HELD, Measure.TAKEN_DOWN)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reasons:
    """The statement of reasons, as article 17(3) asks for it."""

    facts: str
    ground: str
    # The law or the clause, and why it is broken.
    reference: str
    automation: str = ModerationDecision.Automation.NONE


# --- the operator's ---------------------------------------------------------------------------


def decide(
    operator: User,
    *,
    measure: str,
    reasons: Reasons,
    report: str | None = None,
    organization: str | None = None,
    offer: str | None = None,
    digests: Sequence[str] = (),
    until: datetime | None = None,
) -> ModerationDecision:
    """Decide about a report and all that joined it, or about a seller without a report.

    What is not given, the report says. In one transaction the measure holds, and whoever asks
    after it is refused; then seller and reporters are told, with the reasons. The same about the
    same report changes nothing. Raises MissingScope for who is no operator, InvalidInput,
    NotFound, ReportWrongState, OfferWrongState.
    """
    _check_operator(operator)
    _check_reasons(measure, reasons, until)
    with system(f"operator {operator.pk} decides about a report"):
        about = None if report is None else _lock_report(report)
        if about is not None and about.decision_id is not None:
            about.decision = ModerationDecision.objects.get(pk=about.decision_id)
            if (about.decision.measure, about.decision.facts) == (measure, reasons.facts.strip()):
                return about.decision
            raise ReportWrongState(
                _("The report was decided: %(id)s.") % {"id": about.decision_id},
                decision=str(about.decision_id),
            )
        decision = _drafted(about, measure, organization, offer, digests)
        decision.facts, decision.reference = reasons.facts.strip(), reasons.reference.strip()
        decision.ground, decision.automation = reasons.ground, reasons.automation
        decision.until, decision.decided_by = until, str(operator.pk)
        decision.follows_report = about is not None
        if decision.organization is not None:
            # Before any offer is locked: nothing comes on sale meanwhile.
            offers.hold_sales(decision.organization.pk)
            if about is None and (same := _same(decision)) is not None:
                return same
        decision.save(force_insert=True)
        _apply(operator, decision)
        if about is not None:
            Report.objects.filter(Q(pk=about.pk) | Q(joined_to=about)).update(
                state=Report.State.DECIDED, decision=decision
            )
        audit.record(
            audit.by_operator(operator, decision.organization),
            "moderation_decision.taken",
            subject=decision,
            measure=measure,
            ground=reasons.ground,
            report=report,
        )
        told = _to_tell(decision)
    moderation_mails.decided(decision, until=appeal_ends(decision), **told)
    return decision


def lift(operator: User, id: str, *, reason: str) -> ModerationDecision:
    """Take a decision back, as whoever took it or another operator. Repeating it changes nothing.

    What it did is undone, and only that. Raises MissingScope, NotFound, InvalidInput,
    DecisionWrongState.
    """
    _check_operator(operator)
    reason = _text(reason, "reason", 5_000)
    with system(f"operator {operator.pk} lifts a decision"):
        decision = _lock(id)
        if decision.state == State.LIFTED:
            return decision
        caller = audit.by_operator(operator, decision.organization)
        _end(caller, decision, State.LIFTED, by=str(operator.pk), reason=reason)
        told = _to_tell(decision)
    moderation_mails.ended(decision, until=_reporters_end(decision, told["reports"]), **told)
    return decision


def answer(operator: User, appeal: str, *, is_reversed: bool, text: str) -> Appeal:
    """Answer an appeal, as another operator than who decided. Repeating it changes nothing.

    A seller's that is right ends the decision and undoes what it did. A reporter's that is right
    opens the report again, for another decision; where nothing had been done, the decision not to
    act ends. Raises MissingScope, NotFound, InvalidInput, AnotherOperatorNeeded,
    DecisionWrongState.
    """
    _check_operator(operator)
    text = _text(text, "text", 5_000)
    state = Appeal.State.REVERSED if is_reversed else Appeal.State.UPHELD
    with system(f"operator {operator.pk} answers an appeal"):
        decision, found = _lock_appeal(appeal)
        if found.state == state:
            return found
        if state not in APPEAL_TRANSITIONS.get(found.state, frozenset()):
            raise DecisionWrongState(
                _("The appeal was answered: “%(state)s”.") % {"state": found.state},
                appeal_state=str(found.state),
            )
        if found.first_operator == str(operator.pk):
            raise AnotherOperatorNeeded(
                _("You took this decision: another operator answers the appeal."),
                decision=str(decision.pk),
            )
        found.state, found.answer = state, text
        found.answered_by, found.answered_at = str(operator.pk), timezone.now()
        found.save(update_fields=["state", "answer", "answered_by", "answered_at"])
        # Before it changes who is told: a report that is opened again has no decision.
        told = _to_tell(decision)
        if is_reversed:
            _reverse(operator, decision, found, text)
        audit.record(
            audit.by_operator(operator, decision.organization),
            "moderation_appeal.reversed" if is_reversed else "moderation_appeal.refused",
            subject=found,
            decision=str(decision.pk),
        )
    moderation_mails.answered(found, decision, **told)
    return found


def expire_due(limit: int = 100) -> int:
    """End the decisions whose time is over, and undo what they did. The worker's job."""
    with system("find decisions whose time is over"):
        due = list(
            ModerationDecision.objects.in_force()
            .filter(until__lte=timezone.now())
            .order_by("until")
            .values_list("pk", flat=True)[:limit]
        )
    for id in due:
        with system("end a decision whose time is over"):
            decision = _lock(str(id))
            if decision.state == State.IN_FORCE:
                _end(_as_market(decision), decision, State.EXPIRED, by="", reason="")
    return len(due)


def appeals_waiting(operator: User) -> QuerySet[Appeal]:
    """The appeals that an operator may answer, the longest-waiting first. Under `access.system`."""
    rows = Appeal.objects.filter(state=Appeal.State.OPEN).exclude(first_operator=str(operator.pk))
    return rows.select_related("decision__organization", "report").order_by("filed_at", "pk")


# --- the seller's and the reporter's ----------------------------------------------------------


def appeal(caller: Caller, id: str, *, reasons: str) -> ModerationDecision:
    """Object to a decision about the caller's works, within six months. Once; a repeat is the same.

    Raises NotFound, InvalidInput, AppealTooLate, DecisionWrongState.
    """
    reasons = _text(reasons, "reasons", 5_000)
    with acting(caller):
        _hold_appeals(id)
        decision = ModerationDecision.objects.get_visible(caller, id)
        _file(decision, caller=caller, report=None, reasons=reasons)
        idempotency.names(caller, decision)
    return decision


def appeal_by_link(token: str, *, reasons: str) -> ModerationDecision:
    """Do the same with the link of a statement of reasons."""
    decision = by_link(token)
    assert decision.organization is not None
    return appeal(organizations.operator(decision.organization), str(decision.pk), reasons=reasons)


def appeal_as_reporter(token: str, *, reasons: str) -> Report:
    """Object to the decision about what one reported, by the receipt's link. Once, as above.

    Raises NotFound, InvalidInput, AppealTooLate, DecisionWrongState.
    """
    reasons = _text(reasons, "reasons", 5_000)
    with system("a reporter appeals, who is of no organization"):
        report = reports.by_token(token)
        if report.decision_id is None:
            raise DecisionWrongState(_("Nothing was decided yet."))
        _hold_appeals(str(report.decision_id))
        decision = ModerationDecision.objects.get(pk=report.decision_id)
        _file(decision, caller=None, report=report, reasons=reasons)
    return report


def by_link(token: str) -> ModerationDecision:
    """The decision behind the link of a seller's statement of reasons. Raises NotFound."""
    digest = hashlib.sha256(token.encode()).digest()
    with system("find the decision of a seller's link"):
        rows = ModerationDecision.objects.select_related("organization", "offer__collection")
        decision = rows.filter(token_sha256=digest).first()
    if decision is None:
        raise NotFound(_("There is nothing at this address. Check that it is whole."))
    return decision


def appeal_of(decision: ModerationDecision, report: Report | None = None) -> Appeal | None:
    """The appeal of a decision's seller, or of a reporter; for their pages."""
    with system("show an appeal by its link"):
        return Appeal.objects.filter(decision=decision, report=report).first()


def last_appeal(report: Report) -> Appeal | None:
    """The newest appeal of a reporter, also where the report is open again by it."""
    with system("show a reporter's appeal by its link"):
        return Appeal.objects.filter(report=report).order_by("-pk").first()


def appeal_ends(decision: ModerationDecision, report: Report | None = None) -> datetime:
    """Until when a decision can be appealed: six months, to the last day of a shorter month.

    By a reporter (`report`), that it was taken back, too: six months from then.
    """
    at = decision.decided_at
    if report is not None and _is_taken_back(decision):
        assert decision.ended_at is not None
        at = decision.ended_at
    years, month = divmod(at.month - 1 + APPEAL_MONTHS, 12)
    year, month = at.year + years, month + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


def can_be_appealed(decision: ModerationDecision, report: Report | None = None) -> bool:
    is_open = decision.state in _APPEALABLE or (report is not None and _is_taken_back(decision))
    return is_open and timezone.now() <= appeal_ends(decision, report)


def _reporters_end(decision: ModerationDecision, told: Sequence[Report]) -> datetime | None:
    """Until when reporters can object to what they are told of a decision that has ended."""
    return appeal_ends(decision, told[0]) if told and can_be_appealed(decision, told[0]) else None


def _is_taken_back(decision: ModerationDecision) -> bool:
    """Whether something was done about a report, and an operator undid it unasked."""
    return decision.state == State.LIFTED and decision.measure != Measure.NONE


# --- what a measure does, and how it is undone ------------------------------------------------


def _apply(operator: User, decision: ModerationDecision) -> None:
    """Carry the measure out, and note what it did that was not so before."""
    before = set(decision.suspended)
    if decision.measure == Measure.LISTING_SUSPENDED:
        _suspend(operator, decision, Offer.objects.filter(pk=decision.offer_id))
    elif decision.measure == Measure.TAKEN_DOWN:
        # Who takes a listing back in time, or prepares it anew, keeps no work out of this by it.
        on_sale = Offer.objects.filter(pk=decision.offer_id, state=Offer.State.LISTED)
        _suspend(operator, decision, on_sale)
    elif decision.measure == Measure.SALES_SUSPENDED:
        on_sale = Offer.objects.filter(organization=decision.organization, state="listed")
        _suspend(operator, decision, on_sale)
    if decision.measure in _HOLDING:
        forms = _hold_works(decision)
        named = decision.digests if decision.measure == Measure.WORK_HELD else []
        if not forms or not forms.issuperset(map(bytes.fromhex, named)):
            # Else the statement of reasons would name works that nothing happens to.
            raise InvalidInput(_("The seller has none of these, or not all."), param="digests")
    if set(decision.suspended) != before:
        decision.save(update_fields=["suspended"])


def _suspend(operator: User, decision: ModerationDecision, rows: QuerySet[Offer]) -> None:
    reason = f"{decision.pk}: {decision.facts}"[: offers.REASON_LENGTH_MAX]
    for offer in rows.order_by("pk"):
        if offer.state != Offer.State.SUSPENDED:
            offers.suspend(operator, str(offer.pk), reason=reason)
            decision.suspended = [*decision.suspended, str(offer.pk)]


def _hold_works(decision: ModerationDecision) -> frozenset[bytes]:
    """Hold works with all that they are represented by: which digests that is."""
    assert decision.organization_id is not None
    # No license is given, and nothing imported or taken out, meanwhile.
    optouts.hold(decision.organization_id)
    sql = _FORMS_OF_DIGESTS if decision.measure == Measure.WORK_HELD else _FORMS_OF_OFFER
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "organization": decision.organization_id,
                "offer": decision.offer_id,
                "digests": [bytes.fromhex(each) for each in decision.digests],
            },
        )
        forms = [bytes(digest) for (digest,) in cursor.fetchall()]
    reservations.reserve(
        forms,
        organization=decision.organization_id,
        reason=reservations.Reason.HELD,
        cause=str(decision.pk),
    )
    return frozenset(forms)


def _end(
    caller: Caller | audit.OfMarket,
    decision: ModerationDecision,
    state: State,
    *,
    by: str,
    reason: str,
) -> None:
    """End a decision and undo what it did; what another one asks for, too, passes on to that."""
    if state not in TRANSITIONS.get(decision.state, frozenset()):
        raise DecisionWrongState(
            _("The decision is “%(state)s”.") % {"state": decision.state},
            decision_state=str(decision.state),
        )
    decision.state, decision.ended_at = state, timezone.now()
    decision.ended_by, decision.end_reason = by, reason
    decision.save(update_fields=["state", "ended_at", "ended_by", "end_reason"])
    # A decision about what is nobody's here did nothing.
    kept = [] if isinstance(caller, audit.OfMarket) else _undo(caller, decision)
    audit.record(caller, "moderation_decision.ended", subject=decision, how=str(state), kept=kept)


def _undo(caller: Caller, decision: ModerationDecision) -> list[str]:
    """Returns the offers that stay suspended, since they can no longer be on sale."""
    in_force = ModerationDecision.objects.in_force().filter(organization=caller.organization)
    others = list(in_force.order_by("pk"))
    reservations.end_caused_by(str(decision.pk))
    for other in others:
        if other.measure in _HOLDING:
            _hold_works(other)
    kept = []
    for id in decision.suspended:
        heir = next((other for other in others if _suspends(other, id)), None)
        if heir is not None:
            heir.suspended = [*heir.suspended, id]
            heir.save(update_fields=["suspended"])
        elif not _is_back(caller, id):
            kept.append(id)
    return kept


def _suspends(decision: ModerationDecision, offer: str) -> bool:
    is_its = decision.measure in _SUSPENDING and str(decision.offer_id) == offer
    return is_its or decision.measure == Measure.SALES_SUSPENDED


def _is_back(caller: Caller, offer: str) -> bool:
    """Whether an offer came back: its time may be over, or nothing be left to license."""
    try:
        with transaction.atomic():
            offers.come_back(caller, offer)
    except DomainError:
        return False
    return True


def _reverse(operator: User, decision: ModerationDecision, found: Appeal, text: str) -> None:
    is_sellers = found.by == Appeal.By.SELLER
    if (is_sellers or decision.measure == Measure.NONE) and decision.state == State.IN_FORCE:
        caller = audit.by_operator(operator, decision.organization)
        _end(caller, decision, State.REVERSED, by=str(operator.pk), reason=text)
    if not is_sellers:
        # Looked at again, by way of a new decision; what was done meanwhile stays.
        Report.objects.filter(decision=decision).update(state=Report.State.RECEIVED, decision=None)


_FORMS_OF_DIGESTS = """
SELECT DISTINCT form.digest FROM marketplace_representation named
JOIN marketplace_representation form ON form.work_id = named.work_id
WHERE named.organization_id = %(organization)s AND named.digest = ANY(%(digests)s::bytea[])
"""
_FORMS_OF_OFFER = """
SELECT DISTINCT form.digest FROM licensing_offer offer
JOIN licensing_snapshot snapshot ON snapshot.id = offer.snapshot_id
JOIN marketplace_collection collection ON collection.id = snapshot.collection_id
JOIN marketplace_collectionitem item ON item.collection_number = collection.number
    AND item.added_in <= snapshot.number
    AND (item.removed_in IS NULL OR item.removed_in > snapshot.number)
JOIN marketplace_representation form ON form.id = item.representation_id
WHERE offer.id = %(offer)s
"""


# --- the parts --------------------------------------------------------------------------------


def _check_operator(operator: User) -> None:
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market decides about reports."))


def _check_reasons(measure: str, reasons: Reasons, until: datetime | None) -> None:
    if measure not in Measure.values:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(Measure.values)}, param="measure"
        )
    for param, known in (
        ("ground", ModerationDecision.Ground.values),
        ("automation", ModerationDecision.Automation.values),
    ):
        if getattr(reasons, param) not in known:
            raise InvalidInput(
                _("Use one of: %(known)s.") % {"known": ", ".join(known)}, param=param
            )
    _text(reasons.facts, "facts", 5_000)
    _text(reasons.reference, "reference", 2_000)
    if until is not None and until <= timezone.now():
        raise InvalidInput(_("The end of the measure is past."), param="until")
    if until is not None and measure == Measure.NONE:
        raise InvalidInput(_("No action has no end."), param="until")


def _drafted(
    report: Report | None,
    measure: str,
    organization: str | None,
    offer: str | None,
    digests: Sequence[str],
) -> ModerationDecision:
    """A decision with its target, from what is given and else from the report."""
    decision = ModerationDecision(measure=measure)
    decision.offer = report.offer if report is not None and offer is None else _offer(offer)
    if organization is not None:
        decision.organization = organizations.find(organization)
    elif report is not None:
        decision.organization = report.organization
    if decision.offer is not None:
        if organization is not None and decision.organization != decision.offer.organization:
            raise InvalidInput(
                _("The listing %(id)s is of another seller.") % {"id": decision.offer.pk},
                param="organization",
            )
        decision.organization = decision.offer.organization
    if not digests and report is not None and report.digest is not None:
        digests = [bytes(report.digest).hex()]
    if len(digests) > DIGESTS_MAX or not all(_DIGEST.fullmatch(each) for each in digests):
        raise InvalidInput(
            _("Name up to %(max)s works by SHA-256 in hex.") % {"max": DIGESTS_MAX}, param="digests"
        )
    decision.digests = sorted(set(digests))
    if measure in _SUSPENDING and decision.offer is None:
        raise InvalidInput(_("Name the listing."), param="offer")
    if measure == Measure.WORK_HELD and not decision.digests:
        raise InvalidInput(_("Name the works."), param="digests")
    if measure != Measure.NONE and decision.organization is None:
        raise InvalidInput(_("Name the seller."), param="organization")
    return decision


def _same(decision: ModerationDecision) -> ModerationDecision | None:
    """One in force that says the same, by the same operator: asked for again, and not another."""
    return (
        ModerationDecision.objects.in_force()
        .filter(
            organization=decision.organization,
            measure=decision.measure,
            offer=decision.offer,
            digests=decision.digests,
            facts=decision.facts,
            decided_by=decision.decided_by,
        )
        .first()
    )


def _offer(id: str | None) -> Offer | None:
    if id is None:
        return None
    try:
        return Offer.objects.select_related("organization").get(pk=id)
    except (Offer.DoesNotExist, ValidationError):
        raise NotFound(_("There is no offer “%(id)s”.") % {"id": id}) from None


def _file(
    decision: ModerationDecision, *, caller: Caller | None, report: Report | None, reasons: str
) -> None:
    """File an appeal once, under its lock; the first one's words stand."""
    if Appeal.objects.filter(decision=decision, report=report).exists():
        return
    is_taken_back = report is not None and _is_taken_back(decision)
    if decision.state not in _APPEALABLE and not is_taken_back:
        raise DecisionWrongState(
            _("The decision is “%(state)s”: there is nothing to appeal.")
            % {"state": decision.state},
            decision_state=str(decision.state),
        )
    ends = appeal_ends(decision, report)
    if ends < timezone.now():
        raise AppealTooLate(
            _("An appeal was possible until %(until)s.") % {"until": preferences.moment(ends)},
            decision=str(decision.pk),
        )
    found = Appeal(
        decision=decision,
        organization=decision.organization,
        by=Appeal.By.SELLER if report is None else Appeal.By.REPORTER,
        report=report,
        reasons=reasons,
        actor="reporter" if caller is None else caller.actor,
        first_operator=decision.ended_by if is_taken_back else decision.decided_by,
    )
    found.save(force_insert=True)
    audit.record(
        caller or _as_market(decision, found.actor),
        "moderation_appeal.filed",
        subject=found,
        decision=str(decision.pk),
        by=found.by,
    )


def _to_tell(decision: ModerationDecision) -> moderation_mails.Told:
    """Whom to tell, read while all tenants are seen; with a link for a seller that has none yet."""
    token = ""
    addresses: list[str] = []
    if decision.organization is not None and decision.measure != Measure.NONE:
        addresses = organizations.addresses(decision.organization)
        if decision.token_sha256 is None:
            token = secrets.token_urlsafe(32)
            decision.token_sha256 = hashlib.sha256(token.encode()).digest()
            decision.save(update_fields=["token_sha256"])
    rows = Report.objects.filter(decision=decision).exclude(reporter_email="").order_by("pk")
    return {"seller": addresses, "token": token, "reports": list(rows)}


def _lock_report(id: str) -> Report:
    """The report that others joined, locked. Raises NotFound, ReportWrongState."""
    # Not joined with its decision: who waited for the lock would see the report of now beside the
    # decision of before, which is none.
    rows = Report.objects.select_for_update(of=("self",))
    try:
        report = rows.select_related("organization", "offer__organization").get(pk=id)
    except (Report.DoesNotExist, ValidationError):
        raise NotFound(_("There is no report “%(id)s”.") % {"id": id}) from None
    if report.joined_to_id is not None:
        raise ReportWrongState(
            _("It joined %(id)s: decide about that.") % {"id": report.joined_to_id},
            report=str(report.joined_to_id),
        )
    return report


def _lock(id: str) -> ModerationDecision:
    """A decision, and its seller's sales, held until the transaction ends. Raises NotFound."""
    rows = ModerationDecision.objects.select_related("organization")
    try:
        found = rows.get(pk=id)
    except (ModerationDecision.DoesNotExist, ValidationError):
        raise NotFound(_("There is no decision “%(id)s”.") % {"id": id}) from None
    if found.organization is not None:
        offers.hold_sales(found.organization.pk)
    # Also where it is of nobody, and nobody's sales were held.
    return rows.select_for_update(of=("self",)).get(pk=found.pk)


def _lock_appeal(id: str) -> tuple[ModerationDecision, Appeal]:
    try:
        found = Appeal.objects.get(pk=id)
    except (Appeal.DoesNotExist, ValidationError):
        raise NotFound(_("There is no appeal “%(id)s”.") % {"id": id}) from None
    decision = _lock(str(found.decision_id))
    rows = Appeal.objects.select_for_update(of=("self",)).select_related("report")
    return decision, rows.get(pk=found.pk)


def _hold_appeals(decision: str) -> None:
    """Have appeals of one decision follow one another: a seller may not lock the decision."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('appeals of ' || %s, 0))", [decision]
        )


def _as_market(decision: ModerationDecision, by: str = "system") -> Caller | audit.OfMarket:
    """For the audit of what no operator did: whom a decision is about, or nobody here."""
    found = decision.organization
    return audit.OfMarket(by) if found is None else organizations.operator(found)


def _text(text: str, param: str, most: int) -> str:
    text = text.strip()
    if not text or len(text) > most or "\x00" in text:
        raise InvalidInput(
            _("Say why, in up to %(max)s characters.") % {"max": f"{most:,}"}, param=param
        )
    return text
