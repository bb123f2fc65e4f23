"""The pages of long work: how far it is, and how it has ended."""

from __future__ import annotations

from ..web.problems import NOT_FOUND, Problem
from .answers import Shown
from .longwork import KEPT, SILENCE, works_of
from .page import Pages
from .progress import LOST, RUNNING
from .visit import Visit

pages = Pages("works", "Long work", order=800)


@pages.show("/work", "works")
def list_works(visit: Visit) -> Shown:
    """List what was begun of late.

    :param visit: the visit.
    """
    return Shown("works.html", {"works": works_of(visit).recent(), "days": round(KEPT / 86400), "lost": LOST})


@pages.show("/work/<work_id>", "work")
def show_work(visit: Visit, work_id: str) -> Shown:
    """Show how far it is; the page fetches itself anew until it has ended.

    :param visit: the visit.
    :param work_id: which one.
    :raises Problem: when it is not known.
    """
    found = works_of(visit).look(work_id)
    if found is None:
        raise Problem(NOT_FOUND, "There is no such work, or it has ended long ago.")
    values = {"work": found, "running": found.state == RUNNING, "silence": round(SILENCE)}
    return Shown("work.html", {**values, "link": found.link(visit)})
