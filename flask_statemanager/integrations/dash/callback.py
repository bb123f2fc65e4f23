"""Callbacks whose parameters and answers are stores."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from ...errors import ConfigurationError, shown
from ...stores.sentinels import CLIENT_MANAGED
from .answers import Outputs, OutputStores
from .binding import Binding
from .registered import put_in_place
from .running import ABSENT, at_work, ids_sent, sent, store_id_of
from .session import COMPONENT, admitted
from .stores import get_state_manager

Function = TypeVar("Function", bound=Callable[..., Any])
StoreId = str | dict[str, Any]


def state_managed_callback(
    store_mappings: Mapping[str, StoreId] | None = None,
    user_context_input: str | None = COMPONENT,
    outputs: Outputs = None,
) -> Callable[[Function], Function]:
    """Have parameters of a callback filled from stores, and what it returns kept in stores.

    It stands below ``@callback``. Above it, where Dash has taken the bare function already, it takes that one's place.

    :param store_mappings: the store of each parameter that is filled; a dict stands for the components of a pattern.
        Where the browser keeps a store, the parameter is what the browser sent.
    :param user_context_input: the component with the session id of the page, which is looked at if it is an input or a
        state of the callback. A parameter of that name (``user_session_id``) is told the user. None for no component.
    :param outputs: the store of what the callback returns; of several outputs, a dict of them by number or name, or a
        list with None for those that are no store. The browser gets ``no_update`` of what the server keeps.
    :raises ConfigurationError: when the callback has no such parameter, or stands where it cannot work.
    """

    def decorate(function: Function) -> Function:
        if not callable(function):
            raise ConfigurationError(
                f"{shown(function)} is no function: write @state_managed_callback(...) with its arguments."
            )
        managed = _Managed(function, store_mappings or {}, user_context_input, outputs)
        wrapper = managed.asynchronous() if inspect.iscoroutinefunction(function) else managed.synchronous()
        put_in_place(function, wrapper)
        return cast(Function, wrapper)

    return decorate


class _Managed:
    """One callback."""

    def __init__(
        self, function: Callable[..., Any], stores: Mapping[str, StoreId], session: str | None, outputs: Outputs
    ) -> None:
        self._function = function
        self._stores = dict(stores)
        self._session = session
        self._named = session.replace("-", "_") if session is not None else None
        self._binding = Binding(function, self._stores)
        self._outputs = OutputStores(outputs)

    def synchronous(self) -> Callable[..., Any]:
        """Return what Dash is to call."""
        function = self._function

        @wraps(function)
        def managed(*args: Any, **kwargs: Any) -> Any:
            with at_work():
                passed = self._filled(args, kwargs)
                return self._outputs.kept(function(*passed.args, **passed.kwargs))

        return managed

    def asynchronous(self) -> Callable[..., Any]:
        """Return what Dash is to await."""
        function = self._function

        @wraps(function)
        async def managed(*args: Any, **kwargs: Any) -> Any:
            with at_work():
                passed = self._filled(args, kwargs)
                return self._outputs.kept(await function(*passed.args, **passed.kwargs))

        return managed

    def _filled(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        values = self._binding.bound(args, kwargs, self._unsent())
        self._admit(values)
        wanted = {name: self._ids(name, store, values) for name, store in self._stores.items()}
        ids = [each for found in wanted.values() for each in ([found] if isinstance(found, str) else found)]
        found = get_state_manager().batch_get_stores(ids) if ids else {}
        for name, which in wanted.items():
            if isinstance(which, str):
                values[name] = _value(found[which], values.get(name))
            else:
                had = values.get(name) or [None] * len(which)
                values[name] = [_value(found[each], kept) for each, kept in zip(which, had, strict=True)]
        return self._binding.passed(values)

    def _unsent(self) -> list[str]:
        filled = {name: store for name, store in self._stores.items() if isinstance(store, str)}
        if self._session is not None and self._named is not None and self._binding.takes(self._named):
            filled.setdefault(self._named, self._session)
        return [name for name, component in filled.items() if sent(component) is ABSENT]

    def _admit(self, values: dict[str, Any]) -> None:
        if self._session is None or self._named is None:
            admitted(None)
            return
        claimed = sent(self._session)
        told = self._binding.takes(self._named) and self._named not in self._stores
        user = admitted(None if claimed is ABSENT else claimed)
        if told and values.get(self._named) not in (None, claimed):
            user = admitted(values[self._named])
        if told and user is not None:
            values[self._named] = user

    def _ids(self, name: str, store: StoreId, values: Mapping[str, Any]) -> str | list[str]:
        if isinstance(store, str):
            return store
        place = self._binding.place(name)
        found = ids_sent(name)
        if found is None and place is not None:
            found = ids_sent(place)
        return store_id_of(store) if found is None else found


def _value(found: Any, sent_along: Any) -> Any:
    return sent_along if found is CLIENT_MANAGED else found
