"""Records and changes as bytes: a line that scripts can read, and JSON that they need not.

A record is ``version revision flags size check``, a line feed, and the body. The script that stores it draws the
revision, so that everything behind that is written here: flags (``d`` a tombstone, ``e`` in the due-set, ``m`` has
metadata, ``z`` compressed, ``-`` none), the bytes of its data as JSON, a check of the body, and the body.
"""

from __future__ import annotations

import hashlib
import zlib
from datetime import datetime, timezone
from typing import Any

import orjson
from msgspec.structs import replace

from ...core.clock import from_iso
from ...core.record import Change, Key, Origin, Record
from ...errors import StorageError

LARGE = 4096
"""Bytes of a body from which on it is compressed."""

SAMPLED, SAMPLE, WORTH = 8 * 1024, 4 * 1024, 0.7
"""From which size on a piece from the middle is tried first, how large it is, and to which share it has to shrink: what
was compressed before and written in base64 comes to three quarters, and takes long."""

LEVEL = 3
"""How hard zlib tries: beyond it, JSON gets little smaller and much slower."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_HEAD = 40
"""Bytes in which the version and the revision stand."""

_DAY = 24 * 60 * 60

Fields = dict[bytes, bytes]
"""An entry of the log: ``n`` the name, ``t`` what else is told, ``a`` the record after, ``b`` the one before."""


def packed(record: Record) -> bytes:
    """Write a record, all but its version and revision.

    :param record: any record, a tombstone too.
    """
    data = orjson.dumps(record.data)
    body = _body(record, data)
    flags = _flags(record)
    if len(body) >= LARGE and _shrinks(body):
        smaller = zlib.compress(body, LEVEL)
        if len(smaller) < len(body):
            body, flags = smaller, flags.replace(b"-", b"") + b"z"
    size = b"%d" % len(data)
    return b"%b %b %08x\n%b" % (flags, size, _check(record.key, b"%d" % record.version, flags, size, body), body)


def _shrinks(body: bytes) -> bool:
    if len(body) < SAMPLED:
        return True
    middle = len(body) // 2
    return len(zlib.compress(body[middle : middle + SAMPLE], LEVEL)) < WORTH * SAMPLE


def digest_of(record: Record) -> bytes:
    """Return what a script compares with the digest of what lies in Redis.

    :param record: a record as it is believed to be stored.
    """
    return text_digest(whole(record))


def text_digest(text: bytes) -> bytes:
    """Return what a script compares with the digest of what lies in Redis.

    :param text: what is believed to lie there.
    """
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def whole(record: Record) -> bytes:
    """Write a record as it lies in Redis.

    :param record: any record, a tombstone too.
    """
    return b"%d %d %b" % (record.version, record.revision, packed(record))


def revision_of(text: bytes) -> int:
    """Return the revision of a record.

    :param text: what lies in Redis.
    """
    found = text[:_HEAD].split(b" ", 2)[1:2]
    return int(found[0]) if found and found[0].isdigit() else 0


def unpacked(text: bytes, key: Key, *, checked: bool = False) -> Record:
    """Read a record.

    :param text: what lies in Redis.
    :param key: under which key.
    :param checked: whether it was read before, and found to be whole.
    :raises StorageError: when it is not what was written there.
    """
    try:
        return _read(text, key, checked)
    except (ValueError, TypeError, zlib.error) as error:
        raise corrupt(key) from error


def corrupt(key: Key) -> StorageError:
    """Return the error for bytes that are no record.

    :param key: where they lie.
    """
    return StorageError(
        f"What lies in Redis under {key} is damaged, or was written by something else: bring it back from a backup."
    )


def told(change: Change) -> bytes:
    """Write what the log holds of a change besides its records.

    :param change: the change.
    """
    by = change.origin
    return _dumped((change.event,), (change.at,), (by.actor, by.source, by.reason, by.request_id, by.idempotency_key))


def change_of(bucket: str, revision: int, fields: Fields) -> Change:
    """Read an entry of the log.

    :param bucket: the collection.
    :param revision: the change's revision.
    :param fields: the entry.
    :raises StorageError: when it is not what was written there.
    """
    key = Key(bucket, fields[b"n"].decode())
    before = fields.get(b"b")
    after = unpacked(fields[b"a"], key)
    try:
        event, at, actor, source, reason, request_id, idempotency_key = orjson.loads(fields[b"t"])
        origin = Origin(actor, source, reason, request_id, idempotency_key)
        moment = from_iso(at)
    except (ValueError, TypeError) as error:
        raise corrupt(key) from error
    earlier = None if before is None else unpacked(before, key)
    return Change(revision, key, after.version, event, earlier, replace(after, revision=revision), origin, moment)


def micros(moment: datetime | None) -> bytes:
    """Write a moment as microseconds since 1970, exact from the year 1700 to 2200; empty for None.

    :param moment: an aware UTC datetime, or None.
    """
    if moment is None:
        return b""
    since = moment - EPOCH
    return b"%d" % ((since.days * _DAY + since.seconds) * 10**6 + since.microseconds)


def expiring(record: Record) -> bytes:
    """Return when a live record expires, in microseconds; empty where it does not.

    :param record: any record.
    """
    return micros(record.expires_at) if record.deleted_at is None else b""


def _read(text: bytes, key: Key, checked: bool) -> Record:
    head, _mark, body = text.partition(b"\n")
    version, revision, flags, size, check = head.split(b" ")
    if not checked and int(check, 16) != _check(key, version, flags, size, body):
        raise ValueError("The check does not fit.")
    fields = orjson.loads(zlib.decompress(body) if b"z" in flags else body)
    label, kind, status, owner, schema_version, created_at, updated_at, expires_at, deleted_at, metadata, data = fields
    return Record(
        key,
        label,
        kind,
        status,
        data,
        metadata,
        int(version),
        int(revision),
        owner,
        schema_version,
        from_iso(created_at),
        from_iso(updated_at),
        None if expires_at is None else from_iso(expires_at),
        None if deleted_at is None else from_iso(deleted_at),
    )


def _body(record: Record, data: bytes) -> bytes:
    moments = (record.created_at, record.updated_at, record.expires_at, record.deleted_at)
    known = (record.label, record.type, record.status, record.owner, record.schema_version)
    return _dumped(known, moments, (record.metadata, orjson.Fragment(data)))


def _dumped(before: tuple[Any, ...], moments: tuple[datetime | None, ...], behind: tuple[Any, ...]) -> bytes:
    """Write one list, with moments in the middle of it."""
    for moment in moments:
        if moment is not None and (type(moment) is not datetime or moment.tzinfo is not timezone.utc):
            # Equal moments have to be equal bytes, as those of a record that is believed in are compared.
            moments = tuple(None if each is None else _plain(each) for each in moments)
            break
    return orjson.dumps((*before, *moments, *behind), option=orjson.OPT_UTC_Z)


def _plain(moment: datetime) -> datetime:
    """Return a moment without a class or time zone of its own, as tools that freeze time and Python 3.10 make them."""
    utc = moment.astimezone(timezone.utc)
    clock = (utc.hour, utc.minute, utc.second, utc.microsecond)
    return datetime(utc.year, utc.month, utc.day, *clock, tzinfo=timezone.utc)


def _flags(record: Record) -> bytes:
    flags = b"m" if record.metadata else b""
    if record.deleted_at is not None:
        flags += b"d"
    elif record.expires_at is not None:
        flags += b"e"
    return flags or b"-"


def _check(key: Key, version: bytes, flags: bytes, size: bytes, body: bytes) -> int:
    """Return a number by which a torn record, or one of another key, is recognised."""
    head = f"{key.bucket}:{key.name} ".encode() + b"%b %b %b" % (version, flags, size)
    return zlib.crc32(body, zlib.crc32(head))
