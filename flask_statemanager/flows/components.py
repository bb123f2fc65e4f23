"""Components: what a step of a flow does, in four kinds, each with what it may do and what not.

A display component reads the state and tells the user. An input component validates what the user sent and stores it,
and reads nothing else. An API component calls other systems and stores what they answer. A confirm component asks yes
or no, and acts on the answer. What goes beyond that is a breach, see :mod:`.responsibilities`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from msgspec import Struct

from ..core.record import JSON
from ..errors import ConfigurationError
from .responsibilities import API, CONFIRM, DISPLAY, INPUT, Guarded, check_call
from .results import ValidationResult
from .session import FlowSession

EXHAUSTED = "exhausted"
"""The result of a component whose user has had as many attempts as ``max_attempts`` allows."""

YES = frozenset(("1", "y", "yes", "ok", "okay", "confirm", "true"))
NO = frozenset(("0", "2", "n", "no", "cancel", "decline", "false"))
"""What counts as an answer, in any case."""


class Place(Struct, frozen=True, eq=False):
    """Where a component stands while it works.

    :param session: the conversation, guarded by the responsibilities of the component's kind.
    :param step: the step's name.
    :param idempotency_key: stays the same however often the same message is worked on.
    """

    session: Guarded
    step: str
    idempotency_key: str


class Component(ABC):
    """The base of all components. One is made for each turn, so it may keep in itself what lasts no longer.

    :cvar kind: which of the four.
    :cvar waits: whether the user is waited for before it acts.
    :cvar results: what it can come to; each needs a branch in the flow.
    """

    kind: ClassVar[str]
    waits: ClassVar[bool] = False
    results: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self._place: Place | None = None

    def bind(self, place: Place) -> None:
        """Give the component its place; the engine does this before it calls anything else.

        :param place: where it stands.
        """
        self._place = place

    @property
    def place(self) -> Place:
        """Where the component stands.

        :raises ConfigurationError: outside of a turn.
        """
        if self._place is None:
            raise ConfigurationError(
                f"{type(self).__name__} stands in no conversation: it works while flows.receive() has a turn under way."
            )
        return self._place

    @property
    def state_manager(self) -> FlowSession:
        """The conversation, as far as this kind of component may go.

        :raises ConfigurationError: outside of a turn.
        """
        return self.place.session  # type: ignore[return-value]

    def set_component_result(self, result: str) -> None:
        """Say what the component has come to, where it has more than one result.

        :param result: one of :attr:`results`.
        :raises StateValidationError: when it is none of them.
        """
        self.state_manager.set_component_result(result)

    def set_component_awaiting(self, awaiting: bool) -> None:
        """Say whether the user's answer is waited for.

        :param awaiting: whether it is.
        """
        self.state_manager.set_component_awaiting(awaiting)

    def prompt(self) -> str | None:
        """Return what is sent to the user when the component begins to wait, or None for nothing."""
        return None

    @abstractmethod
    def validate(self, value: JSON) -> ValidationResult:
        """Do what the component is for.

        :param value: what the user sent; for a component that does not wait, what the one before came to.
        :returns: success with the component's value, or failure with a sentence for the user.
        """


class DisplayComponent(Component):
    """Reads the state and tells the user. It changes nothing."""

    kind = DISPLAY
    results = ("shown",)

    @abstractmethod
    def validate_display(self, value: JSON) -> ValidationResult:
        """Make what is to be told.

        :param value: what the component before came to.
        :returns: success with a text (or a message, ``{"text": …}``), or with nothing where the component has used
            ``self.state_manager.messaging`` itself.
        """

    def validate(self, value: JSON) -> ValidationResult:
        """Make what is to be told.

        :param value: what the component before came to.
        """
        return self.validate_display(value)


class InputComponent(Component):
    """Validates what the user sent and stores it. It reads nothing but its own.

    :cvar field: under which name the value is stored in the flow's data; the step's name by default.
    """

    kind = INPUT
    waits = True
    results = ("valid",)
    field: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.stored = False

    @abstractmethod
    def validate(self, value: JSON) -> ValidationResult:
        """Check the format of what the user sent, and store it with :meth:`update_state`.

        A component that does not call it has the value of its success stored.

        :param value: what the user sent.
        """

    def update_state(self, value: JSON, result: ValidationResult) -> None:
        """Store a validated value in the flow's data.

        :param value: any JSON value.
        :param result: what the validation came to; a failure stores nothing.
        :raises StateValidationError: when the value is no JSON.
        """
        if result.valid:
            self.state_manager.update_component_data({self.field or self.place.step: value})
            self.stored = True


class ApiComponent(Component):
    """Calls another system and stores what it answers. It tells the user nothing."""

    kind = API
    results = ("success", "failure")

    @property
    def idempotency_key(self) -> str:
        """The key to send with the call: the same however often this message is worked on.

        A turn that dies between the call and its commit is repeated, and so is the call.
        """
        return self.place.idempotency_key

    def validate_api_call(self, value: JSON) -> ValidationResult:
        """Make the call, and store what it answers.

        :param value: what the component before came to.
        :returns: success with any value, or failure with a sentence for the user; the branch ``failure`` is taken then.
        :raises ConfigurationError: when the class has neither this method nor :meth:`validate`.
        """
        raise ConfigurationError(f"{type(self).__name__} needs a method validate_api_call(value) or validate(value).")

    def validate(self, value: JSON) -> ValidationResult:
        """Make the call.

        :param value: what the component before came to.
        """
        return self.validate_api_call(value)


class ConfirmComponent(Component):
    """Asks for yes or no, and acts on the answer. It calls no other system."""

    kind = CONFIRM
    waits = True
    results = ("confirmed", "declined")

    @abstractmethod
    def handle_confirmation(self, value: bool) -> ValidationResult:
        """Act on the answer.

        :param value: whether the user agreed.
        """

    def understand(self, value: JSON) -> bool | None:
        """Return what the user means, or None when that is neither yes nor no.

        :param value: what the user sent.
        """
        if isinstance(value, bool):
            return value
        word = str(value).strip().casefold()
        return True if word in YES else False if word in NO else None

    def validate(self, value: JSON) -> ValidationResult:
        """Understand the answer, and act on it.

        :param value: what the user sent.
        """
        meant = self.understand(value)
        if meant is None:
            return ValidationResult.failure("Please answer yes or no.", field="confirmation")
        result = self.handle_confirmation(meant)
        if result.valid and self.state_manager.get_component_result() is None:
            self.set_component_result("confirmed" if meant else "declined")
        return result


ConfirmBase = ConfirmComponent
"""The name that one of the references has for it."""


def external_call() -> str:
    """Return the idempotency key for a call to another system; ``make_api_request`` of the application asks for it.

    :raises ResponsibilityBreach: when a component is at work that may not make calls.
    """
    return check_call()


def text_of(value: Any) -> str | None:
    """Return the text of what a display component came to, or None where it is no message.

    :param value: the value of its success.
    """
    found = value.get("text") if isinstance(value, dict) else value
    return found if isinstance(found, str) and found else None
