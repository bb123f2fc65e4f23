"""Callbacks: the application's functions that hear of changes, before the commit with a veto or after it without."""

from __future__ import annotations

import difflib
import inspect
import logging
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from ..core.names import check_id
from ..core.record import Change, Record
from ..errors import ConfigurationError, shown

logger = logging.getLogger("flask_statemanager")

Callback = Callable[[str, dict[str, Any], dict[str, Any], str], Any]
"""Takes ``state_id, old_state, new_state, transition_type``."""

When = Literal["before", "after"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Registered:
    """One registered callback."""

    event: str
    callback: Callback
    when: str
    state_id: str | None

    @property
    def title(self) -> str:
        """How to name it."""
        function = self.callback
        return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"


class CallbackRegistry:
    """The callbacks of one manager, in the order of their registration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: tuple[Registered, ...] = ()

    def add(self, registered: Registered) -> None:
        """Add a callback.

        :param registered: the callback.
        """
        with self._lock:
            self._registered = (*self._registered, registered)

    def matching(self, when: str, names: frozenset[str], known: frozenset[str], state_id: str) -> Iterable[Registered]:
        """Return the callbacks that hear of a change.

        :param when: ``before`` or ``after``.
        :param names: the event names of the change.
        :param known: all event names; a name outside of them is a state id.
        :param state_id: the state.
        """
        for registered in self._registered:
            if registered.when != when or registered.state_id not in (None, state_id):
                continue
            by_id = registered.event == state_id and registered.event not in known
            if by_id or registered.event in names:
                yield registered

    def __len__(self) -> int:
        return len(self._registered)

    @property
    def has_before(self) -> bool:
        """Whether any callback runs inside the transaction."""
        return any(registered.when == "before" for registered in self._registered)


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

    @property
    def has_before(self) -> bool:
        """Whether any callback runs inside the transaction."""
        return self._registry.has_before

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
        if not len(self._registry):
            return ()
        return self._registry.matching(when, self._names(change), self._known(), change.key.name)

    def _call(self, registered: Registered, change: Change) -> None:
        old = {} if change.before is None else self._present(change.before)
        registered.callback(change.key.name, old, self._present(change.after), change.event)


class EffectVerbs(ABC):
    """The verbs of effects."""

    @abstractmethod
    def _registering(self) -> tuple[CallbackRegistry, frozenset[str]]:
        """Return the registry and the known event names, or refuse to have callbacks added now."""

    @overload
    def register_callback(
        self, event: str, callback: Function, *, when: When = "after", state_id: str | None = None
    ) -> Function: ...

    @overload
    def register_callback(
        self, event: str, callback: None = None, *, when: When = "after", state_id: str | None = None
    ) -> Callable[[Function], Function]: ...

    def register_callback(
        self, event: str, callback: Any = None, *, when: When = "after", state_id: str | None = None
    ) -> Any:
        """Have a function called with ``(state_id, old_state, new_state, transition_type)`` on changes.

        ``old_state`` is ``{}`` at a creation; after a deletion ``new_state`` is the last state, status ``deleted``.
        An ``after`` callback runs once the outermost transaction has committed; its failure is logged and cannot hurt
        the change. A ``before`` callback runs inside the transaction, perhaps more than once, and vetoes by raising:
        its exception reaches the caller of the verb as it is, and nothing is left of the write.

        :param event: ``user_suspended`` (type and past tense), a type, a transition (``suspend`` or ``suspended``) or
            ``*``; any other name is taken as a state id.
        :param callback: the function; left out, the call is a decorator.
        :param when: ``before`` or ``after``.
        :param state_id: only this state's changes.
        :returns: the function, or the decorator.
        :raises ConfigurationError: when the function cannot be called, ``when`` is unknown, or a request is under way.
        :raises StateValidationError: when the event is no known name and no possible state id.
        """
        _registry, known = self._registering()
        name = getattr(event, "value", event)
        if not isinstance(name, str):
            raise ConfigurationError(f"An event is named by text such as 'user_suspended', not by {shown(event)}.")
        if when not in ("before", "after"):
            raise ConfigurationError(f"when={when!r} is unknown: use 'before' or 'after'.")
        if name not in known:
            _check_event(name, known)
        only = None if state_id is None else check_id(state_id)

        def register(function: Function) -> Function:
            if inspect.iscoroutinefunction(function) or not isinstance(function, Callable):  # type: ignore[arg-type]
                raise ConfigurationError(f"A callback must be callable and not async; {shown(function)} is not.")
            present, _known = self._registering()  # a decorator may be applied later than it was made
            present.add(Registered(name, function, when, only))
            return function

        return register if callback is None else register(callback)


def _check_event(name: str, known: frozenset[str]) -> None:
    """Take an unknown event name as a state id, and say so where it looks like a slip."""
    check_id(name)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if near:
        warnings.warn(
            f"There is no event {name!r}, so it is taken as a state id; was {near[0]!r} meant? "
            "(For a state of that id, pass event='*' and state_id=.)",
            stacklevel=4,
        )
