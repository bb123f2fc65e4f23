"""What an operator or owner does to a state by its transition: each type's own way, else the state manager's."""

from __future__ import annotations

from datetime import timedelta

from flask_statemanager import State, StateType

from . import accounts, purchases, subscriptions
from .extensions import state_manager, unit_of_work
from .machines import PURCHASE

OWNERS_MAY = {(StateType.SUBSCRIPTION.value, "cancel"), (StateType.SESSION.value, "expire")}
"""Type and transition of what users may do to their own states; everything else is for operators."""

PAID = ("activate", "renew", "recover")


def apply(
    state: State,
    name: str,
    *,
    reason: str | None = None,
    expect: int | None = None,
    hours: float | None = None,
) -> State:
    """Move a state along a transition, with everything that belongs to it, and commit.

    :param state: the state as the caller saw it.
    :param name: the transition.
    :param reason: why, for the history.
    :param expect: the version that must be stored.
    :param hours: how long a suspended user stays suspended; None until somebody ends it.
    :raises NotEnoughCreditsError: when a balance does not cover it; nothing is written then.
    :raises StateManagerError: when it is not possible.
    """
    if (state.type, name) == (StateType.USER.value, "suspend") and hours is not None:
        return accounts.suspend(state.state_id, timedelta(hours=hours), reason=reason, expect=expect)
    if state.type == StateType.USER.value:
        return accounts.transition(state.state_id, name, reason=reason, expect=expect)
    if state.type == PURCHASE:
        return _purchase(state, name, reason, expect)
    if state.type == StateType.SUBSCRIPTION.value and name in PAID:
        with unit_of_work():
            return subscriptions.pay(state, name, reason=reason, expect=expect)
    if name == "miss_payment":
        return subscriptions.miss(state, reason=reason, expect=expect)
    return state_manager.update_state(state.state_id, transition=name, reason=reason, expect=expect)


def _purchase(state: State, name: str, reason: str | None, expect: int | None) -> State:
    with unit_of_work():
        if name == "complete":
            return purchases.complete(state, "settled by hand", expect=expect, reason=reason)
        if name == "fail":
            return purchases.fail(state, reason or "settled by hand", expect=expect, reason=reason)
        if name == "refund":
            return purchases.refund(state, expect=expect, reason=reason)
        return state_manager.update_state(state.state_id, transition=name, expect=expect, reason=reason)
