"""What an application declares: types with machines, validators and schemas. Shared by all apps of one manager."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from marshmallow import Schema
from msgspec import Struct
from msgspec.structs import replace

from ..core.names import check_word
from ..core.query import Lapse
from ..errors import ConfigurationError, StateValidationError, shown
from .machine import Machine, default_machine
from .types import StateType

Derived = TypeVar("Derived")

Validator = Callable[[dict[str, Any]], Any]
"""Takes the state as it would be stored; False or an exception refuses."""


class TypeDefinition(Struct, frozen=True):
    """Everything declared about one type."""

    name: str
    machine: Machine
    validators: tuple[Validator, ...] = ()
    schema: Schema | None = None


class Definitions:
    """The declared types. Reading needs no lock: each change replaces the dict."""

    def __init__(self) -> None:
        machine = default_machine()
        self._lock = threading.Lock()
        self._types = {member.value: TypeDefinition(member.value, machine) for member in StateType}
        self._derived: dict[str, Any] = {}

    @property
    def types(self) -> dict[str, TypeDefinition]:
        """The declared types by name."""
        return dict(self._types)

    def get(self, name: object) -> TypeDefinition:
        """Return a type's definition.

        :param name: the name, or an enum whose value is the name.
        :raises StateValidationError: when it is unknown, with the known ones.
        """
        found = self.find(getattr(name, "value", name))
        if found is None:
            known = ", ".join(sorted(self._types))
            raise StateValidationError(
                {"state_type": [f"There is no type {shown(name)}; known are {known}. Declare it with define()."]}
            )
        return found

    def find(self, name: object) -> TypeDefinition | None:
        """Return a type's definition, or None when it is not declared.

        :param name: the name.
        """
        return self._types.get(name) if isinstance(name, str) else None

    def define(self, name: object, machine: Machine | None) -> TypeDefinition:
        """Declare a type, or give a declared one another machine.

        :param name: the name, or an enum whose value is the name.
        :param machine: its machine; the default one when None.
        :raises ConfigurationError: when the name or the machine is unusable.
        """
        try:
            word = check_word(name, "type")
        except StateValidationError as error:
            raise ConfigurationError(f"The type cannot be declared: {error}") from error
        if machine is not None and not isinstance(machine, Machine):
            raise ConfigurationError(f"define() takes a Machine, not {type(machine).__name__}.")
        with self._lock:
            known = self._types.get(word) or TypeDefinition(word, default_machine())
            return self._put(replace(known, machine=machine or default_machine()))

    def add_validator(self, name: object, validator: Validator) -> None:
        """Add a validator to a type.

        :param name: the type.
        :param validator: the function.
        :raises ConfigurationError: when it cannot be called.
        :raises StateValidationError: when the type is unknown.
        """
        if not callable(validator):
            raise ConfigurationError(f"A validator must be callable, and {validator!r} is not.")
        with self._lock:
            known = self.get(name)
            self._put(replace(known, validators=(*known.validators, validator)))

    def set_schema(self, name: object, schema: Schema | type[Schema]) -> None:
        """Set the schema for the data of a type.

        :param name: the type.
        :param schema: a marshmallow schema, class or instance.
        :raises ConfigurationError: when it is neither.
        :raises StateValidationError: when the type is unknown.
        """
        instance = schema() if isinstance(schema, type) and issubclass(schema, Schema) else schema
        if not isinstance(instance, Schema):
            raise ConfigurationError(f"register_schema() takes a marshmallow Schema, not {instance!r}.")
        with self._lock:
            self._put(replace(self.get(name), schema=instance))

    def _put(self, definition: TypeDefinition) -> TypeDefinition:
        self._types = {**self._types, definition.name: definition}
        self._derived = {}
        return definition

    def derived(self, name: str, make: Callable[[], Derived]) -> Derived:
        """Return what follows from the declarations, computed once until the next declaration.

        :param name: what to remember it by.
        :param make: computes it.
        """
        memory = self._derived
        if name not in memory:
            memory[name] = make()
        found: Derived = memory[name]
        return found

    @property
    def lapses(self) -> tuple[Lapse, ...]:
        """Which status an expired state counts as, for every type."""
        return self.derived("lapses", self._all_lapses)

    @property
    def has_deadlines(self) -> bool:
        """Whether any type's machine has a deadline."""
        return self.derived("deadlines", lambda: any(each.machine.deadlines for each in self._types.values()))

    def _all_lapses(self) -> tuple[Lapse, ...]:
        return tuple(
            Lapse(definition.name, source, target)
            for definition in self._types.values()
            for source, target in definition.machine.lapses.items()
        )
