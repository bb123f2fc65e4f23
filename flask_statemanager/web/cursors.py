"""Cursors: where a page begins, as opaque text that travels in a link (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote, urlencode

from flask import request

from ..errors import StateValidationError, shown


def cursor(place: str) -> str:
    """Write a place as a cursor.

    :param place: for example the last key of a page.
    """
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def position(given: str | None) -> str | None:
    """Return the place that a cursor stands for, or None for none.

    :param given: what the client sent.
    :raises StateValidationError: when it is no cursor.
    """
    if given is None:
        return None
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise StateValidationError(
            {"cursor": [f"{shown(given)} is no cursor: take the one of the link to the next page."]}
        ) from None


def next_link(place: str) -> dict[str, str]:
    """Return the link to the page behind a place: the present request with another cursor.

    :param place: for example the last key of this page.
    """
    asked = [(name, value) for name, value in request.args.items() if name != "cursor"]
    path = quote(f"{request.script_root}{request.path}", safe="/:@+=~")
    return {"next": f"{path}?{urlencode([*asked, ('cursor', cursor(place))])}"}
