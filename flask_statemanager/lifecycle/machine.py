"""Machines: which statuses a type has, and which transitions lead from one to another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from ..core.matching import found_in
from ..core.names import check_word
from ..core.query import Filter, parse_filters
from ..core.record import JSON
from ..errors import ConfigurationError, LimitExceeded, StateValidationError, shown
from .deadlines import Deadline, checked
from .state import State
from .types import CREATE, DELETE, DELETED, EXPIRE, ROLLBACK, UPDATE

logger = logging.getLogger("flask_statemanager")

GuardCheck = Callable[[State, State], Any]
"""Takes the present state and the state as it would be; a false answer refuses."""

ANY = "*"
"""As a source: every status but ``deleted`` and, for other transitions than update and delete, the final ones."""


class Guard(Struct, frozen=True):
    """A condition on a transition.

    It runs inside the transaction, perhaps more than once, and must not change anything.

    :param check: takes the present state and the state as it would be; a false answer or an exception refuses.
    :param name: how to name it; the function's name by default.
    :param reason: what to tell the user when it refuses; the first line of the function's docstring by default.
    :param rules: what it comes to, where it is made by :meth:`where`; the storage asks these of many states at once.
    """

    check: GuardCheck
    name: str = ""
    reason: str = ""
    rules: tuple[Filter, ...] = ()

    @classmethod
    def where(cls, filters: Mapping[str, JSON], *, name: str = "", reason: str = "") -> Guard:
        """Make a guard of plain rules on the present state, which :meth:`transition_many` needs not load states for.

        >>> funded = Guard.where({"data.balance__gte": 10})
        >>> funded.title, funded.sentence
        ('data.balance__gte=10', 'data.balance__gte=10 does not hold')

        :param filters: conditions as in ``search_states``, all of which must hold.
        :param name: how to name it; the conditions themselves by default.
        :param reason: what to tell the user when it refuses.
        :raises ConfigurationError: when there are none, or one is unusable.
        """
        try:
            rules = parse_filters(filters)
        except (StateValidationError, LimitExceeded) as error:
            raise ConfigurationError(f"The guard cannot be used: {error}") from error
        if not rules:
            raise ConfigurationError("A guard needs a condition, such as Guard.where({'data.balance__gte': 10}).")
        title = name or ", ".join(f"{path}={_written(value)}" for path, value in filters.items())
        hold = "do not hold" if len(rules) > 1 and not name else "does not hold"
        return cls(partial(_fulfils, rules), title, reason or f"{title} {hold}", rules)

    @property
    def title(self) -> str:
        """The guard's name."""
        return self.name or getattr(self.check, "__name__", type(self.check).__name__)

    def refusal(self, present: State, planned: State) -> str | None:
        """Return why the guard refuses, or None when it does not.

        :param present: the state as it is.
        :param planned: the state as it would be.
        """
        try:
            return None if self.check(present, planned) else self.sentence
        except Exception as error:
            logger.info("The guard %s refuses by raising.", self.title, exc_info=True)
            return str(error) or type(error).__name__

    @property
    def sentence(self) -> str:
        """Why it refuses."""
        documented = (getattr(self.check, "__doc__", None) or "").strip().partition("\n")[0]
        return self.reason or documented or "its condition does not hold"


def _fulfils(rules: tuple[Filter, ...], present: State, _planned: State) -> bool:
    return all(found_in(present.data if rule.root == "data" else present.metadata, rule) for rule in rules)


def _written(value: object) -> str:
    return shown(list(value) if isinstance(value, tuple | set | frozenset) else value)


