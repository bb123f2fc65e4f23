"""Login sessions: a state each, which ends by itself, and can be ended by an operator at once."""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask_statemanager import State, StateType

from .extensions import state_manager
from .models import Account

LIFETIME = timedelta(hours=8)


def begin(
    account: Account, *, address: str, agent: str, session_id: str | None = None, actor: str | None = None
) -> State:
    """Begin a session, inside the unit of work that is under way.

    :param account: who has logged in.
    :param address: from where.
    :param agent: with which browser.
    :param session_id: its id; a new one by default.
    :param actor: who asks; the account's login by default.
    :raises StateManagerError: when it cannot be written.
    """
    data = {"user_id": account.state_id, "address": address, "agent": agent[:200]}
    state = state_manager.register_state(
        session_id or f"session_{secrets.token_hex(12)}",
        StateType.SESSION,
        {"name": f"login of {account.login}", "data": data},
        ttl=LIFETIME,
        owner=account.state_id,
        actor=actor or account.login,
    )
    return state_manager.update_state(state.state_id, transition="activate", actor=actor or account.login)


def live(session_id: str) -> State | None:
    """Return a session that is still good, or None.

    :param session_id: the id from the cookie.
    :raises StorageError: when the storage fails.
    """
    state = state_manager.get_state(session_id)
    good = state is not None and state.type == StateType.SESSION.value and state.status == "active"
    return state if good else None


def end(session_id: str, *, reason: str) -> None:
    """End a session.

    :param session_id: which.
    :param reason: why, for the history.
    :raises StateManagerError: when it cannot be written.
    """
    if live(session_id) is not None:
        state_manager.update_state(session_id, transition="expire", reason=reason)


def end_all(user_id: str, *, reason: str, actor: str | None = None) -> int:
    """End all sessions of a user.

    :param user_id: whose.
    :param reason: why, for the history.
    :param actor: who asks; the logged-in user by default.
    :returns: how many there were.
    :raises StateManagerError: when it cannot be written.
    """
    found = list(state_manager.search_states(StateType.SESSION, owner=user_id, status="active"))
    for state in found:
        state_manager.update_state(state.state_id, transition="expire", reason=reason, actor=actor)
    return len(found)
