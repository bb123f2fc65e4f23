"""Earlier values of a store, as far as they are still kept."""

from __future__ import annotations

from ..core.looks_back import LooksBack
from ..core.powers import KeepsHistory
from ..core.query import ChangeQuery
from ..core.record import Change, Key
from ..kv.parts import KvParts


def changes(parts: KvParts, name: str, limit: int) -> list[Change]:
    """Return the newest changes of a record that are still kept, newest first.

    :param parts: its bucket.
    :param name: the record.
    :param limit: the most changes.
    :raises StorageError: when the storage fails.
    """
    backend, bucket = parts.bucket.backend, parts.bucket.name
    if isinstance(backend, LooksBack):
        return backend.latest(bucket, name, limit)
    assert isinstance(backend, KeepsHistory), "a backend that can be followed keeps changes in one way or the other"
    with backend.reading() as unit:
        return backend.changes(unit, ChangeQuery(bucket, Key(bucket, name), newest_first=True, limit=limit))
