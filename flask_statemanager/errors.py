"""The errors of Flask-StateManager, one tree.

::

    StateManagerError
    ├── ConfigurationError          the application is set up wrongly
    ├── StorageError                the database answered with an error
    │   ├── StorageUnavailable      it cannot be reached
    │   ├── StorageTimeout          it is reached, and too slow or locked
    │   │   └── RequestInProgress   an earlier request with the same idempotency key has not ended yet
    │   └── BulkInterrupted         in the middle of many states; says what is committed
    ├── StateNotFound               also a LookupError
    ├── StateExists
    ├── StateConflict               somebody else wrote first
    ├── IdempotencyKeyReused        the key belongs to another request
    ├── StateValidationError        also a ValueError; errors per field
    ├── TransitionNotAllowed        the status has no such way out
    │   └── GuardFailed             it has one, and a guard refuses it
    ├── LimitExceeded               a value is larger than the settings allow
    ├── Compacted                   the log does not reach back as far as the cursor
    ├── SnapshotNotFound            also a LookupError; no such snapshot
    ├── SnapshotDamaged             it is not what was written; nothing was restored
    ├── SnapshotInUse               later snapshots stand on it
    ├── JobNotFound                 also a LookupError; no such effect or timer
    ├── ResponsibilityBreach        a component of a flow does what it is not for
    └── PermanentFailure            raised by a durable effect that must not be tried again

Every error carries its data as attributes and one sentence that says what to do.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence


def shown(value: object) -> str:
    """Write a caller's value for an error message: short, printable, whatever it is.

    :param value: anything.
    :returns: at most 80 ASCII characters.
    """
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001 - a huge integer, or an object whose repr fails in its own way
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


class StateManagerError(Exception):
    """The root of every error that this package raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled as what it is, not made again from its sentence: other processes get it whole.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigurationError(StateManagerError):
    """The application is put together in a way that cannot work."""


class StorageError(StateManagerError):
    """The storage refused or failed; the driver's error is the ``__cause__``."""


class StorageUnavailable(StorageError):
    """The storage cannot be reached; nothing was written, or the outcome of the commit is unknown."""


class StorageTimeout(StorageError):
    """The storage was too slow or locked by somebody else; nothing was written."""


class RequestInProgress(StorageTimeout):
    """A request with the same idempotency key has not come to an end yet; this one has done nothing.

    :param key: the key.
    :param verb: the verb that it is used with.
    """

    def __init__(self, key: str, verb: str) -> None:
        super().__init__(
            f"A request to {verb}() with the idempotency key {key!r} is under way: wait for its answer, or repeat the "
            "request in a moment to get the same."
        )
        self.key = key
        self.verb = verb


class BulkInterrupted(StorageError):
    """The work on many states ended in the middle; the ``__cause__`` says why.

    :param result: what was committed before that, as the verb would have returned it.
    :param done: how many states that are.
    """

    def __init__(self, result: object, done: int) -> None:
        super().__init__(
            f"Interrupted after {done:,} states, which stay changed: call it again for the others. With the "
            "idempotency_key of this call the same arguments do it, and nothing is done twice."
        )
        self.result = result
        self.done = done


class StateNotFound(StateManagerError, LookupError):
    """There is no live state under this id.

    :param state_id: the id that was asked for.
    :param at: the version or moment in the past that was asked for; None for the present.
    :param kind: what there is none of: ``state``, ``key``, or what else the application makes itself.
    """

    def __init__(self, state_id: str, *, at: object = None, kind: str = "state") -> None:
        cure = "check the id, or register it first with register_state()"
        if kind == "key":
            cure = "check the key, or set() it first"
        elif kind != "state":
            cure = "check the name, or look whether it has ended meanwhile"
        elif at is not None:
            cure = f"nothing is on record for {at}; get_state_history() lists what is"
        super().__init__(f"There is no {kind} {state_id!r}: {cure}.")
        self.state_id = state_id


class StateExists(StateManagerError):
    """A live state has this id already.

    :param state_id: the id in question.
    :param type: the type of the state that has it; None for a key with a value.
    """

    def __init__(self, state_id: str, type: str | None) -> None:  # noqa: A002 - the field's standard name
        if type is None:
            super().__init__(f"The key {state_id!r} exists already: choose another one, or set() it.")
        else:
            super().__init__(
                f"A state {state_id!r} of type {type!r} exists already: choose another id, or pass "
                "if_exists='ignore' or 'update' (both need the same type)."
            )
        self.state_id = state_id
        self.type = type


class StateConflict(StateManagerError):
    """Somebody else changed the state between the caller's reading and writing.

    :param key: which record, as text (``bucket:name``).
    :param expected: what the caller expected: a version, a ``Revision``, or None for no expectation.
    :param actual: the version that is stored now; None where there is none or it is not known.
    """

    def __init__(self, key: object, expected: object, actual: int | None) -> None:
        seen = "" if expected is None and actual is None else f" (expected {expected!r}, stored is version {actual!r})"
        super().__init__(f"{key} was changed by somebody else{seen}: read it again, decide again, write again.")
        self.key = key
        self.expected = expected
        self.actual = actual


class IdempotencyKeyReused(StateManagerError):
    """The idempotency key was used for another request; nothing was written.

    :param key: the key.
    :param verb: the verb that it was used with.
    """

    def __init__(self, key: str, verb: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} belongs to another request to {verb}(): repeat a request with exactly the "
            "same arguments, and give a new request a new key."
        )
        self.key = key
        self.verb = verb


