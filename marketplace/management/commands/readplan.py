"""`manage.py readplan`: which lists of the API PostgreSQL writes, and why others fall back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.urls import URLPattern, get_resolver

from marketplace import readplan
from marketplace.http import Listing


class Command(BaseCommand):
    help = "Say which lists of the API PostgreSQL writes as JSON, and why others fall back."

    def handle(self, *args: Any, **options: Any) -> None:
        views = sorted(set(_lists(get_resolver())), key=lambda view: view.__name__)
        slower = 0
        for view in views:
            reason = readplan.reason(view)
            slower += reason is not None
            if reason is not None:
                self.stdout.write(f"{view.__name__} falls back: {reason}.")
        self.stdout.write(f"readplan: {len(views) - slower} of {len(views)} lists are planned.")


def _lists(resolver: Any) -> Iterator[Any]:
    for pattern in resolver.url_patterns:
        if not isinstance(pattern, URLPattern):
            yield from _lists(pattern)
            continue
        view = getattr(pattern.callback, "cls", None)
        if view is not None and issubclass(view, Listing) and not pattern.pattern.regex.groups:
            yield view
