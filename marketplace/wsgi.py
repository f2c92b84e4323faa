"""The WSGI application: `granian --interface wsgi marketplace.wsgi:application`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
application = get_wsgi_application()


def _check_schema() -> None:
    """End here, in words, where this code must not serve this database. Once a process."""
    # Only now: they need the settings.
    from django.db import connection

    from marketplace import schema_guard

    try:
        schema_guard.check(serves=True)
    except schema_guard.SchemaRefused as error:
        raise SystemExit(f"licet: {error}") from None
    finally:
        connection.close()
        # A process that was forked from here must make its own.
        connection.close_pool()  # type: ignore[attr-defined]


def _bound_statements() -> None:
    """Whoever asked for what takes longer is gone by then, and others wait for the connection."""
    from django.conf import settings
    from django.db import connection

    options = connection.settings_dict["OPTIONS"]
    options["options"] += f" -c statement_timeout={settings.STATEMENT_SECONDS}s"


def _settle() -> None:
    """Load what requests would load, and keep garbage collection off it."""
    from django.urls import get_resolver

    from marketplace import garbage

    # Reading its patterns imports every view.
    assert get_resolver().url_patterns
    garbage.spare_what_is_loaded()


_bound_statements()
_check_schema()
_settle()
