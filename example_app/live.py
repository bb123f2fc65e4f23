"""Who uses the API and the pages of Flask-StateManager with a login of the application's, and for what."""

from __future__ import annotations

from flask import g, request

from .extensions import state_manager

OPERATOR, LISTENER = "operator", "listener"
"""What the API knows users as: operators read and hear everything, listeners hear of what is their own."""

API = "statemanager_api"
"""The blueprint of the API."""

MANAGER = "statemanager_admin"
"""The blueprint of the pages for operators."""

EVENTS = frozenset((f"{API}.stream_events", f"{API}.socket_events"))
"""Its live events, whose rules tell everybody only of what belongs to them."""


@state_manager.identity_loader
def present_identity() -> tuple[str, list[str]] | None:
    """Name the logged-in user. What is looked up there shows everybody's states, so customers may only listen."""
    account = g.get("account")
    if account is None:
        return None
    if account.is_admin:
        return account.state_id, [OPERATOR]
    return account.state_id, [LISTENER] if request.endpoint in EVENTS else []
