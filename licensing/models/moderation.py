"""The tables of reports about works, of what operators decided, and of appeals."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models.licenses import Offer
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Collection, Organization
from marketplace.typeid import TypeIDField


class DecisionQuerySet(TenantQuerySet["ModerationDecision"]):
    def visible_to(self, caller: Caller) -> Self:
        """What was decided against the caller. That nothing was done is told to reporters alone."""
        return self.filter(organization=caller.organization).exclude(measure="none")

    def in_force(self) -> Self:
        return self.filter(state="in_force")


class ModerationDecision(models.Model):
    """What an operator decided about a report or by themselves, with the statement of reasons.

    Regulation (EU) 2022/2065, article 17. What it did is undone when it ends, and nothing else.
    Lifecycle: `moderation.TRANSITIONS`. Written by `moderation`.
    """

    class Measure(models.TextChoices):
        NONE = "none", _("No action")
        LISTING_SUSPENDED = "listing_suspended", _("The listing is suspended")
        WORK_HELD = "work_held", _("The works are held: not licensed and not delivered")
        TAKEN_DOWN = "taken_down", _("The listing is suspended, and its works are held")
        SALES_SUSPENDED = "sales_suspended", _("All sales of the seller are suspended")

    class Ground(models.TextChoices):
        LAW = "law", _("Illegal content")
        TERMS = "terms", _("Against the market's terms")

    class Automation(models.TextChoices):
        NONE = "none", _("No automated means were used")
        DETECTED = "detected", _("The content was found by automated means")
        DECIDED = "decided", _("The decision was prepared by automated means")

    class State(models.TextChoices):
        IN_FORCE = "in_force", _("In force")
        REVERSED = "reversed", _("Reversed on appeal")
        LIFTED = "lifted", _("Lifted by an operator")
        EXPIRED = "expired", _("Its time is over")

    id = TypeIDField(prefix="mod", primary_key=True)
    # Whom it is about. Null: what was reported is of nobody here.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    measure = models.CharField(max_length=17, choices=Measure)
    offer = models.ForeignKey(Offer, models.PROTECT, null=True, blank=True, related_name="+")
    # The works that were named, by SHA-256 in hex; held with all that they are represented by.
    digests = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    facts = models.TextField(max_length=5_000)
    ground = models.CharField(max_length=5, choices=Ground)
    # The law or the clause, and why it is broken.
    reference = models.TextField(max_length=2_000)
    automation = models.CharField(max_length=8, choices=Automation, default=Automation.NONE)
    # Article 17(3)(b): taken after a report, or by an operator's own look. Of a report that was
    # opened again, too.
    follows_report = models.BooleanField(default=False, db_default=False)
    # For how long; null: for good, or until it is lifted. Everywhere that the market is.
    until = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=40)
    decided_at = models.DateTimeField(default=timezone.now, editable=False)
    # The offers that this decision suspended. Held works name it as their cause.
    suspended = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.IN_FORCE)
    ended_by = models.CharField(max_length=40, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.TextField(max_length=5_000, blank=True)
    # Of the link that was mailed to the seller.
    token_sha256 = models.BinaryField(max_length=DIGEST_LENGTH, null=True, unique=True)

    objects = DecisionQuerySet.as_manager()

    class Meta:
        verbose_name = _("moderation decision")
        verbose_name_plural = _("moderation decisions")
        indexes = [
            # Serves `offers` and `moderation`: what stands against an organization now.
            models.Index(
                name="moderation_in_force",
                fields=["organization", "measure"],
                condition=Q(state="in_force"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="moderation_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="moderation_measure_has_its_target",
                condition=Q(measure="none")
                | Q(
                    measure__in=["listing_suspended", "taken_down"],
                    organization__isnull=False,
                    offer__isnull=False,
                )
                | Q(measure="work_held", organization__isnull=False, digests__len__gt=0)
                | Q(measure="sales_suspended", organization__isnull=False),
            ),
            models.CheckConstraint(
                name="moderation_states_its_reasons",
                condition=Q(
                    ground__in=["law", "terms"], automation__in=["none", "detected", "decided"]
                )
                & ~Q(facts="")
                & ~Q(reference=""),
            ),
            models.CheckConstraint(
                name="moderation_ends_after_it_was_decided",
                condition=Q(until__isnull=True) | Q(until__gt=F("decided_at")),
            ),
            models.CheckConstraint(
                name="moderation_state_matches_its_end",
                condition=Q(state="in_force", ended_at__isnull=True, ended_by="", end_reason="")
                | Q(state__in=["reversed", "lifted"], ended_at__isnull=False)
                & ~Q(ended_by="")
                & ~Q(end_reason="")
                | Q(state="expired", ended_at__isnull=False, until__isnull=False),
            ),
            models.CheckConstraint(
                name="moderation_token_is_sha256",
                condition=Q(token_sha256__isnull=True) | Q(Exact(Length("token_sha256"), 32)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} ({self.measure}, {self.state})"

    @property
    def origin(self) -> str:
        """Why it was looked at, in words."""
        if self.follows_report:
            return gettext("After a report (article 16 of Regulation (EU) 2022/2065)")
        return gettext("By the market’s own look, without a report")


class Report(models.Model):
    """What somebody says is wrong with a listing, a collection or a work. Operators' alone.

    Regulation (EU) 2022/2065, article 16. Another one about the same thing has a receipt of its
    own, joins the first, and is decided with it. Written by `reports`, and decided by
    `moderation`.
    """

    class Ground(models.TextChoices):
        LAW = "law", _("It is against the law")
        COPYRIGHT = "copyright", _("It infringes a copyright or another right")
        PERSONAL_DATA = "personal_data", _("It shows or tells personal data")
        CHILD_ABUSE = "child_abuse", _("It shows the sexual abuse of a child")
        OTHER = "other", _("Something else")

    class State(models.TextChoices):
        RECEIVED = "received", _("Received: a person will look at it")
        DECIDED = "decided", _("Decided")

    id = TypeIDField(prefix="rpt", primary_key=True)
    # What was named, as the reporter wrote it, and what one report joins another by.
    target = models.CharField(max_length=2_000)
    target_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    offer = models.ForeignKey(Offer, models.PROTECT, null=True, blank=True, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    # A work's bytes, where they were named.
    digest = models.BinaryField(max_length=DIGEST_LENGTH, null=True)
    ground = models.CharField(max_length=13, choices=Ground)
    explanation = models.TextField(max_length=5_000)
    # Where exactly in it.
    location = models.TextField(max_length=2_000)
    # Empty only where the law lets a reporter stay unknown, or after an erasure.
    reporter_name = models.CharField(max_length=200, blank=True)
    reporter_email = models.EmailField(blank=True)
    in_good_faith = models.BooleanField()
    erased_at = models.DateTimeField(null=True, blank=True)
    # HMAC of day and address, so that one sender can be told from another for a day.
    sender = models.BinaryField(max_length=DIGEST_LENGTH)
    token_sha256 = models.BinaryField(max_length=DIGEST_LENGTH, unique=True)
    joined_to = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="joined"
    )
    state = models.CharField(max_length=8, choices=State, default=State.RECEIVED)
    decision = models.ForeignKey(
        ModerationDecision, models.PROTECT, null=True, blank=True, related_name="reports"
    )
    received_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        indexes = [
            # Serves the desk, and what a new report joins.
            models.Index(
                name="report_waiting", fields=["target_sha256"], condition=Q(state="received")
            ),
            # Serve the bounds of a sender and of an address.
            models.Index(name="report_of_sender", fields=["sender", "received_at"]),
            models.Index(name="report_of_reporter", fields=["reporter_email", "received_at"]),
        ]
        constraints = [
            models.CheckConstraint(
                name="report_ground_is_known",
                condition=Q(
                    ground__in=["law", "copyright", "personal_data", "child_abuse", "other"]
                ),
            ),
            models.CheckConstraint(
                name="report_says_what_where_and_why",
                condition=~Q(target="") & ~Q(explanation="") & ~Q(location=""),
            ),
            models.CheckConstraint(
                name="report_is_made_in_good_faith", condition=Q(in_good_faith=True)
            ),
            models.CheckConstraint(
                name="report_says_by_whom",
                condition=~Q(reporter_name="") & ~Q(reporter_email="")
                | Q(ground="child_abuse")
                | Q(erased_at__isnull=False, reporter_name="", reporter_email=""),
            ),
            models.CheckConstraint(
                name="report_is_decided_iff_it_has_a_decision",
                condition=Q(state="received", decision__isnull=True)
                | Q(state="decided", decision__isnull=False),
            ),
            models.CheckConstraint(
                name="report_joins_another",
                condition=Q(joined_to__isnull=True) | ~Q(joined_to=F("id")),
            ),
            models.CheckConstraint(
                name="report_hashes_are_sha256",
                condition=Exact(Length("target_sha256"), 32)
                & Q(Exact(Length("token_sha256"), 32))
                & Q(Exact(Length("sender"), 32))
                & (Q(digest__isnull=True) | Q(Exact(Length("digest"), 32))),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} ({self.ground}, {self.state})"


class AppealQuerySet(TenantQuerySet["Appeal"]):
    def visible_to(self, caller: Caller) -> Self:
        """The caller's own, as a seller."""
        return self.filter(organization=caller.organization, by="seller")


