"""Leaving out of a request's address what may be a secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

HIDDEN = "***"
"""Stands for a value that is not noted."""

MAX_URI = 2048
"""Characters of an address that are noted."""

MAX_HEADER = 256
"""Characters of a header that are noted."""

MAX_ARGUMENTS = 100
"""Arguments of a query string that are looked at."""

_TELLING = re.compile(
    r"api_?key|auth|bearer|code|credential|csrf|jwt|nonce|otp|passw|pin\b|secret|sig|signature|ticket|token",
    re.IGNORECASE,
)
"""Names of parts of a path behind which there are secrets, such as the token of a link to reset a password."""


def plain(text: str, limit: int) -> str:
    """Return text that can be stored and shown: what cannot be printed is written as an escape.

    :param text: whatever a client has sent.
    :param limit: how many characters of it are kept.
    """
    kept = text if len(text) <= limit else text[:limit]
    return kept if kept.isprintable() else kept.encode("unicode_escape").decode()[:limit]


def shown_uri(
    path: str, query: str, arguments: Mapping[str, Any] | None, allowed: Collection[str], rule: str = ""
) -> str:
    """Return the address of a request as it is noted.

    Of a query string the names of its arguments are kept, and the values of those that are allowed; of the path
    everything but the parts that the route gives a telling name, such as ``token``.

    :param path: the path.
    :param query: the query string as it was sent.
    :param arguments: what the route has found in the path.
    :param allowed: the arguments of the query string whose values are kept.
    :param rule: the route's rule, which stands for a path in which such a part is not found as it was made a value.
    """
    path = _shown_path(path, arguments or {}, rule)
    if not query:
        return plain(path, MAX_URI)
    return plain(f"{path}?{_shown_query(query[: 4 * MAX_URI], allowed)}", MAX_URI)


def _shown_path(path: str, arguments: Mapping[str, Any], rule: str) -> str:
    shown = path
    for name, value in arguments.items():
        if value in (None, "") or not _TELLING.search(name):
            continue
        text = str(value)
        # A converter can have made something else of it: of a UUID in capitals, of 007.
        if f"/{text}/" not in f"{path}/":
            return rule
        shown = shown.replace(text, HIDDEN)
    return shown


def _shown_query(query: str, allowed: Collection[str]) -> str:
    pieces = query.split("&", MAX_ARGUMENTS)[:MAX_ARGUMENTS]
    found = [pair for piece in pieces for pair in parse_qsl(piece, keep_blank_values=True, errors="replace")]
    return "&".join(
        f"{quote(name, safe='[]')}={quote(value, safe='') if name in allowed else HIDDEN}" for name, value in found
    )
