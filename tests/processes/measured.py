"""A process that makes a snapshot of many records, checks it, and restores some; it says how it has grown."""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from sqlalchemy import MetaData, text

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept
from tests.processes.voice import say

_FILL = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number)
    INSERT INTO statemanager_state
    (bucket, name, label, type, status, version, revision, schema_version, data, metadata, created_at, updated_at)
    SELECT 'kv', printf('key:%08d', i), 'label', 'thing', 'new', 1, i, 1, '{"value":' || i || '}', '{}',
    '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000' FROM n
"""


def measure(order: dict[str, Any]) -> None:
    """Do it, and say the most kibibytes that this process had before and behind each step.

    :param order: the folder, and how many records.
    """
    engine = make_engine(f"sqlite:///{order['folder']}/store.db")
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    with engine.begin() as connection:
        connection.execute(text(_FILL), {"number": order["number"]})
    kept = Kept(backend, DirectoryStorage(f"{order['folder']}/snapshots"))
    part = kept.archive.create_snapshot(prefix="key:0001")
    sizes = [_most()]
    made = kept.archive.create_snapshot()
    sizes.append(_most())
    kept.archive.verify_snapshot(made)
    sizes.append(_most())
    count = kept.archive.restore_snapshot(part)
    sizes.append(_most())
    say({"keys": made.keys, "same": count.same, "sizes": sizes})
    backend.close()


def _most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    measure(json.loads(sys.argv[1]))
