"""Wake-ups by PostgreSQL's NOTIFY. They may get lost; the workers' slow poll is the floor.

A notification is sent behind the commit on a connection of its own: inside the write's transaction it would make all
commits of the server wait for one another. A pooler that hands out connections per transaction swallows them.
"""

from __future__ import annotations

import hashlib
import logging
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from msgspec import Struct
from sqlalchemy.engine import Engine

from ...core.outage import Outage
from ...core.waking import JOIN, Coalesced, PerProcess

logger = logging.getLogger("flask_statemanager.sql")

CHANNEL = "statemanager_outbox"
"""The channel for jobs, of the tables outside of a named schema."""


class Topic(Struct, frozen=True):
    """What is told.

    :param channel: the channel of the tables outside of a named schema.
    :param telling: what the one who tells does, as the beginning of a sentence in the log.
    :param hearing: what the one who hears does.
    :param gap: the least seconds between two notifications of one process.
    """

    channel: str
    telling: str
    hearing: str
    gap: float = 0.0


JOBS = Topic(CHANNEL, "Waking the workers by NOTIFY", "Listening for new jobs")
# Each notification is a commit of its own, and there may be thousands of changes a second.
CHANGES = Topic("statemanager_feed", "Waking the followers by NOTIFY", "Listening for new changes", gap=0.02)

_LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name (NAMEDATALEN - 1)."""

_QUIET = 60.0
"""Seconds of silence after which the listener asks whether its connection is alive, which TCP would not tell."""

_BOUND = 0.5
"""Seconds after which the listener looks whether it has been closed."""


def speaks(engine: Engine) -> bool:
    """Tell whether an engine's database has notifications that this module can hear: psycopg and psycopg2 can.

    :param engine: any engine.
    """
    return engine.dialect.name == "postgresql" and engine.driver in ("psycopg", "psycopg2")


def channel_for(schema: str | None, topic: Topic = JOBS) -> str:
    """Return the channel of the tables in a schema; other databases cannot be heard anyway.

    :param schema: the schema that the metadata names, or None.
    :param topic: what is told.
    :returns: a name of at most 63 bytes.
    """
    name = topic.channel if schema is None else f"{topic.channel}_{schema}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{topic.channel}_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


class _Line:
    """A driver connection that commits each statement, apart from the engine's pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.connection: Any = None

    def run(self, statement: str, *values: str) -> None:
        """Run a statement, on a new connection if there is none."""
        if self.connection is None:
            self.connection = self._opened()
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement, values or None)
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the connection; it may be dead."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _opened(self) -> Any:
        fairy = self._engine.raw_connection()
        connection: Any = fairy.driver_connection
        fairy.detach()  # so that the pool does not count it
        try:
            connection.rollback()  # a listener of the application's may have said something on check-out
            connection.autocommit = True
        except BaseException:
            connection.close()
            raise
        return connection


class Notifier:
    """Tells other processes that there may be jobs, or changes, in a background thread and coalesced.

    :param engine: an engine of PostgreSQL.
    :param schema: the schema of the tables.
    :param topic: what is told.
    """

    def __init__(self, engine: Engine, schema: str | None = None, topic: Topic = JOBS) -> None:
        self._lines = PerProcess(lambda: _Line(engine))
        self._channel = channel_for(schema, topic)
        self._background = Coalesced(self._send, title=topic.telling, logger=logger, gap=topic.gap)

    def wake(self) -> None:
        """Have those who listen woken soon: to be called after commits, in any thread. Never waits and never raises."""
        self._background.wake()

    def close(self) -> None:
        """End this process's thread and connection for good."""
        self._background.close()
        self._lines.get().close()

    def _send(self) -> None:
        line = self._lines.get()
        try:
            line.run("SELECT pg_notify(%s, '')", self._channel)
        except BaseException:
            line.close()
            raise


class Listener:
    """Hears notifications in a thread of its own while its block is entered.

    :param engine: an engine of PostgreSQL.
    :param wake: called at each notification, and whenever one may have been missed; must not raise.
    :param schema: the schema of the tables.
    :param topic: what is told.
    """

    def __init__(
        self, engine: Engine, wake: Callable[[], None], schema: str | None = None, topic: Topic = JOBS
    ) -> None:
        self._line = _Line(engine)
        self._wake = wake
        self._channel = channel_for(schema, topic)
        self._outage = Outage(logger, topic.hearing)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Listener:
        self._thread = threading.Thread(target=self._run, name="statemanager-listener", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and its connection."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(JOIN)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - logged by the outage, whatever the driver raises
                self._closed.wait(self._outage.failed(error))
            finally:
                self._line.close()

    def _listen(self) -> None:
        quoted = self._channel.replace('"', '""')
        self._line.run(f'LISTEN "{quoted}"')
        self._outage.over()
        self._wake()  # for what was sent while nobody listened
        # Not select(), which fails for descriptors from 1024 on.
        with selectors.DefaultSelector() as selector:
            selector.register(self._line.connection, selectors.EVENT_READ)
            self._hear(selector)

    def _hear(self, selector: selectors.BaseSelector) -> None:
        heard_at = time.monotonic()
        while not self._closed.is_set():
            if selector.select(_BOUND):
                heard_at = time.monotonic()
                if _heard(self._line.connection):
                    self._wake()
            elif time.monotonic() - heard_at > _QUIET:
                self._line.run("SELECT 1")
                heard_at = time.monotonic()
                self._wake()  # the answer may have brought a notification, which the driver then keeps to itself


def _heard(connection: Any) -> bool:
    """Read what has arrived, and tell whether a notification was in it."""
    libpq = getattr(connection, "pgconn", None)
    if libpq is None:  # psycopg2
        connection.poll()
        found = bool(connection.notifies)
        connection.notifies.clear()
        return found
    libpq.consume_input()
    found = False
    while libpq.notifies() is not None:
        found = True
    return found
