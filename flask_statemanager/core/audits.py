"""The power to search the log for who did what and when, a bounded piece of it at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from .record import Change, Key, Origin

DISORDER = timedelta(hours=1)
"""How far the times of two changes may contradict their order in the log, as machines disagree about the time.

A search within a time range goes by that order; what was logged with a time that is further off, such as data of the
past that was loaded later, it may not come to.
"""


class Deed(Struct, frozen=True):
    """Who changed what, when and why; not what the values were.

    :param revision: the position in the store's log.
    :param key: which record.
    :param version: the version that it made.
    :param event: the event's name.
    :param type: the record's type.
    :param from_status: the status before; None for a creation.
    :param to_status: the status after.
    :param origin: who, from where and why.
    :param at: when.
    """

    revision: int
    key: Key
    version: int
    event: str
    type: str
    from_status: str | None
    to_status: str
    origin: Origin
    at: datetime

    @classmethod
    def of(cls, change: Change) -> Deed:
        """Return what a change says of itself.

        :param change: the change.
        """
        before, after = change.before, change.after
        status = None if before is None else before.status
        return cls(
            change.revision,
            change.key,
            change.version,
            change.event,
            after.type,
            status,
            after.status,
            change.origin,
            change.at,
        )


class AuditQuery(Struct, frozen=True):
    """A search through a log, newest first. All conditions must hold; one that is None holds for everything.

    :param bucket: the collection.
    :param but: collections that are left out; a few.
    :param name: the record, in ``bucket``, which must be given then; its changes are found without looking at others.
    :param actor: who did it.
    :param event: what was done.
    :param source: in which part of the system.
    :param request_id: in which request.
    :param type: to a record of which type.
    :param status: the status after it.
    :param reason: text that the reason contains; upper and lower case of ASCII letters are the same.
    :param since: not before this moment.
    :param until: not after it.
    :param before: only below this revision, where an earlier search has ended.
    :param limit: the most deeds to return.
    :param look_at: the most entries of the log to look at, those that are gone among them.
    """

    bucket: str | None = None
    but: tuple[str, ...] = ()
    name: str | None = None
    actor: str | None = None
    event: str | None = None
    source: str | None = None
    request_id: str | None = None
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50
    look_at: int = 50_000

    def over_by(self, at: datetime) -> bool:
        """Tell whether no entry of the log below one with this time can lie in the range.

        :param at: the time of the entry.
        """
        return self.since is not None and at < self.since - DISORDER


class Audited(Struct, frozen=True):
    """What a search has come to.

    :param deeds: what was found, newest first.
    :param reached: the revision down to which the log was looked at, to go on below; None when nothing is left.
    :param reached_at: the time of the last entry that was looked at, or of the next one.
    """

    deeds: list[Deed]
    reached: int | None = None
    reached_at: datetime | None = None


def folded(text: str) -> str:
    """Return a text with its ASCII letters in lower case, the others as they are: alike in every database.

    :param text: any text.
    """
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


class Audits(ABC):
    """Power: the log can be searched by who, what, where from and when, at a cost that does not grow with it."""

    @abstractmethod
    def audit(self, unit: Any, query: AuditQuery) -> Audited:
        """Search a piece of the log.

        :param unit: an open unit.
        :param query: what to look for, and how far.
        :raises StorageError: when the storage fails.
        """
