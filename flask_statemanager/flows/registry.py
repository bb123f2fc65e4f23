"""What an application declares about its conversations. It belongs to the manager, and is shared by all its apps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..core.record import JSON
from ..errors import ConfigurationError, shown
from .flow import Flow, check_goto
from .redaction import Redaction
from .texts import Texts

ROLLBACK, RECOVER, RESTART, HOME = "rollback", "recover", "restart", "home"
"""What a word can do wherever the conversation is."""

ACTS = frozenset((ROLLBACK, RECOVER, RESTART, HOME))

WORDS: Mapping[str, str] = {"back": ROLLBACK, "retry": RECOVER, "restart": RESTART, "menu": HOME}

Router = Callable[[Any, JSON], "str | None"]
"""Takes the session and the message, and returns the name of the flow to begin, or None to go on."""


class Manners(Struct, frozen=True):
    """How conversations go, apart from their flows.

    :param start: the flow of a conversation whose user is not known; None where there is none.
    :param home: the flow that a known user comes to where nothing else is under way.
    :param words: what a user may write anywhere, in any case, and which of :data:`ACTS` it does.
    :param router: asked with every message, before all else.
    :param greet: called with the session of a conversation that begins, before anything else; it may say who that is,
        with ``session.link_member()``.
    :param texts: what the engine says itself.
    :param redaction: what the audit trail leaves out.
    """

    start: str | None = None
    home: str | None = None
    words: Mapping[str, str] = field(default_factory=lambda: dict(WORDS))
    router: Router | None = None
    greet: Callable[[Any], object] | None = None
    texts: Texts = Texts()
    redaction: Redaction = Redaction()


class FlowRegistry:
    """The declared flows, and how conversations go. Reading needs no lock: each change replaces the dict."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flows: dict[str, Flow] = {}
        self._checked: dict[str, Flow] | None = None
        self.manners = Manners()

    @property
    def flows(self) -> dict[str, Flow]:
        """The declared flows by name."""
        return dict(self._flows)

    def find(self, name: object) -> Flow | None:
        """Return a flow, or None when there is none of this name.

        :param name: the name.
        """
        return self._flows.get(name) if isinstance(name, str) else None

    def get(self, name: object) -> Flow:
        """Return a flow.

        :param name: the name.
        :raises ConfigurationError: when there is none of this name, with those that there are.
        """
        found = self.find(name)
        if found is None:
            listed = ", ".join(sorted(self._flows)) or "none"
            raise ConfigurationError(f"There is no flow {shown(name)}; defined are: {listed}.")
        return found

    def define(self, flow: Flow) -> Flow:
        """Declare a flow, or declare one of the same name anew.

        :param flow: the flow.
        :returns: the same.
        :raises ConfigurationError: when it is none.
        """
        if not isinstance(flow, Flow):
            raise ConfigurationError(f"{shown(flow)} is no flow: define(Flow(name, steps)).")
        with self._lock:
            self._flows = {**self._flows, flow.name: flow}
        return flow

    def configure(self, changes: Mapping[str, Any]) -> Manners:
        """Say how conversations go.

        :param changes: fields of :class:`Manners`.
        :returns: all of it.
        :raises ConfigurationError: when a field is unknown or unusable, or a word does what there is not.
        """
        strange = sorted(changes.keys() - set(Manners.__struct_fields__))
        if strange:
            known = ", ".join(Manners.__struct_fields__)
            raise ConfigurationError(f"configure() knows no {shown(strange[0])}; it knows {known}.")
        _check_manners(changes)
        with self._lock:
            folded = (
                {"words": {word.casefold(): act for word, act in changes["words"].items()}}
                if "words" in changes
                else {}
            )
            self.manners = replace(self.manners, **{**changes, **folded})
            self._checked = None
        return self.manners

    def check(self) -> None:
        """Look at what leads from one flow into another, and at the flows that the manners name.

        :raises ConfigurationError: when any of it does not exist.
        """
        flows = self._flows
        if self._checked is flows:
            return
        problems = check_goto(flows.values())
        named = {"start": self.manners.start, "home": self.manners.home}
        problems += [
            f"configure({field}={shown(name)}) names a flow that is not defined."
            for field, name in named.items()
            if name is not None and name not in flows
        ]
        if problems:
            raise ConfigurationError(" ".join(problems))
        self._checked = flows

    def act_of(self, message: JSON) -> str | None:
        """Return what a message does wherever the conversation is, or None.

        :param message: the message.
        """
        return self.manners.words.get(message.strip().casefold()) if isinstance(message, str) else None

    def triggered(self, message: JSON) -> Flow | None:
        """Return the flow that a message begins where nothing else is under way, or None.

        :param message: the message.
        """
        if not isinstance(message, str):
            return None
        word = message.strip().casefold()
        return next((flow for flow in self._flows.values() if word in flow.triggers), None)


def _check_manners(changes: Mapping[str, Any]) -> None:
    for field_name, (kinds, wanted) in _KINDS.items():
        if field_name in changes and not isinstance(changes[field_name], kinds):
            raise ConfigurationError(
                f"configure({field_name}=) is {shown(changes[field_name])}, but has to be {wanted}."
            )
    for word, act in changes.get("words", {}).items():
        if not isinstance(word, str):
            raise ConfigurationError(f"configure(words=) has {shown(word)} among its words: pass text.")
        if act not in ACTS:
            raise ConfigurationError(f"A word cannot do {shown(act)}: choose among {', '.join(sorted(ACTS))}.")


_KINDS: Mapping[str, tuple[Any, str]] = {
    "start": (str | None, "the name of a flow"),
    "home": (str | None, "the name of a flow"),
    "words": (Mapping, "a dict of words and what they do"),
    "router": (Callable | None, "a function of session and message"),
    "greet": (Callable | None, "a function of the session"),
    "texts": (Texts, "an instance of Texts"),
    "redaction": (Redaction, "an instance of Redaction"),
}
