"""What happens when states change: callbacks, which every app of the process shares, and signals of one app."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask, g, has_request_context

from flask_statemanager import Change, TransitionNotAllowed, signals

from . import preferences
from .extensions import db, state_manager
from .logins import end_all
from .models import Notice

TOLD = "credit_activity"
"""The name under ``app.extensions`` of the counts that the dashboard shows."""


NOTICES = {
    "en": {
        "suspend": "Your account was suspended: {reason}.",
        "resume": "Your account is active again. Welcome back.",
        "refund": "Your purchase {state_id} was refunded.",
    },
    "de": {
        "suspend": "Ihr Konto wurde gesperrt: {reason}.",
        "resume": "Ihr Konto ist wieder offen. Willkommen zurück.",
        "refund": "Ihr Kauf {state_id} wurde erstattet.",
    },
}
"""The texts of notices by language and transition."""


@state_manager.actor_loader
def present_user() -> str | None:
    """Name the logged-in user, for the history of every change made during a request."""
    account = g.get("account")
    return None if account is None else str(account.login)


@state_manager.register_callback("user_suspended")
def end_sessions(state_id: str, _old_state: dict[str, Any], _new_state: dict[str, Any], _transition_type: str) -> None:
    """Log a suspended user out everywhere.

    :param state_id: the user.
    :param _old_state: as it was.
    :param _new_state: as it is.
    :param _transition_type: what happened.
    """
    end_all(state_id, reason="the user was suspended")


@state_manager.register_callback("user_suspended")
@state_manager.register_callback("user_resumed")
@state_manager.register_callback("purchase_refunded")
def tell_user(state_id: str, _old_state: dict[str, Any], new_state: dict[str, Any], transition_type: str) -> None:
    """Write the user a notice, where it is wanted, in the user's language.

    It runs after the commit, when the application's own session is free again.

    :param state_id: the state that changed.
    :param _old_state: as it was.
    :param new_state: as it is.
    :param transition_type: what happened.
    """
    user_id = new_state.get("owner", state_id)
    chosen = preferences.of(user_id)
    if not chosen["notices"]:
        return
    text = NOTICES[chosen["language"]][transition_type]
    text = text.format(state_id=state_id, reason=new_state["data"].get("suspended_reason", "ask us"))
    happened = datetime.fromisoformat(new_state["updated_at"].replace("Z", "+00:00"))
    db.session.add(Notice(user_id=user_id, text=text, created_at=happened))
    db.session.commit()


@state_manager.register_callback("purchase_rolled_back", when="before")
def keep_the_books(
    _state_id: str, old_state: dict[str, Any], _new_state: dict[str, Any], _transition_type: str
) -> None:
    """Refuse to roll a purchase back: its credits are booked.

    :param _state_id: the purchase.
    :param old_state: as it is.
    :param _new_state: as it would be.
    :param _transition_type: what is about to happen.
    :raises TransitionNotAllowed: always.
    """
    allowed = ("refund",) if old_state["status"] == "completed" else ()
    raise TransitionNotAllowed(
        "rollback", old_state["status"], allowed, reason="A purchase is in the books and cannot be rolled back"
    )


def count_transition(sender: Flask, change: Change) -> None:
    """Count a change of status, and log it.

    :param sender: the app.
    :param change: what happened.
    """
    before = change.before.status if change.before is not None else "nothing"
    sender.extensions[TOLD]["transitions"] += 1
    sender.logger.info("%s: %s to %s by %s", change.key.name, before, change.after.status, change.actor)


def count_refusal(sender: Flask, state_id: str, transition: str, error: Exception) -> None:
    """Count a refused transition, and log it.

    :param sender: the app.
    :param state_id: of which state.
    :param transition: which one.
    :param error: why.
    """
    sender.extensions[TOLD]["refusals"] += 1
    where = "in a request" if has_request_context() else "outside requests"
    sender.logger.info("refused %s: %s of %s: %s", where, transition, state_id, error)


def connect(app: Flask) -> None:
    """Listen to one app's signals.

    :param app: the app.
    """
    app.extensions[TOLD] = {"transitions": 0, "refusals": 0}
    signals.state_transitioned.connect(count_transition, sender=app)
    signals.transition_refused.connect(count_refusal, sender=app)
