"""The market's WSGI application, in which the keys of requests that died are free sooner.

A retry waits for half a minute until it takes over from a request that left no answer: too long
for a test that kills hundreds of them.
"""

from __future__ import annotations

import importlib
from datetime import timedelta

from marketplace.wsgi import application

__all__ = ["application"]

# Only now: it needs what the application has set up.
vars(importlib.import_module("marketplace.idempotency"))["LEASE"] = timedelta(seconds=4)
