"""The feed: the changes of some buckets, one after another, in whichever logs they lie; complete and resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from msgspec import Struct

from ..core.follows import Wait
from ..core.outage import Outage
from ..core.record import Change
from ..errors import Compacted, StorageError
from ..runtime import Runtime
from ..web.live.cursors import read, written
from ..web.live.log import Log, Source
from ..web.live.sources import source_of

logger = logging.getLogger("flask_statemanager.cli")

NAP = 0.5
"""The most seconds of one wait, so that Ctrl-C and the end of the time are noticed soon."""


class Heard(Struct, frozen=True):
    """A change, or the news that some are not kept any more.

    :param cursor: where to go on behind it.
    :param change: the change; None where some of what comes next is lost.
    """

    cursor: str
    change: Change | None = None


class Feed:
    """Follows buckets.

    :param runtime: the app's running parts.
    :param buckets: which ones.
    :param since: the cursor to go on behind; None for from now on, ``"0"`` for the beginning.
    :param timeout: seconds without a change after which it ends; None for never.
    :param pause: waits for some seconds.
    :ivar buckets: the buckets.
    :raises StateValidationError: when a bucket is unknown, or it is no cursor of these buckets.
    :raises ConfigurationError: when a backend cannot be had.
    :raises StorageError: when the storage fails.
    """

    def __init__(
        self,
        runtime: Runtime,
        buckets: Sequence[str],
        since: str | None,
        timeout: float | None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        source = partial(source_of, runtime)
        self.buckets = tuple(sorted(set(buckets)))
        self._logs = _logs(source, self.buckets)
        self._timeout = timeout
        self._pause = pause
        self._outage = Outage(logger, "Following the changes")
        names = sorted(self._logs)
        if since is None:
            self._cursors = {name: log.position(among[0]) for name, (log, among) in self._logs.items()}
        else:
            self._cursors = read(since, names)

    @property
    def cursor(self) -> str:
        """Where to go on behind what was handed out last."""
        return written(self._cursors, sorted(self._logs))

    def __iter__(self) -> Iterator[Heard]:
        """Yield what happens, as long as anybody asks, through outages of the storage.

        :raises StateValidationError: when what was given is no cursor of these buckets.
        """
        heard = time.monotonic()
        while True:
            try:
                with ExitStack() as stack:
                    for each in self._heard(stack):
                        if each is not None:
                            heard = time.monotonic()
                            yield each
                        elif self._timeout is not None and time.monotonic() - heard >= self._timeout:
                            return
            except StorageError as error:
                self._pause(self._outage.failed(error))

    def _heard(self, stack: ExitStack) -> Iterator[Heard | None]:
        """Yield what happens, and None whenever nothing has for a moment."""
        waits: dict[str, Wait] = {}
        while True:
            quiet = True
            for name, (log, among) in self._logs.items():
                for each in self._read(name, log, among):
                    quiet = False
                    yield each
            self._outage.over()
            if quiet:
                yield None
                self._wait(waits, stack)

    def _read(self, name: str, log: Log, among: Sequence[str]) -> Iterator[Heard]:
        try:
            stretch = log.read(self._cursors[name], among)
        except Compacted as error:
            self._cursors[name] = error.restart
            yield Heard(self.cursor)
            return
        for entry in stretch.entries:
            self._cursors[name] = entry.behind
            yield Heard(self.cursor, entry.change)
        self._cursors[name] = stretch.cursor

    def _wait(self, waits: dict[str, Wait], stack: ExitStack) -> None:
        seconds = NAP / len(self._logs)
        for name, (log, among) in self._logs.items():
            if name not in waits:
                waits[name] = stack.enter_context(log.following(among[0]))
            if waits[name](self._cursors[name], seconds):
                return


def _logs(source: Callable[[str], Source], buckets: Sequence[str]) -> Mapping[str, tuple[Log, tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    for bucket in buckets:
        found.setdefault(source(bucket).log, []).append(bucket)
    return {name: (Log(name, source), tuple(among)) for name, among in sorted(found.items())}
