"""The verbs for many states: each is written as it would be alone, in chunks of one transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from typing import Any

from ..core.batch import Batch, Row, Shortcut
from ..core.idempotency import Request
from ..core.names import check_id, check_word
from ..errors import StateManagerError, StateValidationError, shown
from .bulk_items import ItemReader
from .bulk_run import BulkResult, Entry, Progress, Run, row_request
from .decisions import Update
from .parts import Call, Parts
from .query import StateQuery
from .rules import plain_ways
from .types import StateTransition, StateType
from .validation import Envelope, Lifetime, open_envelope

MAX_CHUNK = 5000
"""The most states of one transaction."""


class LifecycleBulk(ABC):
    """The verbs for many states.

    Each state is changed as :meth:`update_state` or :meth:`register_state` would change it: guards, validators, hooks,
    history, announcements, effects. One that is refused is reported and does not hurt the others. A chunk is one
    transaction, so that an interruption leaves whole chunks behind.
    """

    @abstractmethod
    def _parts(self) -> Parts:
        """Return the running parts of the present app."""

    def transition_many(
        self,
        targets: Iterable[str] | StateQuery,
        transition: str | StateTransition,
        data: dict[str, Any] | None = None,
        *,
        chunk: int = 500,
        progress: Progress | None = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> BulkResult:
        """Move many states along a transition.

        Without ``data``, where no schema, validator, hook or guard other than :meth:`Guard.where` looks at a state, the
        storage moves a chunk without loading it.

        :param targets: ids, or a search, which is made once, at the start.
        :param transition: a transition that the present status of each allows.
        :param data: bare data or an envelope, merged into each state as :meth:`update_state` does.
        :param chunk: how many states one transaction takes, at most 5000.
        :param progress: called after each chunk with the number of states changed, of states seen, and of all states
            (None where that is not known).
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction with all chunks.
        :param idempotency_key: do nothing to the states that the same call has changed before; each is remembered.
        :returns: how many were changed, and which were refused and why.
        :raises StateValidationError: when an argument is unusable; nothing is written then.
        :raises BulkInterrupted: when the storage fails; its ``result`` says what is committed. With ``session`` the
            storage's own error is raised.
        """
        parts = self._parts()
        limit = parts.bucket.policy.max_value_bytes
        update = Update(
            name="",
            definition=parts.definitions,
            envelope=open_envelope(data, limit, "data"),
            transition=check_word(transition, "transition"),
            mode="merge",
            lifetime=Lifetime(),
        )
        asked = {"transition": update.transition, "data": _given(update.envelope)}
        origin, once = parts.asked(Call("transition_many", actor, source, reason, idempotency_key), asked)
        only = targets.query.type if isinstance(targets, StateQuery) else None
        names = _names(parts, targets, session)
        shortcut = _shortcut(parts, update, only)
        batch = Batch(parts.bucket)
        run = Run(
            parts=parts,
            transition=update.transition,
            write=lambda rows: batch.write(rows, origin=origin, shortcut=shortcut, session=session),
            chunk=_chunk(chunk),
            progress=progress,
            total=len(names) if isinstance(names, Sized) else None,
            joined=session is not None,
        )
        return run.over(_targeted(names, update, once))

    def register_many(
        self,
        state_type: str | StateType,
        items: Iterable[dict[str, Any]],
        *,
        chunk: int = 500,
        progress: Progress | None = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> BulkResult:
        """Create many states of one type.

        :param state_type: a declared type.
        :param items: dicts with any of ``state_id``, ``data`` (or ``initial_data``), ``initial_status``, ``ttl``,
            ``expires_at``, ``owner``, each with the meaning that it has in :meth:`register_state`.
        :param chunk: how many states one transaction takes, at most 5000.
        :param progress: called after each chunk with the number of states created, of items seen, and of all items
            (None where that is not known).
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction with all chunks.
        :param idempotency_key: do not create again what the same call has created before; an item without an id is
            recognised by its place.
        :returns: the ids that were created, and which items were refused and why.
        :raises StateValidationError: when an argument is unusable; nothing is written then.
        :raises BulkInterrupted: when the storage fails; its ``result`` says what is committed. With ``session`` the
            storage's own error is raised.
        """
        parts = self._parts()
        definition = parts.definitions.get(state_type)
        if isinstance(items, dict | str | bytes) or not isinstance(items, Iterable):
            raise StateValidationError({"items": [f"Must be a list of dicts, not {shown(items)}."]})
        asked = {"type": definition.name}
        origin, once = parts.asked(Call("register_many", actor, source, reason, idempotency_key), asked)
        batch = Batch(parts.bucket)
        run = Run(
            parts=parts,
            transition="update",
            write=lambda rows: batch.write(rows, origin=origin, session=session),
            chunk=_chunk(chunk),
            progress=progress,
            total=len(items) if isinstance(items, Sized) else None,
            joined=session is not None,
            listing=True,
        )
        return run.over(ItemReader(definition, parts.bucket.policy.max_value_bytes, once).entries(items))


def _names(parts: Parts, targets: object, session: Any) -> Iterable[Any]:
    """Return the ids as the caller gave them, or those that a search finds now, in its order."""
    if isinstance(targets, StateQuery):
        with parts.bucket.reading(session) as unit:
            return Batch(parts.bucket).many.names(unit, targets.query)
    if isinstance(targets, str | bytes | dict) or not isinstance(targets, Iterable):
        raise StateValidationError({"targets": [f"Must be a list of state ids or a search, not {shown(targets)}."]})
    return targets


def _targeted(names: Iterable[Any], update: Update, once: Request | None) -> Iterator[Entry]:
    for index, given in enumerate(names):
        try:
            name = check_id(given)
        except StateManagerError as error:
            yield Entry(index, given if isinstance(given, str) else shown(given), None, error)
        else:
            yield Entry(index, name, Row(name, replace(update, name=name), row_request(once, name)))


def _shortcut(parts: Parts, update: Update, only: str | None) -> Shortcut | None:
    """Return what the storage may do by itself, or None when every state has to be looked at."""
    if update.envelope != Envelope():
        return None
    found = [parts.definitions.find(only)] if only is not None else list(parts.definitions.types.values())
    ways = plain_ways([definition for definition in found if definition is not None], update.transition)
    return Shortcut(ways, update.transition) if ways else None


def _given(envelope: Envelope) -> dict[str, Any]:
    return {name: getattr(envelope, name) for name in ("data", "metadata", "name", "type", "state_id")}


def _chunk(chunk: object) -> int:
    if isinstance(chunk, int) and not isinstance(chunk, bool) and 0 < chunk <= MAX_CHUNK:
        return chunk
    raise StateValidationError({"chunk": [f"Must be a number from 1 to {MAX_CHUNK:,}, not {shown(chunk)}."]})
