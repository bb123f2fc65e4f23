"""Which ways of a transition no code has a say in, so that the storage can take them with many states at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.many import Way
from .definitions import TypeDefinition
from .machine import Machine, Transition
from .types import DELETED, EXPIRE


def plain_ways(definitions: Iterable[TypeDefinition], transition: str) -> tuple[Way, ...]:
    """Return the ways that come to the same whether each state is loaded and looked at or not, its data unchanged.

    A schema, a validator or a guard that is more than :meth:`Guard.where` has to look. The size is not measured again.

    :param definitions: the types in question.
    :param transition: the transition's name.
    """
    return tuple(way for definition in definitions for way in _ways(definition, transition))


def _ways(definition: TypeDefinition, transition: str) -> Iterator[Way]:
    machine = definition.machine
    for source, name, target in machine.edges():
        edge = machine.edge(source, name)
        if name == transition and edge is not None and not _looked_at(definition, edge):
            yield _way(definition.name, machine, source, target, edge)


def _looked_at(definition: TypeDefinition, edge: Transition) -> bool:
    # As for a single state: neither a deletion nor an expiry has its data checked.
    checked = edge.target != DELETED and edge.name != EXPIRE
    validated = definition.schema is not None or bool(definition.validators)
    return (checked and validated) or not all(guard.rules for guard in edge.conditions)


def _way(type_name: str, machine: Machine, source: str, target: str, edge: Transition) -> Way:
    expired = set(machine.lapses.values())
    return Way(
        type_name,
        source,
        target,
        rules=tuple(rule for guard in edge.conditions for rule in guard.rules),
        lapsing=machine.lapses.get(source, source) != source,
        leaving=source in expired and target not in expired,
        deleting=target == DELETED,
    )
