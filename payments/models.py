"""The tables of quotes, orders, Stripe's side of them, and the journal."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import Grant, Offer, Snapshot, Terms
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Organization, Sha256
from marketplace.typeid import TypeIDField


class QuoteQuerySet(TenantQuerySet["Quote"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Quote(models.Model):
    """An offer priced for a chosen scope, and frozen. Written by `quotes.make`.

    Updates: cannot. `document` is the exact contract that an acceptance names by its SHA-256.
    """

    id = TypeIDField(prefix="quo", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="quotes")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="quotes", db_constraint=False)
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", db_constraint=False)
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="+", db_constraint=False)
    # {"uses": [...], "territories": [...], "starts_at": "…"}: chosen within the terms. Where the
    # license is for one model, also "model" (see `licensing.asked_models`).
    scope = models.JSONField()
    # [{"kind": "license", "amount_minor": n}, {"kind": "tax", …}]: integers only.
    lines = models.JSONField()
    # What the grant will say of its price (`prices.basis`). Null: flat, as all were before.
    price_basis = models.JSONField(null=True, blank=True)
    subtotal_minor = models.BigIntegerField()
    tax_minor = models.BigIntegerField()
    total_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    document = models.TextField()
    document_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    objects = QuoteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="quote_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="quote_parties_differ", condition=~Q(organization=F("seller"))
            ),
            models.CheckConstraint(
                name="quote_adds_up",
                condition=Q(total_minor=F("subtotal_minor") + F("tax_minor")),
            ),
            models.CheckConstraint(
                name="quote_is_not_negative", condition=Q(subtotal_minor__gte=0, tax_minor__gte=0)
            ),
            models.CheckConstraint(
                name="quote_expires_after_it_was_made", condition=Q(expires_at__gt=F("created_at"))
            ),
            models.CheckConstraint(
                name="quote_document_hash_is_of_its_text",
                condition=Exact(Sha256("document"), F("document_sha256")),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class OrderQuerySet(TenantQuerySet["Order"]):
    def visible_to(self, caller: Caller) -> Self:
        """The buyer's own. The seller sees the grant, not the order."""
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Order(models.Model):
    """A quote's acceptance by a named person, and how it is paid.

    Written by `orders`, `sync`, and `commands` (the pay page, or that there will be none).

    Lifecycle: `sync.TRANSITIONS`. Paid is a fact and always commits; what follows may be refused.
    """

    class Status(models.TextChoices):
        AWAITING_PAYMENT = "awaiting_payment", _("Awaiting payment")
        PAID = "paid", _("Paid")
        GRANTED = "granted", _("Granted")
        PAID_UNGRANTABLE = "paid_ungrantable", _("Paid, refund under way")
        REFUNDED = "refunded", _("Refunded")
        EXPIRED = "expired", _("Expired")

    id = TypeIDField(prefix="ord", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="orders")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    quote = models.OneToOneField(Quote, models.PROTECT, related_name="order", db_constraint=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.AWAITING_PAYMENT)
    total_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # The acceptance.
    accepted_document_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    accepted_by_name = models.CharField(max_length=200)
    accepted_by_title = models.CharField(max_length=200)
    accepted_by_actor = models.CharField(max_length=40)
    accepted_at = models.DateTimeField(default=timezone.now, editable=False)
    # Stripe's side; null for a free order.
    checkout_session = models.CharField(max_length=255, null=True, blank=True, unique=True)
    checkout_url = models.TextField(blank=True)
    checkout_expires_at = models.DateTimeField(null=True, blank=True)
    payment_intent = models.CharField(max_length=255, null=True, blank=True, unique=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    paid_minor = models.BigIntegerField(default=0)
    refunded_minor = models.BigIntegerField(default=0)
    grant = models.OneToOneField(
        Grant, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    granted_at = models.DateTimeField(null=True, blank=True)
    # The error code of the refusal, when paid and not grantable.
    refusal = models.CharField(max_length=60, blank=True)
    # The reconciler looks again at an unsettled order from here on.
    next_sync_at = models.DateTimeField(null=True, blank=True)
    sync_attempts = models.IntegerField(default=0)

    objects = OrderQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the reconciler: unsettled orders that are due.
            models.Index(
                name="order_due_for_sync",
                fields=["next_sync_at"],
                condition=Q(next_sync_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="order_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="order_status_is_known",
                condition=Q(
                    status__in=[
                        "awaiting_payment",
                        "paid",
                        "granted",
                        "paid_ungrantable",
                        "refunded",
                        "expired",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="order_parties_differ", condition=~Q(organization=F("seller"))
            ),
            models.CheckConstraint(
                name="order_paid_at_iff_paid",
                condition=Q(status__in=["awaiting_payment", "expired"], paid_at__isnull=True)
                | ~Q(status__in=["awaiting_payment", "expired"]) & Q(paid_at__isnull=False),
            ),
            models.CheckConstraint(
                name="order_grant_iff_granted",
                condition=Q(status="granted", grant__isnull=False, granted_at__isnull=False)
                | ~Q(status="granted") & Q(grant__isnull=True, granted_at__isnull=True),
            ),
            models.CheckConstraint(
                name="order_refusal_iff_ungrantable",
                condition=Q(status__in=["paid_ungrantable", "refunded"]) & ~Q(refusal="")
                | ~Q(status__in=["paid_ungrantable", "refunded"]) & Q(refusal=""),
            ),
            models.CheckConstraint(
                name="order_refunds_no_more_than_was_paid",
                condition=Q(refunded_minor__gte=0, refunded_minor__lte=F("paid_minor")),
            ),
            models.CheckConstraint(
                name="order_names_who_accepted",
                condition=~Q(accepted_by_name="") & ~Q(accepted_by_title=""),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class CommandQuerySet(TenantQuerySet["Command"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Command(models.Model):
    """One call to Stripe that must happen: committed first, made after, its result stored.

    Its idempotency key is its own id, so a repeat finds the first call's object. Written by
    `commands`.
    """

    class Kind(models.TextChoices):
        CREATE_CHECKOUT = "create_checkout", _("Create a Checkout session")
        REFUND = "refund", _("Refund")

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DONE = "done", _("Done")
        REFUSED = "refused", _("Refused")

    id = TypeIDField(prefix="cmd", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.ForeignKey(Order, models.PROTECT, related_name="commands", db_constraint=False)
    kind = models.CharField(max_length=15, choices=Kind)
    # The exact parameters of the call.
    params = models.JSONField()
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    stripe_id = models.CharField(max_length=255, blank=True)
    refusal = models.CharField(max_length=1000, blank=True)
    attempts = models.IntegerField(default=0)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CommandQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the completer: pending calls that are due.
            models.Index(
                name="command_due",
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="command_is_given_once", fields=["order", "kind"]),
            models.CheckConstraint(
                name="command_kind_is_known", condition=Q(kind__in=["create_checkout", "refund"])
            ),
            models.CheckConstraint(
                name="command_state_is_known", condition=Q(state__in=["pending", "done", "refused"])
            ),
            models.CheckConstraint(
                name="command_is_due_iff_pending",
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | ~Q(state="pending") & Q(next_attempt_at__isnull=True),
            ),
            models.CheckConstraint(
                name="command_result_iff_done",
                condition=Q(state="done") & ~Q(stripe_id="") | ~Q(state="done") & Q(stripe_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.order_id}"


class StripeEvent(models.Model):
    """A delivery of Stripe's, stored under its id before anything acts on it. No tenant's row.

    Written by `stripe_events`.
    """

    id = models.CharField(max_length=255, primary_key=True)
    type = models.CharField(max_length=100)
    livemode = models.BooleanField()
    api_version = models.CharField(max_length=60, blank=True)
    # The object that the event is about, and the order that it names, if any.
    object_id = models.CharField(max_length=255, blank=True)
    order_ref = models.CharField(max_length=60, blank=True)
    body = models.JSONField()
    received_at = models.DateTimeField(default=timezone.now, editable=False)
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(default=0)
    last_error = models.CharField(max_length=1000, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)

    class Meta:
        indexes = [
            # Serves the worker: events not handled yet that are due.
            models.Index(
                name="stripe_event_due",
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="stripe_event_is_due_iff_unhandled",
                condition=Q(handled_at__isnull=True, next_attempt_at__isnull=False)
                | Q(handled_at__isnull=False, next_attempt_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class AccountQuerySet(TenantQuerySet["Account"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Account(models.Model):
    """A place where money stands, in one currency and mode. Written by `journal`."""

    class Code(models.TextChoices):
        STRIPE_CLEARING = "stripe_clearing", _("Paid to Stripe, not settled")
        SELLER_PAYABLE = "seller_payable", _("Owed to a seller")
        MARKET_FEE = "market_fee", _("The market's fee")
        TAX_PAYABLE = "tax_payable", _("Tax owed")
        BUYER_REFUNDABLE = "buyer_refundable", _("Owed back to a buyer")

    id = models.BigAutoField(primary_key=True)
    livemode = models.BooleanField()
    code = models.CharField(max_length=16, choices=Code)
    # Whose it is; null for the market's own.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    currency = models.CharField(max_length=3)

    objects = AccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="account_is_one",
                fields=["livemode", "code", "organization", "currency"],
                nulls_distinct=False,
            ),
            # The target of the postings' composite key: a posting is in its account's currency.
            models.UniqueConstraint(name="account_of_currency", fields=["id", "currency"]),
            models.CheckConstraint(
                name="account_code_is_known",
                condition=Q(
                    code__in=[
                        "stripe_clearing",
                        "seller_payable",
                        "market_fee",
                        "tax_payable",
                        "buyer_refundable",
                    ]
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.currency}"


class JournalQuerySet(TenantQuerySet["Journal"]):
    def visible_to(self, caller: Caller) -> Self:
        """A party sees its own postings through statements, not whole journals."""
        return self.none()


class Journal(models.Model):
    """One movement of money: postings that sum to 0 in each currency.

    Updates: cannot. Deletion: cannot. Guarantees: a deferred trigger on this row checks the
    balance once, and postings are refused outside the transaction that wrote it. Reversals are
    further journals. Written by `journal.post`.
    """

    id = TypeIDField(prefix="jnl", primary_key=True)
    # The buyer of the order.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    # "sale", "sale_ungrantable", "refund".
    kind = models.CharField(max_length=20)
    order = models.ForeignKey(Order, models.PROTECT, related_name="journals", db_constraint=False)
    occurred_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = JournalQuerySet.as_manager()

    class Meta:
        constraints = [
            # A sale, and its refund, are posted once.
            models.UniqueConstraint(name="journal_is_posted_once", fields=["order", "kind"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.order_id}"


class Posting(models.Model):
    """One line of a journal: an amount, positive or negative, on one account. Insert-only."""

    id = models.BigAutoField(primary_key=True)
    journal = models.ForeignKey(Journal, models.PROTECT, related_name="postings")
    account = models.ForeignKey(
        Account, models.PROTECT, related_name="postings", db_constraint=False
    )
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="posting_moves_something", condition=~Q(amount_minor=0)),
        ]

    def __str__(self) -> str:
        return f"{self.amount_minor} {self.currency}"
