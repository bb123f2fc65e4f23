"""Which types of states there are, and the machine of each. Declared once, for every app of the process."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask_statemanager import Deadline, Guard, Machine, State, StateType, Transition

from .clock import clock
from .extensions import state_manager

PURCHASE = "purchase"
REFUND_WINDOW = timedelta(days=30)
PAYMENT_WINDOW = timedelta(minutes=15)
"""How long a purchase waits for its payment."""


def within_refund_window(present: State, _after: State) -> bool:
    """Allow a refund for thirty days after the payment.

    :param present: the purchase as it is.
    :param _after: the purchase as it would be.
    """
    completed = datetime.fromisoformat(present.data["completed_at"].replace("Z", "+00:00"))
    return clock.now() - completed <= REFUND_WINDOW


PURCHASE_MACHINE = Machine(
    initial="pending",
    transitions=[
        Transition("complete", ["pending"], "completed"),
        Transition("fail", ["pending"], "failed"),
        Transition("expire", ["pending"], "expired"),
        Transition(
            "refund",
            ["completed"],
            "refunded",
            guards=[Guard(within_refund_window, reason="refunds end thirty days after the payment")],
        ),
        Transition("update", ["pending"]),
        # Purchases belong to the books: none is ever deleted.
        Transition("delete", [], "deleted"),
    ],
    final=["failed", "expired", "refunded"],
    deadlines=[Deadline("pending", PAYMENT_WINDOW, "expire")],
)

SUBSCRIPTION_MACHINE = Machine(
    initial=["active", "trialing"],
    transitions=[
        Transition("activate", ["trialing"], "active"),
        Transition("renew", ["active", "expired"], "active"),
        Transition("miss_payment", ["active"], "past_due", past="payment_missed"),
        Transition("recover", ["past_due"], "active"),
        Transition("expire", ["trialing", "active", "past_due"], "expired"),
        Transition("cancel", ["trialing", "active", "past_due", "expired"], "cancelled", past="cancelled"),
    ],
    final=["cancelled"],
)

MACHINES: dict[str, Machine] = {
    definition.name: definition.machine
    for definition in (
        state_manager.define(StateType.USER),
        state_manager.define(PURCHASE, PURCHASE_MACHINE),
        state_manager.define(StateType.SUBSCRIPTION, SUBSCRIPTION_MACHINE),
        state_manager.define(StateType.FEATURE),
        state_manager.define(StateType.SESSION),
    )
}
"""The machine of every type that this application uses."""
