"""Health and configuration: whether all is well, what the application runs on, and how it is set up."""

from __future__ import annotations

from . import facts, figures
from .answers import Shown
from .page import Pages
from .remembering import Memory
from .visit import Visit

pages = Pages("health", "Health", order=900)

KEPT = 5.0
"""Seconds for which what is asked of servers is shown again."""

_memory = Memory(KEPT)


@pages.show("/health", "health")
def show_health(visit: Visit) -> Shown:
    """Show how the application's states are, and how they are configured.

    :param visit: the visit.
    :raises StorageError: when the tables are to be checked, and the database fails.
    """
    runtime = visit.runtime
    health = figures.report(runtime, lambda: figures.total(runtime).value)
    settings = facts.settings_of(runtime)
    values = {
        "health": health,
        "checked": facts.differences(runtime) if visit.query.get("check") == "tables" else None,
        "database": _memory.get(runtime, "database", lambda: facts.database(runtime)).value,
        "redis": facts.redis(runtime, health["cache"]),
        "process": facts.process(),
        "buckets": _memory.get(runtime, "buckets", lambda: facts.buckets(runtime)).value,
        "worker": runtime.settings.worker if runtime.settings.dispatch == "worker" else runtime.settings.dispatch,
        "counters": runtime.counters.snapshot(),
        "changed": [each for each in settings if not each.default],
        "defaults": [each for each in settings if each.default],
    }
    return Shown("health.html", values)
