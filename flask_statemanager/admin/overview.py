"""The overview: how much there is, what happens, and whether all is well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from msgspec import Struct

from ..runtime import Runtime
from . import figures, wording
from .answers import Shown
from .charts import Chart, Point, bars, strip
from .figures import SPANS, Activity, Number, Span, TypeNumbers
from .page import Pages
from .remembering import Memory
from .visit import Visit

pages = Pages("overview", "Overview", order=0)

KEPT = 10.0
"""Seconds for which what is dear to count is shown again."""

LATEST = 8
"""How many changes are listed."""

MEANINGS = {
    **dict.fromkeys(("active", "completed", "enabled", "done", "ready", "verified"), "p-good"),
    **dict.fromkeys(("pending", "suspended", "past_due", "processing", "trial"), "p-warn"),
    **dict.fromkeys(("failed", "dead", "deleted"), "p-bad"),
    **dict.fromkeys(("expired", "cancelled", "refunded", "disabled"), "p-over"),
}
"""The colours of statuses that mean the same in most machines, as those of the chips."""

_MARKS = {"hour": 10, "day": 8, "week": 8, "month": 5}
"""At every how manieth bar the axis has a label."""

_memory = Memory(KEPT)


class Dear(Struct, frozen=True):
    """What is counted once in a while.

    :param total: all states.
    :param types: by type and status.
    :param lapsed: those past their expiry, as far as that is not written down.
    :param feed: how far the feed is.
    """

    total: Number
    types: list[TypeNumbers]
    lapsed: Number
    feed: figures.Feed | None


@pages.show("/", "overview")
def show_overview(visit: Visit) -> Shown:
    """Show how the states are.

    :param visit: the visit.
    :raises StorageError: when the storage fails.
    """
    runtime = visit.runtime
    span = SPANS.get(visit.query.get("span", ""), SPANS["day"])
    fresh = visit.query.get("fresh") == "1"
    dear = _memory.get(runtime, "numbers", partial(_dear, runtime), fresh=fresh)
    seen = _memory.get(runtime, span.name, partial(figures.activity, runtime, span), fresh=fresh)
    activity = seen.value
    values = {
        "health": figures.report(runtime, lambda: dear.value.total.value),
        "numbers": dear.value,
        "strips": {each.name: _strip(each) for each in dear.value.types},
        "age": max(dear.age, seen.age),
        "kept": KEPT,
        "span": span,
        "spans": SPANS.values(),
        "activity": activity,
        "changes": sum(activity.counts),
        "chart": _chart(span, activity),
        "latest": activity.newest[:LATEST],
        "process": _counted(runtime),
        "link": visit.find,
    }
    return Shown("overview.html", values)


def _dear(runtime: Runtime) -> Dear:
    return Dear(figures.total(runtime), figures.by_type(runtime), figures.lapsed(runtime), figures.feed(runtime))


def _chart(span: Span, activity: Activity) -> Chart:
    every = _MARKS[span.name]
    write: Callable[[datetime], str] = _day if span.name in ("week", "month") else _time
    points = [
        Point(wording.moment(begin)[:16], number, write(begin) if index % every == every // 2 else "")
        for index, (begin, number) in enumerate(zip(activity.begins, activity.counts, strict=True))
    ]
    return bars(f"Changes of states, {span.title}", points, ("From (UTC)", "Changes"))


def _time(moment: datetime) -> str:
    return wording.moment(moment)[11:16]


def _day(moment: datetime) -> str:
    return wording.moment(moment)[5:10]


def _strip(numbers: TypeNumbers) -> Chart:
    points = [Point(wording.words(status), number.value) for status, number in numbers.statuses]
    colours = [MEANINGS.get(status, "p-calm") for status, _number in numbers.statuses]
    return strip(f"{numbers.name} by status", points, colours)


class Counted(Struct, frozen=True):
    """What this process has counted since it began.

    :param looked_up: how often the cache was asked.
    :param hits: how often it had the answer.
    :param refused: how many transitions were refused.
    :param refusals: those by transition, the most frequent first.
    """

    looked_up: int
    hits: int
    refused: int
    refusals: list[tuple[str, int]]

    @property
    def hit_rate(self) -> float | None:
        """The share of look-ups that the cache answered; None without any."""
        return self.hits / self.looked_up if self.looked_up else None


def _counted(runtime: Runtime) -> Counted:
    counters = runtime.counters.snapshot()
    hits = counters.get("cache.hit", 0) + counters.get("cache.near", 0)
    mark = "refused."
    refusals = [(name[len(mark) :], number) for name, number in counters.items() if name.startswith(mark)]
    refusals.sort(key=lambda pair: -pair[1])
    return Counted(hits + counters.get("cache.miss", 0), hits, sum(number for _name, number in refusals), refusals)
