"""What an application declares for its flows."""

from __future__ import annotations

from ..errors import ConfigurationError, shown
from .messaging import InMemoryMessaging, Messaging
from .registry import FlowRegistry
from .validation import StateValidator


class FlowDefinitions:
    """The declarations of one manager, shared by its apps.

    :ivar validator: looks at every state before it is stored.
    :ivar messaging: sends to the user.
    :ivar registry: the flows, and how conversations go.
    """

    def __init__(self) -> None:
        self.validator = StateValidator()
        self.messaging: Messaging = InMemoryMessaging()
        self.registry = FlowRegistry()

    def register_schema(self, schema: object) -> None:
        """Declare the fields that the application adds.

        :param schema: a marshmallow schema, class or instance; None for none.
        :raises ConfigurationError: when it is none, or has fields that are not the application's.
        """
        self.validator = StateValidator(schema)

    def use_messaging(self, messaging: Messaging) -> None:
        """Have messages sent by this.

        :param messaging: what sends.
        :raises ConfigurationError: when it cannot send.
        """
        if not callable(getattr(messaging, "send", None)):
            raise ConfigurationError(f"What sends has a method send(message), and {shown(messaging)} has none.")
        self.messaging = messaging
