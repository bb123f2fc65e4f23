"""The verbs of the flows' face that concern whole turns, and what they follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.record import JSON
from .audit import Audit
from .channel import Channel
from .definitions import FlowDefinitions
from .diagram import mermaid
from .flow import Flow
from .parts import FlowParts
from .registry import FlowRegistry
from .turns import Answer, Conduct, Turns


class Turning:
    """Defining flows, and working on messages.

    :param conduct: finds what turns stand on, anew at each call.
    :param declaring: returns what the application declares, for something to be added.
    """

    _find: Callable[[], FlowParts]

    def __init__(self, conduct: Callable[[], Conduct], declaring: Callable[[], FlowDefinitions]) -> None:
        self._conduct = conduct
        self._declaring = declaring

    @property
    def registry(self) -> FlowRegistry:
        """The flows that are defined, and how conversations go."""
        return self._conduct().registry

    @property
    def audit(self) -> Audit:
        """The audit trails.

        :raises ConfigurationError: when the backend keeps no history.
        """
        return Audit(self._find())

    def define(self, flow: Flow) -> Flow:
        """Declare a flow, which was checked when it was made.

        :param flow: the flow.
        :returns: the same.
        :raises ConfigurationError: when it is none, or a request is under way.
        """
        return self._declaring().registry.define(flow)

    def configure(self, **manners: Any) -> None:
        """Say how conversations go; what is left out stays as it is.

        :param manners: ``start`` and ``home``, the names of the flows that somebody unknown and somebody known come to;
            ``words``, what a user may write anywhere, with what it does (``rollback``, ``recover``, ``restart``,
            ``home``); ``router(session, message)``, which may name the flow to begin; ``greet(session)``, called when
            a conversation begins; ``texts``, what the engine says itself; ``redaction``, what the audit trail leaves
            out.
        :raises ConfigurationError: when one of them is unknown or unusable, or a request is under way.
        """
        self._declaring().registry.configure(manners)

    def diagram(self, name: str) -> str:
        """Draw a flow as a Mermaid state diagram.

        :param name: the flow.
        :returns: text that begins with ``stateDiagram-v2``.
        :raises ConfigurationError: when there is no such flow.
        """
        return mermaid(self.registry.get(name))

    def receive(self, channel_type: str, channel_id: str, message: JSON, *, message_id: str | None = None) -> Answer:
        """Work on a message: one turn of the conversation, committed as a whole, and what it says sent.

        A message is worked on once, however often and wherever it is delivered: a repetition gets the same answer for
        24 hours. The turns of a conversation follow one another, in all processes.

        :param channel_type: for example ``whatsapp`` or ``web``, a word.
        :param channel_id: who is at the other end.
        :param message: text, or any JSON value that the components understand.
        :param message_id: the channel's name for the message; None makes it one of its own.
        :returns: what was said, and where the conversation is now.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when the message or the document are too large.
        :raises ConfigurationError: when a flow leads to one that is not defined; in tests and debug also when a
            component comes to what its flow has no branch for.
        :raises ResponsibilityBreach: in tests and debug, when a component does what it is not for.
        :raises StateConflict: when another turn has the conversation for too long. Nothing is kept then; deliver the
            message again.
        :raises StorageError: when the storage fails. Nothing is kept, or all of it is; deliver the message again.
        """
        return Turns(self._conduct()).receive(Channel.of(channel_type, channel_id), message, message_id)
