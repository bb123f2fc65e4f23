"""What the rest of this backend has to know about a database: its habits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from sqlalchemy import Table
from sqlalchemy.engine import Engine

from ...core.record import JSON

UPGRADE_HINT = "run 'flask state db upgrade' (or db.create_all() where the application makes its tables so)"

CHECK_HINT = "'flask state db check' tells."


class Dialect(ABC):
    """The habits of one database. Cursors and connections are the driver's own (PEP 249)."""

    name: str
    at_once: ClassVar[bool]
    """Whether one statement writes a state and its history, so that a write needs no BEGIN and COMMIT around it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @cached_property
    def errors(self) -> type[Exception]:
        """What every error of the driver is."""
        found: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return found

    @abstractmethod
    def insert(self, table: Table) -> Any:
        """Return an INSERT that can say what to do on a conflict.

        :param table: the table.
        """

    @abstractmethod
    def bound_time(self, value: datetime | None) -> Any:
        """Return a moment as the driver wants it.

        :param value: an aware UTC datetime, or None.
        """

    @abstractmethod
    def read_time(self, value: Any) -> datetime | None:
        """Return a moment from what the driver gave, as an aware UTC datetime.

        :param value: a column's value.
        """

    @abstractmethod
    def read_json(self, text: str) -> JSON:
        """Return a value from the JSON text that the database gave.

        :param text: a column's value.
        """

    @abstractmethod
    def write_json(self, text: str) -> str:
        """Return JSON text as this package writes it from the text that the database gave.

        :param text: a column's value.
        """

    @abstractmethod
    def begin(self, connection: Any, *, write: bool) -> bool:
        """Open a transaction on a driver connection that is ours alone.

        :param connection: the driver's connection.
        :param write: whether it is going to write; otherwise single statements run without a transaction.
        :returns: whether the connection was found committing by itself, for :meth:`restore`.
        """

    @abstractmethod
    def look(self, connection: Any) -> None:
        """Open a transaction that sees one moment, on a connection on which :meth:`begin` has let single reads run.

        :param connection: the driver's connection.
        """

    @abstractmethod
    def seclude(self, table: str) -> Sequence[str]:
        """Return what keeps others from writing to a table until the transaction ends, while they may read.

        :param table: its quoted name.
        :returns: statements, for a transaction in which nothing was done yet.
        """

    @abstractmethod
    def end(self, connection: Any, *, commit: bool) -> None:
        """Commit or roll back what :meth:`begin` opened.

        :param connection: the driver's connection.
        :param commit: whether to commit.
        """

    @abstractmethod
    def restore(self, connection: Any, found: bool) -> None:
        """Leave the connection as it was found.

        :param connection: the driver's connection, not in a transaction.
        :param found: what :meth:`begin` returned.
        """

    @abstractmethod
    def interrupt(self, connection: Any) -> bool:
        """Stop a statement in the middle of which an exception came up.

        :param connection: the driver's connection.
        :returns: whether there was one, after which the connection is of no use.
        """

    @abstractmethod
    def join(self, connection: Any, *, in_savepoint: bool) -> None:
        """Prepare a session's connection for our writes.

        :param connection: the driver's connection, in the session's transaction.
        :param in_savepoint: whether the transaction is joined for the first time inside a savepoint.
        :raises ConfigurationError: when that cannot be made safe.
        """

    @abstractmethod
    def lost(self, connection: Any) -> bool:
        """Tell whether the transaction that was joined has failed, so that a commit would commit nothing of it.

        :param connection: the driver's connection.
        """

    @abstractmethod
    def wrapped(self, error: Exception, connection: Any, table: str) -> Exception:
        """Return the error of ours that says what a driver's error means.

        :param error: the driver's error.
        :param connection: the driver's connection, for a closer look.
        :param table: a table of ours, to be looked for.
        """

    @abstractmethod
    def lost_race(self, error: BaseException) -> bool:
        """Tell whether a driver's error means that another transaction was faster, so that trying again helps.

        :param error: the driver's error.
        """
