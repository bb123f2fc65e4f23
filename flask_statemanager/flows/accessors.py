"""What a session tells of its conversation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from ..core.codec import copied
from ..core.record import JSON, JSONObject, Record
from .document import FLOW, Situation
from .view import flow_of, state_of, token_of, validation_of


class Accessors(ABC):
    """The reading half of a session. Everything it returns is a copy, which may be edited freely."""

    @property
    @abstractmethod
    def _situation(self) -> Situation:
        """The conversation, with what this session has changed."""

    @property
    @abstractmethod
    def _record(self) -> Record | None:
        """What is stored."""

    @abstractmethod
    def _now(self) -> datetime:
        """Return the present moment."""

    def _document(self) -> JSONObject:
        return self._situation.document(self._now())

    def _flow(self) -> JSONObject:
        found: JSONObject = self._document().get(FLOW, {})
        return found

    def get_channel_id(self) -> str:
        """Return who is at the other end of the channel."""
        return self._situation.channel.identifier

    def get_channel_type(self) -> str:
        """Return the type of the channel."""
        return self._situation.channel.type

    def get_member_id(self) -> str | None:
        """Return whose conversation it is; None before the login."""
        found: str | None = self._document().get("member_id")
        return found

    def is_authenticated(self) -> bool:
        """Tell whether there is a token that has not expired, by the store's clock."""
        return self.jwt_token is not None

    @property
    def jwt_token(self) -> str | None:
        """The token of :meth:`authenticate`; None once it has expired."""
        return token_of(self._document(), self._now())

    @property
    def authenticated(self) -> bool:
        """The same as :meth:`is_authenticated`."""
        return self.is_authenticated()

    def get_state(self) -> JSONObject:
        """Return the whole state, the token too, under all its names."""
        return state_of(self._situation, self._record, self._now())

    def get(self, key: str, default: Any = None) -> Any:
        """Return one member of the state.

        :param key: its name at the top level.
        :param default: what to return where there is no such member, or nothing in it.
        """
        found = self.get_state().get(key)
        return default if found is None else found

    def get_flow_state(self) -> JSONObject:
        """Return the flow: where it is, its data, how validation stands, and the action beside it."""
        return flow_of(self._document())

    def get_flow_data(self) -> JSONObject:
        """Return the data that the flow has collected."""
        found: JSONObject = copied(self._flow().get("data", {}))
        return found

    def get_path(self) -> str | None:
        """Return the path that the flow is on; other systems call it its context."""
        found: str | None = self._flow().get("path")
        return found

    def get_component(self) -> str | int | None:
        """Return the component that is active; other systems call it the step."""
        found: str | int | None = self._flow().get("component")
        return found

    def get_component_result(self) -> JSON:
        """Return what the active component came to."""
        return copied(self._flow().get("result"))

    def is_awaiting_input(self) -> bool:
        """Tell whether the active component waits for the user."""
        return bool(self._flow().get("awaiting"))

    def get_attempts(self, component: str | int | None = None) -> int:
        """Return how often input for a component was refused since it was accepted last.

        :param component: the component; the active one by default.
        """
        wanted = self.get_component() if component is None else component
        found: int = validation_of(self._document())["attempts"].get(str(wanted), 0)
        return found
