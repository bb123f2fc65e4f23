"""What the verbs stand on: one app's bucket and the manager's definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from ..core.bucket import Bucket
from ..core.ports import Backend, Counts, KeepsHistory, Searches
from ..core.record import Origin, Record
from ..errors import TransitionNotAllowed
from .definitions import Definitions

BUCKET = "state"
"""The bucket that holds the lifecycle states."""


class OriginSource(Protocol):
    """Fills in who asks, from the surroundings, where the caller did not say."""

    def __call__(self, *, actor: str | None, source: str | None, reason: str | None) -> Origin:
        """Return the origin of a write.

        :param actor: as the caller said.
        :param source: as the caller said.
        :param reason: as the caller said.
        """
        ...  # pragma: no cover - a protocol has no body


@dataclass(frozen=True, slots=True)
class Parts:
    """One app's running parts, as the lifecycle verbs need them.

    :param bucket: the records.
    :param definitions: types, machines, validators.
    :param origin: who asks.
    :param searches: the backend, as one that searches.
    :param counts: the backend, as one that counts.
    :param history: the backend, as one that keeps history.
    :param refused: told of every refused transition: id, transition, error.
    """

    bucket: Bucket
    definitions: Definitions
    origin: OriginSource
    searches: Searches
    counts: Counts
    history: KeepsHistory
    refused: Callable[[str, str, TransitionNotAllowed], None]

    @property
    def backend(self) -> Backend:
        """Where the records live."""
        return self.bucket.backend


def lapse_by(definitions: Definitions) -> Callable[[Record, datetime], Record | None]:
    """Return the rule of the lifecycle bucket: past ``expires_at`` a state counts as the target of ``expire``.

    :param definitions: the declared types.
    """

    def lapse(record: Record, now: datetime) -> Record | None:
        if record.expires_at is None or record.expires_at > now:
            return None
        definition = definitions.find(record.type)
        target = None if definition is None else definition.machine.lapses.get(record.status)
        return None if target is None or target == record.status else replace(record, status=target)

    return lapse
