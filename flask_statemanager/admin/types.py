"""Types: each machine as a picture with numbers, the fields of its data, its deadlines, guards and callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Field, List, Nested
from marshmallow.validate import Equal, Length, OneOf, Range, Regexp
from msgspec import Struct

from ..effects.callbacks import Registered
from ..errors import shown
from ..lifecycle.definitions import TypeDefinition
from ..lifecycle.diagram import dot, mermaid
from ..lifecycle.events import EVERY
from ..lifecycle.machine import Machine
from ..web.problems import NOT_FOUND, Problem
from . import figures, wording
from .answers import Shown
from .drawing import draw
from .page import Pages
from .remembering import Memory
from .visit import Visit

pages = Pages("types", "Types", order=40)

KEPT = 5.0
"""Seconds for which numbers are not counted anew."""

_DEEPEST, _LONGEST = 5, 200
_memory = Memory(KEPT)


class Member(Struct, frozen=True):
    """A field of the data.

    :param path: its name, below those that it stands in.
    :param kind: what it holds.
    :param required: whether it must be there.
    :param nullable: whether it may be null.
    :param rules: its validators.
    """

    path: str
    kind: str
    required: bool
    nullable: bool
    rules: str


class Edge(Struct, frozen=True):
    """A transition, as the table has it.

    :param transition: its name.
    :param target: the status that it leads to; None where it stays.
    :param guards: the names of its conditions, and what they say.
    :param after: when it is made by itself, and by which policy; None where it is not.
    """

    transition: str
    target: str | None
    guards: tuple[tuple[str, str], ...]
    after: str | None


@pages.show("/types", "types")
def list_types(visit: Visit) -> Shown:
    """List the declared types.

    :param visit: the visit.
    """
    runtime = visit.runtime
    numbers = _memory.get(runtime, "types", partial(figures.by_type, runtime))
    declared = runtime.declarations.definitions.types
    types = [(each, declared[each.name]) for each in numbers.value if each.name in declared]
    return Shown("types.html", {"types": types})


@pages.show("/types/<state_type>", "type")
def show_type(visit: Visit, state_type: str) -> Shown:
    """Show a type.

    :param visit: the visit.
    :param state_type: which one.
    :raises Problem: when there is none.
    """
    runtime = visit.runtime
    definition = runtime.declarations.definitions.find(state_type)
    if definition is None:
        raise Problem(NOT_FOUND, f"There is no type {shown(state_type)}.")
    machine, name = definition.machine, definition.name
    numbers = _memory.get(runtime, ("type", name), partial(figures.of_type, runtime, name)).value
    values: dict[str, Any] = {
        "type": definition,
        "drawing": draw(machine),
        "numbers": numbers,
        "links": {status: visit.find("states", type=name, status=status) for status in machine.statuses},
        "edges": _edges(machine),
        "members": None if definition.schema is None else list(members(definition.schema)),
        "schema": None if definition.schema is None else _title(definition.schema),
        "validators": [_name_of(each) for each in definition.validators],
        "callbacks": _callbacks(runtime.declarations.callbacks.registered, definition),
        "mermaid": mermaid(machine, deletion=True),
        "dot": dot(machine, name, deletion=True),
    }
    return Shown("type.html", values)


def members(schema: Schema, below: str = "", depth: int = 0) -> Iterator[Member]:
    """Yield the fields of a schema, those of nested ones too.

    :param schema: the schema.
    :param below: the path of the field that it describes.
    :param depth: how deep it stands in another; a schema can hold itself.
    """
    for name, field in schema.fields.items():
        path = f"{below}{field.data_key or name}"
        yield Member(path, _kind(field), bool(field.required), bool(field.allow_none), _rules(field))
        inner = field.inner if isinstance(field, List) else field
        if isinstance(inner, Nested) and depth < _DEEPEST:
            many = isinstance(field, List) or inner.many
            yield from members(inner.schema, f"{path}{'[]' if many else ''}.", depth + 1)


def _kind(field: Field[Any]) -> str:
    if isinstance(field, List):
        return f"list of {_kind(field.inner)}"
    if isinstance(field, Nested):
        return "list of objects" if field.many else "object"
    return type(field).__name__


def _rules(field: Field[Any]) -> str:
    return ", ".join(shown_rule(each) for each in field.validators)


def shown_rule(validator: Any) -> str:
    """Write a validator of a field in some words.

    >>> [shown_rule(each) for each in (Range(min=1), Length(max=5), OneOf(["a", "b"]), Equal("EUR"), Regexp("[a-z]+"))]
    ['at least 1', 'at most 5 long', 'one of a, b', 'equal to EUR', "matches '[a-z]+'"]

    :param validator: the validator.
    """
    if isinstance(validator, Range | Length):
        text = _bounds(validator.min, validator.max) + (" long" if isinstance(validator, Length) else "")
    elif isinstance(validator, OneOf):
        text = f"one of {', '.join(map(str, validator.choices))}"
    elif isinstance(validator, Equal):
        text = f"equal to {validator.comparable}"
    elif isinstance(validator, Regexp):
        text = f"matches {validator.regex.pattern!r}"
    else:
        text = _name_of(validator)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _bounds(least: Any, most: Any) -> str:
    if least is not None and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if most is None else f"at most {most}"


def _edges(machine: Machine) -> dict[Edge, list[str]]:
    """Return the transitions, each with the statuses that it starts from."""
    deadlines = {(each.status, each.transition): each for each in machine.deadlines}
    found: dict[Edge, list[str]] = {}
    for source, name, target in machine.edges():
        edge, deadline = machine.edge(source, name), deadlines.get((source, name))
        guards = () if edge is None else tuple((guard.title, guard.sentence) for guard in edge.conditions)
        after = None if deadline is None else f"{_span(deadline.span)}, {_POLICIES[deadline.policy]}"
        found.setdefault(Edge(name, None if target == source else target, guards, after), []).append(source)
    return found


_POLICIES = {
    "restart": "anew at each entry",
    "deadline": "from the first entry on",
    "remaining": "counted while in this status",
}


def _span(span: timedelta) -> str:
    return wording.span(span.total_seconds())


def _callbacks(registered: list[Registered], definition: TypeDefinition) -> list[Registered]:
    """Return the callbacks that changes of a type can reach; those of one state alone belong to no type."""
    names = {EVERY, definition.name}
    for transition, past in definition.machine.pasts.items():
        names.update((transition, past, f"{definition.name}_{past}"))
    return [each for each in registered if each.event in names]


def _title(schema: Schema) -> str:
    return type(schema).__name__


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
