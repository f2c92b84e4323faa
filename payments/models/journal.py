"""The tables of double-entry money: accounts, journals and their postings."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order


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
