"""The tables of what contributors earn: rules, allocations of pools, accruals, and advances."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import Snapshot
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Collection, Contributor, Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order

# In one minor unit: accruals are counted in its millionths.
MICRO_IN_MINOR = 1_000_000
# More of one currency in one pool does not fit micro-units in 64 bits.
POOL_MINOR_MAX = 9_000_000_000_000


class RoyaltyRuleQuerySet(TenantQuerySet["RoyaltyRule"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class RoyaltyRule(models.Model):
    """How much of its sales a collection's contributors get, and who how much of that.

    Updates: cannot. Deletion: cannot. A change is a new version; each sale keeps the one that it
    was made under. Of both modes, as the collection is. Written by `royalties.set_rule`.
    """

    class Method(models.TextChoices):
        FIXED = "fixed", _("Fixed parts")
        EQUAL_PER_WORK = "equal_per_work", _("The same for each work")
        PRO_RATA = "pro_rata", _("In proportion to a unit")

    UNITS = ("bytes", "pages", "pixels", "seconds", "tokens", "words")

    id = TypeIDField(prefix="rrl", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="royalty_rules", db_constraint=False
    )
    version = models.IntegerField()
    # Of what is the seller's, after the market's fee and before tax: hundredths of a percent.
    basis_points = models.IntegerField()
    method = models.CharField(max_length=14, choices=Method)
    # Of what a share is in proportion to; empty for the other methods.
    unit = models.CharField(max_length=7, blank=True)
    # [{"contributor": "ctr_…", "parts": n}] of fixed parts; empty for the other methods.
    parts = models.JSONField(default=list, blank=True)
    # {"USD": 1000}: less is not paid out, and waits for more.
    minimum_minor = models.JSONField(default=dict, blank=True)
    # What a disputed sale brought is not paid out until the dispute is won.
    holds_while_disputed = models.BooleanField(default=True)
    actor = models.CharField(max_length=40)
    effective_from = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RoyaltyRuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty rule")
        constraints = [
            models.UniqueConstraint(
                name="royalty_rule_version_is_unique", fields=["collection", "version"]
            ),
            models.UniqueConstraint(
                name="royalty_rule_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="royalty_rule_shares_no_more_than_all",
                condition=Q(basis_points__gte=0, basis_points__lte=10_000, version__gte=1),
            ),
            models.CheckConstraint(
                name="royalty_rule_method_is_known",
                condition=Q(method__in=["fixed", "equal_per_work", "pro_rata"]),
            ),
            models.CheckConstraint(
                name="royalty_rule_has_a_unit_iff_pro_rata",
                condition=Q(
                    method="pro_rata",
                    unit__in=["bytes", "pages", "pixels", "seconds", "tokens", "words"],
                )
                | ~Q(method="pro_rata") & Q(unit=""),
            ),
            models.CheckConstraint(
                name="royalty_rule_has_parts_iff_fixed",
                condition=Q(method="fixed") & ~Q(parts=[]) | ~Q(method="fixed") & Q(parts=[]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.basis_points} bp, version {self.version}"


class RoyaltyBaseQuerySet(TenantQuerySet["RoyaltyBase"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class RoyaltyBase(models.Model):
    """The weights that pools are shared by: a rule, a snapshot, and what was out of it.

    Counted once for all sales that have these three in common. Insert-only, as its weights are.
    Written by `royalties.allocate_due`.
    """

    id = TypeIDField(prefix="rbs", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    rule = models.ForeignKey(RoyaltyRule, models.PROTECT, related_name="+", db_constraint=False)
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", db_constraint=False)
    # SHA-256 over the digests, ascending, that could not be licensed at the sale; and how many.
    excluded_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    excluded = models.IntegerField()
    total_weight = models.BigIntegerField()
    # How many have a weight, the unknown contributors counted as one.
    sharers = models.IntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RoyaltyBaseQuerySet.as_manager()

    class Meta:
        verbose_name = _("base of royalties")
        verbose_name_plural = _("bases of royalties")
        constraints = [
            models.UniqueConstraint(
                name="royalty_base_is_one", fields=["rule", "snapshot", "excluded_sha256"]
            ),
            models.UniqueConstraint(
                name="royalty_base_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="royalty_base_weighs_something",
                condition=Q(total_weight__gte=1, sharers__gte=1, excluded__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RoyaltyWeightQuerySet(TenantQuerySet["RoyaltyWeight"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class RoyaltyWeight(models.Model):
    """How much of a base is one contributor's. Insert-only. Written with its base.

    Two indexes: the key, and the one that a base's weights are read by, in their order.
    """

    id = models.BigAutoField(primary_key=True)
    # No checks of their own for each of millions of rows: the base's trigger makes them at once.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    base = models.ForeignKey(
        RoyaltyBase, models.PROTECT, related_name="weights", db_index=False, db_constraint=False
    )
    # Null: of works of nobody knows whom.
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, null=True, related_name="+", db_index=False,
        db_constraint=False,
    )  # fmt: skip
    weight = models.BigIntegerField()

    objects = RoyaltyWeightQuerySet.as_manager()

    class Meta:
        verbose_name = _("weight in a base of royalties")
        verbose_name_plural = _("weights in bases of royalties")
        indexes = [models.Index(name="royalty_weight_of_base", fields=["base", "id"])]
        constraints = [
            models.CheckConstraint(name="royalty_weight_is_some", condition=Q(weight__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.weight} of {self.base_id}"


class RoyaltyAllocationQuerySet(TenantQuerySet["RoyaltyAllocation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyAllocation(models.Model):
    """A pool to be shared out among contributors: of one sale, or taken back of it.

    Lifecycle: pending -> running -> done. Made by `royalties.of_sale` and `royalties.take_back` in
    the transaction of what it follows from; shared out by `royalties.allocate_due`. A deferred
    trigger lets it be done only with accruals that add up to it.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("To be shared out")
        RUNNING = "running", _("Being shared out")
        DONE = "done", _("Shared out")

    id = TypeIDField(prefix="ral", primary_key=True)
    # The seller.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.ForeignKey(
        Order, models.PROTECT, related_name="royalty_allocations", db_constraint=False
    )
    # The refund or the dispute that it follows from; "" for the sale itself.
    cause = models.CharField(max_length=60, blank=True)
    # The allocation of the sale that is taken back here; null for a sale's own.
    sale = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    rule = models.ForeignKey(RoyaltyRule, models.PROTECT, related_name="+", db_constraint=False)
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", db_constraint=False)
    # Who had opted out by then has no share.
    sold_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    # What contributors had of the sale before; what this adds, or takes back.
    kept_before_minor = models.BigIntegerField(default=0)
    pool_minor = models.BigIntegerField()
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    base = models.ForeignKey(
        RoyaltyBase, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    # The last weight that was worked off.
    cursor = models.BigIntegerField(default=0)
    # Whose remainder is as large as the first or larger gets one micro-unit more; of those that
    # tie, whose hash is not above the second. Of all that is kept before, and after. "" and null:
    # nothing remained.
    cut_before_remainder = models.CharField(max_length=40, blank=True)
    cut_before_hash = models.BinaryField(max_length=DIGEST_LENGTH, null=True, blank=True)
    cut_after_remainder = models.CharField(max_length=40, blank=True)
    cut_after_hash = models.BinaryField(max_length=DIGEST_LENGTH, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    done_at = models.DateTimeField(null=True, blank=True)

    objects = RoyaltyAllocationQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty allocation")
        indexes = [
            # Serves `royalties.allocate_due`.
            models.Index(name="royalty_allocation_due", fields=["id"], condition=~Q(state="done")),
        ]
        constraints = [
            models.UniqueConstraint(
                name="royalty_allocation_has_one_cause", fields=["order", "cause"]
            ),
            models.UniqueConstraint(
                name="royalty_allocation_of_organization",
                fields=["organization", "livemode", "id"],
            ),
            models.CheckConstraint(
                name="royalty_allocation_state_is_known",
                condition=Q(state__in=["pending", "running", "done"]),
            ),
            models.CheckConstraint(
                name="royalty_allocation_takes_back_of_a_sale",
                condition=Q(cause="", sale__isnull=True, kept_before_minor=0, pool_minor__gt=0)
                | ~Q(cause="") & Q(sale__isnull=False, pool_minor__lt=0),
            ),
            models.CheckConstraint(
                name="royalty_allocation_leaves_no_less_than_nothing",
                condition=Q(kept_before_minor__gte=0, kept_before_minor__lte=POOL_MINOR_MAX)
                & Q(kept_before_minor__gte=-F("pool_minor"), pool_minor__lte=POOL_MINOR_MAX),
            ),
            models.CheckConstraint(
                name="royalty_allocation_has_a_base_iff_begun",
                condition=Q(state="pending", base__isnull=True)
                | ~Q(state="pending") & Q(base__isnull=False),
            ),
            models.CheckConstraint(
                name="royalty_allocation_done_at_iff_done",
                condition=Q(state="done", done_at__isnull=False)
                | ~Q(state="done") & Q(done_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RoyaltyAccrualQuerySet(TenantQuerySet["RoyaltyAccrual"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyAccrual(models.Model):
    """What one contributor earned by one sale, or lost of it again. In millionths of a minor unit.

    Insert-only, and only while its allocation is being shared out. Written by
    `royalties.allocate_due`. Three indexes: the key, one for the allocation's sum, one for
    statements.
    """

    id = models.BigAutoField(primary_key=True)
    # No checks of their own for each of millions of rows: the allocation's trigger makes them.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    livemode = models.BooleanField()
    allocation = models.ForeignKey(
        RoyaltyAllocation, models.PROTECT, related_name="accruals", db_index=False,
        db_constraint=False,
    )  # fmt: skip
    # Null: it is nobody's that is known, and stays visible as unallocated.
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, null=True, related_name="+", db_index=False,
        db_constraint=False,
    )  # fmt: skip
    currency = models.CharField(max_length=3)
    weight = models.BigIntegerField()
    amount_micro = models.BigIntegerField()

    objects = RoyaltyAccrualQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty accrual")
        indexes = [
            models.Index(name="royalty_accrual_of_person", fields=["contributor", "id"]),
        ]
        constraints = [
            # Nobody earns twice by one allocation, whoever shares it out, and however often.
            models.UniqueConstraint(
                name="royalty_accrual_is_one",
                fields=["allocation", "contributor"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="royalty_accrual_moves_something",
                condition=~Q(amount_micro=0) & Q(weight__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount_micro} millionths {self.currency}"


class RoyaltyAdvanceQuerySet(TenantQuerySet["RoyaltyAdvance"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyAdvance(models.Model):
    """What a seller paid to a contributor ahead of royalties, which pay it back first.

    Updates: cannot. Deletion: cannot. Written by `payouts.advance`.
    """

    id = TypeIDField(prefix="rad", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, related_name="+", db_constraint=False
    )
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # The seller's own word for the payment.
    reference = models.CharField(max_length=200)
    actor = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RoyaltyAdvanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty advance")
        constraints = [
            models.UniqueConstraint(
                name="royalty_advance_is_recorded_once",
                fields=["organization", "livemode", "contributor", "reference"],
            ),
            models.CheckConstraint(
                name="royalty_advance_is_some", condition=Q(amount_minor__gt=0) & ~Q(reference="")
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RoyaltyAdvanceLineQuerySet(TenantQuerySet["RoyaltyAdvanceLine"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyAdvanceLine(models.Model):
    """One movement of what is open of a collection's advances, and what is open after it.

    Given by the seller; paid back by the pool of a sale; open again, because a sale that had paid
    it back went back itself. Updates: cannot. Deletion: cannot. Guarantees: a trigger lets a line
    follow only on the last one, and computes again what a pool pays back. Written by `advances`.
    """

    id = TypeIDField(prefix="rav", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    currency = models.CharField(max_length=3)
    # From 1, without a gap, for each collection, mode and currency.
    number = models.IntegerField()
    # More is open, or, negative, less.
    moved_minor = models.BigIntegerField()
    open_minor = models.BigIntegerField()
    # The pool that paid it back, or no longer does; null: it was given.
    allocation = models.OneToOneField(
        RoyaltyAllocation, models.PROTECT, null=True, blank=True, related_name="advance_line",
        db_constraint=False,
    )  # fmt: skip
    # Of what was given: the seller's own word for the payment.
    reference = models.CharField(max_length=200, blank=True)
    actor = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RoyaltyAdvanceLineQuerySet.as_manager()

    class Meta:
        verbose_name = _("line of a collection's advances")
        verbose_name_plural = _("lines of collections' advances")
        constraints = [
            # Also serves `advances`: the last line.
            models.UniqueConstraint(
                name="royalty_advance_line_number_is_unique",
                fields=["collection", "livemode", "currency", "number"],
            ),
            models.UniqueConstraint(
                name="royalty_advance_line_is_recorded_once",
                fields=["collection", "livemode", "reference"],
                condition=~Q(reference=""),
            ),
            models.CheckConstraint(
                name="royalty_advance_line_moves_something",
                condition=~Q(moved_minor=0) & Q(open_minor__gte=0, number__gte=1),
            ),
            models.CheckConstraint(
                name="royalty_advance_line_is_given_or_of_a_pool",
                condition=Q(allocation__isnull=True, moved_minor__gt=0) & ~Q(reference="")
                | Q(allocation__isnull=False, reference=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.moved_minor} {self.currency}"


class RoyaltyPayoutQuerySet(TenantQuerySet["RoyaltyPayout"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyPayout(models.Model):
    """A batch of payments to contributors, in one currency. Written by `payouts`.

    Lifecycle: running -> done. What was confirmed stays; a job writes the payments, in the order
    of the contributors' ids. A deferred trigger lets it be done only with payments that add up to
    what was confirmed. Deletion: cannot.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("Being written")
        DONE = "done", _("Written")

    id = TypeIDField(prefix="rpo", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    currency = models.CharField(max_length=3)
    contributors = models.IntegerField()
    paid_minor = models.BigIntegerField()
    recouped_minor = models.BigIntegerField()
    # ["ral_…"] of earlier payouts whose sales were held when this one was confirmed.
    held = models.JSONField(default=list, blank=True, db_default=[])
    state = models.CharField(
        max_length=7, choices=State, default=State.RUNNING, db_default=State.DONE
    )
    # The last contributor who was worked off, and how many payments are written.
    cursor = models.UUIDField(null=True, blank=True)
    written = models.IntegerField(default=0, db_default=0)
    actor = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    done_at = models.DateTimeField(null=True, blank=True)

    objects = RoyaltyPayoutQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty payout")
        constraints = [
            models.UniqueConstraint(
                name="royalty_payout_of_organization", fields=["organization", "livemode", "id"]
            ),
            # Also serves the worker, and whoever asks whether one is running.
            models.UniqueConstraint(
                name="royalty_payout_runs_alone",
                fields=["organization", "livemode", "currency"],
                condition=Q(state="running"),
            ),
            models.CheckConstraint(
                name="royalty_payout_moves_something",
                condition=Q(contributors__gte=1, paid_minor__gte=0, recouped_minor__gte=0),
            ),
            models.CheckConstraint(
                name="royalty_payout_state_is_known", condition=Q(state__in=["running", "done"])
            ),
            models.CheckConstraint(
                name="royalty_payout_writes_no_more_than_it_says",
                condition=Q(written__gte=0, written__lte=F("contributors")),
            ),
            # Of those from before there was a job, nobody wrote down when.
            models.CheckConstraint(
                name="royalty_payout_done_at_only_if_done",
                condition=Q(state="done") | Q(done_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RoyaltyCountedQuerySet(TenantQuerySet["RoyaltyCounted"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyCounted(models.Model):
    """That a payout counts something: an allocation, an advance, or a payment that came back.

    Each is counted by one payout, and stands in the balances from then on: what happens while the
    payout is written is a later one's. Insert-only. Written by `payouts.confirm`.
    """

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    payout = models.ForeignKey(
        RoyaltyPayout, models.PROTECT, related_name="counted", db_constraint=False
    )
    allocation = models.ForeignKey(
        RoyaltyAllocation, models.PROTECT, null=True, related_name="+", db_index=False,
        db_constraint=False,
    )  # fmt: skip
    advance = models.ForeignKey(
        RoyaltyAdvance, models.PROTECT, null=True, related_name="+", db_index=False
    )
    payment = models.ForeignKey(
        "RoyaltyPayment", models.PROTECT, null=True, related_name="+", db_index=False
    )

    objects = RoyaltyCountedQuerySet.as_manager()

    class Meta:
        verbose_name = _("counted by a payout of royalties")
        verbose_name_plural = _("counted by payouts of royalties")
        constraints = [
            models.UniqueConstraint(
                name="royalty_allocation_is_counted_once", fields=["allocation"]
            ),
            models.UniqueConstraint(name="royalty_advance_is_counted_once", fields=["advance"]),
            models.UniqueConstraint(name="royalty_payment_is_counted_once", fields=["payment"]),
            models.CheckConstraint(
                name="royalty_counted_is_one_thing",
                condition=Q(allocation__isnull=False, advance__isnull=True, payment__isnull=True)
                | Q(allocation__isnull=True, advance__isnull=False, payment__isnull=True)
                | Q(allocation__isnull=True, advance__isnull=True, payment__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.allocation_id or self.advance_id or self.payment_id)


class RoyaltyBalanceQuerySet(TenantQuerySet["RoyaltyBalance"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyBalance(models.Model):
    """What the payouts so far have left of a contributor's account, in one currency and mode.

    The sum of all that is counted, less what was paid: a payout reads it, and what is new, instead
    of everything since the beginning. Written by `payouts.step`, in the transaction of the
    payments. Deletion: cannot.
    """

    id = models.BigAutoField(primary_key=True)
    # No checks of their own for each of millions of rows: what they sum up has them.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    livemode = models.BooleanField()
    currency = models.CharField(max_length=3)
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # Earned and not paid, in millionths; negative where something was taken back that was paid.
    carried_micro = models.BigIntegerField()
    # Advances that are not paid back yet.
    advance_minor = models.BigIntegerField()
    # The least minimum of the rules that somebody earned by; null: by none yet.
    minimum_minor = models.BigIntegerField(null=True)

    objects = RoyaltyBalanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("balance of royalties")
        verbose_name_plural = _("balances of royalties")
        constraints = [
            # Also serves `payouts`, which reads them in this order.
            models.UniqueConstraint(
                name="royalty_balance_is_one",
                fields=["organization", "livemode", "currency", "contributor"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.carried_micro} millionths {self.currency}"


class RoyaltyPaymentQuerySet(TenantQuerySet["RoyaltyPayment"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class RoyaltyPayment(models.Model):
    """What one contributor gets of a payout, and what of it pays an advance back.

    Lifecycle: `royalty_payments.TRANSITIONS`. Written by `payouts.step`, and then by
    `royalty_payments`.
    """

    class State(models.TextChoices):
        DUE = "due", _("To be paid")
        SENDING = "sending", _("Being sent")
        PAID = "paid", _("Paid")
        RETURNED = "returned", _("Returned: it is owed again")

    id = TypeIDField(prefix="rpm", primary_key=True)
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    livemode = models.BooleanField()
    # No checks of their own for each of millions of rows: a trigger makes them, once a statement.
    payout = models.ForeignKey(
        RoyaltyPayout, models.PROTECT, related_name="payments", db_index=False, db_constraint=False
    )
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    recouped_minor = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.DUE)
    # Of a payment outside of this market: the seller's own word for it.
    reference = models.CharField(max_length=200, blank=True)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    refusal = models.CharField(max_length=1000, blank=True)
    # Not sent before: the market's balance at Stripe did not cover it yet.
    waits_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = RoyaltyPaymentQuerySet.as_manager()

    class Meta:
        verbose_name = _("royalty payment")
        indexes = [
            # Serves statements, and what was paid before.
            models.Index(name="royalty_payment_of_person", fields=["contributor", "id"]),
            # Serves `payouts.send_due`.
            models.Index(
                name="royalty_payment_due",
                fields=["organization", "livemode"],
                condition=Q(state="due"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="royalty_payment_is_one", fields=["payout", "contributor"]
            ),
            models.CheckConstraint(
                name="royalty_payment_state_is_known",
                condition=Q(state__in=["due", "sending", "paid", "returned"]),
            ),
            models.CheckConstraint(
                name="royalty_payment_moves_something",
                condition=Q(amount_minor__gte=0, recouped_minor__gte=0)
                & ~Q(amount_minor=0, recouped_minor=0),
            ),
            models.CheckConstraint(
                name="royalty_payment_settled_at_iff_settled",
                condition=Q(state__in=["paid", "returned"], settled_at__isnull=False)
                | ~Q(state__in=["paid", "returned"]) & Q(settled_at__isnull=True),
            ),
            models.CheckConstraint(
                name="royalty_payment_names_how_it_was_paid",
                condition=~Q(state="paid")
                | Q(amount_minor=0)
                | ~Q(reference="")
                | Q(stripe_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
