"""The decisions behind the verbs: pure, from what is stored to what shall be stored."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ..core.patch import merge
from ..core.record import JSONObject, Key, Record
from ..core.step import Step
from ..errors import GuardFailed, StateExists, StateNotFound, StateValidationError, TransitionNotAllowed
from .definitions import Definitions, TypeDefinition
from .machine import Guard, Machine, Transition
from .state import State
from .types import CREATE, DELETED, ROLLBACK, UPDATE
from .validation import Envelope, Lifetime, check_identity


class Registration(Struct, frozen=True):
    """Creates a state, or does with a present one what ``if_exists`` says."""

    key: Key
    definition: TypeDefinition
    envelope: Envelope
    initial_status: str | None
    lifetime: Lifetime
    owner: str | None
    if_exists: str

    def __call__(self, current: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param current: what is stored.
        :param now: the moment.
        :raises StateExists: when a live state is there and may not be taken.
        :raises StateValidationError: when the input does not fit the type.
        """
        check_identity(self.envelope, self.key.name, self.definition.name)
        if current is None or current.deleted:
            return Step(CREATE, self._created(now))
        if self.if_exists == "error" or current.type != self.definition.name:
            raise StateExists(self.key.name, current.type)
        if self.if_exists == "ignore":
            return None
        update = Update(self.key.name, self.definition, self.envelope, UPDATE, "merge", self.lifetime, self.owner)
        return update(current, now)

    def _created(self, now: datetime) -> Record:
        machine = self.definition.machine
        status = self.initial_status or machine.initial[0]
        if status not in machine.initial:
            listed = ", ".join(machine.initial)
            message = f"{status!r} is no initial status of the type {self.definition.name!r}; it has {listed}."
            raise StateValidationError({"initial_status": [message]})
        return Record(
            key=self.key,
            label=self.envelope.name or self.key.name,
            type=self.definition.name,
            status=status,
            data=self.envelope.data or {},
            metadata=self.envelope.metadata or {},
            version=0,
            revision=0,
            owner=self.owner,
            schema_version=1,
            created_at=now,
            updated_at=now,
            expires_at=self.lifetime.resolve(now, self.definition),
        )


class Update(Struct, frozen=True):
    """Moves a state along a transition, its data merged or replaced. ``definition`` None means: that of the state."""

    name: str
    definition: TypeDefinition | Definitions
    envelope: Envelope
    transition: str
    mode: str
    lifetime: Lifetime
    owner: str | None = None

    def __call__(self, current: Record | None, now: datetime) -> Step:
        """Decide.

        :param current: what is stored.
        :param now: the moment.
        :raises StateNotFound: when there is no live state.
        :raises TransitionNotAllowed: when status or guards do not allow it.
        :raises StateValidationError: when the input does not fit the type.
        """
        if current is None or current.deleted_at is not None:
            raise StateNotFound(self.name)
        definition = self.definition.get(current.type) if isinstance(self.definition, Definitions) else self.definition
        check_identity(self.envelope, self.name, current.type)
        edge = way(definition.machine, current, self.transition)
        after = Record(
            current.key,
            self.envelope.name or current.label,
            current.type,
            edge.target or current.status,
            self._merged(current.data, self.envelope.data),
            self._merged(current.metadata, self.envelope.metadata),
            current.version,
            current.revision,
            self.owner or current.owner,
            current.schema_version,
            current.created_at,
            current.updated_at,
            self._expiry(current, edge, definition, now),
            now if edge.target == DELETED else None,
        )
        refusal = refusing_guard(edge, current, after)
        if refusal is not None:
            allowed = definition.machine.allowed(current.status)
            raise GuardFailed(
                edge.name,
                current.status,
                allowed,
                guard=refusal.title,
                reason=refusal.sentence,
                version=current.version,
            )
        return Step(edge.name, after)

    def _merged(self, present: JSONObject, given: JSONObject | None) -> JSONObject:
        if given is None:
            return present
        merged: JSONObject = given if self.mode == "replace" else merge(present, given)
        return merged

    def _expiry(self, current: Record, edge: Transition, definition: TypeDefinition, now: datetime) -> datetime | None:
        given = self.lifetime.resolve(now, definition)
        if given is not None:
            return given
        if current.expires_at is None:
            return None
        expired = set(definition.machine.lapses.values())
        leaves = current.status in expired and (edge.target or current.status) not in expired
        return None if leaves else current.expires_at


class Rollback(Struct, frozen=True):
    """Appends a version that restores name, data, metadata and status of an earlier one; owner and expiry stay."""

    name: str
    definitions: Definitions
    past: Record
    last: Record | None
    undelete: bool

    def __call__(self, current: Record | None, now: datetime) -> Step:
        """Decide.

        :param current: what is stored.
        :param now: the moment.
        :raises StateNotFound: when the state is deleted and ``undelete`` is not set.
        :raises TransitionNotAllowed: when today's machine does not know the status, or the present one is final.
        """
        if current is None or (current.deleted and not self.undelete):
            raise StateNotFound(self.name)
        machine = self.definitions.get(current.type).machine
        self._check_way(current, machine)
        past = self.past
        restored = replace(
            current, label=past.label, data=past.data, metadata=past.metadata, status=past.status, deleted_at=None
        )
        expired = machine.lapses.get(past.status)
        if expired is not None and current.expires_at is not None and current.expires_at <= now:
            # The kept expiry is over: restoring it would expire the state again in the same breath.
            restored = replace(restored, expires_at=None)
        return Step(ROLLBACK, restored)

    def _check_way(self, current: Record, machine: Machine) -> None:
        if self.past.type != current.type:
            message = f"Version {self.past.version} has type {self.past.type!r}, the state has {current.type!r} now."
            raise StateValidationError({"to_version": [message]})
        reason = None
        if self.past.status not in machine.statuses:
            reason = f"The type {current.type!r} no longer has the status {self.past.status!r} of that version"
        # What was final when it was deleted comes back as it was, or not at all.
        present = self.last.status if current.deleted and self.last is not None else current.status
        if present in machine.final and not (current.deleted and self.past.status == present):
            reason = f"The status {present!r} is final, and a rollback would leave it"
        if reason is not None:
            allowed = machine.allowed(current.status)
            raise TransitionNotAllowed(ROLLBACK, current.status, allowed, reason=reason, version=current.version)


def way(machine: Machine, current: Record, transition: str) -> Transition:
    """Return the transition from the status of a record.

    :param machine: the type's machine.
    :param current: the record.
    :param transition: the name.
    :raises StateValidationError: when the machine has no such transition.
    :raises TransitionNotAllowed: when it has, but not from here.
    """
    status = current.status
    edge = machine.edge(status, transition)
    if edge is None:
        machine.check_transition(transition)
        raise TransitionNotAllowed(transition, status, machine.allowed(status), version=current.version)
    return edge


def refusing_guard(edge: Transition, current: Record, after: Record) -> Guard | None:
    """Return the first guard that refuses, with its reason, or None.

    :param edge: the transition.
    :param current: the present record.
    :param after: the record as it would be.
    """
    for guard in edge.conditions:
        refusal = guard.refusal(State.of(current), State.of(after))
        if refusal is not None:
            return replace(guard, name=guard.title, reason=refusal)
    return None
