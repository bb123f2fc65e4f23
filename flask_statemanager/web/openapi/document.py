"""The OpenAPI document, made from the operations themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from ..operation import Operation, Operations
from .events import MESSAGE, TAG, event_paths
from .parameters import header_components, headers_of, path_parameters, template_of
from .responses import NOT_MODIFIED, PROBLEM, problem_responses, response_headers, statuses_of, success
from .schemas import JSONSchema, example_of, new_spec

PACKAGE = "Flask-StateManager"

DESCRIPTION = """\
States, keys and values of this application, durable and versioned.

A good answer is `{"success": true, "data": …}`. A problem is `application/problem+json` (RFC 9457) with a stable `type`
and a `detail` that says what to do. The `ETag` of a state or key is its version: send it as `If-Match` to change
nothing that somebody else has changed meanwhile. A request with an `Idempotency-Key` can be repeated safely. Lists come
in pages; the header `Link` (RFC 8288) has the next one.
"""

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `STATEMANAGER_API_TOKENS`. Whoever is logged in to the application needs none.",
}


class Document:
    """Builds the document.

    :param groups: all operations, by group.
    :param demanding: whether a change needs ``If-Match`` or ``If-None-Match``.
    :param events: whether live events are told.
    """

    def __init__(self, groups: Iterable[Operations], *, demanding: bool = False, events: bool = True) -> None:
        self._groups = tuple(groups)
        self._demanding = demanding
        self._events = events
        tags = [{"name": group.tag, "description": group.description} for group in self._groups]
        tags += [TAG] if events else []
        info = {"description": DESCRIPTION}
        self._spec, self._converter = new_spec(title="State API", version=version(PACKAGE), info=info, tags=tags)

    def build(self) -> dict[str, Any]:
        """Return the document, without servers."""
        components = self._spec.components
        components.security_scheme("bearer", BEARER)
        components.schema("Problem", PROBLEM)
        for name, header in response_headers().items():
            components.header(name, header)
        for name, header in header_components().items():
            components.parameter(name, "header", header)
        for status, response in problem_responses().items():
            components.response(f"Problem{status}", response)
        for group in self._groups:
            for operation in group:
                path = template_of(operation.rule)
                self._spec.path(path, operations={operation.method.lower(): self._operation(operation)})
        if self._events:
            components.schema("Message", MESSAGE)
            for path, told in event_paths(self._converter).items():
                self._spec.path(path, operations={"get": told})
        return {**self._spec.to_dict(), "security": [{"bearer": []}]}

    def _operation(self, operation: Operation) -> dict[str, Any]:
        permission = f"Needs the permission `{operation.permission}`."
        paragraphs = operation.description.replace("``", "`").split("\n\n")
        described = "\n\n".join(" ".join(each.split("\n")) for each in paragraphs)
        made = {
            "operationId": operation.name,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": f"{described}\n\n{permission}" if described else permission,
            "parameters": self._parameters(operation),
            "responses": self._responses(operation),
        }
        return made if operation.body is None else {**made, "requestBody": self._body(operation)}

    def _parameters(self, operation: Operation) -> list[Any]:
        asked = [] if operation.query is None else self._converter.schema2parameters(operation.query, location="query")
        return [*path_parameters(operation.rule), *asked, *headers_of(operation)]

    def _body(self, operation: Operation) -> dict[str, Any]:
        schema = self._converter.resolve_nested_schema(operation.body)
        content = {"schema": schema, "example": example_of(schema, self._schemas())}
        return {
            "required": operation.body_required,
            "content": dict.fromkeys(operation.media_types, content),
        }

    def _responses(self, operation: Operation) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for status, answer in operation.answers.items():
            data = None if answer is None else self._converter.resolve_nested_schema(answer)
            found[str(status)] = success(operation, status, data, self._schemas())
        if operation.conditional and operation.method == "GET":
            found["304"] = NOT_MODIFIED
        statuses: Sequence[int] = statuses_of(operation, demanding=self._demanding)
        return found | {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}

    def _schemas(self) -> dict[str, JSONSchema]:
        return self._spec.components.schemas
