"""Writing some records of a bucket all or nothing, each as the bucket would write it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import StateConflict, StateManagerError
from .bucket import Bucket
from .ports import following_on
from .powers import MultiKey
from .record import Change, Key, Origin, Record, living
from .scope import entered, unit_around
from .step import Decide

Stored = Mapping[str, Record | None]
"""Records by name; None where there is none."""


class Together:
    """Reads, checks and writes several records in one transaction.

    :param bucket: the collection.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._many = bucket.backend if isinstance(bucket.backend, MultiKey) else None

    def write(
        self,
        decisions: Mapping[str, Decide],
        *,
        origin: Origin,
        conditions: Callable[[Stored], None] = lambda _stored: None,
        regarded: Sequence[str] = (),
        seen: Mapping[str, Record | None] | None = None,
        session: Any = None,
    ) -> dict[str, Record | None]:
        """Write all of it, or nothing where anything of it is refused.

        :param decisions: one for each name that is written.
        :param origin: who asks.
        :param conditions: looks at the live records, as they count now, and raises to refuse; called with every name.
        :param regarded: further names that the conditions look at.
        :param seen: what the caller believes to be stored under every name, tombstones too, which spares the reading;
            where it is not so, it is read.
        :param session: write inside this session's transaction instead of one of its own.
        :returns: each written name's record as it is now; None where there is none.
        :raises StateConflict: when racers won every attempt.
        :raises StateManagerError: whatever the conditions, a decision or a check refuses with.
        :raises StorageError: when the storage fails.
        """
        self._bucket.publisher.check_cascade()
        names = sorted({*decisions, *regarded})
        if seen is not None and session is None and not regarded and seen.keys() >= set(names):
            done = self._over(seen, decisions, origin, conditions)
            if done is not None:
                return done
        perform = partial(
            self._perform,
            names=names,
            regarded=bool(regarded),
            decisions=decisions,
            conditions=conditions,
            origin=origin,
        )
        return self._bucket.within(perform, session, undone=True, names=lambda: names)

    def _over(
        self,
        seen: Mapping[str, Record | None],
        decisions: Mapping[str, Decide],
        origin: Origin,
        conditions: Callable[[Stored], None],
    ) -> dict[str, Record | None] | None:
        """Decide on what is believed, and store it over that; None where it has to be done in a transaction."""
        bucket = self._bucket
        changes = self._guessed(seen, decisions, origin, conditions) if self._alone() else None
        if changes is None or bucket.jobs.concern(changes):
            return None
        after = {name: seen[name] for name in decisions}
        try:
            done = self._stored(changes, seen) if changes else []
        except StateConflict:
            return None
        except BaseException:
            bucket.doubt(decisions)
            raise
        after |= {change.key.name: change.after for change in done}
        return {name: living(record) for name, record in after.items()}

    def _alone(self) -> bool:
        """Tell whether nobody looks at the changes, and whether there is no transaction that they belong to."""
        bucket = self._bucket
        return not (bucket.hooked() or bucket.checks or unit_around(bucket.backend) is not None)

    def _stored(self, changes: Sequence[Change], seen: Stored) -> list[Change]:
        before = {change.key: seen[change.key.name] for change in changes}
        return self._bucket.backend.over(changes, before, self._bucket.publisher.line_up)

    def _guessed(
        self,
        seen: Mapping[str, Record | None],
        decisions: Mapping[str, Decide],
        origin: Origin,
        conditions: Callable[[Stored], None],
    ) -> list[Change] | None:
        """Return the changes by the names of their records; None where a record has two, or something is refused."""
        bucket, now = self._bucket, self._bucket.clock.now()
        changes: list[Change] = []
        try:
            conditions({name: self._present(seen[name], now) for name in decisions})
            for name in sorted(decisions):
                key, stored = Key(bucket.name, name), seen[name]
                floor = bucket.floor(None, key, stored)
                decided = bucket.decided(key, stored, decisions[name], expect=None, origin=origin, now=now, floor=floor)
                if len(decided) > 1:
                    return None
                changes += decided
        except StateManagerError:
            # It may be refused because of what was only believed.
            return None
        return changes

    def _perform(
        self,
        unit: Any,
        *,
        names: Sequence[str],
        regarded: bool,
        decisions: Mapping[str, Decide],
        conditions: Callable[[Stored], None],
        origin: Origin,
    ) -> dict[str, Record | None]:
        bucket = self._bucket
        if regarded:
            # Each might write what the other has found absent.
            unit.reserve([Key(bucket.name, name) for name in names])
        found = self._read(unit, names)
        now = bucket.clock.now()
        conditions({name: self._present(record, now) for name, record in found.items()})
        return self._written(unit, found, decisions, origin, now)

    def _written(
        self,
        unit: Any,
        found: Mapping[str, Record | None],
        decisions: Mapping[str, Decide],
        origin: Origin,
        now: datetime,
    ) -> dict[str, Record | None]:
        """Decide each, store all, the expiries that were due ahead of the rest."""
        bucket = self._bucket
        after: dict[str, Record | None] = {}
        expiries: list[Change] = []
        changes: list[Change] = []
        # By name, so that two that write the same records cannot deadlock where there is nothing yet to be locked.
        for name in sorted(decisions):
            key, stored = Key(bucket.name, name), found[name]
            with entered(bucket.backend, unit, key):
                floor = bucket.floor(unit, key, stored)
                decided = bucket.decided(key, stored, decisions[name], expect=None, origin=origin, now=now, floor=floor)
            after[name] = decided[-1].after if decided else stored
            expiries += decided[:-1]
            changes += decided[-1:]
        expired = {change.key: change.after for change in self._applied(unit, expiries)}
        following = [following_on(each, expired[each.key]) if each.key in expired else each for each in changes]
        after |= {change.key.name: change.after for change in self._applied(unit, following)}
        return {name: living(record) for name, record in after.items()}

    def _present(self, record: Record | None, now: datetime) -> Record | None:
        return None if record is None else living(self._bucket.present(record, now))

    def _read(self, unit: Any, names: Sequence[str]) -> dict[str, Record | None]:
        bucket = self._bucket
        if self._many is None:
            return {name: bucket.backend.read(unit, Key(bucket.name, name), lock=True) for name in names}
        stored = self._many.read_many(unit, bucket.name, names, lock=True) if names else {}
        return {name: stored.get(name) for name in names}

    def _applied(self, unit: Any, changes: Sequence[Change]) -> list[Change]:
        bucket = self._bucket
        if self._many is None or bucket.hooked():
            return [bucket.apply(unit, change) for change in changes]
        try:
            revisions = self._many.apply_many(unit, changes)
        except StateConflict as lost:
            # What was read a moment ago is nobody's expectation, so the race can be run again.
            raise StateConflict(lost.key, None, lost.actual) from lost
        done = [change.drawn(revision) for change, revision in zip(changes, revisions, strict=True)]
        for change in done:
            unit.after_commit(partial(bucket.publisher.line_up, change))
        bucket.jobs.plan(unit, done)
        return done
