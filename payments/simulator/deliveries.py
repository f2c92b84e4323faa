"""The queue of events that are to be delivered, and what was said to each."""

from __future__ import annotations

from payments.simulator.state import Resource, World


def add(world: World, event: Resource) -> None:
    """Have an event sent, where somebody takes events."""
    if world.webhook_url:
        world.database.execute(
            "INSERT INTO delivery (event, attempts, next_at, status) VALUES (?, 0, 0, 0)",
            (event["id"],),
        )
