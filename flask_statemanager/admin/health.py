"""Health and configuration."""

from __future__ import annotations

from .answers import Shown
from .page import Pages
from .visit import Visit

pages = Pages("health", "Health", order=900)


@pages.show("/health", "health")
def show_health(visit: Visit) -> Shown:
    """Show how the application's states are, and how they are configured.

    :param visit: the visit.
    """
    return Shown("health.html", {"health": visit.runtime.health()})
