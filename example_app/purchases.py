"""Buying credits: a purchase is a state, and completing it moves the credits in the same transaction."""

from __future__ import annotations

import secrets

from flask_statemanager import State, StateNotFound, TransitionNotAllowed

from .clock import clock, timestamp
from .extensions import state_manager, unit_of_work
from .features import is_enabled
from .ledger import book, is_booked
from .machines import PURCHASE
from .models import Account, CreditPackage
from .payments import PaymentResult, charge

BONUS_FEATURE = "bonus_credits"
BONUS_PERCENT = 10


def buy(account: Account, package: CreditPackage, card: str) -> State:
    """Buy a package: register the purchase, ask the provider, write down what it said.

    The purchase is committed before the provider is asked, so that no charge can ever be without a purchase.

    :param account: who buys.
    :param package: what.
    :param card: the last four digits of the card.
    :returns: the purchase, completed, failed or still pending.
    :raises TransitionNotAllowed: when the user is not active.
    :raises StateManagerError: when it cannot be written.
    """
    user = state_manager.get_state(account.state_id)
    if user is None:
        raise StateNotFound(account.state_id)
    if user.status != "active":
        raise TransitionNotAllowed("buy", user.status, (), reason="Only verified, active users can buy credits")
    with unit_of_work():
        purchase = open_purchase(account, package, card)
    result = charge(purchase.state_id, purchase.data["amount_cents"], card)
    with unit_of_work():
        return settle(purchase, result)


def open_purchase(
    account: Account, package: CreditPackage, card: str, *, purchase_id: str | None = None, actor: str | None = None
) -> State:
    """Register a pending purchase, inside the unit of work that is under way.

    :param account: who buys.
    :param package: what.
    :param card: the last four digits of the card.
    :param purchase_id: its id; a new one by default.
    :param actor: who asks; the logged-in user by default.
    :raises StateManagerError: when it cannot be written.
    """
    data = {
        "account_id": account.id,
        "package": package.code,
        "credits": package.credits,
        "amount_cents": package.price_cents,
        "currency": "EUR",
        "card": card,
    }
    if is_enabled(BONUS_FEATURE, account.state_id):
        data["bonus"] = package.credits * BONUS_PERCENT // 100
    return state_manager.register_state(
        purchase_id or f"pay_{clock.now():%Y%m%d}_{secrets.token_hex(4)}",
        PURCHASE,
        {"name": package.title, "data": data},
        owner=account.state_id,
        actor=actor,
    )


def settle(purchase: State, result: PaymentResult) -> State:
    """Write down the provider's answer, inside the unit of work that is under way.

    :param purchase: the pending purchase.
    :param result: the answer.
    :raises StateManagerError: when it cannot be written, for instance because somebody settled it before.
    """
    if result.outcome == "processing":
        return purchase
    if result.outcome == "charged":
        return complete(purchase, result.reference, expect=purchase.version)
    return fail(purchase, result.error or "refused", expect=purchase.version)


def complete(
    purchase: State,
    provider_reference: str,
    *,
    expect: int | None = None,
    reason: str | None = None,
    at: str | None = None,
    idempotency_key: str | None = None,
) -> State:
    """Complete a purchase: state, ledger entry and balance in one transaction.

    A repetition under the same key must ask for exactly the same, so ``at`` has to come from who asks, not from a clock
    that goes on.

    :param purchase: the pending purchase.
    :param provider_reference: the provider's number.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param at: when the provider charged; now by default.
    :param idempotency_key: answer a repetition as before, and move no credits.
    :raises StateManagerError: when it cannot be written.
    """
    done = state_manager.update_state(
        purchase.state_id,
        {"completed_at": at or timestamp(), "provider_reference": provider_reference},
        "complete",
        expect=expect,
        source="payments",
        reason=reason,
        idempotency_key=idempotency_key,
    )
    if idempotency_key is None or not is_booked("purchase", done.state_id):
        book(done.data["account_id"], _credits(done), "purchase", done.state_id)
    return done


def fail(
    purchase: State,
    error: str,
    *,
    expect: int | None = None,
    reason: str | None = None,
    at: str | None = None,
    idempotency_key: str | None = None,
) -> State:
    """Write down that the provider refused.

    :param purchase: the pending purchase.
    :param error: why.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param at: when the provider refused; now by default.
    :param idempotency_key: answer a repetition as before.
    :raises StateManagerError: when it cannot be written.
    """
    return state_manager.update_state(
        purchase.state_id,
        {"failed_at": at or timestamp(), "error": error},
        "fail",
        expect=expect,
        source="payments",
        reason=reason,
        idempotency_key=idempotency_key,
    )


def refund(purchase: State, *, expect: int | None = None, reason: str | None = None, actor: str | None = None) -> State:
    """Give the money back and take the credits back, in one transaction.

    :param purchase: a completed purchase.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param actor: who asks; the logged-in user by default.
    :raises GuardFailed: when it is too late.
    :raises NotEnoughCreditsError: when the credits are spent; the purchase stays completed then.
    :raises StateManagerError: when it cannot be written.
    """
    done = state_manager.update_state(
        purchase.state_id, {"refunded_at": timestamp()}, "refund", expect=expect, reason=reason, actor=actor
    )
    book(done.data["account_id"], -_credits(done), "refund", done.state_id)
    return done


def _credits(purchase: State) -> int:
    return int(purchase.data["credits"]) + int(purchase.data.get("bonus", 0))
