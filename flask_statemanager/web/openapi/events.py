"""Live events in the document. They are no operations like the others, as their answers never end."""

from __future__ import annotations

from typing import Any

from ..live.asking import StreamQuery
from ..live.messages import CHANGE, COMPACTED, GOODBYE, HEARTBEAT, SUBSCRIBED
from .schemas import JSONSchema

TAG = {"name": "events", "description": "Changes, told as they are committed, to whoever may hear of them."}

MESSAGE: JSONSchema = {
    "type": "object",
    "description": "What a listener is told: a line of JSON in a text frame, or in the `data` of an event.",
    "required": ["type", "cursor", "data"],
    "properties": {
        "type": {
            "enum": [CHANGE, SUBSCRIBED, HEARTBEAT, COMPACTED, GOODBYE],
            "description": "A change, the beginning, a sign of life, a gap in the log (read anew, go on from here), or "
            "the end (connect again).",
        },
        "cursor": {"type": "string", "description": "Where to go on behind it, as `since` or `Last-Event-ID`."},
        "data": {
            "type": "object",
            "description": "Of a change: `key`, `old_value`, `new_value`, and what else is known.",
        },
    },
}

_SENT = (
    "id: 17\n"
    'data: {"type":"state_change","cursor":"17","data":{"key":"session:user123","old_value":null,"new_value":{}}}\n\n'
)

_RESUME = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The cursor to go on behind, before `since`; a browser's `EventSource` sends it by itself.",
    "schema": {"type": "string", "examples": ["17"]},
}

_SHOWN = "Admins hear of everything, users of what belongs to them or to everybody. Needs the permission `read`."


def event_paths(converter: Any) -> dict[str, dict[str, Any]]:
    """Return what the document has at the paths of live events.

    :param converter: makes parameters of schemas.
    """
    asked = converter.schema2parameters(StreamQuery, location="query")
    stream = _operation(
        "stream_events",
        summary="Listen to changes as an event stream",
        description="Server-sent events (HTML Living Standard): each has its cursor as `id` and a `Message` as `data`.",
        parameters=[*asked, _RESUME],
        responses={
            "200": {
                "description": "The stream, until one side ends it.",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _SENT}},
            }
        },
        problems=(400, 401, 403, 422, 429, 503),
    )
    socket = _operation(
        "socket_events",
        summary="Listen to changes over a WebSocket",
        description="The path takes upgrades to WebSocket (RFC 6455), a `Message` in each text frame. Pages of "
        "other origins are refused, but for those in `STATEMANAGER_WS_ORIGINS`.",
        parameters=asked,
        responses={"101": {"description": "The connection speaks WebSocket from here on."}},
        problems=(400, 401, 403, 422, 426, 429, 501, 503),
    )
    return {"/events": socket, "/events/stream": stream}


def _operation(
    name: str,
    *,
    summary: str,
    description: str,
    parameters: list[Any],
    responses: dict[str, Any],
    problems: tuple[int, ...],
) -> dict[str, Any]:
    refused = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in problems}
    return {
        "operationId": name,
        "tags": [TAG["name"]],
        "summary": summary,
        "description": f"{description}\n\n{_SHOWN}",
        "parameters": parameters,
        "responses": responses | refused,
    }
