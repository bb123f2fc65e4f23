"""The store manager: the verbs on stores, for the present user of the present app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ..core.record import Expectation
from ..errors import StateValidationError, shown
from ..kv.value import KEEP
from .backend import Ttl
from .config import StateManagerConfig
from .names import checked
from .opened import OpenStores, present_stores
from .payload import unpack
from .rollout import percentage
from .sentinels import CLIENT_MANAGED, NO_UPDATE
from .server import ServerStateBackend
from .users import set_user_context
from .versioned import StoreVersions


class StateManager(StoreVersions):
    """Keeps stores, each a value under an id, for each user or for all.

    Without a configuration of its own it acts on the stores of the current app, and outside an app context on those
    that ``config.toml`` and the environment describe: so it can be made anywhere, also where no app is yet.

    >>> manager = StateManager(StateManagerConfig("memory"))
    >>> manager.set_store_data("filters", {"age": [18, 65]}, user_id="ada")
    <Sentinel.NO_UPDATE: 'no update'>
    >>> manager.get_store_data("filters", user_id="ada")
    {'age': [18, 65]}
    >>> manager.get_store_data("filters", user_id="bob") is None
    True

    :param config: what to work by, whichever app is the current one.
    :raises ConfigurationError: when the configuration is unusable.
    """

    def __init__(self, config: StateManagerConfig | None = None) -> None:
        self._mine = None if config is None else OpenStores(config)

    def _open(self) -> OpenStores:
        return self._mine or present_stores()

    @property
    def config(self) -> StateManagerConfig:
        """What the present stores work by."""
        return self._open().config

    def set_user_context(self, user_id: str | None) -> None:
        """Say whose stores are meant, as :func:`flask_statemanager.stores.set_user_context` does.

        :param user_id: the user; None to unsay it.
        :raises StateValidationError: when it is no id.
        """
        set_user_context(user_id)

    def is_client_managed(self, store_id: str | None = None) -> bool:
        """Tell whether the browser keeps the values.

        :param store_id: of which store, of the present user where stores move gradually; of all of them by default.
        :raises StateValidationError: when it is no id.
        :raises ConfigurationError: when it is not known who asks.
        """
        stores = self._open()
        if store_id is None:
            return stores.server is None
        checked(store_id, "store_id")
        if percentage(stores.config.rollout, store_id) is None:
            return stores.server is None
        return stores.keeper(store_id, stores.owner(None)) is None

    def set_store_data(
        self, store_id: str, data: Any, ttl: Ttl = None, user_id: str | None = None, *, expect: Expectation = None
    ) -> Any:
        """Keep a store's value.

        :param store_id: the store, 1 to 1024 printable characters.
        :param data: JSON, with Decimal, datetime, bytes, DataFrames and NumPy arrays anywhere in it.
        :param ttl: seconds that it is kept from now on; None for the configured time.
        :param user_id: whose store; the present user's by default.
        :param expect: the version that must be stored, 0 for no value; see :meth:`get_store_entry`.
        :returns: ``NO_UPDATE`` where the server keeps it, the data where the browser is to do so.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when the value is too large.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        stores = self._open()
        owner = stores.owner(user_id)
        server = stores.keeper(store_id, owner)
        if server is None:
            stores.passed_on(owner, {store_id: data})
            return data
        found: Any = stores.ask(
            lambda: _kept(server.put(store_id, data, _time(ttl), owner, expect=expect)),
            None if expect is not None else lambda: data,
        )
        return found

    def get_store_data(self, store_id: str, default: Any = None, user_id: str | None = None) -> Any:
        """Return a copy of a store's value.

        :param store_id: the store.
        :param default: what to return where there is none.
        :param user_id: whose store; the present user's by default.
        :returns: ``CLIENT_MANAGED`` where the browser keeps it.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails, or the value is damaged.
        """
        stores = self._open()
        owner = stores.owner(user_id)
        server = stores.keeper(store_id, owner)
        if server is None:
            return stores.left_behind(store_id, owner)
        found: Any = stores.ask(lambda: server.held(store_id, owner), lambda: CLIENT_MANAGED)
        if found is CLIENT_MANAGED:
            return found
        stores.counters.increment("misses" if found is None else "hits")
        return default if found is None else unpack(found)

    def delete_store_data(self, store_id: str, user_id: str | None = None) -> bool:
        """Remove a store's value.

        :param store_id: the store.
        :param user_id: whose store; the present user's by default.
        :returns: whether there was one; False where the browser keeps it.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        stores = self._open()
        owner = stores.owner(user_id)
        delete = partial(stores.backend.delete, store_id, owner)
        return stores.spare(delete, False) if stores.keeper(store_id, owner) is None else stores.ask(delete)

    def store_exists(self, store_id: str, user_id: str | None = None) -> bool:
        """Tell whether the server keeps a value of a store.

        :param store_id: the store.
        :param user_id: whose store; the present user's by default.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        stores = self._open()
        owner = stores.owner(user_id)
        server = stores.keeper(store_id, owner)
        if server is None:
            return stores.left_behind(store_id, owner) is not CLIENT_MANAGED
        return stores.ask(lambda: server.exists(store_id, owner))

    def batch_get_stores(self, store_ids: Iterable[str], user_id: str | None = None) -> dict[str, Any]:
        """Return the values of stores, in as few steps as the storage knows.

        :param store_ids: the stores.
        :param user_id: whose stores; the present user's by default.
        :returns: by store, None where there is no value, ``CLIENT_MANAGED`` where the browser keeps it.
        :raises StateValidationError: when an argument is unusable.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails, or a value is damaged.
        """
        stores, ids = self._open(), _ids(store_ids)
        owner, server = stores.owner(user_id), stores.server
        kept = [store_id for store_id in ids if stores.keeper(store_id, owner) is not None]
        left_out = {store_id: stores.left_behind(store_id, owner) for store_id in ids if store_id not in set(kept)}
        if server is None or not kept:
            return left_out
        unknown = dict.fromkeys(kept, CLIENT_MANAGED)
        found: dict[str, Any] = stores.ask(lambda: server.get_many(kept, owner), lambda: unknown)
        if found is not unknown:
            stores.counters.increment("hits", len(found))
            stores.counters.increment("misses", len(kept) - len(found))
        return {store_id: left_out.get(store_id, found.get(store_id)) for store_id in ids}

    def batch_set_stores(
        self, values: Mapping[str, Any], ttl: Ttl = None, user_id: str | None = None
    ) -> dict[str, Any]:
        """Keep the values of stores: all of them or none, of those with a history and of the others.

        :param values: by store.
        :param ttl: as in :meth:`set_store_data`, for each.
        :param user_id: whose stores; the present user's by default.
        :returns: by store what :meth:`set_store_data` returns.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when a value is too large.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        if not isinstance(values, Mapping):
            raise StateValidationError({"values": [f"Must be a dict of values by store, not {shown(values)}."]})
        stores, ids = self._open(), _ids(values)
        owner, server = stores.owner(user_id), stores.server
        kept = {store_id: values[store_id] for store_id in ids if stores.keeper(store_id, owner) is not None}
        others = {store_id: data for store_id, data in values.items() if store_id not in kept}
        answers = dict(values)
        if server is not None and kept:
            answers |= stores.ask(partial(_all_kept, server, kept, _time(ttl), owner), lambda: kept)
        stores.passed_on(owner, others)
        return answers

    def clear_user_data(self, user_id: str | None = None) -> int:
        """Remove all stores of a user for good, with everything that is left of earlier ones.

        Where stores are not kept for each user, and nobody is named, those of everybody.

        :param user_id: the user; the present one by default.
        :returns: how many stores there were.
        :raises StateValidationError: when it is no id.
        :raises ConfigurationError: when the storage cannot be had, or it is not known who asks.
        :raises StorageError: when the storage fails; to be called again then.
        """
        stores = self._open()
        owner = stores.owner(user_id)
        if user_id is not None and not stores.config.enable_user_isolation:
            raise StateValidationError({"user_id": ["Stores are not kept for each user here (enable_user_isolation)."]})
        return stores.ask(lambda: stores.backend.clear(owner))

    def get_backend_stats(self) -> dict[str, Any]:
        """Return how much is kept, and how reading went in this process.

        :returns: ``{"backend_type": str, "total_keys": int, "total_size_bytes": int, "user_isolation_enabled": bool,
            "hits": int, "misses": int, "refused": how many session ids of pages were, "unavailable": how often the
            server could not be reached}``. The size is that of the values as they are kept, compressed.
        :raises ConfigurationError: when the storage cannot be had.
        :raises StorageError: when the storage fails.
        """
        stores = self._open()
        counted = stores.counters.snapshot()
        return {
            **stores.ask(stores.backend.get_stats),
            "user_isolation_enabled": stores.config.enable_user_isolation,
            **{name: counted.get(name, 0) for name in ("hits", "misses", "refused", "unavailable")},
        }

    def migrate_to_server_backend(self, new_type: str) -> int:
        """Go over to another backend that keeps values in the server, with all that is kept, of all users.

        This is for the running process. The configuration has to say the same for others, and for the next start. What
        browsers keep stays there; the next write of a store brings it here.

        :param new_type: ``memory``, ``redis`` or ``database``.
        :returns: how many values were carried.
        :raises ConfigurationError: when it is none of these, or its storage cannot be had.
        :raises StorageError: when a storage fails.
        """
        return self._open().move(new_type)

    def close(self) -> None:
        """Give back connections of a manager with a configuration of its own."""
        if self._mine is not None:
            self._mine.backend.close()


def _all_kept(server: ServerStateBackend, values: dict[str, Any], ttl: Ttl, owner: str | None) -> dict[str, Any]:
    server.set_many(values, ttl, owner)
    return dict.fromkeys(values, NO_UPDATE)


def _kept(_stored: object) -> Any:
    return NO_UPDATE


def _time(ttl: Ttl) -> Ttl:
    return KEEP if ttl is None else ttl


def _ids(given: object) -> list[str]:
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return list(dict.fromkeys(checked(each, "store_id") for each in given))
    raise StateValidationError({"store_ids": [f"Must be a list of ids, not {shown(given)}."]})
