"""Callbacks: the application's functions that hear of changes, before the commit with a veto or after it without.

A durable one is carried out by a worker, from a job that is stored with the change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from ..core.record import Change, Record
from ..errors import ConfigurationError
from .durable import Durability

logger = logging.getLogger("flask_statemanager")

Callback = Callable[[str, dict[str, Any], dict[str, Any], str], Any]
"""Takes ``state_id, old_state, new_state, transition_type``; a durable one also what it names of ``EXTRAS``."""


class Registered(Struct, frozen=True):
    """One registered callback."""

    event: str
    callback: Callback
    when: str
    state_id: str | None
    durability: Durability | None = None

    @property
    def title(self) -> str:
        """How to name it."""
        function = self.callback
        return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"


class CallbackRegistry:
    """The callbacks of one manager, in the order of their registration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: dict[str, tuple[Registered, ...]] = {}
        self._effects: dict[str, Registered] = {}

    def add(self, registered: Registered) -> None:
        """Add a callback.

        :param registered: the callback.
        :raises ConfigurationError: when another durable effect has its name.
        """
        with self._lock:
            if registered.durability is not None:
                self._name(registered, registered.durability)
            present = self._registered.get(registered.when, ())
            self._registered = {**self._registered, registered.when: (*present, registered)}

    def _name(self, registered: Registered, durability: Durability) -> None:
        known = self._effects.get(durability.name, registered)
        if known.callback != registered.callback or known.durability != durability:
            raise ConfigurationError(
                f"There is another durable effect {durability.name!r}, or the same one with other options: "
                "give one of them another name=."
            )
        self._effects[durability.name] = registered

    def effect(self, name: str) -> tuple[Callback, Durability] | None:
        """Return a durable effect's function and durability, or None when no code knows it.

        :param name: its name.
        """
        found = self._effects.get(name)
        return None if found is None or found.durability is None else (found.callback, found.durability)

    @property
    def effects(self) -> list[str]:
        """The names of the durable effects, sorted."""
        return sorted(self._effects)

    def matching(
        self, when: str, names: frozenset[str], known: Callable[[], frozenset[str]], state_id: str
    ) -> list[Registered]:
        """Return the callbacks that hear of a change.

        :param when: ``before``, ``after`` or ``durable``.
        :param names: the event names of the change.
        :param known: returns all event names; a name outside of them is a state id.
        :param state_id: the state.
        """
        return [
            registered
            for registered in self._registered.get(when, ())
            if (registered.state_id is None or registered.state_id == state_id)
            and (registered.event in names or (registered.event == state_id and state_id not in known()))
        ]

    @property
    def registered(self) -> list[Registered]:
        """All callbacks: those before, those after, and the durable ones."""
        return [each for when in ("before", "after", "durable") for each in self._registered.get(when, ())]

    def has(self, when: str) -> bool:
        """Tell whether there is any callback of a kind.

        :param when: ``before``, ``after`` or ``durable``.
        """
        return bool(self._registered.get(when))


class CallbackRunner:
    """Calls the callbacks of one app's changes.

    :param registry: the callbacks.
    :param names: gives the event names of a change.
    :param known: gives all event names.
    :param present: makes the dict that a callback gets of a record.
    :param failed: told of each failure: the callback's name, the change, the error.
    """

    def __init__(
        self,
        registry: CallbackRegistry,
        *,
        names: Callable[[Change], frozenset[str]],
        known: Callable[[], frozenset[str]],
        present: Callable[[Record], dict[str, Any]],
        failed: Callable[[str, Change, Exception], None],
    ) -> None:
        self._registry = registry
        self._names = names
        self._known = known
        self._present = present
        self._failed = failed

    def has(self, when: str) -> bool:
        """Tell whether there is any callback of a kind.

        :param when: ``before``, ``after`` or ``durable``.
        """
        return self._registry.has(when)

    def durabilities(self, change: Change) -> Sequence[Durability]:
        """Return the durable effects that a change causes.

        :param change: the change.
        """
        if not self._registry.has("durable"):
            return ()
        return [found.durability for found in self._matching("durable", change) if found.durability is not None]

    def before(self, change: Change) -> None:
        """Call the ``before`` callbacks; what they raise refuses the change.

        :param change: a change about to be written.
        """
        for registered in self._matching("before", change):
            self._call(registered, change)

    def after(self, change: Change) -> None:
        """Call the ``after`` callbacks, each isolated: a failure is logged, counted, announced, and skipped.

        :param change: a committed change.
        """
        for registered in self._matching("after", change):
            try:
                self._call(registered, change)
            except Exception as error:
                logger.exception(
                    "The callback %s failed on %s version %d.", registered.title, change.key, change.version
                )
                self._failed(registered.title, change, error)

    def _matching(self, when: str, change: Change) -> Iterable[Registered]:
        if not self._registry.has(when):
            return ()
        return self._registry.matching(when, self._names(change), self._known, change.key.name)

    def _call(self, registered: Registered, change: Change) -> None:
        old = {} if change.before is None else self._present(change.before)
        registered.callback(change.key.name, old, self._present(change.after), change.event)
