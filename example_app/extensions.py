"""The extension objects, made once and bound to an app by the factory; and the transaction that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask_caching import Cache
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_statemanager import StateManager

from .clock import clock


class Base(DeclarativeBase):
    """The root of the application's models."""


db = SQLAlchemy(model_class=Base)
cache = Cache()
state_manager = StateManager()
state_manager.use_clock(clock)
# The notes of requests and sessions are keys, too, whose past nobody asks for after a month.
state_manager.define_bucket("kv", history=30 * 86_400)


@contextmanager
def unit_of_work() -> Iterator[None]:
    """Write rows and states in one transaction: all of them are committed at the end of the block, or none.

    :raises Exception: whatever the block raises, after the rollback.
    """
    try:
        with state_manager.transaction(db.session):
            yield
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise
