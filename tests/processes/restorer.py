"""A process that restores a snapshot and kills itself on the way."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept
from tests.processes.traps import COMMITTED, COMMITTING, die


def restore(order: dict[str, Any]) -> None:
    """Restore, up to a point.

    :param order: the database, the folder, the id of the snapshot, and the point: a number of records, or a name.
    """
    backend = SqlBackend(create_engine(order["url"]), declare(MetaData()), owned=True)
    kept, point = Kept(backend, DirectoryStorage(order["folder"])), order["point"]
    ending = backend._dialect.end

    def end(connection: Any, *, commit: bool) -> None:
        if point == COMMITTING:
            die()
        ending(connection, commit=commit)
        if point == COMMITTED:
            die()

    def progress(done: int, total: int | None) -> None:
        if isinstance(point, int) and done >= point:
            die()
        if done == total:  # what ends next is the one transaction that writes
            backend._dialect.end = end  # type: ignore[method-assign]

    kept.archive.restore_snapshot(order["id"], progress=progress)


if __name__ == "__main__":
    warnings.simplefilter("error")
    restore(json.loads(sys.argv[1]))
