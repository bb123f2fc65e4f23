"""The verbs that declare: types, validators, schemas. They hold from the next operation, for all apps of a manager."""

from __future__ import annotations

from abc import ABC, abstractmethod

from marshmallow import Schema

from .definitions import Definitions, TypeDefinition, Validator
from .machine import Machine
from .types import StateType


class LifecycleDeclares(ABC):
    """The declaring verbs of the lifecycle face."""

    @abstractmethod
    def _declaring(self) -> Definitions:
        """Return the definitions, or refuse to have them changed now."""

    def define(self, state_type: str | StateType, machine: Machine | None = None) -> TypeDefinition:
        """Declare a type of states, or give a declared one another machine.

        :param state_type: a letter, then at most 62 letters, digits, underscores or hyphens; or an enum of such.
        :param machine: its statuses and transitions; the default machine when left out.
        :returns: the definition.
        :raises ConfigurationError: when name or machine are unusable, or a request is under way.
        """
        return self._declaring().define(state_type, machine)

    def register_validator(self, state_type: str | StateType, validator: Validator) -> Validator:
        """Add a business rule to a type.

        :param state_type: a declared type.
        :param validator: takes the state as it would be stored (a dict with ``data``, ``metadata``, ``status`` and so
            on); False or an exception refuses. It runs inside the transaction, perhaps more than once.
        :returns: the validator.
        :raises ConfigurationError: when it cannot be called, or a request is under way.
        :raises StateValidationError: when the type is unknown.
        """
        self._declaring().add_validator(state_type, validator)
        return validator

    def register_schema(self, state_type: str | StateType, schema: Schema | type[Schema]) -> None:
        """Set the marshmallow schema for the ``data`` of a type.

        It validates and never rewrites: unknown fields are refused unless the schema's ``Meta.unknown`` says otherwise,
        and kept then.

        :param state_type: a declared type.
        :param schema: class or instance.
        :raises ConfigurationError: when it is no schema, or a request is under way.
        :raises StateValidationError: when the type is unknown.
        """
        self._declaring().set_schema(state_type, schema)
