"""Live events of one app: which logs there are, who reads them, who listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from ...core.clock import Clock
from ...core.waking import JOIN, PerProcess
from ...errors import StorageUnavailable
from ...tracking.propagation import Propagation
from .client import Client
from .hub import Hub
from .log import Log, Source
from .mailbox import Farewell
from .reader import Reader
from .terms import Terms

_MOST_ROUNDS = 10


class Live:
    """The clients of one app and those who read for them, in each process its own.

    :param source: finds where the changes of a bucket are.
    :param propagation: the rules by which changes reach users.
    :param terms: on what terms clients listen.
    :param clock: the time.
    :param pulse: called about once a second by who reads; says whether the server is about to end.
    """

    def __init__(
        self,
        source: Callable[[str], Source],
        propagation: Propagation,
        terms: Terms,
        clock: Clock,
        pulse: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = source
        self._parts = PerProcess(lambda: _Parts(Hub(propagation, terms, clock), pulse))

    @property
    def hub(self) -> Hub:
        """The hub of this process."""
        return self._parts.get().hub

    def logs(self, buckets: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the logs in which buckets lie, by name and sorted, with which of the buckets lie there.

        :param buckets: the buckets.
        :raises StateValidationError: when one of them is unknown.
        :raises ConfigurationError: when the backend of one of them cannot be had.
        """
        found: dict[str, set[str]] = {}
        for bucket in buckets:
            found.setdefault(self._source(bucket).log, set()).add(bucket)
        return {name: tuple(sorted(found[name])) for name in sorted(found)}

    def log(self, name: str) -> Log:
        """Return a log.

        :param name: its name.
        """
        return Log(name, self._source)

    def admit(self, client: Client, *, held: bool) -> None:
        """Let a client in, and have its logs read.

        :param client: the client.
        :param held: whether it is going to catch up first.
        :raises StorageError: when a log cannot be read, or no thread can be had to read it.
        """
        parts = self._parts.get()
        for _round in range(_MOST_ROUNDS):
            unread = parts.hub.unread(client)
            fresh = {name: self.log(name).position(client.logs[name][0]) for name in unread}
            begun = parts.hub.admit(client, fresh, held=held)
            if begun is not None:
                parts.begin([self.log(name) for name in begun])
                return
        raise StorageUnavailable("The log is begun and left again all the time: connect again.")

    def leave(self, client: Client) -> None:
        """Let a client go.

        :param client: the client.
        """
        self._parts.get().hub.leave(client)

    def read(self) -> list[str]:
        """Return the names of the logs that are being read in this process."""
        present = self._parts.present
        return [] if present is None else present.read()

    def close(self) -> None:
        """End all streams of this process and who reads for them."""
        present = self._parts.present
        if present is not None:
            present.close()

    def counts(self) -> Mapping[str, Callable[[], int]]:
        """Return what is counted about this process, each as a function that reads it."""
        return {
            "live.clients": lambda: self.hub.clients,
            "live.delivered": lambda: self.hub.delivered,
            "live.lag_ms": lambda: int(self.hub.lag * 1000),
        }


class _Parts:
    """The hub of one process and who reads for it."""

    def __init__(self, hub: Hub, pulse: Callable[[], bool]) -> None:
        self.hub = hub
        self._pulse = pulse
        self._lock = threading.Lock()
        self._readers: dict[str, Reader] = {}

    def begin(self, logs: Iterable[Log]) -> None:
        for log in logs:
            reader = Reader(log, self.hub, self._beat)
            try:
                reader.start()
            except RuntimeError as error:  # no thread to be had
                self.hub.abandon(log.name)
                raise StorageUnavailable("There is no thread to be had to read the log: connect again.") from error
            with self._lock:
                self._readers[log.name] = reader

    def read(self) -> list[str]:
        with self._lock:
            return sorted(name for name, reader in self._readers.items() if reader.alive)

    def close(self) -> None:
        self.hub.farewell(Farewell.CLOSING)
        with self._lock:
            readers, self._readers = self._readers, {}
        for name, reader in readers.items():
            reader.close(JOIN)
            self.hub.abandon(name)

    def _beat(self) -> None:
        self.hub.watch_over(time.monotonic())
        if self._pulse():
            self.hub.farewell(Farewell.CLOSING)
