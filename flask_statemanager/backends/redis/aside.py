"""Records that are laid aside until their turn comes: on the disk where they are many."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

Laid = tuple[bytes, bytes | None]
"""A name, and the record under it as bytes; None for none."""


END = b"\xff"
"""What sorts behind every name."""

_TAKE = "SELECT name, record FROM laid WHERE name <= ? ORDER BY name LIMIT ?"


class Aside:
    """Gives back in the order of names what was laid aside in any order.

    A private database of SQLite, which keeps a few megabytes in memory and the rest in a file that nobody else sees.
    """

    def __init__(self) -> None:
        self._over = b""
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("CREATE TABLE laid (name BLOB PRIMARY KEY, record BLOB) WITHOUT ROWID")
        # Never committed: nothing is to be kept.
        self._database.execute("BEGIN")

    def first(self, laid: Iterable[Laid]) -> None:
        """Lay aside; what is there already stays, and whose turn is over is left out.

        :param laid: names and records.
        """
        mine = (each for each in laid if each[0] > self._over)
        self._database.executemany("INSERT OR IGNORE INTO laid VALUES (?, ?)", mine)

    def last(self, laid: Iterable[Laid]) -> None:
        """Lay aside in the place of what is there.

        :param laid: names and records.
        """
        self._database.executemany("INSERT OR REPLACE INTO laid VALUES (?, ?)", laid)

    def take(self, number: int, last: bytes = END) -> list[Laid]:
        """Take out the first names, whose turn is over then.

        :param number: the most.
        :param last: only names up to this one.
        :returns: in order.
        """
        found = self._database.execute(_TAKE, (last, number))
        taken: list[Laid] = found.fetchall()
        if taken:
            self.end(taken[-1][0])
        return taken

    def end(self, name: bytes) -> None:
        """Forget everything up to a name, also what may come yet.

        :param name: the name, itself included.
        """
        self._over = max(self._over, name)
        self._database.execute("DELETE FROM laid WHERE name <= ?", (name,))

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
