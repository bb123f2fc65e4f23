"""The names under which a change can be subscribed to."""

from __future__ import annotations

from ..core.record import Change
from .definitions import Definitions
from .machine import regular_past

EVERY = "*"


def names_of(change: Change, definitions: Definitions) -> frozenset[str]:
    """Return the event names of a change: ``*``, type, transition, its past tense, and type with past tense.

    :param change: any change.
    :param definitions: the declared types, which know the past tenses.
    """
    made: dict[tuple[str, str], frozenset[str]] = definitions.derived("names", dict)
    type_name, event = change.after.type, change.event
    found = made.get((type_name, event))
    if found is None:
        definition = definitions.find(type_name)
        pasts = {} if definition is None else definition.machine.pasts
        past = pasts.get(event) or regular_past(event)
        found = frozenset((EVERY, type_name, event, past, f"{type_name}_{past}"))
        if definition is not None:  # what is declared is bounded, what old rows may hold is not
            made[type_name, event] = found
    return found


def known_events(definitions: Definitions) -> frozenset[str]:
    """Return every event name that the declared types can cause.

    :param definitions: the declared types.
    """
    return definitions.derived("events", lambda: _known(definitions))


def _known(definitions: Definitions) -> frozenset[str]:
    names = {EVERY}
    for definition in definitions.types.values():
        names.add(definition.name)
        for transition, past in definition.machine.pasts.items():
            names.update((transition, past, f"{definition.name}_{past}"))
    return frozenset(names)
