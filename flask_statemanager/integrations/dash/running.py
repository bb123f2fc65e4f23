"""The callback that is running: what the browser sent with it, and where it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dash
from dash.dependencies import Wildcard
from dash.exceptions import MissingCallbackContextException
from flask import has_request_context, request

from ...errors import StateValidationError, shown

Pattern = Mapping[str, Any]

_NO_CALLBACK = (MissingCallbackContextException, LookupError)
"""What Dash raises outside of callbacks; the second in threads that have never seen one."""

ABSENT = object()
"""Stands for what the browser did not send."""


def in_background() -> bool:
    """Tell whether this is the process of a background callback, which answers no request itself."""
    try:
        return not hasattr(dash.ctx, "response")
    except _NO_CALLBACK:
        return False


def _is_running() -> bool:
    """Tell whether there is a callback, and it is the present request's.

    An asynchronous callback leaves its context behind, to whatever its thread works on next.
    """
    if in_background():
        return True
    try:
        return has_request_context() and bool(dash.ctx.path == request.full_path)
    except _NO_CALLBACK:
        return False


def sent(component_id: str, prop: str = "data") -> Any:
    """Return the value of a property that the browser sent as an input or state, or ``ABSENT``.

    :param component_id: the component.
    :param prop: its property.
    """
    name = f"{component_id}.{prop}"
    if not _is_running():
        return ABSENT
    return dash.ctx.inputs.get(name, dash.ctx.states.get(name, ABSENT))


def is_state(component_id: str, prop: str = "data") -> bool:
    """Tell whether a property came as a state, so that to change it starts nothing.

    :param component_id: the component.
    :param prop: its property.
    """
    name = f"{component_id}.{prop}"
    return _is_running() and name in dash.ctx.states and name not in dash.ctx.inputs


def ids_sent(place: int | str, pattern: Pattern) -> list[str] | str | None:
    """Return which component an argument of the callback belongs to: one, several of a pattern, or none that is known.

    :param place: the argument, by number or by name.
    :param pattern: the components that it can belong to.
    :raises StateValidationError: when it belongs to another one.
    """
    return _ids(_arguments(), place, pattern)


def number_sent() -> int | None:
    """Return how many arguments Dash passes by place; None where it passes them by name, or where none is known."""
    found = _arguments()
    return len(found) if isinstance(found, list) else None


def _arguments() -> Any:
    if not _is_running():
        return None
    # A single argument is a grouping without anything around it, which may be a list itself.
    if dash.ctx.using_args_grouping:
        return dash.ctx.args_grouping
    return dash.ctx.inputs_list + dash.ctx.states_list


def ids_asked(place: int | str | None, pattern: Pattern) -> list[str] | str | None:
    """Return which component a part of the callback's answer belongs to: one, several of a pattern, or none.

    :param place: the part, by number or by name; None for all of it.
    :param pattern: the components that it can belong to.
    :raises StateValidationError: when it belongs to another one.
    """
    if not _is_running():
        return None
    # Of the components of a single output Dash puts only the first into the grouping.
    found = dash.ctx.outputs_grouping if dash.ctx.using_outputs_grouping else dash.ctx.outputs_list
    return _id_of(found, pattern) if place is None else _ids(found, place, pattern)


def outputs_asked() -> int | None:
    """Return how many outputs the callback has in Dash: none, one, or two for several; None where that is not known."""
    if in_background() or not _is_running():
        return None
    asked = str((request.get_json(silent=True) or {}).get("output"))
    entry = dash.get_app().callback_map.get(asked)  # type: ignore[no-untyped-call]
    if entry is None:
        return None
    return 0 if entry["no_output"] else 1 + asked.startswith("..")


def is_output(component_id: Any) -> bool:
    """Tell whether it is the component of the callback's only output.

    :param component_id: its id.
    """
    found = dash.ctx.outputs_list
    return isinstance(found, dict) and found.get("id") == component_id


def _ids(grouping: Any, place: int | str, pattern: Pattern) -> list[str] | str | None:
    try:
        found = grouping[place]
    except (LookupError, TypeError):
        return None
    return _id_of(found, pattern)


def _id_of(found: Any, pattern: Pattern) -> list[str] | str | None:
    if isinstance(found, list):
        ids = [_id_of(each, pattern) for each in found]
        return [each for each in ids if isinstance(each, str)]
    if not isinstance(found, dict) or "property" not in found:
        return None
    # The ids come from the browser, which has no say in which stores a callback means.
    if not _matches(found.get("id"), pattern):
        raise StateValidationError({"id": [f"{shown(found.get('id'))} is no component of the pattern {pattern}."]})
    return store_id_of(found["id"])


def _matches(component_id: Any, pattern: Pattern) -> bool:
    if not isinstance(component_id, dict) or component_id.keys() != pattern.keys():
        return False
    return all(isinstance(wanted, Wildcard) or component_id[name] == wanted for name, wanted in pattern.items())


def store_id_of(component_id: Any) -> str:
    """Return the id of a component as a text, which Dash writes in the same way.

    :param component_id: a text, or the dict of a component of a pattern.
    """
    if isinstance(component_id, dict):
        return json.dumps(component_id, sort_keys=True, separators=(",", ":"))
    return str(component_id)
