"""The stores of one app, or of a process without one: their configuration, their backend, and who counts."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from flask import current_app, g, has_app_context, has_request_context
from msgspec.structs import replace

from ..config import Settings
from ..errors import ConfigurationError, StorageTimeout, StorageUnavailable, shown
from ..globals import find_runtime
from ..metrics.counters import Counters
from ..runtime import Runtime
from .backend import ClientStateBackend, StateBackend
from .config import CLIENT, DATABASE, REDIS, StateManagerConfig, get_state_manager_config
from .handing import Settled, handed_back, held_by_browser, is_token, left_behind, passed_on, taken_over
from .names import checked
from .rollout import included, percentage
from .sentinels import CLIENT_MANAGED
from .server import SERVERS, ServerStateBackend
from .users import get_user_context

EXTENSION = "statemanager_stores"
"""The name under ``app.extensions``."""

_ON_G = "_statemanager_helped_out"

Result = TypeVar("Result")

logger = logging.getLogger("flask_statemanager.stores")


class OpenStores:
    """One configuration at work.

    :param config: the configuration.
    :param app: finds the running parts of the app that has it, where its stores live there; None for parts of its own.
    :ivar backend: where values are kept.
    """

    def __init__(self, config: StateManagerConfig, app: Callable[[], Runtime] | None = None) -> None:
        self.config = config
        self.counters = Counters()
        self.backend: StateBackend = opened_backend(config, app)
        self._moving = threading.Lock()

    @property
    def server(self) -> ServerStateBackend | None:
        """The backend, if the server keeps values."""
        return self.backend if isinstance(self.backend, ServerStateBackend) else None

    def keeper(self, store_id: object, owner: str | None) -> ServerStateBackend | None:
        """Return the backend, if the server keeps a store for a user.

        :param store_id: the store.
        :param owner: the user; None for everybody.
        :raises StateValidationError: when it is no id.
        """
        name = checked(store_id, "store_id")
        return self.server if included(self.config.rollout, name, owner) else None

    def owner(self, user_id: object) -> str | None:
        """Return whose stores are meant.

        :param user_id: as the caller says; None for the present user.
        :returns: None where stores are everybody's.
        :raises StateValidationError: when it is no id.
        :raises ConfigurationError: when it is not known who asks.
        """
        if user_id is not None:
            owner = checked(user_id, "user_id")
            return owner if self.config.enable_user_isolation else None
        # Browsers that keep the values themselves need not be known.
        return get_user_context() if self.config.enable_user_isolation and self.server is not None else None

    def ask(self, act: Callable[[], Result], instead: Callable[[], Result] | None = None) -> Result:
        """Ask the backend; where it cannot be reached, or does not answer in time, do what the configuration says.

        Where the browser helps out, it does so to the end of the request: what was made of its value must not take the
        place of the server's, should that be there again.

        :param act: what is asked.
        :param instead: what a browser that keeps values itself would be answered; None where only an error will do.
        :raises StorageUnavailable: when it cannot be reached.
        :raises StorageTimeout: when it does not answer in time.
        :raises StateManagerError: whatever the backend refuses with.
        """
        if instead is not None and self in _helped_out():
            return instead()
        try:
            return act()
        except (StorageUnavailable, StorageTimeout) as error:
            self.counters.increment("unavailable")
            if instead is None or self.config.on_unavailable != CLIENT:
                raise
            logger.warning("The %s of the stores cannot be reached, the browser is to help out: %s", self.kind, error)
            _helped_out().add(self)
            return instead()

    def left_behind(self, store_id: str, owner: str | None) -> Any:
        """Return the value of a store that the browser is to keep and has not got yet; else ``CLIENT_MANAGED``.

        :param store_id: the store.
        :param owner: whose it is; None for everybody's.
        :raises StorageError: when the storage fails in another way than that it cannot be reached.
        """
        server = self._formerly(store_id)
        if server is None:
            return CLIENT_MANAGED
        return self.spare(lambda: left_behind(server, store_id, owner), CLIENT_MANAGED)

    def passed_on(self, owner: str | None, values: Mapping[str, Any]) -> None:
        """Note that the browser gets values, where the server has earlier ones.

        :param owner: whose stores; None for everybody's.
        :param values: by store.
        :raises StateManagerError: when they cannot be kept, or the storage fails in another way than that it cannot be
            reached.
        """
        for store_id, data in values.items():
            server = self._formerly(store_id)
            if server is not None:
                self.spare(partial(passed_on, server, store_id, owner, data), None)

    def settled(self, store_id: str, owner: str | None, held: Any) -> Settled:
        """Bring together what the server and a browser have of a store.

        :param store_id: the store.
        :param owner: whose it is; None for everybody's.
        :param held: what the browser has.
        :raises StateManagerError: when the value cannot be kept, or the storage fails.
        """
        keeper, server = self.keeper(store_id, owner), self._formerly(store_id)
        theirs = Settled(held_by_browser(held))
        if server is None:
            return theirs
        if keeper is not None:
            return self.ask(lambda: taken_over(keeper, store_id, owner, held), lambda: theirs)
        if is_token(held):
            # The value is nowhere else.
            return self.ask(lambda: handed_back(server, store_id, owner, held))
        return self.spare(lambda: handed_back(server, store_id, owner, held), theirs)

    def _formerly(self, store_id: str) -> ServerStateBackend | None:
        """Return the backend, if a store moves gradually, so that it may have a value of it."""
        return None if percentage(self.config.rollout, store_id) is None else self.server

    def spare(self, act: Callable[[], Result], instead: Result) -> Result:
        """Ask the backend for what the browser keeps; where it cannot be reached, the browser's is right.

        :param act: what is asked.
        :param instead: the answer while it cannot be reached.
        :raises StateManagerError: whatever the backend refuses with.
        """
        try:
            return act()
        except (StorageUnavailable, StorageTimeout) as error:
            self.counters.increment("unavailable")
            logger.warning("The %s of the stores cannot be reached, the browser's value counts: %s", self.kind, error)
            return instead

    @property
    def kind(self) -> str:
        """What the configuration calls the backend."""
        return self.backend.kind

    def move(self, kind: str) -> int:
        """Go over to another backend that keeps values in the server, with all that is kept.

        Everything is carried, then others are led to the new backend, then what they wrote to the old one meanwhile is
        carried too. Where the new backend has been written to since, that stays.

        :param kind: which backend.
        :returns: how many values were carried.
        :raises ConfigurationError: when it is none, or its storage cannot be had.
        :raises StorageError: when a storage fails; the old backend stays in use then, unless both had been used.
        """
        if kind not in SERVERS:
            raise ConfigurationError(f"{shown(kind)} keeps nothing in the server: take {', '.join(sorted(SERVERS))}.")
        with self._moving:
            if kind == self.kind:
                return 0
            config, old = replace(self.config, backend_type=kind), self.server
            fresh = SERVERS[kind](config.backend())
            carried = {} if old is None else _carried(old, fresh)
            if old is None:
                fresh.get_stats()  # whatever is wrong with it is better known now
            self.config, self.backend = config, fresh
            if old is not None:
                _carried_again(old, fresh, carried)
                old.close()
            return len(carried)


def _helped_out() -> set[OpenStores]:
    """Return the stores whose browser helps out in the present request."""
    if not has_request_context():
        return set()
    found: set[OpenStores] = g.setdefault(_ON_G, set())
    return found


Known = dict[tuple[str, str], tuple[int, int]]
"""Version in the old backend and in the new one, by bucket and name."""


def _carried(old: ServerStateBackend, fresh: ServerStateBackend) -> Known:
    known: Known = {}
    for each in old.everything():
        version = fresh.take(each)
        assert version is not None, "without an expectation nothing conflicts"
        known[each.bucket, each.entry.key] = each.entry.version, version
    return known


def _carried_again(old: ServerStateBackend, fresh: ServerStateBackend, known: Known) -> None:
    """Carry what was written or removed while everything was carried."""
    left = dict(known)
    for each in old.everything():
        place = each.bucket, each.entry.key
        before = left.pop(place, None)
        if before is None:
            fresh.take(each, over=0)
        elif before[0] != each.entry.version:
            fresh.take(each, over=before[1])
    for (bucket, name), (_old, version) in left.items():
        fresh.drop(bucket, name, over=version)


def opened_backend(config: StateManagerConfig, app: Callable[[], Runtime] | None = None) -> StateBackend:
    """Return the backend that a configuration asks for; nothing is asked of a server yet.

    :param config: the configuration.
    :param app: finds the running parts of the app that the stores are to live in; None for parts of their own.
    """
    made = SERVERS.get(config.backend_type)
    if made is not None:
        return made(config.backend(), place=app)
    if config.backend_type != CLIENT:
        warnings.warn(
            f"There is no backend {shown(config.backend_type)} of stores, so the browser keeps them (client): "
            f"take client, {', '.join(sorted(SERVERS))}.",
            stacklevel=2,
        )
    return ClientStateBackend(config.backend())


_lock = threading.Lock()
_of_process: list[OpenStores] = []


def present_stores() -> OpenStores:
    """Return the stores of the current app; outside an app context those of the process.

    :raises ConfigurationError: when their configuration is unusable.
    """
    found = _known()
    if found is not None:
        return found
    with _lock:
        found = _known()
        if found is None:
            found = _stores_of_app() if has_app_context() else OpenStores(get_state_manager_config())
            _know(found)
        return found


def _known() -> OpenStores | None:
    if has_app_context():
        found: OpenStores | None = current_app.extensions.get(EXTENSION)
        return found
    return _of_process[0] if _of_process else None


def _know(stores: OpenStores) -> None:
    if has_app_context():
        current_app.extensions[EXTENSION] = stores
    else:
        _of_process[:] = [stores]


def renew_stores(config: StateManagerConfig | None) -> None:
    """Have the stores of the current app, or of the process, work by another configuration.

    :param config: the configuration; None to read it again.
    :raises ConfigurationError: when it is unusable.
    """
    if config is not None:
        fresh = OpenStores(config)
    else:
        fresh = _stores_of_app() if has_app_context() else OpenStores(get_state_manager_config())
    with _lock:
        before = _known()
        _know(fresh)
    if before is not None:
        before.backend.close()


def _stores_of_app() -> OpenStores:
    runtime = find_runtime()
    settings = Settings.from_mapping(current_app.config, os.environ) if runtime is None else runtime.settings
    config = StateManagerConfig.of(settings)
    if runtime is not None and _lives_in(runtime, config):
        return OpenStores(config, _runtime)
    return OpenStores(config)


def _lives_in(runtime: Runtime, config: StateManagerConfig) -> bool:
    """Tell whether the stores of an app live where its states and buckets do."""
    if config.backend_type == REDIS:
        return config.redis_url in (None, runtime.settings.redis_url)
    return config.backend_type != DATABASE or config.database_url is None


def _runtime() -> Runtime:
    found = find_runtime()
    assert found is not None, "the stores of an app are found in its context"
    return found
