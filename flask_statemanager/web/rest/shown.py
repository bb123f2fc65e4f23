"""A key as it is shown, its value spliced in as it is stored."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from msgspec import Raw

from ...core.clock import iso
from ...core.record import JSON
from ...core.secrets import REDACTED, covered, redacted
from ...core.unread import Unread
from ...errors import StateValidationError


def shown_key(name: str, found: Unread, secrets: Sequence[str], *, whole: bool) -> Raw:
    """Write what is shown of a key.

    :param name: the key, which needs no escaping in JSON.
    :param found: what is stored, whose data has the one member ``value``.
    :param secrets: dotted paths of members of the value that are not shown.
    :param whole: whether to show metadata and times.
    """
    data = found.data
    value = data[data.index(b":") + 1 : -1]
    if secrets:
        value = orjson.dumps(redacted(orjson.loads(value), secrets))
    if not whole:
        return Raw(b'{"key":"%b","value":%b,"version":%d}' % (name.encode(), value, found.version))
    moments = iso(found.created_at), iso(found.updated_at)
    expires = "null" if found.expires_at is None else f'"{iso(found.expires_at)}"'
    times = f'"created_at":"{moments[0]}","updated_at":"{moments[1]}","expires_at":{expires}'
    shown = (name.encode(), value, found.version, found.metadata, times.encode())
    return Raw(b'{"key":"%b","value":%b,"version":%d,"metadata":%b,%b}' % shown)


def check_uncovered(value: JSON, secrets: Sequence[str], field: str) -> None:
    """Refuse a value in which a cover stands for a secret, as it was shown: the secret would be lost.

    :param value: what the caller sent.
    :param secrets: dotted paths of members of the value that are not shown.
    :param field: how to name the value in the error.
    :raises StateValidationError: when there is such a cover.
    """
    path = covered(value, secrets) if secrets else None
    if path is not None:
        raise StateValidationError({f"{field}.{path}": [f"{REDACTED} is no value here: send the secret itself."]})
