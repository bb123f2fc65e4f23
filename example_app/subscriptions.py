"""Subscriptions: plans that are paid in credits, cycle by cycle, and end by themselves when nobody renews them."""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask_statemanager import State, StateType, StateValidationError

from .clock import clock, timestamp
from .extensions import state_manager
from .ledger import book
from .models import Account

PLANS = {"basic": 100, "pro": 300, "team": 900}
"""Price of each plan in credits for a month; a year costs ten months."""

CYCLES = {"monthly": timedelta(days=30), "yearly": timedelta(days=365)}
TRIAL = timedelta(days=14)
DUNNING = timedelta(days=14)
"""How long a missed payment can be made good."""

GRACE = timedelta(days=3)
"""How long after the end of a paid cycle a subscription still runs."""


def price(plan: str, cycle: str) -> int:
    """Return what a cycle costs, in credits.

    :param plan: the plan.
    :param cycle: ``monthly`` or ``yearly``.
    :raises StateValidationError: when there is no such plan or cycle.
    """
    if plan not in PLANS or cycle not in CYCLES:
        raise StateValidationError({"plan": [f"There is no {cycle} plan {plan!r}: choose from {', '.join(PLANS)}."]})
    return PLANS[plan] * (10 if cycle == "yearly" else 1)


def subscribe(
    account: Account,
    plan: str,
    cycle: str,
    *,
    trial: bool = False,
    subscription_id: str | None = None,
    actor: str | None = None,
) -> State:
    """Begin a subscription, paid at once unless it begins with a trial; inside the unit of work that is under way.

    :param account: who subscribes.
    :param plan: to what.
    :param cycle: how often it is paid.
    :param trial: whether it begins with two weeks for nothing.
    :param subscription_id: its id; a new one by default.
    :param actor: who asks; the logged-in user by default.
    :raises NotEnoughCreditsError: when the balance does not cover it.
    :raises StateManagerError: when it cannot be written.
    """
    cost = price(plan, cycle)
    data = {
        "account_id": account.id,
        "plan": plan,
        "cycle": cycle,
        "price_credits": cost,
        "period": 0 if trial else 1,
        "period_started_at": timestamp(),
    }
    state = state_manager.register_state(
        subscription_id or f"sub_{secrets.token_hex(5)}",
        StateType.SUBSCRIPTION,
        {"name": f"{plan} {cycle}", "data": data},
        initial_status="trialing" if trial else "active",
        ttl=TRIAL if trial else CYCLES[cycle] + GRACE,
        owner=account.state_id,
        actor=actor,
    )
    if not trial:
        book(account.id, -cost, "subscription", f"{state.state_id}/v{state.version}")
    return state


def pay(
    subscription: State, name: str, *, expect: int | None = None, reason: str | None = None, actor: str | None = None
) -> State:
    """Begin the next cycle and pay it: ``activate`` after a trial, ``renew``, or ``recover`` after a missed payment.

    :param subscription: the subscription.
    :param name: the transition.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param actor: who asks; the logged-in user by default.
    :raises NotEnoughCreditsError: when the balance does not cover it.
    :raises StateManagerError: when it cannot be written.
    """
    period = subscription.data["period"] + 1
    done = state_manager.update_state(
        subscription.state_id,
        {"period": period, "period_started_at": timestamp()},
        name,
        expect=expect,
        expires_at=clock.now() + CYCLES[subscription.data["cycle"]] + GRACE,
        reason=reason,
        actor=actor,
    )
    book(done.data["account_id"], -done.data["price_credits"], "subscription", f"{done.state_id}/v{done.version}")
    return done


def miss(
    subscription: State, *, expect: int | None = None, reason: str | None = None, actor: str | None = None
) -> State:
    """Write down that a cycle was not paid; from now on there are two weeks to make it good.

    :param subscription: the subscription.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param actor: who asks; the logged-in user by default.
    :raises StateManagerError: when it cannot be written.
    """
    return state_manager.update_state(
        subscription.state_id, transition="miss_payment", expect=expect, ttl=DUNNING, reason=reason, actor=actor
    )
