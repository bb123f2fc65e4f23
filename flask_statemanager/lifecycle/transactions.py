"""The verbs about transactions: joining the application's, and repeating a unit of work that lost a race."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from ..core.retry import ATTEMPTS, retry_conflicts
from ..errors import StateValidationError, shown
from .parts import Parts

Result = TypeVar("Result")


class LifecycleTransactions(ABC):
    """The transaction verbs of the lifecycle face."""

    @abstractmethod
    def _parts(self) -> Parts:
        """Return the running parts of the present app."""

    def transaction(self, session: Any) -> AbstractContextManager[None]:
        """Let everything in the block happen in a session's transaction.

        The block only joins: committing or rolling back stays with the session's owner, and announcements (signals,
        callbacks, cache) wait for the outermost commit.

        :param session: for example ``db.session``.
        :raises ConfigurationError: when it is no session of the database that keeps the states.
        :raises StorageError: when the storage fails.
        """
        return self._parts().bucket.joining(session)

    def retry_conflicts(self, work: Callable[[], Result], *, attempts: int = ATTEMPTS, session: Any = None) -> Result:
        """Run a unit of work again while somebody else is faster, with short random pauses between the attempts.

        Give it everything that belongs together: reading, deciding, writing with ``expect=`` or ``session=``, and the
        commit. It is repeated after a :class:`StateConflict`, a serialization failure and a deadlock of the database,
        so it must be repeatable; any other error reaches the caller at once. Verbs without ``expect`` and ``session``
        need none of this: they repeat themselves.

        >>> from flask_statemanager import StateManager
        >>> def spend(state_manager: StateManager) -> int:
        ...     account = state_manager.get_state("account_1")
        ...     credits = account["data"]["credits"] - 1
        ...     state_manager.update_state("account_1", {"credits": credits}, expect=account.version)
        ...     return credits

        The caller runs it with ``state_manager.retry_conflicts(lambda: spend(state_manager))``.

        :param work: called without arguments.
        :param attempts: the most calls.
        :param session: the session in which the work writes, for example ``db.session``; rolled back after every
            attempt that raises.
        :returns: what the work returned.
        :raises StateConflict: when the last attempt lost too.
        :raises StateValidationError: when an argument is unusable; the work is not begun then.
        """
        if type(attempts) is not int or attempts < 1:
            raise StateValidationError({"attempts": [f"Must be a number from 1 on, not {shown(attempts)}."]})
        if not callable(work):
            raise StateValidationError({"work": [f"Must be a function without arguments, not {shown(work)}."]})
        if session is not None and not callable(getattr(session, "rollback", None)):
            raise StateValidationError({"session": [f"Must be a session such as db.session, not {shown(session)}."]})
        joins = self._parts().joins

        def undo() -> None:
            if session is not None:
                session.rollback()

        def lost_race(error: BaseException) -> bool:
            return joins is not None and joins.lost_race(error)

        return retry_conflicts(work, attempts=attempts, undo=undo, lost_race=lost_race)
