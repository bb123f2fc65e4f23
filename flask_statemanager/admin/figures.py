"""What the overview shows: how many states there are, what has happened, how far the feed is, at a bounded cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from msgspec import Struct

from ..core.audits import AuditQuery, Audits, Deed
from ..core.follows import Watches
from ..core.powers import Expires, require
from ..core.query import Query
from ..errors import Compacted
from ..lifecycle.parts import BUCKET
from ..metrics.health import health_report
from ..runtime import Runtime

FACE = "The admin pages"

EXACT_TO = 2_000
"""Up to how many states of a type and status are counted; of more an estimate is shown."""

LAPSED_TO = 1_000
"""Up to how many states past their expiry are counted."""

DEEDS, LOOK_AT = 1_000, 5_000
"""How many changes are read at the most, and how many entries of the log are looked at for them."""

WINDOW = 200
"""How far back the end of the log is looked at for what the feed cannot pass yet."""

NOBODY = "\x00"
"""How no name begins: the log is looked at, and no record is read."""


class Number(Struct, frozen=True):
    """A number of states.

    :param value: the number.
    :param about: whether it is an estimate.
    """

    value: int
    about: bool = False


class TypeNumbers(Struct, frozen=True):
    """How many states of a type there are.

    :param name: the type.
    :param total: all of them.
    :param statuses: by status, those that there are.
    """

    name: str
    total: Number
    statuses: list[tuple[str, Number]]


def total(runtime: Runtime) -> Number:
    """Return how many states there are.

    :param runtime: the app's running parts.
    :raises StorageError: when the storage fails.
    """
    return _numbers(runtime, [(None, None)])[0]


def by_type(runtime: Runtime) -> list[TypeNumbers]:
    """Return how many states there are of each declared type, by the status that they are stored with.

    Those past their expiry count as what they were: which they are follows from no index. :func:`lapsed` has them.

    :param runtime: the app's running parts.
    :raises StorageError: when the storage fails.
    """
    types = sorted(runtime.lifecycle.parts.definitions.types.items())
    pairs = [(name, status) for name, definition in types for status in definition.machine.statuses]
    counted = dict(zip(pairs, _numbers(runtime, pairs), strict=True))
    found = []
    for name, definition in types:
        numbers = [(status, counted[name, status]) for status in definition.machine.statuses]
        whole = Number(sum(each.value for _, each in numbers), any(each.about for _, each in numbers))
        found.append(TypeNumbers(name, whole, [each for each in numbers if each[1].value]))
    return found


def of_type(runtime: Runtime, name: str) -> dict[str, Number]:
    """Return how many states of a type there are in each status of its machine.

    :param runtime: the app's running parts.
    :param name: the type.
    :raises StateValidationError: when the type is unknown.
    :raises StorageError: when the storage fails.
    """
    statuses = runtime.lifecycle.parts.definitions.get(name).machine.statuses
    return dict(zip(statuses, _numbers(runtime, [(name, status) for status in statuses]), strict=True))


def _numbers(runtime: Runtime, pairs: Sequence[tuple[str | None, str | None]]) -> list[Number]:
    """Return how many states there are of each pair of a type and a status; None is any."""
    parts = runtime.lifecycle.parts
    now = parts.bucket.clock.now()
    queries = [Query(BUCKET, now, name, None if status is None else (status,)) for name, status in pairs]
    with parts.bucket.reading() as unit:
        values = parts.counts.count_each(unit, queries, exact_to=EXACT_TO)
    return [Number(value, about=value > EXACT_TO) for value in values]


def lapsed(runtime: Runtime) -> Number:
    """Return how many states are past their expiry without a worker having written that down.

    :param runtime: the app's running parts.
    :raises StorageError: when the storage fails.
    """
    parts = runtime.lifecycle.parts
    if not isinstance(parts.backend, Expires):
        return Number(0)
    now, lapses = parts.bucket.clock.now(), parts.definitions.lapses
    with parts.bucket.reading() as unit:
        value = len(parts.backend.due(unit, Query(BUCKET, now, lapses=lapses, limit=LAPSED_TO + 1)))
    return Number(min(value, LAPSED_TO), about=value > LAPSED_TO)


# -- what has happened -------------------------------------------------------------------------------------------------


class Span(Struct, frozen=True):
    """A stretch of time up to now.

    :param name: its name.
    :param title: how it is called.
    :param step: how long one bar lasts.
    :param bars: how many there are.
    """

    name: str
    title: str
    step: timedelta
    bars: int

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.step * self.bars


SPANS = {
    each.name: each
    for each in (
        Span("hour", "1 hour", timedelta(minutes=1), 60),
        Span("day", "24 hours", timedelta(minutes=30), 48),
        Span("week", "7 days", timedelta(hours=3), 56),
        Span("month", "30 days", timedelta(days=1), 30),
    )
}
"""The stretches of time that can be looked at."""


class Activity(Struct, frozen=True):
    """The changes of states within a stretch of time.

    :param begins: when each bar begins.
    :param counts: how many changes fall into each.
    :param about: whether these are estimates, from positions in the log.
    :param newest: the newest changes, newest first.
    :param events: how often which event is among them.
    :param since: the time of the oldest of them, where they are not all of the stretch; else None.
    """

    begins: list[datetime]
    counts: list[int]
    about: bool
    newest: list[Deed]
    events: list[tuple[str, int]]
    since: datetime | None


def activity(runtime: Runtime, span: Span) -> Activity:
    """Return what has happened to states.

    Of a busy store more than is read has happened; how much in each bar then follows from the positions in the log at
    its edges.

    :param runtime: the app's running parts.
    :param span: within which stretch of time.
    :raises StorageError: when the storage fails.
    """
    step = span.step
    now = runtime.bucket.clock.now()
    # Whole steps, so that bars stay where they are while time goes on.
    end = now + step - (now - datetime(1970, 1, 1, tzinfo=now.tzinfo)) % step
    begins = [end - step * (span.bars - index) for index in range(span.bars)]
    log = Log(runtime)
    found, complete = log.newest(begins[0])
    if complete:
        counts = [0] * span.bars
        for deed in found:
            counts[min(span.bars - 1, max(0, (deed.at - begins[0]) // step))] += 1
    else:
        counts = log.estimated([*begins, end], found)
    events = Counter(deed.event for deed in found).most_common()
    return Activity(begins, counts, not complete, found, events, None if complete else found[-1].at if found else None)


class Log:
    """The log of an app's states, as far as it is looked at.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._bucket = runtime.bucket
        self._audits = require(runtime.bucket.backend, Audits, FACE)  # type: ignore[type-abstract]

    def newest(self, since: datetime) -> tuple[list[Deed], bool]:
        """Return the newest changes of states, and whether these are all since a moment.

        :param since: the moment.
        :raises StorageError: when the storage fails.
        """
        with self._bucket.reading() as unit:
            found = self._audits.audit(unit, AuditQuery(BUCKET, since=since, limit=DEEDS, look_at=LOOK_AT))
        return found.deeds, found.reached is None

    def estimated(self, edges: list[datetime], sample: list[Deed]) -> list[int]:
        """Return about how many changes of states there are between moments.

        :param edges: the moments, in their order.
        :param sample: the newest changes, by which it is judged how much of the log is about states.
        :raises StorageError: when the storage fails.
        """
        with self._bucket.reading() as unit:
            newest = self._entry(unit, None)
            if newest is None or not sample:
                return [0] * (len(edges) - 1)
            share = len(sample) / max(1, newest.revision - sample[-1].revision + 1)
            first = self._position(unit, edges[0], 0, newest.revision, 1)
            # To one part in fifty of what is in a bar on average.
            close = max(1, (newest.revision - first) // (50 * len(edges)))
            places = [first]
            for edge in edges[1:]:
                places.append(self._position(unit, edge, places[-1], newest.revision, close))
        return [round(share * (after - before)) for before, after in pairwise(places)]

    def _position(self, unit: Any, moment: datetime, low: int, high: int, close: int) -> int:
        """Return about the last revision before a moment, by halving; times are taken to grow with revisions."""
        while high - low > close:
            middle = (low + high + 1) // 2
            entry = self._entry(unit, middle + 1)
            if entry is None or entry.at < moment:
                low = middle
            else:
                high = min(middle, entry.revision) - 1
        return max(low, high)

    def _entry(self, unit: Any, before: int | None) -> Deed | None:
        deeds = self._audits.audit(unit, AuditQuery(before=before, limit=1, look_at=1)).deeds
        return deeds[0] if deeds else None

    def end(self, number: int) -> list[Deed]:
        """Return the newest entries of the log, of all that the store holds.

        :param number: how many.
        :raises StorageError: when the storage fails.
        """
        with self._bucket.reading() as unit:
            return self._audits.audit(unit, AuditQuery(limit=number, look_at=number)).deeds


# -- how far the feed is -----------------------------------------------------------------------------------------------


class Feed(Struct, frozen=True):
    """How far those who follow the log can be.

    :param behind: how many of the newest changes cannot be told yet, because a transaction that began before them is
        open; at most :data:`WINDOW`.
    :param seconds: for how long the oldest of them has been there.
    """

    behind: int
    seconds: float


def feed(runtime: Runtime) -> Feed | None:
    """Return how far the feed is behind, or None where nobody can tell.

    :param runtime: the app's running parts.
    :raises StorageError: when the storage fails.
    """
    entries = Log(runtime).end(WINDOW)
    if not entries:
        return Feed(0, 0.0)
    watches = require(runtime.bucket.backend, Watches, FACE)  # type: ignore[type-abstract]
    before = entries[-1].revision - 1
    try:
        reached = int(watches.follow(BUCKET, str(before), prefix=NOBODY, limit=WINDOW).cursor)
    except Compacted:
        return None
    held = [entry for entry in entries if entry.revision > reached]
    oldest = min((entry.at for entry in held), default=None)
    waiting = 0.0 if oldest is None else max(0.0, (runtime.bucket.clock.now() - oldest).total_seconds())
    return Feed(len(held), waiting)


# -- whether all is well -----------------------------------------------------------------------------------------------


def report(runtime: Runtime, count: Callable[[], int]) -> dict[str, Any]:
    """Return the health report, with the states counted in another way.

    :param runtime: the app's running parts.
    :param count: returns how many states there are.
    """
    cache = runtime.cache
    return health_report(
        backend=runtime.backend.title,
        count=count,
        attendance=None if runtime.workshop.desk is None else runtime.workshop.desk.attendance,
        counters=runtime.counters,
        cache="off" if cache is None else "on" if cache.check() else "unavailable",
        warnings=runtime.shelves.warnings,
    )
