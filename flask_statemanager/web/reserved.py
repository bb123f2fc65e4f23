"""Reserved words: first segments of paths that are no keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from ..errors import shown
from .operation import Operation
from .problems import NO_ROUTE, Problem

CATCH_ALL = "/<path:key>"
"""The rule of the operations that take what no other does for a key."""

ALSO = frozenset(("docs", "events", "flags", "flows", "health", "metrics", "openapi.json", "stores"))
"""What is reserved whether there is such an operation or not, so that no key is in the way of one to come."""


def reserved_words(operations: Iterable[Operation]) -> frozenset[str]:
    """Return the first segments of paths that are no keys.

    :param operations: all operations.
    """
    firsts = (operation.rule.split("/")[1] for operation in operations)
    return ALSO | {first for first in firsts if "<" not in first}


class Unreserved:
    """Lets an operation have only paths whose first segment is no reserved word.

    :param view: the operation's view.
    :param words: the reserved words.
    """

    def __init__(self, view: Callable[..., Response], words: frozenset[str]) -> None:
        self._view = view
        self._words = words

    def __call__(self, key: str) -> Response:
        """Carry out the operation.

        :param key: the path.
        :raises MethodNotAllowed: when there is another operation at this path.
        :raises Problem: when there is none.
        """
        if key.partition("/")[0] not in self._words:
            return self._view(key=key)
        meant = f"If {shown(key)} is meant as a key: its first segment is a reserved word, so that its path is /keys/ "
        others = other_methods()
        if others:
            raise MethodNotAllowed(others, f"This path takes {', '.join(others)}. {meant}and the key.")
        raise Problem(NO_ROUTE, f"There is nothing at this path. {meant}and the key.")


def known_methods() -> dict[str, bool]:
    """Return the methods that are known at the present path, and whether each takes it for a key."""
    adapter: Any = current_app.create_url_adapter(request)
    found: dict[str, bool] = {}
    for method in sorted(adapter.allowed_methods()):
        # Werkzeug also tells of methods of the path with fewer slashes, to which there is no way.
        with suppress(HTTPException):
            found[method] = adapter.match(method=method, return_rule=True)[0].rule.endswith(CATCH_ALL)
    return found


def other_methods() -> list[str]:
    """Return the methods that are known at the present path and do not take it for a key."""
    return [method for method, takes in known_methods().items() if not takes]
