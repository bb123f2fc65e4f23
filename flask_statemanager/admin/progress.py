"""How far long work is: the value that every process shows, and how it is written down."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from ..core.clock import from_iso, iso
from ..core.record import JSONObject
from ..kv.value import KeyValue
from .visit import Visit

RUNNING, ENDED_WELL, FAILED, LOST = "running", "done", "failed", "lost"
"""``lost``: nothing was heard of it for a while; its process has died, or cannot reach the store."""


class Report:
    """What work tells how far it is; called from its thread, read from others.

    :param work_id: the id of the work.
    :ivar done: how much is done.
    :ivar total: how much there is, or None.
    """

    def __init__(self, work_id: str) -> None:
        self.work_id = work_id
        self.done = 0
        self.total: int | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        """Tell how far it is.

        :param done: how much is done.
        :param total: how much there is; None where that is not known.
        """
        self.done, self.total = done, total


class Work(Struct, frozen=True):
    """Long work, as its page shows it. Moments are text, as in all that is stored.

    :param id: its id; ids sort by when it began.
    :param title: what it is.
    :param unit: what is counted.
    :param actor: who began it.
    :param reason: why.
    :param state: ``running``, ``done``, ``failed`` or ``lost``.
    :param started_at: when it began.
    :param heard_at: when something was last heard of it.
    :param ended_at: when it ended.
    :param done: how much is done.
    :param total: how much there is; None where that is not known.
    :param sentence: what it came to.
    :param page: the page to look at then; until it has ended well, the one that it was begun on.
    :param arguments: those of that page.
    :param details: what else is known.
    """

    id: str
    title: str
    unit: str
    actor: str
    reason: str | None
    state: str
    started_at: str
    heard_at: str
    ended_at: str | None = None
    done: int = 0
    total: int | None = None
    sentence: str = ""
    page: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    details: JSONObject = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None where that is not known."""
        return None if not self.total else min(1.0, self.done / self.total)

    @property
    def lasted(self) -> float:
        """For how many seconds it has lasted, or did."""
        return max(0.0, (from_iso(self.ended_at or self.heard_at) - from_iso(self.started_at)).total_seconds())

    @property
    def left(self) -> float | None:
        """About how many seconds it will go on; None where that is not known."""
        share, lasted = self.share, self.lasted
        return None if not share or lasted < 1 or self.state != RUNNING else lasted * (1 - share) / share

    def at(self, done: int, total: int | None) -> Work:
        """Return the work as far as it is.

        :param done: how much is done.
        :param total: how much there is.
        """
        return replace(self, done=done, total=total)

    def ended(
        self,
        state: str,
        sentence: str,
        now: str,
        *,
        page: str,
        arguments: dict[str, str],
        details: JSONObject,
    ) -> Work:
        """Return the work as it has ended.

        :param state: how.
        :param sentence: what it came to.
        :param now: when.
        :param page: the page to look at.
        :param arguments: those of that page.
        :param details: what else is known.
        """
        return replace(
            self,
            state=state,
            sentence=sentence,
            heard_at=now,
            ended_at=now,
            page=page,
            arguments=arguments,
            details=details,
        )

    def written(self) -> JSONObject:
        """Return the work as it is stored."""
        return asdict(self)

    def link(self, visit: Visit) -> str | None:
        """Return the URL of the page to look at, or None.

        :param visit: the visit.
        """
        return visit.url(self.page, **self.arguments) if self.page else None


def work_of(entry: KeyValue, now: datetime, silence: float) -> Work:
    """Return the work that is stored.

    :param entry: as it is stored.
    :param now: the moment.
    :param silence: seconds after which running work of which nothing is heard counts as lost.
    """
    stored: Any = entry.value
    known = Work(**{name: stored[name] for name in Work.__struct_fields__ if name in stored})
    heard = replace(known, heard_at=iso(entry.updated_at)) if known.state == RUNNING else known
    silent = known.state == RUNNING and (now - entry.updated_at).total_seconds() > silence
    return replace(heard, state=LOST) if silent else heard
