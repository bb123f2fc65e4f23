"""The shortest way of a single write: the storage reads, decides and stores at once, or somebody else has to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import StateConflict, StateManagerError
from .contention import Contention
from .ports import UNSEEN, Alteration, Backend, Seen
from .record import Change, Key, Record
from .scope import TransactionNeeded, entered

Rest = Callable[[Any, Sequence[Change]], None]


class ShortWrite:
    """One write that has its transaction to itself.

    :param backend: where the record lives.
    :param key: which record.
    :param decided: given the unit and what is stored, what becomes of it; checked, and empty for no change.
    :param rest: what else the changes need to have written; None for nothing.
    :param contention: told when a race is lost.
    :param touching: the types whose hooks touch the storage.
    :param told: called with each change after the commit, as an act of the unit is.
    :ivar stored: what was there when the decision was to change nothing.
    :ivar handed: whether there was something to store, so that an error leaves open whether it is.
    """

    def __init__(
        self,
        backend: Backend,
        key: Key,
        decided: Callable[[Any, Record | None], list[Change]],
        rest: Callable[[Sequence[Change]], Rest | None],
        *,
        contention: Contention,
        touching: set[str],
        told: Callable[[Change], Callable[[], None]],
    ) -> None:
        self._backend = backend
        self._key = key
        self._decided = decided
        self._rest = rest
        self._contention = contention
        self._touching = touching
        self._told = told
        self._guessed = False
        self._refusal: StateManagerError | None = None
        self.stored: Record | None = None
        self.handed = False

    def run(self, seen: Seen) -> list[Change]:
        """Write.

        :param seen: what the caller believes to be stored.
        :returns: the changes, none where there was nothing to change.
        :raises TransactionNeeded: when a hook touches the storage while there is no transaction, when a race is lost,
            and when something is refused because of what was only believed.
        :raises StateManagerError: whatever the decision refuses with.
        :raises StorageError: when the storage fails.
        """
        self._guessed = seen is not UNSEEN
        try:
            return self._backend.alter(self._key, self._work, seen=seen)
        except StateConflict as conflict:
            if conflict is self._refusal:
                raise
            if not self._guessed:
                self._contention.heat(self._key)
            raise TransactionNeeded from conflict

    def _work(self, unit: Any, stored: Record | None) -> Alteration | None:
        if unit is None and stored is not None and stored.type in self._touching:
            raise TransactionNeeded
        changes = self._asked(entered(self._backend, unit, self._key), unit, stored)
        if changes:
            self.handed = True
            return Alteration(changes, self._rest(changes), self._told)
        if self._guessed:
            raise TransactionNeeded
        self.stored = stored
        return None

    def _asked(self, scope: entered, unit: Any, stored: Record | None) -> list[Change]:
        """Ask for the decision, where nobody may touch the storage unless there is a transaction."""
        try:
            with scope:
                changes = self._decided(unit, stored)
        except Exception as error:
            if scope.asked or self._guessed:
                self._touched(scope, stored)
                raise TransactionNeeded from error
            if isinstance(error, StateManagerError):
                self._refusal = error
            raise
        except TransactionNeeded:
            self._touched(scope, stored)
            raise
        if scope.asked:
            # A hook has caught what told it that there is no transaction, and gone on without.
            self._touched(scope, stored)
            raise TransactionNeeded
        return changes

    def _touched(self, scope: entered, stored: Record | None) -> None:
        """Remember types whose hooks touch the storage: next time they are not asked in vain."""
        if scope.asked and stored is not None:
            self._touching.add(stored.type)