class Transition(Struct, frozen=True):
    """One way from some statuses to one.

    :param name: the verb, for example ``complete``.
    :param sources: the statuses it starts from, or ``"*"``.
    :param target: the status it leads to; None to stay.
    :param past: its past tense, for event names; regular by default (``complete`` to ``completed``).
    :param guards: conditions, functions or :class:`Guard`, that must all hold; one or a sequence.
    """

    name: str
    sources: Sequence[str] | str = ANY
    target: str | None = None
    past: str = ""
    guards: Sequence[Guard | GuardCheck] | Guard | GuardCheck = ()

    @property
    def past_tense(self) -> str:
        """The declared past tense, or the regular one."""
        return self.past or regular_past(self.name)

    @property
    def conditions(self) -> tuple[Guard, ...]:
        """The guards, each as a :class:`Guard`."""
        if self.guards == ():
            return ()
        guards: Sequence[Guard | GuardCheck] = self.guards if isinstance(self.guards, Sequence) else (self.guards,)
        return tuple(guard if isinstance(guard, Guard) else Guard(guard) for guard in guards)


def regular_past(verb: str) -> str:
    """Return the past tense of a regular English verb; the doubling of consonants has to be declared.

    :param verb: for example ``apply``.
    :returns: for example ``applied``.
    """
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2:-1] not in ("", *"aeiou"):
        return f"{verb[:-1]}ied"
    return f"{verb}ed"


_BUILT_IN = (Transition(UPDATE, ANY), Transition(DELETE, ANY, DELETED))
_RESERVED = (CREATE, ROLLBACK)
_HINTS = {
    CREATE: " A state is created with register_state().",
    ROLLBACK: " An earlier version is restored with rollback_state().",
}
_PASTS = {CREATE: "created", ROLLBACK: "rolled_back"}


class Machine:
    """The statuses and transitions of a type, checked and compiled once.

    ``create``, ``update`` (stays) and ``delete`` (leaves a tombstone) exist in every machine; declaring ``update`` or
    ``delete`` narrows them.

    >>> payment = Machine(
    ...     initial="pending",
    ...     transitions=[
    ...         Transition("complete", ["pending"], "completed"),
    ...         Transition("fail", ["pending"], "failed"),
    ...         Transition("refund", ["completed"], "refunded"),
    ...     ],
    ...     final=["failed", "refunded"],
    ... )
    >>> payment.allowed("completed")
    ('refund', 'update', 'delete')

    :param transitions: the ways; a name may occur several times with different sources.
    :param initial: the status of a new state, or several of which the first is the default.
    :param final: statuses that no transition but update and delete leaves, and that no rollback leaves.
    :param statuses: all statuses, where some occur in no transition.
    :param deadlines: which transitions are made by themselves when a status lasts for too long; one or several.
    :ivar lapses: which status an expired state counts as, by the status it is stored with.
    :ivar pasts: the past tense of every transition.
    :raises ConfigurationError: when the parts contradict each other.
    """

    def __init__(
        self,
        *,
        transitions: Iterable[Transition],
        initial: str | Sequence[str] = "created",
        final: Iterable[str] = (),
        statuses: Iterable[str] = (),
        deadlines: Iterable[Deadline] | Deadline = (),
    ) -> None:
        declared = tuple(transitions)
        self.initial: tuple[str, ...] = (initial,) if isinstance(initial, str) else tuple(initial)
        self.final = frozenset(final)
        self.statuses = _statuses(declared, self.initial, self.final, tuple(statuses))
        names = {transition.name for transition in declared}
        self._transitions = (*declared, *(t for t in _BUILT_IN if t.name not in names))
        self._edges: dict[tuple[str, str], Transition] = {}
        for transition in self._transitions:
            self._compile(transition)
        self.lapses = {source: target for source, name, target in self.edges() if name == EXPIRE}
        self.pasts = {t.name: t.past_tense for t in self._transitions} | _PASTS
        self.deadlines = checked(deadlines, lambda status, name: (status, name) in self._edges)

    def _compile(self, transition: Transition) -> None:
        _check_transition(transition)
        keeps = transition.name == DELETE or (transition.name == UPDATE and transition.target is None)
        for source in self._sources(transition):
            if source in self.final and not keeps:
                raise ConfigurationError(
                    f"The status {source!r} is final, and {transition.name!r} would leave it: drop one of the two."
                )
            if (source, transition.name) in self._edges:
                raise ConfigurationError(
                    f"{transition.name!r} is declared twice from {source!r}: guards belong in one."
                )
            self._edges[source, transition.name] = transition

    def _sources(self, transition: Transition) -> tuple[str, ...]:
        if transition.sources == ANY:
            keeps = transition.name in (UPDATE, DELETE)
            return tuple(status for status in self.statuses if keeps or status not in self.final)
        return (transition.sources,) if isinstance(transition.sources, str) else tuple(transition.sources)

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """All transitions but create, the declared ones first."""
        return self._transitions

    def edge(self, status: str, transition: str) -> Transition | None:
        """Return the transition from a status, or None when the status has no such way out.

        :param status: the present status.
        :param transition: its name.
        """
        found = self._edges.get((status, transition))
        if found is None and status not in self.statuses:  # of an earlier machine: can still be annotated and deleted
            return next((t for t in _BUILT_IN if t.name == transition), None)
        return found

    def target(self, status: str, transition: str) -> str | None:
        """Return where a transition leads from a status, or None when it is not allowed.

        :param status: the present status.
        :param transition: its name.
        """
        edge = self.edge(status, transition)
        return None if edge is None else edge.target or status

    def allowed(self, status: str) -> tuple[str, ...]:
        """Return the transitions that a status allows, guards left aside, in the order of declaration.

        :param status: the present status.
        """
        if status not in self.statuses:
            return tuple(t.name for t in _BUILT_IN)
        return tuple(dict.fromkeys(t.name for t in self._transitions if (status, t.name) in self._edges))

    def edges(self) -> list[tuple[str, str, str]]:
        """Return every way as (source, transition, target), in the order of declaration."""
        return [(source, name, edge.target or source) for (source, name), edge in self._edges.items()]

    def check_transition(self, transition: str) -> None:
        """Refuse a name that no transition of this machine has.

        :param transition: the name.
        :raises StateValidationError: when it is unknown, with the known ones.
        """
        known = [t.name for t in self._transitions]
        if transition not in known:
            listed = ", ".join(dict.fromkeys(known))
            hint = _HINTS.get(transition, "")
            raise StateValidationError({"transition": [f"There is no {transition!r} here; known are {listed}.{hint}"]})


