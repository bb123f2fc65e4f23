"""Credits: every movement is one entry, written together with the balance and the state that caused it."""

from __future__ import annotations

from sqlalchemy import exists, select, update

from .clock import clock
from .extensions import db
from .models import Account, LedgerEntry


class NotEnoughCreditsError(Exception):
    """The balance does not cover a movement.

    :param missing_for: what the credits were wanted for.
    """

    def __init__(self, missing_for: str) -> None:
        super().__init__(f"The balance does not cover {missing_for}: buy credits first.")


def book(account_id: int, amount: int, kind: str, reference: str) -> int:
    """Move credits inside the transaction that is under way.

    :param account_id: whose.
    :param amount: how many; negative takes them away.
    :param kind: ``purchase``, ``refund``, ``subscription`` or ``usage``.
    :param reference: what caused it; together with ``kind`` it can happen only once.
    :returns: the new balance.
    :raises NotEnoughCreditsError: when the balance would fall below zero.
    """
    # One statement, so that two movements at a time cannot read the same old balance.
    moved = (
        update(Account)
        .where(Account.id == account_id, Account.balance + amount >= 0)
        .values(balance=Account.balance + amount)
        .returning(Account.balance)
        .execution_options(synchronize_session=False)
    )
    balance = db.session.scalar(moved)
    if balance is None:
        raise NotEnoughCreditsError(f"the {kind} of {-amount} credits")
    db.session.add(
        LedgerEntry(
            account_id=account_id,
            kind=kind,
            reference=reference,
            amount=amount,
            balance_after=balance,
            created_at=clock.now(),
        )
    )
    return int(balance)


def is_booked(kind: str, reference: str) -> bool:
    """Tell whether a movement has happened, inside the transaction that is under way.

    :param kind: as for :func:`book`.
    :param reference: what caused it.
    """
    entry = exists().where(LedgerEntry.reference == reference, LedgerEntry.kind == kind)
    return bool(db.session.scalar(select(entry)))
