"""The verbs that read: one state, many states, the past, and what could come next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

from msgspec.structs import replace

from ..core.clock import in_utc
from ..core.entry import Entry
from ..core.names import check_id, check_prefix, check_text, check_word
from ..core.query import MAX_FILTERS, ChangeQuery, Query, parse_filters, parse_order
from ..core.record import Key, Record
from ..core.times import parse_times
from ..errors import LimitExceeded, StateNotFound, StateValidationError, shown
from .explaining import Explanation, explained
from .machine import Machine
from .parts import BUCKET, Parts
from .query import StateQuery
from .state import HistoryEntry, State
from .types import StateTransition, StateType
from .validation import MAX_TEXT

CACHED: Final = "cached"
STRONG: Final = "strong"
Consistency = Literal["cached", "strong"]
"""Whether the read cache may answer, or the database is asked."""


class LifecycleReads(ABC):
    """The reading verbs of the lifecycle face. With ``session`` they see what that transaction has written so far."""

    @abstractmethod
    def _parts(self) -> Parts:
        """Return the running parts of the present app."""

    def get_state(
        self,
        state_id: str,
        *,
        at: int | datetime | None = None,
        session: Any = None,
        consistency: Consistency = CACHED,
    ) -> State | None:
        """Return a state, or None when there is none.

        :param state_id: which state.
        :param at: as it was at this version, or at this moment (an aware datetime).
        :param session: read inside this session's transaction.
        :param consistency: ``cached`` takes the read cache's answer where there is one; ``strong`` asks the database.
        :raises StateValidationError: when the arguments are unusable.
        :raises StorageError: when the storage fails.
        """
        if at is not None:
            return self._state_at(state_id, at, session)
        bucket = self._parts().bucket
        if session is None and consistency == CACHED and isinstance(state_id, str):
            entry = bucket.glance(state_id)
            if entry is not None:
                return State(entry.fields())
        found = bucket.find(check_id(state_id), session, strong=_strong(consistency))
        return None if found is None else _state(found)

    def _state_at(self, state_id: str, at: int | datetime, session: Any) -> State | None:
        parts = self._parts()
        name = check_id(state_id)
        moment = at if isinstance(at, int) and not isinstance(at, bool) else in_utc(at, "at")  # type: ignore[arg-type]
        if isinstance(moment, int) and not 0 < moment < 2**63:
            return None
        with parts.bucket.reading(session) as unit:
            record = parts.history.record_at(unit, Key(BUCKET, name), moment)
        if record is None or record.deleted:
            return None
        return State.taking(parts.bucket.present(record, moment) if isinstance(moment, datetime) else record)

    def get_states(
        self, state_ids: Iterable[str], *, session: Any = None, consistency: Consistency = CACHED
    ) -> dict[str, State]:
        """Return several states at once, by id, in the order asked for; what there is not is left out.

        A thousand are read in one round trip to the cache, and what that lacks in one to the database.

        :param state_ids: which states; an id that comes twice counts once.
        :param session: read inside this session's transaction.
        :param consistency: as for :meth:`get_state`.
        :raises StateValidationError: when the arguments are unusable.
        :raises StorageError: when the storage fails.
        """
        if isinstance(state_ids, str) or not isinstance(state_ids, Iterable):
            raise StateValidationError({"state_ids": [f"Must be several ids, not {shown(state_ids)}: pass a list."]})
        names = list(dict.fromkeys(check_id(state_id) for state_id in state_ids))
        found = self._parts().bucket.find_many(names, session, strong=_strong(consistency))
        return {name: _state(found[name]) for name in names if name in found}

    def get_states_by_type(self, state_type: str | StateType, *, session: Any = None) -> StateQuery:
        """Return all states of a type, oldest first.

        :param state_type: a declared type.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the type is unknown.
        """
        return self.search_states(state_type, session=session)

    def search_states(
        self,
        state_type: str | StateType | None = None,
        filters: Mapping[str, Any] | None = None,
        *,
        status: str | Iterable[str] | None = None,
        owner: str | None = None,
        prefix: str = "",
        order_by: str | None = None,
        declared: bool = True,
        session: Any = None,
    ) -> StateQuery:
        """Search states; nothing is read before the result is looked at.

        :param state_type: only this type.
        :param filters: conditions on dotted paths below ``data`` and ``metadata``, all of which must hold, for example
            ``{"data.status": "active", "data.amount__gte": 10}``. Operators: ``__ne __gt __gte __lt __lte __in
            __contains __startswith __exists``. A condition matches values of its own JSON type; a missing path or
            another type satisfies only ``__ne`` and ``__exists=False``. ``created_at`` and ``updated_at`` take an aware
            datetime with ``__gt __gte __lt __lte``.
        :param status: only this status, or one of these.
        :param owner: only this owner's.
        :param prefix: only states whose ids begin so; with the order ``state_id`` no others are looked at.
        :param order_by: ``created_at`` (default), ``updated_at``, ``state_id``, ``version`` or ``revision``, with ``-``
            for descending.
        :param declared: whether the type must be a declared one; False finds states whose type is no longer one.
        :param session: read inside this session's transaction.
        :returns: a lazy, sliceable sequence.
        :raises StateValidationError: when type, filters, status, owner, prefix or order are unusable.
        """
        parts = self._parts()
        times, left = parse_times(filters)
        query = Query(
            bucket=BUCKET,
            now=parts.bucket.clock.now(),
            type=None if state_type is None else self._type_name(state_type, declared),
            statuses=None if status is None else _statuses(status),
            owner=None if owner is None else check_text(owner, "owner", MAX_TEXT),
            filters=parse_filters(left),
            times=times,
            order=parse_order(order_by),
            prefix=check_prefix(prefix),
        )

        def fresh(asked: Query) -> Query:
            return replace(asked, now=parts.bucket.clock.now(), lapses=parts.definitions.lapses)

        def search(asked: Query) -> list[Record]:
            if asked.filters:
                parts.unserved(asked.type, parts.searches.unserved(asked))
            with parts.bucket.reading(session) as unit:
                found = parts.searches.search(unit, asked)
            present = parts.bucket.present
            return [each if each.expires_at is None else present(each, asked.now) for each in found]

        def count(asked: Query, exact_to: int | None) -> int:
            if asked.filters:
                parts.unserved(asked.type, parts.searches.unserved(asked))
            with parts.bucket.reading(session) as unit:
                return parts.counts.count(unit, asked, exact_to=exact_to)

        return StateQuery(query, search=search, count=count, fresh=fresh)

    def _type_name(self, state_type: object, declared: bool) -> str:
        return self._parts().definitions.get(state_type).name if declared else check_word(state_type, "state_type")

    def get_state_history(
        self,
        state_id: str,
        limit: int | None = None,
        after: int | None = None,
        *,
        newest_first: bool = False,
        session: Any = None,
    ) -> list[HistoryEntry]:
        """Return the changes of a state, oldest first; a deleted state keeps its history.

        :param state_id: which state; an id that never was has an empty history.
        :param limit: the most entries.
        :param after: only entries behind this revision, in the order asked for.
        :param newest_first: turn the order round.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the arguments are unusable.
        :raises StorageError: when the storage fails.
        """
        behind, most = _number(after, "after"), _number(limit)
        query = ChangeQuery(BUCKET, _key(state_id), newest_first=newest_first, after=behind, limit=most)
        return self._changes(query, session)

    def get_recent_changes(
        self, state_id: str | None = None, limit: int = 10, *, session: Any = None
    ) -> list[HistoryEntry]:
        """Return the newest changes, newest first, of one state or of all.

        :param state_id: which state; None for all.
        :param limit: the most entries.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the arguments are unusable.
        :raises StorageError: when the storage fails.
        """
        key = None if state_id is None else _key(state_id)
        return self._changes(ChangeQuery(BUCKET, key, newest_first=True, limit=_number(limit)), session)

    def get_changes_by_transition(
        self,
        state_id: str | None,
        transition_type: str | StateTransition,
        limit: int | None = None,
        *,
        session: Any = None,
    ) -> list[HistoryEntry]:
        """Return the changes of one transition, oldest first.

        :param state_id: which state; None for all.
        :param transition_type: for example ``suspend``.
        :param limit: the most entries.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the arguments are unusable.
        :raises StorageError: when the storage fails.
        """
        key = None if state_id is None else _key(state_id)
        event = check_word(transition_type, "transition_type")
        return self._changes(ChangeQuery(BUCKET, key, event=event, limit=_number(limit)), session)

    def _changes(self, query: ChangeQuery, session: Any) -> list[HistoryEntry]:
        parts = self._parts()
        with parts.bucket.reading(session) as unit:
            return [HistoryEntry.taking(change) for change in parts.history.changes(unit, query)]

    def can(self, state_id: str, transition: str | StateTransition, *, session: Any = None) -> bool:
        """Tell whether a transition is possible now, its guards asked with the data as it is.

        :param state_id: which state.
        :param transition: the transition.
        :param session: read inside this session's transaction.
        :raises StateNotFound: when there is no such state.
        :raises StateValidationError: when the type has no such transition.
        :raises StorageError: when the storage fails.
        """
        return self.explain(state_id, transition, session=session).possible

    def explain(self, state_id: str, transition: str | StateTransition, *, session: Any = None) -> Explanation:
        """Tell whether a transition is possible now, and if not, which rule or guard refuses it and why.

        :param state_id: which state.
        :param transition: the transition.
        :param session: read inside this session's transaction.
        :raises StateNotFound: when there is no such state.
        :raises StateValidationError: when the type has no such transition.
        :raises StorageError: when the storage fails.
        """
        record, machine = self._found(state_id, session)
        return explained(record, machine, check_word(transition, "transition"))

    def explain_transitions(self, state_id: str, *, session: Any = None) -> list[Explanation]:
        """Explain every transition that the present status allows, as :meth:`explain` does, all of one version.

        :param state_id: which state.
        :param session: read inside this session's transaction.
        :raises StateNotFound: when there is no such state.
        :raises StorageError: when the storage fails.
        """
        record, machine = self._found(state_id, session)
        return [explained(record, machine, name) for name in machine.allowed(record.status)]

    def allowed_transitions(self, state_id: str, *, session: Any = None) -> list[str]:
        """Return the transitions that are possible now, guards asked.

        :param state_id: which state.
        :param session: read inside this session's transaction.
        :raises StateNotFound: when there is no such state.
        :raises StorageError: when the storage fails.
        """
        return [each.transition for each in self.explain_transitions(state_id, session=session) if each]

    def _found(self, state_id: str, session: Any) -> tuple[Record, Machine]:
        parts = self._parts()
        record = parts.bucket.get(check_id(state_id), session)
        if record is None:
            raise StateNotFound(state_id)
        return record, parts.definitions.get(record.type).machine


def _strong(consistency: str) -> bool:
    if consistency in (CACHED, STRONG):
        return consistency == STRONG
    raise StateValidationError({"consistency": [f"Must be {CACHED!r} or {STRONG!r}, not {shown(consistency)}."]})


def _state(found: Record | Entry) -> State:
    return State(found.fields()) if isinstance(found, Entry) else State.taking(found)


def _key(state_id: str) -> Key:
    return Key(BUCKET, check_id(state_id))


def _number(value: object, field: str = "limit") -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise StateValidationError({field: [f"Must be a number from 0 on, not {shown(value)}."]})


def _statuses(status: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(status, str) or not isinstance(status, Iterable):
        return (check_word(status, "status"),)
    found = tuple(check_word(value, "status") for value in islice(status, MAX_FILTERS + 1))
    if len(found) > MAX_FILTERS:
        raise LimitExceeded("The search", MAX_FILTERS, len(found), unit="statuses")
    return found
