"""Timers and deadlines: what is going to happen by itself, whether it is late, and how to keep it from happening."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ..core.clock import from_iso
from ..core.jobs import DEAD, PENDING, STATUSES
from ..errors import LimitExceeded, StateValidationError
from ..lifecycle.scheduling import Timer
from ..web.problems import CONFLICT, Problem
from .answers import Done, Shown
from .causes import timer_without_secrets
from .jobs import PAGE, jobs_kept, number_in, paged
from .page import Pages
from .visit import Visit

pages = Pages("timers", "Timers", order=46)

EVERY = "all"
DUE = {"": None, "now": timedelta(0), "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
"""How far ahead to look."""

DUE_NAMES = (("now", "by now"), ("hour", "within an hour"), ("day", "within a day"), ("week", "within a week"))


@pages.show("/timers", "timers")
def list_timers(visit: Visit) -> Shown:
    """List timers and deadlines, the ones set last first.

    :param visit: the visit.
    """
    if not jobs_kept(visit):
        return Shown("no_jobs.html", {"title": "Timers", "what": "timers and deadlines"})
    now = visit.runtime.bucket.clock.now()
    desk = visit.runtime.workshop.desk
    status = visit.query.get("status") or PENDING
    values: dict[str, Any] = {
        "statuses": [*STATUSES, EVERY],
        "status": status,
        "due_names": DUE_NAMES,
        "attendance": None if desk is None else desk.attendance(),
        "timers": [],
        "next": None,
        "trouble": None,
    }
    try:
        found = _listed(visit, status, now)
    except (StateValidationError, LimitExceeded) as error:
        return Shown("timers.html", {**values, "trouble": str(error)}, 422)
    page, after = paged(found)
    return Shown(
        "timers.html",
        {**values, "timers": [(timer_without_secrets(visit, each), lag(each, now)) for each in page], "next": after},
    )


@pages.show("/timers/<timer_id>", "timer")
def show_timer(visit: Visit, timer_id: str) -> Shown:
    """Show one timer, with what it is going to do.

    :param visit: the visit.
    :param timer_id: which one.
    """
    found = visit.runtime.lifecycle.get_timer(number_in(timer_id, "timer_id"))
    # What a type declares comes back at the next entry, and cannot be cancelled while it is declared.
    waits = found.status in (PENDING, "paused", DEAD)
    values = {
        "timer": timer_without_secrets(visit, found),
        "lag": lag(found, visit.runtime.bucket.clock.now()),
        "data": visit.covered(found.data),
        "metadata": visit.covered(found.metadata),
        "waits": waits,
    }
    return Shown("timer.html", values)


@pages.act(
    "/timers/<timer_id>/cancel",
    "cancel_timer",
    destructive="Cancel timer {timer_id}? The transition is not made then.",
)
def cancel_timer(visit: Visit, timer_id: str) -> Done:
    """Cancel a timer.

    :param visit: the visit.
    :param timer_id: which one.
    :raises Problem: when it has ended meanwhile, or is a deadline that its type declares.
    """
    lifecycle = visit.runtime.lifecycle
    found = lifecycle.get_timer(number_in(timer_id, "timer_id"))
    if not lifecycle.cancel_scheduled(found.state_id, timer_id=found.id, **visit.writing()):
        problem = (
            f"The deadline of {found.deadline!r} is declared by the type, and stays as long as the status lasts."
            if found.deadline
            else f"The timer {found.id} has ended meanwhile, and cannot be cancelled."
        )
        raise Problem(CONFLICT, problem)
    return Done(f"Timer {found.id}, {found.transition} of {found.state_id}, is cancelled.", visit.url("timers"))


def lag(timer: Timer, now: datetime) -> float | None:
    """Return for how many seconds a timer has been due; below 0 until it is, None when it does not wait.

    :param timer: the timer.
    :param now: the moment.
    """
    if timer.status != PENDING or timer.due_at is None:
        return None
    return (now - from_iso(timer.due_at)).total_seconds()


def _listed(visit: Visit, status: str, now: datetime) -> list[Timer]:
    query: Mapping[str, str] = visit.query
    due = query.get("due") or ""
    if due not in DUE:
        raise StateValidationError({"due": [f"There is no {due!r}: choose one of the list."]})
    ahead = DUE[due]
    return visit.runtime.lifecycle.list_timers(
        query.get("state") or None,
        status=None if status == EVERY else status,
        limit=PAGE + 1,
        after=number_in(query["after"], "after") if query.get("after") else None,
        due_until=None if ahead is None else now + ahead,
        newest_first=True,
    )
