"""Asking the API in tests: a client, and what its answers and problems hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.test import TestResponse

from tests.worlds import World

PREFIX = "/api/v1/state"

Ask = Callable[..., TestResponse]
"""Asks the API: method, path behind the prefix, and what else Flask's client takes."""


def asking(world: World) -> Ask:
    """Return what asks the API of a world.

    :param world: an application that answers at its API.
    """
    client = world.app.test_client()

    def send(method: str, path: str, **more: Any) -> TestResponse:
        return client.open(PREFIX + path, method=method, **more)

    return send


def data_of(answer: TestResponse) -> Any:
    """Return what a good answer holds.

    :param answer: the answer.
    """
    assert answer.status_code < 300, answer.text
    assert answer.json is not None
    assert answer.json["success"] is True
    return answer.json["data"]


def problem_of(answer: TestResponse, status: int) -> Any:
    """Return a problem, which has the status that it says.

    :param answer: the answer.
    :param status: the status that it must have.
    """
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    body = answer.get_json(force=True)
    assert (body["status"], body["success"], body["error"]) == (status, False, body["detail"])
    return body


def next_of(answer: TestResponse) -> str | None:
    """Return the path of the next page behind the prefix, or None.

    :param answer: the answer.
    """
    link = answer.headers.get("Link")
    if link is None:
        return None
    target, relation = link.split("; ")
    assert relation == 'rel="next"'
    return target[1:-1].removeprefix(PREFIX)
