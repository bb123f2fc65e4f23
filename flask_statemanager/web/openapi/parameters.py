"""Parameters of the document: what stands in paths and headers."""

from __future__ import annotations

import re
from typing import Any

from ...lifecycle.parts import MAX_KEY
from ..fields import STATE_ID, WORD
from ..operation import Operation

_ARGUMENT = re.compile(r"<(?:(?:[a-z_]+)(?:\([^)]*\))?:)?(\w+)>")

_ID = {"type": "string", "pattern": STATE_ID}
_WORD = {"type": "string", "pattern": WORD}
_IN_PATH: dict[str, dict[str, Any]] = {
    "state_id": {"description": "The state's id.", "schema": {**_ID, "examples": ["user_1"]}},
    "transition": {
        "description": "A transition of the state's machine.",
        "schema": {**_WORD, "examples": ["activate"]},
    },
    "state_type": {"description": "A declared type.", "schema": {**_WORD, "examples": ["user"]}},
    "key": {
        "description": "The key. Slashes in it may stand as they are.",
        "schema": {**_ID, "examples": ["session:user123"]},
    },
    "snapshot_id": {
        "description": "The snapshot's id.",
        "schema": {"type": "string", "minLength": 1, "examples": ["01980f2e-8c1b-7d3a-9b55-2f6f0e6a1c11"]},
    },
}

_TAGS = {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'}

HEADERS: dict[str, dict[str, Any]] = {
    "If-Match": {
        "description": "Only if one of these versions (`ETag`s) is stored, or anything for `*`; else 412.",
        "schema": {**_TAGS, "examples": ['"2"']},
    },
    "If-None-Match": {
        "description": "For reading: 304 if one of these versions is stored. For writing: only if none of them is, or "
        "nothing for `*`; else 412.",
        "schema": {**_TAGS, "examples": ['"1"']},
    },
    "Idempotency-Key": {
        "description": "Makes the request repeatable: the same request with the same key changes nothing more, and is "
        "answered as the first time.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY,
            "pattern": "^[ -~]*[!-~][ -~]*$",
            "examples": ["5f0c4a4e-7d1c-4f2f-9d0b-0a4c8f1f7a10"],
        },
    },
    "X-Request-ID": {
        "description": "Names the request in the history and in logs, and is sent back; 1 to 200 visible characters of "
        "ASCII.",
        "schema": {"type": "string", "examples": ["req-7f3a"]},
    },
}
"""The headers of requests, which are components of the document."""


def template_of(rule: str) -> str:
    """Return a path as OpenAPI writes it.

    :param rule: as Werkzeug writes it.
    """
    return _ARGUMENT.sub(r"{\1}", rule)


def path_parameters(rule: str) -> list[dict[str, Any]]:
    """Return the parameters that stand in a path.

    :param rule: as Werkzeug writes it.
    """
    names = _ARGUMENT.findall(rule)
    return [
        {"name": name, "in": "path", "required": True, **_IN_PATH.get(name, {"schema": {"type": "string"}})}
        for name in names
    ]


def header_components() -> dict[str, dict[str, Any]]:
    """Return the headers of requests as components."""
    return {name: {"name": name, "in": "header", **told} for name, told in HEADERS.items()}


def headers_of(operation: Operation) -> list[str]:
    """Return the names of the headers that an operation heeds.

    :param operation: the operation.
    """
    conditional = ["If-Match", "If-None-Match"] if operation.conditional else []
    return [*conditional, *(["Idempotency-Key"] if operation.idempotent else []), "X-Request-ID"]
