"""The callback that is running: what the browser sent with it, and where it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dash
from dash.exceptions import MissingCallbackContextException
from flask import Flask, has_request_context
from werkzeug.test import EnvironBuilder

ABSENT = object()
"""Stands for what the browser did not send."""


def sent(component_id: str, prop: str = "data") -> Any:
    """Return the value of a property that the browser sent as an input or state, or ``ABSENT``.

    :param component_id: the component.
    :param prop: its property.
    """
    name = f"{component_id}.{prop}"
    try:
        for values in (dash.ctx.inputs, dash.ctx.states):
            if name in values:
                return values[name]
    except MissingCallbackContextException:
        pass
    return ABSENT


def ids_sent(place: int | str) -> list[str] | str | None:
    """Return which component an argument of the callback belongs to: one, several of a pattern, or none that is known.

    :param place: the argument, by number or by name.
    """
    return _ids(_grouping("args_grouping"), place)


def ids_asked(place: int | str | None) -> list[str] | str | None:
    """Return which component a part of the callback's answer belongs to: one, several of a pattern, or none.

    :param place: the part, by number or by name; None for all of it.
    """
    grouping = _grouping("outputs_grouping")
    return _id_of(grouping) if place is None else _ids(grouping, place)


def _grouping(name: str) -> Any:
    try:
        return getattr(dash.ctx, name)
    except MissingCallbackContextException:
        return None


def _ids(grouping: Any, place: int | str) -> list[str] | str | None:
    try:
        return _id_of(grouping[place])
    except (LookupError, TypeError):
        return None


def _id_of(found: Any) -> list[str] | str | None:
    if isinstance(found, list):
        ids = [_id_of(each) for each in found]
        return [each for each in ids if isinstance(each, str)]
    if isinstance(found, dict) and "id" in found and "property" in found:
        return store_id_of(found["id"])
    return None


def store_id_of(component_id: Any) -> str:
    """Return the id of a component as a text, which Dash writes in the same way.

    :param component_id: a text, or the dict of a component of a pattern.
    """
    if isinstance(component_id, dict):
        return json.dumps(component_id, sort_keys=True, separators=(",", ":"))
    return str(component_id)


@contextmanager
def at_work() -> Iterator[None]:
    """Have the request of the browser at hand, also in the process of a background callback."""
    if has_request_context():
        yield
        return
    server = _server()
    if server is None:
        yield
        return
    headers = {name: value for name, value in dash.ctx.headers.items() if name.lower() != "content-length"}
    environ = EnvironBuilder(path=dash.ctx.path or "/", headers=headers).get_environ()
    if dash.ctx.remote:
        environ["REMOTE_ADDR"] = dash.ctx.remote
    with server.request_context(environ):
        yield


def _server() -> Flask | None:
    """Return the Flask app whose callback is running; None outside of callbacks."""
    try:
        if not dash.ctx.headers:
            return None
    except MissingCallbackContextException:
        return None
    server = dash.get_app().server  # type: ignore[no-untyped-call]
    return server if isinstance(server, Flask) else None
