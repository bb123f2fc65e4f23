"""Listening: one client's way from where it has been to the present, and what it is told from there on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from ...errors import Compacted
from .client import Client
from .cursors import furthest, reaches, read, written
from .live import Live
from .log import Entry, Log, Stretch
from .messages import COMPACTED, HEARTBEAT, Frame


class Listening:
    """A client's stay, to be closed.

    It is told what lies behind ``since`` by reading the log itself, so that nobody waits for it, up to where the others
    are; then it is told with them. Nothing is left out and nothing comes twice.

    :param live: the streams of the app.
    :param client: the client.
    :param since: the cursor to go on from; None for from now on.
    :raises StateValidationError: when it is no cursor of these logs.
    :raises StorageError: when the storage fails.
    """

    def __init__(self, live: Live, client: Client, since: str | None) -> None:
        self._live = live
        self._client = client
        self._cursors: dict[str, str] = {}
        self._first: dict[str, Stretch] = {}
        self._logs = [live.log(name) for name in client.logs]
        if since is None:
            live.admit(client, held=False)
            return
        client.mailbox.cursor = since
        self._cursors = read(since, client.logs)
        # Once at least, and before anything is answered: it may be no cursor of this log, or one from before a restore.
        for log in self._logs:
            with suppress(Compacted):  # which is told behind the answer
                self._first[log.name] = self._read(log)

    def __enter__(self) -> Listening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave; a second time is no error."""
        self._live.leave(self._client)

    def heartbeat(self) -> None:
        """Have the client told how far it has come."""
        self._live.hub.heartbeat(self._client)

    def catch_up(self) -> Iterator[Frame]:
        """Return what lies between ``since`` and the present, as far as it is of interest and may be seen.

        Behind it the client's mailbox holds what comes next.

        :raises StorageError: when the storage fails; the client can come again with the cursor of the last message.
        """
        if not self._cursors:
            return
        for log in self._logs:
            yield from self._to_the_end(log)
        self._live.admit(self._client, held=True)
        goal = self._live.hub.positions(self._client)
        for log in self._logs:
            yield from self._as_far_as(log, goal[log.name])
        self._live.hub.settle(self._client, self._cursors)

    def _as_far_as(self, log: Log, goal: str) -> Iterator[Frame]:
        """Read on, and be as far as the others were: what is not there then has been rolled back, or removed."""
        yield from self._to_the_end(log)
        while not reaches(self._cursors[log.name], goal):
            # Fails on in-memory SQLite while what there is may be rolled back yet, which reads as if there was nothing.
            log.position(self._client.logs[log.name][0])
            before = self._cursors[log.name]
            yield from self._to_the_end(log)
            if self._cursors[log.name] == before:
                self._cursors[log.name] = furthest(before, goal)

    def _to_the_end(self, log: Log) -> Iterator[Frame]:
        more = True
        while more:
            try:
                stretch = self._first.pop(log.name, None) or self._read(log)
            except Compacted as error:
                yield self._compacted(log, error)
                continue
            frames = list(filter(None, (self._told(log, entry) for entry in stretch.entries)))
            yield from frames
            self._cursors[log.name] = stretch.cursor
            more = stretch.more
            if more and not frames:
                yield Frame(HEARTBEAT, self._cursor())

    def _read(self, log: Log) -> Stretch:
        return log.read(self._cursors[log.name], self._client.logs[log.name])

    def _compacted(self, log: Log, error: Compacted) -> Frame:
        self._cursors[log.name] = error.restart
        return Frame(COMPACTED, self._cursor())

    def _told(self, log: Log, entry: Entry) -> Frame | None:
        self._cursors[log.name] = entry.behind
        client = self._client
        if not client.interest.takes(entry.change):
            return None
        news = self._live.hub.news(entry.change)
        sight = news.seen_by(client.audience)
        return news.frame(client.interest.seen(sight), self._cursor()) if sight else None

    def _cursor(self) -> str:
        return written(self._cursors, self._client.logs)
