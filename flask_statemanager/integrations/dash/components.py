"""What belongs into a layout: the stores, and the session id of the page."""

from __future__ import annotations

from typing import Any, Literal, get_args

from dash import dcc
from flask import has_request_context

from ...errors import ConfigurationError, StateConflict, StorageTimeout, StorageUnavailable
from ...stores.config import CLIENT
from ...stores.rollout import percentage
from .running import store_id_of
from .session import COMPONENT, issued
from .stores import get_state_manager

StorageType = Literal["memory", "local", "session"]


def create_session_component(component_id: str = COMPONENT) -> dcc.Store:
    """Return the component that holds the signed session id of the page.

    The layout must be a function, so that each page has an id of its own: ``app.layout = lambda: html.Div([...])``.
    Where no page is being made, as when Dash validates a layout at start, the component is empty.

    :param component_id: what it is called, ``user_context_input=`` of the callbacks.
    :raises ConfigurationError: when the app has no ``SECRET_KEY``.
    """
    return dcc.Store(id=component_id, storage_type="memory", data=issued() if has_request_context() else None)


def create_state_store_component(
    store_id: str | dict[str, Any], data: Any = None, storage_type: StorageType = "memory", clear_data: bool = False
) -> dcc.Store:
    """Return the component of a store, which the browser fills where it keeps the value, and which else stays empty.

    :param store_id: the store, which is also the component's id; a dict for one of a pattern.
    :param data: what the store holds at first: where the server keeps it, it is set unless there is a value. For that
        the layout must be a function.
    :param storage_type: ``memory``, ``local`` or ``session``, as of ``dcc.Store``.
    :param clear_data: whether the browser forgets what it has, as of ``dcc.Store``.
    :raises ConfigurationError: when ``storage_type`` is unknown, or it is not known whose store it is.
    :raises StateManagerError: when the value cannot be kept. While the server cannot be reached, the browser helps out
        where that is configured.
    """
    if storage_type not in get_args(StorageType):
        raise ConfigurationError(
            f"dcc.Store knows no storage_type {storage_type!r}: take {', '.join(get_args(StorageType))}."
        )
    manager, name = get_state_manager(), store_id_of(store_id)
    shown = data
    # What a browser has from earlier goes before, and comes with its first callback, where stores move gradually.
    settled = percentage(manager.config.rollout, name) is None
    if data is not None and settled and has_request_context() and not manager.is_client_managed(name):
        shown = _begun(name, data)
    return dcc.Store(id=store_id, data=shown, storage_type=storage_type, clear_data=clear_data)


def _begun(store_id: str, data: Any) -> Any:
    """Have the server keep a store's first value, and return what its component is to hold."""
    manager = get_state_manager()
    try:
        manager.set_store_data(store_id, data, expect=0)
    except StateConflict:
        return None
    except (StorageUnavailable, StorageTimeout):
        if manager.config.on_unavailable != CLIENT:
            raise
        return data
    return None
