"""The verbs that tell of changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from ..core.names import check_prefix
from ..core.record import Revision
from ..errors import ConfigurationError, StateValidationError, shown
from .parts import KvParts
from .subscribers import Told
from .watching import Watch

_LONGEST = 10 * 365 * 86400.0


class KvWatches(ABC):
    """The verbs of keys and values that tell of changes."""

    @abstractmethod
    def _parts(self) -> KvParts:
        """Return the running parts of the present app."""

    def watch(
        self,
        prefix: str | None = None,
        since: str | int | Revision | None = None,
        *,
        timeout: float | None = None,
        bookmark: float = 10.0,
    ) -> Watch:
        """Watch changes as they are committed, in this process or any other.

        Events come in the order of their revisions (on several shards of Redis: of each shard's), each exactly once,
        never one that was rolled back. Iterating waits for the next one.

        >>> # with state_manager.kv.watch("user:", since=cursor) as watch:
        >>> #     for event in watch:
        >>> #         print(event.key, event.old_value, event.new_value)

        :param prefix: only keys that begin so.
        :param since: go on behind this cursor: one of an event, of a bookmark, or ``watch.cursor``; a revision where
            the bucket lies in one store; ``"0"`` for the beginning. By default from now on.
        :param timeout: seconds without a change after which iterating ends; None for never.
        :param bookmark: seconds without a change after which an event of the kind ``bookmark`` comes, whose cursor
            should be kept in place of the last one.
        :returns: an iterator of :class:`KeyEvent`, to be closed.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when ``STATEMANAGER_BROADCAST_CHANGES`` is off.
        :raises StorageError: when the storage fails.
        """
        parts = self._live()
        if since is None:
            cursor = parts.watches.position(parts.bucket.name)
        else:
            cursor = str(since.number) if isinstance(since, Revision) else str(since)
        return Watch(
            parts.watches,
            parts.bucket.name,
            prefix=check_prefix("" if prefix is None else prefix),
            since=cursor,
            timeout=None if timeout is None else _seconds(timeout, "timeout"),
            bookmark=_seconds(bookmark, "bookmark"),
        )

    def subscribe(self, told: Told, prefix: str = "") -> Callable[[], None]:
        """Have a function called after every change that this process commits.

        It runs in the thread of whoever wrote, after the outermost commit; one that fails is logged, and hurts nobody.

        :param told: called with a :class:`KeyEvent`.
        :param prefix: of keys that begin so.
        :returns: what ends the subscription.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when ``STATEMANAGER_BROADCAST_CHANGES`` is off.
        """
        if not callable(told):
            raise StateValidationError({"told": [f"Must be a function, not {shown(told)}."]})
        return self._live().subscribers.add(told, check_prefix(prefix))

    def _live(self) -> KvParts:
        parts = self._parts()
        if not parts.live:
            raise ConfigurationError(
                "Changes cannot be watched: STATEMANAGER_BROADCAST_CHANGES switches live events off."
            )
        return parts


def _seconds(value: object, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST:
        return float(value)
    raise StateValidationError({field: [f"Must be a number of seconds, not {shown(value)}."]})
