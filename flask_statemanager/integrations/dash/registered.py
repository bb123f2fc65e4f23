"""Callbacks that Dash has taken before they were managed: the managed one takes the place of the bare one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import dash
from dash import _get_app
from dash._callback import GLOBAL_API_PATHS, GLOBAL_CALLBACK_MAP

from ...errors import ConfigurationError

Function = Callable[..., Any]
Identity = tuple[int, ...]

_lock = threading.Lock()
_apps: WeakSet[dash.Dash] = WeakSet()
_managed: WeakValueDictionary[Identity, Function] = WeakValueDictionary()
"""What takes the place of which bare function; the managed one keeps it alive, so that its id is nobody else's."""


def put_in_place(bare: Function, managed: Function) -> None:
    """Have Dash call a managed callback where it would call the bare one; nothing happens where it does not know it.

    :param bare: what Dash may have taken.
    :param managed: what is to be called.
    :raises ConfigurationError: when it has been taken in a way that cannot be undone.
    """
    _managed[_identity(bare)] = managed
    _replace({_identity(bare): managed})
    _check(bare)


def app_of(managed: Function | None) -> dash.Dash | None:
    """Return the app of a managed callback; the present one where it is in none yet, None where there is none.

    :param managed: the callback; None for the present app.
    """
    for app in _known() if managed is not None else ():
        if any(getattr(entry.get("callback"), "__wrapped__", None) is managed for entry in app.callback_map.values()):
            return app
    # Where there is none, what get_app() raises is of no kind of its own before Dash 4.2.
    found: dash.Dash | None = _get_app.app_context.get(_get_app.APP)
    return found


def _replace(by_bare: Any) -> None:
    for entry in _entries():
        bare = getattr(entry.get("callback"), "__wrapped__", None)
        managed = by_bare.get(_identity(bare))
        if bare is not None and managed is not None:
            _exchange(entry, bare, managed)
    for paths in (GLOBAL_API_PATHS, *(app.callback_api_paths for app in _known())):
        for path, called in list(paths.items()):
            paths[path] = by_bare.get(_identity(called), called)


def _identity(function: Any) -> Identity:
    # A method is another object each time that it is asked for.
    return (id(function.__self__), id(function.__func__)) if inspect.ismethod(function) else (id(function),)


def _check(bare: Function) -> None:
    """Refuse what stands above a decorator that stands above Dash's: Dash has the function below both."""
    within = getattr(bare, "__wrapped__", None)
    while within is not None:
        if any(getattr(entry.get("callback"), "__wrapped__", None) is within for entry in _entries()):
            raise _too_late(within)
        within = getattr(within, "__wrapped__", None)


def _too_late(bare: Function) -> ConfigurationError:
    return ConfigurationError(
        f"Dash has taken the callback {getattr(bare, '__name__', bare)} before it was managed, and does not let go of "
        "it: put @state_managed_callback(...) below @callback(...)."
    )


def _entries() -> Iterator[dict[str, Any]]:
    for callbacks in (GLOBAL_CALLBACK_MAP, *(app.callback_map for app in _known())):
        yield from list(callbacks.values())


def _known() -> list[dash.Dash]:
    with _lock:
        found = list(_apps)
    # The latest app may be older than this module.
    latest = _get_app.APP
    return found if latest is None or latest in found else [*found, latest]


def _exchange(entry: dict[str, Any], bare: Function, managed: Function) -> None:
    registered = entry["callback"]
    names: tuple[str, ...] = registered.__code__.co_freevars
    # Dash keeps the function nowhere else than in what it calls; of a background callback its managers have a copy.
    cell = registered.__closure__[names.index("func")] if "func" in names else None
    if entry.get("background") or cell is None or cell.cell_contents is not bare:
        raise _too_late(bare)
    cell.cell_contents = managed
    registered.__wrapped__ = managed


@dash.hooks.setup()  # type: ignore[untyped-decorator]
def _remember(app: dash.Dash) -> None:
    with _lock:
        _apps.add(app)


@dash.hooks.layout()  # type: ignore[untyped-decorator]
def _look_again(layout: Any) -> Any:
    app = dash.get_app()  # type: ignore[no-untyped-call]
    with _lock:
        known = app in _apps
        _apps.add(app)
    if not known:
        # It was made before this module was imported, and was not the latest.
        _replace(_managed)
    return layout
