"""From the hooks of an app to its bucket of notes: what tracking needs of the other parts."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from flask import Flask
from msgspec import Struct

from .config import Settings
from .core.buckets import BucketDefinition, BucketRegistry
from .core.record import Origin, Record, living
from .core.step import Decide, Step
from .core.together import Together
from .effects.embedded import AppContext
from .errors import ConfigurationError
from .kv.decisions import Set
from .kv.parts import KvParts
from .kv.setting import setting
from .kv.value import KEEP, VALUE
from .runtime import Runtime
from .tracking.backlog import Backlog, Pace
from .tracking.book import Book, Fresh, Renewed
from .tracking.face import Tracking
from .tracking.hooks import Hooks
from .tracking.presence import Presence
from .tracking.rules import Rules
from .tracking.visit import Visit
from .workshop import check_shareable

KEPT = 60.0
"""Seconds that changes and tombstones of the bucket are kept: for those who follow it live, and no longer."""

_ORIGIN = Origin("system", "tracking")


class Tracks:
    """Writes notes into a bucket of keys and values.

    :param parts: finds the bucket.
    """

    def __init__(self, parts: Callable[[], KvParts]) -> None:
        self._parts = parts

    def __call__(self, fresh: Sequence[Fresh], renewed: Sequence[Renewed]) -> Mapping[str, bool]:
        """Write notes, all of them or none.

        :param fresh: at most one for each key.
        :param renewed: likewise.
        :returns: for each key whether its note is in the store now, and no other one instead.
        :raises StateManagerError: when nothing could be written.
        """
        parts = self._parts()
        seen: dict[str, Record | None] = {}
        notes = {note.key: note for note in fresh}
        decisions: dict[str, Decide] = {}
        for note in fresh:
            put = setting(parts, note.key, note.value, KEEP, note.ttl)
            decisions[note.key] = _Beginning(put, seen, None if note.behind is None else notes[note.behind])
        for each in renewed:
            decisions[each.key] = partial(_remade, parts, each)
        stored = Together(parts.bucket).write(decisions, origin=_ORIGIN, conditions=seen.update)
        return {note.key: _holds(stored[note.key], note) for note in fresh} | {each.key: True for each in renewed}


class _Beginning(Struct, frozen=True):
    """Decides to write a note, unless there is one, or the one that it belongs to is another's.

    :param put: writes it.
    :param seen: what was there, by key.
    :param behind: the note that it belongs to; None for none.
    """

    put: Set
    seen: Mapping[str, Record | None]
    behind: Fresh | None

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        if living(stored) is not None:
            return None
        before = None if self.behind is None else self.seen.get(self.behind.key)
        if before is not None and self.behind is not None and not _holds(before, self.behind):
            return None
        return self.put(stored, now)


def _remade(parts: KvParts, note: Renewed, stored: Record | None, now: datetime) -> Step | None:
    alive = living(stored)
    value = note.remade(None if alive is None else alive.data[VALUE])
    return setting(parts, note.key, value, KEEP, note.ttl)(stored, now)


def _holds(record: Record | None, note: Fresh) -> bool:
    """Tell whether a record is this very note: it is where a batch has been written and nobody knew."""
    return record is not None and record.data[VALUE] == note.value


def track(app: Flask, runtime: Runtime) -> Tracking:
    """Have the requests of an app tracked.

    :param app: the app, which is not kept.
    :param runtime: its running parts.
    :raises ConfigurationError: when the settings are unusable, or the bucket is where no thread may write.
    """
    settings, declarations, count = runtime.settings, runtime.declarations, runtime.counters.increment
    rules, clock = Rules.of(settings), declarations.clock
    parts = partial(runtime.shelves.parts, _declared(settings, declarations.buckets))
    check_shareable(parts().bucket.backend, "STATEMANAGER_TRACK_REQUESTS", also_memory=True)
    backlog: Backlog[Visit | Presence] = Backlog(
        Book(rules, Tracks(parts), count).write,
        pace=Pace(settings.track_queue, settings.track_share),
        context=AppContext(app),
        count=count,
    )
    actor = declarations.actor
    hooks = Hooks(
        rules,
        clock=clock,
        user=lambda: None if actor.loader is None else actor.loader(),
        add=backlog.add,
        count=count,
    )
    hooks.attach(app)
    weakref.finalize(app, backlog.close, 0).atexit = False
    return Tracking(clock, runtime.counters.value, backlog)


def _declared(settings: Settings, buckets: BucketRegistry) -> str:
    """Declare the bucket of the notes, unless the application has done so, and return its name."""
    name, found = settings.track_bucket, buckets.find(settings.track_bucket)
    if found is None:
        found = BucketDefinition(name, ttl=settings.request_state_ttl, history=KEPT, tombstones=KEPT)
        buckets.define(found)
    if found.shards > 1:
        raise ConfigurationError(
            f"The bucket {name!r} is spread over {found.shards} shards, and the two notes of a request are written "
            "together: declare it with shards=1, or set STATEMANAGER_TRACK_BUCKET to another."
        )
    return name
