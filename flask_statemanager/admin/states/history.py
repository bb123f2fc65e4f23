"""The history of one state: what became of it, newest first, page by page, with what each change made different."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ...core.query import ChangeQuery
from ...core.record import Change, Key, Record
from ...lifecycle.parts import BUCKET
from ..visit import Visit
from .differences import Differences, differences
from .forms import version

SIZE, FEWEST = 20, 2
"""Changes of one page: of small documents, and of the largest."""

MOST_BYTES = 8 * 2**20
"""Bytes of documents that one page compares, about."""


class Event(Struct, frozen=True):
    """One change as the timeline shows it.

    :param change: the change.
    :param differences: what it made different; None where there is nothing to compare with.
    """

    change: Change
    differences: Differences | None


class History(Struct, frozen=True):
    """One page of a history.

    :param events: the changes, newest first.
    :param older: the revision behind which older ones follow, or None.
    :param first: whether this page begins with the newest.
    """

    events: Sequence[Event]
    older: int | None
    first: bool


def history_of(visit: Visit, name: str, document: int) -> History:
    """Read the page of a history that the visit asks for.

    :param visit: the visit; ``older`` in its query is the revision to go on behind.
    :param name: the state's id.
    :param document: how many bytes the state has now, by which a page has room for fewer changes.
    :raises StorageError: when the storage fails.
    """
    after = version(visit.query.get("older", ""))
    size = max(FEWEST, min(SIZE, MOST_BYTES // max(1, document)))
    found = changes_of(visit, name, after=after, limit=size + 1)
    shown = found[:size]
    older = shown[-1].revision if len(found) > size else None
    return History([_event(visit, change) for change in shown], older, after is None)


def changes_of(visit: Visit, name: str, *, after: int | None = None, limit: int = 1) -> list[Change]:
    """Read changes of a state, the newest first.

    :param visit: the visit.
    :param name: the state's id.
    :param after: go on behind this revision.
    :param limit: the most changes.
    :raises StorageError: when the storage fails.
    """
    parts = visit.runtime.lifecycle.parts
    query = ChangeQuery(BUCKET, Key(BUCKET, name), newest_first=True, after=after, limit=limit)
    with parts.bucket.reading() as unit:
        return parts.history.changes(unit, query)


def record_at(visit: Visit, name: str, number: int) -> Record | None:
    """Return a state as it was at a version, or None where that is not kept.

    :param visit: the visit.
    :param name: the state's id.
    :param number: the version.
    :raises StorageError: when the storage fails.
    """
    parts = visit.runtime.lifecycle.parts
    with parts.bucket.reading() as unit:
        return parts.history.record_at(unit, Key(BUCKET, name), number)


class Meanwhile(Struct, frozen=True):
    """What happened between the version that a form was about and now.

    :param since: that version.
    :param changes: what happened, newest first.
    :param differences: what is different; None where that version is not kept.
    """

    since: int
    changes: Sequence[Change]
    differences: Differences | None


def meanwhile(visit: Visit, present: Record) -> Meanwhile | None:
    """Return what a refused form could not know of, or None where it was about the present version.

    :param visit: the visit.
    :param present: the state as it is stored.
    :raises StorageError: when the storage fails.
    """
    since = version(visit.form.get("expect", ""))
    if visit.refusal is None or since is None or since >= present.version:
        return None
    name = present.key.name
    found = changes_of(visit, name, limit=min(SIZE, present.version - since))
    past = record_at(visit, name, since)
    made = None if past is None else differences(visit, past, present)
    return Meanwhile(since, [change for change in found if change.version > since], made)


def _event(visit: Visit, change: Change) -> Event:
    if change.before is None:
        return Event(change, None)
    # From which status to which is said anyway.
    before = replace(change.before, status=change.after.status)
    return Event(change, differences(visit, before, change.after))
