"""The overview: how much there is, what happens, and whether all is well."""

from __future__ import annotations

from .answers import Shown
from .page import Pages
from .visit import Visit

pages = Pages("overview", "Overview", order=0)


@pages.show("/", "overview")
def show_overview(visit: Visit) -> Shown:
    """Show how the states are.

    :param visit: the visit.
    """
    runtime = visit.runtime
    return Shown("overview.html", {"health": runtime.health(), "counters": runtime.counters.snapshot()})
