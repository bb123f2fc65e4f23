"""The verbs that write: register, update, delete, roll back. Written once, for the manager and for one app's face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from ..core.clock import in_utc
from ..core.names import TimeOrderedIds, check_id, check_text, check_word
from ..core.ports import UNSEEN
from ..core.record import Expectation, Key, Record, Revision
from ..core.step import Lookup
from ..errors import StateValidationError, TransitionNotAllowed, shown
from .decisions import Registration, Update
from .parts import BUCKET, Call, Parts
from .restoring import Restoring
from .state import State
from .types import DELETE, ROLLBACK, StateTransition, StateType
from .validation import MAX_TEXT, Lifetime, open_envelope

IfExists = Literal["error", "ignore", "update"]
Mode = Literal["merge", "replace"]

_ids = TimeOrderedIds()


class LifecycleWrites(ABC):
    """The writing verbs of the lifecycle face.

    Arguments that all of them share: ``expect`` is the version that must be stored, or a :class:`Revision`;
    ``actor``, ``source`` and ``reason`` go into the history (by default from the request, else the CLI user or
    ``system``); ``session`` puts the write into that session's transaction, which its owner commits. Without
    ``session`` the write is committed when the call returns. ``idempotency_key`` (at most 255 characters) makes a call
    repeatable: the same actor's same call under the same key changes nothing more and gets the same answer, for as long
    as ``STATEMANAGER_IDEMPOTENCY_TTL`` says; with other arguments it raises :class:`IdempotencyKeyReused`.
    """

    @abstractmethod
    def _parts(self) -> Parts:
        """Return the running parts of the present app."""

    def register_state(
        self,
        state_id: str | None,
        state_type: str | StateType,
        initial_data: dict[str, Any] | None = None,
        *,
        initial_status: str | None = None,
        ttl: float | timedelta | None = None,
        expires_at: datetime | None = None,
        owner: str | None = None,
        if_exists: IfExists = "error",
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> State:
        """Create a state.

        :param state_id: 1 to 255 ASCII characters, letters, digits and ``._:@/+=~-``, no leading or trailing slash, no
            empty, ``.`` or ``..`` segment; None makes a time-ordered UUID.
        :param state_type: a declared type.
        :param initial_data: bare data, or an envelope ``{"name": ..., "data": {...}, "metadata": {...}}``. A null is
            kept as a value.
        :param initial_status: one of the machine's initial statuses; its first by default.
        :param ttl: seconds (or a timedelta) until it expires.
        :param expires_at: when it expires, an aware datetime; not together with ``ttl``.
        :param owner: whose it is, at most 255 characters.
        :param if_exists: what to do when a live state of this type has the id: raise, return it as it is, or merge
            ``initial_data`` into it with the transition ``update``.
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: the state as it is stored.
        :raises StateExists: when the id is taken.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when the input is unusable, or the type's schema or a validator refuses it.
        :raises LimitExceeded: when the data is too large, or actor, source, reason or key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises ConfigurationError: when ``session`` is no session of this database, or the backend cannot join one or
            remember requests.
        :raises StorageError: when the storage fails; nothing is written then.
        """
        parts = self._parts()
        name = _ids.new() if state_id is None else check_id(state_id)
        _check_word(if_exists, "if_exists", ("error", "ignore", "update"))
        decide = Registration(
            key=Key(BUCKET, name),
            definition=parts.definitions.get(state_type),
            envelope=open_envelope(initial_data, parts.bucket.policy.max_value_bytes, "initial_data"),
            initial_status=None if initial_status is None else check_word(initial_status, "initial_status"),
            lifetime=Lifetime(ttl, expires_at),
            owner=_owner(owner),
            if_exists=if_exists,
        )
        asked = {"state_id": state_id, "if_exists": if_exists}
        call = Call("register_state", actor, source, reason, idempotency_key)
        origin, once = parts.asked(call, lambda: {**asked, **_given(decide)})
        seen = None if if_exists == "error" else UNSEEN
        write = partial(parts.bucket.write, name, decide, origin=origin, session=session, once=once, seen=seen)
        return _written(parts, name, "update", write, origin.actor)

    def update_state(
        self,
        state_id: str,
        new_data: dict[str, Any] | None = None,
        transition: str | StateTransition = StateTransition.UPDATE,
        *,
        mode: Mode = "merge",
        expect: Expectation = None,
        ttl: float | timedelta | None = None,
        expires_at: datetime | None = None,
        owner: str | None = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> State:
        """Move a state along a transition, with or without new data.

        :param state_id: which state.
        :param new_data: bare data or an envelope, as in :meth:`register_state`.
        :param transition: a transition that the present status allows.
        :param mode: ``merge`` applies data and metadata as JSON Merge Patches (RFC 7396: objects nest, null removes);
            ``replace`` puts them in place of the old, the metadata only if given.
        :param expect: the version or revision that must be stored.
        :param ttl: seconds (or a timedelta) until it expires, from now on.
        :param expires_at: when it expires, an aware datetime.
        :param owner: a new owner.
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: the state as it is stored; after a deletion the last one, with status ``deleted``.
        :raises StateNotFound: when there is no such state.
        :raises TransitionNotAllowed: when the status has no such transition; GuardFailed when a guard refuses.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when the input is unusable, or the type's schema or a validator refuses it.
        :raises LimitExceeded: when the data is too large, or actor, source, reason or key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises ConfigurationError: when ``session`` is no session of this database, or the backend cannot join one or
            remember requests.
        :raises StorageError: when the storage fails.
        """
        call = Call("update_state", actor, source, reason, idempotency_key)
        return self._update(
            call,
            state_id,
            new_data,
            transition,
            mode,
            expect=expect,
            lifetime=Lifetime(ttl, expires_at),
            owner=owner,
            session=session,
        )

    def _update(
        self,
        call: Call,
        state_id: str,
        new_data: dict[str, Any] | None,
        transition: str | StateTransition,
        mode: str,
        *,
        expect: Expectation,
        lifetime: Lifetime,
        owner: str | None,
        session: Any,
    ) -> State:
        parts = self._parts()
        name = check_id(state_id)
        _check_word(mode, "mode", ("merge", "replace"))
        decide = Update(
            name=name,
            definition=parts.definitions,
            envelope=open_envelope(new_data, parts.bucket.policy.max_value_bytes, "new_data"),
            transition=check_word(transition, "transition"),
            mode=mode,
            lifetime=lifetime,
            owner=_owner(owner),
        )
        wanted = _expectation(expect)
        asked = {"state_id": name, "mode": mode, "expect": wanted}
        origin, once = parts.asked(call, lambda: {**asked, **_given(decide)})
        write = partial(parts.bucket.write, name, decide, origin=origin, expect=wanted, session=session, once=once)
        return _written(parts, name, decide.transition, write, origin.actor)

    def delete_state(
        self,
        state_id: str,
        *,
        expect: Expectation = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> State:
        """Delete a state. A tombstone stays, so that history and version go on when the id is registered again.

        :param state_id: which state.
        :param expect: the version or revision that must be stored.
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: the last state, with status ``deleted``.
        :raises StateNotFound: when there is no such state.
        :raises TransitionNotAllowed: when its machine does not let this status be deleted; GuardFailed when a guard
            refuses.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when the arguments are unusable.
        :raises LimitExceeded: when actor, source, reason or key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises ConfigurationError: when ``session`` is no session of this database, or the backend cannot join one or
            remember requests.
        :raises StorageError: when the storage fails.
        """
        call = Call("delete_state", actor, source, reason, idempotency_key)
        return self._update(
            call, state_id, None, DELETE, "merge", expect=expect, lifetime=Lifetime(), owner=None, session=session
        )

    def rollback_state(
        self,
        state_id: str,
        to_version: int | None = None,
        *,
        at: datetime | None = None,
        undelete: bool = False,
        expect: Expectation = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> State:
        """Go back by going on: append a version that restores an earlier one.

        Name, data, metadata and status are restored, owner and expiry stay. The old data goes through today's schema
        and validators.

        :param state_id: which state.
        :param to_version: the version to restore.
        :param at: or the moment whose state to restore, an aware datetime.
        :param undelete: let a deleted state come back.
        :param expect: the version or revision that must be stored now.
        :param actor: who asks.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: the state as it is stored.
        :raises StateNotFound: when there is no such state or version, or it is deleted.
        :raises TransitionNotAllowed: when the machine no longer has that status, or the present one is final.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when the arguments are unusable, or the old data is not acceptable any more.
        :raises LimitExceeded: when the old data is too large, or actor, source, reason or key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises ConfigurationError: when ``session`` is no session of this database, or the backend cannot join one or
            remember requests.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        name = check_id(state_id)
        if (to_version is None) == (at is None):
            raise StateValidationError({"to_version": ["Give either to_version or at."]})
        position = in_utc(at, "at") if at is not None else _version(to_version, "to_version")
        decide = Lookup(Restoring(parts, Key(BUCKET, name), position, undelete))
        wanted = _expectation(expect)
        asked = {"state_id": name, "position": position, "undelete": undelete, "expect": wanted}
        origin, once = parts.asked(Call("rollback_state", actor, source, reason, idempotency_key), lambda: asked)
        write = partial(parts.bucket.write, name, decide, origin=origin, expect=wanted, session=session, once=once)
        return _written(parts, name, ROLLBACK, write, origin.actor)


