"""Erasing: what is left of removed values goes too, by the same way as what is kept no longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ..core.looks_back import LooksBack
from ..core.ports import Backend
from ..core.powers import KeepsHistory
from ..core.purges import Purges
from ..core.retry import retried
from ..kv.parts import KvParts

BATCH = 1000
"""How much is removed in one transaction."""

_SOON = timedelta(seconds=1)


def erase(parts: KvParts, prefix: str) -> None:
    """Remove tombstones, and what is kept of the changes of removed records whose names begin alike.

    Tombstones of others in the bucket go as well: they hold nothing but a name. Versions go on above what they were.

    :param parts: the bucket.
    :param prefix: how the names begin.
    :raises StorageError: when the storage fails; what was removed before that is gone.
    """
    backend, bucket = parts.bucket.backend, parts.bucket.name
    before = parts.bucket.clock.now() + _SOON
    if isinstance(backend, Purges):
        graves: Purges = backend
        _repeat(parts.bucket.backend, lambda unit: graves.forget_tombstones(unit, bucket, before, BATCH))
    if isinstance(backend, LooksBack):
        backend.forget_latest(bucket, prefix)
    elif isinstance(backend, KeepsHistory):
        history: KeepsHistory = backend
        _repeat(
            parts.bucket.backend,
            lambda unit: len(history.forget_changes(unit, before, BATCH, bucket=bucket, prefix=prefix)),
        )


def _repeat(backend: Backend, forget: Callable[[Any], int]) -> None:
    def once() -> int:
        with backend.writing() as unit:
            return forget(unit)

    while retried(once) == BATCH:
        pass
