"""Differences: what changed from one version of a state to another, secrets left aside."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Struct

from ...core.clock import iso
from ...core.patch import diff
from ...core.record import JSON, JSONObject, Record
from ...core.secrets import REDACTED
from ..visit import Visit

MOST = 40
"""Differences of two versions that a page shows."""

MOST_CHARACTERS = 300
"""Characters of one value that a difference shows."""

_ABSENT = object()


class Difference(Struct, frozen=True):
    """One difference.

    :param path: where, with dots.
    :param old: what was there, as JSON; None where nothing was.
    :param new: what is there; None where nothing is.
    """

    path: str
    old: str | None
    new: str | None


class Differences(Struct, frozen=True):
    """What differs.

    :param shown: the first of them.
    :param more: how many there are besides.
    """

    shown: Sequence[Difference]
    more: int

    def __bool__(self) -> bool:
        return bool(self.shown)


def differences(visit: Visit, before: Record, after: Record) -> Differences:
    """Compare two versions.

    :param visit: sees them.
    :param before: the older one.
    :param after: the newer one.
    """
    old, new = _compared(before), _compared(after)
    patch = diff(old, new)
    return Differences([_difference(visit, operation, old) for operation in patch[:MOST]], max(0, len(patch) - MOST))


def _compared(record: Record) -> JSONObject:
    expires_at = None if record.expires_at is None else iso(record.expires_at)
    shown = {"name": record.label, "status": record.status, "owner": record.owner, "expires_at": expires_at}
    present = {name: value for name, value in shown.items() if value is not None}
    return {**present, "data": record.data, "metadata": record.metadata}


def _difference(visit: Visit, operation: JSONObject, old: JSON) -> Difference:
    path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    secrets = visit.runtime.settings.live_secrets
    hidden = not visit.revealed and any(part.lower() in secrets for part in path)
    was, now = _found(old, path), operation.get("value", _ABSENT)
    return Difference(".".join(path), _written(visit, was, hidden=hidden), _written(visit, now, hidden=hidden))


def _found(value: JSON, path: Sequence[str]) -> JSON:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _written(visit: Visit, value: JSON, *, hidden: bool) -> str | None:
    if value is _ABSENT:
        return None
    if hidden and value is not None:
        return REDACTED
    text = json.dumps(visit.covered(value), ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
