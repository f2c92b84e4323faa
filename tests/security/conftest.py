"""The world that the walls stand in."""

from __future__ import annotations

from tests.security.world import world

__all__ = ["world"]
