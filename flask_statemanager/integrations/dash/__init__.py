"""Stores in Dash (the extra ``dash``): callbacks whose parameters and answers are kept for each user.

Nothing else of this package imports it: an application that has Dash says
``from flask_statemanager.integrations.dash import state_managed_callback``.
"""

from ...stores import delete_store, generate_session_id, get_store, set_user_context, store_exists, user_context
from .callback import state_managed_callback
from .components import create_session_component, create_state_store_component
from .migrating import (
    get_user_session_from_context,
    migrate_callback_to_state_manager,
    validate_state_manager_config,
)
from .push import StoreListener, push_stores
from .session import SessionRefused
from .stores import StateManager, get_state_manager, set_store

__all__ = [
    "SessionRefused",
    "StateManager",
    "StoreListener",
    "create_session_component",
    "create_state_store_component",
    "delete_store",
    "generate_session_id",
    "get_state_manager",
    "get_store",
    "get_user_session_from_context",
    "migrate_callback_to_state_manager",
    "push_stores",
    "set_store",
    "set_user_context",
    "state_managed_callback",
    "store_exists",
    "user_context",
    "validate_state_manager_config",
]
