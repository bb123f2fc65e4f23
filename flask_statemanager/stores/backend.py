"""What a backend of stores does, and the one that leaves everything to the browser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ..kv.value import KEEP, Keep
from .config import CLIENT, StateBackendConfig
from .sentinels import CLIENT_MANAGED

Ttl = float | Keep | None
"""Seconds that a store lives from now on, None for ever, ``KEEP`` for what the backend is configured to."""


class StateBackend(ABC):
    """Keeps values under keys, for each user or for all.

    :param config: how it keeps them; the defaults by default.
    :ivar kind: what the configuration calls it.
    """

    kind: ClassVar[str]

    def __init__(self, config: StateBackendConfig | None = None) -> None:
        self.config = config or StateBackendConfig()

    @abstractmethod
    def get(self, key: str, user_id: str | None = None) -> Any:
        """Return a copy of a value, or None where there is none.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateManagerError: when the key is impossible, or the storage fails.
        """

    @abstractmethod
    def set(self, key: str, value: Any, ttl: Ttl = KEEP, user_id: str | None = None) -> bool:
        """Keep a value.

        :param key: the store's id.
        :param value: the value.
        :param ttl: seconds that it is kept, None for ever; as it is configured by default.
        :param user_id: whose; None for everybody's.
        :returns: whether the server keeps it.
        :raises StateManagerError: when an argument is unusable, or the storage fails.
        """

    @abstractmethod
    def delete(self, key: str, user_id: str | None = None) -> bool:
        """Remove a value.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :returns: whether there was one.
        :raises StateManagerError: when the key is impossible, or the storage fails.
        """

    @abstractmethod
    def exists(self, key: str, user_id: str | None = None) -> bool:
        """Tell whether there is a value.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateManagerError: when the key is impossible, or the storage fails.
        """

    @abstractmethod
    def clear(self, user_id: str | None = None) -> int:
        """Remove all values of a user for good, with whatever is left of removed and earlier ones.

        :param user_id: whose; None for everybody's, which those of users are not.
        :returns: how many there were.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def get_stats(self) -> dict[str, Any]:
        """Return how much is kept: ``{"backend_type": str, "total_keys": int, "total_size_bytes": int}``.

        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections that are the backend's own."""


class ClientStateBackend(StateBackend):
    """Keeps nothing: the browser does, in its ``dcc.Store``."""

    kind: ClassVar[str] = CLIENT

    def get(self, key: str, user_id: str | None = None) -> Any:
        """Return ``CLIENT_MANAGED``.

        :param key: without effect here, as in the other verbs.
        :param user_id: without effect here.
        """
        return CLIENT_MANAGED

    def set(self, key: str, value: Any, ttl: Ttl = KEEP, user_id: str | None = None) -> bool:
        """Leave the value to the browser.

        :param key: without effect here.
        :param value: without effect here.
        :param ttl: without effect here.
        :param user_id: without effect here.
        :returns: False.
        """
        return False

    def delete(self, key: str, user_id: str | None = None) -> bool:
        """Return False, as there is nothing.

        :param key: without effect here.
        :param user_id: without effect here.
        """
        return False

    def exists(self, key: str, user_id: str | None = None) -> bool:
        """Return False, as there is nothing.

        :param key: without effect here.
        :param user_id: without effect here.
        """
        return False

    def clear(self, user_id: str | None = None) -> int:
        """Return 0, as there is nothing.

        :param user_id: without effect here.
        """
        return 0

    def get_stats(self) -> dict[str, Any]:
        """Return that nothing is kept."""
        return {"backend_type": self.kind, "total_keys": 0, "total_size_bytes": 0}

    def close(self) -> None:
        """Do nothing."""
