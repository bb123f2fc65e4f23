"""What the verbs stand on: one app's bucket and the manager's definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.bucket import Bucket
from ..core.enqueues import Enqueues
from ..core.idempotency import Request, fingerprint
from ..core.names import check_text
from ..core.origins import OriginSource
from ..core.ports import Backend
from ..core.powers import Counts, JoinsTransaction, KeepsHistory, Searches
from ..core.record import Origin, Record
from ..errors import TransitionNotAllowed
from .definitions import Definitions

BUCKET = "state"
"""The bucket that holds the lifecycle states."""


MAX_KEY = 255
"""Characters of an idempotency key."""


class Call(Struct, frozen=True):
    """What every writing verb is told about its caller.

    :param verb: its name.
    :param actor: who asks.
    :param source: the part of the system that asks.
    :param reason: why.
    :param idempotency_key: the caller's key for a repeatable request.
    """

    verb: str
    actor: str | None = None
    source: str | None = None
    reason: str | None = None
    idempotency_key: str | None = None


class Parts(Struct, frozen=True):
    """One app's running parts, as the lifecycle verbs need them.

    :param bucket: the records.
    :param definitions: types, machines, validators.
    :param origin: who asks.
    :param searches: the backend, as one that searches.
    :param counts: the backend, as one that counts.
    :param history: the backend, as one that keeps history.
    :param refused: told of every refused transition: id, transition, error, actor.
    :param unserved: told of every search by what has no index: the type or None, and the paths.
    :param remembered: how long the answers to idempotent requests are kept.
    :param patience: for how many seconds a request waits for an earlier one with the same key.
    """

    bucket: Bucket
    definitions: Definitions
    origin: OriginSource
    searches: Searches
    counts: Counts
    history: KeepsHistory
    refused: Callable[[str, str, TransitionNotAllowed, str | None], None]
    unserved: Callable[[str | None, Sequence[str]], None]
    remembered: timedelta
    patience: float | None = None

    @property
    def backend(self) -> Backend:
        """Where the records live."""
        return self.bucket.backend

    @property
    def enqueues(self) -> Enqueues:
        """The backend, as one that keeps jobs.

        :raises ConfigurationError: when it cannot.
        """
        return self.bucket.jobs.keeping()

    @property
    def joins(self) -> JoinsTransaction | None:
        """The backend, as one that joins transactions; None where it cannot."""
        backend = self.bucket.backend
        return backend if isinstance(backend, JoinsTransaction) else None

    def asked(self, call: Call, arguments: Callable[[], dict[str, Any]]) -> tuple[Origin, Request | None]:
        """Return who asks, and what it is to be recognised by if it is asked again.

        :param call: what all writing verbs are told.
        :param arguments: returns everything else that the caller asks for; called only where there is a key.
        :raises StateValidationError: when actor, source, reason or key are no text.
        :raises LimitExceeded: when one of them is too long.
        :raises ConfigurationError: when the backend cannot remember requests.
        """
        origin = self.origin(actor=call.actor, source=call.source, reason=call.reason)
        if call.idempotency_key is None:
            return origin, None
        self.bucket.remembering()
        key = check_text(call.idempotency_key, "idempotency_key", MAX_KEY)
        given = {**arguments(), "source": call.source, "reason": call.reason}
        once = Request(origin.actor, call.verb, key, fingerprint(given), self.remembered, self.patience)
        return replace(origin, idempotency_key=key), once


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
