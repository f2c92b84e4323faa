"""What will happen to an object by itself, once the account's clock comes to it."""

from __future__ import annotations

from typing import Any

from payments.simulator.state import Resource, World, new_id

KIND = "simulator.task"


def later(world: World, seconds: int, verb: str, id: str, **details: Any) -> None:
    """Have `due.run` do something to an object after so many seconds."""
    task: Resource = {
        "id": new_id("task"),
        "object": KIND,
        "verb": verb,
        "about": id,
        "details": details,
    }
    world.add(task, due_at=world.now() + seconds)


def take_due(world: World) -> list[Resource]:
    """The tasks whose time has come, earliest first. Each is given out once."""
    tasks = world.due(KIND)
    for task in tasks:
        world.put(task)
    return tasks
