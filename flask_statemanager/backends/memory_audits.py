"""Searching the log, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile

from ..core.audits import DISORDER, Audited, AuditQuery, Audits, Deed, folded
from ..core.record import Change, Key
from .memory_unit import MemoryUnit


class MemoryAudits(Audits):
    """The power Audits, for a backend that keeps changes in a list."""

    _log: list[Change]

    def audit(self, unit: MemoryUnit, query: AuditQuery) -> Audited:
        """Search a piece of the log.

        :param unit: an open unit.
        :param query: what to look for, and how far.
        """
        deeds: list[Deed] = []
        last: Change | None = None
        for seen, change in enumerate(self._walk(query)):
            if len(deeds) == query.limit or seen == query.look_at:
                assert last is not None, "at least one was looked at"
                over = len(deeds) < query.limit and query.over_by(last.at)
                return Audited(deeds) if over else Audited(deeds, last.revision, last.at)
            if change.key.bucket not in query.but and _wanted(change, query):
                deeds.append(Deed.of(change))
            last = change
        return Audited(deeds)

    def _walk(self, query: AuditQuery) -> Iterator[Change]:
        until = query.until
        newest: Iterator[Change] = reversed(self._log)
        if until is not None:
            newest = dropwhile(lambda change: change.at - DISORDER > until, newest)
        for change in newest:
            mine = query.name is None or change.key == Key(str(query.bucket), query.name)
            if mine and (query.before is None or change.revision < query.before):
                yield change


def _wanted(change: Change, query: AuditQuery) -> bool:
    pairs = (
        (query.bucket, change.key.bucket),
        (query.actor, change.actor),
        (query.event, change.event),
        (query.source, change.source),
        (query.request_id, change.request_id),
        (query.type, change.after.type),
        (query.status, change.after.status),
    )
    if any(wanted is not None and wanted != found for wanted, found in pairs):
        return False
    if query.reason is not None and folded(query.reason) not in folded(change.reason or ""):
        return False
    return (query.since is None or change.at >= query.since) and (query.until is None or change.at <= query.until)
