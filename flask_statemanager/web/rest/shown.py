"""A key as it is shown, its value spliced in as it is stored."""

from __future__ import annotations

from msgspec import Raw

from ...core.clock import iso
from ...core.unread import Unread


def shown_key(name: str, found: Unread, *, whole: bool) -> Raw:
    """Write what is shown of a key.

    :param name: the key, which needs no escaping in JSON.
    :param found: what is stored, whose data has the one member ``value``.
    :param whole: whether to show metadata and times.
    """
    data = found.data
    value = data[data.index(b":") + 1 : -1]
    if not whole:
        return Raw(b'{"key":"%b","value":%b,"version":%d}' % (name.encode(), value, found.version))
    moments = iso(found.created_at), iso(found.updated_at)
    expires = "null" if found.expires_at is None else f'"{iso(found.expires_at)}"'
    times = f'"created_at":"{moments[0]}","updated_at":"{moments[1]}","expires_at":{expires}'
    shown = (name.encode(), value, found.version, found.metadata, times.encode())
    return Raw(b'{"key":"%b","value":%b,"version":%d,"metadata":%b,%b}' % shown)
