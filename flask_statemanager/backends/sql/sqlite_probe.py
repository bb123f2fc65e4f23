"""What can be found out about a SQLite file when its error says too little."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


def is_locked(connection: sqlite3.Connection) -> bool:
    """Tell whether somebody else has the write lock; Python 3.10 gives its errors no code.

    :param connection: a connection to the file.
    """
    if connection.in_transaction:
        return False
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error:
        return True
    return False


def lacks(connection: sqlite3.Connection, tables: Iterable[str]) -> bool:
    """Tell whether a table is not there; False where even that cannot be found out.

    :param connection: a connection to the file.
    :param tables: which ones are wanted.
    """
    try:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return False
    return not set(tables) <= {name for (name,) in found}
