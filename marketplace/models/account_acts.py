"""The table of what people did with their own accounts."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from marketplace.models.tenants import User
from marketplace.typeid import TypeIDField


class AccountAct(models.Model):
    """One act of a person on their own account: signed in, a factor added, the password changed.

    Of a person and of no organization: an organization's audit must not tell when somebody works
    for another. No tenant reads it; the person sees their own. Updates, deletion: cannot. Written
    by `account_acts`.
    """

    id = TypeIDField(prefix="act", primary_key=True)
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    # Past tense: "factor.added".
    action = models.CharField(max_length=60)
    # Kinds and ids; never an address, a name or a secret.
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.user_id} {self.action}"
