"""Stores of user interfaces: what Dash keeps in ``dcc.Store``, kept in the server, for each user."""

from .backend import ClientStateBackend, StateBackend
from .config import StateBackendConfig, StateManagerConfig, get_state_manager_config
from .entry import StoreChange, StoreEntry
from .functions import (
    delete_store,
    get_state_manager,
    get_store,
    refresh_state_manager,
    set_store,
    store_exists,
)
from .manager import StateManager
from .sentinels import CLIENT_MANAGED, NO_UPDATE
from .server import DatabaseStateBackend, MemoryStateBackend, RedisStateBackend
from .users import generate_session_id, get_user_context, set_user_context, user_context

__all__ = [
    "CLIENT_MANAGED",
    "NO_UPDATE",
    "ClientStateBackend",
    "DatabaseStateBackend",
    "MemoryStateBackend",
    "RedisStateBackend",
    "StateBackend",
    "StateBackendConfig",
    "StateManager",
    "StateManagerConfig",
    "StoreChange",
    "StoreEntry",
    "delete_store",
    "generate_session_id",
    "get_state_manager",
    "get_state_manager_config",
    "get_store",
    "get_user_context",
    "refresh_state_manager",
    "set_store",
    "set_user_context",
    "store_exists",
    "user_context",
]
