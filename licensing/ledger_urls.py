"""The public addresses of the logs, below /ledger/: C2SP tlog-tiles, for anybody."""

from __future__ import annotations

from django.urls import re_path

from licensing import ledger_views

# A generation: /ledger/live, and /ledger/live/2 once that one was frozen.
_LOG = r"^(?P<log>(?:test|live)(?:/(?:[2-9]|[1-9][0-9]{1,3}))?)"
# The level is 0 to 63 without leading zeros; the index and width are checked by the view.
_LEVEL = r"(?P<level>[0-9]|[1-5][0-9]|6[0-3])"
_TILE = r"(?P<path>[x0-9/]{3,40})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?$"

urlpatterns = [
    re_path(rf"{_LOG}/checkpoint$", ledger_views.checkpoint, name="ledger-checkpoint"),
    re_path(rf"{_LOG}/vkey$", ledger_views.vkey, name="ledger-vkey"),
    re_path(
        rf"{_LOG}/keys/(?P<key_id>[0-9a-f]{{8}})$",
        ledger_views.key_change,
        name="ledger-key-change",
    ),
    re_path(rf"{_LOG}/tile/entries/{_TILE}", ledger_views.entries, name="ledger-entries"),
    re_path(rf"{_LOG}/tile/{_LEVEL}/{_TILE}", ledger_views.tile, name="ledger-tile"),
]
