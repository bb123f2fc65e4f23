"""The verbs on stores as callbacks of Dash use them: what the server keeps is answered by ``dash.no_update``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import no_update

from ... import stores
from ...core.record import Expectation
from ...stores.backend import Ttl
from ...stores.sentinels import NO_UPDATE

StoreId = str | dict[str, Any]
"""The id of a store and of its component; a dict for one of a pattern, or for a pattern."""


class StateManager(stores.StateManager):
    """The store manager, whose answers a callback can return as they are.

    :param config: what to work by, whichever app is the current one; None for the stores of the current app.
    :raises ConfigurationError: when the configuration is unusable.
    """

    def set_store_data(
        self, store_id: str, data: Any, ttl: Ttl = None, user_id: str | None = None, *, expect: Expectation = None
    ) -> Any:
        """Keep a store's value.

        :param store_id: the store.
        :param data: the value.
        :param ttl: seconds that it is kept from now on; None for the configured time.
        :param user_id: whose store; the present user's by default.
        :param expect: the version that must be stored, 0 for no value.
        :returns: ``dash.no_update`` where the server keeps it, the data where the browser is to do so.
        :raises StateManagerError: as :meth:`flask_statemanager.stores.StateManager.set_store_data` does.
        """
        return shown(super().set_store_data(store_id, data, ttl, user_id, expect=expect))

    def batch_set_stores(
        self, values: Mapping[str, Any], ttl: Ttl = None, user_id: str | None = None
    ) -> dict[str, Any]:
        """Keep the values of stores: all of them or none, of those with a history and of the others.

        :param values: by store.
        :param ttl: seconds that each is kept from now on; None for the configured time.
        :param user_id: whose stores; the present user's by default.
        :returns: by store what :meth:`set_store_data` returns.
        :raises StateManagerError: as :meth:`flask_statemanager.stores.StateManager.batch_set_stores` does.
        """
        done = super().batch_set_stores(values, ttl, user_id)
        return {store_id: shown(answer) for store_id, answer in done.items()}


def shown(answer: Any) -> Any:
    """Return what the browser is to be answered.

    :param answer: what a verb has answered.
    """
    return no_update if answer is NO_UPDATE else answer


_manager = StateManager()


def get_state_manager() -> StateManager:
    """Return the store manager of the current app, one object that finds the app at each call."""
    return _manager


def set_store(store_id: str, data: Any, ttl: Ttl = None, user_id: str | None = None) -> Any:
    """Keep a store's value; see :meth:`StateManager.set_store_data`.

    :param store_id: the store.
    :param data: the value.
    :param ttl: seconds that it is kept; None for the configured time.
    :param user_id: whose store; the present user's by default.
    :returns: ``dash.no_update`` where the server keeps it, the data where the browser is to do so.
    :raises StateManagerError: as the verb does.
    """
    return _manager.set_store_data(store_id, data, ttl, user_id)