class StateValidationError(StateManagerError, ValueError):
    """The input is not acceptable; nothing was written.

    :param errors: messages per field, a field being a dotted path such as ``data.email``.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors: dict[str, list[str]] = {field: list(messages) for field, messages in errors.items()}
        listed = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in self.errors.items())
        super().__init__(listed or "The input is not acceptable.")


class TransitionNotAllowed(StateManagerError):
    """The present status does not allow this transition.

    :param transition: the transition that was asked for.
    :param status: the present status.
    :param allowed: the transitions that this status allows.
    :param reason: a sentence that replaces the usual explanation.
    :param version: the version that was looked at; None where the application raised the error itself.
    """

    def __init__(
        self,
        transition: str,
        status: str,
        allowed: Sequence[str],
        *,
        reason: str | None = None,
        version: int | None = None,
    ) -> None:
        listed = ", ".join(allowed) or "none"
        why = reason or f"The status {status!r} does not allow the transition {transition!r}"
        super().__init__(f"{why} (allowed now: {listed}).")
        self.transition = transition
        self.status = status
        self.allowed = tuple(allowed)
        self.version = version


class GuardFailed(TransitionNotAllowed):
    """The status allows the transition, and a guard refuses it.

    :param transition: the transition that was asked for.
    :param status: the present status.
    :param allowed: the transitions that this status allows, this one among them.
    :param guard: the name of the guard.
    :param reason: why it refuses.
    :param version: the version that was looked at.
    """

    def __init__(
        self,
        transition: str,
        status: str,
        allowed: Sequence[str],
        *,
        guard: str,
        reason: str,
        version: int | None = None,
    ) -> None:
        sentence = f"The guard {guard!r} refuses the transition {transition!r}: {reason.rstrip('.')}"
        super().__init__(transition, status, allowed, reason=sentence, version=version)
        self.guard = guard
        self.reason = reason


class LimitExceeded(StateManagerError):
    """A value is larger than the configured limit.

    :param limit: the limit that was hit, with its unit.
    :param value: how large the value is, in the same unit; the least known size where counting stopped early.
    :param what: what was measured.
    """

    def __init__(self, what: str, limit: int, value: int, *, unit: str = "bytes") -> None:
        super().__init__(
            f"{what} is too large: {value:,} {unit}, at most {limit:,} are allowed. Store less, or a reference."
        )
        self.limit = limit
        self.value = value


class Compacted(StateManagerError):
    """Some of what lies behind a cursor is not kept any more, so that to go on from it would leave something out.

    :param cursor: the cursor that was given.
    :param restart: the cursor to go on from, once what is there now has been read.
    """

    def __init__(self, cursor: str, restart: str) -> None:
        super().__init__(
            f"The log does not reach back to the cursor {shown(cursor)}: read what is there now, "
            f"then go on from {restart!r}."
        )
        self.cursor = cursor
        self.restart = restart


class SnapshotNotFound(StateManagerError, LookupError):
    """There is no snapshot of this id.

    :param snapshot_id: the id that was asked for.
    :param needed_by: the snapshot that stands on it; None where it was asked for itself.
    """

    def __init__(self, snapshot_id: str, *, needed_by: str | None = None) -> None:
        cure = "list_snapshots() tells which there are"
        if needed_by is not None:
            cure = f"the snapshot {needed_by!r} stands on it and cannot be used without"
        super().__init__(f"There is no snapshot {snapshot_id!r}: {cure}.")
        self.snapshot_id = snapshot_id
        self.needed_by = needed_by


class SnapshotDamaged(StateManagerError):
    """A snapshot's file is not what was written; nothing was restored from it.

    :param snapshot_id: the snapshot.
    :param problem: what is wrong with it.
    """

    def __init__(self, snapshot_id: str, problem: str) -> None:
        super().__init__(
            f"The snapshot {snapshot_id!r} is damaged ({problem}): take another one, or a copy of its file."
        )
        self.snapshot_id = snapshot_id
        self.problem = problem


class SnapshotInUse(StateManagerError):
    """A snapshot cannot be deleted, because later ones stand on it.

    :param snapshot_id: the snapshot.
    :param needed_by: the ids of those that stand on it.
    """

    def __init__(self, snapshot_id: str, needed_by: Sequence[str]) -> None:
        listed = ", ".join(needed_by)
        super().__init__(f"The snapshot {snapshot_id!r} is needed by {listed}: delete what stands on it first.")
        self.snapshot_id = snapshot_id
        self.needed_by = tuple(needed_by)


class JobNotFound(StateManagerError, LookupError):
    """There is no such effect or timer, or it is not in a status that allows what was asked for.

    :param job: its id, or how else it was named.
    :param problem: what is wrong with it.
    """

    def __init__(self, job: object, problem: str = "there is none") -> None:
        super().__init__(f"{job}: {problem}.")
        self.job = job


class ResponsibilityBreach(StateManagerError):
    """A component of a flow does what its kind is not for; raised where the application is tested or debugged.

    :param component: the name of its class.
    :param kind: its kind: ``display``, ``input``, ``api`` or ``confirm``.
    :param asked: what it asked for.
    :param cure: what to do instead.
    """

    def __init__(self, component: str, kind: str, asked: str, cure: str) -> None:
        super().__init__(f"{component} asks for {shown(asked)}: {cure}.")
        self.component = component
        self.kind = kind
        self.asked = asked


class PermanentFailure(StateManagerError):
    """Raised by a durable effect for which another attempt would be pointless; it goes to the dead letters at once."""
