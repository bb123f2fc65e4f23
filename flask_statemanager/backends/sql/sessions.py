"""Sessions that this package opens for others, in which a savepoint never stands alone."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session


def made_whole(session: Session) -> Session:
    """Have a session's savepoints stand inside a transaction, on SQLite too.

    Its driver begins with the first change and not with a SAVEPOINT, and would commit what is in one with its RELEASE.

    :param session: a new session.
    :returns: the session.
    """
    event.listen(session, "after_begin", _listen)
    return session


def _listen(_session: Session, _transaction: Any, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        event.listen(connection, "savepoint", _begin)


def _begin(connection: Connection, _name: str) -> None:
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
        driver.execute("BEGIN IMMEDIATE")
