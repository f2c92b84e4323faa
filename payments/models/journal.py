"""The tables of double-entry money: accounts, journals and their postings."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Contributor, Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order


class AccountQuerySet(TenantQuerySet["Account"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Account(models.Model):
    """A place where money stands, in one currency and mode. Written by `journal`."""

    class Code(models.TextChoices):
        # Clearing: what goes in comes out again, and what stays has an age.
        BUYER_RECEIVABLE = "buyer_receivable", _("Owed by a buyer")
        STRIPE_CLEARING = "stripe_clearing", _("Under way at Stripe")
        DISPUTE_HOLD = "dispute_hold", _("Held by Stripe for a dispute")
        ROYALTY_POOL = "royalty_pool", _("Royalties to be shared out")
        # What is whose.
        STRIPE_BALANCE = "stripe_balance", _("Our balance at Stripe")
        BANK = "bank", _("Our bank, outside of Stripe")
        SELLER_PAYABLE = "seller_payable", _("Owed to a seller")
        SELLER_RECEIVABLE = "seller_receivable", _("Owed by a seller")
        ROYALTY_PAYABLE = "royalty_payable", _("Owed to contributors")
        CONTRIBUTOR_PAYABLE = "contributor_payable", _("Owed to a contributor, being paid out")
        TAX_PAYABLE = "tax_payable", _("Tax owed")
        MARKET_FEE = "market_fee", _("The market's fee")
        STRIPE_FEES = "stripe_fees", _("Stripe's fees")
        DISPUTE_LOSSES = "dispute_losses", _("Lost twice: refunded, and disputed")
        CURRENCY_EXCHANGE = "currency_exchange", _("Changed between currencies")
        # Of orders from before buyer_receivable.
        BUYER_REFUNDABLE = "buyer_refundable", _("Owed back to a buyer")

    id = models.BigAutoField(primary_key=True)
    livemode = models.BooleanField()
    code = models.CharField(max_length=19, choices=Code)
    # Whose it is; null for the market's own. `account_contributor_belongs` looks for it and for the
    # contributor, once for all accounts that a payout opens.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    # Of the organization's contributors, the one to whom it belongs.
    contributor = models.ForeignKey(
        Contributor,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    currency = models.CharField(max_length=3)

    objects = AccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="account_is_one",
                fields=["livemode", "code", "organization", "contributor", "currency"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="account_code_is_known",
                condition=Q(
                    code__in=[
                        "buyer_receivable",
                        "stripe_clearing",
                        "dispute_hold",
                        "royalty_pool",
                        "stripe_balance",
                        "bank",
                        "seller_payable",
                        "seller_receivable",
                        "royalty_payable",
                        "contributor_payable",
                        "tax_payable",
                        "market_fee",
                        "stripe_fees",
                        "dispute_losses",
                        "currency_exchange",
                        "buyer_refundable",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="account_of_a_contributor_names_the_organization",
                condition=Q(code="contributor_payable", contributor__isnull=False)
                & Q(organization__isnull=False)
                | ~Q(code="contributor_payable") & Q(contributor__isnull=True),
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
    # The buyer of the order, or whose money it is about; null for the market's own.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    livemode = models.BooleanField()
    # `journal.KINDS`.
    kind = models.CharField(max_length=20)
    order = models.ForeignKey(
        Order, models.PROTECT, null=True, blank=True, related_name="journals", db_constraint=False
    )
    # What it records, where an order has several of its kind, such as a refund's id.
    reference = models.CharField(max_length=60, blank=True, default="", db_default="")
    occurred_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = JournalQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `reconcile`: the journals of Stripe's balance transactions.
            models.Index(
                name="journal_by_reference", fields=["reference"], condition=~Q(reference="")
            ),
            # Serves `reconcile`: what was booked in some hours.
            models.Index(name="journal_by_time", fields=["occurred_at"]),
        ]
        constraints = [
            # A sale is posted once, and so is each of its refunds.
            models.UniqueConstraint(
                name="journal_is_posted_once",
                fields=["order", "kind", "reference"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="journal_is_about_something",
                condition=Q(order__isnull=False) | ~Q(reference=""),
            ),
            models.CheckConstraint(
                name="journal_of_an_order_names_the_buyer",
                condition=Q(order__isnull=True) | Q(organization__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference or self.order_id}"


class Posting(models.Model):
    """One line of a journal: an amount, positive or negative, on one account. Insert-only."""

    id = models.BigAutoField(primary_key=True)
    # `journal_is_sealed` looks for it, and `posting_currency_belongs` for the account and its
    # currency, once for all lines: a million looks by keys take half of the time each.
    journal = models.ForeignKey(
        Journal, models.PROTECT, related_name="postings", db_constraint=False
    )
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
