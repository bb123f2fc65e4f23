"""The routes of types: what is declared, and how a machine looks."""

from __future__ import annotations

from typing import Any

from ...errors import shown
from ...lifecycle.definitions import Definitions, TypeDefinition
from ...lifecycle.diagram import dot, mermaid
from ...lifecycle.machine import Machine
from ..answer import Answer
from ..call import Call
from ..openapi.schemas import json_schema
from ..operation import Operations
from ..problems import NOT_FOUND, Problem
from .state_answers import TypeAnswer, TypesAnswer
from .state_requests import DiagramQuery

operations = Operations("types", "The declared types and their machines.")

MERMAID, DOT, PLAIN = "text/vnd.mermaid", "text/vnd.graphviz", "text/plain"


@operations.operation("GET", "/types", permission="read", summary="List the declared types", answers={200: TypesAnswer})
def list_types(call: Call) -> Answer:
    """Each with its machine and the schema of its data.

    :param call: the call.
    """
    definitions = call.runtime.declarations.definitions
    declared = definitions.types
    return Answer({"items": [_shown(definitions, declared[name]) for name in sorted(declared)]})


@operations.operation(
    "GET", "/types/<state_type>", permission="read", summary="Look at a type", answers={200: TypeAnswer}
)
def get_type(call: Call, state_type: str) -> Answer:
    """Its machine and the schema of its data.

    :param call: the call.
    :param state_type: which type.
    """
    return Answer(_shown(call.runtime.declarations.definitions, _declared(call, state_type)))


@operations.operation(
    "GET",
    "/types/<state_type>/diagram",
    permission="read",
    summary="Draw the machine of a type",
    query=DiagramQuery,
    answers={200: None},
    produces=(MERMAID, DOT, PLAIN),
)
def draw_type(call: Call, state_type: str) -> Answer:
    """As text for Mermaid, or for Graphviz (`dot -Tsvg`); `Accept` says which.

    :param call: the call.
    :param state_type: which type.
    """
    definition, deletion = _declared(call, state_type), call.query["deletion"]
    machine = definition.machine
    drawn = (
        dot(machine, definition.name, deletion=deletion)
        if call.accepted == DOT
        else mermaid(machine, deletion=deletion)
    )
    return Answer(drawn, headers={"Vary": "Accept"}, media_type=call.accepted)


def _declared(call: Call, state_type: str) -> TypeDefinition:
    found = call.runtime.declarations.definitions.find(state_type)
    if found is None:
        raise Problem(NOT_FOUND, f"There is no type {shown(state_type)}: GET /types lists them.")
    return found


def _shown(definitions: Definitions, definition: TypeDefinition) -> dict[str, Any]:
    machine, schema = definition.machine, None
    if definition.schema is not None:
        made: dict[str, Any] = definitions.derived("json schemas", dict)
        schema = made.get(definition.name) or made.setdefault(definition.name, json_schema(definition.schema))
    return {
        "type": definition.name,
        "statuses": list(machine.statuses),
        "initial": list(machine.initial),
        "final": sorted(machine.final),
        "transitions": [
            {
                "transition": name,
                "source": source,
                "target": target,
                "guards": _guards(machine, source, name),
            }
            for source, name, target in machine.edges()
        ],
        "deadlines": [
            {
                "status": each.status,
                "after": each.span.total_seconds(),
                "transition": each.transition,
                "policy": each.policy,
            }
            for each in machine.deadlines
        ],
        "validators": len(definition.validators),
        "schema": schema,
    }


def _guards(machine: Machine, source: str, name: str) -> list[str]:
    edge = machine.edge(source, name)
    return [] if edge is None else [guard.title for guard in edge.conditions]
