"""What people did with their own accounts: written once, read by themselves and by operators."""

from __future__ import annotations

from typing import Any

from marketplace.access import system
from marketplace.models import AccountAct, User


def record(user: User, action: str, **data: Any) -> None:
    """Write one act of a person on their account: of them, and of no organization."""
    with system("record what a person did with their account"):
        AccountAct.objects.create(user=user, action=action, data=data)


def recent(user: User, most: int = 10) -> list[AccountAct]:
    """A person's own acts, the newest first."""
    with system("show a person what they did with their account"):
        return list(AccountAct.objects.filter(user=user).order_by("-id")[:most])
