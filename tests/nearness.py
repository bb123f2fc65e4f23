"""What the tests of near caches share: reading until one answers."""

from __future__ import annotations

from tests.processes.child import until
from tests.worlds import World


def near_hits(world: World) -> int:
    """Return how often the near cache has answered.

    :param world: the application.
    """
    return int(world.runtime.counters.value("cache.near"))


def read(world: World, name: str = "u1") -> int | None:
    """Read a state, and return its version; None where there is none.

    :param world: the application; whose app context is entered does not matter.
    :param name: which state.
    """
    with world.app.app_context():
        state = world.states.get_state(name)
    return None if state is None else state.version


def warm(world: World, name: str = "u1") -> None:
    """Read until the near cache answers.

    :param world: the application.
    :param name: which state.
    """
    before = near_hits(world)
    until(lambda: (read(world, name), near_hits(world))[1] > before, "the near cache answers")
