"""The movements of credits as a DataFrame: what somebody may see of them, and what of that is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from sqlalchemy import select

from ..extensions import db
from ..models import Account, LedgerEntry

MOST = 20_000
"""The most rows: the newest."""

COLUMNS = ("when", "who", "kind", "amount", "balance")


def visible(account: Account) -> pd.DataFrame:
    """Return the newest movements that somebody may see: operators all, users their own.

    :param account: who asks.
    """
    query = (
        select(
            LedgerEntry.created_at,
            Account.display_name,
            LedgerEntry.kind,
            LedgerEntry.amount,
            LedgerEntry.balance_after,
        )
        .join(Account, Account.id == LedgerEntry.account_id)
        .order_by(LedgerEntry.id.desc())
        .limit(MOST)
    )
    if not account.is_admin:
        query = query.where(LedgerEntry.account_id == account.id)
    return pd.DataFrame([tuple(row) for row in db.session.execute(query)], columns=list(COLUMNS))


def chosen(frame: pd.DataFrame, filters: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows that filters leave.

    :param frame: the movements.
    :param filters: ``{"kinds": [...], "least": credits}``; what is missing leaves all.
    """
    if filters.get("kinds"):
        frame = frame[frame["kind"].isin(filters["kinds"])]
    if filters.get("least"):
        frame = frame[frame["amount"].abs() >= filters["least"]]
    return frame.reset_index(drop=True)
