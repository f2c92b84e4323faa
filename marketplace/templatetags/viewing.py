"""Times and amounts on pages, as their reader has them."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html

from marketplace import preferences

register = template.Library()


@register.filter
def moment(at: datetime | None) -> str:
    """An instant in the reader's zone; a machine still reads it in UTC. Nothing: empty."""
    if at is None or at == "":
        return ""
    stamp = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return format_html('<time datetime="{}">{}</time>', stamp, preferences.moment(at))


@register.filter
def in_words(at: datetime | None) -> str:
    """An instant in the reader's zone, as mere text, to stand in a sentence."""
    return preferences.moment(at) if at else ""


@register.filter
def day(at: datetime | None) -> str:
    """The day of an instant in the reader's zone."""
    return preferences.day(at) if at else ""


@register.filter
def money(amount_minor: int, code: str) -> str:
    """Minor units of a currency, as the reader writes amounts."""
    return preferences.amount(amount_minor, code)
