"""The verbs as functions, on the stores of the current app."""

from __future__ import annotations

from typing import Any

from .backend import Ttl
from .config import StateManagerConfig
from .manager import StateManager
from .opened import renew_stores

_manager = StateManager()


def get_state_manager() -> StateManager:
    """Return the store manager of the current app; outside an app context, of the process.

    It is one object, which finds the app at each call: it can be fetched where no app is yet.
    """
    return _manager


def refresh_state_manager(config: StateManagerConfig | None = None) -> StateManager:
    """Have the stores of the current app, or outside an app context of the process, work by another configuration.

    What is kept in a server stays there; what is kept in memory is gone.

    :param config: the configuration; None to read it again.
    :returns: the store manager.
    :raises ConfigurationError: when it is unusable.
    """
    renew_stores(config)
    return _manager


def get_store(store_id: str, default: Any = None, user_id: str | None = None) -> Any:
    """Return a store's value; see :meth:`StateManager.get_store_data`.

    :param store_id: the store.
    :param default: what to return where there is none.
    :param user_id: whose store; the present user's by default.
    :raises StateManagerError: as the verb does.
    """
    return _manager.get_store_data(store_id, default, user_id)


def set_store(store_id: str, data: Any, ttl: Ttl = None, user_id: str | None = None) -> Any:
    """Keep a store's value; see :meth:`StateManager.set_store_data`.

    :param store_id: the store.
    :param data: the value.
    :param ttl: seconds that it is kept; None for the configured time.
    :param user_id: whose store; the present user's by default.
    :raises StateManagerError: as the verb does.
    """
    return _manager.set_store_data(store_id, data, ttl, user_id)


def delete_store(store_id: str, user_id: str | None = None) -> bool:
    """Remove a store's value; see :meth:`StateManager.delete_store_data`.

    :param store_id: the store.
    :param user_id: whose store; the present user's by default.
    :returns: whether there was one.
    :raises StateManagerError: as the verb does.
    """
    return _manager.delete_store_data(store_id, user_id)


def store_exists(store_id: str, user_id: str | None = None) -> bool:
    """Tell whether the server keeps a value of a store; see :meth:`StateManager.store_exists`.

    :param store_id: the store.
    :param user_id: whose store; the present user's by default.
    :raises StateManagerError: as the verb does.
    """
    return _manager.store_exists(store_id, user_id)
