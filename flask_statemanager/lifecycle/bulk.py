"""The verbs for many states: each is written as it would be alone, in chunks of one transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import Any

from ..core.batch import Answers, Batch, Claim, Row, Shortcut
from ..core.names import check_id, check_word
from ..errors import StateManagerError, StateValidationError, shown
from .bulk_calls import Entry, RepeatableCall, enveloped, listed, searched
from .bulk_items import ItemReader
from .bulk_run import BulkResult, Input, Progress, Run
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
        chunk: int = 2000,
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
        :param idempotency_key: make the call repeatable: it changes nothing twice, and a search is not made again. The
            key belongs to this call, its targets, transition and data, from the first change on. Needs all ids at once.
        :returns: how many were changed, and which were refused and why.
        :raises StateValidationError: when an argument is unusable; nothing is written then.
        :raises LimitExceeded: when ``data``, ``actor``, ``source``, ``reason`` or the key is too large; likewise.
        :raises IdempotencyKeyReused: when the key belongs to another call; likewise.
        :raises ConfigurationError: when the backend cannot do this, cannot remember calls or cannot join ``session``.
        :raises BulkInterrupted: when the storage fails, or racers won every attempt at a chunk, or the iterable or
            ``progress`` raises behind the first chunk; its ``result`` says what is committed. Inside somebody else's
            transaction, ``session`` for example, the error itself is raised.
        :raises StateConflict: when racers won every attempt before the first chunk, or inside such a transaction.
        :raises StorageError: when the storage fails then.
        """
        parts = self._parts()
        batch = Batch(parts.bucket)
        update = Update(
            name="",
            definition=parts.definitions,
            envelope=open_envelope(data, parts.bucket.policy.max_value_bytes, "data"),
            transition=check_word(transition, "transition"),
            mode="merge",
            lifetime=Lifetime(),
        )
        run = Run(parts, update.transition, _chunk(chunk), _progress(progress), joined=batch.joins(session))
        meant = _targets(targets, whole=idempotency_key is not None)
        asked = {"transition": update.transition, "data": enveloped(update.envelope), **_asked(meant)}
        origin, once = parts.asked(Call("transition_many", actor, source, reason, idempotency_key), lambda: asked)
        run.actor = origin.actor
        shortcut = _shortcut(parts, update, meant)

        def given() -> Input:
            find = partial(_found, batch, meant, session)
            search = find if isinstance(meant, StateQuery) else None
            call = None if once is None else RepeatableCall.begun(batch, once, session, search)
            names = find() if call is None or call.names is None else call.names
            return _input(_targeted(names, update), names, call)

        def write(rows: Sequence[Row], claim: Claim | None) -> Answers | None:
            return batch.write(rows, origin=origin, shortcut=shortcut, claim=claim, session=session)

        return run.over(given, write)

    def register_many(
        self,
        state_type: str | StateType,
        items: Iterable[dict[str, Any]],
        *,
        chunk: int = 2000,
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
        :param idempotency_key: make the call repeatable: it creates nothing twice. An item without an id is recognised
            by its place. The key belongs to this call, its type and items, from the first creation on. Needs all items
            at once.
        :returns: the ids that were created, and which items were refused and why.
        :raises StateValidationError: when an argument is unusable; nothing is written then.
        :raises LimitExceeded: when ``actor``, ``source``, ``reason`` or the key is too long; likewise.
        :raises IdempotencyKeyReused: when the key belongs to another call; likewise.
        :raises ConfigurationError: when the backend cannot do this, cannot remember calls or cannot join ``session``.
        :raises BulkInterrupted: when the storage fails, or racers won every attempt at a chunk, or the iterable or
            ``progress`` raises behind the first chunk; its ``result`` says what is committed. Inside somebody else's
            transaction, ``session`` for example, the error itself is raised.
        :raises StateConflict: when racers won every attempt before the first chunk, or inside such a transaction.
        :raises StorageError: when the storage fails then.
        """
        parts = self._parts()
        definition = parts.definitions.get(state_type)
        if isinstance(items, dict | str | bytes) or not isinstance(items, Iterable):
            raise StateValidationError({"items": [f"Must be a list of dicts, not {shown(items)}."]})
        batch = Batch(parts.bucket)
        run = Run(parts, "update", _chunk(chunk), _progress(progress), joined=batch.joins(session), listing=True)
        entries: Iterable[Entry] = ItemReader(definition, parts.bucket.policy.max_value_bytes).entries(items)
        asked: dict[str, Any] = {"type": definition.name}
        if idempotency_key is not None:
            entries = list(entries)
            asked["items"] = listed(entries)
        counted = entries if isinstance(entries, list) else items
        origin, once = parts.asked(Call("register_many", actor, source, reason, idempotency_key), lambda: asked)
        run.actor = origin.actor

        def given() -> Input:
            return _input(entries, counted, None if once is None else RepeatableCall.begun(batch, once, session))

        def write(rows: Sequence[Row], claim: Claim | None) -> Answers | None:
            return batch.write(rows, origin=origin, claim=claim, session=session)

        return run.over(given, write)


def _targets(targets: object, *, whole: bool) -> Iterable[Any] | StateQuery:
    """Return the targets as the caller gave them; ids all at once where they are part of what is asked."""
    if isinstance(targets, StateQuery):
        return targets
    if isinstance(targets, str | bytes | dict) or not isinstance(targets, Iterable):
        raise StateValidationError({"targets": [f"Must be a list of state ids or a search, not {shown(targets)}."]})
    return list(targets) if whole else targets


def _asked(targets: Iterable[Any] | StateQuery) -> dict[str, Any]:
    if isinstance(targets, StateQuery):
        return {"search": searched(targets.query)}
    # What is no list has no key to be recognised by, and may be read only once.
    return {"ids": targets} if isinstance(targets, list) else {}


def _found(batch: Batch, targets: Iterable[Any] | StateQuery, session: Any) -> Iterable[Any]:
    """Return the ids as the caller gave them, or those that a search finds now, in its order."""
    if not isinstance(targets, StateQuery):
        return targets
    with batch.bucket.reading(session) as unit:
        return batch.many.names(unit, targets.query)


def _targeted(names: Iterable[Any], update: Update) -> Iterator[Entry]:
    rest = update.definition, update.envelope, update.transition, update.mode, update.lifetime, update.owner
    for index, given in enumerate(names):
        try:
            name = check_id(given)
        except StateManagerError as error:
            yield Entry(index, given if isinstance(given, str) else shown(given), None, error)
        else:
            decide = Update(name, *rest)
            yield Entry(index, name, Row(name, decide))


def _input(entries: Iterable[Entry], source: object, call: RepeatableCall | None) -> Input:
    total = len(source) if isinstance(source, Sized) else None
    return Input(entries, total) if call is None else Input(call.recognised(entries), total, call.claim)


def _shortcut(parts: Parts, update: Update, targets: object) -> Shortcut | None:
    """Return what the storage may do by itself, or None when every state has to be looked at."""
    if update.envelope != Envelope():
        return None
    only = targets.query.type if isinstance(targets, StateQuery) else None
    found = [parts.definitions.find(only)] if only is not None else list(parts.definitions.types.values())
    ways = plain_ways([definition for definition in found if definition is not None], update.transition)
    return Shortcut(ways, update.transition) if ways else None


def _chunk(chunk: object) -> int:
    if isinstance(chunk, int) and not isinstance(chunk, bool) and 0 < chunk <= MAX_CHUNK:
        return chunk
    raise StateValidationError({"chunk": [f"Must be a number from 1 to {MAX_CHUNK:,}, not {shown(chunk)}."]})


def _progress(progress: Progress | None) -> Progress | None:
    if progress is None or callable(progress):
        return progress
    raise StateValidationError({"progress": [f"Must be a function of three numbers, not {shown(progress)}."]})
