"""The people who run this market: who becomes an operator, who is one, and who is one no more."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from marketplace import audit
from marketplace.access import system
from marketplace.errors import LastOperator, NotFound
from marketplace.models import User


def appoint(*, email: str, name: str, password: str) -> User:
    """Make a person an operator of this market, who may enter the admin.

    Somebody who signs in already keeps their password. Repeating it changes nothing.
    """
    with system("make somebody an operator"):
        user = User.objects.select_for_update().filter(email=email.lower()).first()
        if user is None:
            user = User(email=email.lower(), name=name, is_operator=True)
            user.set_password(password)
            user.save(force_insert=True)
        elif user.is_operator:
            return user
        else:
            user.is_operator = True
            user.save(update_fields=["is_operator"])
        audit.record(audit.OfMarket("system"), "operator.appointed", subject=user)
    return user


def dismiss(email: str) -> User:
    """Let somebody be an operator no more; what they are in organizations stays.

    Each request asks anew who is an operator, so that it ends with the next one. Repeating it
    changes nothing. Raises NotFound, and LastOperator: a market keeps one who can enter.
    """
    with system("let an operator go"):
        # All are locked: two who go at once must not leave the market to nobody.
        those = list(everybody().select_for_update())
        user = User.objects.filter(email=email.lower()).first()
        if user is None:
            raise NotFound(_("There is nobody “%(email)s”.") % {"email": email})
        if not user.is_operator:
            return user
        if those == [user]:
            raise LastOperator(_("Appoint another operator first."))
        user.is_operator = False
        user.save(update_fields=["is_operator"])
        audit.record(audit.OfMarket("system"), "operator.dismissed", subject=user)
    return user


def everybody() -> QuerySet[User]:
    """All who are operators and may sign in, by their address."""
    return User.objects.filter(is_operator=True, is_active=True).order_by("email")


def find(email: str) -> User:
    """The operator of this market who signs in so. Raises NotFound."""
    user = everybody().filter(email=email.lower()).first()
    if user is None:
        raise NotFound(_("There is no operator “%(email)s”.") % {"email": email})
    return user
