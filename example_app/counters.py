"""What is counted: attempts within a window of time, for limits, and visits by day. All processes count together."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta

from werkzeug.exceptions import TooManyRequests

from flask_statemanager.kv.store import KeyValueStore

from .clock import clock
from .extensions import state_manager

BUCKET = "counters"
LOGIN_ATTEMPTS, LOGIN_WINDOW = 10, 300.0
"""How many attempts to log in one address has for one login, in how many seconds."""

API_WINDOW = 60.0
KEPT = timedelta(days=8)

# Counters change all the time, and nobody asks what they were.
state_manager.define_bucket(BUCKET, history=600, tombstones=600)


def limit(what: str, who: str, *, most: int, window: float) -> None:
    """Count an attempt, or refuse it because there were too many.

    :param what: what is attempted.
    :param who: by whom; only a hash of it is stored.
    :param most: how many attempts a window has.
    :param window: its seconds.
    :raises werkzeug.exceptions.TooManyRequests: when it is used up; it says when the next one begins.
    :raises StorageError: when the storage fails.
    """
    counter = _counters().counter(f"{what}:{_digest(who)}", limit=most, window=window)
    if counter.hit():
        return
    end = counter.resets_at()
    seconds = 1 if end is None else max(1, math.ceil((end - clock.now()).total_seconds()))
    raise TooManyRequests(f"That was too often: try again in {seconds} seconds.", retry_after=seconds)


def count_visit() -> None:
    """Count that somebody has opened a page.

    :raises StorageError: when the storage fails.
    """
    _counters().increment(_day(0), ttl=KEPT)


def visits() -> list[int]:
    """Return how many pages were opened on each of the last seven days, today first.

    :raises StorageError: when the storage fails.
    """
    days = [_day(ago) for ago in range(7)]
    found = _counters().get_many(days)
    return [int(found.get(day, 0)) for day in days]


def _counters() -> KeyValueStore:
    return state_manager.bucket(BUCKET).kv


def _day(ago: int) -> str:
    return f"visits:{clock.now() - timedelta(days=ago):%Y-%m-%d}"


def _digest(who: str) -> str:
    return hashlib.sha256(who.encode()).hexdigest()[:32]