class Appeal(models.Model):
    """A seller's or a reporter's objection to a decision, and another operator's answer.

    Regulation (EU) 2022/2065, article 20. Lifecycle: open -> upheld | reversed. Written by
    `moderation`.
    """

    class By(models.TextChoices):
        SELLER = "seller", _("The seller")
        REPORTER = "reporter", _("The reporter")

    class State(models.TextChoices):
        OPEN = "open", _("Awaits another operator")
        UPHELD = "upheld", _("The decision stands")
        REVERSED = "reversed", _("The decision was reversed")

    id = TypeIDField(prefix="apl", primary_key=True)
    decision = models.ForeignKey(ModerationDecision, models.PROTECT, related_name="appeals")
    # The seller's, as the decision names it.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    by = models.CharField(max_length=8, choices=By)
    # The reporter's.
    report = models.ForeignKey(
        Report, models.PROTECT, null=True, blank=True, related_name="appeals"
    )
    reasons = models.TextField(max_length=5_000)
    actor = models.CharField(max_length=40)
    filed_at = models.DateTimeField(default=timezone.now, editable=False)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    # Who decided first: nobody answers an appeal against themselves.
    first_operator = models.CharField(max_length=40)
    answer = models.TextField(max_length=5_000, blank=True)
    answered_by = models.CharField(max_length=40, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    objects = AppealQuerySet.as_manager()

    class Meta:
        verbose_name = _("appeal")
        verbose_name_plural = _("appeals")
        constraints = [
            models.UniqueConstraint(
                name="appeal_is_made_once", fields=["decision", "report"], nulls_distinct=False
            ),
            models.CheckConstraint(
                name="appeal_is_the_sellers_or_a_reporters",
                condition=Q(by="seller", report__isnull=True, organization__isnull=False)
                | Q(by="reporter", report__isnull=False),
            ),
            models.CheckConstraint(name="appeal_says_why", condition=~Q(reasons="")),
            models.CheckConstraint(
                name="appeal_state_matches_its_answer",
                condition=Q(state="open", answer="", answered_by="", answered_at__isnull=True)
                | Q(state__in=["upheld", "reversed"], answered_at__isnull=False)
                & ~Q(answer="")
                & ~Q(answered_by=""),
            ),
            models.CheckConstraint(
                name="appeal_is_answered_by_another", condition=~Q(answered_by=F("first_operator"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} ({self.by}, {self.state})"
