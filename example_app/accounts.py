"""Users: registering, verifying, suspending, resuming, closing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import or_, select

from flask_statemanager import State, StateType, StateValidationError

from .clock import timestamp
from .extensions import db, state_manager, unit_of_work
from .models import LOCKED, Account

VERIFY_WITHIN = 3 * 24 * 3600
"""Seconds that a verification link is good for."""

SUSPENSION = "suspension"
"""The key of the timer that ends a suspension."""

LONGEST_SUSPENSION = timedelta(days=365)


def register(
    login: str, email: str, display_name: str, *, password: str | None = None, country: str = "", admin: bool = False
) -> Account:
    """Create an account and its user state, inside the unit of work that is under way.

    :param login: the name to log in with.
    :param email: the address to verify.
    :param display_name: how to call the user.
    :param password: None for an account that nobody can log in to.
    :param country: two letters.
    :param admin: whether the user may operate the system.
    :raises StateValidationError: when login or address are taken, or the data is unusable.
    """
    if not login.strip() or db.session.scalar(
        select(Account).where(or_(Account.login == login, Account.email == email))
    ):
        raise StateValidationError({"login": ["The login is empty, or login or e-mail are taken: choose others."]})
    account = Account(login=login, email=email, display_name=display_name, password_hash=LOCKED, is_admin=admin)
    if password is not None:
        account.set_password(password)
    db.session.add(account)
    db.session.flush()
    user_state = {
        "name": "user_account_state",
        "type": StateType.USER.value,
        "data": {
            "user_id": str(account.id),
            "status": "pending_verification",
            "email": email,
            "display_name": display_name,
            "country": country,
        },
        "metadata": {"version": "1.0"},
    }
    state_manager.register_state(account.state_id, StateType.USER, user_state, actor=login, owner=account.state_id)
    return account


def verification_token(state_id: str) -> str:
    """Return what a verification link ends in.

    :param state_id: the user.
    """
    return _signer().dumps(state_id)


def verify(token: str) -> State:
    """Activate the user whose verification link was followed; following it twice is no mistake.

    :param token: the end of the link.
    :raises StateValidationError: when the link is forged or too old.
    :raises TransitionNotAllowed: when the user cannot be activated any more.
    """
    try:
        state_id = _signer().loads(token, max_age=VERIFY_WITHIN)
    except BadSignature as error:
        raise StateValidationError({"token": ["The link is not valid any more: register again."]}) from error
    state = state_manager.get_state(state_id)
    if state is not None and state.status == "active":
        return state
    return transition(state_id, "activate", actor=state_id, reason="followed the verification link", expect=1)


def transition(
    state_id: str, name: str, *, reason: str | None = None, expect: int | None = None, actor: str | None = None
) -> State:
    """Move a user along a transition, the word in its data with it.

    :param state_id: the user.
    :param name: the transition.
    :param reason: why, for the history.
    :param expect: the version that must be stored.
    :param actor: who asks; the logged-in user by default.
    :raises StateManagerError: when it is not possible.
    """
    return state_manager.update_state(state_id, _patch(name, reason), name, expect=expect, reason=reason, actor=actor)


def suspend(state_id: str, span: timedelta, *, reason: str | None = None, expect: int | None = None) -> State:
    """Suspend a user for some time: suspension and the timer that ends it are one transaction.

    :param state_id: the user.
    :param span: for how long.
    :param reason: why, for the history.
    :param expect: the version that must be stored.
    :raises StateValidationError: when the time is no time, or too long.
    :raises StateManagerError: when it is not possible.
    """
    if not timedelta(0) < span <= LONGEST_SUSPENSION:
        raise StateValidationError({"hours": ["Must be more than nothing, and a year at most."]})
    with unit_of_work():
        done = transition(state_id, "suspend", reason=reason, expect=expect)
        state_manager.schedule_transition(
            state_id,
            "resume",
            after=span,
            data=_patch("resume", None),
            key=SUSPENSION,
            only_in="suspended",
            reason="the suspension is over",
        )
    return done


@state_manager.register_callback("user", when="before")
def forget_the_end(state_id: str, old_state: dict[str, Any], new_state: dict[str, Any], _transition_type: str) -> None:
    """Cancel the timer of a suspension that ends otherwise, so that it cannot end a later one.

    :param state_id: the user.
    :param old_state: as it is.
    :param new_state: as it would be.
    :param _transition_type: what is about to happen.
    """
    if old_state.get("status") == "suspended" != new_state["status"]:
        state_manager.cancel_scheduled(state_id, key=SUSPENSION, reason="the suspension has ended otherwise")


def _patch(name: str, reason: str | None) -> dict[str, Any]:
    patches: dict[str, dict[str, Any]] = {
        "activate": {"status": "active", "verified_at": timestamp(), "suspended_reason": None},
        "suspend": {"status": "suspended", "suspended_reason": reason or "by an operator"},
        "resume": {"status": "active", "suspended_reason": None},
        "expire": {"status": "closed"},
    }
    return patches.get(name, {})


def account_of(state_id: str) -> Account | None:
    """Return the account of a user state, or None.

    :param state_id: the user.
    """
    number = state_id.removeprefix("user_")
    return db.session.get(Account, int(number)) if number.isdecimal() and len(number) < 10 else None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="verify-email")
