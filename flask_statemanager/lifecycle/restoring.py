"""Restoring: which earlier version a rollback goes back to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from ..core.record import Key, Record
from ..errors import StateNotFound, StateValidationError
from .decisions import Rollback
from .parts import Parts


class Restoring(Struct, frozen=True):
    """Finds the version to restore, and what a deleted state was before its deletion.

    :param parts: the running parts.
    :param key: which state.
    :param position: the version, or the moment.
    :param undelete: whether a deleted state comes back.
    """

    parts: Parts
    key: Key
    position: int | datetime
    undelete: bool

    def __call__(self, unit: Any, stored: Record | None) -> Rollback:
        """Return the decision to restore it.

        :param unit: the unit that is going to write.
        :param stored: what is stored.
        :raises StateNotFound: when there was no such version.
        :raises StateValidationError: when the state was deleted then.
        :raises StorageError: when the storage fails.
        """
        last = None
        if self.undelete and stored is not None and stored.deleted:
            last = self.parts.history.record_at(unit, self.key, stored.version - 1)
        return Rollback(self.key.name, self.parts.definitions, self._past(unit), last, undelete=self.undelete)

    def _past(self, unit: Any) -> Record:
        position = self.position
        past = self.parts.history.record_at(unit, self.key, position)
        if past is None:
            raise StateNotFound(self.key.name, at=f"version {position}" if isinstance(position, int) else position)
        if past.deleted:
            raise StateValidationError({"to_version": ["The state was deleted then: restore a version before."]})
        return past if isinstance(position, int) else self.parts.bucket.present(past, position)
