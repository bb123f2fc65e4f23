"""Responses of the document: good answers in their envelope, and problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..operation import Operation
from ..problems import KINDS, MEDIA_TYPE
from .schemas import JSONSchema, example_of

CHANGING = frozenset(("POST", "PUT", "PATCH", "DELETE"))

_HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {"description": "The version, quoted.", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
    "Link": {"description": 'The next page, `rel="next"`; absent on the last one.', "schema": {"type": "string"}},
    "Location": {"description": "Where it is.", "schema": {"type": "string", "format": "uri-reference"}},
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "What to send.", "schema": {"type": "string"}},
}

_OF_PROBLEMS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}

PROBLEM: JSONSchema = {
    "type": "object",
    "description": "A problem (RFC 9457). Further members say more of some of them.",
    "required": ["type", "title", "status", "detail", "success", "error"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "What kind of problem; stable."},
        "title": {"type": "string", "description": "The kind in some words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "One sentence that says what to do."},
        "success": {"const": False},
        "error": {"type": "string", "description": "The same as `detail`."},
        "errors": {
            "type": "object",
            "description": "What is wrong, by field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "allowed": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The transitions that the status allows.",
        },
        "actual": {"type": ["integer", "null"], "description": "The version that is stored."},
    },
}


def response_headers() -> dict[str, dict[str, Any]]:
    """Return the headers of responses as components."""
    return _HEADERS


def problem_responses() -> dict[int, dict[str, Any]]:
    """Return a response for each status that problems have, with an example of each kind."""
    return {status: _problem_response(status) for status in sorted({kind.status for kind in KINDS})}


def _problem_response(status: int) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if kind.status == status]
    examples = {
        kind.name: {
            "summary": kind.title,
            "value": {
                "type": kind.type,
                "title": kind.title,
                "status": status,
                "detail": f"{kind.title}.",
                "success": False,
                "error": f"{kind.title}.",
            },
        }
        for kind in kinds
    }
    return {
        "description": "; ".join(f"{kind.title} (`{kind.name}`)" for kind in kinds) + ".",
        "headers": _referred(_OF_PROBLEMS.get(status, ())),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def statuses_of(operation: Operation, *, demanding: bool) -> list[int]:
    """Return the statuses of the problems that an operation can come to.

    :param operation: the operation.
    :param demanding: whether a change needs conditions.
    """
    return sorted({status for status, comes in _causes(operation, demanding) if comes})


def _causes(operation: Operation, demanding: bool) -> Iterator[tuple[int, bool]]:
    changing, takes_body = operation.method in CHANGING, operation.body is not None
    given = takes_body or operation.query is not None or "<" in operation.rule
    yield from ((status, True) for status in (400, 401, 403, 406, 429, 503))
    yield 404, "<" in operation.rule
    yield 409, changing
    yield 412, operation.conditional
    yield 413, given
    yield 415, takes_body
    yield 422, given
    yield 428, operation.overwrites and demanding


def success(
    operation: Operation, status: int, data: JSONSchema | None, components: dict[str, JSONSchema]
) -> dict[str, Any]:
    """Return a good response.

    :param operation: the operation.
    :param status: its status.
    :param data: the schema of ``data``; None where the body is no JSON.
    :param components: the schemas that it may refer to.
    """
    headers = _referred(_headers_of(operation, status, data))
    content: dict[str, Any]
    if data is None:
        content = {media_type: {"schema": {"type": "string"}} for media_type in operation.produces}
    else:
        schema = {
            "type": "object",
            "required": ["success", "data"],
            "properties": {"success": {"const": True}, "data": data},
            "additionalProperties": False,
        }
        content = {"application/json": {"schema": schema, "example": example_of(schema, components)}}
    described = {200: "Done.", 201: "Created."}
    return {"description": described.get(status, "Done."), "headers": headers, "content": content}


NOT_MODIFIED = {"description": "The version is the one that `If-None-Match` names.", "headers": {}}


def _headers_of(operation: Operation, status: int, data: JSONSchema | None) -> list[str]:
    versioned = operation.conditional or status == 201
    paged = operation.query is not None and "cursor" in operation.query._declared_fields
    return [
        *(["ETag"] if versioned and data is not None else []),
        *(["Link"] if paged else []),
        *(["Location"] if status == 201 and operation.method == "POST" else []),
    ]


def _referred(names: Any) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
