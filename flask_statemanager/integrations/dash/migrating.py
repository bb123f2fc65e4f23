"""What helps an application over: callbacks that are there already, whose stores are meant, whether all is set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import current_app, has_app_context

from ...errors import ConfigurationError, shown
from ...stores.config import CLIENT, DATABASE, REDIS, StateManagerConfig
from ...stores.opened import OpenStores, present_stores
from ...stores.server import SERVERS
from .answers import Outputs
from .background import at_work
from .callback import state_managed_callback
from .running import ABSENT, sent
from .session import COMPONENT, admitted
from .stores import StoreId

Function = TypeVar("Function", bound=Callable[..., Any])


def migrate_callback_to_state_manager(
    callback_function: Function,
    store_mappings: Mapping[str, StoreId] | None = None,
    user_context_input: str | None = COMPONENT,
    outputs: Outputs = None,
    *,
    announce: bool = False,
) -> Function:
    """Have a callback that stands elsewhere, and that Dash may have taken already, managed.

    :param callback_function: the callback, whose code stays as it is.
    :param store_mappings: as of :func:`state_managed_callback`, like the others.
    :param user_context_input: the component with the session id of the page.
    :param outputs: the store of what it returns.
    :param announce: whether the browser gets a sign of a new value.
    :returns: the managed callback, which Dash calls from now on.
    :raises ConfigurationError: when the callback has no such parameter, or Dash does not let go of the bare one.
    """
    return state_managed_callback(store_mappings, user_context_input, outputs, announce=announce)(callback_function)


def get_user_session_from_context(component_id: str = COMPONENT) -> str | None:
    """Return whose stores the running callback means: the user, or the session of a visitor.

    :param component_id: the component with the session id of the page, looked at where it came with the callback.
    :returns: None where stores are not kept for each user, or nobody is known.
    :raises SessionRefused: when the id is forged, another browser's or user's, or too old.
    :raises ConfigurationError: when it is not known who asks.
    """
    with at_work():
        claimed = sent(component_id)
        return admitted(None if claimed is ABSENT else claimed).user


def validate_state_manager_config(config: StateManagerConfig | Mapping[str, Any] | None = None) -> bool:
    """Tell whether stores can work as they are configured, and else what is to be done.

    The storage is asked, so that a server that cannot be reached is known at start.

    :param config: a configuration, or its options in a dict; None for that of the current app.
    :returns: True.
    :raises ConfigurationError: with a sentence on each thing that is wrong.
    :raises StorageError: when all is right and the storage fails.
    """
    given = _given(config)
    wrong = list(_wrong(given))
    if wrong:
        raise ConfigurationError(" ".join(wrong))
    stores = present_stores() if config is None else OpenStores(given)
    try:
        stores.backend.get_stats()
    finally:
        if config is not None:
            stores.backend.close()
    return True


def _given(config: StateManagerConfig | Mapping[str, Any] | None) -> StateManagerConfig:
    if config is None:
        return present_stores().config
    if isinstance(config, StateManagerConfig):
        return config
    try:
        return StateManagerConfig(**config)
    except TypeError as error:
        raise ConfigurationError(f"{shown(config)} is no configuration of stores: {error}.") from error


def _wrong(config: StateManagerConfig) -> list[str]:
    found = []
    kind = config.backend_type
    if kind != CLIENT and kind not in SERVERS:
        found.append(
            f"There is no backend {shown(kind)} of stores: set STATE_BACKEND to client, {', '.join(sorted(SERVERS))}."
        )
    if kind == CLIENT and config.rollout:
        found.append(
            "Stores that move gradually need a server that they move to: set STATE_BACKEND to "
            f"{DATABASE} or {REDIS}, and leave STATEMANAGER_STORES_ROLLOUT as it is."
        )
    if config.enable_user_isolation and has_app_context() and not current_app.secret_key:
        found.append("Visitors and pages are known by what is signed: set SECRET_KEY, the same in every process.")
    return found
