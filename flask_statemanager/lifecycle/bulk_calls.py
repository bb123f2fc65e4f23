"""A repeatable call over many states: by what it and its states are recognised when it is made again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ..core.batch import Batch, Claim, Row
from ..core.codec import decode, encode
from ..core.idempotency import Request, fingerprint
from ..core.names import TimeOrderedIds
from ..core.query import Filter, Query
from ..errors import shown
from .decisions import Registration
from .parts import MAX_KEY
from .validation import Envelope

_ids = TimeOrderedIds()


class Entry(NamedTuple):
    """One thing of the input.

    :param place: its place in the input, from 0 on.
    :param state_id: how to name it in a refusal.
    :param row: what is to be written; None where the input is unusable.
    :param error: why it is unusable.
    """

    place: int
    state_id: str | None
    row: Row | None
    error: Exception | None = None


class RepeatableCall(Struct, frozen=True):
    """A call with an idempotency key, begun now or by an earlier attempt.

    :param request: the call.
    :param mark: by which its states are recognised; no other call has it, not even a later one under the same key.
    :param names: what its search has found; None where it has none.
    :param claim: remembers the call; None where it is remembered already.
    """

    request: Request
    mark: str
    names: list[str] | None
    claim: Claim | None

    @classmethod
    def begun(
        cls, batch: Batch, request: Request, session: Any, search: Callable[[], Iterable[str]] | None = None
    ) -> RepeatableCall:
        """Return the call as it is remembered, or a new one.

        :param batch: writes its states.
        :param request: the call.
        :param session: the session whose transaction it happens in, or None.
        :param search: finds the states, if the caller has not named them.
        :raises ConfigurationError: when the backend cannot remember outcomes, or cannot join a session.
        :raises IdempotencyKeyReused: when the key belongs to another call.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        outcome = batch.known(request, session)
        if outcome is not None:
            kept = decode(outcome)
            return cls(request, kept["mark"], kept["names"], None)
        mark, names = _ids.new(), None if search is None else list(search())
        return cls(request, mark, names, Claim(request, encode({"mark": mark, "names": names})))

    def recognised(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Give each row the request by which it is recognised: its id, which time it occurs, or its place without one.

        :param entries: the whole input, from its beginning.
        """
        times: Counter[str] = Counter()
        for entry in entries:
            row = entry.row
            if row is None:
                yield entry
                continue
            place = f"#{entry.place}" if entry.state_id is None else row.name
            times[place] += 1
            yield entry._replace(row=row._replace(once=self._request(place, times[place])))

    def _request(self, place: str, time: int) -> Request:
        key = f"{self.mark} {place}" if time == 1 else f"{self.mark} {place} {time}"
        return replace(self.request, key=key if len(key) <= MAX_KEY else hashlib.sha256(key.encode()).hexdigest())


def searched(query: Query) -> dict[str, Any]:
    """Return what a search asks for, by which a repetition of it is recognised; its moment is no part of that.

    :param query: the search.
    """
    return {
        "type": query.type,
        "statuses": None if query.statuses is None else sorted(set(query.statuses)),
        "owner": query.owner,
        "filters": sorted(_condition(each) for each in query.filters),
        "times": sorted([each.column, each.operator, each.at] for each in query.times),
        "order": [query.order.by, query.order.descending],
        **({"prefix": query.prefix} if query.prefix else {}),
    }


def listed(entries: Iterable[Entry]) -> list[Any]:
    """Return what items of a registration ask for, by which a repetition of them is recognised.

    :param entries: the items, read.
    """
    return [_item(entry) for entry in entries]


def enveloped(envelope: Envelope) -> dict[str, Any]:
    """Return what an envelope asks for.

    :param envelope: a caller's input, taken apart.
    """
    return {name: getattr(envelope, name) for name in ("data", "metadata", "name", "type", "state_id")}


def _condition(condition: Filter) -> str:
    """Digest a condition; the values of an ``in`` have no order, as they may come from a set."""
    value = condition.value
    if condition.operator == "in":
        value = sorted({fingerprint({"value": each}) for each in value})
    return fingerprint({"path": [condition.root, *condition.path], "operator": condition.operator, "value": value})


def _item(entry: Entry) -> dict[str, Any]:
    if entry.row is None:
        return {"state_id": entry.state_id, "unusable": str(entry.error)}
    decide = entry.row.decide
    assert isinstance(decide, Registration), "items are registrations"
    lifetime = decide.lifetime
    return {
        "id": entry.state_id,
        **enveloped(decide.envelope),
        "status": decide.initial_status,
        "owner": decide.owner,
        "ttl": _span(lifetime.ttl),
        "expires_at": _span(lifetime.expires_at),
    }


def _span(value: object) -> object:
    # Whether it is a moment at all is decided with the state; until then it may be anything.
    return value if isinstance(value, int | float | timedelta | datetime) else None if value is None else shown(value)
