"""The verbs of the store manager that know versions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ..core.patch import merge
from ..errors import ConfigurationError, StateValidationError, shown
from ..kv.value import KEEP
from .backend import Ttl
from .entry import StoreChange, StoreEntry
from .handing import Settled
from .opened import OpenStores
from .server import ServerStateBackend
from .values import members


class StoreVersions(ABC):
    """Reads and changes stores by their versions; a browser that keeps values itself has none."""

    @abstractmethod
    def _open(self) -> OpenStores:
        """Return the present stores."""

    def get_store_entry(self, store_id: str, user_id: str | None = None) -> StoreEntry | None:
        """Return a store's value with its version and times, or None.

        :param store_id: the store.
        :param user_id: whose store; the present user's by default.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the browser keeps the values, or the storage cannot be had.
        :raises StorageError: when the storage fails, or the value is damaged.
        """
        stores, server, owner = self._server(store_id, user_id)
        return stores.ask(lambda: server.entry(store_id, owner))

    def settle_store_data(self, store_id: str, held: Any, user_id: str | None = None) -> Settled:
        """Bring together what the server and a browser have of a store that moves gradually from one to the other.

        Where the server keeps the store from now on, it takes over what the browser has; where the browser does so
        again, it is handed what the server has.

        :param store_id: a store that ``rollout`` names.
        :param held: what the browser has.
        :param user_id: whose store; the present user's by default.
        :returns: the value, and what the browser is to have in place of what it has.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when the value is too large.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        stores = self._open()
        return stores.settled(store_id, stores.owner(user_id), held)

    def update_store_data(
        self,
        store_id: str,
        change: Callable[[Any], Any] | Mapping[str, Any],
        ttl: Ttl = None,
        user_id: str | None = None,
    ) -> Any:
        """Change a store's value so that nobody else's change is lost, however many write at once.

        >>> from flask_statemanager.stores import StateManager, StateManagerConfig
        >>> manager = StateManager(StateManagerConfig("memory"))
        >>> manager.update_store_data("filters", {"age": [18, 65]})
        {'age': [18, 65]}
        >>> manager.update_store_data("filters", lambda filters: {**filters, "sex": "f"})
        {'age': [18, 65], 'sex': 'f'}

        :param store_id: the store.
        :param change: a function that takes a copy of the value (None where there is none) and returns the new one; it
            is called again when somebody else was faster, so it should do nothing else. Or a JSON Merge Patch
            (RFC 7396): members to set, those that are None to remove.
        :param ttl: seconds that the store is kept from now on; None for the configured time.
        :param user_id: whose store; the present user's by default.
        :returns: the new value.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when an argument or the new value is unusable.
        :raises LimitExceeded: when the value is too large.
        :raises ConfigurationError: when the browser keeps the values, or the storage cannot be had.
        :raises StorageError: when the storage fails.
        """
        if isinstance(change, Mapping):
            patch = dict(change)
            made: Callable[[Any], Any] = lambda value: merge(members(value), patch)  # noqa: E731 - one of two
        elif callable(change):
            made = change
        else:
            raise StateValidationError({"change": [f"Must be a function or a dict, not {shown(change)}."]})
        stores, server, owner = self._server(store_id, user_id)
        lives = KEEP if ttl is None else ttl
        return stores.ask(lambda: server.update(store_id, made, lives, owner)).value

    def undo(self, store_id: str, user_id: str | None = None) -> Any:
        """Give a store the value that it had before its last change; undone again, the one before that.

        :param store_id: a store that keeps a history.
        :param user_id: whose store; the present user's by default.
        :returns: the value that it has now.
        :raises StateNotFound: when there is no store, or no earlier value of it is kept.
        :raises StateConflict: when somebody has written meanwhile.
        :raises ConfigurationError: when the store keeps no history.
        :raises StorageError: when the storage fails.
        """
        stores, server, owner = self._server(store_id, user_id)
        return stores.ask(lambda: server.undo(store_id, owner)).value

    def get_store_history(self, store_id: str, limit: int = 20, user_id: str | None = None) -> list[StoreEntry]:
        """Return the values that a store had, the present one first, as far as they are kept.

        :param store_id: a store that keeps a history.
        :param limit: the most of them.
        :param user_id: whose store; the present user's by default.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the store keeps no history.
        :raises StorageError: when the storage fails.
        """
        _check(limit)
        stores, server, owner = self._server(store_id, user_id)
        return stores.ask(lambda: server.history(store_id, owner, limit))

    def get_store_changes(self, store_id: str, limit: int = 20, user_id: str | None = None) -> list[StoreChange]:
        """Return who changed a store, how and when, the newest change first, as far as they are kept.

        :param store_id: a store that keeps a history.
        :param limit: the most changes, up to 1,000.
        :param user_id: whose store; the present user's by default.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the store keeps no history.
        :raises StorageError: when the storage fails.
        """
        _check(limit)
        stores, server, owner = self._server(store_id, user_id)
        return stores.ask(lambda: server.changes(store_id, owner, limit))

    def _server(self, store_id: str, user_id: object) -> tuple[OpenStores, ServerStateBackend, str | None]:
        stores = self._open()
        owner = stores.owner(user_id)
        server = stores.keeper(store_id, owner)
        if server is None:
            raise ConfigurationError(
                f"The browser keeps the value of the store {store_id!r}, so the server knows no versions of it: "
                "set STATE_BACKEND to memory, redis or database, and its percentage in STATEMANAGER_STORES_ROLLOUT "
                "to 100."
            )
        return stores, server, owner


def _check(limit: object) -> None:
    if type(limit) is not int or not 1 <= limit <= 1000:
        raise StateValidationError({"limit": [f"Must be a number from 1 to 1,000, not {shown(limit)}."]})
