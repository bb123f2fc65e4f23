"""A record as text, for caches and memories: one JSON object that is a State already, and a line before it.

The line holds what a State does not show. Reading a state back is one call of the JSON parser, and nothing is copied.
"""

from __future__ import annotations

import orjson
from msgspec import Struct

from .clock import from_iso, iso
from .record import JSON, JSONObject, Key, Record

_NONE = b"-"


class Entry(Struct, frozen=True):
    """A record whose JSON has not been read yet.

    :param version: its version.
    :param schema_version: the version of its type's schema.
    :param expires_at: the moment as seconds since 1970, or None.
    :param deleted_at: the moment as ISO 8601 if it is a tombstone, else None.
    :param bucket: the collection.
    :param body: the State as a JSON object.
    """

    version: int
    schema_version: int
    expires_at: float | None
    deleted_at: str | None
    bucket: str
    body: bytes

    @classmethod
    def of(cls, record: Record) -> Entry:
        """Write a record.

        :param record: any record, a tombstone too.
        """
        return cls(
            record.version,
            record.schema_version,
            None if record.expires_at is None else record.expires_at.timestamp(),
            None if record.deleted_at is None else iso(record.deleted_at),
            record.key.bucket,
            orjson.dumps(_fields(record)),
        )

    @classmethod
    def read(cls, text: bytes) -> Entry:
        """Read what :meth:`text` gave, all but the JSON.

        :param text: the text.
        :raises ValueError: when it is no such text.
        """
        line, _mark, body = text.partition(b"\n")
        version, schema_version, expires_at, deleted_at, bucket = line.split(b" ", 4)
        return cls(
            int(version),
            int(schema_version),
            None if expires_at == _NONE else int(expires_at) / 10**6,
            None if deleted_at == _NONE else deleted_at.decode(),
            bucket.decode(),
            body,
        )

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.deleted_at is not None

    def text(self) -> bytes:
        """Return the whole entry as UTF-8 text: one line, and the JSON."""
        expires = "-" if self.expires_at is None else str(round(self.expires_at * 10**6))
        line = f"{self.version} {self.schema_version} {expires} {self.deleted_at or '-'} {self.bucket}\n"
        return line.encode() + self.body

    def fields(self) -> JSONObject:
        """Return the State as a plain dict, which is the caller's own.

        :raises ValueError: when the body is no JSON.
        """
        found: JSONObject = orjson.loads(self.body)
        return found

    def record(self) -> Record:
        """Return the record.

        :raises ValueError: when the body is no State.
        """
        try:
            return _record(self, orjson.loads(self.body))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("This is not an encoded record.") from error


def encode_record(record: Record) -> str:
    """Write a record as text.

    :param record: any record, a tombstone too.
    """
    return Entry.of(record).text().decode()


def decode_record(text: str) -> Record:
    """Read what :func:`encode_record` wrote.

    :param text: the text.
    :raises ValueError: when it is no such text.
    """
    return Entry.read(text.encode()).record()


def _fields(record: Record) -> JSONObject:
    fields: JSONObject = {
        "state_id": record.key.name,
        "name": record.label,
        "type": record.type,
        "status": record.status,
        "data": record.data,
        "metadata": record.metadata,
        "version": record.version,
        "revision": record.revision,
        "created_at": iso(record.created_at),
        "updated_at": iso(record.updated_at),
    }
    if record.expires_at is not None:
        fields["expires_at"] = iso(record.expires_at)
    if record.owner is not None:
        fields["owner"] = record.owner
    return fields


def _record(entry: Entry, fields: JSON) -> Record:
    expires_at = fields.get("expires_at")
    return Record(
        key=Key(entry.bucket, fields["state_id"]),
        label=fields["name"],
        type=fields["type"],
        status=fields["status"],
        data=fields["data"],
        metadata=fields["metadata"],
        version=entry.version,
        revision=fields["revision"],
        owner=fields.get("owner"),
        schema_version=entry.schema_version,
        created_at=from_iso(fields["created_at"]),
        updated_at=from_iso(fields["updated_at"]),
        expires_at=None if expires_at is None else from_iso(expires_at),
        deleted_at=None if entry.deleted_at is None else from_iso(entry.deleted_at),
    )