def _written(parts: Parts, name: str, transition: str, write: Callable[[], Record | None], actor: str) -> State:
    """Run a write, tell of a refused transition, and present the result."""
    try:
        record = write()
    except TransitionNotAllowed as error:
        parts.refused(name, transition, error, actor)
        raise
    assert record is not None, "every decision of this face leaves a record"
    return State.of(record)


def _given(decide: Registration | Update) -> dict[str, Any]:
    """Return what a caller gave beside the verb's own arguments, by which a repetition is recognised."""
    envelope, lifetime = decide.envelope, decide.lifetime
    if isinstance(decide, Registration):
        verb = {"type": decide.definition.name, "status": decide.initial_status}
    else:
        verb = {"transition": decide.transition}
    return {
        **verb,
        "data": envelope.data,
        "metadata": envelope.metadata,
        "name": envelope.name,
        "ttl": lifetime.ttl,
        "expires_at": lifetime.expires_at,
        "owner": decide.owner,
    }


def _check_word(value: object, field: str, known: tuple[str, ...]) -> None:
    if value not in known:
        *most, last = map(repr, known)
        raise StateValidationError({field: [f"{shown(value)} is unknown: use {', '.join(most)} or {last}."]})


def _owner(owner: str | None) -> str | None:
    return None if owner is None else check_text(owner, "owner", MAX_TEXT)


def _version(value: object, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return value
    raise StateValidationError({field: [f"Must be a version, a positive integer, not {shown(value)}."]})


def _expectation(expect: object) -> Expectation:
    if expect is None or isinstance(expect, Revision):
        return expect
    return _version(expect, "expect")
