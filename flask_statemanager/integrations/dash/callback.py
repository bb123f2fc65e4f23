"""Callbacks whose parameters and answers are stores."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from dash import set_props

from ...errors import ConfigurationError, shown
from .answers import Outputs, OutputStores
from .background import at_work, session_components
from .binding import Binding
from .filling import StoreParameters
from .registered import put_in_place
from .running import ABSENT, is_state, sent
from .session import COMPONENT, admitted, issued
from .stores import StoreId

Function = TypeVar("Function", bound=Callable[..., Any])


def state_managed_callback(
    store_mappings: Mapping[str, StoreId] | None = None,
    user_context_input: str | None = COMPONENT,
    outputs: Outputs = None,
    *,
    announce: bool = False,
) -> Callable[[Function], Function]:
    """Have parameters of a callback filled from stores, and what it returns kept in stores.

    It stands below ``@callback``. Above it, where Dash has taken the bare function already, it takes that one's place.

    :param store_mappings: the store of each parameter that is filled; a dict stands for the components of a pattern,
        whose ids the callback has as inputs or states. Where the browser keeps a store, the parameter is what it sent.
    :param user_context_input: the component with the session id of the page, which is looked at where it is an input or
        a state of the callback. A parameter of that name (``user_session_id``) is told the user. None for no component.
    :param outputs: the store of what the callback returns; of several outputs, a dict of them by number or name, or a
        list with None for what is no store. The browser gets ``no_update`` for what the server keeps.
    :param announce: whether the browser's component gets a sign in place of ``no_update``, so that callbacks that have
        it as an input run.
    :raises ConfigurationError: when the callback has no such parameter, or stands where it cannot work.
    """

    def decorate(function: Function) -> Function:
        if not callable(function):
            raise ConfigurationError(
                f"{shown(function)} is no function: write @state_managed_callback(...) with its arguments."
            )
        managed = _Managed(function, store_mappings or {}, user_context_input, OutputStores(outputs, announce))
        wrapper = managed.asynchronous() if inspect.iscoroutinefunction(function) else managed.synchronous()
        put_in_place(function, wrapper)
        return cast(Function, wrapper)

    return decorate


class _Managed:
    """One callback."""

    def __init__(
        self,
        function: Callable[..., Any],
        stores: Mapping[str, StoreId],
        session: str | None,
        outputs: OutputStores,
    ) -> None:
        self._function = function
        self._session = session
        if session is not None:
            session_components.add(session)
        self._outputs = outputs
        self._binding = Binding(function, stores)
        self._parameters = StoreParameters(stores, self._binding)
        told = None if session is None else session.replace("-", "_")
        self._told = told if told is not None and told not in stores and self._binding.takes(told) else None

    def synchronous(self) -> Callable[..., Any]:
        """Return what Dash is to call."""
        function = self._function

        @wraps(function)
        def managed(*args: Any, **kwargs: Any) -> Any:
            with at_work(managed):
                passed = self._passed(args, kwargs)
                return self._outputs.kept(function(*passed.args, **passed.kwargs))

        return managed

    def asynchronous(self) -> Callable[..., Any]:
        """Return what Dash is to await."""
        function = self._function

        @wraps(function)
        async def managed(*args: Any, **kwargs: Any) -> Any:
            with at_work(managed):
                passed = self._passed(args, kwargs)
                return self._outputs.kept(await function(*passed.args, **passed.kwargs))

        return managed

    def _passed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        filled = self._parameters.names()
        if self._told is not None and self._session is not None:
            filled[self._told] = self._session
        unsent = [name for name, component in filled.items() if sent(component) is ABSENT]
        values = self._binding.bound(args, kwargs, unsent)
        self._admit(values)
        self._parameters.fill(values, len(args))
        return self._binding.passed(values)

    def _admit(self, values: dict[str, Any]) -> None:
        claimed = _claimed(self._session)
        found = admitted(claimed)
        if self._session is not None and found.renew and is_state(self._session):
            set_props(self._session, {"data": issued()})
        if self._told is not None:
            told = values.get(self._told)
            # Passed by something else than a page, as to the endpoint of an API.
            user = found.user if told in (None, claimed) else admitted(told).user
            values[self._told] = told if user is None else user


def _claimed(component: str | None) -> Any:
    found = ABSENT if component is None else sent(component)
    return None if found is ABSENT else found
