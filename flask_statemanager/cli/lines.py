"""Records as lines of JSON, for ``flask state export`` and ``import``.

A key and its value are ``{"bucket": "kv", "key": "a", "value": 1}``, and where there is such, ``metadata`` and
``expires_at``. Any other record has ``name`` instead of ``key``, and its ``label``, ``type``, ``status``, ``owner``,
``schema_version`` and ``data``. Versions, revisions and times are written too, and not read.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from ..core.clock import from_iso, in_utc, iso
from ..core.codec import clean, encode
from ..core.names import check_id, check_text, check_word
from ..core.record import JSONObject, Key, Record
from ..errors import StateValidationError, shown
from ..kv.value import STATUS, TYPE, VALUE

_TEXT = 255
_KEY = ("bucket", "key", "value", "metadata", "expires_at")
_RECORD = ("name", "label", "type", "status", "owner", "schema_version", "data")
_UNREAD = ("version", "revision", "created_at", "updated_at")
_KNOWN = frozenset((*_KEY, *_RECORD, *_UNREAD))


def written(record: Record) -> str:
    """Return a live record as a line, without its end.

    :param record: the record.
    """
    line: JSONObject = {"bucket": record.key.bucket}
    if record.type == TYPE and record.data.keys() == {VALUE}:
        line |= {"key": record.key.name, "value": record.data[VALUE]}
    else:
        line |= {"name": record.key.name, "label": record.label, "type": record.type, "status": record.status}
        line |= {"owner": record.owner, "schema_version": record.schema_version, "data": record.data}
    if record.metadata:
        line["metadata"] = record.metadata
    if record.expires_at is not None:
        line["expires_at"] = iso(record.expires_at)
    line |= {"version": record.version, "revision": record.revision}
    return encode(line | {"created_at": iso(record.created_at), "updated_at": iso(record.updated_at)})


def read(line: bytes, bucket: str | None, limit: int, now: datetime) -> Record:
    """Return the record that a line says, as a decision would make it.

    :param line: the line.
    :param bucket: the bucket where the line names none.
    :param limit: about the most bytes of its JSON.
    :param now: the moment.
    :raises StateValidationError: when it is no such line.
    :raises LimitExceeded: when something in it is too large.
    """
    fields = _fields(line)
    place = fields.get("bucket", bucket)
    if not isinstance(place, str):
        raise StateValidationError({"bucket": ["The line names no bucket: add one, or pass --bucket."]})
    plain = "key" in fields or "value" in fields
    name = check_id(fields.get("key" if plain else "name"))
    data = {VALUE: fields.get("value")} if plain else fields.get("data")
    kind, status = (TYPE, STATUS) if plain else (fields.get("type"), fields.get("status"))
    owner = fields.get("owner")
    return Record(
        key=Key(place, name),
        label=name if plain else check_text(fields.get("label", name), "label", _TEXT),
        type=check_word(kind, "type"),
        status=check_word(status, "status"),
        data=_document(data, "data", limit),
        metadata=_document(fields.get("metadata", {}), "metadata", limit),
        version=1,
        revision=0,
        owner=None if owner is None else check_text(owner, "owner", _TEXT),
        schema_version=_number(fields.get("schema_version", 1)),
        created_at=now,
        updated_at=now,
        expires_at=_moment(fields.get("expires_at")),
    )


def _fields(line: bytes) -> JSONObject:
    try:
        found = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise StateValidationError({"line": ["It is not UTF-8."]}) from error
    except (ValueError, RecursionError) as error:
        raise StateValidationError({"line": [f"It is not JSON: {error}."]}) from error
    if not isinstance(found, dict):
        raise StateValidationError({"line": ["It is no JSON object."]})
    unknown = sorted(found.keys() - _KNOWN)
    if unknown:
        raise StateValidationError(
            {"line": [f"{shown(unknown[0])} is unknown; known are {', '.join(sorted(_KNOWN))}."]}
        )
    return found


def _document(value: Any, field: str, limit: int) -> JSONObject:
    if not isinstance(value, dict):
        raise StateValidationError({field: [f"Must be a JSON object, not {shown(value)}."]})
    found: JSONObject = clean(value, field, limit)
    return found


def _number(value: Any) -> int:
    if type(value) is int and 0 < value < 2**31:
        return value
    raise StateValidationError({"schema_version": [f"Must be a number above 0, not {shown(value)}."]})


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        found = from_iso(value)
    except (ValueError, TypeError, AttributeError) as error:
        problem = f"{shown(value)} is no moment such as 2026-01-31T12:00:00Z."
        raise StateValidationError({"expires_at": [problem]}) from error
    return in_utc(found, "expires_at")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
