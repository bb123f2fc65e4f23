"""Mails to users: durable effects, stored with the change that causes them and carried out by a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_statemanager import PermanentFailure

from .extensions import db, state_manager
from .models import Account, SentMail

BOUNCING = "@bounces.example.com"
"""What addresses end in that the simulated mail server refuses for good."""


@state_manager.effect("user_suspended", name="suspension-mail")
def mail_suspension(
    state_id: str,
    _old_state: dict[str, Any],
    new_state: dict[str, Any],
    _transition_type: str,
    *,
    key: str,
    session: Session,
    attempt: int,
) -> None:
    """Tell a user by mail of the suspension.

    :param state_id: the user.
    :param _old_state: as it was.
    :param new_state: as it was after the suspension.
    :param _transition_type: what happened.
    :param key: the effect's stable key.
    :param session: committed together with the note that the effect is done.
    :param attempt: 1 the first time.
    :raises PermanentFailure: when the address does not exist.
    """
    reason = new_state["data"].get("suspended_reason", "ask us")
    text = f"Your account was suspended: {reason}. Nobody can log in to it for the time being."
    _send(session, key, state_id, new_state, attempt, subject="Your account is suspended", text=text)


@state_manager.effect("purchase_expired", name="expired-purchase-mail")
def mail_expired_purchase(
    state_id: str,
    _old_state: dict[str, Any],
    new_state: dict[str, Any],
    _transition_type: str,
    *,
    key: str,
    session: Session,
    attempt: int,
) -> None:
    """Tell a user by mail that a payment did not arrive in time.

    :param state_id: the purchase.
    :param _old_state: as it was.
    :param new_state: as it was when its time was over.
    :param _transition_type: what happened.
    :param key: the effect's stable key.
    :param session: committed together with the note that the effect is done.
    :param attempt: 1 the first time.
    :raises PermanentFailure: when the address does not exist.
    """
    text = f"We have waited for the payment of {new_state['name']} ({state_id}) and given it up. Nothing was charged."
    _send(session, key, new_state["owner"], new_state, attempt, subject="Your payment did not arrive", text=text)


def newest(user_id: str | None = None, limit: int = 50) -> list[SentMail]:
    """Return mails, the newest first.

    :param user_id: only to this user.
    :param limit: the most of them.
    """
    wanted = select(SentMail).order_by(SentMail.happened_at.desc(), SentMail.id.desc()).limit(limit)
    if user_id is not None:
        wanted = wanted.where(SentMail.user_id == user_id)
    return list(db.session.scalars(wanted))


def _send(
    session: Session, key: str, user_id: str, state: dict[str, Any], attempt: int, *, subject: str, text: str
) -> None:
    account = session.get(Account, int(user_id.removeprefix("user_")))
    if account is None or account.email.endswith(BOUNCING):
        raise PermanentFailure(f"The mail server refuses the address of {user_id}: correct it, then retry.")
    session.add(
        SentMail(
            key=key,
            user_id=user_id,
            address=account.email,
            subject=subject,
            text=text,
            attempt=attempt,
            happened_at=datetime.fromisoformat(state["updated_at"].replace("Z", "+00:00")),
        )
    )