def _check_transition(transition: Transition) -> None:
    if transition.name in _RESERVED:
        raise ConfigurationError(f"The transition {transition.name!r} is built in: choose another name.")
    if transition.name == DELETE and transition.target != DELETED:
        raise ConfigurationError(f"The transition 'delete' must lead to {DELETED!r}.")
    if transition.name != DELETE and transition.target == DELETED:
        raise ConfigurationError(f"Only 'delete' leads to {DELETED!r}: a deleted state is a tombstone.")
    if not all(callable(guard.check) for guard in transition.conditions):
        raise ConfigurationError(f"The guards of {transition.name!r} must be functions or Guard objects.")


def _statuses(
    transitions: Sequence[Transition], initial: Sequence[str], final: Iterable[str], extra: Sequence[str]
) -> tuple[str, ...]:
    """Collect the statuses in the order in which they are named, and check every name."""
    if not initial:
        raise ConfigurationError("A machine needs an initial status.")
    named = [*initial, *(status for transition in transitions for status in _named_by(transition)), *extra, *final]
    try:
        for transition in transitions:
            check_word(transition.name, "transition")
        found = tuple(dict.fromkeys(check_word(status, "status") for status in named))
    except StateValidationError as error:
        raise ConfigurationError(f"The machine cannot be used: {error}") from error
    if DELETED in found:
        raise ConfigurationError(f"The status {DELETED!r} is built in: use 'delete' to reach it.")
    return found


def _named_by(transition: Transition) -> list[str]:
    sources = () if transition.sources == ANY else transition.sources
    named = [sources] if isinstance(sources, str) else list(sources)
    return named if transition.target in (None, DELETED) else [*named, str(transition.target)]


def default_machine() -> Machine:
    """Return the machine of every type that declares none: created, active, suspended, expired."""
    return Machine(
        transitions=[
            Transition("activate", ["created", "suspended", "expired"], "active"),
            Transition("suspend", ["created", "active"], "suspended"),
            Transition("resume", ["suspended"], "active"),
            Transition(EXPIRE, ["created", "active", "suspended"], "expired"),
        ]
    )
