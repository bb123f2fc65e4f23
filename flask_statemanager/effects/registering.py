"""The verbs that register callbacks and durable effects."""

from __future__ import annotations

import difflib
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from ..core.names import check_id
from ..errors import ConfigurationError, shown
from .callbacks import CallbackRegistry, Registered
from .durable import durability_of

When = Literal["before", "after"]
Function = TypeVar("Function", bound=Callable[..., Any])


class EffectVerbs(ABC):
    """The registering verbs of effects."""

    @abstractmethod
    def _registering(self) -> tuple[CallbackRegistry, frozenset[str]]:
        """Return the registry and the known event names, or refuse to have callbacks added now."""

    @overload
    def register_callback(
        self,
        event: str,
        callback: Function,
        *,
        when: When = "after",
        state_id: str | None = None,
        durable: bool = False,
        name: str | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        timeout: float | None = None,
        ordered: bool | None = None,
    ) -> Function: ...

    @overload
    def register_callback(
        self,
        event: str,
        callback: None = None,
        *,
        when: When = "after",
        state_id: str | None = None,
        durable: bool = False,
        name: str | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        timeout: float | None = None,
        ordered: bool | None = None,
    ) -> Callable[[Function], Function]: ...

    def register_callback(
        self,
        event: str,
        callback: Any = None,
        *,
        when: When = "after",
        state_id: str | None = None,
        durable: bool = False,
        name: str | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        timeout: float | None = None,
        ordered: bool | None = None,
    ) -> Any:
        """Have a function called with ``(state_id, old_state, new_state, transition_type)`` on changes.

        ``old_state`` is ``{}`` at a creation; after a deletion ``new_state`` is the last state, status ``deleted``.
        An ``after`` callback runs once the outermost transaction has committed; its failure is logged and cannot hurt
        the change. A ``before`` callback runs inside the transaction, perhaps more than once, and vetoes by raising:
        its exception reaches the caller of the verb as it is, and nothing is left of the write.

        A ``durable`` callback is an effect: a job is stored in the transaction of the change, and a worker carries it
        out at least once, however often processes die. Its function may name further arguments: ``key``, the stable
        key ``bucket:name:version:effect`` to tell a repetition by; ``session``, a session of the states' database
        that is committed together with the record of the success, so that what is written through it is written
        exactly once (None where the states are in memory); ``attempt``, 1 the first time. It fails by raising;
        ``PermanentFailure`` makes it a dead letter at once.

        :param event: ``user_suspended`` (type and past tense), a type, a transition (``suspend`` or ``suspended``) or
            ``*``; any other name is taken as a state id.
        :param callback: the function; left out, the call is a decorator.
        :param when: ``before`` or ``after``.
        :param state_id: only this state's changes.
        :param durable: carry it out by a worker.
        :param name: an effect's stable name, stored with its jobs, without ``:``; module and function by default.
        :param retries: an effect's attempts beyond the first, 12 by default; then it is a dead letter.
        :param backoff: seconds before its second attempt, 5 by default; each further pause is twice as long, up to an
            hour, and the half of it random.
        :param timeout: seconds that one attempt may take, 60 by default. It is not interrupted, but what it does later
            is not recorded, and another attempt is made.
        :param ordered: whether an effect waits for its own jobs of earlier versions of the same state, the default.
        :returns: the function, or the decorator.
        :raises ConfigurationError: when the function cannot be called, ``when`` is unknown, options contradict each
            other, another effect has the name, or a request is under way.
        :raises StateValidationError: when the event is no known name and no possible state id.
        """
        options = {"name": name, "retries": retries, "backoff": backoff, "timeout": timeout, "ordered": ordered}
        _check_options(when, durable, options)
        _registry, known = self._registering()
        wanted = getattr(event, "value", event)
        if not isinstance(wanted, str):
            raise ConfigurationError(f"An event is named by text such as 'user_suspended', not by {shown(event)}.")
        if wanted not in known:
            _check_event(wanted, known)
        only = None if state_id is None else check_id(state_id)

        def register(function: Function) -> Function:
            _check_function(function)
            present, _known = self._registering()  # a decorator may be applied later than it was made
            if durable:
                durability = durability_of(
                    function, name=name, retries=retries, backoff=backoff, timeout=timeout, ordered=ordered
                )
                present.add(Registered(wanted, function, "durable", only, durability))
            else:
                present.add(Registered(wanted, function, when, only))
            return function

        return register if callback is None else register(callback)

    def effect(
        self,
        event: str,
        *,
        name: str | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        timeout: float | None = None,
        ordered: bool | None = None,
        state_id: str | None = None,
    ) -> Callable[[Function], Function]:
        """Make a function a durable effect; a decorator, otherwise :meth:`register_callback` with ``durable=True``.

        >>> from flask_statemanager import StateManager
        >>> state_manager = StateManager()
        >>> @state_manager.effect("user_suspended", name="suspension-mail", retries=3)
        ... def mail(state_id, old_state, new_state, transition_type, *, key):
        ...     print("send once for", key)

        :param event: as for :meth:`register_callback`.
        :param name: the stable name.
        :param retries: attempts beyond the first.
        :param backoff: seconds before the second attempt.
        :param timeout: seconds that one attempt may take.
        :param ordered: whether it waits for its own jobs of earlier versions of the same state.
        :param state_id: only this state's changes.
        :returns: the decorator.
        :raises ConfigurationError: as for :meth:`register_callback`.
        :raises StateValidationError: as for :meth:`register_callback`.
        """
        return self.register_callback(
            event,
            durable=True,
            name=name,
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            ordered=ordered,
            state_id=state_id,
        )


def _check_function(function: object) -> None:
    """Refuse what does nothing when it is called, and would count as done."""
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object, whose own method may be async
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if not callable(function) or any(kind(each) for kind in kinds for each in (function, call)):
        raise ConfigurationError(
            f"A callback must be callable, not async and no generator; {shown(function)} is not that."
        )


def _check_options(when: str, durable: bool, options: dict[str, Any]) -> None:
    if when not in ("before", "after"):
        raise ConfigurationError(f"when={when!r} is unknown: use 'before' or 'after'.")
    if durable and when == "before":
        raise ConfigurationError("A durable callback runs after the commit, in a worker: leave when= out.")
    given = [option for option, value in options.items() if value is not None]
    if given and not durable:
        raise ConfigurationError(
            f"{', '.join(given)} belong to durable callbacks: pass durable=True, or leave them out."
        )


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
