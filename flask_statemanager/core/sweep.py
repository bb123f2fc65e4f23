"""The sweep: writing down what has expired, although nobody asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..errors import StorageError
from .bucket import Bucket
from .powers import Expires
from .query import Lapse, Query
from .record import Origin

logger = logging.getLogger("flask_statemanager.effects")

BATCH = 100
"""How many records one sweep expires, so that other work gets its turn."""

PATIENCE = 300.0
"""Seconds before a record is tried again whose expiry something refuses."""

_ORIGIN = Origin("system", "expiry")


class ExpirySweep:
    """Expires records past their ``expires_at``, one change for each, whoever sweeps.

    :param bucket: the records.
    :param lapses: returns the rules by which they expire.
    :param expires: the backend, as one that finds what is due.
    """

    def __init__(self, bucket: Bucket, lapses: Callable[[], tuple[Lapse, ...]], expires: Expires) -> None:
        self._bucket = bucket
        self._lapses = lapses
        self._expires = expires
        self._refused: dict[str, float] = {}

    def run(self) -> bool:
        """Sweep: one batch of records.

        :returns: whether there is more to sweep at once.
        :raises StorageError: when the storage fails; what was written before stays.
        """
        names = self._due()
        expired = [name for name in names if self._expired(name)]
        # Without any progress others are sweeping, and the next look is early enough.
        return len(names) == BATCH and (bool(expired) or any(name in self._refused for name in names))

    def _due(self) -> list[str]:
        """Return the longest due, without those that were refused a short while ago."""
        now = time.monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        query = Query(
            self._bucket.name,
            self._bucket.clock.now(),
            lapses=self._lapses(),
            limit=BATCH + len(self._refused),
        )
        with self._bucket.backend.reading() as unit:
            found = self._expires.due(unit, query)
        return [key.name for key in found if key.name not in self._refused][:BATCH]

    def _expired(self, name: str) -> bool:
        try:
            return self._bucket.expire(name, _ORIGIN)
        except StorageError:
            raise
        except (Exception, SystemExit):  # a hook that ends the program would end every worker that sweeps
            logger.exception("The expiry of %s was refused; it is tried again later.", name)
            self._refused[name] = time.monotonic() + PATIENCE
            return False
