"""Who may do what: the responsibilities of the kinds of components, and the guard that holds them to it.

The guard stands before the session that a component is given. Where the application is tested or debugged a breach
raises; in production it is logged and counted, and what was asked for happens: a user in the middle of a conversation
is no place to find out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from ..errors import ResponsibilityBreach

logger = logging.getLogger("flask_statemanager.flows")

DISPLAY, INPUT, API, CONFIRM = "display", "input", "api", "confirm"
"""The kinds of components."""

OWN = frozenset(("get_path", "get_component", "get_component_result", "is_awaiting_input"))
"""What of the state is a component's own: where it stands, and what has become of it."""

FOREIGN = frozenset(
    (
        *("get", "get_flow_state", "get_flow_data", "get_member_id", "get_channel_id", "get_channel_type"),
        "is_authenticated",
    )
)
"""Reads of the rest of the state."""

RESULTS = frozenset(("set_component_result", "set_component_awaiting"))
DATA = frozenset(("update_component_data",))
WRITES = frozenset(("update_state", "authenticate", "link_member"))
TELLS = frozenset(("messaging",))
NOTES = frozenset(("note", "touch", "collecting"))
"""What ``ErrorHandler`` and ``FlowAuditLogger`` write an entry of the audit trail with, which every component may."""

ALLOWED: Mapping[str, frozenset[str]] = {
    DISPLAY: OWN | NOTES | FOREIGN | TELLS,
    INPUT: OWN | NOTES | RESULTS | DATA | TELLS,
    API: OWN | NOTES | FOREIGN | RESULTS | DATA | WRITES,
    CONFIRM: OWN | NOTES | FOREIGN | RESULTS | DATA | WRITES | TELLS,
}
"""By kind, what a component may use of the session. Where a conversation goes is for the flow to say."""

CURES: Mapping[str, str] = {
    DISPLAY: "a display component reads and tells: write in an input, API or confirm component",
    INPUT: "an input component validates and stores what the user sent: read other state in a display, API or confirm "
    "component",
    API: "an API component calls and stores: tell the user in a display component behind it, and leave to the flow's "
    "branches where the conversation goes",
    CONFIRM: "a confirm component acts on yes or no: call other systems in an API component behind it, and leave to "
    "the flow's branches where the conversation goes",
}


class Wardenship(Struct, frozen=True, eq=False):
    """How breaches are dealt with.

    :param strict: tells whether one raises; otherwise it is logged and counted.
    :param tally: counts one.
    """

    strict: Callable[[], bool]
    tally: Callable[[], None]

    def breach(self, component: str, kind: str, asked: str) -> None:
        """Deal with one.

        :param component: the name of the component's class.
        :param kind: its kind.
        :param asked: what it asked for.
        :raises ResponsibilityBreach: where that is wanted.
        """
        error = ResponsibilityBreach(component, kind, asked, CURES[kind])
        if self.strict():
            raise error
        self.tally()
        logger.warning("%s", error)


class Guarded:
    """A session, as far as one component may go. What it allows is the session's own.

    :param session: the session.
    :param kind: the component's kind.
    :param component: the name of its class.
    :param warden: deals with breaches.
    """

    def __init__(self, session: Any, kind: str, component: str, warden: Wardenship) -> None:
        self._session = session
        self._kind = kind
        self._component = component
        self._warden = warden

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in ALLOWED[self._kind]:
            found = getattr(self._session, name)  # what there is not, is no breach
            self._warden.breach(self._component, self._kind, name)
            return found
        return getattr(self._session, name)


class Working(Struct, frozen=True, eq=False):
    """Which component is at work in this thread.

    :param kind: its kind.
    :param component: the name of its class.
    :param key: the idempotency key of its step.
    :param warden: deals with breaches.
    """

    kind: str
    component: str
    key: str
    warden: Wardenship


_working: ContextVar[Working | None] = ContextVar("flask_statemanager_component", default=None)


@contextmanager
def at_work(working: Working) -> Iterator[None]:
    """Let a component be the one that is at work in the block.

    :param working: the component.
    """
    token = _working.set(working)
    try:
        yield
    finally:
        _working.reset(token)


def check_call() -> str:
    """Return the idempotency key for a call to another system, which only an API component makes.

    :returns: the key; an empty text where no component is at work.
    :raises ResponsibilityBreach: when another kind of component is at work, and the application is tested or debugged.
    """
    working = _working.get()
    if working is None:
        return ""
    if working.kind != API:
        working.warden.breach(working.component, working.kind, "a call to another system")
    return working.key
