"""The report: figures that take a while, made by one process at a time and kept for all to read."""

from __future__ import annotations

from sqlalchemy import func, select

from flask_statemanager import StateType
from flask_statemanager.kv import KeyValue

from .extensions import db, state_manager
from .machines import PURCHASE
from .models import Account

LEASE, LATEST = "lease:report", "report:latest"
LONGEST = 60.0
"""Seconds that making it takes at most. Whoever takes longer cannot write it, as somebody else may be at it."""


def make() -> KeyValue:
    """Make the report anew, unless somebody is about it.

    :raises StateConflict: when somebody else is, or it has taken too long; the report that is there stays.
    :raises StorageError: when the storage fails.
    """
    with state_manager.kv.lease(LEASE, LONGEST) as lease:
        figures = {
            "active users": state_manager.search_states(StateType.USER, status="active").count(),
            "purchases": state_manager.search_states(PURCHASE, status="completed").count(),
            "credits held": db.session.scalar(select(func.sum(Account.balance))) or 0,
        }
        return lease.set(LATEST, figures, "reports")


def latest() -> KeyValue | None:
    """Return the report that was made last.

    :raises StorageError: when the storage fails.
    """
    return state_manager.kv.get_entry(LATEST)
